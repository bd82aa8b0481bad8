//! Elects a leader and commits a command on an allocator and a panic handler of its own: there can be only one of each, so
//! linking fails as soon as std is in the program. Exits with 0 if the command was applied.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;
use core::sync::atomic::{AtomicUsize, Ordering};

use raft_core::{Action, Bytes, Config, Event, Incarnation, Membership, NodeId, Payload, Raft, RequestId, Restored};

const HEAP_BYTES: usize = 1 << 20;

/// Gives memory and never takes it back: enough for a short life.
#[repr(align(64))]
struct Heap(core::cell::UnsafeCell<[u8; HEAP_BYTES]>, AtomicUsize);

// SAFETY: every byte is handed out at most once.
unsafe impl Sync for Heap {}

// SAFETY: blocks are aligned, inside of the array, and never overlap.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let room = layout.size() + layout.align();
        let start = self.1.fetch_add(room, Ordering::Relaxed);
        if start + room > HEAP_BYTES {
            return core::ptr::null_mut();
        }
        let at = self.0.get().cast::<u8>().wrapping_add(start);
        at.wrapping_add(at.align_offset(layout.align()))
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static HEAP: Heap = Heap(core::cell::UnsafeCell::new([0; HEAP_BYTES]), AtomicUsize::new(0));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The prebuilt `alloc` names it, though nothing here unwinds.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

#[link(name = "c")]
unsafe extern "C" {}

/// The C library's entry.
#[unsafe(no_mangle)]
pub extern "C" fn main(_: c_int, _: *const *const u8) -> c_int {
    let restored = Restored::new_cluster(Incarnation(1), Membership::new([NodeId(1)]));
    let Ok(mut raft) = Raft::new(Config::new(NodeId(1)), restored) else { return 2 };
    let mut events: Vec<Event> = Vec::new();
    let mut applied = 0;
    for round in 0..100 {
        events.push(Event::Tick { elapsed: 1 });
        if round == 99 {
            events.push(Event::Start { request: RequestId(1), commands: [Bytes::from(vec![1, 2, 3])].into() });
        }
        while let Some(event) = events.pop() {
            for action in raft.step(event) {
                match action {
                    Action::Persist(write) => {
                        // Through the codec as well: it must link too.
                        let mut bytes = Vec::new();
                        if raft_core::codec::encode_write(&write, &mut bytes).is_err() {
                            return 3;
                        }
                        let Ok(write) = raft_core::codec::decode_write(bytes.into()) else { return 4 };
                        events.push(Event::Persisted(write.id));
                    }
                    Action::Apply(entries) => {
                        applied += entries.iter().filter(|(_, payload)| matches!(payload, Payload::Command(_))).count();
                    }
                    _ => {}
                }
            }
        }
    }
    c_int::from(applied != 1)
}
