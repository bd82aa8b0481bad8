//! Random sequences of writes keep what a plain list would keep.

use quickcheck::QuickCheck;

use super::*;
use crate::storage::sim::Fate;

/// One random thing to do: what, and two numbers to choose by.
pub(super) type Op = (u8, u8, u8);

/// The write that an operation stands for in the state that the model is in.
fn write_for(model: &Model, (kind, a, b): Op) -> Write {
    let last = model.last();
    let term = last.term.0.max(1) + u64::from(a % 7 == 0);
    let command = vec![b; usize::from(b) * usize::from(1 + a % 3)];
    let commands = vec![&command[..]; 1 + usize::from(a % 4)];
    let snapshot = model.snapshot.last.index.0;
    match kind % 8 {
        0..=2 => append(last.index.0 + 1, term, &commands),
        3 => {
            let back = u64::from(b) % (last.index.0 - snapshot + 1);
            append(last.index.0 + 1 - back, term + 1, &commands)
        }
        4 => vote(model.hard_state.term.0.max(last.term.0) + u64::from(a % 2), u64::from(b)),
        5 | 6 if last.index.0 > snapshot => {
            let at = snapshot + 1 + u64::from(a) % (last.index.0 - snapshot);
            let first = model.first().0 + u64::from(b) % (at + 2 - model.first().0);
            compacted(EntryId { term: model.term_at(Index(at)), index: Index(at) }, first)
        }
        7 => {
            let end = EntryId::new(term, snapshot.max(last.index.0 / 2) + 1 + u64::from(a));
            let tail = entries(end.index.0 + 1, end.term.0, &commands[..usize::from(b % 3).min(commands.len())]);
            Write { entries: tail, ..installed(end) }
        }
        _ => vote(model.hard_state.term.0.max(last.term.0) + 1, 1),
    }
}

/// Several writes, as a disk thread would find them waiting.
pub(super) fn group(model: &Model, ops: &[Op]) -> Vec<Write> {
    let mut model = model.clone();
    let mut writes = Vec::new();
    for &op in ops {
        let write = write_for(&model, op);
        model.take(&write);
        writes.push(write);
    }
    writes
}

fn groups(ops: &[Op]) -> impl Iterator<Item = &[Op]> {
    ops.chunk_by(|_, next| next.1 % 3 == 0)
}

#[test]
fn segments_of_overwritten_entries_are_dropped() {
    for restarts in [false, true] {
        let mut session = Session::begun(400);
        for index in 1..9 {
            session.persist(&[append(index, 1, &[&[0; 90]])]).unwrap();
        }
        let old = session.segments();
        session.persist(&[append(3, 2, &[&[0; 300]])]).unwrap();
        if restarts {
            session.open().unwrap();
        }
        session.persist(&[compacted(EntryId::new(1, 2), 3)]).unwrap();
        assert!(old.len() > 2 && session.segments().iter().all(|segment| !old.contains(segment)), "{old:?}");
    }
}

#[test]
fn equals_a_plain_list() {
    #[allow(clippy::needless_pass_by_value, reason = "quickcheck gives values")]
    fn property(segment_bytes: u16, ops: Vec<Op>) {
        let mut session = Session::begun(u64::from(segment_bytes % 3000));
        for ops in groups(&ops) {
            let writes = group(&session.model, ops);
            session.persist(&writes).unwrap();
            if ops[0].2 % 3 == 0 {
                session.storage().close_tail().unwrap();
            }
            if ops[0].2 % 5 == 0 {
                session.open().unwrap();
            }
            session.reads_back(ops[0].1);
        }
        session.open().unwrap();
    }
    QuickCheck::new().tests(600).quickcheck(property as fn(u16, Vec<Op>));
}

#[test]
fn equals_a_plain_list_through_power_cuts() {
    #[allow(clippy::needless_pass_by_value, reason = "quickcheck gives values")]
    fn property(segment_bytes: u16, ops: Vec<Op>, cuts: Vec<(u8, u64)>) {
        let mut session = Session::begun(u64::from(segment_bytes % 3000));
        let mut cuts = cuts.into_iter();
        let mut next_cut = |disk: &SimDisk| match cuts.next() {
            Some((steps, seed)) => {
                disk.stop_after(u64::from(steps % 64));
                seed
            }
            None => 0,
        };
        let mut seed = next_cut(&session.disk);
        for ops in groups(&ops) {
            let writes = group(&session.model, ops);
            let closes = ops[0].2 % 3 == 0;
            if session.persist(&writes).is_ok() && (!closes || session.storage().close_tail().is_ok()) {
                continue;
            }
            session.storage = None;
            session.disk.power_cycle(Fate::Torn(seed));
            // Power may also go while a start is under way.
            seed = next_cut(&session.disk);
            while let Err(error) = session.open() {
                assert!(error.to_string().contains("no power"), "{error}");
                session.disk.power_cycle(Fate::Torn(seed));
                seed = next_cut(&session.disk);
            }
        }
        session.storage = None;
        session.disk.power_cycle(Fate::Lost);
        session.open().unwrap();
    }
    QuickCheck::new().tests(1500).quickcheck(property as fn(u16, Vec<Op>, Vec<(u8, u64)>));
}
