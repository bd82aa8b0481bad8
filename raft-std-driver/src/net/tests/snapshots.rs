//! Snapshots, whole and otherwise.

use super::super::output::Output;
use super::super::wire::CHUNK_BYTES_MAX;
use super::*;

/// A link for a snapshot of `length` bytes that has been offered, and heard of.
fn offered(length: u64, piece: usize) -> Pair {
    let mut pair = Pair::new(Channel::Snapshot).pieces(piece);
    pair.talk();
    assert_eq!(pair.ends[0].link.wants_chunk(), None);
    let now = pair.now;
    pair.ends[0].link.offer(&offer(length), now).unwrap();
    pair.talk();
    assert_eq!(pair.ends[1].heard.last(), Some(&Heard::Offer(offer(length))));
    assert_eq!(pair.ends[0].link.wants_chunk(), None, "nothing is read before the receiver wants it");
    pair
}

fn taken(length: u64, piece: usize) -> Pair {
    let mut pair = offered(length, piece);
    let now = pair.now;
    pair.ends[1].link.take(now);
    pair.talk();
    assert_eq!(pair.ends[0].heard, [Heard::Admitted, Heard::Wanted]);
    pair
}

/// Give the link all chunks that it asks for now.
fn feed(pair: &mut Pair, data: &[u8], at: &mut usize) {
    while let Some(count) = pair.ends[0].link.wants_chunk() {
        assert_eq!(pair.ends[0].link.wants_chunk(), None, "one at a time");
        let chunk = Bytes::copy_from_slice(&data[*at..*at + count]);
        pair.ends[0].link.chunk(chunk, pair.now).unwrap();
        *at += count;
    }
}

fn chunks(pair: &Pair) -> Vec<u8> {
    let heard = pair.ends[1].heard.iter();
    let chunks = heard.filter_map(|heard| if let Heard::Chunk(chunk) = heard { Some(&chunk[..]) } else { None });
    chunks.collect::<Vec<_>>().concat()
}

#[test]
fn a_snapshot_arrives_whole_and_is_confirmed() {
    for length in [0, 1, 99, 100, 101, 1234] {
        for piece in [1, 50, usize::MAX] {
            let data = body(5, length);
            let (mut pair, mut at) = (taken(length as u64, piece), 0);
            let mut stored = 0;
            while !pair.ends[1].link.is_complete() {
                feed(&mut pair, &data, &mut at);
                pair.talk();
                let now = pair.now;
                let come = pair.ends[1].heard.iter().filter(|heard| matches!(heard, Heard::Chunk(_))).count();
                assert!(come - stored <= 2, "at most two wait to be stored");
                pair.ends[1].link.stored(come - stored, now);
                pair.ends[1].listen(now);
                stored = come;
            }
            assert!(at == length && chunks(&pair) == data);
            assert_eq!(pair.ends[0].link.wants_chunk(), None);
            let now = pair.now;
            pair.ends[1].link.confirm(now);
            pair.talk();
            assert_eq!(pair.ends[0].heard.last(), Some(&Heard::Stored));
            assert!(pair.ends.iter().all(|end| end.link.is_over() && end.troubles.is_empty()));
        }
    }
}

#[test]
fn a_slow_disk_stops_the_sender() {
    let data = body(5, 1 << 20);
    let (mut pair, mut at) = (taken(1 << 20, usize::MAX), 0);
    for _ in 0..100 {
        feed(&mut pair, &data, &mut at);
        pair.wires[0].truncate(100_000);
        pair.talk();
        if !pair.wires[0].is_empty() {
            break;
        }
    }
    assert_eq!(chunks(&pair).len(), 200, "two chunks");
    assert!(!pair.ends[1].link.wants_read(), "the rest waits in the socket");
}

#[test]
fn a_snapshot_that_is_refused_is_not_read() {
    let mut pair = offered(1000, usize::MAX);
    let now = pair.now;
    pair.ends[1].link.fail(now);
    pair.talk();
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::SnapshotRefused]));
    assert_eq!(pair.ends[0].link.wants_chunk(), None);
    assert!(pair.ends.iter().all(|end| end.link.is_over()));
}

#[test]
fn a_disk_that_fails_half_way_is_told() {
    let data = body(5, 1000);
    let (mut pair, mut at) = (taken(1000, usize::MAX), 0);
    feed(&mut pair, &data, &mut at);
    pair.talk();
    let now = pair.now;
    pair.ends[1].link.fail(now);
    pair.talk();
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::SnapshotRefused]));
    // Completions that come late do no harm.
    pair.ends[1].link.stored(1, now);
    pair.ends[1].link.confirm(now);
    pair.ends[0].link.chunk(Bytes::new(), now).unwrap();
    assert!(pair.ends.iter().all(|end| end.link.is_over() && !end.link.wants_write()));
}

#[test]
fn a_file_of_another_length_than_offered_is_noticed_by_the_sender() {
    let mut pair = taken(150, usize::MAX);
    let now = pair.now;
    assert_eq!(pair.ends[0].link.wants_chunk(), Some(100));
    let short = pair.ends[0].link.chunk(body(1, 99).into(), now);
    assert!(matches!(short, Err(Trouble::SnapshotTooShort { offered: 150, came: 99 })));
    assert!(pair.ends[0].link.is_over());

    let mut pair = taken(150, usize::MAX);
    assert_eq!(pair.ends[0].link.wants_chunk(), Some(100));
    let long = pair.ends[0].link.chunk(body(1, 101).into(), now);
    assert!(matches!(long, Err(Trouble::SnapshotTooLong { offered: 150, came: 101 })));
}

/// The receiver of a snapshot of 150 bytes hears these chunks.
fn hears(lengths: &[usize]) -> Pair {
    let mut pair = taken(150, usize::MAX);
    for length in lengths {
        let mut output = Output::default();
        output.push_frame(frame(1, *length));
        let bytes = output.iter().collect::<Vec<_>>().concat();
        let now = pair.now;
        pair.ends[1].read(&bytes, now);
        pair.ends[1].link.stored(1, now);
        pair.ends[1].listen(now);
    }
    pair
}

#[test]
fn more_data_than_offered_is_an_error() {
    for lengths in [&[151][..], &[100, 51], &[100, 50, 1], &[149, 1, 1]] {
        let pair = hears(lengths);
        let trouble = &pair.ends[1].troubles[..];
        assert!(matches!(trouble, [Trouble::SnapshotTooLong { offered: 150, came: 151 }]), "{lengths:?} {trouble:?}");
        assert!(!pair.ends[1].link.is_complete());
    }
    let pair = hears(&[CHUNK_BYTES_MAX + 1]);
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::Frame(_)]));
}

#[test]
fn a_snapshot_that_breaks_off_anywhere_is_never_complete() {
    let (mut pair, mut at) = (taken(150, usize::MAX), 0);
    feed(&mut pair, &body(5, 150), &mut at);
    let stream = pair.ends[0].say(pair.now);
    for cut in 0..stream.len() {
        let mut pair = taken(150, usize::MAX);
        let accepting = &mut pair.ends[1];
        accepting.read(&stream[..cut], pair.now);
        accepting.link.stored(2, pair.now);
        accepting.read_end(pair.now);
        let trouble = &accepting.troubles[..];
        assert!(matches!(trouble, [Trouble::SnapshotTooShort { offered: 150, .. }]), "after {cut}: {trouble:?}");
        assert!(!accepting.link.is_complete() && accepting.link.is_over());
    }
}

#[test]
fn a_sender_hears_of_the_receivers_end_wherever_it_is() {
    let ended = |mut pair: Pair| {
        pair.ends[0].read_end(pair.now);
        pair.ends[0].trouble()
    };
    assert!(ended(offered(10, 9)).contains("verdict"));
    assert!(ended(taken(10, 9)).contains("confirmation"));
    assert!(ended(taken(0, 9)).contains("confirmation"));
    let idle = Pair::met(Channel::Snapshot);
    assert!(ended(idle).contains("closed"));
}

#[test]
fn verdicts_out_of_turn_are_errors() {
    for byte in [0, 2, 4, 255] {
        let mut pair = offered(10, usize::MAX);
        pair.ends[0].read(&[byte], pair.now);
        assert!(matches!(pair.ends[0].troubles[..], [Trouble::Verdict(found)] if found == byte));
    }
    for byte in [1, 2] {
        let mut pair = taken(10, usize::MAX);
        pair.ends[0].read(&[byte], pair.now);
        assert!(matches!(pair.ends[0].troubles[..], [Trouble::Verdict(_)]), "nobody confirms what has not been sent");
    }
    for byte in 1..=3 {
        let mut pair = Pair::met(Channel::Snapshot);
        pair.ends[0].read(&[byte], pair.now);
        assert!(matches!(pair.ends[0].troubles[..], [Trouble::Verdict(_)]), "nobody answers what was not offered");
    }
}

#[test]
fn an_offer_must_be_one() {
    let mut pair = Pair::met(Channel::Snapshot);
    let mut output = Output::default();
    output.push_frame(frame(1, 10));
    let bytes = output.iter().collect::<Vec<_>>().concat();
    pair.ends[1].read(&bytes, pair.now);
    assert!(matches!(pair.ends[1].troubles[..], [Trouble::Offer(_)]));
}
