//! Streams that end, break, or carry what they should not.

use quickcheck::quickcheck;
use raft_core::{Entries, Entry, Incarnation, Index, Message, Payload, Rpc};

use super::super::wire::FRAME_HEADER_BYTES;
use super::*;

/// An AppendEntries of `term` with a command of so many bytes.
fn append(term: u64, bytes: usize) -> Frame {
    let entry = Entry { term: Term(term), payload: Payload::Command(vec![1; bytes].into()) };
    let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
    let rpc = Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round: 1, reply: true };
    Frame::message(&Message { term: Term(term), incarnation: Incarnation(1), rpc }, None).unwrap()
}

/// All bytes of a dialing link that says hello and sends frames of these lengths.
fn whole(lengths: &[usize]) -> Vec<u8> {
    let mut pair = Pair::new(Channel::Messages);
    let mut said = pair.ends[0].say(pair.now);
    pair.ends[1].read(&said, pair.now);
    let answer = pair.ends[1].say(pair.now);
    pair.ends[0].read(&answer, pair.now);
    for (number, length) in lengths.iter().enumerate() {
        pair.send(frame(number, *length));
    }
    said.extend(pair.ends[0].say(pair.now));
    said
}

#[test]
fn frames_arrive_in_any_pieces() {
    let lengths = [1, 30, 2500, 70_000, 200_000, 3];
    for piece in [1, 13, 1000, 65_536, usize::MAX] {
        let mut pair = Pair::met(Channel::Messages).pieces(piece);
        for (number, length) in lengths.into_iter().enumerate() {
            pair.send(frame(number, length));
        }
        pair.talk();
        let expected: Vec<_> = lengths.into_iter().enumerate().map(|(number, length)| body(number, length)).collect();
        assert!(pair.ends[1].frames().into_iter().eq(expected.iter()), "in pieces of {piece}");
        assert!(!pair.ends[0].link.wants_write() && pair.ends[0].link.due().is_none());
    }
}

quickcheck! {
    fn random_cuts_change_nothing(lengths: Vec<u16>, cuts: Vec<u16>) -> bool {
        let lengths: Vec<_> = lengths.into_iter().map(|length| usize::from(length) + 1).collect();
        let stream = whole(&lengths);
        let mut pair = Pair::new(Channel::Messages);
        let (mut at, mut cuts) = (0, cuts.into_iter().map(usize::from).chain([100_000]).collect::<Vec<_>>().into_iter().cycle());
        while at < stream.len() {
            let count = cuts.next().unwrap_or(1).clamp(1, stream.len() - at);
            let taken = pair.ends[1].read(&stream[at..at + count], pair.now);
            assert_eq!(taken, count);
            at += count;
        }
        pair.ends[1].frames().into_iter().map(Bytes::len).eq(lengths)
    }
}

#[test]
fn a_stream_that_ends_anywhere_is_noticed() {
    let stream = whole(&[5, 3000, 1]);
    let hello = whole(&[]).len();
    let header = FRAME_HEADER_BYTES;
    let borders = [hello, hello + header + 5, hello + 2 * header + 3005, stream.len()];
    for cut in 0..=stream.len() {
        let mut pair = Pair::new(Channel::Messages);
        let accepting = &mut pair.ends[1];
        accepting.read(&stream[..cut], pair.now);
        accepting.read_end(pair.now);
        let trouble = &accepting.troubles[..];
        match trouble {
            [Trouble::Ended] => assert!(cut == 0 || borders.contains(&cut), "after {cut} bytes"),
            [Trouble::Cut(Awaited::Handshake)] => assert!((1..hello).contains(&cut), "after {cut} bytes"),
            [Trouble::Cut(Awaited::Frame)] => assert!(cut > hello && !borders.contains(&cut), "after {cut} bytes"),
            _ => panic!("after {cut} bytes: {}", accepting.trouble()),
        }
        assert!(accepting.link.is_over() && !accepting.link.wants_read() && accepting.link.due().is_none());
        let whole = borders[1..].iter().filter(|border| cut >= **border).count();
        assert_eq!(accepting.frames().len(), whole, "after {cut} bytes");
    }
}

#[test]
fn every_flipped_bit_of_a_frame_ends_the_connection_at_once() {
    let stream = whole(&[5, 20]);
    let begin = stream.len() - FRAME_HEADER_BYTES - 20;
    for bit in 8 * begin..8 * stream.len() {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut pair = Pair::new(Channel::Messages);
        let accepting = &mut pair.ends[1];
        accepting.read(&damaged, pair.now);
        assert!(matches!(accepting.troubles[..], [Trouble::Frame(_)]), "bit {bit}: {}", accepting.trouble());
        assert_eq!(accepting.frames().len(), 1, "bit {bit}");
        assert!(accepting.link.is_over());
    }
}

#[test]
fn the_accepting_side_has_nothing_to_say() {
    let mut pair = Pair::met(Channel::Messages);
    pair.ends[0].read(&[0], pair.now);
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::Unexpected]));
    assert!(pair.ends[0].link.is_over());
}

#[test]
fn the_dialing_side_hears_of_the_end() {
    let mut pair = Pair::met(Channel::Messages);
    pair.ends[0].read_end(pair.now);
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::Ended]));
    let mut pair = Pair::new(Channel::Messages);
    pair.ends[0].read_end(pair.now);
    assert!(matches!(pair.ends[0].troubles[..], [Trouble::Cut(Awaited::Handshake)]));
}

#[test]
fn a_long_message_is_heard_of_while_it_comes() {
    let mut pair = Pair::met(Channel::Messages);
    pair.send(append(7, 500_000));
    let stream = pair.ends[0].say(pair.now);
    let mut last = pair.now;
    for (number, part) in stream.chunks(10_000).enumerate() {
        pair.now += Duration::from_millis(4);
        let before = pair.ends[1].heard.len();
        pair.ends[1].read(part, pair.now);
        for heard in &pair.ends[1].heard[before..] {
            match heard {
                Heard::Arriving(term) => {
                    assert_eq!(*term, Term(7));
                    assert!(pair.now - last >= Duration::from_millis(10), "part {number}");
                    last = pair.now;
                }
                Heard::Frame(_) => assert_eq!(number, stream.len() / 10_000),
                other => panic!("{other:?}"),
            }
        }
    }
    let arrivals = pair.ends[1].heard.iter().filter(|heard| matches!(heard, Heard::Arriving(_))).count();
    assert_eq!(arrivals, 17 - 1, "204 ms: every 12 ms once");
    assert_eq!(pair.ends[1].frames().len(), 1);
}
