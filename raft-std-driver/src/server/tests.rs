use std::sync::{Arc, Mutex};

use raft_core::{
    AppendOutcome, Bytes, Config, Entries, FRAME_ROOM_BYTES, Incarnation, Membership, Restored, RoleKind, Rpc, Write,
};

use super::*;
use crate::asked::Asked;
use crate::queue::lock;
use crate::waiters::Waiter;
use crate::workers::block_on;
use crate::{Outcome, StartError};

const TICK: Duration = Duration::from_millis(1);

fn outputs(server: &mut Server) -> Outputs {
    let mut outputs = Outputs::default();
    server.take_outputs(&mut outputs);
    outputs
}

fn writes(server: &mut Server) -> Vec<Write> {
    let write = |job| if let LogJob::Persist(write) = job { Some(write) } else { None };
    outputs(server).log.into_iter().filter_map(write).collect()
}

/// Confirms all writes, and what they lead to.
fn confirm(server: &mut Server) {
    loop {
        let outputs = outputs(server);
        let mut done = true;
        for job in outputs.log {
            if let LogJob::Persist(write) = job {
                server.hear(Event::Persisted(write.id));
                done = false;
            }
        }
        for job in outputs.apply {
            if let ApplyJob::Apply(entries) = job {
                server.hear(Event::Applied(entries.last().unwrap().index));
                done = false;
            }
        }
        if done {
            return;
        }
    }
}

/// The first of these members.
fn member(members: &[u64], tune: fn(&mut Config)) -> Server {
    let (membership, incarnation) = (Membership::new(members.iter().copied().map(NodeId)), Incarnation(1));
    let mut config = Config::new(NodeId(1));
    tune(&mut config);
    let backlog_bytes_max = config.backlog_bytes_max;
    let raft = Raft::new(config, Restored::new_cluster(incarnation, membership)).unwrap();
    Server::new(raft, None, TICK, backlog_bytes_max, Instant::now())
}

/// A leader without followers, with nothing left to be done.
fn leader(tune: fn(&mut Config)) -> Server {
    let mut server = member(&[1], tune);
    let mut now = server.ticked;
    while server.raft.status().applied() < 1.into() {
        now += TICK;
        server.pass_time(now);
        confirm(&mut server);
    }
    server
}

/// Leads two followers, of which the second has answered.
fn leader_of_three() -> Server {
    let mut server = member(&[1, 2, 3], |config| config.leader_noop = false);
    let hear = |server: &mut Server, rpc: Rpc| {
        let message = Message { term: server.raft.status().term(), incarnation: Incarnation(2), rpc };
        server.receive(NodeId(2), message);
        confirm(server);
    };
    while server.raft.status().role() != RoleKind::PreCandidate {
        let now = server.ticked + TICK;
        server.pass_time(now);
    }
    hear(&mut server, Rpc::PreVoteReply { granted: true });
    hear(&mut server, Rpc::RequestVoteReply { granted: true });
    let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
    hear(&mut server, Rpc::AppendEntriesReply { round: 1, outcome });
    assert_eq!(server.raft.status().role(), RoleKind::Leader);
    server
}

/// Let clients want these at one moment; returns whom the core refused, in order.
fn propose(server: &mut Server, commands: impl Iterator<Item = usize>) -> Vec<(usize, StartError)> {
    type Heard = Arc<Mutex<Vec<(usize, Result<Outcome, StartError>)>>>;
    let heard = Heard::default();
    let mut proposals = commands.enumerate().map(|(i, bytes)| {
        let heard = Arc::clone(&heard);
        let waiter = Waiter::calling(Box::new(move |result| lock(&heard).push((i, result))));
        Submission { command: Bytes::from(vec![0; bytes]), waiter }
    });
    server.propose(&mut proposals.by_ref().collect());
    std::mem::take(&mut server.out.refused).into_iter().for_each(RefusedCall::call);
    let heard = lock(&heard);
    heard.iter().map(|(i, result)| (*i, result.clone().unwrap_err())).collect()
}

/// The log writer gives the place of a received snapshot to the next one when it has installed or discarded it. A copy of an
/// installed one is neither to the core, and is settled all the same, behind the write that installs it.
#[test]
fn each_received_snapshot_is_settled_by_the_log_writer() {
    let mut server = member(&[1, 2, 3], |_| {});
    let membership = Membership::new([1, 2, 3].map(NodeId)).into();
    let snapshot = SnapshotMeta { last: EntryId::new(1, 9), membership };
    for _ in 0..2 {
        server.hear(Event::SnapshotReceived { from: NodeId(2), term: Term(1), snapshot: snapshot.clone() });
    }
    let settled: Vec<bool> = outputs(&mut server)
        .log
        .iter()
        .map(|job| match job {
            LogJob::Persist(write) => matches!(write.snapshot, Some(SnapshotWrite::Installed { .. })),
            LogJob::Discard(last) => *last != snapshot.last,
            LogJob::Read { .. } | LogJob::TryAgain | LogJob::CloseTail => true,
        })
        .collect();
    assert_eq!(settled, [true, false]);
}

#[test]
fn what_waits_becomes_one_write() {
    let mut server = leader(|_| {});
    assert_eq!(propose(&mut server, (0..1000).map(|_| 100)), []);
    let lengths: Vec<u64> = writes(&mut server).iter().map(|write| write.entries.len()).collect();
    assert_eq!(lengths, [1000]);
}

/// The applier must know who waits for an entry before it applies it.
#[test]
fn who_waits_is_parked_before_the_entries_are_applied() {
    let mut server = leader(|_| {});
    assert_eq!(propose(&mut server, (0..3).map(|_| 1)), []);
    let mut jobs = Vec::new();
    while !jobs.iter().any(|job| matches!(job, ApplyJob::Apply(_))) {
        let mut out = outputs(&mut server);
        jobs.append(&mut out.apply);
        let written =
            out.log.iter().filter_map(|job| if let LogJob::Persist(write) = job { Some(write.id) } else { None });
        written.for_each(|id| server.hear(Event::Persisted(id)));
    }
    let first = EntryId::new(server.raft.status().term().0, 2);
    let [ApplyJob::Park { first: parked, waiters }, ApplyJob::Apply(entries)] = &jobs[..] else {
        panic!("{} jobs", jobs.len())
    };
    assert_eq!((*parked, waiters.len(), entries.first(), entries.len()), (first, 3, Some(first), 3));
}

#[test]
fn a_write_stays_far_from_what_a_frame_carries() {
    let mut server = leader(|config| config.backlog_bytes_max = 1 << 40);
    assert_eq!(propose(&mut server, (0..100).map(|_| 1 << 20)), []);
    assert!(writes(&mut server).iter().all(|write| write.entries.bytes() <= JOINED_BYTES_MAX));
    assert_eq!(server.raft.status().last().index, 101.into());
}

#[test]
fn what_fits_is_taken_and_the_rest_is_refused() {
    let mut server = leader(|config| config.backlog_bytes_max = 1000);
    // 116 bytes each, with what an entry counts besides: eight fit, and no power of two of them does.
    assert_eq!(propose(&mut server, [100].into_iter()), []);
    let busy = StartError::Refused(Refusal::Busy { max: 1000 });
    let refused = propose(&mut server, (0..100).map(|_| 100));
    assert_eq!(refused, (7..100).map(|i| (i, busy)).collect::<Vec<_>>());
    assert_eq!(server.raft.status().last().index, 9.into());
}

/// A command that is only just within its own limit is too large with what an entry counts besides.
#[test]
fn a_command_too_large_is_refused_alone() {
    let mut server = leader(|config| {
        config.command_bytes_max = FRAME_ROOM_BYTES;
        config.backlog_bytes_max = 1 << 40;
    });
    let size = usize::try_from(FRAME_ROOM_BYTES).unwrap();
    let refused = propose(&mut server, [1, size, 1].into_iter());
    assert!(matches!(refused[..], [(1, StartError::Refused(Refusal::TooLarge { .. }))]), "{refused:?}");
    assert_eq!(server.raft.status().last().index, 3.into());
}

#[test]
fn time_passes_in_whole_ticks_and_none_is_lost() {
    let mut server = member(&[1, 2, 3], |_| {});
    let began = server.ticked;
    let pieces = [0.4, 0.9, 1.0, 1.6, 3.2];
    let ticked: Vec<f64> = pieces
        .iter()
        .map(|at| {
            server.pass_time(began + TICK.mul_f64(*at));
            (server.ticked - began).as_secs_f64() * 1000.0
        })
        .collect();
    assert_eq!(ticked, [0.0, 0.0, 1.0, 1.0, 3.0]);
}

/// The answer to a transfer, if there is one yet.
fn answer(answer: &mut oneshot::Receiver<Result<NodeId, Refusal>>) -> Result<Option<Result<NodeId, Refusal>>, ()> {
    answer.try_recv().map_err(|_| ())
}

fn ask_for_transfer(server: &mut Server, to: Option<NodeId>) -> oneshot::Receiver<Result<NodeId, Refusal>> {
    let (answer, outcome) = oneshot::channel();
    server.transfer(to, answer);
    outcome
}

#[test]
fn a_transfer_is_answered_once_whatever_becomes_of_the_server() {
    let mut server = leader_of_three();
    let mut first = ask_for_transfer(&mut server, Some(NodeId(2)));
    assert_eq!(answer(&mut first), Ok(None));
    let mut second = ask_for_transfer(&mut server, None);
    assert_eq!(answer(&mut second), Ok(Some(Err(Refusal::Transferring))), "the first one waits on");
    assert_eq!(propose(&mut server, [1, 1].into_iter()).len(), 2, "and so do commands");
    assert_eq!(answer(&mut first), Ok(None));
    let heartbeat =
        Rpc::AppendEntries { prev: EntryId::ZERO, entries: Entries::new(), commit: Index(0), round: 1, reply: true };
    server.receive(NodeId(2), Message { term: Term(9), incarnation: Incarnation(2), rpc: heartbeat });
    assert_eq!(answer(&mut first), Ok(Some(Ok(NodeId(2)))));
    assert!(server.requests.is_empty());

    let mut server = leader_of_three();
    let mut waiting = ask_for_transfer(&mut server, Some(NodeId(2)));
    assert_eq!(answer(&mut waiting), Ok(None));
    drop(server);
    assert_eq!(answer(&mut waiting), Err(()), "nobody answers any more");
}

/// Each reader hears once: what the core says, or that the server is gone.
#[test]
fn a_reader_hears_of_the_refusal_and_of_the_end() {
    let mut server = leader(|config| config.reads_max = 1);
    assert_eq!(propose(&mut server, [1].into_iter()), []);
    writes(&mut server).iter().for_each(|write| server.hear(Event::Persisted(write.id)));
    // It waits for the state machine; behind it there is no room.
    let ask = |server: &mut Server| {
        let asked = Asked::default();
        let (reader, _) = asked.ask().unwrap();
        server.read(asked.take().unwrap());
        reader
    };
    let waits = ask(&mut server);
    let refused = ask(&mut server);
    assert_eq!(block_on(refused), Some(Err(Refusal::TooManyReads { max: 1 }.into())));
    drop(server);
    assert_eq!(block_on(waits), None);
}

/// The applier hears that its snapshot is in force when the write that names it is durable, and once.
#[test]
fn a_snapshot_is_in_force_when_its_write_is_durable() {
    let mut server = leader(|config| config.trailing_entries = 0);
    assert_eq!(propose(&mut server, [1].into_iter()), []);
    confirm(&mut server);
    let compacted = |out: &Outputs| out.apply.iter().filter(|job| matches!(job, ApplyJob::Compacted(_))).count();
    server.built(server.raft.status().last());
    let out = outputs(&mut server);
    assert_eq!(compacted(&out), 0);
    let [LogJob::Persist(write)] = &out.log[..] else { panic!("{} jobs", out.log.len()) };
    server.hear(Event::Persisted(write.id));
    assert_eq!(compacted(&outputs(&mut server)), 1);
    // Declined by the core: as new a one is current.
    server.built(server.raft.status().last());
    assert_eq!(compacted(&outputs(&mut server)), 1);
    server.hear(Event::Persisted(write.id));
    assert_eq!(compacted(&outputs(&mut server)), 0);
}
