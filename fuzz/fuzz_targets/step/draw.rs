//! What is drawn from the bytes where they state nothing: any event, most of them near to what would make sense.

use libfuzzer_sys::arbitrary::{self, Unstructured};
use raft_core::sim::fuzz::Birth;
use raft_core::{
    Address, AppendOutcome, Bytes, Change, Config, Edit, Entries, Entry, EntryId, Event, FetchId, Incarnation, Index,
    Membership, Message, NodeId, Payload, RequestId, Restored, Rpc, SnapshotMeta, Status, Term, WipedPolicy, WriteId,
};

/// Few servers and small numbers, so that events often mean something; now and then the ends of the range.
fn small(u: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(match u.int_in_range(0..=31)? {
        30 => Index::MAX.0 - u.int_in_range(0..=2)?,
        31 => u64::MAX - u.int_in_range(0..=2)?,
        number => number / 2,
    })
}

fn node(u: &mut Unstructured<'_>) -> arbitrary::Result<NodeId> {
    Ok(NodeId(u.int_in_range(1..=5)?))
}

fn entry_id(u: &mut Unstructured<'_>) -> arbitrary::Result<EntryId> {
    Ok(EntryId { term: Term(small(u)?), index: Index(small(u)?) })
}

fn membership(u: &mut Unstructured<'_>) -> arbitrary::Result<Membership> {
    let voters = (0..u.int_in_range(0..=3)?).map(|_| node(u)).collect::<arbitrary::Result<Vec<_>>>()?;
    let outgoing = (0..u.int_in_range(0..=2)?).map(|_| node(u)).collect::<arbitrary::Result<Vec<_>>>()?;
    Ok(Membership::joint(voters, outgoing, [NodeId(5)]))
}

fn payload(u: &mut Unstructured<'_>) -> arbitrary::Result<Payload> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Payload::Noop,
        1 => Payload::Membership(membership(u)?.into()),
        _ => Payload::Command(Bytes::from(vec![7; u.int_in_range(0..=40)?])),
    })
}

fn entries(u: &mut Unstructured<'_>, prev: EntryId) -> arbitrary::Result<Entries> {
    let first = if u.ratio(1, 20)? { Index(small(u)?) } else { prev.index.next() };
    let mut term = prev.term.max(Term(1));
    let mut list = Vec::new();
    for _ in 0..u.int_in_range(0..=4)? {
        term = Term(term.0.saturating_add(u.int_in_range(0..=1)?));
        list.push(Entry { term, payload: payload(u)? });
    }
    Ok(Entries::from_vec(first, list).unwrap_or_default())
}

fn message(u: &mut Unstructured<'_>, status: Status<'_>) -> arbitrary::Result<Message> {
    let last = if u.arbitrary()? { status.last() } else { entry_id(u)? };
    let (received, durable) = (Index(small(u)?), Index(small(u)?));
    let outcome = match u.int_in_range(0..=3)? {
        0 => AppendOutcome::Matched { received, durable },
        1 => AppendOutcome::Full { received, durable },
        2 => AppendOutcome::OlderTerm,
        _ => AppendOutcome::Conflict { prev: received, hint: entry_id(u)? },
    };
    let rpc = match u.int_in_range(0..=9)? {
        7 => Rpc::TimeoutNow { target: disk(u)? },
        8 => Rpc::ReadIndex { boot: small(u)?, seq: small(u)? },
        9 => Rpc::ReadIndexReply { boot: small(u)?, seq: small(u)?, at: Index(small(u)?) },
        0 => Rpc::PreVote { last },
        1 => Rpc::PreVoteReply { granted: u.arbitrary()? },
        2 => Rpc::RequestVote { last, transfer: u.arbitrary()? },
        3 => Rpc::RequestVoteReply { granted: u.arbitrary()? },
        4 | 5 => Rpc::AppendEntries {
            prev: last,
            entries: entries(u, last)?,
            commit: Index(small(u)?),
            round: small(u)?,
            reply: u.arbitrary()?,
        },
        _ => Rpc::AppendEntriesReply { round: small(u)?, outcome },
    };
    let term = if u.ratio(3, 4)? { status.term() } else { Term(small(u)?) };
    Ok(Message { term, incarnation: disk(u)?, rpc })
}

/// The server's own disk, a few founders' and a few that joined; now and then none.
fn disk(u: &mut Unstructured<'_>) -> arbitrary::Result<Incarnation> {
    Ok(match u.int_in_range(0..=7)? {
        7 => Incarnation(9),
        number @ 0..=3 => Incarnation(number),
        number => Incarnation::joined(number),
    })
}

fn change(u: &mut Unstructured<'_>, status: Status<'_>) -> arbitrary::Result<Change> {
    let expected = if u.ratio(3, 4)? { None } else { Some(status.membership().change()) };
    let edits = (0..u.int_in_range(0..=3)?).map(|_| edit(u)).collect::<arbitrary::Result<_>>()?;
    Ok(Change { expected, edits })
}

fn edit(u: &mut Unstructured<'_>) -> arbitrary::Result<Edit> {
    let (id, address) = (node(u)?, Address::new(if u.arbitrary()? { "h:1" } else { "" }).unwrap_or_default());
    Ok(match u.int_in_range(0..=8)? {
        0 => Edit::AddLearner { id, address },
        1 => Edit::AddVoter { id, address },
        2 => Edit::Replace { old: id, new: node(u)?, address },
        3 => Edit::Promote { id },
        4 => Edit::Demote { id },
        5 => Edit::Remove { id },
        6 => Edit::Readmit { id },
        7 => Edit::SetAddress { id, address },
        _ => Edit::KeepLearner { id },
    })
}

/// A request for entries: its id, the first and the last of them.
pub(crate) type Fetch = (FetchId, Index, Index);

/// An answer that may be right: the terms are those of the log, and what the entries carry is not the core's to judge.
fn fetched(u: &mut Unstructured<'_>, status: Status<'_>, (id, from, to): Fetch) -> arbitrary::Result<Event> {
    let mut list = Vec::new();
    let last = to.0.min(from.0 + u.int_in_range(0..=4)?);
    for term in (from.0..=last).map_while(|index| status.term_at(Index(index))) {
        list.push(Entry { term, payload: payload(u)? });
    }
    Ok(Event::Fetched { id, entries: Entries::from_vec(from, list).unwrap_or_default() })
}

/// Anything that may come to a server in this state, which has asked for entries perhaps.
pub(crate) fn event(u: &mut Unstructured<'_>, status: Status<'_>, fetch: Option<Fetch>) -> arbitrary::Result<Event> {
    if let Some(fetch) = fetch
        && u.ratio(1, 4)?
    {
        return fetched(u, status, fetch);
    }
    let snapshot = |u: &mut Unstructured<'_>| {
        arbitrary::Result::Ok(SnapshotMeta { last: entry_id(u)?, membership: membership(u)?.into() })
    };
    Ok(match u.int_in_range(0..=20)? {
        0 | 1 => Event::Tick { elapsed: u.int_in_range(0..=20)? },
        2 => Event::Tick { elapsed: u.arbitrary()? },
        3..=7 => Event::Receive { from: node(u)?, message: message(u, status)? },
        8 => {
            let request = RequestId(small(u)?);
            let commands = (0..u.int_in_range(0..=3)?).map(|_| Ok(Bytes::from(vec![1; u.int_in_range(0..=70)?])));
            Event::Start { request, commands: commands.collect::<arbitrary::Result<_>>()? }
        }
        9 => Event::Persisted(WriteId::from_number(small(u)?)),
        10 => Event::Applied(if u.arbitrary()? { status.handed_out() } else { Index(small(u)?) }),
        11 => Event::Compact { index: if u.arbitrary()? { status.applied() } else { Index(small(u)?) } },
        12 => Event::SnapshotSent { to: node(u)?, snapshot: status.snapshot().last, delivered: u.arbitrary()? },
        13 => Event::SnapshotSent { to: node(u)?, snapshot: entry_id(u)?, delivered: u.arbitrary()? },
        14 => {
            let term = if u.arbitrary()? { status.term() } else { Term(small(u)?) };
            Event::SnapshotReceived { from: node(u)?, term, snapshot: snapshot(u)? }
        }
        15 => Event::Unreachable { peer: node(u)? },
        16 => Event::Change { request: RequestId(small(u)?), change: Box::new(change(u, status)?) },
        17 => Event::Read { request: RequestId(small(u)?) },
        18 => {
            let to = if u.arbitrary()? { Some(node(u)?) } else { None };
            Event::Transfer { request: RequestId(small(u)?), to }
        }
        19 => Event::Arriving { from: node(u)?, term: if u.arbitrary()? { status.term() } else { Term(small(u)?) } },
        _ => {
            let prev = if u.arbitrary()? { status.last() } else { entry_id(u)? };
            let id = fetch.map_or(FetchId::from_number(small(u)?), |(id, ..)| id);
            Event::Fetched { id, entries: entries(u, prev)? }
        }
    })
}

fn config(u: &mut Unstructured<'_>) -> arbitrary::Result<Config> {
    let mut limit = || -> arbitrary::Result<u64> { u.int_in_range(1..=200) };
    Ok(Config {
        heartbeat_ticks: 2,
        election_ticks_min: 4,
        election_ticks_max: 8,
        append_entries_max: limit()?,
        append_bytes_max: limit()?,
        inflight_appends_max: limit()?,
        inflight_bytes_max: limit()?,
        command_bytes_max: 64,
        backlog_bytes_max: limit()?,
        unpersisted_bytes_max: limit()?,
        apply_bytes_max: limit()?,
        trailing_entries: limit()? % 4,
        transfer_bytes_max: limit()?,
        disk_stall_ticks: 20,
        snapshot_timeout_ticks: 20,
        leader_noop: limit()? % 2 == 0,
        wiped: if limit()? % 2 == 0 { WipedPolicy::Heal } else { WipedPolicy::Report },
        record_disks: limit()? % 2 == 0,
        resident_bytes_max: if limit()? % 2 == 0 { limit()? } else { u64::MAX },
        ..Config::new(NodeId(1))
    })
}

/// A server of a new cluster, or of one in its first term, with limits that bite.
pub(crate) fn birth(u: &mut Unstructured<'_>) -> arbitrary::Result<Birth> {
    let members = [1, 2, 3].map(NodeId).into_iter().take(u.int_in_range(1..=3)?);
    let mut restored = Restored::new_cluster(Incarnation(9), Membership::new(members));
    // Some have a log, of which a tail is in memory and nothing is applied.
    if u.ratio(1, 3)? {
        let list = (0..u.int_in_range(1..=8)?).map(|_| Ok(Entry { term: Term(1), payload: payload(u)? }));
        restored.entries = Entries::from_vec(Index(1), list.collect::<arbitrary::Result<_>>()?).unwrap_or_default();
        restored.hard_state.term = Term(1);
        restored = restored.keep_tail(u.int_in_range(0..=100)?);
    }
    Ok(Birth { config: config(u)?, restored, timeout: None })
}
