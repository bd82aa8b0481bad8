//! Where certificates and keys come from, and how a certificate names a node.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::NodeId;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{Error, RootCertStore};

use super::error::{CertificateFault, TlsError};
use super::{Tls, credentials::Credentials};

/// Stands for the node id in a pattern.
const ID: &str = "{id}";

/// Where a node's certificate, its key and its authorities are, and how certificates name nodes.
///
/// All three are PEM. The certificate is followed by those between it and its authority, if any. The key is not encrypted.
/// Of authorities there may be several: whoever holds a certificate of one of them and of a node's name is that node.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    certificate: Pem,
    key: Pem,
    authorities: Pem,
    naming: Naming,
}

impl TlsConfig {
    /// From files. [`Tls::reload`] reads them again.
    pub fn files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        authorities: impl Into<PathBuf>,
    ) -> TlsConfig {
        TlsConfig {
            certificate: Pem::File(certificate.into()),
            key: Pem::File(key.into()),
            authorities: Pem::File(authorities.into()),
            naming: Naming::default(),
        }
    }

    /// From PEM that the program has from elsewhere. New ones are taken by [`Tls::replace`].
    pub fn bytes(
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
        authorities: impl Into<Vec<u8>>,
    ) -> TlsConfig {
        let given = |what, bytes: Vec<u8>| Pem::Given { what, bytes: Arc::new(bytes) };
        TlsConfig {
            certificate: given("the given certificate PEM", certificate.into()),
            key: given("the given key PEM", key.into()),
            authorities: given("the given authorities PEM", authorities.into()),
            naming: Naming::default(),
        }
    }

    /// How a node's DNS name is made of its id: `{id}` stands for it. The default is `node-{id}`, so that node 3's
    /// certificate must have the subject alternative name `DNS:node-3`. All nodes of a cluster must agree.
    #[must_use]
    pub fn naming(mut self, pattern: impl Into<String>) -> TlsConfig {
        self.naming = Naming(pattern.into());
        self
    }

    /// Read everything, and check that the peers will accept it as `node`'s.
    ///
    /// # Errors
    /// If something cannot be read, if key and certificate are not a pair, or if the certificate is none that the peers would
    /// accept as `node`'s today, given the same authorities.
    pub fn load(self, node: NodeId) -> Result<Tls, TlsError> {
        Tls::new(self, node)
    }

    /// Without looking whether the peers will accept it.
    #[cfg(test)]
    pub(crate) fn unchecked(&self, node: NodeId) -> Result<Credentials, TlsError> {
        self.credentials(&self.read()?, node)
    }

    /// Read the files.
    pub(super) fn read(&self) -> Result<Material, TlsError> {
        Ok(Material {
            certificate: self.certificate.read()?,
            key: self.key.read()?,
            authorities: self.authorities.read()?,
        })
    }

    /// Make what was read into something to connect and accept with.
    pub(super) fn credentials(&self, material: &Material, node: NodeId) -> Result<Credentials, TlsError> {
        let chain = certificates(&self.certificate, &material.certificate)?;
        let key = private_key(&self.key, &material.key)?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authorities, &material.authorities)? {
            roots
                .add(authority)
                .map_err(|error| bad(&self.authorities, "holds an authority that cannot be used", error))?;
        }
        let origins = Origins { certificate: self.certificate.to_string(), key: self.key.to_string() };
        Credentials::new(node, self.naming.clone(), chain, key, roots, origins)
    }
}

/// Names for messages.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// PEM, or where it is.
#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Given { what: &'static str, bytes: Arc<Vec<u8>> },
}

impl Pem {
    fn read(&self) -> Result<Arc<Vec<u8>>, TlsError> {
        match self {
            Pem::File(path) => {
                std::fs::read(path).map(Arc::new).map_err(|error| TlsError::Read { path: path.clone(), error })
            }
            Pem::Given { bytes, .. } => Ok(Arc::clone(bytes)),
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => path.display().fmt(f),
            Pem::Given { what, .. } => f.write_str(what),
        }
    }
}

/// Without the bytes: a key must not reach a log.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was read.
#[derive(Hash)]
pub(super) struct Material {
    certificate: Arc<Vec<u8>>,
    key: Arc<Vec<u8>>,
    authorities: Arc<Vec<u8>>,
}

impl Material {
    /// Tells whether anything changed, without keeping a second copy of the key.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

fn certificates(origin: &Pem, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(&without_marks(pem)).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| not_pem(origin, &error))?;
    if found.is_empty() {
        return Err(TlsError::Pem { origin: origin.to_string(), why: "holds no certificate in PEM".to_string() });
    }
    Ok(found)
}

fn private_key(origin: &Pem, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = without_marks(pem);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => {
            let why = "holds an encrypted key; it must be in the clear, readable for the server alone".to_string();
            TlsError::Pem { origin: origin.to_string(), why }
        }
        PemError::NoItemsFound => {
            TlsError::Pem { origin: origin.to_string(), why: "holds no private key in PEM".to_string() }
        }
        error => not_pem(origin, &error),
    })
}

/// Some editors write a byte order mark at the start of a file; joined files have it within. It would hide the section
/// that begins there.
fn without_marks(pem: &[u8]) -> Cow<'_, [u8]> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    if !pem.windows(MARK.len()).any(|window| window == MARK) {
        return Cow::Borrowed(pem);
    }
    let (mut clean, mut rest) = (Vec::with_capacity(pem.len()), pem);
    while let Some((first, behind)) = rest.split_first() {
        rest = rest.strip_prefix(MARK).unwrap_or_else(|| {
            clean.push(*first);
            behind
        });
    }
    Cow::Owned(clean)
}

/// Whether PEM that holds no clear key holds an encrypted one, of either form. What a key is called does not matter.
fn is_encrypted(pem: &[u8]) -> bool {
    pem.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY")
            || (line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b",ENCRYPTED"))
    })
}

/// Only what kind of error: its text may quote a line of a key.
fn not_pem(origin: &Pem, error: &PemError) -> TlsError {
    let why = match error {
        PemError::MissingSectionEnd { .. } => "is cut short: the end of a PEM section is missing",
        PemError::Base64Decode(_) => "is damaged: not base64 within a PEM section",
        _ => "is damaged: not PEM",
    };
    TlsError::Pem { origin: origin.to_string(), why: why.to_string() }
}

fn bad(origin: &Pem, what: &str, error: Error) -> TlsError {
    let why = match error {
        Error::InvalidCertificate(error) => format!("{what}: it {}", CertificateFault::from(&error)),
        error => format!("{what}: {error}"),
    };
    TlsError::Pem { origin: origin.to_string(), why }
}

/// How a certificate names a node: a DNS name with the node id in it.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Naming(String);

impl Default for Naming {
    fn default() -> Naming {
        Naming("node-{id}".to_string())
    }
}

impl Naming {
    /// Whether it makes a DNS name of every id, and a different one of each.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        if !self.0.contains(ID) {
            return Err(self.wrong("gives every node the same name: {id} must stand in it for the node id"));
        }
        self.name(NodeId(0)).and(self.name(NodeId(u64::MAX))).map(|_| ())
    }

    /// The name of a node.
    ///
    /// # Errors
    /// If the pattern makes none.
    pub fn name(&self, node: NodeId) -> Result<ServerName<'static>, TlsError> {
        self.fill(&node.0.to_string())
    }

    /// Whether a certificate is `node`'s. Its chain must have been verified.
    ///
    /// # Errors
    /// If it is not, why.
    pub fn check_certificate(&self, node: NodeId, certificate: &CertificateDer<'_>) -> Result<(), CertificateFault> {
        let other = |error: &dyn fmt::Display| CertificateFault::Other(error.to_string());
        let name = self.name(node).map_err(|error| other(&error))?;
        let parsed = ParsedCertificate::try_from(certificate).map_err(|_| CertificateFault::Unreadable)?;
        verify_server_name(&parsed, &name).map_err(|error| match error {
            Error::InvalidCertificate(error) => CertificateFault::from(&error),
            error => other(&error),
        })?;
        // No node is called this, so only a wildcard fits.
        let nobody = self.fill("any").map_err(|error| other(&error))?;
        match verify_server_name(&parsed, &nobody) {
            Ok(()) => Err(CertificateFault::Wildcard { expected: name.to_str().into_owned() }),
            Err(_) => Ok(()),
        }
    }

    fn fill(&self, id: &str) -> Result<ServerName<'static>, TlsError> {
        match ServerName::try_from(self.0.replace(ID, id)) {
            Ok(name @ ServerName::DnsName(_)) => Ok(name),
            _ => Err(self.wrong("makes no DNS names")),
        }
    }

    fn wrong(&self, why: &'static str) -> TlsError {
        TlsError::Naming { pattern: self.0.clone(), why }
    }
}
