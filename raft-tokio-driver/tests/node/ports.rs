//! Ports for members that come back to the address that they had.

use std::io::ErrorKind;
use std::net::TcpListener;

/// Ports below those that systems hand out by themselves: while a node is down, no connection of anybody's takes its port.
pub(crate) fn ports(count: usize) -> Vec<TcpListener> {
    let mut held = Vec::new();
    while held.len() < count {
        match TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..30_000))) {
            Ok(listener) => held.push(listener),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
        }
    }
    held
}
