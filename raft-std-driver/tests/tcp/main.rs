//! The TCP transport over real sockets on loopback. All but `strangers` is tested of the tokio driver's transport too.

mod driver;
mod ending;
mod handshake;
mod messages;
mod pairs;
mod snapshots;
mod strangers;
mod support;
