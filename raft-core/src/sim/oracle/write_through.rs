//! What Figure 2 calls persistent (currentTerm, votedFor, log) is on its way to the disk when the step that changed it
//! ends: a server that knows what it never wrote will forget it.

use std::format;

use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

/// All actions of a step have been carried out.
pub(crate) fn settled(server: &Server) -> Verdict {
    let (seen, image) = (&server.seen, &server.disk.written);
    let same = seen.hard_state == image.hard_state && seen.last == image.last() && seen.snapshot == image.snapshot.last;
    ensure(same, Invariant::WriteThrough, || {
        let (last, snapshot) = (image.last(), image.snapshot.last);
        format!("is {seen:?}, but wrote {:?}, a log through {last}, a snapshot at {snapshot}", image.hard_state)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader};
    use super::*;

    #[test]
    fn what_is_known_and_never_written_is_found() {
        let server = leader();
        assert_eq!(found(settled(&server)), None);
        let changes: [fn(&mut Server); 3] = [
            |server| server.seen.hard_state.term = crate::Term(2),
            |server| server.seen.last = crate::EntryId::new(1, 1),
            |server| server.seen.snapshot = crate::EntryId::new(1, 1),
        ];
        for change in changes {
            let mut server = leader();
            change(&mut server);
            assert_eq!(found(settled(&server)), Some(Invariant::WriteThrough));
        }
    }
}
