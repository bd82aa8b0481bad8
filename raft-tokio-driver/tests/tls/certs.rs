//! Authorities and certificates, good and bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raft_core::NodeId;
use raft_tokio_driver::tls::{Tls, TlsConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

use tokio_rustls::rustls::pki_types::CertificateDer;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What is between certificates of this authority and the root.
    between: String,
}

pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        Authority { issuer: CertifiedIssuer::self_signed(authority_params(name), key).unwrap(), between: String::new() }
    }

    /// One that this one answers for.
    pub(crate) fn intermediate(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(authority_params(name), key, &self.issuer).unwrap();
        Authority { between: issuer.pem(), issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A good certificate.
    pub(crate) fn node(&self, id: u64) -> Issued {
        self.issue(&[&format!("node-{id}")], |_| {})
    }

    /// A certificate with these names, changed a little.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem() + &self.between, key: key.serialize_pem() }
    }

    /// Node `id` with its certificate of this authority, trusting this one only.
    pub(crate) fn tls(&self, id: u64) -> Tls {
        self.node(id).trusting(&[self]).load(NodeId(id)).unwrap()
    }
}

impl Issued {
    pub(crate) fn trusting(&self, authorities: &[&Authority]) -> TlsConfig {
        TlsConfig::bytes(self.certificate.clone(), self.key.clone(), bundle(authorities))
    }
}

pub(crate) fn bundle(authorities: &[&Authority]) -> String {
    authorities.iter().map(|authority| authority.pem()).collect()
}

/// Three days ago.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1970, 1, 1) + (now() - 30 * DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + (now() - 3 * DAY - DAY / 2);
}

/// In five days.
pub(crate) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1970, 1, 1) + (now() + 5 * DAY + DAY / 2);
}

pub(crate) fn expires_in(time: Duration) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.not_after = date_time_ymd(1970, 1, 1) + (now() + time)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The three files of a node.
pub(crate) struct Files {
    _folder: tempfile::TempDir,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authorities: PathBuf,
}

impl Files {
    pub(crate) fn new(issued: &Issued, authorities: &[&Authority]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let files = Files {
            certificate: file("node.pem"),
            key: file("node.key"),
            authorities: file("authorities.pem"),
            _folder: folder,
        };
        files.put(issued);
        write(&files.authorities, &bundle(authorities));
        files
    }

    pub(crate) fn put(&self, issued: &Issued) {
        write(&self.certificate, &issued.certificate);
        write(&self.key, &issued.key);
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::files(&self.certificate, &self.key, &self.authorities)
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}
