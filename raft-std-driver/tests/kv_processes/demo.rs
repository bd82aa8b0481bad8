//! The demo loses nothing and leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdout;

use crate::{Kv, kv, listens, wait_until};

#[test]
fn the_demo_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    let demo = kv(&["demo", "--keys", "500", "--dir", data.to_str().unwrap()]);
    assert_eq!(demo.code, Some(0), "{demo:?}");
    for line in ["acknowledged  500 of 500\n", "lost          0\n", "the leader, after", "writes flow again after"] {
        assert!(demo.out.contains(line), "{line:?} is missing: {demo:?}");
    }
    assert!(!data.exists(), "its files are gone");
}

#[test]
fn the_demo_keeps_its_files_if_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let demo = kv(&["demo", "--keys", "20", "--value-bytes", "0", "--clients", "2", "--dir", data, "--keep"]);
    assert_eq!(demo.code, Some(0), "{demo:?}");
    assert!(dir.path().join("server-3").is_dir());
    let again = kv(&["demo", "--keys", "20", "--dir", data]);
    again.assert_fails(1, "is there already");
    assert!(dir.path().join("server-3").is_dir(), "what others have left is not touched");
}

/// A demo that would go on for long, in the middle of its writes.
struct LongDemo {
    demo: Kv,
    addresses: Vec<String>,
    /// Open as long as the demo may write to it.
    _out: BufReader<ChildStdout>,
}

impl LongDemo {
    fn start(data: &str) -> LongDemo {
        let mut demo = Kv::start(&["demo", "--keys", "5000000", "--dir", data]);
        let mut out = BufReader::new(demo.process.stdout.take().unwrap());
        let mut lines = out.by_ref().lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let addresses = first.strip_prefix("three servers at ").and_then(|rest| rest.split_once(", data"));
        let addresses: Vec<_> = addresses.unwrap().0.split(", ").map(str::to_owned).collect();
        lines.find(|line| line.contains("/s")).expect("writes are under way");
        assert!(addresses.len() == 3 && addresses.iter().all(|address| listens(address)));
        LongDemo { demo, addresses, _out: out }
    }

    fn servers_live(&self) -> bool {
        self.addresses.iter().any(|address| listens(address))
    }
}

#[test]
fn ctrl_c_leaves_no_process_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    let mut long = LongDemo::start(data.to_str().unwrap());
    long.demo.signal("INT");
    assert_eq!(long.demo.process.wait().unwrap().code(), Some(130));
    assert!(!long.servers_live(), "its servers have ended before it");
    assert!(!data.exists(), "its files are gone");
}

#[test]
fn servers_do_not_outlive_a_demo_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = LongDemo::start(dir.path().to_str().unwrap());
    long.demo.process.kill().unwrap();
    long.demo.process.wait().unwrap();
    wait_until("the servers end", || !long.servers_live());
}
