//! Certificate, key and authorities, made into what rustls connects and accepts with.

use std::fmt;
use std::sync::Arc;

use raft_core::NodeId;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::config::{Naming, Origins};
use super::error::{CertificateFault, TlsError};

/// What is spoken within TLS, as both ends must say.
pub const PROTOCOL: &[u8] = b"raft-tls/2";

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13];

/// Everything for new connections, at one moment.
pub struct Credentials {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    naming: Naming,
    node: NodeId,
    chain: Vec<CertificateDer<'static>>,
    origin: String,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Credentials {
    pub(super) fn new(
        node: NodeId,
        naming: Naming,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: RootCertStore,
        origins: Origins,
    ) -> Result<Credentials, TlsError> {
        naming.check()?;
        let provider = Arc::new(ring::default_provider());
        let own = Arc::new(pair(chain.clone(), key, &provider, &origins)?);

        let roots = Arc::new(roots);
        let failed = |error: &dyn fmt::Display| TlsError::Failed(error.to_string());
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| failed(&error))?;
        // No hints: strangers need not hear the names of our authorities, and our peers have one certificate only.
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| failed(&error))?;

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(|error| TlsError::from(&error))?
            .with_webpki_verifier(Arc::clone(&servers))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own))));
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A resumed session is not asked for its certificate again: it could outlive it.
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)
            .map_err(|error| TlsError::from(&error))?
            .with_client_cert_verifier(Arc::clone(&clients))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;

        let (client, server) = (Arc::new(client), Arc::new(server));
        let origin = origins.certificate;
        Ok(Credentials { client, server, naming, node, chain, origin, servers, clients })
    }

    /// What to connect with.
    pub(crate) fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// What to accept with.
    pub(crate) fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// How certificates name nodes.
    #[doc(hidden)]
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Whether a peer with the same authorities would accept our certificate at this time: as a server's and as a client's.
    pub(super) fn check(&self, at: UnixTime) -> Result<(), TlsError> {
        let own = |fault| TlsError::Own { origin: self.origin.clone(), fault };
        let Some((leaf, between)) = self.chain.split_first() else {
            return Err(own(CertificateFault::Unreadable));
        };
        self.naming.check_certificate(self.node, leaf).map_err(own)?;
        let name = self.naming.name(self.node)?;
        self.clients
            .verify_client_cert(leaf, between, at)
            .map(|_| ())
            .and_then(|()| self.servers.verify_server_cert(leaf, between, &name, &[], at).map(|_| ()))
            .map_err(|error| match error {
                Error::InvalidCertificate(error) => own(CertificateFault::from(&error)),
                error => own(CertificateFault::Other(error.to_string())),
            })
    }
}

/// Without certificate and key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Certificate and key, if they are a pair.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    origins: &Origins,
) -> Result<CertifiedKey, TlsError> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| TlsError::Pem {
        origin: origins.key.clone(),
        why: format!("holds a key that cannot be used: {error}"),
    })?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            TlsError::KeyMismatch { certificate: origins.certificate.clone(), key: origins.key.clone() }
        }
        _ => TlsError::Own { origin: origins.certificate.clone(), fault: CertificateFault::Unreadable },
    })?;
    Ok(pair)
}
