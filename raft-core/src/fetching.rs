//! Entries that were read back from disk: where they go.

use crate::action::FetchId;
use crate::entries::Entries;
use crate::fetch::Fetch;
use crate::progress::{Flow, Progress};
use crate::replication::send_append;
use crate::role::Role;
use crate::server::Server;

/// Entries have come that are on disk alone: they are applied or sent, if they are still what is needed next.
#[cold]
pub(crate) fn fetched(server: &mut Server, role: &mut Role, id: FetchId, entries: Entries) {
    let Some(entries) = server.fetched_for_application(id, entries) else { return };
    if let Role::Leader(leader) = role {
        let round = leader.round;
        let of = |progress: &Progress| matches!(&progress.flow, Flow::Replicate(i) if i.is_fetching(id));
        if let Some(progress) = leader.followers.iter_mut().find(|progress| of(progress)) {
            return send_fetched(server, progress, entries, round);
        }
    }
    if id.number() == 0 || id.number() > server.fetches {
        server.counters.unfounded += 1;
    } else {
        server.counters.late += 1;
    }
}

/// Send fetched entries as any others, within the limits of a message. There was room in the window when they were asked for,
/// and nothing has been sent since.
fn send_fetched(server: &mut Server, progress: &mut Progress, entries: Entries, round: u64) {
    let Flow::Replicate(inflight) = &mut progress.flow else { return };
    let Some(Fetch::UnderWay { from, to, .. }) = inflight.fetching else { return };
    inflight.fetching = Some(Fetch::Failed);
    let prev = server.log.id_at(from.prev()).filter(|_| from == progress.next);
    let Some(prev) = prev else {
        server.counters.late += 1;
        return;
    };
    if !server.accept_fetched(&entries, from, to) {
        return;
    }
    let entries = entries.at_most(server.config.append_entries_max, server.config.append_bytes_max);
    let Some(last) = entries.last_index() else { return };
    inflight.fetching = None;
    inflight.push(last, entries.bytes());
    progress.next = last.next();
    send_append(server, progress, prev, entries, round, true);
}
