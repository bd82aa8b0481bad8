//! The log beside its naive twin: the same operations on a plain list, and after each every answer compared.
//!
//! Reading order: `twin` (the list), this file (the comparison), `recorded` (the operations of a script's server).

mod recorded;
mod twin;

use std::fmt::Debug;
use std::format;
use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::log::{Fit, Log, RUNS_MAX};
use crate::{Entries, Entry, EntryId, Index, Payload, Restored, SnapshotMeta, Term};

use twin::{Placed, Twin, bytes_of};

/// A longer log is not made: each operation is followed by questions about all of it.
const ENTRIES_MAX: usize = 50;

/// An entry without its place: its term, and how many bytes its command has. Without any it is a no-op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// Not below the term before it: it is lifted.
    pub term: Term,
    /// The size of the command.
    pub bytes: u8,
}

/// Something that is done to a log. What no caller may ask for, like compaction of what is not there, is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogOperation {
    /// A leader's segment arrives: how it fits, and from the first new entry on it replaces the log.
    Receive {
        /// The entry before the segment, as its leader has it.
        prev: EntryId,
        /// The segment.
        entries: Vec<Sketch>,
    },
    /// The log goes on.
    Append {
        /// With these.
        entries: Vec<Sketch>,
    },
    /// Everything from an entry on is dropped.
    Truncate {
        /// From here.
        from: Index,
    },
    /// Everything through an entry is forgotten.
    Compact {
        /// Through here.
        index: Index,
    },
    /// A snapshot replaces everything.
    Reset {
        /// Its last entry.
        base: EntryId,
    },
    /// A part is asked for, within limits.
    Slice {
        /// Its first entry.
        from: Index,
        /// Its last one.
        to: Index,
        /// So many at most.
        count: u64,
        /// So many bytes at most.
        bytes: u64,
        /// For a follower that is behind.
        merged: bool,
    },
    /// The oldest entries leave memory.
    Evict {
        /// At most through here.
        through: Index,
        /// No more than needed, so that so many bytes stay.
        bytes: u64,
    },
    /// The server starts anew, with the newest entries in memory alone.
    Restart {
        /// Of so many bytes at most.
        bytes: u64,
    },
}

/// Operations as bytes, one behind the other.
#[must_use]
pub fn encode_log_operations(operations: &[LogOperation]) -> Vec<u8> {
    let bytes = operations.iter().map(|operation| postcard::to_allocvec(operation).unwrap_or_default());
    bytes.collect::<Vec<_>>().concat()
}

/// All operations in `bytes`. What makes none is skipped, so that any bytes make some.
#[must_use]
pub fn decode_log_operations(mut bytes: &[u8]) -> Vec<LogOperation> {
    let mut operations = Vec::new();
    while !bytes.is_empty() {
        match postcard::take_from_bytes(bytes) {
            Ok((operation, rest)) => {
                operations.push(operation);
                bytes = rest;
            }
            Err(_) => bytes = &bytes[1..],
        }
    }
    operations
}

/// Do all of this to a log and to its twin.
///
/// # Errors
/// Says after which operation which answers differ.
pub fn check_log(operations: &[LogOperation]) -> Result<(), String> {
    let mut pair = Pair { log: Log::new(EntryId::ZERO), twin: Twin::default(), made: 0 };
    for (number, operation) in operations.iter().enumerate() {
        let agreed = pair.carry_out(operation).and_then(|()| pair.compare());
        agreed.map_err(|difference| format!("after operation {number}, {operation:?}: {difference}"))?;
    }
    Ok(())
}

fn same<T: PartialEq + Debug>(what: impl FnOnce() -> String, log: &T, twin: &T) -> Result<(), String> {
    if log == twin { Ok(()) } else { Err(format!("{} is {log:?}, and the twin says {twin:?}", what())) }
}

struct Pair {
    log: Log,
    twin: Twin,
    /// How many entries were ever made: no two are the same.
    made: u64,
}

impl Pair {
    /// Entries that follow `prev`, as a plain list. Nothing, if no log could hold them.
    fn segment(&mut self, prev: EntryId, sketches: &[Sketch]) -> Vec<Placed> {
        let mut last = prev;
        let mut segment = Vec::new();
        for Sketch { term, bytes } in sketches.iter().take(ENTRIES_MAX) {
            last = EntryId { term: (*term).max(last.term).max(Term(1)), index: last.index.next() };
            self.made += 1;
            let command = self.made.to_le_bytes().into_iter().cycle().take(usize::from(*bytes));
            let payload = if *bytes == 0 { Payload::Noop } else { Payload::Command(command.collect()) };
            segment.push((last, payload));
        }
        if last.is_possible() { segment } else { Vec::new() }
    }

    fn append(&mut self, entries: Entries, segment: &[Placed]) {
        if self.twin.entries.len() + segment.len() <= ENTRIES_MAX {
            self.log.append(entries);
            self.twin.entries.extend_from_slice(segment);
        }
    }

    fn truncate(&mut self, from: Index) {
        if from > self.twin.base.index {
            self.log.truncate(from);
            self.twin.truncate(from);
        }
    }

    fn carry_out(&mut self, operation: &LogOperation) -> Result<(), String> {
        match *operation {
            LogOperation::Receive { prev, ref entries } if prev.is_possible() => self.receive(prev, entries)?,
            LogOperation::Append { ref entries } => {
                let segment = self.segment(self.twin.last(), entries);
                self.append(entries_of(&segment)?, &segment);
            }
            LogOperation::Truncate { from } => self.truncate(from),
            LogOperation::Compact { index } => {
                self.log.compact(index);
                self.twin.compact(index);
            }
            LogOperation::Reset { base } if base.is_possible() => {
                self.log.reset(base);
                self.twin = Twin { base, ..Twin::default() };
            }
            LogOperation::Slice { from, to, count, bytes, merged } => {
                let slice = if merged {
                    self.log.slice_merged(from, to, count, bytes)
                } else {
                    self.log.slice(from, to, count, bytes)
                };
                compare_entries("the slice", &slice, &self.twin.slice(from, to, count, bytes))?;
                let runs = slice.runs().len();
                if merged && runs > RUNS_MAX {
                    return Err(format!("the slice is of {runs} runs"));
                }
            }
            LogOperation::Evict { through, bytes } => self.evict(through, bytes)?,
            LogOperation::Restart { bytes } => self.restart(bytes)?,
            LogOperation::Receive { .. } | LogOperation::Reset { .. } => {}
        }
        Ok(())
    }

    /// Whole runs leave memory, the oldest first: how long they are is the log's affair, but none leaves without need, and
    /// none stays that could leave.
    fn evict(&mut self, through: Index, bytes: u64) -> Result<(), String> {
        let before = self.log.resident_first();
        let all = self.log.starting_at(before);
        self.log.evict(through, bytes);
        let first = self.log.resident_first();
        let too_much = |index: Index| bytes_of(self.twin.after(index.prev())) > bytes;
        let whole = first == before || all.runs().iter().any(|run| run.last() == first.prev());
        let without_need =
            all.runs().iter().find(|run| run.last() < first && (run.last() > through || !too_much(run.first())));
        let left = all.runs().iter().find(|run| run.first() >= first);
        let too_few = left.is_some_and(|run| run.last() <= through && too_much(first));
        if !whole || without_need.is_some() || too_few {
            return Err(format!("evicts through {}", first.prev()));
        }
        self.twin.resident = first;
        Ok(())
    }

    /// A log that is made of its tail, and of what is to be known of all before it. Of that, bytes are known as a sum.
    fn restart(&mut self, bytes: u64) -> Result<(), String> {
        let snapshot = SnapshotMeta { last: self.twin.base, ..SnapshotMeta::default() };
        let restored = Restored { snapshot, entries: entries_of(&self.twin.entries)?, ..Restored::default() };
        let Restored { head, entries, .. } = restored.keep_tail(bytes);
        self.log = Log::evicted(self.twin.base, &head.terms, head.last, head.bytes);
        self.twin.resident = self.log.resident_first();
        self.twin.even_through = self.twin.resident.prev();
        let sum = self.log.bytes_after(self.twin.base.index);
        same(|| "the size of the evicted part".into(), &sum, &head.bytes)?;
        self.log.append(entries);
        let tail = bytes_of(self.twin.after(self.twin.resident.prev()));
        let one_more = self.twin.entries.iter().rev().find(|(id, _)| id.index < self.twin.resident);
        let too_much = one_more.is_none_or(|one| tail + bytes_of(std::slice::from_ref(one)) > bytes);
        if tail > bytes || !too_much { Err(format!("{tail} bytes are resident")) } else { Ok(()) }
    }

    fn receive(&mut self, prev: EntryId, sketches: &[Sketch]) -> Result<(), String> {
        let segment = self.segment(prev, sketches);
        let all = entries_of(&segment)?;
        let fit = self.log.fit(prev, &all);
        same(|| format!("how {all} fits behind {prev}"), &fit, &self.twin.fit(prev, &segment))?;
        let Fit::Matches { new_from: Some(from) } = fit else { return Ok(()) };
        let new: Vec<Placed> = segment.into_iter().filter(|(id, _)| id.index >= from).collect();
        // What differs at the base contradicts what is committed: nobody asks for more.
        if from > self.twin.base.index {
            self.truncate(from);
            let tail = all.starting_at(from);
            compare_entries("what is new", &tail, &new)?;
            self.append(tail, &new);
        }
        Ok(())
    }

    /// Ask both everything.
    fn compare(&self) -> Result<(), String> {
        let Pair { log, twin, .. } = self;
        let last = twin.last();
        same(|| "the base".into(), &log.base(), &twin.base)?;
        same(|| "the first index".into(), &log.first_index(), &twin.base.index.next())?;
        same(|| "the last entry".into(), &log.last(), &last)?;
        same(|| "the first resident entry".into(), &log.resident_first(), &twin.resident_first())?;
        let resident = bytes_of(twin.after(twin.resident_first().prev()));
        same(|| "what is resident".into(), &log.resident_bytes(), &resident)?;
        let around = twin.base.index.0.saturating_sub(2)..=last.index.0.saturating_add(2);
        for index in around.chain([0, Index::MAX.0, u64::MAX]).map(Index) {
            let term = twin.term_at(index);
            same(|| format!("the term at {index}"), &log.term_at(index), &term)?;
            let id = term.map(|term| EntryId { term, index });
            same(|| format!("the id at {index}"), &log.id_at(index), &id)?;
            same(|| format!("the entry at {index}"), &log.entry(index), &twin.entry(index))?;
            let bytes = bytes_of(twin.after(index));
            if index >= twin.even_through {
                same(|| format!("the bytes after {index}"), &log.bytes_after(index), &bytes)?;
            } else if log.bytes_after(index) < log.bytes_after(index.next()) {
                return Err(format!("less bytes are after {index} than after the next"));
            }
            let near = term.unwrap_or(last.term).0;
            for term in [0, near.saturating_sub(1), near, near + 1].map(Term) {
                let id = EntryId { term, index };
                same(|| format!("whether {id} is there"), &log.contains(id), &twin.contains(id))?;
                same(|| format!("the last at most {id}"), &log.last_at_most(id), &twin.last_at_most(id))?;
            }
        }
        let all = log.slice(log.resident_first(), Index::MAX, u64::MAX, u64::MAX);
        compare_entries("all that is resident", &all, twin.after(twin.resident_first().prev()))?;
        self.compare_with_new(&all)
    }

    /// A log that was made at once is the same, and keeps no more alive than twice what it holds; but for its first run,
    /// which may be the rest of a longer one.
    fn compare_with_new(&self, all: &Entries) -> Result<(), String> {
        let mut new = Log::new(self.twin.base);
        let first = self.twin.resident_first();
        let whole = entries_of(&self.twin.entries)?;
        new.append(whole.clone().through(first.prev()));
        new.evict(first.prev(), 0);
        new.append(whole.starting_at(first));
        let print = |log: &Log| {
            let mut print = Fingerprint::new(&[]);
            log.fingerprint(&mut print);
            print.finish()
        };
        same(|| "the fingerprint".into(), &print(&self.log), &print(&new))?;
        match all.runs().iter().skip(1).find(|run| run.bytes_kept_alive() > 2 * run.bytes) {
            Some(run) => Err(format!("{} bytes at {} keep {} alive", run.bytes, run.first(), run.bytes_kept_alive())),
            None => Ok(()),
        }
    }
}

fn entries_of(list: &[Placed]) -> Result<Entries, String> {
    let Some((first, _)) = list.first() else { return Ok(Entries::new()) };
    let entries = list.iter().map(|(id, payload)| Entry { term: id.term, payload: payload.clone() });
    Entries::from_vec(first.index, entries.collect()).map_err(|error| format!("{error}"))
}

fn compare_entries(what: &str, entries: &Entries, twin: &[Placed]) -> Result<(), String> {
    let list = |entries: &Entries| entries.iter().map(|(id, payload)| (id, payload.clone())).collect::<Vec<_>>();
    same(|| what.into(), &list(entries), &twin.to_vec())?;
    same(|| format!("the length of {what}"), &entries.len(), &(twin.len() as u64))?;
    same(|| format!("the size of {what}"), &entries.bytes(), &bytes_of(twin))?;
    same(|| format!("the start of {what}"), &entries.first(), &twin.first().map(|(id, _)| *id))?;
    same(|| format!("the end of {what}"), &entries.last(), &twin.last().map(|(id, _)| *id))?;
    let slices = entries.slices().flat_map(|(first, slice)| {
        (first.0..)
            .zip(slice)
            .map(|(index, entry)| (EntryId { term: entry.term, index: Index(index) }, entry.payload.clone()))
    });
    same(|| format!("what the slices of {what} hold"), &slices.collect::<Vec<_>>(), &twin.to_vec())?;
    let merged = entries.merged().map(|run| list(&Entries::one(run))).unwrap_or_default();
    same(|| format!("{what}, merged,"), &merged, &twin.to_vec())?;
    let from = twin.get(twin.len() / 2).map_or(Index(0), |(id, _)| id.index);
    let tail: Vec<Placed> = twin.iter().filter(|(id, _)| id.index >= from).cloned().collect();
    same(|| format!("{what} from {from} on"), &list(&entries.clone().starting_at(from)), &tail)
}
