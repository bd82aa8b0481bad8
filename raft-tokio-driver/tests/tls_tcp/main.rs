//! The TCP transport with TLS, between servers that know each other, and some that do not.

#![cfg(feature = "tls")]
// It takes a part only of what the tests of TCP and of TLS share.
#![allow(dead_code)]

#[path = "../tls/certs.rs"]
mod certs;
#[path = "../tcp/driver.rs"]
mod driver;
mod guards;
#[path = "../../../raft-std-driver/tests/tcp/support.rs"]
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
