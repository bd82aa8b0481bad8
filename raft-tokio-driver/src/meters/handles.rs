//! Every metric: its name, kind, unit and labels, and what it means.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit, with_recorder};
use raft_std_driver::raft_core::NodeId;

static METADATA: Metadata<'static> = Metadata::new("raft_tokio_driver", Level::INFO, Some(module_path!()));

/// Describes and registers metrics with these labels.
struct Register<'a> {
    recorder: &'a dyn Recorder,
    labels: Vec<Label>,
}

impl Register<'_> {
    fn key(&self, name: &'static str) -> Key {
        Key::from_parts(name, self.labels.clone())
    }

    fn counter(&self, name: &'static str, unit: Unit, meaning: &'static str) -> Counter {
        self.recorder.describe_counter(name.into(), Some(unit), meaning.into());
        self.recorder.register_counter(&self.key(name), &METADATA)
    }

    fn gauge(&self, name: &'static str, unit: Unit, meaning: &'static str) -> Gauge {
        self.recorder.describe_gauge(name.into(), Some(unit), meaning.into());
        self.recorder.register_gauge(&self.key(name), &METADATA)
    }

    fn histogram(&self, name: &'static str, unit: Unit, meaning: &'static str) -> Histogram {
        self.recorder.describe_histogram(name.into(), Some(unit), meaning.into());
        self.recorder.register_histogram(&self.key(name), &METADATA)
    }
}

/// Gives a struct of handles its fields, and a way to make them, from one list.
macro_rules! handles {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ident($metric:literal, $unit:ident, $meaning:literal),)* }) => {
        $(#[$meta])*
        pub(super) struct $name {
            $(pub(super) $field: handles!(@type $kind),)*
        }

        impl $name {
            fn register(register: &Register<'_>) -> $name {
                $name { $($field: register.$kind($metric, Unit::$unit, $meaning),)* }
            }
        }
    };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@type histogram) => { Histogram };
}

handles! {
    /// Those of a node.
    NodeHandles {
        running: gauge("raft_running", Count, "1 while the node runs"),
        term: gauge("raft_term", Count, "current term"),
        role: gauge("raft_role", Count, "0 follower, 1 pre-candidate, 2 candidate, 3 leader"),
        is_leader: gauge("raft_is_leader", Count, "1 while it leads"),
        has_leader: gauge("raft_has_leader", Count, "1 while it knows who leads"),
        leader_changes: counter("raft_leader_changes_total", Count, "terms whose leader became known here"),
        elections_started: counter("raft_elections_started_total", Count, "campaigns of this server"),
        elections_won: counter("raft_elections_won_total", Count, "campaigns that it won"),
        commit_index: gauge("raft_commit_index", Count, "last index known to be committed"),
        apply_index: gauge("raft_apply_index", Count, "last index that the machine has applied"),
        last_index: gauge("raft_last_index", Count, "last index of the log"),
        durable_index: gauge("raft_durable_index", Count, "the log is durable through here"),
        snapshot_index: gauge("raft_snapshot_index", Count, "index that the current snapshot ends at"),
        backlog_bytes: gauge("raft_backlog_bytes", Bytes, "entries not yet both committed and applied"),
        proposal_seconds: histogram("raft_proposal_seconds", Seconds, "from a start of commands to their answers, if applied"),
        sync_seconds: histogram("raft_sync_seconds", Seconds, "one sync of the log, with the write before it"),
        sync_writes: histogram("raft_sync_writes", Count, "writes made durable by one sync"),
        sync_bytes: histogram("raft_sync_bytes", Bytes, "entries made durable by one sync"),
        apply_seconds: histogram("raft_apply_seconds", Seconds, "one call of the machine"),
        apply_commands: histogram("raft_apply_commands", Count, "commands applied by one call of the machine"),
        disk_depth: gauge("raft_disk_queue_depth", Count, "errands that wait for the disk"),
        machine_depth: gauge("raft_machine_queue_depth", Count, "errands that wait for the machine"),
        callers_waiting: gauge("raft_callers_waiting", Count, "calls that wait for room in front of the core"),
        round_commands: histogram("raft_round_commands", Count, "commands that the core found waiting, if any"),
        round_messages: histogram("raft_round_messages", Count, "messages that the core found waiting, if any"),
        snapshots_taken: counter("raft_snapshots_taken_total", Count, "snapshots of the own machine that became durable"),
        snapshot_bytes_taken: counter("raft_snapshot_bytes_taken_total", Bytes, "their data"),
        snapshots_restored: counter("raft_snapshots_restored_total", Count, "snapshots that replaced the machine's state"),
        snapshot_bytes_restored: counter("raft_snapshot_bytes_restored_total", Bytes, "their data"),
    }
}

handles! {
    /// Those of a node about one peer.
    PeerHandles {
        lag: gauge("raft_peer_lag_entries", Count, "entries that the leader has and the peer has not promised to keep"),
        unreachable: counter("raft_peer_unreachable_total", Count, "times that the transport could not reach the peer"),
        wiped: counter("raft_peer_wiped_total", Count, "times that the peer came back with another disk"),
        messages_sent: counter("raft_peer_messages_sent_total", Count, "messages handed to the network"),
        bytes_sent: counter("raft_peer_bytes_sent_total", Bytes, "their length on the wire"),
        messages_received: counter("raft_peer_messages_received_total", Count, "messages that came from the peer"),
        bytes_received: counter("raft_peer_bytes_received_total", Bytes, "their length on the wire"),
        appends_dropped: counter("raft_peer_appends_dropped_total", Count, "AppendEntries that found no room or no connection"),
        queue_depth: gauge("raft_peer_queue_depth", Count, "messages that wait to be written to the peer"),
        connected: gauge("raft_peer_connected", Count, "1 while the connection to the peer stands"),
        snapshot_wire_sent: counter("raft_peer_snapshot_bytes_sent_total", Bytes, "snapshots handed to the network"),
        snapshot_wire_received: counter("raft_peer_snapshot_bytes_received_total", Bytes, "snapshots, or parts, that came"),
        snapshots_sent: counter("raft_snapshots_sent_total", Count, "snapshots that a follower confirmed"),
        snapshot_bytes_sent: counter("raft_snapshot_bytes_sent_total", Bytes, "their data"),
        snapshots_not_delivered: counter("raft_snapshots_not_delivered_total", Count, "transfers to a follower that failed"),
        transfer_seconds: histogram("raft_snapshot_transfer_seconds", Seconds, "one transfer to a follower, if confirmed"),
        snapshots_received: counter("raft_snapshots_received_total", Count, "snapshots that arrived whole"),
        snapshot_bytes_received: counter("raft_snapshot_bytes_received_total", Bytes, "their data"),
        inbox_dropped: counter("raft_peer_inbox_dropped_total", Count, "messages from the peer that the core had no room for"),
    }
}

/// The counters of commands by what became of them.
pub(super) struct Outcomes {
    pub(super) applied: Counter,
    pub(super) not_leader: Counter,
    pub(super) superseded: Counter,
    pub(super) unknown: Counter,
    pub(super) busy: Counter,
    pub(super) too_large: Counter,
    pub(super) refused: Counter,
    pub(super) shut_down: Counter,
    pub(super) given_up: Counter,
}

fn node_label(node: NodeId) -> Label {
    Label::new("node", node.to_string())
}

impl NodeHandles {
    pub(super) fn new(node: NodeId) -> NodeHandles {
        with_recorder(|recorder| NodeHandles::register(&Register { recorder, labels: vec![node_label(node)] }))
    }
}

impl PeerHandles {
    pub(super) fn new(node: NodeId, peer: NodeId) -> PeerHandles {
        let labels = vec![node_label(node), Label::new("peer", peer.to_string())];
        with_recorder(|recorder| PeerHandles::register(&Register { recorder, labels }))
    }
}

impl Outcomes {
    pub(super) fn new(node: NodeId) -> Outcomes {
        let counter = |outcome| {
            let labels = vec![node_label(node), Label::from_static_parts("outcome", outcome)];
            let meaning = "commands that were started here, by what became of them";
            with_recorder(|recorder| {
                Register { recorder, labels }.counter("raft_proposals_total", Unit::Count, meaning)
            })
        };
        Outcomes {
            applied: counter("applied"),
            not_leader: counter("not_leader"),
            superseded: counter("superseded"),
            unknown: counter("unknown"),
            busy: counter("busy"),
            too_large: counter("too_large"),
            refused: counter("refused"),
            shut_down: counter("shut_down"),
            given_up: counter("given_up"),
        }
    }
}
