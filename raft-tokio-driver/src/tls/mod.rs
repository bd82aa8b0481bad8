//! Links with mutual authentication: TLS 1.3 by rustls, with authorities of the cluster's own. All but the sessions on tokio's
//! streams is [the std driver's](raft_std_driver::tls), and here again.
//!
//! ```no_run
//! # use raft_core::NodeId;
//! # use raft_tokio_driver::{Node, StateMachine};
//! # use raft_tokio_driver::tls::TlsConfig;
//! # async fn example(machine: impl StateMachine) -> Result<(), Box<dyn std::error::Error>> {
//! let tls = TlsConfig::files("node-3.pem", "node-3.key", "authorities.pem").load(NodeId(3))?;
//! let builder = Node::builder().id(3).members([(1, "a:7001"), (2, "b:7001"), (3, "c:7001")]);
//! let node = builder.tls(&tls).open("/var/lib/raft").machine(machine).start().await?;
//! // Later, when the files are new ones. Connections that stand go on.
//! tls.reload()?;
//! # Ok(())
//! # }
//! ```
//!
//! How certificates are made and rotated, and what each error means: `docs/tls.md`.

mod session;

use raft_core::NodeId;
pub use raft_std_driver::tls::{CertificateFault, Refusal, Tls, TlsConfig, TlsError, TlsWatch};

use crate::transport::link::{BoxFuture, BoxStream, Guard, GuardError, Proof};

impl Guard for Tls {
    fn secure_outgoing(&self, peer: NodeId, stream: BoxStream) -> BoxFuture<'_, Result<BoxStream, GuardError>> {
        let credentials = self.credentials();
        Box::pin(async move { Ok(session::connect(credentials, peer, stream).await?) })
    }

    fn secure_incoming(&self, stream: BoxStream) -> BoxFuture<'_, Result<(BoxStream, Box<dyn Proof>), GuardError>> {
        let credentials = self.credentials();
        Box::pin(async move {
            let (stream, certificate) = session::accept(credentials, stream).await?;
            let proof: Box<dyn Proof> = Box::new(certificate);
            Ok((stream, proof))
        })
    }
}
