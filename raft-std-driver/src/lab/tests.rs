use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use raft_core::{
    AppendOutcome, Bytes, Entries, EntryId, HardState, Incarnation, Index, Membership, Message, NodeId, Refusal, Rpc,
    ServerId, SnapshotMeta, Term,
};

use super::wire::{self, Request};
use super::*;
use crate::queue::lock;

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers what it is asked.
struct Echo;

impl Service for Echo {
    fn handle(&self, _from: usize, request: &[u8]) -> Option<Vec<u8>> {
        Some(request.to_vec())
    }
}

/// Call server 1 so many times at once, and note the answers as they come within `window`, each with its delay.
fn calls(network: &Network, count: u64, window: Duration) -> Vec<(Option<Vec<u8>>, Duration)> {
    let (tell, told) = mpsc::channel();
    let begun = Instant::now();
    for i in 0..count {
        let tell = tell.clone();
        network.peers(0)[1].call(i.to_le_bytes().to_vec(), move |reply| {
            let _ = tell.send((reply, begun.elapsed()));
        });
    }
    drop(tell);
    let left = || window.saturating_sub(begun.elapsed());
    std::iter::from_fn(|| told.recv_timeout(left()).ok()).collect()
}

fn echo() -> Network {
    let network = Network::new(2).unwrap();
    network.add_server(1, Echo);
    network
}

#[test]
fn a_reliable_network_keeps_order_and_counts() {
    let network = echo();
    let answers = calls(&network, 100, PATIENCE);
    let expected: Vec<_> = (0..100u64).map(|i| Some(i.to_le_bytes().to_vec())).collect();
    assert_eq!(answers.into_iter().map(|(reply, _)| reply).collect::<Vec<_>>(), expected);
    assert_eq!((network.rpcs(), network.rpcs_of(1), network.rpcs_of(0), network.bytes()), (100, 100, 0, 1600));
}

#[test]
fn who_is_cut_off_neither_calls_nor_is_called() {
    for cut_off in [0, 1] {
        let network = echo();
        network.disconnect(cut_off);
        assert!(!network.is_connected(cut_off));
        let answers = calls(&network, 20, PATIENCE);
        assert_eq!(answers.iter().filter(|(reply, _)| reply.is_none()).count(), 20);
        assert_eq!((network.rpcs(), network.rpcs_of(1), network.bytes()), (20, 0, 160));
        network.connect(cut_off);
        assert!(calls(&network, 1, PATIENCE)[0].0.is_some());
    }
}

#[test]
fn an_unreliable_network_loses_requests_and_replies() {
    let network = echo();
    network.set_unreliable(true);
    let answers = calls(&network, 1000, PATIENCE);
    assert_eq!(answers.len(), 1000);
    let (handled, answered) = (network.rpcs_of(1), answers.iter().filter(|(reply, _)| reply.is_some()).count());
    assert!((840..960).contains(&handled), "{handled} of 1000 requests arrived");
    assert!((720..900).contains(&answered), "{answered} of 1000 replies arrived");
}

#[test]
fn long_reordering_delays_two_thirds_of_the_replies() {
    let network = echo();
    network.set_long_reordering(true);
    let answers = calls(&network, 600, PATIENCE);
    assert_eq!(answers.iter().filter(|(reply, _)| reply.is_some()).count(), 600);
    let late = answers.iter().filter(|(_, delay)| *delay >= Duration::from_millis(200)).count();
    assert!(late >= 320, "{late} of 600 replies were late");
    let in_order = answers.windows(2).filter(|pair| pair[0].0 < pair[1].0).count();
    assert!(in_order < 500, "{in_order} of 600 replies came in order");
}

#[test]
fn long_delays_keep_callers_of_the_unreachable_waiting() {
    let network = echo();
    network.disconnect(1);
    assert_eq!(calls(&network, 200, PATIENCE).len(), 200);
    network.set_long_delays(true);
    let soon = calls(&network, 200, Duration::from_secs(1)).len();
    assert!((5..100).contains(&soon), "{soon} of 200 calls failed within a second of seven");
}

#[test]
fn a_deleted_server_is_not_heard_any_more() {
    struct Slow(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>);
    impl Service for Slow {
        fn handle(&self, _from: usize, request: &[u8]) -> Option<Vec<u8>> {
            self.0.send(()).ok()?;
            lock(&self.1).recv().ok()?;
            Some(request.to_vec())
        }
    }
    let network = Network::new(2).unwrap();
    let ((entered, entering), (leave, leaving)) = (mpsc::channel(), mpsc::channel());
    network.add_server(1, Slow(entered, Mutex::new(leaving)));
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| calls(&network, 1, PATIENCE));
        entering.recv_timeout(PATIENCE).unwrap();
        network.delete_server(1);
        network.add_server(1, Echo);
        leave.send(()).unwrap();
        answer.join().unwrap()
    });
    assert_eq!(answer[0].0, None, "the answer of a server that is gone");
}

/// Server 0 of so many, of which it is the only one that is there.
fn make(network: &Network, persister: &Arc<Persister>) -> (Raft, ApplyReceiver) {
    let (apply_ch, messages) = apply_channel();
    let raft = Raft::make(network.peers(0), 0, Arc::clone(persister), apply_ch).unwrap();
    network.add_server(0, raft.clone());
    (raft, messages)
}

fn within<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
}

fn command(index: u64) -> ApplyMsg {
    ApplyMsg::Command { index: Index(index), command: index.to_string().into() }
}

fn restored(persister: &Persister) -> raft_core::Restored {
    wire::decode_state(persister.read_raft_state(), Membership::default()).unwrap()
}

/// What server 1 says in term 5, and what server 0 answers.
fn ask(raft: &Raft, rpc: Rpc) -> Vec<Rpc> {
    let message = Message { term: Term(5), incarnation: Incarnation(1), rpc };
    reply(raft, &Request::message(&message).unwrap())
}

fn reply(raft: &Raft, request: &Request) -> Vec<Rpc> {
    let reply = raft.handle(1, &request.encode().unwrap()).unwrap();
    wire::decode_reply(&reply).unwrap().into_iter().map(|message| message.rpc).collect()
}

#[test]
fn what_a_reply_promises_is_saved() {
    let (network, persister) = (Network::new(3).unwrap(), Arc::new(Persister::new()));
    let (raft, _messages) = make(&network, &persister);
    let vote = ask(&raft, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
    assert_eq!(vote, [Rpc::RequestVoteReply { granted: true }]);
    let voted_for = Some(ServerId { id: NodeId(1), incarnation: Incarnation(1) });
    assert_eq!(restored(&persister).hard_state, HardState { term: Term(5), voted_for });

    let entry = |term| raft_core::Entry { term: Term(term), payload: raft_core::Payload::Command("x".into()) };
    let entries = Entries::from_vec(Index(1), vec![entry(2), entry(5)]).unwrap();
    let append = |entries, prev, reply| Rpc::AppendEntries { prev, entries, commit: Index(0), round: 1, reply };
    let heard = AppendOutcome::Matched { received: Index(2), durable: Index(0) };
    let saved = AppendOutcome::Matched { received: Index(2), durable: Index(2) };
    let appended = ask(&raft, append(entries.clone(), EntryId::ZERO, true));
    assert_eq!(appended, [heard, saved].map(|outcome| Rpc::AppendEntriesReply { round: 1, outcome }));
    assert_eq!(restored(&persister).entries, entries);
    assert_eq!(ask(&raft, append(Entries::new(), EntryId::new(5, 2), false)), [], "nothing is owed");

    let snapshot = SnapshotMeta { last: EntryId::new(4, 9), membership: Membership::new([0, 1, 2].map(NodeId)).into() };
    let request = Request::Snapshot { term: Term(5), snapshot: snapshot.clone(), data: b"state".to_vec() };
    let outcome = AppendOutcome::Matched { received: Index(9), durable: Index(9) };
    assert_eq!(reply(&raft, &request), [Rpc::AppendEntriesReply { round: 1, outcome }]);
    let after = restored(&persister);
    assert_eq!((after.snapshot, after.entries), (snapshot, Entries::new()));
    assert_eq!(persister.read_snapshot(), "state");
    raft.kill();
    assert_eq!(raft.handle(1, &request.encode().unwrap()), None, "the dead do not answer");
}

/// The service is slower than the log, calls back while it applies, and gets everything in order.
#[test]
fn a_slow_service_that_calls_back_blocks_nobody() {
    let (network, persister) = (Network::new(1).unwrap(), Arc::new(Persister::new()));
    let (raft, mut messages) = make(&network, &persister);
    within(|| raft.start("1").ok());
    for index in 2..=100 {
        assert_eq!(raft.start(index.to_string()).unwrap().index, Index(index));
    }
    for index in 1..=100 {
        assert_eq!(messages.recv_timeout(PATIENCE), Ok(command(index)));
        if index % 10 == 0 {
            raft.snapshot(Index(index), format!("through {index}"));
            assert_eq!(persister.read_snapshot(), format!("through {index}"));
            assert_eq!(restored(&persister).snapshot.last.index, Index(index));
        }
    }
    let size = persister.raft_state_size();
    raft.snapshot(Index(50), "an old one");
    raft.snapshot(Index(101), "one of the future");
    assert_eq!((persister.read_snapshot(), persister.raft_state_size()), ("through 100".into(), size));
    raft.kill();
}

#[test]
fn the_next_life_begins_with_the_snapshot_and_goes_on_behind_it() {
    let (network, persister) = (Network::new(1).unwrap(), Arc::new(Persister::new()));
    let (raft, mut messages) = make(&network, &persister);
    let term = within(|| raft.start("1").ok()).term;
    for index in 2..=15 {
        raft.start(index.to_string()).unwrap();
    }
    for index in 1..=10 {
        assert_eq!(messages.recv_timeout(PATIENCE), Ok(command(index)));
    }
    raft.snapshot(Index(10), "through 10");
    raft.kill();

    let (raft, mut messages) = make(&network, &persister);
    let snapshot = Bytes::from("through 10");
    assert_eq!(messages.recv_timeout(PATIENCE), Ok(ApplyMsg::Snapshot { index: Index(10), term, snapshot }));
    within(|| raft.start("16").ok());
    for index in 11..=16 {
        assert_eq!(messages.recv_timeout(PATIENCE), Ok(command(index)));
    }
    raft.kill();
}

/// One of two servers campaigns for ever, and a reader waits for what never comes, until it is killed.
#[test]
fn nothing_is_sent_saved_or_applied_after_kill() {
    let (network, persister) = (Network::new(2).unwrap(), Arc::new(Persister::new()));
    let (raft, mut messages) = make(&network, &persister);
    within(|| (network.rpcs() > 0).then_some(()));
    let reading = thread::spawn(move || messages.recv_timeout(PATIENCE));
    raft.kill();
    let (rpcs, state) = (network.rpcs(), persister.read_raft_state());
    assert_eq!(reading.join().unwrap(), Err(mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(raft.start("x"), Err(Refusal::NotLeader { leader: None }));
    assert!(!raft.get_state().1);
    // Two election timeouts, in which a living server would have asked again.
    thread::sleep(Duration::from_secs(2));
    assert_eq!((network.rpcs(), persister.read_raft_state()), (rpcs, state));

    // What was committed and not yet taken is not applied either.
    let (network, persister) = (Network::new(1).unwrap(), Arc::new(Persister::new()));
    let (raft, mut messages) = make(&network, &persister);
    within(|| raft.start("1").ok());
    raft.kill();
    assert_eq!(messages.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn make_says_why_it_cannot() {
    let network = Network::new(1).unwrap();
    let make = |me, state: &'static [u8]| {
        let persister = Persister::new();
        persister.save(Bytes::from_static(state), Bytes::new());
        Raft::make(network.peers(me), me, Arc::new(persister), apply_channel().0).unwrap_err()
    };
    assert!(matches!(make(1, b""), MakeError::NotAPeer { me: 1, peers: 1 }));
    assert!(matches!(make(0, b"short"), MakeError::State(_)));
    assert!(matches!(make(0, b"eight bytes and a frame that is none"), MakeError::State(_)));
}
