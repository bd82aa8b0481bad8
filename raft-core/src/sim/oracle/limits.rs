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

/// A leader's windows, looked at from time to time.
pub(crate) fn leading(server: &Server) -> Verdict {
    let Some(raft) = &server.raft else { return Ok(()) };
    let most = server.config.inflight_appends_max;
    raft.status().followers().try_for_each(|follower| {
        ensure(follower.inflight <= most, Invariant::Limits, || {
            format!("has {} messages in flight to {}", follower.inflight, follower.id)
        })
    })
}
