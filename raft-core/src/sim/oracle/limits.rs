//! Nothing is larger than the configuration allows; a byte limit never stops a single entry.

use std::format;

use crate::sim::server::{Seen, Server};
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Entries, Message, Rpc, Write};

/// `server` sends `message`.
pub(crate) fn sending(server: &Server, message: &Message) -> Verdict {
    let Rpc::AppendEntries { entries, .. } = &message.rpc else { return Ok(()) };
    let config = &server.config;
    let (count, bytes) = (entries.len(), entries.bytes());
    let fits = count <= 1 || count <= config.append_entries_max && bytes <= config.append_bytes_max;
    ensure(fits, Invariant::Limits, || format!("sends {count} entries of {bytes} bytes in one message"))
}

/// A server writes, in a step that it entered as `before`: a follower takes entries only while not too much waits for its
/// disk.
pub(crate) fn writing(server: &Server, before: &Seen, write: &Write) -> Verdict {
    if server.leads() || write.entries.is_empty() {
        return Ok(());
    }
    let waiting = server.disk.written.bytes_after(before.durable);
    ensure(waiting < server.config.unpersisted_bytes_max, Invariant::Limits, || {
        format!("takes {} while {waiting} bytes wait for its disk", write.entries)
    })
}

/// `server` hands entries out, beside what its machine has not yet done.
pub(crate) fn applying(server: &Server, entries: &Entries) -> Verdict {
    let (waiting, count, bytes) = (server.machine.waiting_bytes(), entries.len(), entries.bytes());
    let alone = waiting == 0 && count <= 1;
    ensure(alone || waiting + bytes <= server.config.apply_bytes_max, Invariant::Limits, || {
        format!("hands out {count} entries of {bytes} bytes while {waiting} bytes wait for the machine")
    })
}

/// All actions of a step have been carried out: of the log no more is in memory than is allowed, but for what waits for the
/// disk or the application, and a run that does so in part.
pub(crate) fn settled(server: &Server) -> Verdict {
    let config = &server.config;
    let Some(raft) = server.raft.as_ref().filter(|_| config.resident_bytes_max < u64::MAX) else { return Ok(()) };
    let seen = &server.seen;
    let waiting = server.disk.written.bytes_after(seen.handed_out.min(seen.durable));
    let run = server.longest_run.max(config.append_bytes_max);
    let (resident, most) = (raft.status().resident_bytes(), config.resident_bytes_max);
    ensure(resident <= most.saturating_add(waiting).saturating_add(run), Invariant::Limits, || {
        format!(
            "{resident} bytes are in memory, {waiting} of which wait and {run} may be in a run, where {most} may be"
        )
    })
}

/// A leader's windows, looked at from time to time.
pub(crate) fn leading(server: &Server) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let most = server.config.inflight_appends_max;
    raft.status().followers().try_for_each(|follower| {
        ensure(follower.inflight as u64 <= most, Invariant::Limits, || {
            format!("has {} messages in flight to {}", follower.inflight, follower.id)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entries, found, leader, server, write};
    use super::*;
    use crate::{AppendOutcome, Bytes, EntryId, Event, Index, NodeId, RequestId, Term};

    #[test]
    fn what_is_larger_than_allowed_is_found() {
        let mut server = server();
        let append = |first, terms: &[u64]| {
            let entries = entries(first, terms);
            let rpc = Rpc::AppendEntries { prev: EntryId::ZERO, entries, commit: Index(0), round: 0, reply: true };
            Message { term: Term(1), incarnation: crate::Incarnation(1), rpc }
        };
        let two = entries(1, &[1, 1]).bytes();
        (server.config.append_entries_max, server.config.append_bytes_max) = (2, two);
        assert_eq!(found(sending(&server, &append(1, &[1, 1]))), None);
        assert_eq!(found(sending(&server, &append(1, &[1, 1, 1]))), Some(Invariant::Limits), "too many");
        server.config.append_bytes_max = two - 1;
        assert_eq!(found(sending(&server, &append(1, &[1, 1]))), Some(Invariant::Limits), "too large");
        assert_eq!(found(sending(&server, &append(1, &[1]))), None, "no limit stops a single entry");

        server.config.unpersisted_bytes_max = two;
        server.disk.written.take(&write(1, &[1]));
        assert_eq!(found(writing(&server, &server.seen, &write(2, &[1]))), None);
        server.disk.written.take(&write(2, &[1]));
        assert_eq!(found(writing(&server, &server.seen, &write(3, &[1]))), Some(Invariant::Limits), "its disk is busy");
        let leader = leader();
        assert_eq!(found(writing(&leader, &leader.seen, &write(3, &[1]))), None, "who leads is limited elsewhere");

        server.config.apply_bytes_max = two;
        assert_eq!(found(applying(&server, &entries(1, &[1, 1]))), None);
        server.config.apply_bytes_max = two - 1;
        assert_eq!(found(applying(&server, &entries(1, &[1, 1]))), Some(Invariant::Limits));
    }

    #[test]
    fn a_log_that_stays_in_memory_is_found() {
        let mut server = leader();
        let Some(raft) = &mut server.raft else { panic!("it leads") };
        for number in 0..9 {
            let commands = [Bytes::from_static(&[7; 100])].into();
            let _ = raft.step(Event::Start { request: RequestId(number), commands });
        }
        server.config.append_bytes_max = 1;
        assert_eq!(found(settled(&server)), None, "there is no limit");
        server.config.resident_bytes_max = 9 * 116 - 1;
        assert_eq!(found(settled(&server)), None, "a run is on the way");
        server.config.resident_bytes_max -= 1;
        assert_eq!(found(settled(&server)), Some(Invariant::Limits));
        server.longest_run = 2;
        assert_eq!(found(settled(&server)), None);
    }

    #[test]
    fn a_window_that_is_too_wide_is_found() {
        let mut server = leader();
        let Some(raft) = &mut server.raft else { panic!("it leads") };
        let outcome = AppendOutcome::Matched { received: Index(0), durable: Index(0) };
        let rpc = Rpc::AppendEntriesReply { round: 1, outcome };
        let message = Message { term: Term(1), incarnation: crate::Incarnation(2), rpc };
        let _ = raft.step(Event::Receive { from: NodeId(2), message });
        let _ = raft.step(Event::Start { request: RequestId(1), commands: [Bytes::from_static(b"x")].into() });
        assert_eq!(found(leading(&server)), None);
        server.config.inflight_appends_max = 0;
        assert_eq!(found(leading(&server)), Some(Invariant::Limits));
    }
}
