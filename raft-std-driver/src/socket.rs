//! Settings of every socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockAddr, SockRef, TcpKeepalive};

/// Settings of every connection: no delay, and no waiting for a host that is gone for much longer than `stall_timeout`. To
/// be called as soon as it stands.
///
/// # Errors
/// If the system refuses one, which it may if the connection is over; or if it leads to itself: it is to be dropped.
pub fn prepare(socket: &impl AsFd, stall_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    unless_to_itself(&socket)?;
    socket.set_tcp_nodelay(true)?;
    // A host that is gone sends no reset. Keep-alive, which counts in whole seconds, notices it on an idle connection.
    let idle = stall_timeout.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    // And on a busy one, without this the system would go on resending for a quarter of an hour, ever more seldom.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall_timeout))?;
    Ok(())
}

/// A program that connects, over and over, to a port of this machine at which nobody listens is given that very port as its
/// own one day, if it is among those that the system hands out, and TCP connects it to itself. A server that comes back
/// there would find its address in use, for a minute even after such a connection was closed in order: so it is reset.
fn unless_to_itself(socket: &SockRef<'_>) -> io::Result<()> {
    let end = |address: SockAddr| address.as_socket().map(|address| (address.ip(), address.port()));
    let (here, there) = (end(socket.local_addr()?), end(socket.peer_addr()?));
    if here.is_none() || here != there {
        return Ok(());
    }
    socket.set_linger(Some(Duration::ZERO))?;
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there: it was connected to itself"))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    /// What the system does by chance: the port that is connected to is the own one.
    fn to_itself(address: &str) -> (TcpStream, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        (socket.into(), own.as_socket().unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_to_itself_is_none_and_leaves_the_port_free() {
        let (stream, own) = to_itself("127.0.0.1:0");
        assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), (own, own));
        let error = prepare(&stream, TIME).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        drop(stream);
        TcpListener::bind(own).unwrap();
    }

    #[test]
    fn a_connection_to_another_is_prepared_at_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for end in [&stream, &accepted] {
            prepare(end, TIME).unwrap();
            assert!(end.nodelay().unwrap());
        }
    }
}
