//! A server comes back as its disk left it (Figure 2's persistent state; §7 for the snapshot), and asks its driver only
//! for what the driver has.

use std::format;

use crate::sim::machine::SnapshotFile;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, broken, ensure};
use crate::{RestoreError, SnapshotMeta};

/// `server` has just started.
pub(crate) fn started(server: &Server) -> Verdict {
    let (seen, image) = (&server.seen, &server.disk.durable);
    let applied = server.machine.kept.last.index;
    let same = seen.hard_state == image.hard_state
        && seen.last == image.last()
        && seen.snapshot == image.snapshot.last
        && seen.commit == applied.max(image.snapshot.last.index)
        && seen.handed_out >= applied;
    ensure(same, Invariant::Restart, || {
        let (hard_state, last, snapshot) = (image.hard_state, image.last(), image.snapshot.last);
        format!("starts as {seen:?} from {hard_state:?}, log through {last}, snapshot {snapshot}, applied {applied}")
    })
}

/// What its disk kept makes no server.
pub(crate) fn refused(error: &RestoreError) -> Verdict {
    broken(Invariant::Restart, format!("{error}"))
}

/// The driver is asked for the data of a snapshot.
pub(crate) fn file<'a>(server: &'a Server, meta: &SnapshotMeta) -> Verdict<&'a SnapshotFile> {
    match server.file(meta.last).filter(|file| file.meta == *meta) {
        Some(file) => Ok(file),
        None => broken(Invariant::Restart, format!("asks for the data of {meta}, which its driver lacks")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{found, leader, meta, write};
    use super::*;
    use crate::HardState;

    #[test]
    fn a_server_that_is_not_what_its_disk_kept_is_found() {
        let mut server = leader();
        assert_eq!(found(started(&server)), None);
        server.disk.durable.take(&write(1, &[1]));
        assert_eq!(found(started(&server)), Some(Invariant::Restart), "an entry was forgotten");
        let mut server = leader();
        server.disk.durable.hard_state = HardState::default();
        assert_eq!(found(started(&server)), Some(Invariant::Restart), "it knows a vote that was not kept");
        assert_eq!(found(file(&server, &meta(1, 1))), Some(Invariant::Restart), "a file that is not there");
        assert_eq!(found(refused(&RestoreError::NoIncarnation)), Some(Invariant::Restart));
    }
}
