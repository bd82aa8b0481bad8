//! Log Matching (§5.3): if two logs have an entry with the same index and term, they are the same through it. By induction:
//! an index and a term always have the same payload, behind the same term. Each entry is looked at when it is durable.

use std::collections::BTreeMap;

use raft_std_driver::raft_core::{Entries, EntryId, Index, Payload, SnapshotWrite, Term};

pub(crate) struct Logs {
    /// All entries that were ever durable anywhere, and the term before each, as far as that was to be seen.
    known: BTreeMap<EntryId, (Payload, Option<Term>)>,
    /// The terms of what each server has on its disk.
    terms: Vec<BTreeMap<Index, Term>>,
}

impl Logs {
    pub(crate) fn new(hosts: usize) -> Logs {
        Logs { known: BTreeMap::new(), terms: vec![BTreeMap::from([(Index(0), Term(0))]); hosts] }
    }

    /// A server starts, and this is on its disk.
    pub(crate) fn finds(&mut self, host: usize, snapshot: EntryId, entries: &Entries) -> Result<(), String> {
        self.terms[host] = BTreeMap::from([(snapshot.index, snapshot.term)]);
        self.stands(host, entries)
    }

    /// A server has made this durable.
    pub(crate) fn writes(
        &mut self,
        host: usize,
        snapshot: Option<&SnapshotWrite>,
        entries: &Entries,
    ) -> Result<(), String> {
        if let Some(SnapshotWrite::Installed { snapshot }) = snapshot {
            self.terms[host] = BTreeMap::from([(snapshot.last.index, snapshot.last.term)]);
        }
        let Some(first) = entries.first() else { return Ok(()) };
        let log = &mut self.terms[host];
        log.split_off(&first.index);
        if log.last_key_value().map(|(last, _)| last.0 + 1) != Some(first.index.0) {
            return Err(format!("logs: s{} leaves a gap before {first}", host + 1));
        }
        self.stands(host, entries)
    }

    fn stands(&mut self, host: usize, entries: &Entries) -> Result<(), String> {
        let log = &mut self.terms[host];
        for (id, payload) in entries.iter() {
            let follows = id.index.0.checked_sub(1).and_then(|before| log.get(&Index(before)).copied());
            log.insert(id.index, id.term);
            let (same, before) = self.known.entry(id).or_insert_with(|| (payload.clone(), follows));
            *before = before.or(follows);
            if same != payload || follows.is_some() && *before != follows {
                let (who, then, now) = (host + 1, (same, before), (payload, follows));
                return Err(format!(
                    "logs: {id} has the payload and the term before it {now:?} at s{who}, and had {then:?}"
                ));
            }
        }
        Ok(())
    }
}
