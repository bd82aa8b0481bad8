//! Three nodes through everything that there is a metric for.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use raft_std_driver::raft_core::{Bytes, EntryId, Incarnation, Message, NodeId, Rpc, Term};
use raft_std_driver::transport::Inbound;
use raft_tokio_driver::{Node, NodeConfig, RoleKind, StartError};

use crate::cluster::{Cluster, Member, in_time};
use crate::recorder::{Memory, recorder};
use crate::wire::{MESSAGE_BYTES, Wire};
use crate::{empty_disk, table, three};

/// Commands of all sizes that `small` lets through fit into the core's inbox, messages do not.
const MESSAGES: usize = (1 << 16) + 7;

fn small(config: &mut NodeConfig) {
    config.raft.command_bytes_max = 100;
    config.raft.backlog_bytes_max = 1000;
    config.raft.trailing_entries = 0;
    config.inbox_bytes_max = 2000;
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, holding).await;
}

struct Watched {
    cluster: Cluster,
    wires: Vec<Arc<Wire>>,
    recorder: &'static Memory,
}

impl Watched {
    fn asleep() -> Watched {
        Watched { cluster: three(1), wires: Vec::new(), recorder: recorder() }
    }

    /// The wires are kept in the order of waking.
    async fn wake(&mut self, member: usize) {
        let id = self.cluster.members[member].id;
        let others = (1..=3).filter(|other| *other != id).map(NodeId);
        let wire = Wire::new(self.cluster.network.attach(NodeId(id)), others);
        self.wires.push(Arc::clone(&wire));
        self.cluster.wake(member, |builder| builder.tune(small).transport(wire)).await;
    }

    fn now(&self, name: &str, node: u64) -> f64 {
        self.recorder.now(name, &[("node", &node.to_string())])
    }

    /// Of the commands started at this node.
    fn proposals(&self, node: u64, outcome: &str) -> f64 {
        self.recorder.now("raft_proposals_total", &[("node", &node.to_string()), ("outcome", outcome)])
    }

    /// On all nodes.
    fn total(&self, name: &str) -> f64 {
        (1..=3).map(|node| self.now(name, node)).sum()
    }

    /// Of the peers of this node.
    fn lag(&self, node: u64) -> f64 {
        self.now("raft_peer_lag_entries", node)
    }

    /// The most by which a leader has ever seen this peer behind.
    fn highest_lag(&self, leader: u64, peer: u64) -> f64 {
        let [leader, peer] = [leader, peer].map(|id| id.to_string());
        self.recorder.highest("raft_peer_lag_entries", &[("node", &leader), ("peer", &peer)])
    }

    fn wire(&self, node: u64) -> &Wire {
        &self.wires[self.cluster.members.iter().position(|member| member.id == node).unwrap()]
    }
}

#[tokio::test]
async fn every_metric_is_documented_and_says_what_happened() {
    let mut watched = Watched::asleep();
    a_snapshot_travels(&mut watched).await;
    commands_end_in_every_way(&watched).await;
    queues_grow(&watched).await;
    the_transport_tells(&watched).await;
    a_leader_is_cut_off(&watched).await;
    what_is_said_is_how_it_stands(&watched).await;
    a_disk_is_wiped(&mut watched).await;
    all_stop(&watched).await;
    what_is_said_is_what_is_documented(&watched);
}

async fn a_snapshot_travels(watched: &mut Watched) {
    watched.wake(0).await;
    watched.wake(1).await;
    watched.cluster.put("a").await;
    watched.cluster.put("b").await;
    watched.cluster.agree_on(&["a", "b"]).await;
    for member in &watched.cluster.members[..2] {
        in_time("a snapshot", member.node().snapshot()).await.unwrap();
    }
    watched.wake(2).await;
    watched.cluster.agree_on(&["a", "b"]).await;
    eventually("the leader hears of it", || watched.total("raft_snapshots_sent_total") > 0.0).await;
    assert_eq!(watched.total("raft_snapshots_taken_total"), 2.0);
    let to_third = [("peer", "3")];
    assert!(watched.recorder.now("raft_snapshots_sent_total", &to_third) > 0.0);
    assert!(watched.recorder.records("raft_snapshot_transfer_seconds", &to_third) > 0);
    assert!(watched.now("raft_snapshots_restored_total", 3) >= 1.0);
    for what in ["taken", "sent", "received", "restored"] {
        let (count, bytes) = (format!("raft_snapshots_{what}_total"), format!("raft_snapshot_bytes_{what}_total"));
        assert_eq!(watched.total(&bytes), watched.total(&count) * "a\nb\n".len() as f64, "{what}");
    }
}

async fn commands_end_in_every_way(watched: &Watched) {
    let Watched { cluster, recorder, .. } = watched;
    let leader = cluster.leader().await;
    let follower = cluster.members.iter().find(|member| member.id != leader.id).unwrap();
    let before = |outcome| watched.proposals(leader.id, outcome);
    let (applied, too_large, given_up) = (before("applied"), before("too_large"), before("given_up"));
    let told = recorder.records("raft_proposal_seconds", &[("node", &leader.id.to_string())]);

    let commands = [Bytes::from_static(b"c"), Bytes::from(vec![0; 101]), Bytes::from_static(b"d")];
    let answers = in_time("answers", leader.node().start_all(commands)).await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(watched.proposals(leader.id, "applied"), applied + 2.0);
    assert_eq!(watched.proposals(leader.id, "too_large"), too_large + 1.0);
    assert_eq!(recorder.records("raft_proposal_seconds", &[("node", &leader.id.to_string())]), told + 1);

    let refused = in_time("a refusal", follower.node().start("e")).await;
    assert!(matches!(refused, Err(StartError::NotLeader { .. })), "{refused:?}");
    assert!(watched.proposals(follower.id, "not_leader") >= 1.0);

    {
        let mut start = pin!(leader.node().start("f"));
        assert!(start.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(leader.node().start("never polled, never started"));
    }
    assert_eq!(watched.proposals(leader.id, "given_up"), given_up + 1.0);
    cluster.agree_on(&["a", "b", "c", "d", "f"]).await;
}

/// Hold a machine up until what is returned is dropped and joined.
fn hold(gate: &Arc<Mutex<()>>) -> (Sender<()>, JoinHandle<()>) {
    let (gate, (open, opened), (shut, is_shut)) = (Arc::clone(gate), channel::<()>(), channel());
    let holder = thread::spawn(move || {
        let _gate = gate.lock().unwrap();
        shut.send(()).unwrap();
        let _ = opened.recv();
    });
    is_shut.recv().unwrap();
    (open, holder)
}

async fn queues_grow(watched: &Watched) {
    let leader = watched.cluster.leader().await;
    let fed = RefCell::new(Vec::new());
    let feed = || {
        let node: Node = leader.node().clone();
        fed.borrow_mut().push(tokio::spawn(async move { node.start("q").await }));
    };
    let grows = |queue: &'static str| {
        move || {
            feed();
            watched.now(queue, leader.id) > 0.0
        }
    };
    (0..500).for_each(|_| feed());
    let of_leader = [("node", &*leader.id.to_string())];
    eventually("callers wait", || watched.recorder.highest("raft_callers_waiting", &of_leader) > 0.0).await;
    for caller in fed.take() {
        let _applied_or_busy = in_time("an answer", caller).await.unwrap();
    }
    eventually("none waits", || watched.now("raft_callers_waiting", leader.id) == 0.0).await;
    let (open, holder) = hold(&leader.ledger.gate);
    eventually("work waits for the machine", grows("raft_machine_queue_depth")).await;
    eventually("busy", || {
        feed();
        watched.proposals(leader.id, "busy") > 0.0
    })
    .await;
    assert!(watched.recorder.highest("raft_backlog_bytes", &[("node", &leader.id.to_string())]) > 900.0);
    drop(open);
    holder.join().unwrap();
    eventually("the machine goes on", || watched.now("raft_machine_queue_depth", leader.id) == 0.0).await;

    leader.disk.set_stalled(true);
    eventually("writes wait for the disk", grows("raft_disk_queue_depth")).await;
    leader.disk.set_stalled(false);
    eventually("the disk goes on", || watched.now("raft_disk_queue_depth", leader.id) == 0.0).await;
    for answer in fed.take() {
        let _taken_or_refused = in_time("an answer to what was fed", answer).await.unwrap();
    }
}

async fn the_transport_tells(watched: &Watched) {
    let (wire, peer) = (watched.wire(1), NodeId(2));
    let of_peer = |name: &str| watched.recorder.now(name, &[("node", "1"), ("peer", "2")]);
    // A snapshot of the servers' own may have been lost before, while one of them was slow.
    let lost = "raft_snapshots_not_delivered_total";
    let (all_lost, lost_before) = (watched.total(lost), of_peer(lost));
    let unreachable = watched.now("raft_peer_unreachable_total", 1);
    wire.count(peer).dropped(3);
    wire.count(peer).snapshot_sent(40);
    wire.count(peer).snapshot_received(50);
    wire.count(peer).connected(true);
    wire.waiting.store(6, Ordering::SeqCst);
    wire.inbound().unreachable(peer);
    wire.inbound().snapshot_sent(peer, EntryId::new(1, 1), false);
    assert_eq!(watched.now("raft_peer_unreachable_total", 1), unreachable + 1.0);
    assert_eq!(watched.total(lost), all_lost + 1.0);
    assert_eq!(of_peer(lost), lost_before + 1.0);
    // The node's task has no turn before all of them are there.
    flood(wire.inbound(), peer);
    assert!(watched.now("raft_peer_inbox_dropped_total", 1) >= 7.0);
    eventually("the transport is asked", || watched.now("raft_peer_appends_dropped_total", 1) == 3.0).await;
    assert_eq!(of_peer("raft_peer_snapshot_bytes_sent_total"), 40.0);
    assert_eq!(of_peer("raft_peer_snapshot_bytes_received_total"), 50.0);
    assert_eq!((of_peer("raft_peer_connected"), of_peer("raft_peer_queue_depth")), (1.0, 6.0));
}

fn flood(node: &dyn Inbound, from: NodeId) {
    for _ in 0..MESSAGES {
        let rpc = Rpc::PreVoteReply { granted: false };
        node.message(from, Message { term: Term(0), incarnation: Incarnation(100 + from.0), rpc });
    }
}

fn leads(member: &&Member) -> bool {
    member.node().watch().borrow().role == RoleKind::Leader
}

async fn a_leader_is_cut_off(watched: &Watched) {
    let cluster = &watched.cluster;
    eventually("all have caught up", || watched.total("raft_peer_lag_entries") == 0.0).await;
    let old = cluster.leader().await;
    let changes = watched.total("raft_leader_changes_total");
    let others = || cluster.members.iter().filter(|member| member.id != old.id);
    // From here until it is cut off nobody else has a turn: it leads, and takes the command.
    watched.recorder.forget_highest("raft_peer_lag_entries", &[("node", &old.id.to_string())]);
    let node = old.node().clone();
    let mut lost = Box::pin(async move { node.start("lost").await });
    assert!(lost.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    cluster.network.isolate(old.node().id());
    let lost = tokio::spawn(lost);
    // A moment later it may have stepped down, and knows nothing of others any more.
    eventually("its followers fall behind", || others().all(|other| watched.highest_lag(old.id, other.id) >= 1.0))
        .await;
    let kept = async {
        loop {
            eventually("a new leader", || others().any(|member| leads(&member))).await;
            let Some(new) = others().find(leads) else { continue };
            if new.node().start("kept").await.is_ok() {
                return;
            }
        }
    };
    in_time("a new leader takes a command", kept).await;
    cluster.network.heal();
    assert_eq!(in_time("an outcome", lost).await.unwrap(), Err(StartError::Superseded));
    assert_eq!(watched.proposals(old.id, "superseded"), 1.0);
    assert_eq!(watched.now("raft_is_leader", old.id), 0.0);
    assert_eq!(watched.lag(old.id), 0.0, "who does not lead knows nothing of others");
    assert!(watched.total("raft_leader_changes_total") >= changes + 2.0, "both of the others saw it");
}

/// Once all is quiet.
async fn what_is_said_is_how_it_stands(watched: &Watched) {
    let leader = watched.cluster.leader().await;
    eventually("all have caught up", || watched.total("raft_peer_lag_entries") == 0.0).await;
    let same = async {
        for member in &watched.cluster.members {
            loop {
                let status = member.node().status().await;
                let said =
                    ["raft_term", "raft_commit_index", "raft_apply_index", "raft_last_index", "raft_durable_index"]
                        .map(|name| watched.now(name, member.id));
                let stands = [status.term.0, status.commit.0, status.applied.0, status.last.index.0, status.durable.0];
                if said == stands.map(|number| number as f64) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    in_time("the same numbers", same).await;
    let role = |node| (watched.now("raft_role", node), watched.now("raft_is_leader", node));
    assert_eq!(role(leader.id), (3.0, 1.0));
    assert_eq!(watched.total("raft_is_leader"), 1.0);
    assert_eq!(watched.total("raft_has_leader"), 3.0);
    assert!(watched.total("raft_elections_won_total") <= watched.total("raft_elections_started_total"));
}

async fn a_disk_is_wiped(watched: &mut Watched) {
    let leader = watched.cluster.leader().await.id;
    let member = watched.cluster.members.iter().position(|member| member.id != leader).unwrap();
    let Member { id, node, .. } = &watched.cluster.members[member];
    let (id, node) = (*id, node.clone().unwrap());
    in_time("its end", node.shutdown()).await.unwrap();
    assert_eq!(node.start("late").await, Err(StartError::ShutDown));
    assert_eq!(watched.proposals(id, "shut_down"), 1.0);
    watched.cluster.members[member].disk = empty_disk(id);
    watched.wake(member).await;
    eventually("the leader sees it", || watched.total("raft_peer_wiped_total") >= 1.0).await;
}

async fn all_stop(watched: &Watched) {
    assert_eq!(watched.total("raft_running"), 3.0);
    for member in &watched.cluster.members {
        in_time("its end", member.node().shutdown()).await.unwrap();
    }
    let gone = ["raft_running", "raft_is_leader", "raft_has_leader", "raft_role", "raft_peer_lag_entries"];
    for name in gone.into_iter().chain(["raft_peer_connected", "raft_peer_queue_depth", "raft_callers_waiting"]) {
        assert_eq!(watched.total(name), 0.0, "{name}");
    }
    // All that was ever counted, by the transports before and after a restart.
    let traffic = |of: fn(&raft_tokio_driver::transport::Traffic) -> u64| {
        let counted = watched.wires.iter().flat_map(|wire| raft_tokio_driver::transport::Transport::traffic(&**wire));
        counted.map(|(_, traffic)| of(&traffic)).sum::<u64>() as f64
    };
    assert_eq!(watched.total("raft_peer_messages_sent_total"), traffic(|traffic| traffic.messages_sent));
    assert_eq!(watched.total("raft_peer_bytes_sent_total"), traffic(|traffic| traffic.bytes_sent));
    assert_eq!(watched.total("raft_peer_messages_received_total"), traffic(|traffic| traffic.messages_received));
    assert_eq!(watched.total("raft_peer_bytes_received_total"), traffic(|traffic| traffic.bytes_received));
    assert!(traffic(|traffic| traffic.messages_received) * MESSAGE_BYTES as f64 > 100.0);
}

fn what_is_said_is_what_is_documented(watched: &Watched) {
    let (documented, said) = (table::metrics(), watched.recorder.metrics());
    for (name, metric) in &said {
        assert_eq!(documented.get(name), Some(metric), "{name} is not documented so");
    }
    for name in documented.keys() {
        assert!(said.contains_key(name), "{name} is documented, and does not exist");
        let highest = |node: u64| watched.recorder.highest(name, &[("node", &node.to_string())]);
        assert!((1..=3).any(|node| highest(node) > 0.0), "{name} never said anything");
    }
}
