//! The bytes themselves.

use super::super::wire::*;
use super::*;

fn hello() -> Hello {
    let address = "h:1".to_owned();
    Hello { channel: Channel::Snapshot, cluster: CLUSTER, birth: 9, from: NodeId(5), to: NodeId(6), address }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let golden = "726166742d746370 0300 01 00 0403020100000000 0900000000000000 0500000000000000 0600000000000000 \
                  0300 15cd8346 c4019b3b 683a31";
    assert_eq!(hex(&hello().encode()), golden.replace(' ', ""));
    let accepted = "0300 00 00 0000000000000000 0dc9f278";
    assert_eq!(hex(&encode_answer(Ok(()))), accepted.replace(' ', ""));
    let refused = encode_answer(Err(Refusal::Birth { theirs: 7 }));
    assert_eq!(hex(&refused), "0300 05 00 0700000000000000 2bc2906a".replace(' ', ""));
    // the well-known check value of CRC32C is e3069283
    let header = FrameHeader::new(9, crc32c::crc32c(b"123456789"), 9).unwrap();
    assert_eq!(hex(&header.encode()), "09000000 69d9e89a 839206e3".replace(' ', ""));
    assert_eq!(FrameHeader::decode(&header.encode(), 9), Ok(header));
}

#[test]
fn golden_offer() {
    // term; last entry's term and index; the change and the number of members; each member; length
    let golden = [4, 3, 0xac, 2, 0, 0, 3, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0xe8, 7];
    assert_eq!(offer(1000).encode().unwrap(), golden);
    assert_eq!(Offer::decode(&golden), Ok(offer(1000)));
    assert_eq!(Offer::decode(&golden[..golden.len() - 1]), Err(OfferError));
    assert_eq!(Offer::decode(&[&golden[..], &[0]].concat()), Err(OfferError));
}

#[test]
fn every_flipped_bit_of_a_hello_is_noticed_at_once() {
    let bytes = hello().encode();
    assert_eq!(Hello::decode(&bytes), Ok(Some((hello(), bytes.len()))));
    for bit in 8 * MAGIC.len()..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            8..10 => HelloError::Version { found: PROTOCOL ^ (1 << (bit - 64)) },
            _ => HelloError::Damaged,
        };
        assert_eq!(Hello::decode(&damaged), Err(expected), "bit {bit}");
    }
}

#[test]
fn a_hello_is_heard_when_all_of_it_is_there() {
    for address in [String::new(), "a:1".to_owned(), "x".repeat(ADDRESS_BYTES_MAX)] {
        let hello = Hello { address, ..hello() };
        let bytes = hello.encode();
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), Ok(None), "{cut} bytes of {}", bytes.len());
        }
        let length = bytes.len();
        assert_eq!(Hello::decode(&[bytes, vec![7; 9]].concat()), Ok(Some((hello, length))));
    }
    let long = Hello { address: "x".repeat(ADDRESS_BYTES_MAX + 1), ..hello() };
    assert_eq!(Hello::decode(&long.encode()).unwrap().unwrap().0.address, "", "what is too long is not stated");
}

#[test]
fn answers_and_verdicts_come_back_and_damaged_answers_do_not() {
    let refusals = [
        Refusal::Version { theirs: 7 },
        Refusal::Cluster { theirs: ClusterId(u64::MAX) },
        Refusal::Birth { theirs: 1 << 60 },
        Refusal::NotMe { theirs: NodeId(3) },
        Refusal::UnknownPeer { you: NodeId(4) },
        Refusal::Crowded,
    ];
    for answer in refusals.map(Err).into_iter().chain([Ok(())]) {
        let bytes = encode_answer(answer);
        assert_eq!(decode_answer(&bytes), Ok(answer));
        for bit in 0..8 * ANSWER_BYTES {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_answer(&damaged), Err(AnswerError), "bit {bit}");
        }
    }
    for byte in 0..=u8::MAX {
        assert!(Verdict::decode(byte).is_none_or(|verdict| verdict.encode() == byte));
    }
}

#[test]
fn every_flipped_bit_of_a_frame_header_is_noticed_before_anything_is_reserved() {
    let header = FrameHeader::new(10, 77, 100).unwrap().encode();
    for bit in 0..8 * FRAME_HEADER_BYTES {
        let mut damaged = header;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FrameHeader::decode(&damaged, usize::MAX), Err(FrameError::Header), "bit {bit}");
    }
    assert_eq!(FrameHeader::decode(&header, 9), Err(FrameError::Length { bytes: 10, max: 9 }));
    assert_eq!(FrameHeader::new(0, 0, 9), Err(FrameError::Length { bytes: 0, max: 9 }));
    let ten = FrameHeader::decode(&header, 10).unwrap();
    assert_eq!(ten.check(&[1; 10]), Err(FrameError::Body));
    assert_eq!(ten.check(&[1; 9]), Err(FrameError::Body));
}

#[test]
fn a_server_takes_its_own_cluster_in() {
    let config = LinkConfig { birth: 5, ..config(6) };
    let hello = || Hello { birth: 5, ..hello() };
    assert_eq!(config.judge(&hello()), Ok(()));
    for (ours, theirs) in [(0, 9), (9, 0), (0, 0)] {
        let config = LinkConfig { birth: ours, ..config.clone() };
        assert_eq!(config.judge(&Hello { birth: theirs, ..hello() }), Ok(()), "who does not know does not object");
    }
    let other = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello();
        change(&mut hello);
        config.judge(&hello)
    };
    assert_eq!(other(&|h| h.birth = 6), Err(Refusal::Birth { theirs: 5 }));
    assert_eq!(other(&|h| h.cluster = ClusterId(1)), Err(Refusal::Cluster { theirs: CLUSTER }));
    assert_eq!(other(&|h| h.to = NodeId(7)), Err(Refusal::NotMe { theirs: NodeId(6) }));
    assert_eq!(other(&|h| h.from = NodeId(6)), Err(Refusal::UnknownPeer { you: NodeId(6) }));
}
