//! Certificates and authorities change while links stand.

use std::time::Duration;

use raft_core::NodeId;
use raft_tokio_driver::tls::{CertificateFault, Refusal, Tls, TlsError};

use crate::certs::{Authority, Files, bundle, expired, write};
use crate::peers::{fault, in_time, meet, talk};

/// New certificates have come into use so often.
async fn changed(tls: &Tls, count: u64) {
    while tls.changes() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A new link between these two is made, or not.
async fn linked(one: &Tls, two: &Tls) -> Result<(), TlsError> {
    let (near, far) = meet(one, two.node().0, two).await;
    far.and(near).map(|_| ())
}

/// The way of `docs/tls.md`: trust both, change certificates, trust the new one only. The authorities have one name, as often.
#[tokio::test]
async fn an_authority_is_replaced_without_a_link_lost() {
    let (old, new) = (Authority::new("cluster"), Authority::new("cluster"));
    let files = [1, 2].map(|id| Files::new(&old.node(id), &[&old]));
    let nodes = [0, 1].map(|i| files[i].config().load(NodeId(i as u64 + 1)).unwrap());
    let [one, two] = &nodes;
    let (near, far) = meet(one, 2, two).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());

    // Each step is taken by one node after the other, and new links are possible all the time.
    let mut links = vec![];
    for step in 0..3 {
        for (i, node) in nodes.iter().enumerate() {
            match step {
                0 => write(&files[i].authorities, &bundle(&[&old, &new])),
                1 => files[i].put(&new.node(i as u64 + 1)),
                _ => write(&files[i].authorities, &bundle(&[&new])),
            }
            node.reload().unwrap();
            linked(one, two).await.unwrap();
            linked(two, one).await.unwrap();
            talk(&mut near, &mut far).await;
            let (near, far) = meet(two, 1, one).await;
            links.push((near.unwrap(), far.unwrap()));
        }
    }
    for (near, far) in &mut links {
        talk(near, far).await;
    }
    assert_eq!(one.changes(), 3);

    // The old authority is nothing any more: a node that slept through it is not let in.
    let late = old.node(2).trusting(&[&old, &new]).load(NodeId(2)).unwrap();
    let (near, far) = meet(&late, 1, one).await;
    assert!(matches!(fault(near), TlsError::Refused(Refusal::Signature)));
    assert!(matches!(fault(far), TlsError::Peer(CertificateFault::Signature)));
}

#[tokio::test]
async fn what_cannot_be_loaded_changes_nothing() {
    let authority = Authority::new("cluster");
    let files = Files::new(&authority.node(1), &[&authority]);
    let one = files.config().load(NodeId(1)).unwrap();
    let two = authority.tls(2);

    let attempts: [(&dyn Fn(), &str); 5] = [
        (&|| files.put(&authority.issue(&["node-1"], expired)), "expired 3 days ago"),
        (&|| files.put(&authority.node(3)), r#"is for "node-3", not for "node-1""#),
        (&|| write(&files.key, &authority.node(1).key), "is not the one of the certificate"),
        (&|| write(&files.authorities, "-----BEGIN CERT"), "is damaged: not PEM"),
        (&|| std::fs::remove_file(&files.certificate).unwrap(), "cannot read "),
    ];
    for (spoil, why) in attempts {
        spoil();
        let error = one.reload().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        linked(&one, &two).await.unwrap();
        linked(&two, &one).await.unwrap();
    }
    let error = one.replace(authority.node(3).trusting(&[&authority])).unwrap_err();
    assert!(matches!(error, TlsError::Own { .. }), "{error}");
    linked(&two, &one).await.unwrap();
    assert_eq!(one.changes(), 0);

    // And it is still the files that the next reload reads.
    files.put(&authority.node(1));
    write(&files.authorities, &authority.pem());
    one.reload().unwrap();
    assert_eq!(one.changes(), 1);
}

#[tokio::test]
async fn pem_from_elsewhere_is_replaced_whole() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let one = old.tls(1);
    let clone = one.clone();
    one.replace(new.node(1).trusting(&[&new])).unwrap();
    linked(&clone, &new.tls(2)).await.unwrap();
    assert!(linked(&clone, &old.tls(2)).await.is_err());
    clone.reload().unwrap();
    linked(&one, &new.tls(2)).await.unwrap();
}

/// Also when the files do not fit together for a while, and with the same length and time stamp.
#[tokio::test]
async fn a_watch_takes_what_is_new_until_it_is_dropped() {
    let authority = Authority::new("cluster");
    let files = Files::new(&authority.node(1), &[&authority]);
    let tls = files.config().load(NodeId(1)).unwrap();
    let watch = tls.watch(Duration::from_millis(1));

    for round in 1..=3 {
        let stamp = std::fs::metadata(&files.certificate).unwrap().modified().unwrap();
        let next = authority.node(1);
        write(&files.key, &next.key);
        write(&files.certificate, &next.certificate);
        let file = std::fs::File::options().write(true).open(&files.certificate).unwrap();
        file.set_modified(stamp).unwrap();
        in_time(changed(&tls, round)).await;
    }
    // Each pair once, however often it looks: it has the time for many looks meanwhile.
    let two = authority.tls(2);
    for _ in 0..20 {
        linked(&tls, &two).await.unwrap();
    }
    assert_eq!(tls.changes(), 3);

    drop(watch);
    files.put(&authority.node(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(tls.changes(), 3, "nobody looks any more");
}
