//! Each kind of refusal, on each side, as each side tells it.

use std::sync::Arc;

use raft_core::NodeId;
use raft_tokio_driver::tls::{CertificateFault, Refusal, Tls, TlsError};
use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{ClientConfig, version};

use crate::certs::{Authority, DAY, expired, not_yet_valid};
use crate::peers::{
    Ahead, accept_from, client, client_of, connect_to, fault, in_time, incoming, meet, server, server_of, tcp,
};

#[tokio::test]
async fn another_node_at_that_address() {
    let authority = Authority::new("cluster");
    let (near, far) = meet(&authority.tls(1), 3, &authority.tls(4)).await;
    let (near, far) = (fault(near), fault(far));
    assert_eq!(near.to_string(), r#"the peer's certificate is for "node-4", not for "node-3""#);
    assert!(matches!(far, TlsError::Refused(Refusal::BadCertificate)), "{far}");
    assert!(far.to_string().starts_with("the peer refuses us: our certificate does not name the node"), "{far}");
}

#[tokio::test]
async fn an_authority_that_the_connecting_side_does_not_know() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (near, far) = meet(&ours.tls(1), 2, &theirs.tls(2)).await;
    let (near, far) = (fault(near), fault(far));
    assert!(matches!(near, TlsError::Peer(CertificateFault::UnknownAuthority)), "{near}");
    assert_eq!(near.to_string(), "the peer's certificate was issued by none of our authorities");
    assert!(matches!(far, TlsError::Refused(Refusal::UnknownAuthority)), "{far}");
    assert_eq!(far.to_string(), "the peer refuses us: it does not trust the authority of our certificate");
}

/// The connecting side is content, and would hear of it only with its first read.
#[tokio::test]
async fn an_authority_that_the_accepting_side_does_not_know() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let one = ours.node(1).trusting(&[&ours, &theirs]).load(NodeId(1)).unwrap();
    for _ in 0..20 {
        let (near, far) = meet(&one, 2, &theirs.tls(2)).await;
        let (near, far) = (fault(near), fault(far));
        assert!(matches!(near, TlsError::Refused(Refusal::UnknownAuthority)), "{near}");
        assert!(matches!(far, TlsError::Peer(CertificateFault::UnknownAuthority)), "{far}");
    }
}

#[tokio::test]
async fn an_authority_with_the_name_of_ours_and_another_key() {
    let (ours, theirs) = (Authority::new("cluster"), Authority::new("cluster"));
    let (near, far) = meet(&ours.tls(1), 2, &theirs.tls(2)).await;
    let (near, far) = (fault(near), fault(far));
    assert!(matches!(near, TlsError::Peer(CertificateFault::Signature)), "{near}");
    assert!(near.to_string().contains("another authority with the same name"), "{near}");
    assert!(matches!(far, TlsError::Refused(Refusal::Signature)), "{far}");
}

#[tokio::test]
async fn a_peer_whose_certificate_is_out_of_its_time() {
    let authority = Authority::new("cluster");
    let tls = authority.tls(2);
    let old = authority.issue(&["node-1"], expired);
    let young = authority.issue(&["node-1"], not_yet_valid);
    let says_expired = "the peer's certificate expired 3 days ago";
    let says_young = "the peer's certificate is not valid yet: it will be in 5 days; do the clocks agree?";

    let error = accept_from(client(&authority, Some(&old)), "node-2", &tls).await;
    assert!(matches!(error, TlsError::Peer(CertificateFault::Expired { .. })), "{error}");
    assert_eq!(error.to_string(), says_expired);
    assert_eq!(connect_to(server(&authority, &old), &tls, 1).await.to_string(), says_expired);

    let error = accept_from(client(&authority, Some(&young)), "node-2", &tls).await;
    assert!(matches!(error, TlsError::Peer(CertificateFault::NotYetValid { .. })), "{error}");
    assert_eq!(error.to_string(), says_young);
    assert_eq!(connect_to(server(&authority, &young), &tls, 1).await.to_string(), says_young);
}

/// By the clock of the peer, which is years ahead. Its own certificate is one for ever.
#[tokio::test]
async fn a_peer_for_whom_our_certificate_is_out_of_its_time() {
    let authority = Authority::new("cluster");
    let expected = "the peer refuses us: by its clock our certificate has expired, or is not valid yet";
    let issued = authority.issue(&["node-2"], crate::certs::expires_in(30 * DAY));
    let tls = issued.trusting(&[&authority]).load(NodeId(2)).unwrap();

    let mut late = server(&authority, &authority.node(1));
    late.time_provider = Arc::new(Ahead(60 * DAY));
    let error = connect_to(late, &tls, 1).await;
    assert!(matches!(error, TlsError::Refused(Refusal::Expired)), "{error}");
    assert_eq!(error.to_string(), expected);

    let mut late = client(&authority, Some(&authority.node(1)));
    late.time_provider = Arc::new(Ahead(60 * DAY));
    let error = accept_from(late, "node-2", &tls).await;
    assert!(matches!(error, TlsError::Refused(Refusal::Expired)), "{error}");
}

#[tokio::test]
async fn a_peer_without_a_certificate() {
    let authority = Authority::new("cluster");
    let error = accept_from(client(&authority, None), "node-2", &authority.tls(2)).await;
    assert!(matches!(error, TlsError::NoCertificate), "{error}");
    assert_eq!(error.to_string(), "the peer presented no certificate");
    let heard = refusal_heard_by(client(&authority, None), &authority.tls(2)).await;
    assert!(heard.contains("CertificateRequired"), "{heard}");
}

#[tokio::test]
async fn a_certificate_that_would_do_for_every_node() {
    let authority = Authority::new("cluster");
    let issued = authority.issue(&["2.db.test"], |_| {});
    let tls = issued.trusting(&[&authority]).naming("{id}.db.test").load(NodeId(2)).unwrap();
    let wildcard = authority.issue(&["*.db.test"], |_| {});

    let error = connect_to(server(&authority, &wildcard), &tls, 1).await;
    assert!(matches!(error, TlsError::Peer(CertificateFault::Wildcard { .. })), "{error}");
    assert_eq!(
        error.to_string(),
        r#"the peer's certificate is for every node, by a wildcard; it should name "1.db.test""#
    );
}

#[tokio::test]
async fn a_certificate_for_another_use() {
    let authority = Authority::new("cluster");
    let tls = authority.tls(2);
    let only = |purpose| authority.issue(&["node-1"], |params| params.extended_key_usages = vec![purpose]);
    let server_only = only(ExtendedKeyUsagePurpose::ServerAuth);
    let client_only = only(ExtendedKeyUsagePurpose::ClientAuth);

    let error = accept_from(client(&authority, Some(&server_only)), "node-2", &tls).await;
    assert!(matches!(error, TlsError::Peer(CertificateFault::Purpose)), "{error}");
    let error = connect_to(server(&authority, &client_only), &tls, 1).await;
    assert!(matches!(error, TlsError::Peer(CertificateFault::Purpose)), "{error}");
}

#[tokio::test]
async fn a_peer_of_another_protocol() {
    let authority = Authority::new("cluster");
    let (tls, issued) = (authority.tls(2), authority.node(1));
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut other = client(&authority, Some(&issued));
        other.alpn_protocols = protocols.clone();
        let error = accept_from(other, "node-2", &tls).await;
        assert!(matches!(error, TlsError::OtherProtocol), "{protocols:?}: {error}");

        let mut other = server(&authority, &issued);
        other.alpn_protocols = protocols.clone();
        let error = connect_to(other, &tls, 1).await;
        let is_so = matches!(error, TlsError::OtherProtocol | TlsError::Refused(Refusal::OtherProtocol));
        assert!(is_so, "{protocols:?}: {error}");
    }
}

#[tokio::test]
async fn a_peer_of_the_time_before_tls_1_3() {
    let authority = Authority::new("cluster");
    let (tls, issued) = (authority.tls(2), authority.node(1));
    let error = accept_from(client_of(&[&version::TLS12], &authority, Some(&issued)), "node-2", &tls).await;
    assert!(matches!(error, TlsError::Incompatible(_)), "{error}");
    let error = connect_to(server_of(&[&version::TLS12], &authority, &issued), &tls, 1).await;
    let is_so = matches!(error, TlsError::Incompatible(_) | TlsError::Refused(Refusal::Version));
    assert!(is_so, "{error}");
}

/// A peer of another make does not wait for an answer: what it has said already must not make it deaf to why.
#[tokio::test]
async fn a_refused_peer_hears_why_although_it_has_spoken() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let tls = ours.tls(2);
    for _ in 0..20 {
        let heard = refusal_heard_by(client(&ours, Some(&theirs.node(1))), &tls).await;
        assert!(heard.contains("UnknownCA"), "{heard}");
    }
}

/// What a client by rustls alone reads, that has said something before.
async fn refusal_heard_by(config: ClientConfig, tls: &Tls) -> String {
    let (connected, accepted) = tcp().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = async {
        let mut stream = connector.connect("node-2".try_into().unwrap(), connected).await.unwrap();
        let _ = stream.write_all(&[7; 10_000]).await;
        let _ = stream.flush().await;
        stream.read_u8().await.unwrap_err().to_string()
    };
    in_time(async { tokio::join!(connect, incoming(tls, accepted)).0 }).await
}
