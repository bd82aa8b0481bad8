//! The TCP transport over real sockets on loopback.

mod ending;
mod handshake;
mod messages;
mod snapshots;
mod support;
