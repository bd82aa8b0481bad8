//! Any events, in any order, from hostile peers and a lying driver: `step` must neither panic, nor lose its own bearings, nor
//! hold more memory than what it was given is worth.
//!
//! The input is a server and what comes to it, one after the other. Each is stated, as `raft_core::sim::fuzz` encodes it, or
//! drawn: its first byte says which. Seeds state all, and mutations mix both.
#![no_main]

mod draw;
mod memory;
mod watch;

use libfuzzer_sys::arbitrary::{self, Unstructured};
use libfuzzer_sys::fuzz_target;
use raft_core::sim::fuzz::{Feed, STATED, decode_birth, decode_feed};
use raft_core::{Action, Event};

use watch::Watch;

/// More than that comes to nobody.
const STEPS_MAX: usize = 2_000;
/// So many steps pass between two looks at the memory.
const WEIGHED_EVERY: usize = 8;

/// A value that is stated, if the next bytes make one.
fn stated<'a, T>(u: &mut Unstructured<'a>, decode: fn(&'a [u8]) -> Option<(T, &'a [u8])>) -> Option<T> {
    let bytes = u.peek_bytes(u.len())?;
    let (value, rest) = decode(bytes)?;
    u.bytes(bytes.len() - rest.len()).ok()?;
    Some(value)
}

fn run(u: &mut Unstructured<'_>, empty: usize) -> arbitrary::Result<()> {
    let birth = if u.arbitrary::<u8>()? == STATED { stated(u, decode_birth) } else { Some(draw::birth(u)?) };
    let Some(birth) = birth else { return Ok(()) };
    let mut watch = Watch::new(&birth, empty);
    // What a disk is stated to have may make no server.
    let Ok(mut raft) = birth.server() else { return Ok(()) };
    let mut actions = Vec::new();
    for step in 0..STEPS_MAX {
        if u.is_empty() || step % WEIGHED_EVERY == 0 {
            watch.weigh(raft.status(), actions.capacity() * size_of::<Action>());
        }
        if u.is_empty() {
            break;
        }
        let feed = if u.arbitrary::<u8>()? == STATED {
            match stated(u, decode_feed) {
                Some(feed) => feed,
                None => continue,
            }
        } else {
            // Half of the time the driver does its duty, so that the server gets anywhere.
            match watch.take_newest_write().filter(|_| u.ratio(3, 4).unwrap_or(true)) {
                Some(id) => Feed::Event(Event::Persisted(id)),
                None => {
                    let fetch = watch.fetch(usize::from(u.ratio(1, 8)?));
                    Feed::Event(draw::event(u, raft.status(), fetch)?)
                }
            }
        };
        watch.before(raft.status(), &feed);
        feed.to(&mut raft, &mut actions);
        watch.after(&raft, &actions);
        actions.clear();
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let empty = memory::in_use();
    let _ = run(&mut Unstructured::new(data), empty);
    assert_eq!(memory::in_use(), empty, "a server leaves nothing behind");
});
