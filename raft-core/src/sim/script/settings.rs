//! What a script says of a server before it starts: its configuration, and what its disk has.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::grammar::{self, Words, Wrong};
use crate::sim::server::{Beginning, Seat};
use crate::{
    Bytes, Config, Entries, Entry, HardState, Incarnation, Index, NodeId, Payload, ServerId, SnapshotMeta,
    SnapshotWrite, Term, WipedPolicy, Write, WriteId,
};

macro_rules! numbers {
    ($($name:ident)*) => {
        fn number(config: &Config, name: &str) -> Option<u64> {
            match name {
                $(stringify!($name) => u64::try_from(config.$name).ok(),)*
                _ => None,
            }
        }

        fn set_number(config: &mut Config, name: &str, value: u64) -> bool {
            match name {
                $(stringify!($name) => value.try_into().map(|value| config.$name = value).is_ok(),)*
                _ => false,
            }
        }

        const NUMBERS: &[&str] = &[$(stringify!($name)),*];
    };
}

numbers! {
    seed heartbeat_ticks election_ticks_min election_ticks_max append_entries_max append_bytes_max inflight_appends_max
    inflight_bytes_max command_bytes_max backlog_bytes_max unpersisted_bytes_max apply_bytes_max trailing_entries
    transfer_bytes_max disk_stall_ticks snapshot_timeout_ticks handicap_ticks farewell_ticks reads_max resident_bytes_max
}

/// Change one setting of a configuration.
pub(crate) fn change(config: &mut Config, name: &str, value: &str) -> Wrong {
    match (name, value) {
        ("leader_noop", "on" | "off") => config.leader_noop = value == "on",
        ("record_disks", "on" | "off") => config.record_disks = value == "on",
        ("wiped", "report") => config.wiped = WipedPolicy::Report,
        ("wiped", "heal") => config.wiped = WipedPolicy::Heal,
        _ if NUMBERS.contains(&name) => {
            let number = grammar::number(value, name)?;
            if !set_number(config, name, number) {
                return Err(format!("{name}: {value} is too large"));
            }
        }
        _ => return Err(format!("`{name}={value}` is not a setting of Config")),
    }
    Ok(())
}

/// Change several settings, as in `leader_noop=off trailing_entries=0`.
pub(crate) fn change_all(config: &mut Config, words: &mut Words<'_>) -> Wrong {
    while let Some(word) = words.next() {
        let (name, value) = grammar::setting(word)?;
        change(config, name, value)?;
    }
    Ok(())
}

/// What is not as in `usual`.
pub(crate) fn differences(config: &Config, usual: &Config) -> String {
    let numbers = NUMBERS.iter().filter(|name| number(config, name) != number(usual, name));
    let mut words: String =
        numbers.map(|name| format!(" {name}={}", number(config, name).unwrap_or_default())).collect();
    if config.leader_noop != usual.leader_noop {
        words += if config.leader_noop { " leader_noop=on" } else { " leader_noop=off" };
    }
    if config.record_disks != usual.record_disks {
        words += if config.record_disks { " record_disks=on" } else { " record_disks=off" };
    }
    if config.wiped != usual.wiped {
        words += if config.wiped == WipedPolicy::Heal { " wiped=heal" } else { " wiped=report" };
    }
    words
}

/// The first commands of the story of such a cluster, in which everything that happens is told.
pub(crate) fn opening(seats: &[Seat]) -> String {
    let usual = Config::new(NodeId(0));
    let common = seats.first().map_or(&usual, |seat| &seat.config);
    let founders = seats.iter().filter(|seat| seat.beginning == Beginning::Founder).count();
    let spares = seats.len() - founders;
    let spares = if spares > 0 { format!(" spares={spares}") } else { String::new() };
    let mut lines = format!("cluster {founders} timeouts=drawn{spares}{}", differences(common, &usual));
    for Seat { config, .. } in seats {
        let own = differences(config, common);
        if !own.is_empty() {
            lines += &format!("\nconfig s{}{own}", config.id);
        }
    }
    lines + "\nhold disk\nhold machine"
}

/// A server on the disk that it is born with: see `Server::new`.
fn first_disk(id: NodeId) -> ServerId {
    ServerId { id, incarnation: Incarnation::founder(id.0) }
}

/// What a server's disk and application are stated to have.
#[derive(Debug, Default)]
pub(crate) struct Stated {
    pub(crate) hard_state: HardState,
    /// The terms of its log, from index 1 on.
    terms: Vec<Term>,
    /// The snapshot stands for everything through here.
    pub(crate) snapshot: Index,
    /// The first entry that is still there; the one behind the snapshot, if it is not said.
    first: Option<Index>,
    /// What the application kept itself.
    pub(crate) applied: Index,
}

impl Stated {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Wrong {
        let number = || grammar::number(value, name);
        match name {
            "term" => self.hard_state.term = Term(number()?),
            "vote" => self.hard_state.voted_for = grammar::server(value).map(first_disk),
            "log" => self.terms = grammar::terms(value)?,
            "snapshot" => self.snapshot = Index(number()?),
            "first" => self.first = Some(Index(number()?)),
            "applied" => self.applied = Index(number()?),
            _ => return Err(format!("`{name}` is not a part of a state: term, vote, log, snapshot, first, applied")),
        }
        if name == "vote" && self.hard_state.voted_for.is_none() && value != "-" {
            return Err(format!("vote: `{value}` is not a server"));
        }
        Ok(())
    }

    /// Its whole log, before anything was forgotten. The same entry is the same command everywhere.
    pub(crate) fn entries(&self) -> Wrong<Entries> {
        let entries = (1_u64..).zip(&self.terms).map(|(index, &term)| {
            // Too short to be a client's.
            let command = Bytes::from(format!("{:x}", (index ^ term.0) % 256));
            Entry { term, payload: Payload::Command(command) }
        });
        Entries::from_vec(Index(1), entries.collect()).map_err(|error| format!("log: {error}"))
    }

    /// What a disk has to write to have it.
    pub(crate) fn writes(&self, members: &SnapshotMeta) -> Wrong<[Write; 2]> {
        let entries = self.entries()?;
        let last = entries.iter().map(|(id, _)| id).find(|id| id.index == self.snapshot);
        if last.is_none() && self.snapshot > Index(0) {
            return Err(format!("snapshot={}, but the log ends before it", self.snapshot));
        }
        let compacted = last.map(|last| SnapshotWrite::Compacted {
            snapshot: SnapshotMeta { last, ..members.clone() },
            first: self.first.unwrap_or(last.index.next()),
        });
        let write =
            |hard_state, snapshot, entries| Write { id: WriteId::from_number(0), hard_state, snapshot, entries };
        Ok([write(Some(self.hard_state), None, entries), write(None, compacted, Entries::new())])
    }
}
