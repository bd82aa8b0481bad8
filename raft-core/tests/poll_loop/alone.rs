//! One server among two peers that the test plays: what it promises, whom it hears, what it says about commands.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use super::disk::{create, seal, unseal};
use super::driver::{Node, Outcome};
use super::{Applied, Scratch, Sockets, kept, recorder, until};
use raft_core::codec::{decode_message, encode_message};
use raft_core::{
    AppendOutcome, Bytes, Entries, Entry, EntryId, Incarnation, Index, Message, NodeId, Payload, Refusal, RequestId,
};
use raft_core::{RoleKind, Rpc, Term};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

struct Stage {
    _scratch: Scratch,
    sockets: Sockets,
    dir: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        let (scratch, sockets) = (Scratch::new(), Sockets::new(3));
        let dir = scratch.dir(1);
        create(&dir, ONE, &[ONE, TWO, THREE]).unwrap();
        for peer in [TWO, THREE] {
            sockets.0[&peer].set_nonblocking(true).unwrap();
        }
        Stage { _scratch: scratch, sockets, dir }
    }

    fn open(&self) -> (Node, Applied) {
        let (applied, apply) = recorder();
        (Node::open(ONE, &self.dir, self.sockets.of(ONE), self.sockets.peers(), apply).unwrap(), applied)
    }

    fn say(&self, from: NodeId, term: u64, rpc: Rpc) {
        say(&self.sockets.0[&from], &self.sockets, term, rpc);
    }

    /// What has come for a peer.
    fn hear(&self, peer: NodeId) -> Vec<Message> {
        let mut datagram = [0; 1 << 16];
        let mut heard = vec![];
        while let Ok((length, _)) = self.sockets.0[&peer].recv_from(&mut datagram) {
            let (body, _) = unseal(0, &datagram[..length]).expect("a whole frame");
            heard.push(decode_message(Bytes::copy_from_slice(body)).expect("a message"));
        }
        heard
    }

    /// What a server answers to a candidate; `None` if it has not answered yet.
    fn vote(&self, node: &mut Node, candidate: NodeId, term: u64) -> Option<bool> {
        self.say(candidate, term, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
        node.turn(Duration::from_millis(1), vec![]).unwrap();
        self.hear(candidate).into_iter().find_map(|message| match message.rpc {
            Rpc::RequestVoteReply { granted } if message.term == Term(term) => Some(granted),
            _ => None,
        })
    }

    /// Both peers vote for it until it leads; nobody acknowledges an entry.
    fn elect(&self, node: &mut Node) {
        until("server 1 leads", || {
            node.turn(Duration::from_millis(1), vec![]).unwrap();
            self.answer(false);
            node.raft().status().role() == RoleKind::Leader
        });
    }

    /// Both peers agree to what came for them.
    fn answer(&self, entries: bool) {
        for peer in [TWO, THREE] {
            for Message { term, rpc, .. } in self.hear(peer) {
                match rpc {
                    Rpc::PreVote { .. } => self.say(peer, term.0, Rpc::PreVoteReply { granted: true }),
                    Rpc::RequestVote { .. } => self.say(peer, term.0, Rpc::RequestVoteReply { granted: true }),
                    Rpc::AppendEntries { prev, entries: new, round, .. } if entries => {
                        let last = prev.index.plus(new.len());
                        let outcome = AppendOutcome::Matched { received: last, durable: last };
                        self.say(peer, term.0, Rpc::AppendEntriesReply { round, outcome });
                    }
                    _ => {}
                }
            }
        }
    }
}

fn say(socket: &UdpSocket, sockets: &Sockets, term: u64, rpc: Rpc) {
    let mut body = vec![];
    encode_message(&Message { term: Term(term), incarnation: Incarnation(9), rpc }, &mut body).unwrap();
    socket.send_to(&seal(0, &body).unwrap(), sockets.0[&ONE].local_addr().unwrap()).unwrap();
}

/// A leader's first entries, or those after `prev`.
fn append(prev: EntryId, term: u64, commands: &[&'static str], commit: u64) -> Rpc {
    let entry = |command: &&'static str| Entry { term: Term(term), payload: Payload::Command((*command).into()) };
    let entries = Entries::from_vec(prev.index.next(), commands.iter().map(entry).collect()).unwrap();
    Rpc::AppendEntries { prev, entries, commit: Index(commit), round: 1, reply: true }
}

#[test]
fn a_vote_survives_a_restart() {
    let stage = Stage::new();
    let (mut node, _) = stage.open();
    let mut answer = None;
    until("server 1 answers candidate 2", || {
        answer = stage.vote(&mut node, TWO, 5);
        answer.is_some()
    });
    assert_eq!(answer, Some(true), "nobody else asked in term 5");
    drop(node);
    let (mut node, _) = stage.open();
    assert_eq!((kept(&node).term, kept(&node).vote), (Term(5), Some(TWO)));
    until("server 1 answers candidate 3", || {
        answer = stage.vote(&mut node, THREE, 5);
        answer.is_some()
    });
    assert_eq!(answer, Some(false), "its vote in term 5 is candidate 2's");
}

#[test]
fn entries_that_were_replaced_stay_replaced_after_a_restart() {
    let stage = Stage::new();
    let (mut node, applied) = stage.open();
    until("server 1 has the entries of term 1", || {
        stage.say(TWO, 1, append(EntryId::ZERO, 1, &["a", "b", "c"], 1));
        node.turn(Duration::from_millis(1), vec![]).unwrap();
        node.raft().status().durable() == Index(3)
    });
    until("server 1 has the entry of term 2", || {
        stage.say(THREE, 2, append(EntryId::new(1, 1), 2, &["x"], 1));
        node.turn(Duration::from_millis(1), vec![]).unwrap();
        node.raft().status().last() == EntryId::new(2, 2)
    });
    let before = kept(&node);
    assert_eq!(*applied.borrow(), [(EntryId::new(1, 1), b"a".to_vec())]);
    drop(node);
    let (mut node, applied) = stage.open();
    assert_eq!(kept(&node), before);
    until("server 1 applies again from the beginning", || {
        stage.say(THREE, 2, append(EntryId::new(2, 2), 2, &[], 2));
        node.turn(Duration::from_millis(1), vec![]).unwrap();
        applied.borrow().len() == 2
    });
    assert_eq!(*applied.borrow(), [(EntryId::new(1, 1), b"a".to_vec()), (EntryId::new(2, 2), b"x".to_vec())]);
}

#[test]
fn each_command_hears_what_became_of_it() {
    let stage = Stage::new();
    let (mut node, applied) = stage.open();
    let why =
        |outcomes: Vec<(RequestId, Outcome)>| outcomes.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>();
    let refused = why(node.turn(Duration::ZERO, vec![(RequestId(1), "early".into())]).unwrap());
    assert_eq!(refused, [Outcome::Refused(Refusal::NotLeader { leader: None })]);
    stage.elect(&mut node);
    let term = node.raft().status().term();
    let commands =
        vec![(RequestId(2), vec![0; 1 << 14].into()), (RequestId(3), "kept".into()), (RequestId(4), "lost".into())];
    // The no-op of its term is at 1, these at 2 and 3. The large one does not harm the others.
    let outcomes = node.turn(Duration::ZERO, commands).unwrap();
    assert!(
        matches!(outcomes[..], [(RequestId(2), Outcome::Refused(Refusal::TooLarge { bytes: 16384, .. }))]),
        "{outcomes:?}"
    );
    assert_eq!(node.raft().status().last(), EntryId { term, index: Index(3) });
    // The next leader has what stands at 2, and something else at 3.
    let mut outcomes = vec![];
    until("both commands hear what became of them", || {
        stage.say(THREE, term.0 + 1, append(EntryId { term, index: Index(2) }, term.0 + 1, &["other"], 3));
        outcomes.extend(node.turn(Duration::from_millis(1), vec![]).unwrap());
        outcomes.len() >= 2
    });
    let kept = EntryId { term, index: Index(2) };
    assert_eq!(outcomes, [(RequestId(3), Outcome::Applied(kept)), (RequestId(4), Outcome::Superseded)]);
    let commands: Vec<_> = applied.borrow().iter().map(|(_, command)| command.clone()).collect();
    assert_eq!(commands, [b"kept".to_vec(), b"other".to_vec()]);
}

/// A leader that lost its office and got it back: two of its commands wait for one index, each in a term of its own.
#[test]
fn two_commands_at_one_index_are_told_apart() {
    let stage = Stage::new();
    let (mut node, applied) = stage.open();
    stage.elect(&mut node);
    let term = node.raft().status().term();
    let commands = (2..=4).map(|at| (RequestId(at), Bytes::from(format!("first at {at}")))).collect();
    let mut outcomes = node.turn(Duration::ZERO, commands).unwrap();
    // All but the no-op at 1 is replaced by one entry: the log ends at 2.
    let other = EntryId { term: term.next(), index: Index(2) };
    until("another leader's entry stands at 2", || {
        stage.say(THREE, other.term.0, append(EntryId { term, index: Index(1) }, other.term.0, &["other"], 0));
        outcomes.extend(node.turn(Duration::from_millis(1), vec![]).unwrap());
        node.raft().status().last() == other
    });
    stage.elect(&mut node);
    let again = node.raft().status().last();
    assert_eq!(again.index, Index(3), "a no-op of its new term");
    outcomes.extend(node.turn(Duration::ZERO, vec![(RequestId(5), "second at 4".into())]).unwrap());
    assert_eq!(outcomes, [], "nothing is decided yet");
    until("all four commands hear what became of them", || {
        stage.answer(true);
        outcomes.extend(node.turn(Duration::from_millis(1), vec![]).unwrap());
        outcomes.len() >= 4
    });
    let superseded = (2..=4).map(|request| (RequestId(request), Outcome::Superseded));
    let kept = Outcome::Applied(EntryId { term: again.term, index: Index(4) });
    assert_eq!(outcomes, superseded.chain([(RequestId(5), kept)]).collect::<Vec<_>>());
    let commands: Vec<_> = applied.borrow().iter().map(|(_, command)| command.clone()).collect();
    assert_eq!(commands, [b"other".to_vec(), b"second at 4".to_vec()]);
}

#[test]
fn strangers_and_garbage_are_not_heard() {
    let stage = Stage::new();
    let (mut node, _) = stage.open();
    let stranger = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let mut torn = vec![];
    encode_message(
        &Message {
            term: Term(90),
            incarnation: Incarnation(9),
            rpc: Rpc::RequestVote { last: EntryId::ZERO, transfer: false },
        },
        &mut torn,
    )
    .unwrap();
    let mut torn = seal(0, &torn).unwrap();
    *torn.last_mut().unwrap() ^= 1;
    let address = stage.sockets.0[&ONE].local_addr().unwrap();
    let mut answer = None;
    until("server 1 answers candidate 2", || {
        say(&stranger, &stage.sockets, 99, Rpc::RequestVote { last: EntryId::ZERO, transfer: false });
        stage.sockets.0[&TWO].send_to(&torn, address).unwrap();
        stage.sockets.0[&TWO].send_to(b"", address).unwrap();
        answer = stage.vote(&mut node, TWO, 5);
        answer.is_some()
    });
    assert_eq!((answer, kept(&node).term), (Some(true), Term(5)));
}

#[test]
fn two_leaders_in_one_term_stop_it_for_good() {
    let stage = Stage::new();
    let (mut node, _) = stage.open();
    let mut error = None;
    until("server 1 has heard both", || {
        for leader in [TWO, THREE] {
            stage.say(leader, 7, append(EntryId::ZERO, 7, &[], 0));
        }
        error = node.turn(Duration::from_millis(1), vec![]).err();
        error.is_some()
    });
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("both lead in term 7"), "{error}");
    let again = node.turn(Duration::ZERO, vec![]).map_err(|error| error.to_string());
    assert_eq!(again, Err("the node has stopped".to_owned()));
}
