//! What a script insists on, whatever its golden trace says: `expect s1 role=leader term=2 log=1,1,2`.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::commands::server;
use super::grammar::{self, Words};
use super::world::World;
use super::{Outcome, Stop};
use crate::{Index, NodeId, Status};

pub(crate) fn check(world: &World, words: &mut Words<'_>) -> Outcome {
    if words.takes("mail") {
        let (wanted, found) = (words.number("how many messages")?, world.mail.len() as u64);
        return same("mail", &wanted.to_string(), &found.to_string());
    }
    if words.takes("committed") {
        let (wanted, found) = (words.number("an index")?, world.cluster.oracles.committed());
        return same("committed", &wanted.to_string(), &found.to_string());
    }
    let slot = server(world, words)?;
    if words.peek().is_none() {
        return Err(Stop::Wrong("nothing is expected of it".into()));
    }
    while let Some(word) = words.next() {
        let (name, wanted) = grammar::setting(word)?;
        let found = match (&world.server(slot).raft, name) {
            (raft, "up") => (if raft.is_some() { "yes" } else { "no" }).into(),
            (Some(raft), "log") => {
                let terms = grammar::terms(wanted)?.iter().map(|term| term.0).collect::<Vec<_>>();
                if log(raft.status()) == terms { wanted.into() } else { format!("{:?}", log(raft.status())) }
            }
            (Some(raft), _) => value(raft.status(), name)?,
            (None, _) => return Err(Stop::Wrong(format!("{} is down", world.name(slot)))),
        };
        same(name, wanted, &found)?;
    }
    Ok(())
}

fn same(name: &str, wanted: &str, found: &str) -> Outcome {
    if wanted == found { Ok(()) } else { Err(Stop::Wrong(format!("{name} is {found}, not {wanted}"))) }
}

/// The terms of what is still in the log.
fn log(status: Status<'_>) -> Vec<u64> {
    (status.first_index().0..=status.last().index.0)
        .filter_map(|i| status.term_at(Index(i)))
        .map(|term| term.0)
        .collect()
}

fn value(status: Status<'_>, name: &str) -> Outcome<String> {
    let server = |id: Option<NodeId>| id.map_or_else(|| "-".into(), |id| format!("s{id}"));
    let counters = status.counters();
    Ok(match name {
        "role" => status.role().to_string(),
        "term" => status.term().to_string(),
        "vote" => server(status.voted_for()),
        "leader" => server(status.leader()),
        "commit" => status.commit().to_string(),
        "applied" => status.applied().to_string(),
        "durable" => status.durable().to_string(),
        "first" => status.first_index().to_string(),
        "last" => status.last().to_string(),
        "snapshot" => status.snapshot().last.to_string(),
        "members" => status.membership().to_string().replace(' ', "_"),
        "not_a_member" => counters.not_a_member.to_string(),
        "wiped" => counters.wiped.to_string(),
        "stale" => counters.stale.to_string(),
        "unfounded" => counters.unfounded.to_string(),
        "late" => counters.late.to_string(),
        "resident" => status.resident_first().to_string(),
        "unknown_write" => counters.unknown_write.to_string(),
        _ => return Err(Stop::Wrong(format!("`{name}` is nothing that a server has"))),
    })
}
