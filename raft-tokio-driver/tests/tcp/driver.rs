//! What is tested here: this driver's transport on a runtime of its own, used from threads.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use raft_core::{Message, NodeId};
use raft_std_driver::transport::tcp::{BindError, TcpConfig};
use raft_std_driver::transport::{Inbound, OutgoingSnapshot, Traffic, Transport};
use raft_tokio_driver::transport::tcp::TcpTransport;
use tokio::runtime::Runtime;

use super::support::Testable;

/// The transport that is tested. Its shutdown waits for its end.
pub(crate) struct Tested {
    pub(crate) transport: TcpTransport,
    pub(crate) runtime: Runtime,
}

impl Tested {
    pub(crate) fn wait_until_closed(&self) {
        self.runtime.block_on(poll_fn(|context| self.transport.poll_closed(context)));
    }
}

impl Testable for Tested {
    fn listen_at(address: &str, config: TcpConfig) -> Result<Self, BindError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let id = config.id;
        let transport = runtime.block_on(super::guarded(TcpTransport::builder(config), id).bind(address))?;
        Ok(Tested { transport, runtime })
    }

    fn local_addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    fn set_peer(&self, id: NodeId, address: String) -> io::Result<()> {
        self.transport.set_peer(id, address)
    }

    fn remove_peer(&self, id: NodeId) {
        self.transport.remove_peer(id);
    }

    /// The shutdown has waited for it.
    fn wait_for_end(_: u64) {}
}

impl Transport for Tested {
    fn start(&self, inbound: Arc<dyn Inbound>) -> io::Result<()> {
        let _inside = self.runtime.enter();
        self.transport.start(inbound)
    }

    fn send(&self, to: NodeId, message: Message) {
        self.transport.send(to, message);
    }

    fn send_snapshot(&self, to: NodeId, snapshot: OutgoingSnapshot) {
        self.transport.send_snapshot(to, snapshot);
    }

    fn shutdown(&self) {
        self.transport.shutdown();
        self.wait_until_closed();
    }

    fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        self.transport.poll_closed(context)
    }

    fn traffic(&self) -> Vec<(NodeId, Traffic)> {
        self.transport.traffic()
    }
}

impl Drop for Tested {
    fn drop(&mut self) {
        self.shutdown();
    }
}
