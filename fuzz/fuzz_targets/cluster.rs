//! The input is a simulated cluster's entropy: its faults, its limits, its timing. All oracles watch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raft_core::sim::{Options, run_bytes};

fuzz_target!(|data: &[u8]| {
    if let Err(failure) = run_bytes(data, Options::default()) {
        panic!("{failure}");
    }
});
