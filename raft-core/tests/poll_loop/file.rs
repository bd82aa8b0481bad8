//! What the log file survives, and what it refuses. A cluster of one writes it: it leads by itself, so that the test says
//! which writes share a sync.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::disk::create;
use super::driver::{Node, Outcome};
use super::{Kept, Scratch, Sockets, kept, recorder, until};
use raft_core::{Bytes, NodeId, RequestId, RoleKind};

const ONE: NodeId = NodeId(1);

fn open(dir: &Path, sockets: &Sockets) -> std::io::Result<Node> {
    Node::open(ONE, dir, sockets.of(ONE), sockets.peers(), recorder().1)
}

/// All of `commands` in one turn: as many writes, one sync.
fn commit(node: &mut Node, commands: &[&str]) {
    until("a cluster of one leads", || {
        node.turn(Duration::from_millis(1), vec![]).unwrap();
        node.raft().status().role() == RoleKind::Leader
    });
    let numbers = (0..).map(RequestId);
    let commands = numbers.zip(commands.iter().map(|command| Bytes::copy_from_slice(command.as_bytes()))).collect();
    let outcomes = node.turn(Duration::ZERO, commands).unwrap();
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Applied(_))), "{outcomes:?}");
}

/// The file, and what it held before its last group and with it; where the last group starts, and its second write.
struct Story {
    bytes: Vec<u8>,
    before: Kept,
    first_of_two: Kept,
    all: Kept,
    group: usize,
    second: usize,
}

fn story(dir: &Path, sockets: &Sockets) -> Story {
    create(dir, ONE, &[ONE]).unwrap();
    let mut node = open(dir, sockets).unwrap();
    let file = || fs::read(dir.join("raft.log")).unwrap();
    commit(&mut node, &["a", "b", "c"]);
    let (group, before) = (file().len(), kept(&node));
    commit(&mut node, &["d", "e"]);
    let (bytes, all) = (file(), kept(&node));
    let mut first_of_two = all.clone();
    first_of_two.log.pop();
    // Two writes of one size: each is a command of one byte.
    Story { second: group + (bytes.len() - group) / 2, bytes, before, first_of_two, all, group }
}

#[test]
fn what_was_synced_is_there_after_a_restart_and_grows_on() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let dir = scratch.dir("a");
    let Story { all, bytes, .. } = story(&dir, &sockets);
    let node = open(&dir, &sockets).unwrap();
    assert_eq!(kept(&node), all);
    drop(node);
    assert_eq!(fs::read(dir.join("raft.log")).unwrap(), bytes, "opening a whole file changes nothing");
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let story = story(&scratch.dir("a"), &sockets);
    let dir = scratch.dir("torn");
    for cut in story.group..story.bytes.len() {
        let expected = if cut < story.second { &story.before } else { &story.first_of_two };
        // Cut short; or as long as it was, with nothing but zeros or noise from the cut on.
        for fill in [None, Some(0), Some(0xA7)] {
            let mut bytes = story.bytes[..cut].to_vec();
            bytes.resize(fill.map_or(cut, |_| story.bytes.len()), fill.unwrap_or(0));
            fs::write(dir.join("raft.log"), &bytes).unwrap();
            let node = open(&dir, &sockets).unwrap_or_else(|error| panic!("cut at {cut}, {fill:?}: {error}"));
            assert_eq!(kept(&node), *expected, "cut at {cut}, {fill:?}");
            // What is left of a torn group must not be taken for a part of the next one, which starts where it did.
            let left = &story.bytes[..if cut < story.second { story.group } else { story.second }];
            assert_eq!(fs::read(dir.join("raft.log")).unwrap(), left, "cut at {cut}, {fill:?}");
        }
    }
}

#[test]
fn after_a_torn_tail_the_log_goes_on() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let dir = scratch.dir("a");
    let story = story(&dir, &sockets);
    for cut in [story.group + 1, story.second - 1, story.second + 9] {
        // The disk has written the last bytes of the torn group, and not those before them.
        let mut bytes = story.bytes.clone();
        bytes[cut..cut + 2].fill(0xFF);
        fs::write(dir.join("raft.log"), &bytes).unwrap();
        let mut node = open(&dir, &sockets).unwrap();
        commit(&mut node, &["f"]);
        let all = kept(&node);
        drop(node);
        assert_eq!(kept(&open(&dir, &sockets).unwrap()), all, "torn at {cut}");
    }
}

/// A byte that changes anywhere before the last group takes away what others were told is durable: no start.
#[test]
fn damage_is_no_torn_tail() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let story = story(&scratch.dir("a"), &sockets);
    let dir = scratch.dir("damaged");
    for at in 0..story.group {
        let mut bytes = story.bytes.clone();
        bytes[at] ^= 0x10;
        fs::write(dir.join("raft.log"), &bytes).unwrap();
        let error = open(&dir, &sockets).err().unwrap_or_else(|| panic!("byte {at} changed, and it starts"));
        assert_eq!(error.kind(), ErrorKind::InvalidData, "byte {at}: {error}");
        assert_eq!(fs::read(dir.join("raft.log")).unwrap(), bytes, "byte {at}: the evidence is kept");
    }
}

#[test]
fn a_server_starts_from_its_own_file_or_not_at_all() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let dir = scratch.dir("a");
    let lost = open(&dir, &sockets).err().map(|error| error.kind());
    assert_eq!(lost, Some(ErrorKind::NotFound), "a file that is not there is not made anew");
    create(&dir, NodeId(2), &[ONE, NodeId(2)]).unwrap();
    let foreign = open(&dir, &sockets).err().map(|error| error.kind());
    assert_eq!(foreign, Some(ErrorKind::InvalidData), "the file of server 2");
    let again = create(&dir, ONE, &[ONE]).err().map(|error| error.kind());
    assert_eq!(again, Some(ErrorKind::AlreadyExists), "a file that is there is not made again");
    let dir = scratch.dir("b");
    create(&dir, ONE, &[ONE]).unwrap();
    let node = open(&dir, &sockets).unwrap();
    let second = open(&dir, &sockets).err().map(|error| error.kind());
    assert_eq!(second, Some(ErrorKind::WouldBlock), "two servers on one file");
    drop(node);
    assert!(open(&dir, &sockets).is_ok());
}

/// A server that was wiped is known by its incarnation.
#[test]
fn each_file_has_an_incarnation_of_its_own_and_keeps_it() {
    let (scratch, sockets) = (Scratch::new(), Sockets::new(1));
    let mut incarnations = vec![];
    for name in 0..8 {
        let dir = scratch.dir(name);
        create(&dir, ONE, &[ONE]).unwrap();
        let read = || open(&dir, &sockets).unwrap().raft().status().incarnation();
        assert_eq!(read(), read());
        incarnations.push(read());
    }
    let drawn = incarnations.len();
    incarnations.sort_unstable();
    incarnations.dedup();
    assert_eq!(incarnations.len(), drawn, "{incarnations:?}");
}
