//! Settings of every socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Settings of every connection: no delay, and no waiting for a host that is gone for much longer than `stall_timeout`.
///
/// # Errors
/// If the system refuses one, which it may if the connection is over.
pub fn prepare(socket: &impl AsFd, stall_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    // A host that is gone sends no reset. Keep-alive, which counts in whole seconds, notices it on an idle connection.
    let idle = stall_timeout.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    // And on a busy one, without this the system would go on resending for a quarter of an hour, ever more seldom.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall_timeout))?;
    Ok(())
}
