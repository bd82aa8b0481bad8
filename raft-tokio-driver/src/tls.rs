//! Connections with mutual authentication: TLS 1.3 by rustls, with authorities of the cluster's own. It is
//! [the std driver's](raft_std_driver::tls), and here again.
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

pub use raft_std_driver::tls::{CertificateFault, Refusal, Tls, TlsConfig, TlsError, TlsWatch};
