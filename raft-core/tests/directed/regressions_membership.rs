//! Bugs that other implementations had with who belongs to a cluster, as far as a configuration can come into a log or a
//! snapshot here.

use crate::kit::*;
use raft_core::{
    Entries, Entry, EntryId, Event, Index, Membership, NodeId, Payload, RoleKind, Rpc, Status, Term, Write, WriteId,
};

const NOTHING: EntryId = EntryId::ZERO;

fn joint(incoming: &[u64], outgoing: &[u64]) -> Membership {
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    Membership::joint(ids(incoming), ids(outgoing), [])
}

/// Server 1, which has this configuration as its first entry and knows nothing to be committed, as a candidate in term 2.
fn candidate(members: &Membership) -> Server {
    let mut kept = Kept::new(1, &[1]).with_log(1, &[]);
    let payload = Payload::Membership(members.clone().into());
    kept.write(&Write {
        id: WriteId::from_number(1),
        hard_state: None,
        snapshot: None,
        entries: Entries::from_vec(Index(1), vec![Entry { term: Term(1), payload }]).unwrap(),
    });
    let mut server = Server::restored(config(1), kept);
    server.campaign();
    assert_eq!(server.role(), (RoleKind::Candidate, 2), "{members:?}");
    server
}

/// While a configuration is joint, a vote or an entry that only one of its halves supports is not decided (§6).
#[test]
fn joint_needs_both() {
    // Who is not enough, in this order; who decides; and what is committed then: where C_new is the leader alone, all.
    let cases = [
        (joint(&[1, 2, 3], &[1]), vec![], 2, 3),
        (joint(&[1], &[1, 2, 3]), vec![], 3, 5),
        (joint(&[1, 2, 3], &[3, 4, 5]), vec![2, 5], 4, 4),
    ];
    for (members, undecided, decisive, committed) in cases {
        let mut server = candidate(&members);
        for &voter in &undecided {
            server.receive(voter, 2, GRANTED);
            assert_eq!(server.role(), (RoleKind::Candidate, 2), "{members:?}: {voter}");
        }
        server.receive(decisive, 2, GRANTED);
        assert_eq!(server.role(), (RoleKind::Leader, 2), "{members:?}");
        assert_eq!(server.terms(), [1, 2], "a no-op, that what is unfinished may commit");

        // One half has more than the other: what both have is committed.
        server.start(&["x", "y"]);
        for &follower in &undecided {
            server.receive(follower, 2, matched(4));
        }
        assert_eq!(server.status().commit(), Index(0), "{members:?}");
        server.receive(decisive, 2, matched(3));
        assert_eq!(server.status().commit(), Index(committed), "{members:?}");
    }
}

/// The same for a configuration that came as an entry and is not even committed: it rules from when it is appended.
#[test]
fn a_joint_configuration_rules_when_it_is_appended() {
    let mut server = Server::new(1, &[1]);
    let payload = Payload::Membership(joint(&[1, 2, 3], &[1]).into());
    let entries = Entries::from_vec(Index(1), vec![Entry { term: Term(1), payload }]).unwrap();
    server.receive(9, 1, append(NOTHING, entries, 0));
    server.ticks(20);
    server.campaign();
    assert_eq!(server.role(), (RoleKind::Candidate, 2), "its own vote is a majority of the old half only");
    server.receive(3, 2, GRANTED);
    assert_eq!(server.role(), (RoleKind::Leader, 2));
}

fn facts(status: Status<'_>) -> (Term, RoleKind, Index, EntryId, Vec<Index>) {
    let matched = status.followers().map(|follower| follower.matched.index).collect();
    (status.term(), status.role(), status.commit(), status.last(), matched)
}

/// A server that a configuration has removed may go on talking: nothing that it says counts, and nothing panics.
#[test]
fn messages_from_removed_peer() {
    let everything = |term: u64| {
        [
            Rpc::PreVote { last: id(term, 9) },
            PRE_GRANTED,
            PRE_REFUSED,
            Rpc::RequestVote { last: id(term, 9), transfer: false },
            GRANTED,
            REFUSED,
            matched(9),
            matched_in(u64::MAX, u64::MAX),
            full(9, 9),
            conflict(1, NOTHING),
        ]
    };
    // Server 3 was a member; entry 2 removes it.
    let config = |ids: &[u64]| Payload::Membership(membership(ids).into());
    let removal = Entry { term: Term(1), payload: config(&[1, 2]) };
    let entries = Entries::from_vec(Index(2), vec![removal]).unwrap();
    let mut server = Server::with_log(1, &[1, 2, 3], 1, &[1]);
    server.config.farewell_ticks = 1;
    let mut leader = server.crashed();
    leader.receive(2, 1, append(id(1, 1), entries, 1));
    leader.ticks(20);
    leader.elect();
    assert_eq!(leader.terms(), [1, 1, 2]);
    leader.receive(2, 2, matched(3));
    // It was told, and its time is over.
    leader.ticks(6);
    leader.receive(2, 2, matched_in(2, 3));
    let before = facts(leader.status());
    assert_eq!(before.0, Term(2));
    for term in [0, 1, 2, 3, u64::MAX] {
        for rpc in everything(term) {
            leader.receive(3, term, rpc);
        }
    }
    leader.receive(3, 1, append(id(1, 1), log(2, &[1, 1]), 3));
    leader.step(Event::SnapshotSent { to: NodeId(3), snapshot: id(1, 1), delivered: true });
    leader.step(Event::Unreachable { peer: NodeId(3) });
    assert_eq!(facts(leader.status()), before);
    assert!(sent_to(&leader.ticks(2), 3).is_empty(), "nor is it served any more");
}
