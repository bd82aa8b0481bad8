//! Log Matching (§5.3, Figure 3): if two logs contain an entry with the same index and term, then the logs are identical
//! in all entries up through it.
//!
//! By induction this says no more than: an (index, term) always has the same payload and always follows the same term. So
//! each entry is checked once for each server, when it is written.

use std::format;
use std::vec::Vec;

use smallvec::SmallVec;

use crate::sim::digest::Digest;
use crate::sim::disk::Image;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Term, Write};

#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    term: Term,
    payload: Digest,
    /// The term of the entry before it.
    follows: Term,
}

#[derive(Default)]
pub(crate) struct LogMatching {
    /// For each index, the entries that ever stood there.
    known: Vec<SmallVec<[Known; 2]>>,
}

impl LogMatching {
    /// A server whose log is `image` will write `write`.
    pub(crate) fn writing(&mut self, image: &Image, write: &Write) -> Verdict {
        let Some(first) = write.entries.first() else { return Ok(()) };
        let fits = first.index <= image.last().index.next();
        ensure(fits, Invariant::LogMatching, || format!("{write} leaves a gap behind {}", image.last()))?;
        let mut follows = image.term_at(first.index.prev());
        for (id, payload) in write.entries.iter() {
            let place = usize::try_from(id.index.0).unwrap_or(usize::MAX);
            if self.known.len() <= place {
                self.known.resize(place + 1, SmallVec::new());
            }
            let payload = Digest::of_payload(payload);
            let earlier = self.known[place].iter().find(|known| known.term == id.term);
            match (earlier, follows) {
                (Some(known), Some(follows)) => {
                    let now = Known { term: id.term, payload, follows };
                    ensure(*known == now, Invariant::LogMatching, || {
                        let (then, now) = (known.follows, now.follows);
                        format!("the entry {id} follows an entry of term {then} or {now}, or has two payloads")
                    })?;
                }
                (None, Some(follows)) => self.known[place].push(Known { term: id.term, payload, follows }),
                (_, None) => {}
            }
            follows = Some(id.term);
        }
        Ok(())
    }
}
