//! What cannot work is said at the start, with the file that it is about.

use std::fs;

use raft_core::NodeId;
use raft_tokio_driver::tls::{CertificateFault, Tls, TlsConfig, TlsError};

use crate::certs::{Authority, DAY, Files, Issued, expired, expires_in, not_yet_valid, write};

fn refused(config: TlsConfig, node: u64) -> TlsError {
    match config.load(NodeId(node)) {
        Ok(_) => panic!("loaded"),
        Err(error) => error,
    }
}

/// Why node 1 refuses its own certificate.
fn own_fault(authority: &Authority, issued: &Issued) -> CertificateFault {
    match refused(issued.trusting(&[authority]), 1) {
        TlsError::Own { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let authority = Authority::new("cluster");
    for which in 0..3 {
        let files = Files::new(&authority.node(1), &[&authority]);
        files.config().load(NodeId(1)).unwrap();
        let path = [&files.certificate, &files.key, &files.authorities][which];
        fs::remove_file(path).unwrap();
        let error = refused(files.config(), 1);
        assert!(matches!(error, TlsError::Read { .. }), "{error}");
        let said = error.to_string();
        assert!(said.starts_with(&format!("cannot read {}: ", path.display())), "{said}");
    }
}

#[test]
fn files_that_hold_something_else_are_named_with_what_is_missing() {
    let authority = Authority::new("cluster");
    let issued = authority.node(1);
    let cut = |pem: &str| pem[..pem.len() / 2].to_string();
    let damaged = |pem: &str| pem.replacen("MI", "M!", 1);
    let lacks = |bad: String, which: usize| -> String {
        let files = Files::new(&issued, &[&authority]);
        let path = [&files.certificate, &files.key, &files.authorities][which];
        write(path, &bad);
        let error = refused(files.config(), 1);
        assert!(matches!(error, TlsError::Pem { .. }), "{error}");
        let said = error.to_string();
        let why = said.strip_prefix(&format!("{} ", path.display()));
        why.unwrap_or_else(|| panic!("{said:?} names another file")).to_string()
    };

    for which in [0, 2] {
        for nothing in [String::new(), "garbage\n".to_string(), issued.key.clone(), "\u{fffd}\0".repeat(1000)] {
            assert_eq!(lacks(nothing, which), "holds no certificate in PEM");
        }
        assert_eq!(lacks(cut(&issued.certificate), which), "is cut short: the end of a PEM section is missing");
        assert_eq!(lacks(damaged(&issued.certificate), which), "is damaged: not base64 within a PEM section");
    }
    for nothing in [String::new(), "garbage\n".to_string(), issued.certificate.clone()] {
        assert_eq!(lacks(nothing, 1), "holds no private key in PEM");
    }
    assert_eq!(lacks(cut(&issued.key), 1), "is cut short: the end of a PEM section is missing");
    assert_eq!(lacks(damaged(&issued.key), 1), "is damaged: not base64 within a PEM section");
    let encrypted = issued.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(lacks(encrypted, 1).starts_with("holds an encrypted key"));

    // PEM, but of nothing.
    let section = |name: &str| format!("-----BEGIN {name}-----\nAAAA\n-----END {name}-----\n");
    assert!(lacks(section("PRIVATE KEY"), 1).starts_with("holds a key that cannot be used"));
    let hollow = lacks(section("CERTIFICATE"), 2);
    assert_eq!(hollow, "holds an authority that cannot be used: it cannot be understood: it must be X.509, version 3");
    let hollow = Issued { certificate: section("CERTIFICATE"), key: issued.key };
    assert_eq!(own_fault(&authority, &hollow), CertificateFault::Unreadable);
}

#[test]
fn key_and_certificate_must_be_a_pair() {
    let authority = Authority::new("cluster");
    let files = Files::new(&authority.node(1), &[&authority]);
    write(&files.key, &authority.node(1).key);
    let error = refused(files.config(), 1);
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
    let (key, certificate) = (files.key.display(), files.certificate.display());
    assert_eq!(error.to_string(), format!("the key in {key} is not the one of the certificate in {certificate}"));
}

#[test]
fn a_certificate_must_name_this_node() {
    let authority = Authority::new("cluster");
    let files = Files::new(&authority.node(4), &[&authority]);
    let error = refused(files.config(), 3);
    let path = files.certificate.display();
    assert_eq!(error.to_string(), format!(r#"our own certificate in {path} is for "node-4", not for "node-3""#));

    // An old-fashioned one has its name in the subject only.
    let nameless = authority.issue(&[], |_| {}).trusting(&[&authority]);
    let said = refused(nameless, 3).to_string();
    assert!(said.ends_with(r#"has no subject alternative name; it should have the DNS name "node-3""#), "{said}");

    // Names come from outside, and may be many.
    let names: Vec<String> = (10..30).map(|i| format!("node-{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let said = refused(authority.issue(&names, |_| {}).trusting(&[&authority]), 3).to_string();
    assert!(said.ends_with(r#""node-17" and 12 more, not for "node-3""#), "{said}");

    let several = authority.issue(&["node-3", "host.test", "node-4"], |_| {});
    several.trusting(&[&authority]).load(NodeId(3)).unwrap();
    several.trusting(&[&authority]).load(NodeId(4)).unwrap();
}

#[test]
fn a_certificate_must_be_one_that_peers_accept() {
    let authority = Authority::new("cluster");
    let fault = own_fault(&authority, &authority.issue(&["node-1"], expired));
    assert!(matches!(fault, CertificateFault::Expired { .. }), "{fault}");
    let fault = own_fault(&authority, &authority.issue(&["node-1"], not_yet_valid));
    assert!(matches!(fault, CertificateFault::NotYetValid { .. }), "{fault}");
    assert_eq!(own_fault(&Authority::new("other"), &authority.node(1)), CertificateFault::UnknownAuthority);
    let authoritative = authority.issue(&["node-1"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert_eq!(own_fault(&authority, &authoritative), CertificateFault::Authority);
    for purpose in [rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth] {
        let one_way = authority.issue(&["node-1"], |params| params.extended_key_usages = vec![purpose]);
        assert_eq!(own_fault(&authority, &one_way), CertificateFault::Purpose);
    }
    authority
        .issue(&["node-1"], |params| params.extended_key_usages = vec![])
        .trusting(&[&authority])
        .load(NodeId(1))
        .unwrap();
}

#[test]
fn a_wildcard_names_nobody() {
    let authority = Authority::new("cluster");
    let issued = authority.issue(&["*.db.test"], |_| {});
    let error = refused(issued.trusting(&[&authority]).naming("node-{id}.db.test"), 1);
    let expected = CertificateFault::Wildcard { expected: "node-1.db.test".to_string() };
    assert!(matches!(&error, TlsError::Own { fault, .. } if *fault == expected), "{error}");
}

#[test]
fn a_naming_must_tell_nodes_apart() {
    let authority = Authority::new("cluster");
    let issued = authority.issue(&["node-1", "raft.test", "1.raft.test"], |_| {});
    issued.trusting(&[&authority]).naming("{id}.raft.test").load(NodeId(1)).unwrap();
    for bad in ["raft.test", "", "10.0.0.{id}", "node {id}", &format!("{}{{id}}", "n".repeat(50))] {
        let error = refused(issued.trusting(&[&authority]).naming(bad), 1);
        assert!(matches!(error, TlsError::Naming { .. }), "{bad:?}: {error}");
        assert!(error.to_string().contains(bad), "{error}");
    }
}

#[test]
fn a_monitor_can_ask_ahead() {
    let authority = Authority::new("cluster");
    let tls = authority.issue(&["node-1"], expires_in(10 * DAY)).trusting(&[&authority]).load(NodeId(1)).unwrap();
    let now = std::time::SystemTime::now();
    tls.check_at(now + 9 * DAY).unwrap();
    let error = tls.check_at(now + 13 * DAY + DAY / 2).unwrap_err();
    assert_eq!(error.to_string(), "our own certificate in the given certificate PEM expired 3 days ago");
}

/// Nothing that may reach a log has a word of the key in it.
#[test]
fn the_key_is_never_printed() {
    let authority = Authority::new("cluster");
    let issued = authority.node(1);
    let secrets: Vec<&str> = issued.key.lines().filter(|line| !line.starts_with('-')).collect();
    let config = issued.trusting(&[&authority]);
    let tls: Tls = config.clone().load(NodeId(1)).unwrap();
    let spoiled = issued.key.replacen("-----END", "----END", 1);
    let spoiled = TlsConfig::bytes(issued.certificate.clone(), spoiled, authority.pem());
    let illegal = issued.key.replacen("PRIVATE KEY-----", "PRIVATE KEY----", 1);
    let illegal = TlsConfig::bytes(issued.certificate.clone(), illegal, authority.pem());
    let mut printed = format!("{config:?} {tls:?}");
    for bad in [spoiled, illegal] {
        let error = refused(bad, 1);
        printed += &format!("{error} {error:?}");
    }
    for secret in secrets {
        assert!(!printed.contains(secret), "{printed}");
        let bytes = format!("{:?}", secret.as_bytes());
        assert!(!printed.contains(&bytes[1..bytes.len() - 1]), "{printed}");
    }
}
