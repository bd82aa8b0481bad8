//! Terms never fall within a log (§5.3): an entry's term is no less than that of the entry before it, and no more than its
//! server's. The election restriction compares last terms because of it (§5.4.1).

use std::format;

use crate::sim::disk::Image;
use crate::sim::violation::{Invariant, Verdict, ensure};
use crate::{Term, Write};

/// A server whose log is `image`, and whose term is `current`, will write `write`.
pub(crate) fn writing(image: &Image, current: Term, write: &Write) -> Verdict {
    let Some(first) = write.entries.first() else { return Ok(()) };
    let mut before = image.term_at(first.index.prev()).unwrap_or_default();
    for (id, _) in write.entries.iter() {
        ensure(before <= id.term && id.term <= current, Invariant::TermOrder, || {
            format!("writes {id} in term {current} behind an entry of term {before}")
        })?;
        before = id.term;
    }
    Ok(())
}

/// A server starts from `image`.
pub(crate) fn started(image: &Image) -> Verdict {
    let (last, current) = (image.last(), image.hard_state.term);
    ensure(last.term <= current, Invariant::TermOrder, || format!("starts in term {current} with a log through {last}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, meta, write};
    use super::*;
    use crate::HardState;

    #[test]
    fn a_term_that_falls_and_one_that_is_not_yet_are_found() {
        let mut image = Image::new(meta(0, 0));
        image.take(&write(1, &[3]));
        for (term, expected) in [(3, None), (4, None), (2, Some(Invariant::TermOrder)), (5, Some(Invariant::TermOrder))]
        {
            assert_eq!(found(writing(&image, Term(4), &write(2, &[term]))), expected);
        }
        assert!(started(&image).is_err());
        image.hard_state = HardState { term: Term(3), voted_for: None };
        assert!(started(&image).is_ok());
    }
}
