//! What a node writes to its log, and the spans around that.

use std::collections::BTreeMap;
use std::path::Path;

use raft_std_driver::observer::NodeEvent;
use raft_std_driver::raft_core::NodeId;
use raft_tokio_driver::transport::Transport;
use raft_tokio_driver::{Builder, RoleKind};

use crate::cluster::{Cluster, Member, in_time};
use crate::over_tcp::each_says_its_node;
use crate::subscriber::{Memory, Told, What, memory};
use crate::three;
use crate::wire::Wire;
use crate::{sources, table};

const FIRST: u64 = 21;

fn in_files(directory: &Path, id: u64) -> impl FnOnce(Builder) -> Builder {
    let (directory, members) = (directory.join(id.to_string()), (FIRST..FIRST + 3).map(|id| (id, "nowhere")));
    move |builder| {
        let builder = builder.members(members).open_or_create(&directory);
        builder.tune(|config| config.raft.trailing_entries = 0)
    }
}

async fn wake(cluster: &mut Cluster, member: usize, directory: &Path) {
    let id = cluster.members[member].id;
    cluster.wake(member, in_files(directory, id)).await;
}

/// Events with this message.
pub(crate) fn events<'a>(told: &'a [Told], message: &str) -> Vec<&'a Told> {
    told.iter().filter(|told| told.what == What::Event && told.line.name == message).collect()
}

fn field(told: &Told, name: &str) -> u64 {
    told.fields[name].parse().unwrap_or_else(|_| panic!("{name} of {told:?}"))
}

#[tokio::test]
async fn elections_commits_and_snapshots_are_told_as_documented() {
    let (memory, directory) = (memory(), tempfile::tempdir().unwrap());
    let mut cluster = three(FIRST);
    wake(&mut cluster, 0, directory.path()).await;
    wake(&mut cluster, 1, directory.path()).await;
    cluster.put("a").await;
    cluster.put("b").await;
    cluster.agree_on(&["a", "b"]).await;
    for member in &cluster.members[..2] {
        in_time("a snapshot", member.node().snapshot()).await.unwrap();
    }
    wake(&mut cluster, 2, directory.path()).await;
    cluster.agree_on(&["a", "b"]).await;

    let leader = cluster.leader().await;
    an_election_is_told(&memory.of(leader.id), leader);
    commits_are_told(&memory.of(leader.id));
    let restored = memory.of(FIRST + 2);
    for message in ["receives a snapshot", "snapshot received", "machine restored"] {
        assert!(!events(&restored, message).is_empty(), "{message}");
    }
    work_has_spans(&memory.of(leader.id), &restored);
    commands_are_not_told_to_operators(&cluster, memory).await;
    for member in &cluster.members {
        in_time("its end", member.node().shutdown()).await.unwrap();
    }
    for member in &cluster.members {
        let told = memory.of(member.id);
        assert_eq!(events(&told, "stops").len(), 1);
        everything_has_ended(&told);
    }
    each_says_its_node(memory);
    all_is_documented(memory);
}

fn an_election_is_told(told: &[Told], leader: &Member) {
    let term = leader.node().watch().borrow().term.0;
    let of_term = |told: &&Told| field(told, "term") == term;
    let won: Vec<_> = events(told, "election won").into_iter().filter(of_term).collect();
    let campaigns: Vec<_> = events(told, "campaigns").into_iter().filter(of_term).collect();
    assert!(won.len() == 1 && campaigns.len() == 1, "{won:?} {campaigns:?}");
    let names = |told: &Told| told.within.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for told in [won[0], campaigns[0]] {
        assert_eq!(names(told), ["raft", "election"]);
        assert_eq!(told.within[0].1["node"], leader.id.to_string());
        assert_eq!(told.within[1].1["node"], leader.id.to_string());
        assert_eq!(told.within[1].1["term"], term.to_string());
    }
    let of_span = |what: What| {
        let spans = told.iter().filter(|told| told.what == what && told.line.name == "election");
        spans.filter(|told| field(told, "term") == term).count()
    };
    assert_eq!((of_span(What::Opened), of_span(What::Closed)), (1, 1), "won, it has ended");
}

/// What takes time can be seen to begin and to end, and what happens meanwhile is told within.
fn work_has_spans(leader: &[Told], restored: &[Told]) {
    for (told, name) in [(leader, "take_snapshot"), (leader, "sync"), (leader, "apply"), (restored, "restore_snapshot")]
    {
        let opened = told.iter().find(|told| told.what == What::Opened && told.line.name == name);
        let opened = opened.unwrap_or_else(|| panic!("no span {name}"));
        assert_eq!(opened.within[0].0, "raft", "{name}");
        assert!(told.iter().any(|told| told.what == What::Closed && told.line.name == name), "{name} has no end");
    }
    for message in ["takes a snapshot", "snapshot written"] {
        assert!(
            events(leader, message).iter().all(|told| told.within.last().unwrap().0 == "take_snapshot"),
            "{message}"
        );
    }
}

/// Together they are the way from nothing to the end.
fn commits_are_told(told: &[Told]) {
    let commits = events(told, "committed");
    let mut committed = 0;
    for commit in commits {
        assert_eq!(field(commit, "index"), committed + field(commit, "count"));
        committed = field(commit, "index");
        assert_eq!(commit.within[0].0, "raft", "the node's task runs in its span");
    }
    assert!(committed >= 3, "a no-op and two commands");
    let synced = events(told, "synced");
    assert!(synced.iter().all(|told| told.within[0].1["node"] == told.fields["node"]), "so do its other parts");
    assert!(synced.iter().any(|told| field(told, "bytes") > 0));
}

async fn commands_are_not_told_to_operators(cluster: &Cluster, memory: &Memory) {
    let count = |told: &[Told]| {
        let loud = told.iter().filter(|told| ["info", "warn", "error"].contains(&&*told.line.level));
        let elections = ["role", "campaigns", "election", "election won", "election lost"];
        loud.filter(|told| !elections.contains(&&*told.line.name)).count()
    };
    let all = || (FIRST..FIRST + 3).map(|node| count(&memory.of(node))).sum::<usize>();
    let before = all();
    for _ in 0..50 {
        cluster.put("x").await;
    }
    assert_eq!(all(), before);
}

/// Each span that was opened is closed.
pub(crate) fn everything_has_ended(told: &[Told]) {
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for told in told.iter().filter(|told| told.what != What::Event) {
        let key = format!("{} {:?}", told.line.name, told.fields);
        *open.entry(key).or_default() += if told.what == What::Opened { 1 } else { -1 };
    }
    // The node's own lasts as long as a handle.
    open.retain(|key, _| !key.starts_with("raft "));
    assert!(open.values().all(|count| *count == 0), "{open:?}");
}

fn all_is_documented(memory: &Memory) {
    let (spans, events) = (table::spans(), table::events());
    for told in memory.all() {
        let documented = if told.what == What::Event { &events } else { &spans };
        assert!(documented.contains(&told.line), "not documented: {:?}", told.line);
    }
}

/// Those that no test here makes happen among them.
#[test]
fn all_that_the_sources_tell_is_documented_and_nothing_else() {
    for (documented, told) in [(table::spans(), sources::spans()), (table::events(), sources::events())] {
        let (only_documented, only_told): (Vec<_>, Vec<_>) =
            (documented.difference(&told).collect(), told.difference(&documented).collect());
        assert!(
            only_documented.is_empty() && only_told.is_empty(),
            "documented: {only_documented:?}, told: {only_told:?}"
        );
    }
}

/// Each piece of news has one line, and what only the transport knows gets through.
#[tokio::test]
async fn news_are_told_once() {
    let memory = memory();
    let mut cluster = three(31);
    let wire = Wire::new(cluster.network.attach(NodeId(31)), [NodeId(32), NodeId(33)]);
    let transport = wire.clone();
    cluster.wake(0, |builder| builder.transport(transport)).await;
    // The node's task has had no turn yet.
    let mut news = cluster.members[0].node().events();
    wire.inbound().reachable(NodeId(32));
    wire.inbound().unreachable(NodeId(32));
    for member in 1..3 {
        cluster.wake(member, |builder| builder).await;
    }
    cluster.put("a").await;
    let node = cluster.members[0].node().clone();
    in_time("a leader is known", node.watch().wait_for(|now| now.leader.is_some())).await.unwrap();
    in_time("its end", node.shutdown()).await.unwrap();
    let (mut roles, mut peers, mut leads) = (0, Vec::new(), 0);
    while let Some(event) = in_time("news", news.next()).await {
        match event.unwrap() {
            NodeEvent::Role { role, .. } => {
                roles += 1;
                leads += usize::from(role == RoleKind::Leader);
            }
            NodeEvent::Reachable { peer } => peers.push(("reachable", peer)),
            NodeEvent::Unreachable { peer } => peers.push(("unreachable", peer)),
            NodeEvent::Stops { .. } => break,
            _ => {}
        }
    }
    assert_eq!(peers, [("reachable", NodeId(32)), ("unreachable", NodeId(32))]);
    let told = memory.of(31);
    let count = |message: &str| events(&told, message).len();
    let lines: usize = ["role", "campaigns", "election won", "election lost"].map(count).iter().sum();
    assert!(roles > 0);
    assert_eq!(roles, lines);
    assert_eq!((count("reachable"), count("unreachable"), count("election won")), (1, 1, leads));
    assert!(wire.traffic().iter().any(|(_, traffic)| traffic.messages_sent > 0));
}
