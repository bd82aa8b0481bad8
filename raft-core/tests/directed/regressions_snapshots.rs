//! Bugs that snapshots of other implementations had, each under the name of its scenario.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, AppendOutcome, CompactDeclined, Config, ENTRY_OVERHEAD_BYTES, EntryId, Event, Fatal, FlowKind, Incarnation,
    Index, Membership, News, NodeId, RequestId, RoleKind, Rpc, SnapshotMeta, SnapshotWrite, Term,
};

const NOTHING: EntryId = EntryId::ZERO;

/// A follower of server 2 in term 2 with these terms in its log, committed and applied through `commit`.
fn follower(terms: &[u64], commit: u64) -> Server {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, terms);
    let last = server.last();
    server.receive(2, 2, heartbeat(last, commit));
    server
}

/// A leader of three in term 1 with `count` entries, all of which server 3 has and server 2 has not.
fn leader(count: usize, change: impl Fn(&mut Config)) -> Server {
    let mut config = config(1);
    change(&mut config);
    let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    server.elect();
    server.receive(3, 1, matched(0));
    server.start(&vec!["x"; count]);
    server.receive(3, 1, matched(count as u64));
    assert_eq!(server.status().applied(), Index(count as u64));
    server
}

fn installed(actions: &[Action]) -> bool {
    written(actions).iter().any(|write| matches!(write.snapshot, Some(SnapshotWrite::Installed { .. })))
}

#[test]
fn old_snapshot_fast_reply() {
    let mut server = follower(&[1, 1, 2, 2], 3);
    for (term, index) in [(1, 2), (2, 3)] {
        let old = snapshot(id(term, index));
        let actions = server.receive_snapshot(2, 2, &old);
        assert!(actions.contains(&Action::Discard(old)) && written(&actions).is_empty());
        assert_eq!(sent_to(&actions, 2), [matched(4)], "the leader learns how far it really is");
    }
    assert_eq!(server.terms(), [1, 1, 2, 2]);
}

/// A snapshot whose last entry our log holds moves the commit there; the log goes on.
#[test]
fn a_snapshot_that_the_log_holds_is_a_commit() {
    let mut server = follower(&[1, 1, 2, 2], 1);
    let held = snapshot(id(2, 3));
    let actions = server.receive_snapshot(2, 2, &held);
    assert!(actions.contains(&Action::Discard(held)) && !installed(&actions));
    assert_eq!(applied(&actions), [id(1, 2), id(2, 3)]);
    assert_eq!(server.last(), id(2, 4));
}

#[test]
fn snapshot_vs_conflicting_log() {
    let mut server = Server::with_log(1, &[1, 2, 3], 3, &[1, 1, 1, 1]);
    let actions = server.receive_snapshot(2, 3, &snapshot(id(2, 3)));
    assert!(installed(&actions), "entry 3 is another one: log and snapshot change in one write");
    assert_eq!((server.last(), server.status().first_index()), (id(2, 3), Index(4)));
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::Restore(_))).count(), 1);
    let restarted = server.crashed();
    assert_eq!((restarted.last(), restarted.terms()), (id(2, 3), vec![]));
}

/// A leader that contradicts itself gets no promise and no commit beyond our log: what it replaced is verified no longer.
#[test]
fn a_snapshot_takes_what_was_verified_along() {
    let mut server = follower(&[1, 1, 1, 1], 0);
    server.receive_snapshot(2, 2, &snapshot(id(2, 3)));
    let actions = server.receive(2, 2, heartbeat(id(2, 3), 4));
    assert_eq!(sent_to(&actions, 2), [matched(3)]);
    assert_eq!((server.last(), server.status().commit()), (id(2, 3), Index(3)));
}

/// Entries that lead from before a snapshot's end to it or behind it are compared there: another entry at its end contradicts
/// it, which is committed. What follows might be of an earlier term, and no log may hold that.
#[test]
fn the_end_of_a_snapshot_is_compared() {
    let mut server = follower(&[1, 1], 0);
    server.receive_snapshot(2, 6, &snapshot(id(5, 4)));
    for (terms, contradicts) in
        [(&[5, 5][..], false), (&[5, 6], false), (&[5], false), (&[3, 3, 5], true), (&[3], true), (&[6, 6], true)]
    {
        let why = halted(&server.clone().receive(2, 6, append(id(3, 3), log(4, terms), 0)));
        let found = matches!(why, Some(Fatal::CommittedEntryContradicted { .. }));
        assert_eq!(found, contradicts, "{terms:?}: {why:?}");
    }
}

#[test]
fn snapshot_same_index_other_term() {
    let mut server = follower(&[1, 1, 2], 2);
    let halt = halted(&server.receive_snapshot(2, 2, &snapshot(id(2, 2))));
    let why = Fatal::CommittedEntryContradicted { from: NodeId(2), ours: id(1, 2), theirs: id(2, 2) };
    assert_eq!(halt, Some(why));
    assert_eq!(server.receive(2, 2, heartbeat(id(2, 3), 3)), [], "silence");
}

/// The configuration comes whole: both halves of a joint one, learners, and who only leaves.
#[test]
fn snapshot_restores_full_config() {
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    let joint = Membership::joint(ids(&[1, 2, 3]), ids(&[3, 4, 5]), ids(&[6]));
    let meta = SnapshotMeta { last: id(2, 9), membership: joint.clone().into() };
    let mut server = Server::new(1, &[]);
    server.receive_snapshot(2, 2, &meta);
    assert_eq!(server.status().membership(), &joint);
    let mut server = server.crashed();
    assert_eq!((server.status().membership(), server.status().snapshot()), (&joint, &meta));
    // And it counts: each half needs its own majority.
    let asked = server.time_out();
    let to: Vec<u64> = sent(&asked).iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [2, 3, 4, 5]);
    for voter in [2, 3] {
        server.receive(voter, 2, PRE_GRANTED);
        assert_eq!(server.role().0, RoleKind::PreCandidate, "the outgoing half has not agreed");
    }
    server.receive(6, 2, PRE_GRANTED);
    assert_eq!(server.role().0, RoleKind::PreCandidate, "a learner does not vote");
    server.receive(4, 2, PRE_GRANTED);
    assert_eq!(server.role(), (RoleKind::Candidate, 3));
}

#[test]
fn ack_below_pending_snapshot() {
    let mut server = leader(9, |config| config.trailing_entries = 4);
    server.step(Event::Compact { index: Index(9) });
    assert_eq!(snapshots_sent(&server.receive(2, 1, conflict(0, NOTHING))), []);
    let sent = server.receive(2, 1, matched(0));
    assert_eq!(snapshots_sent(&sent), [(2, id(1, 9))], "{sent:?}");
    // An older snapshot from elsewhere brings it to 6, which our log still reaches.
    let fed = server.receive(2, 1, matched(6));
    assert_eq!(appends_to(&fed, 2), [(id(1, 6), 9, 9)]);
    assert_eq!(server.follower(2).flow, FlowKind::Replicate);
}

#[test]
fn fully_purged_leader() {
    let mut server = leader(3, |_| {});
    server.step(Event::Compact { index: Index(3) });
    let mut server = server.crashed();
    assert_eq!((server.last(), server.terms()), (id(1, 3), vec![]));
    server.elect();
    let actions = server.receive(2, 2, conflict(3, NOTHING));
    assert_eq!(snapshots_sent(&actions), [(2, id(1, 3))], "though the group is idle");
}

#[test]
fn install_vs_apply() {
    let mut server = follower(&[1, 1, 2], 0);
    server.application_held = true;
    server.disk_held = true;
    assert_eq!(applied(&server.receive(2, 2, heartbeat(id(2, 3), 2))), [id(1, 1), id(1, 2)]);
    let accepted = server.receive_snapshot(2, 2, &snapshot(id(2, 9)));
    assert!(installed(&accepted));
    let waiting =
        [server.step(Event::Applied(Index(1))), server.receive(2, 2, append(id(2, 9), log(10, &[2]), 10))].concat();
    assert_eq!(applied(&waiting), [], "nothing is applied while it is installed");
    let restored = server.persist();
    let position = |wanted: fn(&Action) -> bool| restored.iter().position(wanted).unwrap();
    assert!(position(|a| matches!(a, Action::Restore(_))) < position(|a| matches!(a, Action::Apply(_))));
    assert_eq!(applied(&restored), [id(2, 10)]);
    server.step(Event::Applied(Index(9)));
    server.step(Event::Applied(Index(2)));
    assert_eq!((server.status().applied(), server.status().handed_out()), (Index(9), Index(10)), "nothing is lowered");
}

#[test]
fn append_during_install() {
    let mut server = follower(&[1, 1], 2);
    server.disk_held = true;
    assert_eq!(sent_to(&server.receive_snapshot(2, 2, &snapshot(id(2, 9))), 2), [], "no acknowledgement yet");
    let during = server.receive(2, 2, append(id(2, 9), log(10, &[2]), 9));
    assert_eq!(sent_to(&during, 2), []);
    assert_eq!(sent_to(&server.receive(2, 2, heartbeat(id(2, 10), 9)), 2), [received_in(1, 10, 2)], "no false promise");
    // Whoever leads next is answered too.
    let mut next = server.clone();
    next.ticks(10);
    next.receive(3, 3, heartbeat(id(2, 9), 9));
    assert_eq!(sent_to(&next.persist(), 3), [matched(9)]);
    assert_eq!(sent_to(&server.persist(), 2), [matched(10)]);
}

/// What the old log had on disk where the snapshot will stand says nothing about the snapshot.
#[test]
fn replaced_entries_do_not_vouch_for_a_snapshot() {
    let mut server = Server::with_log(1, &[1, 2, 3], 2, &[1, 1, 1, 1]);
    server.disk_held = true;
    server.receive_snapshot(2, 2, &snapshot(id(2, 3)));
    assert_eq!(sent_to(&server.receive(2, 2, heartbeat(id(2, 3), 3)), 2), [received_in(1, 3, 0)]);
    assert_eq!(sent_to(&server.persist(), 2), [matched(3)]);
}

/// A server that starts behind its snapshot and is given a newer one first restores only that, once it is durable.
#[test]
fn a_restore_that_is_due_waits_for_the_newer_snapshot() {
    let mut server = follower(&[1, 1, 2], 2);
    server.step(Event::Compact { index: Index(2) });
    let mut server = server.crashed();
    server.disk_held = true;
    let accepted = server.receive_snapshot(2, 2, &snapshot(id(2, 9)));
    assert!(installed(&accepted) && !accepted.iter().any(|a| matches!(a, Action::Restore(_))), "{accepted:?}");
    let restores: Vec<_> = server.persist().into_iter().filter(|a| matches!(a, Action::Restore(_))).collect();
    assert_eq!(restores, [Action::Restore(snapshot(id(2, 9)))]);
}

#[test]
fn no_campaign_while_installing() {
    let mut server = follower(&[1, 1], 2);
    server.disk_held = true;
    server.receive_snapshot(2, 2, &snapshot(id(2, 9)));
    assert_eq!(sent(&server.ticks(60)), []);
    assert_eq!(server.receive(2, 2, Rpc::TimeoutNow { target: life(1) }), [], "not even if the leader asks for it");
    assert_eq!(server.role().0, RoleKind::Follower);
    server.persist();
    server.ticks(20);
    assert_eq!(server.role().0, RoleKind::PreCandidate);
    let mut candidate = Server::new(1, &[1, 2, 3]);
    candidate.campaign();
    assert!(installed(&candidate.receive_snapshot(2, 1, &snapshot(id(1, 4)))), "a candidate accepts a snapshot");
}

/// Whatever happens to a transfer, its follower is asked again.
#[test]
fn lost_snapshot_report() {
    let start = || {
        let mut server = leader(5, |config| config.snapshot_timeout_ticks = 6);
        server.step(Event::Compact { index: Index(5) });
        assert_eq!(snapshots_sent(&server.receive(2, 1, matched(0))), [(2, id(1, 5))]);
        server
    };
    let ended = |delivered| Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 5), delivered };
    let mut answered = start();
    answered.receive(2, 1, matched(5));
    assert_eq!(answered.follower(2).flow, FlowKind::Replicate, "an acknowledgement ends it");
    let mut silent = start();
    silent.receive(3, 1, matched(5));
    assert_eq!(snapshots_sent(&silent.ticks(7)), [(2, id(1, 5))], "silence ends it");
    let mut failed = start();
    assert_eq!(failed.step(ended(false)), [snapshot_failed(id(1, 5))]);
    assert_eq!(failed.step(ended(false)), [], "said twice");
    assert_eq!(snapshots_sent(&failed.ticks(2)), [(2, id(1, 5))]);
    let mut delivered = start();
    delivered.step(ended(true));
    assert_eq!(appends_to(&delivered.ticks(2), 2), [(id(1, 5), 5, 5)], "does it have it?");
    assert_eq!(snapshots_sent(&delivered.receive(2, 1, conflict(5, NOTHING))), [(2, id(1, 5))], "it has not");
    let unknown = Event::SnapshotSent { to: NodeId(3), snapshot: id(1, 5), delivered: true };
    assert_eq!(delivered.step(unknown), []);
    let counters = delivered.status().counters();
    assert_eq!((counters.late, counters.unfounded), (1, 0), "the driver is honest, and late");
}

/// Every transfer fails as soon as it begins: the follower hears its leader all the same, once in each heartbeat interval.
#[test]
fn a_follower_whose_snapshots_fail_is_heartbeated() {
    let mut server = leader(5, |_| {});
    server.step(Event::Compact { index: Index(5) });
    let mut actions = server.receive(2, 1, matched(0));
    for round in 1..=20 {
        for (_, snapshot) in snapshots_sent(&actions) {
            server.step(Event::SnapshotSent { to: NodeId(2), snapshot, delivered: false });
        }
        server.receive(3, 1, matched_in(round, 5));
        actions = server.ticks(2);
        assert_eq!(appends_to(&actions, 2), [(NOTHING, 0, 5)]);
        assert!(matches!(sent_to(&actions, 2)[..], [Rpc::AppendEntries { reply: true, .. }]), "and asks for an answer");
    }
}

fn snapshot_failed(snapshot: EntryId) -> Action {
    Action::News(News::SnapshotFailed { peer: NodeId(2), snapshot })
}

/// In which of the next heartbeats, counted from 1, a snapshot is offered to server 2; each transfer fails at once if `fails`,
/// or is never heard of. And how often that is told.
fn offers(server: &mut Server, heartbeats: u64, fails: bool) -> (Vec<u64>, usize) {
    let (mut offers, mut told) = (vec![], 0);
    for heartbeat in 1..=heartbeats {
        let round = server.receive(3, 1, matched(5));
        assert_eq!(round, []);
        let mut actions = server.ticks(2);
        for (_, snapshot) in snapshots_sent(&actions) {
            offers.push(heartbeat);
            if fails {
                actions.extend(server.step(Event::SnapshotSent { to: NodeId(2), snapshot, delivered: false }));
            }
        }
        told += actions.iter().filter(|action| **action == snapshot_failed(id(1, 5))).count();
    }
    (offers, told)
}

/// A transfer that fails is followed by another with the next heartbeat, the next one after two, then four, up to 64; and it
/// is told once.
#[test]
fn failing_snapshots_are_offered_after_growing_pauses() {
    let mut server = leader(5, |_| {});
    server.step(Event::Compact { index: Index(5) });
    let ended = |delivered| Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 5), delivered };
    assert_eq!(snapshots_sent(&server.receive(2, 1, matched(0))), [(2, id(1, 5))]);
    assert_eq!(server.step(ended(false)), [snapshot_failed(id(1, 5))]);
    let (again, told) = offers(&mut server, 260, true);
    assert_eq!((again, told), (vec![1, 3, 7, 15, 31, 63, 127, 191, 255], 0));
    // One that is delivered in the end begins a new series, however many failed before.
    server.step(ended(true));
    server.ticks(2);
    assert_eq!(
        snapshots_sent(&server.receive(2, 1, conflict(5, NOTHING))),
        [(2, id(1, 5))],
        "delivered, and lost there"
    );
    assert_eq!(server.step(ended(false)), [snapshot_failed(id(1, 5))]);
    assert_eq!(offers(&mut server, 6, true), (vec![1, 3], 0));
    // So does a follower whose log meets ours.
    server.receive(2, 1, matched(5));
    server.start(&["x"; 4]);
    server.receive(3, 1, matched(9));
    server.step(Event::Compact { index: Index(9) });
    server.step(Event::Unreachable { peer: NodeId(2) });
    assert_eq!(snapshots_sent(&server.ticks(2)), [(2, id(1, 9))]);
    let failed = server.step(Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 9), delivered: false });
    assert_eq!(failed, [snapshot_failed(id(1, 9))]);
    assert_eq!(snapshots_sent(&server.ticks(2)), [(2, id(1, 9))]);
}

/// A transfer of which nothing is heard is one that failed.
#[test]
fn transfers_that_take_too_long_are_failures() {
    let mut server = leader(5, |config| config.snapshot_timeout_ticks = 1);
    server.step(Event::Compact { index: Index(5) });
    assert_eq!(snapshots_sent(&server.receive(2, 1, matched(0))), [(2, id(1, 5))]);
    let (again, told) = offers(&mut server, 40, false);
    assert_eq!((again, told), (vec![1, 4, 9, 18, 35], 1));
}

/// A leader needs the answers of such a follower where the third server is down.
#[test]
fn failing_snapshots_cost_no_election() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.tick_until(200, |cluster| cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    let (behind, down) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.cut.insert(behind);
    let commands = ["x", "y", "z"].map(|command| command.to_owned().into());
    cluster.step(leader, Event::Start { request: RequestId(1), commands: commands.into_iter().collect() });
    cluster.step(leader, Event::Compact { index: Index(3) });
    // The peer was out of touch for so long that all that was sent to it is given up.
    cluster.step(leader, Event::Unreachable { peer: NodeId(behind) });
    cluster.cut = [down].into();
    cluster.snapshots_fail = true;
    let before = cluster.server(leader).role();
    for _ in 0..500 {
        cluster.tick();
        assert_eq!(cluster.server(leader).role(), before);
        assert_eq!(cluster.server(behind).status().role(), RoleKind::Follower);
    }
    cluster.snapshots_fail = false;
    cluster.cut.clear();
    cluster.tick_until(200, Cluster::agrees);
    assert_eq!(cluster.server(behind).status().snapshot().last.index, Index(3));
}

/// A transfer of an older term is answered with ours, and its data is not kept.
#[test]
fn a_snapshot_of_a_deposed_leader_is_discarded() {
    let mut server = follower(&[1, 1], 2);
    let old = snapshot(id(1, 9));
    let actions = server.receive_snapshot(3, 1, &old);
    assert!(actions.contains(&Action::Discard(old)));
    assert_eq!(sent(&actions)[0].1.term.0, 2);
    assert_eq!(server.status().leader(), Some(NodeId(2)));
}

/// Whether this copy of a snapshot, from server 2 in term 2 or else malformed or of an older term, is discarded.
fn discards(server: &Server, last: EntryId) -> bool {
    let ways = [(2, 2), (1, 2), (3, 1)];
    let found = ways.map(|(from, term)| {
        let actions = server.clone().receive_snapshot(from, term, &snapshot(last));
        assert!(!installed(&actions), "it is a copy");
        actions.contains(&Action::Discard(snapshot(last)))
    });
    assert!(found == [true; 3] || found == [false; 3], "whoever sends it: {found:?}");
    found[0]
}

/// A driver that deletes what it is told to discard keeps every snapshot that it could need after a crash: copies come of the
/// one that is being installed, of the one that was installed, and of those that the application made.
#[test]
fn no_snapshot_that_a_write_names_is_discarded() {
    let (third, ninth, tenth) = (id(2, 3), id(2, 9), id(2, 10));
    let mut server = follower(&[1, 1, 2, 2], 4);
    assert!(discards(&server, third), "nothing names it");
    server.disk_held = true;
    server.step(Event::Compact { index: Index(3) });
    assert!(!discards(&server, third), "the application's own, on its way to the disk");
    server.persist();
    assert!(!discards(&server, third), "and on the disk");
    server.receive_snapshot(2, 2, &snapshot(ninth));
    assert_eq!([third, ninth].map(|last| discards(&server, last)), [false; 2], "a crash may leave either");
    server.persist();
    assert_eq!([third, ninth].map(|last| discards(&server, last)), [true, false]);
    server.receive(2, 2, append(ninth, log(10, &[2]), 10));
    server.persist();
    server.step(Event::Compact { index: Index(10) });
    assert_eq!([ninth, tenth].map(|last| discards(&server, last)), [false; 2]);
    let mut crashed = server.crashed();
    assert!(!discards(&crashed, ninth), "what it starts from");
    crashed.receive(2, 2, heartbeat(tenth, 10));
    assert!(discards(&crashed, tenth), "of the snapshot that the crash took nothing is left");
    server.persist();
    assert_eq!([third, ninth, tenth].map(|last| discards(&server, last)), [true, true, false]);
}

/// The application's snapshot may lie under the name of a received one that was discarded before the core knew of it: no write
/// names it then, and the next one will do.
#[test]
fn what_was_discarded_is_not_compacted() {
    let mut server = follower(&[1, 1, 2, 2, 2], 4);
    assert!(server.receive_snapshot(2, 2, &snapshot(id(2, 4))).contains(&Action::Discard(snapshot(id(2, 4)))));
    assert_eq!(written(&server.clone().step(Event::Compact { index: Index(4) })), []);
    assert_eq!(written(&server.clone().step(Event::Compact { index: Index(3) })).len(), 1, "another one");
    // What was not handed out cannot be the application's own.
    server.receive_snapshot(2, 2, &snapshot(id(2, 5)));
    assert_eq!(server.status().applied(), Index(5));
    assert_eq!(written(&server.clone().step(Event::Compact { index: Index(5) })).len(), 1);
    server.receive_snapshot(2, 2, &snapshot(id(2, 5)));
    assert_eq!(written(&server.clone().step(Event::Compact { index: Index(5) })), []);
    server.receive(2, 2, append(id(2, 5), log(6, &[2]), 6));
    assert_eq!(written(&server.step(Event::Compact { index: Index(6) })).len(), 1);
}

#[test]
fn crash_matrix() {
    let mut server = follower(&[1, 1, 2, 2], 4);
    server.disk_held = true;
    server.step(Event::Compact { index: Index(2) });
    server.receive(2, 2, append(id(2, 4), log(5, &[2]), 5));
    server.receive_snapshot(2, 2, &snapshot(id(2, 9)));
    server.receive(2, 2, append(id(2, 9), log(10, &[2]), 10));
    let mut seen = vec![];
    loop {
        let mut restarted = server.crashed();
        let (first, last) = (restarted.status().first_index().0, restarted.last().index.0);
        seen.push((restarted.status().snapshot().last.index.0, first, last));
        assert_eq!(restarted.terms().len() as u64, last + 1 - first, "no gap");
        assert!(restarted.status().commit() >= restarted.status().snapshot().last.index);
        restarted.receive(2, 2, heartbeat(restarted.last(), last));
        assert_eq!(restarted.status().applied().0, last, "restored and applied to the end");
        if server.writes.is_empty() {
            break;
        }
        server.persist_one();
    }
    assert_eq!(seen, [(0, 1, 4), (2, 3, 4), (2, 3, 5), (9, 10, 9), (9, 10, 10)]);
}

/// Some entries stay behind a snapshot for followers that are a little late.
#[test]
fn trailing_entries_are_kept() {
    let mut server = leader(9, |config| config.trailing_entries = 3);
    let actions = server.step(Event::Compact { index: Index(9) });
    let Some(SnapshotWrite::Compacted { snapshot, first }) = &written(&actions)[0].snapshot else { panic!() };
    assert_eq!((snapshot.last, *first), (id(1, 9), Index(7)));
    assert_eq!((server.status().first_index(), server.status().snapshot().last), (Index(7), id(1, 9)));
    let behind = server.crashed();
    assert_eq!((behind.last(), behind.status().entry(Index(9))), (id(1, 9), server.status().entry(Index(9))));
}

/// What a running transfer will need next is kept, as far as that is not too much; also when it was delivered and the
/// follower has not yet said so.
#[test]
fn entries_for_a_running_transfer_are_kept() {
    for (transfer_bytes_max, first, delivered) in [(10_000, 6, false), (10_000, 6, true), (1, 8, false)] {
        let mut server = leader(5, |config| config.transfer_bytes_max = transfer_bytes_max);
        server.step(Event::Compact { index: Index(5) });
        assert_eq!(snapshots_sent(&server.receive(2, 1, matched(0))), [(2, id(1, 5))]);
        server.start(&["y", "z"]);
        server.receive(3, 1, matched(7));
        if delivered {
            server.step(Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 5), delivered });
        }
        server.step(Event::Compact { index: Index(7) });
        assert_eq!(server.status().first_index(), Index(first));
        let actions = server.receive(2, 1, matched(5));
        match first {
            6 => assert_eq!(appends_to(&actions, 2), [(id(1, 5), 7, 7)], "no second snapshot"),
            _ => assert_eq!(server.follower(2).flow, FlowKind::Snapshot),
        }
    }
}

/// What is kept for a transfer is counted from where it begins to where the snapshot stands, and may be just as much as the
/// limit; what stands behind the snapshot stays anyway.
#[test]
fn what_a_transfer_keeps_is_limited_exactly() {
    let two = 2 * (ENTRY_OVERHEAD_BYTES + 1);
    for (transfer_bytes_max, first) in [(two, 6), (two - 1, 8)] {
        let mut server = leader(5, |config| config.transfer_bytes_max = transfer_bytes_max);
        server.step(Event::Compact { index: Index(5) });
        assert_eq!(snapshots_sent(&server.receive(2, 1, matched(0))), [(2, id(1, 5))]);
        server.start(&["y", "z", "behind"]);
        server.receive(3, 1, matched(8));
        server.step(Event::Compact { index: Index(7) });
        assert_eq!(server.status().first_index(), Index(first));
    }
}

/// Only what is applied can be compacted, and only forwards.
#[test]
fn compaction_stays_within_what_is_applied() {
    let mut server = follower(&[1, 1, 2, 2], 3);
    assert_eq!(server.raft.snapshot_at(Index(4)), None, "in the log, and not handed out");
    assert_eq!(written(&server.step(Event::Compact { index: Index(4) })), []);
    assert_eq!(server.status().counters().unfounded, 1);
    // Handed out is not applied: such a snapshot cannot exist yet.
    server.application_held = true;
    server.receive(2, 2, heartbeat(id(2, 4), 4));
    assert_eq!((server.status().handed_out(), server.status().applied()), (Index(4), Index(3)));
    assert_eq!(written(&server.step(Event::Compact { index: Index(4) })), []);
    assert_eq!(server.status().counters().unfounded, 2);
    assert_eq!(written(&server.step(Event::Compact { index: Index(3) })).len(), 1);
    for again in [3, 2, 0] {
        assert_eq!(written(&server.step(Event::Compact { index: Index(again) })), []);
    }
    assert_eq!(server.raft.snapshot_at(Index(2)), None);
    assert_eq!(server.raft.snapshot_at(Index(3)), Some(snapshot(id(2, 3))));
    assert_eq!(server.raft.snapshot_at(Index(4)), Some(snapshot(id(2, 4))), "where it will be");
    assert_eq!(server.raft.snapshot_at(Index(5)), None, "not there yet");
    let beyond = server.receive_snapshot(2, 2, &snapshot(EntryId { term: Term(1), index: Index(u64::MAX) }));
    assert!(matches!(beyond[..], [Action::Discard(_)]));
    assert_eq!(server.status().counters().malformed, 1);
}

/// What no leader can send is not kept, and changes nothing.
#[test]
fn impossible_snapshots_are_discarded() {
    let mut server = follower(&[1, 1], 2);
    let impossible = [
        (1, 2, id(2, 9)),               // from itself
        (2, 0, NOTHING),                // before the first term
        (2, Term::MAX.0 + 1, id(2, 9)), // after the last
        (2, 2, EntryId { term: Term(0), index: Index(9) }),
        (2, 3, id(4, 9)), // an entry of a later term
    ];
    for (count, (from, term, last)) in impossible.into_iter().enumerate() {
        let actions = server.receive_snapshot(from, term, &snapshot(last));
        assert_eq!(actions, [Action::Discard(snapshot(last))], "{from} {term} {last}");
        assert_eq!(server.status().counters().malformed, count as u64 + 1);
    }
    assert_eq!((server.role(), server.last()), ((RoleKind::Follower, 2), id(1, 2)));
    assert!(installed(&server.receive_snapshot(2, Term::MAX.0, &snapshot(id(2, 9)))), "the last term there is");
}

/// A snapshot at the last index that a log can reach leaves no room, not even for a no-op.
#[test]
fn the_end_of_all_logs() {
    let config = Config { leader_noop: true, ..config(1) };
    let mut server = Server::restored(config, Kept::new(1, &[1, 2, 3]));
    server.receive_snapshot(2, 1, &snapshot(EntryId { term: Term(1), index: Index::MAX }));
    server.ticks(20);
    server.elect();
    assert_eq!(server.last().index, Index::MAX);
    assert!(matches!(server.start(&["x"])[..], [Action::Refused { why: raft_core::Refusal::LogFull, .. }]));
    assert_eq!(server.crashed().last().index, Index::MAX);
    let past = Rpc::AppendEntriesReply {
        round: 1,
        outcome: AppendOutcome::Matched { received: Index::MAX, durable: Index::MAX },
    };
    server.receive(2, 2, past);
    assert_eq!(server.follower(2).next, Index(Index::MAX.0 + 1));

    let mut server = Server::new(1, &[1, 2, 3]);
    server.receive_snapshot(2, 1, &snapshot(EntryId { term: Term(1), index: Index::MAX.prev() }));
    server.ticks(20);
    server.elect();
    let full = |actions: &[Action]| matches!(actions, [Action::Refused { why: raft_core::Refusal::LogFull, .. }]);
    assert!(full(&server.start(&["x", "y"])), "there is room for one");
    assert!(!full(&server.start(&["x"])) && full(&server.start(&["y"])));
    assert_eq!(server.last().index, Index::MAX);
}

/// An append that begins below the follower's snapshot is no conflict: what lies there is committed, and looked at neither as
/// the entry before, nor among the entries, nor for a hint.
#[test]
fn entries_below_followers_base() {
    let compacted = || {
        let mut server = follower(&[1, 1, 1, 2, 2], 4);
        server.step(Event::Compact { index: Index(4) });
        assert_eq!(server.status().first_index(), Index(5));
        server
    };
    for prev in 0..=4 {
        let mut server = compacted();
        let terms = &[1, 1, 1, 2, 2, 2][prev..];
        let entries = log(prev as u64 + 1, terms);
        let prev = id(if prev == 0 { 0 } else { [1, 1, 1, 2][prev - 1] }, prev as u64);
        assert_eq!(sent_to(&server.receive(2, 2, append(prev, entries, 4)), 2), [matched(6)], "behind {prev}");
        assert_eq!((server.terms(), server.status().commit()), (vec![2, 2], Index(4)));
        let mut server = compacted();
        assert_eq!(sent_to(&server.receive(2, 2, heartbeat(prev, 4)), 2), [matched(5)], "nothing behind {prev}");
    }
    // The hint never leads below the snapshot.
    let mut server = compacted();
    assert_eq!(sent_to(&server.receive(3, 3, append(id(3, 5), log(6, &[3]), 4)), 3), [conflict(5, id(2, 5))]);
    let mut server = compacted();
    server.receive(3, 3, heartbeat(id(2, 4), 4));
    assert_eq!(sent_to(&server.receive(3, 3, heartbeat(id(1, 9), 4)), 3), [conflict(9, id(2, 4))]);
}

/// A follower that is ahead of the snapshot it is sent says how far it is: its leader goes on from there, and sends no snapshot
/// again, whatever its driver says of the transfer.
#[test]
fn refused_snapshot_moves_next() {
    for (delivered, report_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut server = leader(9, |config| config.trailing_entries = 2);
        server.step(Event::Compact { index: Index(9) });
        server.receive(2, 1, conflict(0, NOTHING));
        let offered = server.receive(2, 1, matched(0));
        assert_eq!(snapshots_sent(&offered), [(2, id(1, 9))]);
        server.start(&["y"]);
        // The follower has got all of it from an earlier leader, and discards the snapshot.
        let mut ahead = Server::with_log(2, &[1, 2, 3], 1, &[1; 9]);
        ahead.receive(1, 1, heartbeat(id(1, 9), 9));
        let refused = ahead.receive_snapshot(1, 1, &snapshot(id(1, 9)));
        assert!(refused.contains(&Action::Discard(snapshot(id(1, 9)))));
        let [answer] = &sent_to(&refused, 1)[..] else { panic!("{refused:?}") };
        let report = Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 9), delivered };
        let mut actions = vec![];
        if report_first {
            actions.extend(server.step(report.clone()));
        }
        actions.extend(server.receive(2, 1, answer.clone()));
        if !report_first {
            actions.extend(server.step(report));
        }
        assert_eq!(appends_to(&actions, 2), [(id(1, 9), 10, 9)]);
        actions.extend(server.ticks(40));
        actions.extend(server.receive(3, 1, matched_in(2, 10)));
        assert_eq!(snapshots_sent(&actions), []);
    }
}

/// Late and doubled conflicts neither end a transfer nor pull `next` back, and a conflict names the entry that it refuses.
#[test]
fn stale_conflict_in_snapshot_flow() {
    let mut server = leader(9, |_| {});
    server.step(Event::Compact { index: Index(9) });
    let asked = server.receive(2, 1, conflict(0, NOTHING));
    assert_eq!(snapshots_sent(&asked), []);
    server.receive(2, 1, matched(0));
    assert_eq!(server.follower(2).flow, FlowKind::Snapshot);
    let before = server.follower(2);
    for (prev, hint) in [(0, NOTHING), (1, NOTHING), (9, id(1, 3)), (9, id(1, 9)), (12, id(1, 9))] {
        assert_eq!(server.receive(2, 1, conflict(prev, hint)), []);
        assert_eq!(server.follower(2), before, "a conflict at {prev}");
    }
    server.step(Event::SnapshotSent { to: NodeId(2), snapshot: id(1, 9), delivered: true });
    server.receive(2, 1, matched(9));
    server.start(&["y"]);
    for (prev, hint) in [(0, NOTHING), (5, id(1, 4)), (9, id(1, 3)), (9, NOTHING)] {
        server.receive(2, 1, conflict(prev, hint));
        let follower = server.follower(2);
        assert_eq!((follower.matched, follower.next, follower.flow), (id(1, 9), Index(11), FlowKind::Replicate));
    }
    // The other end.
    let mut follower = follower(&[1, 1], 0);
    for prev in [3, 7, 300] {
        let answers = follower.receive(2, 2, append(id(2, prev), log(prev + 1, &[2, 2]), 0));
        assert_eq!(sent_to(&answers, 2), [conflict(prev, id(1, 2))]);
    }
}

/// A snapshot of the application's own that changes nothing is declined with a reason.
#[test]
fn a_declined_compact_says_why() {
    let declined = |server: &mut Server, index: u64| {
        let index = Index(index);
        let actions = server.step(Event::Compact { index });
        let [Action::News(News::CompactDeclined { index: of, why })] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(of, index);
        why
    };
    let mut server = follower(&[1, 1, 2, 2], 3);
    assert_eq!(declined(&mut server, 4), CompactDeclined::NotApplied);
    assert_eq!(server.status().counters().unfounded, 1);
    assert_eq!(declined(&mut server, 0), CompactDeclined::Superseded);
    assert_eq!(written(&server.step(Event::Compact { index: Index(2) })).len(), 1);
    assert_eq!(declined(&mut server, 2), CompactDeclined::Superseded);
    assert_eq!(declined(&mut server, 1), CompactDeclined::Superseded);
    server.receive_snapshot(2, 2, &snapshot(id(2, 3)));
    assert_eq!(declined(&mut server, 3), CompactDeclined::Discarded);
    assert_eq!(server.status().counters().unfounded, 1, "these are honest");
    let mut newcomer = Server::restored(config(4), Kept { incarnation: Incarnation::joined(4), ..Kept::default() });
    newcomer.receive(2, 2, append(NOTHING, log(1, &[2]), 1));
    assert_eq!(declined(&mut newcomer, 1), CompactDeclined::MembersUnknown);
}
