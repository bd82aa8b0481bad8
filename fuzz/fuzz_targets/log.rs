//! Any operations on a log, and on a plain list beside it: both give the same answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raft_core::sim::fuzz::{check_log, decode_log_operations};

fuzz_target!(|data: &[u8]| {
    if let Err(difference) = check_log(&decode_log_operations(data)) {
        panic!("{difference}");
    }
});
