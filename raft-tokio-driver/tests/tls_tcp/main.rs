//! TCP with TLS: a cluster of nodes.

#![cfg(feature = "tls")]

#[path = "../tls/certs.rs"]
#[allow(dead_code, reason = "only a part of it is wanted here")]
mod certs;
#[path = "../node/cluster.rs"]
#[allow(dead_code, reason = "only a part of it is wanted here")]
mod cluster;
#[path = "../node/log.rs"]
mod log;
mod nodes;
#[path = "../node/ports.rs"]
mod ports;
