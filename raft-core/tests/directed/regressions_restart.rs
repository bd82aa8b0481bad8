//! Restarts, pauses and settings: bugs that others had, each under the name of its scenario.

use crate::kit::cluster::Cluster;
use crate::kit::*;
use raft_core::{
    Action, Address, AppendOutcome, Bytes, Change, Config, ConfigError, Edit, Entries, EntryId, Event, FRAME_BYTES_MAX,
    FRAME_ROOM_BYTES, HardState, Incarnation, Index, Membership, NodeId, Payload, Raft, RequestId, RestoreError,
    Restored, RoleKind, Rpc, SnapshotMeta, Term, WipedPolicy, codec,
};

const NOTHING: EntryId = EntryId::ZERO;

/// Restored with a term, a snapshot that ends at `last`, entries, and what the application has.
fn restored(term: u64, last: EntryId, entries: Entries, applied: u64) -> Restored {
    let hard_state = HardState { term: Term(term), voted_for: None };
    Restored {
        incarnation: Incarnation(1),
        boot: 1,
        hard_state,
        snapshot: snapshot(last),
        entries,
        applied: Index(applied),
        ..Restored::default()
    }
}

fn error(restored: Restored) -> RestoreError {
    Raft::new(config(1), restored).unwrap_err()
}

#[test]
fn restart_bounds() {
    let (two, none) = (id(1, 2), Entries::new());
    let unborn = Restored { incarnation: Incarnation(0), ..restored(1, two, none.clone(), 0) };
    assert_eq!(error(unborn), RestoreError::NoIncarnation);
    let mut crowd = restored(1, two, none.clone(), 0);
    crowd.snapshot.membership = Membership::new((0..=Membership::MEMBERS_MAX as u64).map(NodeId)).into();
    assert_eq!(error(crowd), RestoreError::TooManyMembers { count: Membership::MEMBERS_MAX + 1 });
    let gap = RestoreError::Gap { snapshot: two, first: id(1, 4) };
    assert_eq!(error(restored(1, two, log(4, &[1]), 0)), gap);
    let falls = RestoreError::Gap { snapshot: id(2, 2), first: id(1, 3) };
    assert_eq!(error(restored(2, id(2, 2), log(3, &[1]), 0)), falls);
    let behind = RestoreError::LogBehindSnapshot { snapshot: two, last: id(1, 1) };
    assert_eq!(error(restored(1, two, log(1, &[1]), 0)), behind);
    let other = RestoreError::SnapshotNotInLog { snapshot: two, term: Term(2) };
    assert_eq!(error(restored(2, two, log(1, &[1, 2, 2]), 0)), other);
    let ahead = |applied, last| RestoreError::AppliedBeyondLog { applied: Index(applied), last: Index(last) };
    assert_eq!(error(restored(1, two, none.clone(), 3)), ahead(3, 2));
    assert_eq!(error(restored(1, NOTHING, log(1, &[1]), 2)), ahead(2, 1));
    let term = |last| RestoreError::TermBehindLog { current: Term(1), last: Term(last) };
    assert_eq!(error(restored(1, NOTHING, log(1, &[1, 3]), 0)), term(3));
    assert_eq!(error(restored(1, id(2, 2), none.clone(), 0)), term(2));
    for last in [id(u64::MAX, 2), id(1, u64::MAX), id(1, 0), id(0, 1)] {
        assert_eq!(error(restored(1, last, none.clone(), 0)), RestoreError::OutOfRange { id: last });
    }
    let far = id(1, u64::MAX);
    assert_eq!(error(restored(1, two, none.clone(), u64::MAX)), RestoreError::OutOfRange { id: far });
    assert!(matches!(error(restored(u64::MAX, two, none.clone(), 2)), RestoreError::OutOfRange { .. }));
    let zero = Config { heartbeat_ticks: 0, ..config(1) };
    let wrong = Raft::new(zero, restored(1, two, none.clone(), 0)).unwrap_err();
    assert_eq!(wrong, RestoreError::Config(ConfigError::Zero { name: "heartbeat_ticks" }));
    // All that does fit together is taken, from the empty log to one that reaches behind its snapshot.
    for (last, entries, applied) in [
        (NOTHING, none.clone(), 0),
        (two, none, 2),
        (two, log(1, &[1, 1]), 0),
        (two, log(2, &[1, 1]), 3),
        (two, log(3, &[1]), 3),
    ] {
        assert!(Raft::new(config(1), restored(1, last, entries, applied)).is_ok());
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    type Change = fn(&mut Config);
    let error = |change: Change| {
        let mut config = config(1);
        change(&mut config);
        config.check().unwrap_err()
    };
    let zeros: [(&str, Change); 11] = [
        ("heartbeat_ticks", |c| c.heartbeat_ticks = 0),
        ("append_entries_max", |c| c.append_entries_max = 0),
        ("append_bytes_max", |c| c.append_bytes_max = 0),
        ("inflight_appends_max", |c| c.inflight_appends_max = 0),
        ("inflight_bytes_max", |c| c.inflight_bytes_max = 0),
        ("command_bytes_max", |c| c.command_bytes_max = 0),
        ("backlog_bytes_max", |c| c.backlog_bytes_max = 0),
        ("unpersisted_bytes_max", |c| c.unpersisted_bytes_max = 0),
        ("apply_bytes_max", |c| c.apply_bytes_max = 0),
        ("disk_stall_ticks", |c| c.disk_stall_ticks = 0),
        ("snapshot_timeout_ticks", |c| c.snapshot_timeout_ticks = 0),
    ];
    for (name, change) in zeros {
        assert_eq!(error(change), ConfigError::Zero { name });
    }
    assert_eq!(error(|c| c.election_ticks_min = 2), ConfigError::TimeoutTooShort { min: 2, heartbeat: 2 });
    assert_eq!(error(|c| c.election_ticks_max = 10), ConfigError::TimeoutsEqual { min: 10, max: 10 });
    let bytes = FRAME_BYTES_MAX as u64;
    let small = |name| ConfigError::FrameTooSmall { name, bytes, max: FRAME_ROOM_BYTES };
    assert_eq!(error(|c| c.command_bytes_max = FRAME_BYTES_MAX as u64), small("command_bytes_max"));
    assert_eq!(error(|c| c.append_bytes_max = FRAME_BYTES_MAX as u64), small("append_bytes_max"));
}

/// An application that is behind the snapshot is told to restore it, by the core and in the first step.
#[test]
fn an_application_behind_the_snapshot_is_restored_first() {
    let mut raft = Raft::new(config(1), restored(2, id(1, 3), log(4, &[2]), 2)).unwrap();
    assert_eq!(raft.status().commit(), Index(3));
    assert_eq!(raft.step(Event::Tick { elapsed: 0 }), [Action::Restore(snapshot(id(1, 3)))]);
    assert_eq!(raft.step(Event::Tick { elapsed: 0 }), []);
    assert_eq!(raft.step(Event::Applied(Index(3))), []);
    assert_eq!(raft.status().applied(), Index(3));
}

/// An application that is ahead of the snapshot goes on from where it is: each index is applied once in a life.
#[test]
fn an_application_ahead_of_the_snapshot_goes_on() {
    let kept = Kept::new(1, &[1, 2, 3]).with_log(2, &[1, 1, 1, 2]);
    let mut raft = Raft::new(config(1), kept.restored(2)).unwrap();
    assert_eq!((raft.status().commit(), raft.status().handed_out()), (Index(2), Index(2)));
    assert_eq!(raft.step(Event::Tick { elapsed: 0 }), []);
    let mut server = Server { raft, ..Server::restored(config(1), kept) };
    assert_eq!(applied(&server.receive(2, 2, heartbeat(id(2, 4), 4))), [id(1, 3), id(2, 4)]);
}

/// What is handed out is cut by bytes: to less than the limit or, where one entry is larger, to more. Each index comes once and
/// in order all the same, and a commit index that is told too low after a restart takes nothing back.
#[test]
fn storage_size_mismatch() {
    let mut kept = Kept::new(1, &[1, 2, 3]).with_log(1, &[1; 8]);
    for (entry, size) in kept.entries.values_mut().zip([1, 1, 90, 1, 1, 200, 1, 1]) {
        entry.payload = Payload::Command(vec![0; size].into());
    }
    for apply_bytes_max in 1..600 {
        let config = Config { apply_bytes_max, ..config(1) };
        let raft = Raft::new(config.clone(), kept.restored(2)).unwrap();
        let mut server = Server { raft, application_held: true, ..Server::restored(config, kept.clone()) };
        let mut handed_out = vec![];
        for (told, commit) in [(1, 2), (5, 5), (4, 5), (8, 8)] {
            handed_out.extend(applied(&server.receive(2, 1, heartbeat(id(1, 8), told))));
            assert_eq!(server.status().commit(), Index(commit), "limit {apply_bytes_max}");
        }
        for index in 3..=8 {
            assert_eq!(handed_out.last(), Some(&id(1, server.status().handed_out().0)));
            handed_out.extend(applied(&server.step(Event::Applied(Index(index)))));
        }
        assert_eq!(handed_out, (3..=8).map(|index| id(1, index)).collect::<Vec<_>>(), "limit {apply_bytes_max}");
    }
}

#[test]
fn restart_replays_committed_tail() {
    let config = Config { leader_noop: true, ..config(1) };
    let kept = Kept::new(1, &[1]).with_log(2, &[1, 1, 2]);
    let mut server = Server::restored(config, kept);
    let actions = server.ticks(20);
    assert_eq!(applied(&actions), [id(1, 1), id(1, 2), id(2, 3), id(3, 4)], "with the no-op of the new term");
}

/// Figure 2's persistent state, and what a server that had forgotten a part of it would do against its word.
#[test]
fn why_term_vote_and_log_are_durable() {
    let in_term = |term| Server::with_log(1, &[1, 2, 3], term, &[1]);

    // Server 2 leads in term 4, elected without the entry that server 3, which led in term 3, would take for committed.
    let mut server = in_term(3);
    server.receive(2, 4, heartbeat(id(1, 1), 0));
    let deposed = |mut server: Server| sent_to(&server.receive(3, 3, append(id(1, 1), log(2, &[3]), 0)), 3);
    let older_term = Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm };
    assert_eq!(deposed(server.crashed()), [older_term]);
    assert_eq!(deposed(in_term(3)), [received_in(1, 2, 1), matched(2)], "without its term");

    // Servers 2 and 3 both campaign in term 4, and would both be elected.
    let mut server = in_term(3);
    assert_eq!(sent_to(&server.receive(2, 4, Rpc::RequestVote { last: id(1, 1), transfer: false }), 2), [GRANTED]);
    let rival =
        |mut server: Server| sent_to(&server.receive(3, 4, Rpc::RequestVote { last: id(1, 1), transfer: false }), 3);
    assert_eq!(rival(server.crashed()), [REFUSED]);
    assert_eq!(rival(in_term(4)), [GRANTED], "without its vote");

    // Entry 2 is committed on its word. Server 3 lacks it, and would lead without it.
    assert_eq!(
        sent_to(&server.receive(2, 4, append(id(1, 1), log(2, &[4]), 0)), 2),
        [received_in(1, 2, 1), matched(2)]
    );
    let poorer =
        |mut server: Server| sent_to(&server.receive(3, 5, Rpc::RequestVote { last: id(1, 1), transfer: false }), 3);
    assert_eq!(poorer(server.crashed()), [REFUSED]);
    assert_eq!(poorer(in_term(4)), [GRANTED], "without its log");
}

/// After a restart a server waits for a timeout like any other, whatever it was before.
#[test]
fn recovered_leader_not_stale() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    leader.start(&["x"]);
    leader.receive(2, 1, matched(1));
    let mut restarted = leader.crashed();
    assert_eq!((restarted.role(), restarted.status().leader()), ((RoleKind::Follower, 1), None));
    assert_eq!(restarted.status().commit(), Index(0), "what it knew to be committed, it has to learn again");
    assert_eq!(restarted.ticks(9), []);
}

/// A pause is not an outage: mail that waited is heard before anyone campaigns, and nobody campaigns twice for one pause.
#[test]
fn tick_debt() {
    for elapsed in [1000, u32::MAX] {
        let mut follower = Server::new(1, &[1, 2, 3]);
        follower.receive(2, 1, heartbeat(NOTHING, 0));
        follower.ticks(5);
        assert_eq!(follower.step(Event::Tick { elapsed }), [], "one heartbeat interval at most");
        follower.receive(2, 1, heartbeat(NOTHING, 0));
        assert_eq!(follower.ticks(9), []);

        let mut leader = Server::new(1, &[1, 2, 3]);
        leader.elect();
        leader.ticks(5);
        leader.step(Event::Tick { elapsed });
        assert_eq!(leader.role().0, RoleKind::Leader);

        let mut quiet = Server::new(1, &[1, 2, 3]);
        let mut campaigns = 0;
        for _ in 0..5 {
            let before = quiet.role();
            let asked = sent(&quiet.step(Event::Tick { elapsed })).len();
            assert!(asked <= 2, "one campaign in a tick, and one message to each peer");
            campaigns += u32::from(before.0 == RoleKind::Follower && asked > 0);
        }
        assert!(campaigns <= 1 && quiet.role().1 == 0, "no term was raised alone");
    }
}

/// A driver may sleep until something is due; the clock is then in the same state as if it had ticked.
#[test]
fn ticks_until_due_misses_nothing() {
    let mut leader = Server::new(1, &[1, 2, 3]);
    leader.elect();
    for _ in 0..5 {
        let elapsed = leader.raft.ticks_until_due();
        assert_eq!(elapsed, 2);
        assert_eq!(sent(&leader.step(Event::Tick { elapsed })).len(), 2, "heartbeats are on time");
        leader.receive(2, 1, matched(0));
        leader.receive(3, 1, matched(0));
    }
    let mut quiet = Server::new(1, &[1, 2, 3]);
    let mut passed = 0;
    while quiet.role().0 == RoleKind::Follower {
        let elapsed = quiet.raft.ticks_until_due();
        assert!((1..=2).contains(&elapsed));
        passed += elapsed;
        quiet.step(Event::Tick { elapsed });
    }
    assert!((10..=20).contains(&passed));
}

#[test]
fn learner_after_restart() {
    let membership = Membership::joint([NodeId(1), NodeId(2)], [], [NodeId(3)]);
    let meta = SnapshotMeta { last: id(1, 4), membership: membership.clone().into() };
    let mut learner = Server::new(3, &[]);
    learner.receive_snapshot(1, 1, &meta);
    let mut learner = learner.crashed();
    assert_eq!(learner.status().membership(), &membership);
    learner.ticks(100);
    assert_eq!(learner.role().0, RoleKind::Follower);
}

/// The newest configuration in the log rules, committed or not, and dropping its entry restores the one before (§6).
#[test]
fn truncate_reverts_config() {
    let config = |ids: &[u64]| Payload::Membership(membership(ids).into());
    let entry = |term, payload| raft_core::Entry { term: Term(term), payload };
    let entries =
        Entries::from_vec(Index(1), vec![entry(1, config(&[1, 2, 3, 4])), entry(1, config(&[2, 3]))]).unwrap();
    let mut server = Server::new(1, &[1, 2, 3]);
    server.receive(2, 1, append(NOTHING, entries, 0));
    assert_eq!(server.status().membership(), &membership(&[2, 3]));
    server.ticks(10);
    server.receive(3, 2, append(id(1, 1), log(2, &[2]), 0));
    assert_eq!(server.status().membership(), &membership(&[1, 2, 3, 4]));
    let mut server = server.crashed();
    assert_eq!(server.status().membership(), &membership(&[1, 2, 3, 4]), "also after a restart");
    server.receive(3, 2, heartbeat(id(2, 2), 2));
    server.step(Event::Compact { index: Index(2) });
    assert_eq!(server.status().snapshot().membership, membership(&[1, 2, 3, 4]).into());
    assert_eq!(server.raft.snapshot_at(Index(2)).unwrap().membership, membership(&[1, 2, 3, 4]).into());
}

/// Same settings, same disk, same events: the same actions.
#[test]
fn steps_are_deterministic() {
    let life = |seed| {
        let mut server = Server::restored(Config { seed, ..config(1) }, Kept::new(1, &[1, 2, 3]));
        let mut actions = server.ticks(50);
        actions.extend(server.elect());
        actions.extend(server.start(&["x"]));
        actions.extend(server.ticks(50));
        actions
    };
    assert_eq!(life(7), life(7));
    assert_ne!(life(7), life(8));
}

/// One way to set a setting.
type Set = Box<dyn Fn(&mut Config)>;

/// Every setting by its name, at the ends of its range. A new one does not compile until it is here.
fn extremes() -> Vec<(&'static str, Set)> {
    let Config {
        id: _, // another id is another server: see below
        seed: _,
        heartbeat_ticks: _,
        election_ticks_min: _,
        election_ticks_max: _,
        leader_noop: _,
        append_entries_max: _,
        append_bytes_max: _,
        inflight_appends_max: _,
        inflight_bytes_max: _,
        command_bytes_max: _,
        backlog_bytes_max: _,
        unpersisted_bytes_max: _,
        apply_bytes_max: _,
        trailing_entries: _,
        transfer_bytes_max: _,
        disk_stall_ticks: _,
        snapshot_timeout_ticks: _,
        wiped: _,
        record_disks: _,
        handicap_ticks: _,
        farewell_ticks: _,
        reads_max: _,
        resident_bytes_max: _,
    } = config(1);
    let mut all: Vec<(&'static str, Set)> = vec![];
    macro_rules! numbers {
        ($($name:ident: $type:ty,)*) => {
            $(for value in [0, 1, <$type>::MAX - 1, <$type>::MAX] {
                all.push((stringify!($name), Box::new(move |config| config.$name = value)));
            })*
        };
    }
    numbers! {
        seed: u64, heartbeat_ticks: u32, election_ticks_min: u32, election_ticks_max: u32, append_entries_max: u64,
        append_bytes_max: u64, inflight_appends_max: u64, inflight_bytes_max: u64, command_bytes_max: u64,
        backlog_bytes_max: u64, unpersisted_bytes_max: u64, apply_bytes_max: u64, trailing_entries: u64,
        transfer_bytes_max: u64, disk_stall_ticks: u32, snapshot_timeout_ticks: u32, handicap_ticks: u32,
        farewell_ticks: u32, reads_max: u64, resident_bytes_max: u64,
    }
    for value in [false, true] {
        all.push(("leader_noop", Box::new(move |config| config.leader_noop = value)));
        all.push(("record_disks", Box::new(move |config| config.record_disks = value)));
    }
    for value in [WipedPolicy::Report, WipedPolicy::Heal] {
        all.push(("wiped", Box::new(move |config| config.wiped = value)));
    }
    all
}

/// Three servers with these settings live through elections, commands, reads, a change, a transfer, snapshots, and one that is cut
/// off for a while, for so many rounds, and nothing panics. What is refused, is with a reason that names one of these settings.
/// Says whether it ran.
fn lives(set: &[&(&'static str, Set)], rounds: u64) -> bool {
    let mut common = config(1);
    set.iter().for_each(|(_, set)| set(&mut common));
    if let Err(error) = common.check() {
        let text = error.to_string();
        assert!(set.iter().any(|(name, _)| text.contains(name)), "{text}");
        return false;
    }
    let mut cluster = Cluster::new(3, |config| *config = Config { id: config.id, ..common.clone() });
    cluster.cut.insert(4); // a server that does not exist
    for round in 0..rounds {
        let asked = cluster.leader().unwrap_or(1);
        let request = RequestId(round);
        let index = cluster.server(asked).status().applied();
        cluster.step(asked, Event::Start { request, commands: [Bytes::from_static(b"x")].into() });
        match round % 16 {
            1 => drop(cluster.cut.insert(asked % 3 + 1)),
            5 => cluster.cut.retain(|id| *id == 4),
            7 => drop(cluster.step(asked, Event::Compact { index })),
            9 => drop(cluster.step(asked, Event::Transfer { request, to: None })),
            11 => drop(cluster.step(asked % 3 + 1, Event::Read { request })),
            13 => {
                let id = NodeId(4);
                let edit = if round % 32 < 16 {
                    Edit::AddLearner { id, address: Address::default() }
                } else {
                    Edit::Remove { id }
                };
                cluster.step(asked, Event::Change { request, change: Change::of(edit).into() });
            }
            _ => {}
        }
        let elapsed = if round % 3 == 0 { u32::MAX } else { 1 };
        for server in 1..=3 {
            cluster.step(server, Event::Tick { elapsed });
            assert!(cluster.server(server).raft.ticks_until_due() > 0);
        }
    }
    true
}

/// Zero and extreme values of every setting, alone and in pairs, are refused with a reason, or work.
#[test]
fn config_zero_values() {
    let all = extremes();
    let ran = all.iter().filter(|set| lives(&[*set], 3000)).count();
    assert!((40..all.len()).contains(&ran), "{ran} of {}", all.len());
    for (first, set) in all.iter().enumerate() {
        for other in all[first + 1..].iter().filter(|other| other.0 != set.0) {
            lives(&[set, other], 64);
        }
    }
    // The slowest clocks there are need three settings.
    let clocks: [(&'static str, Set); 3] = [
        ("heartbeat_ticks", Box::new(|config| config.heartbeat_ticks = u32::MAX - 2)),
        ("election_ticks_min", Box::new(|config| config.election_ticks_min = u32::MAX - 1)),
        ("election_ticks_max", Box::new(|config| config.election_ticks_max = u32::MAX)),
    ];
    for set in &all {
        lives(&[&clocks[0], &clocks[1], &clocks[2], set], 200);
    }
    for id in [0, 1, u64::MAX - 1, u64::MAX] {
        let mut server = Server::restored(config(id), Kept::new(id & 0xffff, &[id]));
        server.ticks(100);
        server.start(&["x"]);
        assert_eq!((server.role().0, server.status().commit()), (RoleKind::Leader, Index(1)));
    }
}

/// A server gives its whole state, before its first write too: whoever keeps that as a whole, and confirms all writes then, starts
/// it again as one that kept each write. It survives its encoding.
#[test]
fn a_server_gives_its_whole_state() {
    let same = |server: &Server, applied: u64| {
        let restored = server.raft.restored();
        assert_eq!(format!("{restored:?}"), format!("{:?}", server.kept.restored(applied)));
        let mut bytes = vec![];
        codec::encode_restored(&restored, &mut bytes).unwrap();
        let again = codec::decode_restored(bytes.into()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{restored:?}"));
        Raft::new(server.config.clone(), again).unwrap();
    };
    let mut server = Server::new(1, &[1, 2, 3]);
    same(&server, 0);
    server.elect();
    same(&server, 0);
    server.start(&["a", "b", "c"]);
    server.receive(2, 1, matched(2));
    same(&server, 2);
    server.step(Event::Compact { index: Index(2) });
    same(&server, 2);
    server.receive_snapshot(3, 2, &snapshot(id(2, 9)));
    same(&server, 9);
    server.receive(3, 2, append(id(2, 9), log(10, &[2, 2]), 9));
    same(&server, 9);
    server.receive(2, 3, append(id(2, 10), log(11, &[3]), 9));
    same(&server, 9);
    // What is not yet written is in it too.
    server.disk_held = true;
    server.receive(2, 3, append(id(3, 11), log(12, &[3]), 9));
    assert_eq!(server.raft.restored().entries.last(), Some(id(3, 12)));
}
