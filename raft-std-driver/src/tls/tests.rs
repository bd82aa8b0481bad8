//! Certificates, good and bad, and the files they are read from.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft_core::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

use super::*;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for server `id`, changed a little.
    pub(crate) fn issue(&self, id: u64, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new([format!("node-{id}")]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// What server `id` makes its links safe with, trusting this authority only.
    pub(crate) fn credentials(&self, id: u64) -> Arc<Credentials> {
        self.config(&self.issue(id, |_| {})).load(NodeId(id)).unwrap().credentials()
    }

    pub(crate) fn config(&self, issued: &Issued) -> TlsConfig {
        TlsConfig::bytes(issued.certificate.clone(), issued.key.clone(), self.pem())
    }
}

/// Three days ago.
pub(crate) fn expired(params: &mut CertificateParams) {
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    params.not_before = date_time_ymd(1970, 1, 1) + (now - 30 * day);
    params.not_after = date_time_ymd(1970, 1, 1) + (now - 3 * day);
}

#[test]
fn a_byte_order_mark_hides_nothing() {
    let authority = Authority::new("cluster");
    let Issued { certificate, key } = authority.issue(1, |_| {});
    let marked = |pem: &str| format!("\u{feff}{pem}");
    let config = TlsConfig::bytes(marked(&certificate), marked(&key), marked(&authority.pem()));
    config.load(NodeId(1)).unwrap();

    // Of joined files, the second one must not be forgotten.
    let other = Authority::new("other");
    let both = marked(&other.pem()) + &marked(&authority.pem());
    TlsConfig::bytes(certificate, key, both).load(NodeId(1)).unwrap();
}

#[test]
fn a_clear_key_may_have_any_name() {
    let authority = Authority::new("cluster");
    let Issued { certificate, key } = authority.issue(1, |_| {});
    let named = format!("Bag Attributes\n    friendlyName: NOT ENCRYPTED\nKey Attributes: <No Attributes>\n{key}");
    TlsConfig::bytes(certificate.clone(), named, authority.pem()).load(NodeId(1)).unwrap();

    let pkcs8 = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                  -----END RSA PRIVATE KEY-----\n";
    for encrypted in [pkcs8, legacy.to_owned(), legacy.replace('\n', "\r\n")] {
        let error = TlsConfig::bytes(certificate.clone(), encrypted, authority.pem()).load(NodeId(1)).unwrap_err();
        assert!(error.to_string().contains("holds an encrypted key"), "{error}");
    }
}

#[test]
fn a_watch_takes_what_is_new_until_it_is_dropped() {
    let (authority, folder) = (Authority::new("cluster"), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let put = || {
        let Issued { certificate, key } = authority.issue(1, |_| {});
        std::fs::write(path("key"), key).unwrap();
        std::fs::write(path("certificate"), certificate).unwrap();
    };
    put();
    std::fs::write(path("authorities"), authority.pem()).unwrap();
    let tls = TlsConfig::files(path("certificate"), path("key"), path("authorities")).load(NodeId(1)).unwrap();
    let watch = tls.watch(Duration::from_millis(1));
    put();
    let patience = Instant::now() + Duration::from_secs(20);
    while tls.changes() == 0 {
        assert!(Instant::now() < patience, "nobody looks");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(watch);
    // The thread lets go of its share.
    while Arc::strong_count(&tls.shared) > 1 {
        assert!(Instant::now() < patience, "it looks on");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(tls.changes(), 1);
}

#[test]
fn nothing_printed_holds_a_key() {
    let authority = Authority::new("cluster");
    let issued = authority.issue(1, |_| {});
    let tls = authority.config(&issued).load(NodeId(1)).unwrap();
    let printed = format!("{tls:?} {:?} {:?}", tls.credentials(), authority.config(&issued));
    assert!(issued.key.lines().all(|line| line.starts_with('-') || !printed.contains(line)), "{printed}");
    assert_eq!(format!("{:?}", tls.credentials()), "Credentials { node: NodeId(1), .. }");
}
