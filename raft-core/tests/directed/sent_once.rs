//! Nothing is sent twice: not in one step, and not later without a reason. One entry for each message, and followers whose disks
//! are behind what they have received, so that the two are not taken for each other.

use std::collections::{BTreeMap, VecDeque};

use crate::kit::*;
use raft_core::{Action, AppendOutcome, Bytes, Config, Event, Index, Message, NodeId, RequestId, RoleKind, Rpc};

const PEERS: [u64; 2] = [2, 3];

/// What a run may do to its messages.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    /// Answers are late, doubled and overtake each other; appends arrive in order.
    Answers,
    /// Appends are lost too, and the transport says so, sometimes; followers are full; the log is compacted.
    All,
}

/// When an entry was sent last: in which step, after how many heartbeats, and how often since the last heartbeat or denial.
#[derive(Clone, Copy)]
struct Sent {
    step: u64,
    heartbeats: u64,
    times: u64,
}

/// What the leader's messages to one peer were, and what gave it a reason to repeat them.
#[derive(Default)]
struct Line {
    appends: VecDeque<Message>,
    answers: VecDeque<Message>,
    sent: BTreeMap<u64, Sent>,
    /// The last step in which it was said that something had not arrived, or was not taken.
    denied_in: u64,
}

/// The round that a message without entries asks to echo.
fn asks_in_round(message: &Message) -> Option<u64> {
    match &message.rpc {
        Rpc::AppendEntries { entries, reply: true, round, .. } if entries.is_empty() => Some(*round),
        _ => None,
    }
}

struct Flow {
    weather: Weather,
    leader: Server,
    followers: Vec<Server>,
    lines: BTreeMap<u64, Line>,
    step: u64,
    heartbeats: u64,
    sent_again: u64,
    dice: u64,
}

impl Flow {
    fn new(dice: u64, weather: Weather) -> Flow {
        let config = |id| {
            let mut config = Config {
                append_entries_max: 1,
                inflight_appends_max: 4,
                election_ticks_min: 10_000,
                election_ticks_max: 20_000,
                trailing_entries: 2,
                ..config(id)
            };
            if weather == Weather::All {
                config.unpersisted_bytes_max = 200;
            }
            config
        };
        let mut leader = Server::restored(config(1), Kept::new(1, &[1, 2, 3]));
        leader.elect();
        let follower = |id| Server { disk_held: true, ..Server::restored(config(id), Kept::new(id, &[1, 2, 3])) };
        let lines = PEERS.map(|peer| (peer, Line::default())).into();
        let followers = PEERS.map(follower).into();
        Flow { weather, leader, followers, lines, step: 0, heartbeats: 0, sent_again: 0, dice: dice * 2 + 1 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % bound
    }

    fn follower(&mut self, peer: u64) -> &mut Server {
        &mut self.followers[usize::try_from(peer).unwrap() - 2]
    }

    /// The leader steps, and what it sends is looked at.
    fn lead(&mut self, event: &Event) {
        self.step += 1;
        if let Event::Receive { from, message } = event
            && let Rpc::AppendEntriesReply {
                outcome: AppendOutcome::Conflict { .. } | AppendOutcome::Full { .. }, ..
            } = &message.rpc
        {
            self.lines.get_mut(&from.0).unwrap().denied_in = self.step;
        }
        if let Event::Unreachable { peer } | Event::SnapshotSent { to: peer, .. } = event {
            self.lines.get_mut(&peer.0).unwrap().denied_in = self.step;
        }
        let actions = self.leader.step(event.clone());
        self.heartbeats += u64::from(matches!(event, Event::Tick { .. }) && !sent(&actions).is_empty());
        for peer in PEERS {
            let appends = sent(&actions).into_iter().filter(|(to, _)| *to == peer).map(|(_, message)| message);
            let appends: Vec<_> = appends.collect();
            for (at, message) in appends.iter().enumerate() {
                assert!(!appends[..at].contains(message), "twice in the step {event}: {message}");
            }
            let asked: Vec<u64> = appends.iter().filter_map(asks_in_round).collect();
            let twice = asked.windows(2).any(|rounds| rounds[0] == rounds[1]);
            assert!(!twice, "asked twice in the step {event}: {appends:?}");
            for message in appends {
                self.sends(peer, message, event);
            }
        }
        for action in actions {
            if let Action::SendSnapshot { to, term, snapshot } = action {
                let answers = self.follower(to.0).receive_snapshot(1, term.0, &snapshot);
                self.answer(to.0, &answers);
                self.lead(&Event::SnapshotSent { to, snapshot: snapshot.last, delivered: true });
            }
        }
    }

    fn sends(&mut self, peer: u64, message: Message, event: &Event) {
        let Rpc::AppendEntries { entries, .. } = &message.rpc else { return };
        let line = self.lines.get_mut(&peer).unwrap();
        for (id, _) in entries.iter() {
            let mut now = Sent { step: self.step, heartbeats: self.heartbeats, times: 1 };
            if let Some(last) = line.sent.get(&id.index.0) {
                self.sent_again += 1;
                if last.heartbeats == now.heartbeats && line.denied_in <= last.step {
                    now.times += last.times;
                }
            }
            // While it is not known where the logs meet, one message is on its way, and an answer to an older one may open the flow;
            // but once only after each heartbeat.
            let max = if self.weather == Weather::All { 2 } else { 1 };
            assert!(now.times <= max, "{id} is sent to {peer} again in step {}: {event}", self.step);
            line.sent.insert(id.index.0, now);
        }
        line.appends.push_back(message);
    }

    fn answer(&mut self, peer: u64, actions: &[Action]) {
        let answers = sent(actions).into_iter().map(|(_, message)| message);
        self.lines.get_mut(&peer).unwrap().answers.extend(answers);
    }

    /// Something happens.
    fn happen(&mut self) {
        let peer = PEERS[usize::try_from(self.below(2)).unwrap()];
        let line = self.lines.get_mut(&peer).unwrap();
        let (kinds, waiting) = (if self.weather == Weather::All { 12 } else { 8 }, line.answers.len() as u64);
        match self.below(kinds) {
            0 => {
                let commands = [Bytes::from_static(b"x")].into();
                self.lead(&Event::Start { request: RequestId(1), commands });
            }
            1 => self.lead(&Event::Tick { elapsed: 1 }),
            2 if self.step.is_multiple_of(7) => self.lead(&Event::Read { request: RequestId(2) }),
            // A disk is slower than messages are.
            3 if !self.follower(peer).writes.is_empty() => {
                let actions = self.follower(peer).persist_one();
                self.answer(peer, &actions);
            }
            4 if waiting > 0 => {
                let at = usize::try_from(self.below(waiting)).unwrap();
                let line = self.lines.get_mut(&peer).unwrap();
                let message = line.answers[at].clone();
                // One in four comes a second time.
                if self.below(4) > 0 {
                    self.lines.get_mut(&peer).unwrap().answers.remove(at);
                }
                self.lead(&Event::Receive { from: NodeId(peer), message });
            }
            8 => {
                self.lines.get_mut(&peer).unwrap().appends.pop_front();
            }
            9 if self.step.is_multiple_of(5) => self.lead(&Event::Unreachable { peer: NodeId(peer) }),
            10 => {
                let applied = self.leader.status().applied();
                self.lead(&Event::Compact { index: applied });
            }
            _ => {
                if let Some(message) = self.lines.get_mut(&peer).unwrap().appends.pop_front() {
                    let actions = self.follower(peer).step(Event::Receive { from: NodeId(1), message });
                    self.answer(peer, &actions);
                }
            }
        }
    }
}

/// No append is lost: each entry is sent to each follower once, however late the disks and the answers are.
#[test]
fn every_entry_is_sent_once() {
    let (mut received, mut behind) = (0, 0);
    for dice in 0..200 {
        let mut flow = Flow::new(dice, Weather::Answers);
        (0..400).for_each(|_| flow.happen());
        assert_eq!(flow.sent_again, 0);
        behind += flow.followers.iter().filter(|follower| follower.status().durable() < follower.last().index).count();
        received += flow.followers.iter().map(|follower| follower.last().index.0).sum::<u64>();
    }
    assert!(received > 2_000 && behind > 100, "only {received} entries arrived, {behind} disks were behind");
}

/// Appends are lost, refused and replaced by snapshots: without a denial no entry is sent to a follower more than twice between two
/// heartbeats, and never twice in a step.
#[test]
fn an_entry_is_sent_again_for_a_reason() {
    let mut again = 0;
    for dice in 0..200 {
        let mut flow = Flow::new(dice, Weather::All);
        (0..600).for_each(|_| flow.happen());
        again += flow.sent_again;
    }
    assert!(again > 200, "only {again} were sent again");
}

/// A leader of a new term has committed everything: it appends a no-op all the same, or nobody knows that it has (§5.4.2, §8).
#[test]
fn a_no_op_begins_each_term_though_all_is_committed() {
    let mut leader = Server::restored(Config { leader_noop: true, ..config(1) }, Kept::new(1, &[1, 2, 3]));
    for (term, index) in [(1, 1), (3, 2), (5, 3)] {
        leader.elect();
        assert_eq!((leader.last(), leader.role().1), (id(term, index), term));
        leader.receive(2, term, matched(index));
        assert_eq!(leader.status().commit(), Index(index), "all is committed");
        leader.receive(2, term + 1, PRE_REFUSED);
        assert_eq!(leader.role(), (RoleKind::Follower, term + 1));
    }
}
