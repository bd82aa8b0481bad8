//! Who is accepted, and as whom.

use std::sync::Arc;

use raft_core::NodeId;
use raft_tokio_driver::tls::{CertificateFault, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certs::Authority;
use crate::peers::{client, in_time, incoming, meet, outgoing, plain, server, talk, tcp};

#[tokio::test]
async fn nodes_of_one_authority_accept_each_other_over_tcp() {
    let authority = Authority::new("cluster");
    let (one, two) = (authority.tls(1), authority.tls(2));
    for (from, to, id) in [(&one, &two, 2), (&two, &one, 1)] {
        let (near, far) = meet(from, id, to).await;
        let (mut near, (mut far, proof)) = (near.unwrap(), far.unwrap());
        proof.check(NodeId(3 - id)).unwrap();
        talk(&mut near, &mut far).await;
    }
}

/// A process that is killed says no farewell; what it said before is heard, and then the end.
#[tokio::test]
async fn a_peer_that_dies_ends_its_links_like_any_other() {
    let authority = Authority::new("cluster");
    for dies_first in [false, true] {
        let (near, far) = meet(&authority.tls(1), 2, &authority.tls(2)).await;
        let (near, far) = (near.unwrap(), far.unwrap().0);
        let (mut dies, mut stays) = if dies_first { (near, far) } else { (far, near) };
        dies.write_all(b"last words").await.unwrap();
        dies.flush().await.unwrap();
        drop(dies);
        let mut heard = Vec::new();
        in_time(stays.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"last words");
    }
}

#[tokio::test]
async fn they_do_over_any_stream_and_however_small_its_buffer() {
    let authority = Authority::new("cluster");
    let (one, two) = (authority.tls(1), authority.tls(2));
    // rustls writes a record of 6 bytes to the end before it reads on.
    for buffer in [7, 100, 65_536] {
        let (near, far) = tokio::io::duplex(buffer);
        let (near, far) = tokio::join!(outgoing(&one, 2, near), incoming(&two, far));
        let (mut near, (mut far, proof)) = (near.unwrap(), far.unwrap());
        proof.check(NodeId(1)).unwrap();
        talk(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn an_authority_may_answer_for_another() {
    let root = Authority::new("root");
    let intermediate = root.intermediate("rack 7");
    let one = intermediate.node(1).trusting(&[&root]).load(NodeId(1)).unwrap();
    let (near, far) = meet(&one, 2, &root.tls(2)).await;
    near.unwrap();
    far.unwrap().1.check(NodeId(1)).unwrap();
    let (near, far) = meet(&root.tls(2), 1, &one).await;
    near.unwrap();
    far.unwrap().1.check(NodeId(2)).unwrap();
}

#[tokio::test]
async fn who_connects_must_be_who_it_says() {
    let authority = Authority::new("cluster");
    let (near, far) = meet(&authority.tls(11), 2, &authority.tls(2)).await;
    near.unwrap();
    let (_, proof) = far.unwrap();
    proof.check(NodeId(11)).unwrap();
    for claimed in [0, 1, 2, 3, 111, u64::MAX] {
        let error = plain(proof.check(NodeId(claimed)).unwrap_err());
        let expected = format!("the peer's certificate is for \"node-11\", not for \"node-{claimed}\"");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn names_follow_the_pattern() {
    let authority = Authority::new("cluster");
    let pattern = "raft-{id}.db.test";
    let node = |id: u64| {
        let issued = authority.issue(&[&format!("raft-{id}.db.test")], |_| {});
        issued.trusting(&[&authority]).naming(pattern).load(NodeId(id)).unwrap()
    };
    let (near, far) = meet(&node(1), 2, &node(2)).await;
    near.unwrap();
    let (_, proof) = far.unwrap();
    proof.check(NodeId(1)).unwrap();
    match plain(proof.check(NodeId(3)).unwrap_err()) {
        TlsError::Peer(CertificateFault::Name { expected, presented }) => {
            assert_eq!((expected.as_str(), presented), ("raft-3.db.test", vec!["raft-1.db.test".to_string()]));
        }
        other => panic!("{other}"),
    }
}

/// A ticket would let a client back in without its certificate being looked at.
#[tokio::test]
async fn nothing_is_resumed_on_either_side() {
    let authority = Authority::new("cluster");
    let tls = authority.tls(2);

    let eager = TlsConnector::from(Arc::new(client(&authority, Some(&authority.node(1)))));
    for _ in 0..3 {
        let (connected, accepted) = tcp().await;
        let connect = async {
            let mut stream = eager.connect("node-2".try_into().unwrap(), connected).await.unwrap();
            // A ticket would come before the welcome.
            stream.read_u8().await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        };
        let (_, accepted) = in_time(async { tokio::join!(connect, incoming(&tls, accepted)) }).await;
        accepted.unwrap();
    }

    let generous = TlsAcceptor::from(Arc::new(server(&authority, &authority.node(1))));
    for _ in 0..3 {
        let (connected, accepted) = tcp().await;
        let accept = async {
            let mut stream = generous.accept(accepted).await.unwrap();
            stream.write_u8(1).await.unwrap();
            stream.flush().await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            stream
        };
        let (_kept, connected) = in_time(async { tokio::join!(accept, outgoing(&tls, 1, connected)) }).await;
        connected.unwrap();
    }
}
