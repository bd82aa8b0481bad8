//! What a server says about why nothing moves: each reason comes, and goes, with what causes it.

use crate::kit::*;
use raft_core::{
    Config, ENTRY_OVERHEAD_BYTES, EntryId, Event, FollowerWhy, Incarnation, Index, NodeId, RequestId, RoleKind, Why,
};

const NOTHING: EntryId = EntryId::ZERO;

fn why(server: &Server) -> Option<Why> {
    server.status().why()
}

#[test]
fn no_leader_is_said_with_how_long() {
    let mut server = Server::new(1, &[1, 2, 3]);
    server.raft.set_election_timeout(15);
    server.ticks(3);
    assert_eq!(why(&server), Some(Why::NoLeader { silent: 3 }));
    server.receive(2, 1, heartbeat(NOTHING, 0));
    assert_eq!(why(&server), None);
    server.ticks(25);
    assert_eq!((server.role().0, why(&server)), (RoleKind::PreCandidate, Some(Why::NoLeader { silent: 25 })));
    assert_eq!(why(&server).unwrap().to_string(), "no leader heard for 25 ticks");
}

#[test]
fn no_quorum_is_said_before_the_leader_steps_down() {
    let mut server = leader(|_| {});
    server.ticks(3);
    assert_eq!(why(&server), None, "one heartbeat may be on its way");
    server.ticks(1);
    assert_eq!(why(&server), Some(Why::NoQuorum { silent: 4 }));
    server.receive(3, 1, matched_in(2, 0));
    assert_eq!(why(&server), None, "a quorum of three is one other server");
    server.ticks(10);
    assert_eq!(server.role().0, RoleKind::Follower);
    let Some(Why::NoLeader { silent }) = why(&server) else { panic!("{:?}", why(&server)) };
    server.ticks(1);
    assert_eq!((silent < 5, why(&server)), (true, Some(Why::NoLeader { silent: silent + 1 })), "it led until now");
    // Nobody else is needed where nobody else votes.
    let mut alone = Server::new(1, &[1]);
    alone.elect();
    alone.ticks(50);
    assert_eq!(why(&alone), None);
}

#[test]
fn a_stalled_disk_is_said_first() {
    let mut server = Server::restored(Config { disk_stall_ticks: 6, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    server.elect();
    server.disk_held = true;
    server.start(&["a"]);
    for _ in 0..6 {
        assert_ne!(why(&server), Some(Why::DiskStalled));
        server.receive(2, 1, matched(0));
        server.ticks(1);
    }
    assert_eq!((server.role().0, why(&server)), (RoleKind::Follower, Some(Why::DiskStalled)));
    server.persist();
    assert!(matches!(why(&server), Some(Why::NoLeader { .. })));
}

#[test]
fn a_transfer_is_said() {
    let mut server = leader(|_| {});
    server.step(Event::Transfer { request: RequestId(1), to: Some(NodeId(2)) });
    assert_eq!(why(&server), Some(Why::Transferring));
    server.receive(2, 1, matched(0));
    server.receive(3, 1, matched(0));
    for round in 2..12 {
        server.ticks(2);
        server.receive(2, 1, matched_in(round, 0));
    }
    assert_eq!(why(&server), None, "it has timed out");
}

#[test]
fn a_backlog_says_who_is_behind() {
    let two = 2 * (ENTRY_OVERHEAD_BYTES + 1);
    let mut server = leader(|config| config.backlog_bytes_max = two);
    server.application_held = true;
    server.start(&["a"]);
    assert_eq!(why(&server), None, "there is room for another one");
    server.start(&["b"]);
    assert_eq!(why(&server), Some(Why::Full), "nothing is committed");
    server.receive(2, 1, matched(2));
    assert_eq!(why(&server), Some(Why::ApplicationBehind));
    server.step(Event::Applied(Index(2)));
    assert_eq!(why(&server), None);

    let mut follower = Server::restored(
        Config { backlog_bytes_max: two, unpersisted_bytes_max: two, ..config(1) },
        Kept::new(1, &[1, 2, 3]),
    );
    (follower.application_held, follower.disk_held) = (true, true);
    follower.receive(2, 1, append(NOTHING, log(1, &[1, 1, 1]), 0));
    assert_eq!(why(&follower), Some(Why::Full), "its disk is behind");
    follower.persist();
    assert_eq!(why(&follower), None);
    follower.receive(2, 1, heartbeat(id(1, 3), 3));
    assert_eq!(why(&follower), Some(Why::ApplicationBehind));
    follower.step(Event::Applied(Index(3)));
    assert_eq!(why(&follower), None);
}

fn of(server: &Server, peer: u64) -> FollowerWhy {
    server.follower(peer).why
}

#[test]
fn each_flow_of_a_follower_is_said() {
    let mut server = Server::restored(
        Config { inflight_appends_max: 2, ..config(1) },
        Kept::new(1, &[1, 2, 3]).with_log(1, &[1, 1, 1]),
    );
    server.elect();
    assert_eq!(of(&server, 2), FollowerWhy::Probing);
    server.receive(2, 2, conflict(3, id(1, 1)));
    assert_eq!(of(&server, 2), FollowerWhy::Searching);
    server.receive(2, 2, matched(1));
    assert_eq!(of(&server, 2), FollowerWhy::Replicating);
    server.start(&["a"]);
    assert_eq!(of(&server, 2), FollowerWhy::WindowFull);
    server.receive(2, 2, full(2, 2));
    assert_eq!(of(&server, 2), FollowerWhy::Full);
    server.ticks(2);
    assert_eq!(of(&server, 2), FollowerWhy::Full, "until it says something else");
    server.receive(2, 2, matched_in(2, 3));
    assert_eq!(of(&server, 2), FollowerWhy::Replicating);
    server.receive(2, 2, received_in(2, 4, 3));
    assert_eq!(of(&server, 2), FollowerWhy::Replicating, "not all of it is durable");
    server.receive(2, 2, matched_in(2, 4));
    assert_eq!(of(&server, 2), FollowerWhy::UpToDate);
    server.step(Event::Unreachable { peer: NodeId(2) });
    assert_eq!(of(&server, 2), FollowerWhy::Probing);
    // What the third one lacks is compacted.
    server.step(Event::Compact { index: Index(4) });
    server.receive(3, 2, conflict_in(2, 3, NOTHING));
    server.receive(3, 2, matched_in(2, 0));
    assert_eq!(of(&server, 3), FollowerWhy::SnapshotUnderWay);
    let failed = Event::SnapshotSent { to: NodeId(3), snapshot: id(2, 4), delivered: false };
    server.step(failed);
    assert_eq!(of(&server, 3), FollowerWhy::SnapshotFailed);
    server.ticks(2);
    assert_eq!(of(&server, 3), FollowerWhy::SnapshotUnderWay, "the next one follows");
}

#[test]
fn who_is_not_heard_or_not_counted_is_said_before_the_flow() {
    let mut server = leader(|_| {});
    for round in 2..12 {
        assert_eq!(of(&server, 3), FollowerWhy::UpToDate);
        server.ticks(1);
        server.receive(2, 1, matched_in(1 + round / 2, 0));
    }
    assert_eq!(of(&server, 3), FollowerWhy::Unreachable, "for ten ticks");
    assert_eq!(of(&server, 2), FollowerWhy::UpToDate);
    for round in 12..34 {
        server.ticks(1);
        server.receive(2, 1, matched_in(1 + round / 2, 0));
    }
    server.receive_from_life(3, Incarnation::joined(3), 1, matched_in(1, 0));
    assert_eq!(of(&server, 3), FollowerWhy::Uncounted { disk: Incarnation::joined(3) });
    assert_eq!(of(&server, 3).to_string(), format!("not counted on its disk {}", Incarnation::joined(3)));
    server.start(&["a"]);
    server.receive(2, 1, matched_in(2, 1));
    let edits = vec![raft_core::Edit::Remove { id: NodeId(3) }];
    let change = raft_core::Change { expected: None, edits }.into();
    server.step(Event::Change { request: RequestId(1), change });
    server.receive(2, 1, matched_in(2, 3));
    assert_eq!(of(&server, 3), FollowerWhy::Leaving);
}
