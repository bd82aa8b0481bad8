//! TCP with TLS: transports that know each other, and some that do not, and a cluster of nodes.

#![cfg(feature = "tls")]

#[path = "../tls/certs.rs"]
#[allow(dead_code, reason = "only a part of it is wanted here")]
mod certs;
#[path = "../node/cluster.rs"]
#[allow(dead_code, reason = "only a part of it is wanted here")]
mod cluster;
#[path = "../tcp/driver.rs"]
mod driver;
mod guards;
mod nodes;
#[path = "../../../raft-std-driver/tests/tcp/pairs.rs"]
mod pairs;
#[path = "../node/ports.rs"]
mod ports;
#[path = "../../../raft-std-driver/tests/tcp/support.rs"]
#[allow(dead_code, reason = "nobody here misbehaves")]
mod support;

use std::sync::LazyLock;

use certs::Authority;
use raft_std_driver::raft_core::NodeId;
use raft_tokio_driver::transport::tcp::Builder;

/// One for all tests.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("cluster"));

/// What makes the links of the servers safe.
fn guarded(transport: Builder, id: NodeId) -> Builder {
    transport.guard(AUTHORITY.tls(id.0))
}
