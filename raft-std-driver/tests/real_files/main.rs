//! What a running server asks of real files, and in which order: the system calls of a process are recorded with `strace` and
//! held against `docs/storage-format.md`.
//!
//! The recording is replayed on a model of a disk that keeps only what was synced. Whatever was acknowledged must be there at
//! every moment, and a few rules about the order hold on their own. `every_kind_of_sync_is_needed` takes one kind of sync out
//! of the recording at a time and sees the checks fail: so they do see what they are for.
#![cfg(target_os = "linux")]

mod check;
mod disk;
mod server;
mod trace;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use self::check::{Sync, check, replay};
use self::trace::Trace;

/// What the child is told to work in.
const DIR_VARIABLE: &str = "RAFT_REAL_FILES";
const TRACED: &str = "trace=openat,close,write,pwrite64,pwritev,pwritev2,writev,fdatasync,fsync,sync_file_range,mkdir,\
                      ?rename,renameat,renameat2,?unlink,unlinkat,fallocate,ftruncate";

static RECORDING: LazyLock<(tempfile::TempDir, Trace)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let trace = record(dir.path());
    (dir, trace)
});

fn record(dir: &Path) -> Trace {
    let (data, output) = (dir.join("data"), dir.join("strace.out"));
    std::fs::create_dir(&data).unwrap();
    let me = std::env::current_exe().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-xx", "-s", "1000000000", "-e", TRACED, "-o"]).arg(&output);
    strace.arg(me).args(["--exact", "server::process", "--ignored", "--nocapture"]).env(DIR_VARIABLE, &data);
    let ended = strace.output().unwrap_or_else(|error| {
        panic!("strace does not start ({error}): install it, for this test watches the system calls of a server")
    });
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !said.contains("ptrace") || ended.status.success(),
        "strace may not watch a process here (in a container, allow ptrace: --cap-add=SYS_PTRACE): {said}"
    );
    assert!(ended.status.success(), "{}{said}", String::from_utf8_lossy(&ended.stdout));
    trace::parse(&std::fs::read_to_string(output).unwrap(), &data)
}

#[test]
fn a_server_syncs_what_it_promises_in_the_order_of_the_format() {
    let found = check(&RECORDING.1, None).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(found.acknowledged > 150, "{found:?}");
    for (what, count) in [
        ("starts of a storage", found.starts),
        ("segments", found.segments),
        ("snapshots made here", found.local),
        ("snapshots received", found.received),
        ("segments recycled", found.recycled),
        ("files removed", found.removed),
    ] {
        assert!(count > 2 || what == "snapshots received" && count > 0, "{what}: {count}, {found:?}");
    }
}

#[test]
fn every_kind_of_sync_is_needed() {
    let found = check(&RECORDING.1, None).unwrap();
    for kind in Sync::ALL {
        assert!(found.syncs.contains_key(&kind), "there is no sync of {kind:?}");
        let wrong = check(&RECORDING.1, Some(kind));
        let wrong = wrong.expect_err(&format!("without the syncs of {kind:?} nothing is found"));
        println!("without the syncs of {kind:?}: {wrong}");
    }
    // Without the rule about frames, the lost commands themselves are missed.
    let wrong = replay(&RECORDING.1, Some(Sync::Frame)).unwrap_err();
    assert!(wrong.contains("is acknowledged, and only 0 of 3"), "{wrong}");
}
