//! The TCP transport over real sockets on loopback: by the tests of the std driver's, which it must pass as well, and with
//! it.

mod driver;
#[path = "../../../raft-std-driver/tests/tcp/ending.rs"]
mod ending;
mod guards;
#[path = "../../../raft-std-driver/tests/tcp/handshake.rs"]
mod handshake;
#[path = "../../../raft-std-driver/tests/tcp/messages.rs"]
mod messages;
mod mixed;
mod own;
#[path = "../../../raft-std-driver/tests/tcp/pairs.rs"]
mod pairs;
mod simulated;
#[path = "../../../raft-std-driver/tests/tcp/snapshots.rs"]
mod snapshots;
#[path = "../../../raft-std-driver/tests/tcp/support.rs"]
mod support;

use raft_std_driver::raft_core::NodeId;
use raft_tokio_driver::transport::tcp::Builder;

/// What makes the links of the servers safe: nothing here.
fn guarded(transport: Builder, _: NodeId) -> Builder {
    transport
}
