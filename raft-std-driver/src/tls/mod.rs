//! Links with mutual authentication: TLS 1.3 by rustls, with authorities of the cluster's own.
//!
//! Both ends of a link show a certificate, and both must be of one of the cluster's authorities. A certificate names the node
//! that may use it: node 3's has the subject alternative name `DNS:node-3`, unless [`TlsConfig::naming`] says otherwise. Who
//! connects, checks that the one it reaches is the one it looked for; who accepts, checks that the one who came is the one it
//! says it is. A certificate with a wildcard is nobody's.
//!
//! ```no_run
//! # use raft_std_driver::raft_core::NodeId;
//! # use raft_std_driver::tls::TlsConfig;
//! let tls = TlsConfig::files("node-3.pem", "node-3.key", "authorities.pem").load(NodeId(3))?;
//! // Later, when the files are new ones. Connections that stand go on.
//! tls.reload()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing is resumed: each connection proves itself from the start, by the certificates and the clock of that moment. A
//! connection that stands is not asked again: to end those of a certificate that is no longer trusted, restart the node.
//!
//! How certificates are made and rotated, and what each error means: `docs/tls.md`.

mod config;
mod credentials;
mod error;
mod reloading;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::NodeId;
use rustls::pki_types::UnixTime;

#[doc(hidden)]
pub use config::Naming;
pub use config::TlsConfig;
pub use credentials::{Credentials, PROTOCOL};
pub use error::{CertificateFault, Refusal, TlsError};
pub use reloading::TlsWatch;

use config::Material;

/// A node's certificate, key and authorities, in use. Clones share them: what one reloads, all use.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    /// Locked while loading: one at a time.
    source: Mutex<Source>,
    current: RwLock<Arc<Credentials>>,
    changes: AtomicU64,
}

/// What was loaded last.
struct Source {
    config: TlsConfig,
    fingerprint: u64,
}

impl Tls {
    fn new(config: TlsConfig, node: NodeId) -> Result<Tls, TlsError> {
        let material = config.read()?;
        let credentials = config.credentials(&material, node)?;
        credentials.check(UnixTime::now())?;
        let source = Source { config, fingerprint: material.fingerprint() };
        let shared = Shared {
            node,
            source: Mutex::new(source),
            current: RwLock::new(Arc::new(credentials)),
            changes: AtomicU64::new(0),
        };
        Ok(Tls { shared: Arc::new(shared) })
    }

    /// Whose certificate it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Read the files again and use what is in them for new connections. Those that stand go on. Blocks on the file system.
    ///
    /// # Errors
    /// As [`TlsConfig::load`]. Then nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut source = self.shared.source.lock().unwrap_or_else(PoisonError::into_inner);
        let material = source.config.read()?;
        let config = source.config.clone();
        self.put(&mut source, config, &material)
    }

    /// Use other files, or other PEM, from now on. Otherwise as [`Tls::reload`].
    ///
    /// # Errors
    /// As [`TlsConfig::load`]. Then nothing has changed.
    pub fn replace(&self, config: TlsConfig) -> Result<(), TlsError> {
        let mut source = self.shared.source.lock().unwrap_or_else(PoisonError::into_inner);
        let material = config.read()?;
        self.put(&mut source, config, &material)
    }

    /// Look at the files at every `interval`, and [`reload`](Tls::reload) when their contents have changed, until what this
    /// returns is dropped. What fails is logged once, and tried again at the next look: files that are written one after the
    /// other do not fit together for a moment. A certificate that has expired meanwhile is logged too.
    ///
    /// Give it a name that lives as long as the node: `let _ = tls.watch(..)` drops it at once, and then nobody looks. A
    /// thread does.
    #[must_use = "dropping what it returns ends the watch: keep it under a name, not under `_`"]
    pub fn watch(&self, interval: Duration) -> TlsWatch {
        reloading::start(self.clone(), interval)
    }

    /// How often new certificates came into use since the first.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Acquire)
    }

    /// Whether peers with the same authorities would accept the certificate in use at that time, as far as can be known now. A
    /// monitor asks about a week ahead.
    ///
    /// # Errors
    /// [`TlsError::Own`], with what would be wrong.
    pub fn check_at(&self, time: SystemTime) -> Result<(), TlsError> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.credentials().check(UnixTime::since_unix_epoch(since))
    }

    /// Reload if the contents have changed. Tells whether they had.
    fn refresh(&self) -> Result<bool, TlsError> {
        let mut source = self.shared.source.lock().unwrap_or_else(PoisonError::into_inner);
        let material = source.config.read()?;
        if material.fingerprint() == source.fingerprint {
            return Ok(false);
        }
        let config = source.config.clone();
        self.put(&mut source, config, &material).map(|()| true)
    }

    /// Swap all at once, if all is well.
    fn put(&self, source: &mut Source, config: TlsConfig, material: &Material) -> Result<(), TlsError> {
        let credentials = config.credentials(material, self.shared.node)?;
        credentials.check(UnixTime::now())?;
        *self.shared.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        *source = Source { config, fingerprint: material.fingerprint() };
        self.shared.changes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// What new connections are made safe with, now.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
