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
        if let Ok(write) = codec::decode_write(frame.clone()) {
            codec::encode_write(&write, &mut again).expect("what was decoded can be encoded");
            assert_eq!(codec::decode_write(again.split_off(0).into()), Ok(write));
        }
        if let Ok(event) = codec::decode_event(frame.clone()) {
            codec::encode_event(&event, &mut again).expect("what was decoded can be encoded");
            assert_eq!(codec::decode_event(again.split_off(0).into()), Ok(event));
        }
        if let Ok(action) = codec::decode_action(frame.clone()) {
            codec::encode_action(&action, &mut again).expect("what was decoded can be encoded");
            assert_eq!(codec::decode_action(again.split_off(0).into()), Ok(action));
        }
        if let Ok(restored) = codec::decode_restored(frame) {
            codec::encode_restored(&restored, &mut again).expect("what was decoded can be encoded");
            let back = codec::decode_restored(again.into()).expect("what was encoded can be decoded");
            assert_eq!(format!("{back:?}"), format!("{restored:?}"));
        }
    }
});
