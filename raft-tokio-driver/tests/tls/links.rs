//! Who is accepted, and as whom.

use std::sync::Arc;

use raft_core::NodeId;
use raft_std_driver::net::{Channel, Hello};
use raft_std_driver::storage::ClusterId;
use raft_tokio_driver::tls::{CertificateFault, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

use crate::certs::Authority;
use crate::peers::{client, fault, in_time, incoming, meet, talk, tcp};

#[tokio::test]
async fn nodes_of_one_authority_accept_each_other_over_tcp() {
    let authority = Authority::new("cluster");
    let (one, two) = (authority.tls(1), authority.tls(2));
    for (from, to, id) in [(&one, &two, 2), (&two, &one, 1)] {
        let (near, far) = meet(from, id, to).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
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
    far.unwrap();
    let (near, far) = meet(&root.tls(2), 1, &one).await;
    near.unwrap();
    far.unwrap();
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
    far.unwrap();
    match fault(meet(&node(1), 3, &node(2)).await.0) {
        TlsError::Peer(CertificateFault::Name { expected, presented }) => {
            assert_eq!((expected.as_str(), presented), ("raft-3.db.test", vec!["raft-2.db.test".to_string()]));
        }
        other => panic!("{other}"),
    }
}

/// A ticket would let a client back in without its certificate being looked at.
#[tokio::test]
async fn nothing_is_resumed() {
    let authority = Authority::new("cluster");
    let tls = authority.tls(2);
    let eager = TlsConnector::from(Arc::new(client(&authority, Some(&authority.node(1)))));
    for _ in 0..3 {
        let (connected, accepted) = tcp().await;
        let hello = Hello {
            channel: Channel::Messages,
            cluster: ClusterId(1),
            birth: 0,
            from: NodeId(1),
            to: NodeId(2),
            address: String::new(),
        };
        let connect = async {
            let mut stream = eager.connect("node-2".try_into().unwrap(), connected).await.unwrap();
            stream.write_all(&hello.encode()).await.unwrap();
            stream.flush().await.unwrap();
            // A ticket would come before the answer.
            stream.read_u8().await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        };
        let (_, accepted) = in_time(async { tokio::join!(connect, incoming(&tls, accepted)) }).await;
        accepted.unwrap();
    }
}
