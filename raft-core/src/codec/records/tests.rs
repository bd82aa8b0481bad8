use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::super::tests::{Any, entries, hex, id, membership, number};
use super::*;
use crate::action::{CompactDeclined, RoleKind, Write};
use crate::edit::{Edit, EditError};
use crate::entries::Payload;
use crate::member::Address;
use crate::message::{Message, Rpc};

fn node(g: &mut Gen) -> NodeId {
    NodeId(number(g))
}

fn snapshot(g: &mut Gen) -> SnapshotMeta {
    SnapshotMeta { last: id(g), membership: membership(g) }
}

fn pick<T: Clone>(g: &mut Gen, all: &[T]) -> T {
    g.choose(all).unwrap().clone()
}

fn edit(g: &mut Gen) -> Edit {
    let (id, old, address) = (node(g), node(g), Address::new("h:1").unwrap());
    let all = [
        Edit::AddLearner { id, address: address.clone() },
        Edit::AddVoter { id, address: address.clone() },
        Edit::Replace { old, new: id, address: address.clone() },
        Edit::Promote { id },
        Edit::Demote { id },
        Edit::Remove { id },
        Edit::Readmit { id },
        Edit::SetAddress { id, address },
        Edit::KeepLearner { id },
    ];
    pick(g, &all)
}

fn refusals(g: &mut Gen) -> Vec<Refusal> {
    let (max, count, bytes, leader, id, at) = (number(g), number(g), number(g), Some(node(g)), node(g), id(g));
    let edits = [
        EditError::NoVoters,
        EditError::UnknownServer { id },
        EditError::AlreadyMember { id },
        EditError::NotAVoter { id },
        EditError::AlreadyReplaced { id },
        EditError::NotCaughtUp { id },
        EditError::TwoEdits { id },
        EditError::TooManyMembers,
        EditError::NothingToDo,
    ];
    let mut all = vec![
        Refusal::NotLeader { leader },
        Refusal::NotLeader { leader: None },
        Refusal::Busy { max },
        Refusal::TooLarge { bytes, max },
        Refusal::TooMany { count, max },
        Refusal::Empty,
        Refusal::LogFull,
        Refusal::NotReady,
        Refusal::ChangePending { since: at },
        Refusal::Expected { found: at },
        Refusal::Transferring,
        Refusal::NoTarget { to: leader },
        Refusal::TransferTimedOut,
        Refusal::NoLeader,
        Refusal::TooManyReads { max },
    ];
    all.extend(edits.map(Refusal::Edit));
    all
}

fn news(g: &mut Gen) -> News {
    let (peer, snapshot, index, term) = (node(g), id(g), Index(number(g)), Term(number(g)));
    let role = pick(g, &[RoleKind::Follower, RoleKind::PreCandidate, RoleKind::Candidate, RoleKind::Leader]);
    let declined = [
        CompactDeclined::NotApplied,
        CompactDeclined::Superseded,
        CompactDeclined::Discarded,
        CompactDeclined::MembersUnknown,
    ];
    let why = pick(g, &declined);
    let all = [
        News::Role { term, role, leader: Some(peer) },
        News::PeerWiped { peer },
        News::PeerRegressed { peer },
        News::SnapshotFailed { peer, snapshot },
        News::CompactDeclined { index, why },
    ];
    pick(g, &all)
}

impl Arbitrary for Any<Event> {
    fn arbitrary(g: &mut Gen) -> Self {
        let (request, from, to) = (RequestId(number(g)), node(g), node(g));
        let (index, term, delivered) = (Index(number(g)), Term(number(g)), bool::arbitrary(g));
        Any(match u8::arbitrary(g) % 14 {
            0 => Event::Tick { elapsed: u32::arbitrary(g) },
            1 => Event::Receive { from, message: Any::<Message>::arbitrary(g).0 },
            2 => {
                Event::Start { request, commands: Vec::<Vec<u8>>::arbitrary(g).into_iter().map(Bytes::from).collect() }
            }
            3 => {
                let edits = (0..u8::arbitrary(g) % 4).map(|_| edit(g)).collect();
                Event::Change { request, change: Box::new(Change { expected: delivered.then(|| id(g)), edits }) }
            }
            4 => Event::Read { request },
            5 => Event::Transfer { request, to: delivered.then_some(to) },
            6 => Event::Arriving { from, term },
            7 => Event::Fetched { id: FetchId(number(g)), entries: entries(g) },
            8 => Event::Persisted(WriteId(number(g))),
            9 => Event::Applied(index),
            10 => Event::Compact { index },
            11 => Event::SnapshotSent { to, snapshot: id(g), delivered },
            12 => Event::SnapshotReceived { from, term, snapshot: snapshot(g) },
            _ => Event::Unreachable { peer: from },
        })
    }
}

impl Arbitrary for Any<Action> {
    fn arbitrary(g: &mut Gen) -> Self {
        let (request, to, term, index) = (RequestId(number(g)), node(g), Term(number(g)), Index(number(g)));
        Any(match u8::arbitrary(g) % 13 {
            0 => Action::Send { to, message: Any::<Message>::arbitrary(g).0 },
            1 => Action::Persist(Any::<Write>::arbitrary(g).0),
            2 => Action::Apply(entries(g)),
            3 => Action::SendSnapshot { to, term, snapshot: snapshot(g) },
            4 => Action::Restore(snapshot(g)),
            5 => Action::Discard(snapshot(g)),
            6 => Action::Accepted { request, first: id(g), count: number(g) },
            7 => Action::Readable { request, at: index },
            8 => Action::Transferred { request, leader: to },
            9 => Action::Fetch { id: FetchId(number(g)), from: index, to: Index(number(g)), bytes_max: number(g) },
            10 => {
                let all = refusals(g);
                Action::Refused { request, why: pick(g, &all) }
            }
            11 => {
                let (ours, theirs, by) = (id(g), id(g), Incarnation(number(g)));
                let all = [
                    Fatal::CommittedEntryContradicted { from: to, ours, theirs },
                    Fatal::TwoLeaders { term, one: to, other: NodeId(1) },
                    Fatal::Replaced { by },
                ];
                Action::Halt { why: pick(g, &all) }
            }
            _ => Action::News(news(g)),
        })
    }
}

impl Arbitrary for Any<Restored> {
    fn arbitrary(g: &mut Gen) -> Self {
        let server = ServerId { id: node(g), incarnation: Incarnation(number(g)) };
        Any(Restored {
            incarnation: Incarnation(number(g)),
            boot: number(g),
            hard_state: HardState { term: Term(number(g)), voted_for: bool::arbitrary(g).then_some(server) },
            snapshot: snapshot(g),
            head: LogHead::of(&entries(g)),
            entries: entries(g),
            applied: Index(number(g)),
        })
    }
}

fn bytes_of<T>(value: &T, encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>) -> Vec<u8> {
    let mut out = vec![];
    encode(value, &mut out).unwrap();
    out
}

/// Whether bytes are refused, or mean what their own bytes mean.
fn refused_or_sound(bytes: &[u8]) -> bool {
    let bytes = || Bytes::copy_from_slice(bytes);
    let event = decode_event(bytes())
        .map_or(true, |event| decode_event(bytes_of(&event, encode_event).into()).is_ok_and(|again| again == event));
    let action = decode_action(bytes()).map_or(true, |action| {
        decode_action(bytes_of(&action, encode_action).into()).is_ok_and(|again| again == action)
    });
    let restored = decode_restored(bytes()).map_or(true, |restored| {
        let again = decode_restored(bytes_of(&restored, encode_restored).into());
        again.is_ok_and(|again| format!("{again:?}") == format!("{restored:?}"))
    });
    event && action && restored
}

quickcheck! {
    fn events_come_back(event: Any<Event>) -> bool {
        decode_event(bytes_of(&event.0, encode_event).into()) == Ok(event.0)
    }

    fn actions_come_back(action: Any<Action>) -> bool {
        decode_action(bytes_of(&action.0, encode_action).into()) == Ok(action.0)
    }

    fn states_come_back(restored: Any<Restored>) -> bool {
        let again = decode_restored(bytes_of(&restored.0, encode_restored).into());
        again.is_ok_and(|again| format!("{again:?}") == format!("{:?}", restored.0))
    }

    fn what_is_cut_short_or_too_long_is_refused(event: Any<Event>, restored: Any<Restored>, at: usize) -> bool {
        let wrong = |whole: Vec<u8>| {
            let cut = Bytes::copy_from_slice(&whole[..at % whole.len()]);
            let more: Vec<u8> = whole.into_iter().chain([0]).collect();
            (cut, Bytes::from(more))
        };
        let (cut, more) = wrong(bytes_of(&event.0, encode_event));
        let events = decode_event(cut).is_err() && decode_event(more).is_err();
        let (cut, more) = wrong(bytes_of(&restored.0, encode_restored));
        events && decode_restored(cut).is_err() && decode_restored(more).is_err()
    }

    fn garbled_bytes_are_refused_or_sound(event: Any<Event>, action: Any<Action>, at: usize, flip: u8) -> bool {
        [bytes_of(&event.0, encode_event), bytes_of(&action.0, encode_action)].into_iter().all(|mut bytes| {
            let at = at % bytes.len();
            bytes[at] ^= flip;
            refused_or_sound(&bytes)
        })
    }

    fn any_bytes_are_refused_or_sound(bytes: Vec<u8>) -> bool {
        refused_or_sound(&bytes) && refused_or_sound(&[&[VERSION][..], &bytes].concat())
    }
}

/// Counts and lengths that the bytes cannot hold allocate nothing.
#[test]
fn claims_without_bytes_reserve_nothing() {
    for count in [2, 1 << 20, u64::MAX] {
        let mut bytes = vec![VERSION];
        put(&EventHead::Start { request: RequestId(1), count }, &mut bytes).unwrap();
        bytes.push(0);
        assert_eq!(decode_event(bytes.into()), Err(CodecError::Truncated));
        let mut bytes = vec![VERSION];
        put(&EventHead::Start { request: RequestId(1), count: 1 }, &mut bytes).unwrap();
        put(&count, &mut bytes).unwrap();
        assert_eq!(decode_event(bytes.into()), Err(CodecError::Truncated));
        let segment = Some(Segment { first: Index(1), count });
        let mut bytes = vec![VERSION];
        put(&ActionHead::Apply { segment }, &mut bytes).unwrap();
        assert_eq!(decode_action(bytes.into()), Err(CodecError::Truncated));
    }
    assert_eq!(decode_event(vec![1, 0, 0].into()), Err(CodecError::Version { found: 1 }));
}

/// A state may be larger than a frame.
#[test]
fn a_large_state_comes_back() {
    let command = || Payload::Command(vec![7; 1 << 20].into());
    let entries = Entries::of_term(EntryId::new(1, 1), (0..65).map(|_| command()));
    let restored = Restored { incarnation: Incarnation(1), entries, ..Restored::default() };
    let again = decode_restored(bytes_of(&restored, encode_restored).into()).unwrap();
    assert!(again.entries == restored.entries);
}

/// What is written stays readable: these bytes are in `docs/wire-format.md`.
#[test]
fn golden_records() {
    let message = Message { term: Term(3), incarnation: Incarnation(9), rpc: Rpc::PreVoteReply { granted: true } };
    let commands = [Bytes::from_static(b"ab"), Bytes::new()].into_iter().collect();
    let (request, to, at) = (RequestId(300), NodeId(2), EntryId::new(2, 300));
    let change = Change { expected: Some(at), edits: vec![Edit::Remove { id: to }] };
    let events = [
        (Event::Tick { elapsed: 5 }, "020005"),
        (Event::Receive { from: to, message: message.clone() }, "0201020203090101"),
        (Event::Start { request, commands }, "0202ac02020261 6200"),
        (Event::Change { request, change: change.into() }, "0203ac020102ac02010502"),
        (Event::Read { request }, "0204ac02"),
        (Event::Transfer { request, to: Some(to) }, "0205ac020102"),
        (Event::Arriving { from: to, term: Term(3) }, "02060203"),
        (Event::Fetched { id: FetchId(1), entries: Entries::new() }, "02070100"),
        (Event::Persisted(WriteId(7)), "020807"),
        (Event::Applied(Index(9)), "020909"),
        (Event::Compact { index: Index(9) }, "020a09"),
        (Event::SnapshotSent { to, snapshot: at, delivered: true }, "020b0202ac0201"),
        (Event::SnapshotReceived { from: to, term: Term(3), snapshot: SnapshotMeta::default() }, "020c0203000000000 0"),
        (Event::Unreachable { peer: to }, "020d02"),
    ];
    let mut wrong = vec![];
    let mut check = |found: Vec<u8>, expected: &str, what: alloc::string::String| {
        if hex(&found) != expected.replace(' ', "") {
            wrong.push(format!("{what}: {}", hex(&found)));
        }
    };
    for (event, expected) in events {
        check(bytes_of(&event, encode_event), expected, format!("{event}"));
    }
    let write = Write { id: WriteId(7), hard_state: None, snapshot: None, entries: Entries::new() };
    let actions = [
        (Action::Send { to, message }, "0200020203090101"),
        (Action::Persist(write), "02010207000000"),
        (Action::Apply(Entries::new()), "020200"),
        (Action::SendSnapshot { to, term: Term(3), snapshot: SnapshotMeta::default() }, "0203020300000000 00"),
        (Action::Restore(SnapshotMeta::default()), "02040000000000"),
        (Action::Discard(SnapshotMeta::default()), "02050000000000"),
        (Action::Accepted { request, first: at, count: 1 }, "0206ac0202ac0201"),
        (Action::Readable { request, at: Index(9) }, "0207ac0209"),
        (Action::Transferred { request, leader: to }, "0208ac0202"),
        (Action::Fetch { id: FetchId(1), from: Index(2), to: Index(3), bytes_max: 4 }, "020901020304"),
        (Action::Refused { request, why: Refusal::Edit(EditError::NotCaughtUp { id: to }) }, "020aac02090502"),
        (Action::Halt { why: Fatal::Replaced { by: Incarnation(9) } }, "020b0209"),
        (Action::News(News::CompactDeclined { index: Index(9), why: CompactDeclined::Discarded }), "020c040902"),
    ];
    for (action, expected) in actions {
        check(bytes_of(&action, encode_action), expected, format!("{action}"));
    }
    let hard_state = HardState { term: Term(3), voted_for: None };
    let entries = Entries::of_term(at, [Payload::Noop].into_iter());
    let restored = Restored { incarnation: Incarnation(9), boot: 8, hard_state, entries, ..Restored::default() };
    check(bytes_of(&restored, encode_restored), "0209080300000000000000000000000001ac02010502", "a state".into());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
