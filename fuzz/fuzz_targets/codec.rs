//! Any bytes decode to a value or to an error, and a value that was decoded comes back from its own bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raft_core::{Bytes, codec};

fuzz_target!(|data: &[u8]| {
    // As it is, for the check of the version; and behind the right one, for everything else.
    let versioned = [&[codec::VERSION], data].concat();
    for frame in [Bytes::copy_from_slice(data), Bytes::from(versioned)] {
        let mut again = Vec::new();
        if let Ok(message) = codec::decode_message(frame.clone()) {
            codec::encode_message(&message, &mut again).expect("what was decoded can be encoded");
            assert_eq!(codec::decode_message(again.split_off(0).into()), Ok(message));
        }
        if let Ok(write) = codec::decode_write(frame) {
            codec::encode_write(&write, &mut again).expect("what was decoded can be encoded");
            assert_eq!(codec::decode_write(again.into()), Ok(write));
        }
    }
});
