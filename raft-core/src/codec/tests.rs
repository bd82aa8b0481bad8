use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;

use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

use super::*;
use crate::entries::{ENTRY_OVERHEAD_BYTES, Entry};
use crate::member::{Address, Member, MemberRole, Wanted};
use crate::membership::Membership;
use crate::types::NodeId;

/// Any value that can be written: also ones that no sound server would send.
#[derive(Clone, Debug)]
pub(super) struct Any<T>(pub(super) T);

pub(super) fn number(g: &mut Gen) -> u64 {
    let bits = u32::arbitrary(g) % 64;
    u64::arbitrary(g) >> bits
}

pub(super) fn id(g: &mut Gen) -> EntryId {
    EntryId::new(number(g), number(g))
}

pub(super) fn membership(g: &mut Gen) -> Arc<Membership> {
    let mut members: Vec<Member> = (0..u8::arbitrary(g) % 6).map(|_| member(g)).collect();
    members.sort_by_key(|member| member.id);
    members.dedup_by_key(|member| member.id);
    Arc::new(Membership::from_members(id(g), members).unwrap())
}

fn member(g: &mut Gen) -> Member {
    let replaces = |g: &mut Gen| bool::arbitrary(g).then(|| NodeId(number(g)));
    let role = match u8::arbitrary(g) % 4 {
        0 => MemberRole::Leaving,
        1 => MemberRole::Learner { wanted: bool::arbitrary(g).then(|| Wanted { replaces: replaces(g) }) },
        _ => MemberRole::Voter,
    };
    let outgoing = role == MemberRole::Leaving || bool::arbitrary(g);
    let address = Address::new(&"x".repeat(usize::from(u8::arbitrary(g)))).unwrap();
    Member { id: NodeId(number(g)), role, outgoing, address, disk: Incarnation(number(g)) }
}

/// A segment in one run or more.
pub(super) fn entries(g: &mut Gen) -> Entries {
    let (mut term, mut index) = (1 + number(g) % (1 << 61), Index(1 + number(g) % (1 << 61)));
    let mut entries = Entries::new();
    for _ in 0..u8::arbitrary(g) % 4 {
        let mut run = Vec::new();
        for _ in 0..u8::arbitrary(g) % 6 {
            term += number(g) % 3;
            let payload = match u8::arbitrary(g) % 8 {
                0 => Payload::Noop,
                1 => Payload::Membership(membership(g)),
                2 => Payload::Command(vec![7; usize::from(u16::arbitrary(g))].into()),
                _ => Payload::Command(Vec::<u8>::arbitrary(g).into()),
            };
            run.push(Entry { term: Term(term), payload });
        }
        for run in Entries::from_vec(index, run).unwrap().runs() {
            index = run.last().next();
            entries.push_run(run.clone());
        }
    }
    entries
}

impl Arbitrary for Any<Message> {
    fn arbitrary(g: &mut Gen) -> Self {
        let (received, durable) = (Index(number(g)), Index(number(g)));
        let outcome = match u8::arbitrary(g) % 4 {
            0 => AppendOutcome::Matched { received, durable },
            1 => AppendOutcome::OlderTerm,
            2 => AppendOutcome::Full { received, durable },
            _ => AppendOutcome::Conflict { prev: received, hint: id(g) },
        };
        let (round, reply) = (number(g), bool::arbitrary(g));
        let rpc = match u8::arbitrary(g) % 12 {
            8 => Rpc::TimeoutNow { target: Incarnation(number(g)) },
            9 => Rpc::ReadIndex { boot: number(g), seq: number(g) },
            10 => Rpc::ReadIndexReply { boot: number(g), seq: number(g), at: received },
            0 => Rpc::PreVote { last: id(g) },
            1 => Rpc::PreVoteReply { granted: reply },
            2 => Rpc::RequestVote { last: id(g), transfer: reply },
            3 => Rpc::RequestVoteReply { granted: reply },
            4 => Rpc::AppendEntriesReply { round, outcome },
            _ => Rpc::AppendEntries { prev: id(g), entries: entries(g), commit: received, round, reply },
        };
        Any(Message { term: Term(number(g)), incarnation: Incarnation(number(g)), rpc })
    }
}

impl Arbitrary for Any<Write> {
    fn arbitrary(g: &mut Gen) -> Self {
        let server = |g: &mut Gen| ServerId { id: NodeId(number(g)), incarnation: Incarnation(number(g)) };
        let vote = |g: &mut Gen| bool::arbitrary(g).then(|| server(g));
        let hard_state = bool::arbitrary(g).then(|| HardState { term: Term(number(g)), voted_for: vote(g) });
        let snapshot = SnapshotMeta { last: id(g), membership: membership(g) };
        let snapshot = match u8::arbitrary(g) % 3 {
            0 => None,
            1 => Some(SnapshotWrite::Compacted { snapshot, first: Index(number(g)) }),
            _ => Some(SnapshotWrite::Installed { snapshot }),
        };
        Any(Write { id: WriteId(number(g)), hard_state, snapshot, entries: entries(g) })
    }
}

pub(super) fn message_frame(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(message, &mut frame).unwrap();
    frame
}

fn write_frame(write: &Write) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_write(write, &mut frame).unwrap();
    frame
}

quickcheck! {
    fn messages_come_back(message: Any<Message>) -> bool {
        decode_message(message_frame(&message.0).into()) == Ok(message.0)
    }

    fn writes_come_back(write: Any<Write>) -> bool {
        decode_write(write_frame(&write.0).into()) == Ok(write.0)
    }

    /// What stands in the buffer before is untouched, so frames can be gathered in one.
    fn frames_are_appended(before: Vec<u8>, message: Any<Message>) -> bool {
        let mut gathered = before.clone();
        encode_message(&message.0, &mut gathered).unwrap();
        gathered[..before.len()] == before && gathered[before.len()..] == message_frame(&message.0)
    }

    /// Entries stand in all frames alike, so that they can be encoded once for all who get them.
    fn entries_can_be_appended_apart(message: Any<Message>, write: Any<Write>) -> bool {
        let (mut frame, mut entries) = (Vec::new(), Vec::new());
        encode_message_head(&message.0, &mut frame).unwrap();
        if let Rpc::AppendEntries { entries, .. } = &message.0.rpc {
            encode_entries(entries, &mut frame).unwrap();
        }
        encode_entries(&write.0.entries, &mut entries).unwrap();
        frame == message_frame(&message.0) && write_frame(&write.0).ends_with(&entries)
    }

    fn a_frame_cut_short_is_refused(message: Any<Message>, write: Any<Write>, at: usize) -> bool {
        let cut = |mut frame: Vec<u8>| {
            frame.truncate(at % frame.len());
            Bytes::from(frame)
        };
        decode_message(cut(message_frame(&message.0))) == Err(CodecError::Truncated)
            && decode_write(cut(write_frame(&write.0))) == Err(CodecError::Truncated)
    }

    fn bytes_after_the_end_are_refused(message: Any<Message>, write: Any<Write>, more: Vec<u8>) -> TestResult {
        if more.is_empty() {
            return TestResult::discard();
        }
        let trailing = CodecError::Trailing { bytes: more.len() };
        let with = |mut frame: Vec<u8>| {
            frame.extend(&more);
            Bytes::from(frame)
        };
        let refused = decode_message(with(message_frame(&message.0))) == Err(trailing)
            && decode_write(with(write_frame(&write.0))) == Err(trailing);
        TestResult::from_bool(refused)
    }

    /// Garbled frames are refused, or are another value that comes back just as well.
    fn garbled_frames_are_refused_or_sound(message: Any<Message>, write: Any<Write>, at: usize, flip: u8) -> bool {
        let garble = |mut frame: Vec<u8>| {
            let at = at % frame.len();
            frame[at] ^= flip;
            Bytes::from(frame)
        };
        let message = decode_message(garble(message_frame(&message.0)));
        let write = decode_write(garble(write_frame(&write.0)));
        message.map_or(true, |m| decode_message(message_frame(&m).into()) == Ok(m))
            && write.map_or(true, |w| decode_write(write_frame(&w).into()) == Ok(w))
    }

    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) -> bool {
        let frame = Bytes::from([&[VERSION], &bytes[..]].concat());
        decode_message(frame.clone()).map_or(true, |m| decode_message(message_frame(&m).into()) == Ok(m))
            && decode_write(frame).map_or(true, |w| decode_write(write_frame(&w).into()) == Ok(w))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(|digit| *digit != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn message(rpc: Rpc) -> Message {
    Message { term: Term(3), incarnation: Incarnation(0x1234), rpc }
}

fn command(bytes: &'static [u8]) -> Payload {
    Payload::Command(Bytes::from_static(bytes))
}

/// Every kind of member, and every field set somewhere: change; count; then of each id, role, outgoing, address, disk.
fn members() -> Arc<Membership> {
    let voter = |id| Member::new(NodeId(id), MemberRole::Voter);
    let address = Address::new("h:1").unwrap();
    let wanted = MemberRole::Learner { wanted: Some(Wanted { replaces: Some(NodeId(3)) }) };
    let members = vec![
        Member { address, disk: Incarnation(5), ..voter(1) },
        Member { outgoing: true, ..voter(2) },
        Member { outgoing: true, ..Member::new(NodeId(3), MemberRole::Leaving) },
        Member::new(NodeId(4), wanted),
    ];
    Arc::new(Membership::from_members(EntryId::new(2, 9), members).unwrap())
}

/// Every kind of payload, with and without a new term.
fn every_payload(first: u64) -> Entries {
    let entry = |term, payload| Entry { term: Term(term), payload };
    let payloads = [
        entry(2, command(b"ab")),
        entry(2, command(b"")),
        entry(3, Payload::Noop),
        entry(3, Payload::Membership(members())),
    ];
    Entries::from_vec(Index(first), payloads.into()).unwrap()
}

/// The bytes of version 2. They may be added to, never changed: disks and other servers hold them.
#[test]
fn golden_messages() {
    let (prev, entries) = (EntryId::new(2, 300), every_payload(301));
    let (received, durable, hint) = (Index(9), Index(8), EntryId::new(1, 7));
    let (commit, round, granted) = (Index(299), 5, true);
    let append = |entries| Rpc::AppendEntries { prev, entries, commit, round, reply: true };
    let cases = [
        // version, term, incarnation, kind, fields
        (Rpc::PreVote { last: prev }, "02 03 b424 00 02 ac02"),
        (Rpc::PreVoteReply { granted: false }, "02 03 b424 01 00"),
        (Rpc::PreVoteReply { granted }, "02 03 b424 01 01"),
        (Rpc::RequestVote { last: prev, transfer: false }, "02 03 b424 02 02 ac02 00"),
        (Rpc::RequestVote { last: prev, transfer: true }, "02 03 b424 02 02 ac02 01"),
        (Rpc::RequestVoteReply { granted }, "02 03 b424 03 01"),
        // prev, commit, round, reply, no entries
        (append(Entries::new()), "02 03 b424 04 02ac02 ab02 05 01 00"),
        // the same with entries: first, count; then tag, term and payload of each
        (
            append(entries),
            "02 03 b424 04 02ac02 ab02 05 01 01 ad02 04  14 02 6162  00  05 03  ea01 0209 04 010000 03683a31 05 0200010000 0302010000 0401010103000000",
        ),
        (
            Rpc::AppendEntriesReply { round, outcome: AppendOutcome::Matched { received, durable } },
            "02 03 b424 05 05 00 09 08",
        ),
        (
            Rpc::AppendEntriesReply { round, outcome: AppendOutcome::Full { received, durable } },
            "02 03 b424 05 05 01 09 08",
        ),
        (
            Rpc::AppendEntriesReply { round, outcome: AppendOutcome::Conflict { prev: received, hint } },
            "02 03 b424 05 05 02 09 01 07",
        ),
        (Rpc::AppendEntriesReply { round: 0, outcome: AppendOutcome::OlderTerm }, "02 03 b424 05 00 03"),
        (Rpc::TimeoutNow { target: Incarnation(9) }, "02 03 b424 06 09"),
        (Rpc::ReadIndex { boot: 300, seq: 2 }, "02 03 b424 07 ac02 02"),
        (Rpc::ReadIndexReply { boot: 300, seq: 2, at: received }, "02 03 b424 08 ac02 02 09"),
    ];
    for (rpc, golden) in cases {
        let message = message(rpc);
        assert_eq!(hex(&message_frame(&message)), hex(&unhex(golden)), "{message}");
        assert_eq!(decode_message(unhex(golden)), Ok(message));
    }
}

#[test]
fn golden_writes() {
    let snapshot = SnapshotMeta { last: EntryId::new(2, 300), membership: members() };
    let vote = ServerId { id: NodeId(2), incarnation: Incarnation(7) };
    let voted = |vote| Some(HardState { term: Term(3), voted_for: vote });
    let write = |hard_state, snapshot, entries| Write { id: WriteId(7), hard_state, snapshot, entries };
    let compacted = SnapshotWrite::Compacted { snapshot: snapshot.clone(), first: Index(200) };
    let installed = SnapshotWrite::Installed { snapshot };
    let cases = [
        // version, id, hard state, snapshot, entries
        (write(None, None, Entries::new()), "02 07 00 00 00"),
        (write(voted(None), None, Entries::new()), "02 07 01 03 00 00 00"),
        (write(voted(Some(vote)), None, Entries::new()), "02 07 01 03 01 02 07 00 00"),
        // last entry, members; first index kept
        (
            write(None, Some(compacted), Entries::new()),
            "02 07 00 01 00 02ac02 0209 04 010000 03683a31 05 0200010000 0302010000 0401010103000000 c801 00",
        ),
        (
            write(voted(None), Some(installed), every_payload(301)),
            "02 07 01 03 00 01 01 02ac02 0209 04 010000 03683a31 05 0200010000 0302010000 0401010103000000 01 ad02 04  14 02 6162  00  05 03  ea01 0209 04 010000 03683a31 05 0200010000 0302010000 0401010103000000",
        ),
    ];
    for (write, golden) in cases {
        assert_eq!(hex(&write_frame(&write)), hex(&unhex(golden)), "{write}");
        assert_eq!(decode_write(unhex(golden)), Ok(write));
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let append = "02 03 00 04 0200 00 00 01 01"; // up to first, count and entries
    let cases = [
        ("", CodecError::Truncated),
        ("01 03 00 00 02 02", CodecError::Version { found: 1 }),
        ("02 03 00 09 00", CodecError::Malformed), // no such kind of message
        ("02 03 00 01 02", CodecError::Malformed), // no such bool
        ("02 ffffffffffffffffffff 00 01 00", CodecError::Malformed), // a varint beyond 64 bits
        (&format!("{append} 01 01 07 01"), CodecError::Malformed), // no such kind of entry
        (&format!("{append} 01 01 0d 01 00"), CodecError::Malformed), // a no-op with a payload
        (&format!("{append} 01 01 0c 02 ff ff"), CodecError::Trailing { bytes: 1 }), // one byte too many
        (&format!("{append} 01 01 46 02 000000 0000000000"), CodecError::Trailing { bytes: 5 }), // inside a membership
        (&format!("{append} 01 01 26 02 000001 01"), CodecError::Truncated), // a membership cut short
        (&format!("{append} 01 01 6e 02 000002 0200000000 0100000000"), CodecError::Malformed), // out of order
        (&format!("{append} 01 02 05 02 05 01"), CodecError::Entries(falls())), // terms that fall
        (&format!("{append} 01 01 01"), CodecError::Entries(outside(0, 1))), // no term
        (&format!("{append} 00 01 05 02"), CodecError::Entries(outside(2, 0))), // index 0
    ];
    for (frame, refused) in cases {
        assert_eq!(decode_message(unhex(frame)), Err(refused), "{frame}");
    }
}

fn falls() -> EntriesError {
    EntriesError::TermFalls { at: Index(2), earlier: Term(2), later: Term(1) }
}

fn outside(term: u64, index: u64) -> EntriesError {
    EntriesError::OutOfRange { id: EntryId::new(term, index) }
}

/// A frame that claims a great many entries, or large ones, costs no more than what it brings.
#[test]
fn claims_without_bytes_reserve_nothing() {
    let claim = |count: u64| {
        let segment = Some(Segment { first: Index(1), count });
        let mut frame = vec![VERSION];
        put(&WriteHead { id: 1, hard_state: None, snapshot: None, segment }, &mut frame).unwrap();
        frame
    };
    let most = FRAME_BYTES_MAX as u64 / ENTRY_OVERHEAD_BYTES;
    assert_eq!(decode_write(claim(most).into()), Err(CodecError::Truncated));
    let bytes = (most + 1) * ENTRY_OVERHEAD_BYTES;
    assert_eq!(decode_write(claim(most + 1).into()), Err(CodecError::TooLarge { bytes }));
    assert_eq!(decode_write(claim(u64::MAX).into()), Err(CodecError::TooLarge { bytes: u64::MAX }));
    let mut large = claim(1);
    put(&(((1u64 << 60) << LENGTH_SHIFT) | TERM_FOLLOWS, Term(1)), &mut large).unwrap();
    assert_eq!(decode_write(large.into()), Err(CodecError::Truncated));
}

#[test]
fn what_is_too_large_is_not_written_and_not_read() {
    let with = |bytes: usize| {
        let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
        Write { id: WriteId(1), hard_state: None, snapshot: None, entries }
    };
    let overhead = usize::try_from(ENTRY_OVERHEAD_BYTES).unwrap();
    let mut out = vec![1, 2, 3];
    let largest = with(FRAME_BYTES_MAX - overhead);
    encode_write(&largest, &mut out).unwrap();
    assert_eq!(decode_write(Bytes::from(out.split_off(3))), Ok(largest));
    let bytes = FRAME_BYTES_MAX as u64 + 1;
    assert_eq!(encode_write(&with(FRAME_BYTES_MAX - overhead + 1), &mut out), Err(CodecError::TooLarge { bytes }));
    assert_eq!(out, [1, 2, 3], "nothing of it is left behind");
    let frame = vec![VERSION; FRAME_BYTES_MAX + 1];
    assert_eq!(decode_message(frame.clone().into()), Err(CodecError::TooLarge { bytes }));
    assert_eq!(decode_write(frame.into()), Err(CodecError::TooLarge { bytes }));
}

/// Entries that fit make no frame with an envelope that leaves no room for them: what counts in the end is what was written.
#[test]
fn an_envelope_counts_too() {
    let membership = Arc::new(Membership::new((0..100).map(NodeId)));
    let with = |bytes: usize| {
        let entry = Entry { term: Term(1), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index(1), vec![entry]).unwrap();
        let snapshot = SnapshotMeta { last: EntryId::new(1, 9), membership: membership.clone() };
        Write { id: WriteId(1), hard_state: None, snapshot: Some(SnapshotWrite::Installed { snapshot }), entries }
    };
    // Large enough for a tag that is as long as that of the largest.
    let around = write_frame(&with(FRAME_BYTES_MAX / 2)).len() - FRAME_BYTES_MAX / 2;
    let mut out = vec![1, 2, 3];
    let largest = with(FRAME_BYTES_MAX - around);
    encode_write(&largest, &mut out).unwrap();
    assert_eq!(out.len(), 3 + FRAME_BYTES_MAX);
    assert_eq!(decode_write(Bytes::from(out.split_off(3))), Ok(largest));
    for more in [1, 2] {
        let bytes = (FRAME_BYTES_MAX + more) as u64;
        assert_eq!(encode_write(&with(FRAME_BYTES_MAX - around + more), &mut out), Err(CodecError::TooLarge { bytes }));
        assert_eq!(out, [1, 2, 3], "nothing of it is left behind");
    }
}

/// A frame within its limit whose entries count more than that is not read: no server could write them out again.
#[test]
fn entries_that_count_too_much_are_not_read() {
    let half = FRAME_BYTES_MAX / 2 - 10;
    let segment = Some(Segment { first: Index(1), count: 2 });
    let mut frame = vec![VERSION];
    put(&WriteHead { id: 1, hard_state: None, snapshot: None, segment }, &mut frame).unwrap();
    let length = (half as u64) << LENGTH_SHIFT;
    for (tag, term) in [(length | TERM_FOLLOWS, Some(Term(1))), (length, None)] {
        put(&tag, &mut frame).unwrap();
        term.map_or(Ok(()), |term| put(&term, &mut frame)).unwrap();
        frame.resize(frame.len() + half, 0);
    }
    assert!(frame.len() <= FRAME_BYTES_MAX, "{}", frame.len());
    let bytes = 2 * (half as u64 + ENTRY_OVERHEAD_BYTES);
    assert_eq!(decode_write(frame.into()), Err(CodecError::TooLarge { bytes }));
}

/// Commands are slices of the frame, and stay so when the message that brought them is gone.
#[test]
fn commands_share_the_frame() {
    let entries = every_payload(1);
    let sent = message(Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round: 0, reply: true });
    let frame = Bytes::from(message_frame(&sent));
    let Rpc::AppendEntries { entries, .. } = decode_message(frame.clone()).unwrap().rpc else { panic!("{sent}") };
    let memory = frame.as_ptr_range();
    let commands = entries.iter().filter_map(|(_, payload)| match payload {
        Payload::Command(command) => Some(command),
        _ => None,
    });
    let inside = commands.map(|command| {
        let command = command.as_ptr_range();
        memory.start <= command.start && command.end <= memory.end
    });
    assert_eq!(inside.collect::<Vec<_>>(), [true, true]);
}

/// One reservation is enough for a message, whatever its entries are like.
#[test]
fn encoding_grows_the_buffer_once() {
    for bytes in [0, 1, 256, 70_000] {
        let entry =
            |term| Entry { term: Term(Term::MAX.0 - 1000 + term), payload: Payload::Command(vec![0; bytes].into()) };
        let entries = Entries::from_vec(Index::MAX.prev().prev(), vec![entry(1), entry(2), entry(3)]).unwrap();
        let largest = EntryId::new(u64::MAX, u64::MAX);
        let rpc = Rpc::AppendEntries { prev: largest, entries, commit: Index(u64::MAX), round: u64::MAX, reply: true };
        let message = Message { term: Term(u64::MAX), incarnation: Incarnation(u64::MAX), rpc };
        let Rpc::AppendEntries { entries, .. } = &message.rpc else { panic!("{message}") };
        let reserved = usize::try_from(entries.bytes()).unwrap() + ENVELOPE_BYTES;
        let frame = message_frame(&message);
        assert!(frame.len() <= reserved, "{bytes}");
        assert_eq!(frame.capacity(), reserved, "{bytes}: no more than that");
    }
}
