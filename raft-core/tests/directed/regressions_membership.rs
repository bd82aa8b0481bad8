//! Bugs that other implementations had with who belongs to a cluster, as far as a configuration can come into a log or a
//! snapshot here.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, Address, Bytes, Change, Edit, EditError, Entries, Entry, EntryId, Event, Incarnation, Index, MemberRole,
    Membership, NodeId, Payload, Refusal, RequestId, RoleKind, Rpc, Status, Term, Write, WriteId, codec,
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

fn change(edits: Vec<Edit>) -> Event {
    Event::Change { request: RequestId(1), change: Change { expected: None, edits }.into() }
}

/// A leader that is demoted leads its own change to the end, and a change whose leader dies in the middle is ended by the next
/// one: no joint configuration is left behind.
#[test]
fn leader_demoted_in_joint() {
    for dies in [false, true] {
        let mut cluster = Cluster::new(3, |config| config.leader_noop = true);
        cluster.tick_until(100, |cluster| cluster.leader().is_some());
        cluster.tick_until(20, Cluster::agrees);
        let leader = cluster.leader().unwrap();
        let asked = change(vec![Edit::Demote { id: NodeId(leader) }]);
        if dies {
            // What it appended gets to one other server, and nobody hears of it again.
            let actions = cluster.server(leader).step(asked);
            let other = leader % 3 + 1;
            let [append] = &sent_to(&actions, other)[..] else { panic!("{actions:?}") };
            let term = cluster.server(leader).status().term().0;
            cluster.server(other).receive(leader, term, append.clone());
            cluster.cut.insert(leader);
        } else {
            cluster.step(leader, asked);
        }
        let settled = |server: &Server| {
            let membership = server.status().membership().clone();
            let role = membership.member(NodeId(leader)).map(|member| member.role);
            !membership.is_joint() && role == Some(MemberRole::Learner { wanted: None })
        };
        cluster.tick_until(200, |cluster| {
            let reachable = |server: &&Server| !cluster.cut.contains(&server.config.id.0);
            cluster.servers.iter().filter(reachable).all(settled) && cluster.agrees()
        });
        assert_ne!(cluster.leader(), Some(leader));
        assert_ne!(cluster.server(leader).role().0, if dies { RoleKind::Candidate } else { RoleKind::Leader });
    }
}

/// A newcomer is written to in the step that adds it, and what is known of it survives its promotion.
#[test]
fn new_peer_probed_at_once() {
    let mut server = leader(|_| {});
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    let asked = server.step(change(vec![Edit::AddVoter { id: NodeId(4), address: Address::default() }]));
    assert_eq!(appends_to(&asked, 4), [(id(1, 2), 2, 1)]);
    let mut promoted = false;
    for _ in 0..100 {
        for action in server.ticks(1) {
            let Action::Send { to, message } = action else { continue };
            let Rpc::AppendEntries { round, reply: true, .. } = message.rpc else { continue };
            let through = server.last().index.0;
            let life = if to == NodeId(4) { Incarnation::joined(4) } else { life(to.0) };
            let before = server.follower(4);
            server.receive_from_life(to.0, life, 1, matched_in(round, through));
            let votes = |server: &Server| server.status().membership().is_voter(NodeId(4));
            if votes(&server) && !promoted {
                promoted = true;
                let after = server.follower(4);
                assert_eq!((after.matched >= before.matched, after.flow), (true, before.flow));
                assert_eq!(after.disk, before.disk);
            }
        }
    }
    assert!(promoted, "{}", server.status().membership());
}

/// A candidate that learns that it was removed does not win with votes that were on their way, and campaigns no more once that
/// is committed.
#[test]
fn no_lead_when_removed_while_campaigning() {
    let mut server = Server::with_log(3, &[1, 2, 3], 1, &[1]);
    server.campaign();
    assert_eq!(server.role(), (RoleKind::Candidate, 2));
    let configurations = [joint(&[1, 2], &[1, 2, 3]), joint(&[1, 2], &[])];
    let entries = configurations.map(|members| Entry { term: Term(2), payload: Payload::Membership(members.into()) });
    let entries = Entries::from_vec(Index(2), entries.into()).unwrap();
    server.receive(1, 2, append(id(1, 1), entries, 2));
    for voter in [1, 2] {
        assert_eq!(sent(&server.receive(voter, 2, GRANTED)), []);
    }
    assert_eq!(server.role(), (RoleKind::Follower, 2));
    server.receive(1, 2, heartbeat(id(2, 3), 3));
    let silence = server.ticks(100);
    assert_eq!((sent(&silence), server.role()), (vec![], (RoleKind::Follower, 2)), "it is no member any more");
}

/// Whatever an entry is, what may enter a log fits into a message and a write: the largest configuration there can be, and the
/// largest command. What does not is refused when it is asked for.
#[test]
fn entry_fits_frame_whatever_its_kind() {
    let address = || Address::new(&"a".repeat(Address::BYTES_MAX)).unwrap();
    assert!(Address::new(&"a".repeat(Address::BYTES_MAX + 1)).is_err());
    let add = |id| Edit::AddLearner { id: NodeId(id), address: address() };
    let fits = |actions: &[Action]| {
        let mut frame = vec![];
        for action in actions {
            match action {
                Action::Send { message, .. } => codec::encode_message(message, &mut frame).unwrap(),
                Action::Persist(write) => codec::encode_write(write, &mut frame).unwrap(),
                _ => {}
            }
        }
        assert!(frame.len() > 256 << 10, "{actions:?}");
    };
    let mut server = leader(|config| config.command_bytes_max = raft_core::FRAME_ROOM_BYTES);
    server.start(&["a"]);
    server.receive(2, 1, matched(1));
    let most = Membership::MEMBERS_MAX as u64;
    let refused = server.step(change((4..=most + 1).map(add).collect()));
    let why = Refusal::Edit(EditError::TooManyMembers);
    assert_eq!(refused, [Action::Refused { request: RequestId(1), why }]);
    fits(&server.step(change((4..=most).map(add).collect())));
    assert_eq!(server.status().membership().members().len(), Membership::MEMBERS_MAX);
    let largest = usize::try_from(raft_core::FRAME_ROOM_BYTES - raft_core::ENTRY_OVERHEAD_BYTES).unwrap();
    let commands = |bytes| Event::Start { request: RequestId(1), commands: [Bytes::from(vec![0; bytes])].into() };
    assert!(matches!(server.step(commands(largest + 1))[..], [Action::Refused { why: Refusal::TooLarge { .. }, .. }]));
    fits(&server.step(commands(largest)));
}
