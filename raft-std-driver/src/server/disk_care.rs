//! What the log's disk is asked for as time goes by, though no write needs it: to try again after a shortage, and to close the
//! log's end after a moment of idleness.

use std::time::{Duration, Instant};

use raft_core::{RoleKind, WriteId};

use super::jobs::LogJob;
use crate::storage::StorageErrorKind;

/// How long the server waits before it tries again to get room.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long nothing is written before the log's end is closed.
const IDLE_AFTER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct DiskCare {
    shortage: Option<(StorageErrorKind, Instant)>,
    /// Leadership was handed over in this shortage.
    handed_over: bool,
    /// The newest durable write, and when the core heard of it; none once the log's end is closed behind it.
    unclosed: Option<(WriteId, Instant)>,
}

impl DiskCare {
    /// The log cannot grow, or can again.
    pub(super) fn short(&mut self, what: Option<StorageErrorKind>, now: Instant) {
        self.shortage = what.map(|what| (what, now));
        self.handed_over &= what.is_some();
    }

    /// Whether a server in this role should hand leadership over, to one that may have room. Once in each shortage: if all are
    /// short, they do not pass it round for ever.
    pub(super) fn hands_over(&mut self, role: RoleKind) -> bool {
        let hands_over = self.shortage.is_some() && role == RoleKind::Leader && !self.handed_over;
        self.handed_over |= hands_over;
        hands_over
    }

    /// What the log cannot grow for.
    pub(super) fn shortage(&self) -> Option<StorageErrorKind> {
        self.shortage.map(|(what, _)| what)
    }

    pub(super) fn durable(&mut self, write: WriteId, now: Instant) {
        self.unclosed = Some((write, now));
    }

    /// When there is something to do.
    pub(super) fn due(&self, issued: Option<WriteId>) -> Option<Instant> {
        let again = self.shortage.and_then(|(_, since)| since.checked_add(RETRY_AFTER));
        let idle = self.unclosed.filter(|(write, _)| Some(*write) == issued);
        let close = idle.and_then(|(_, since)| since.checked_add(IDLE_AFTER));
        again.into_iter().chain(close).min()
    }

    /// What is to be done now. `issued` is the newest write that was given to the disk: as long as it is not durable, the disk
    /// is not idle.
    pub(super) fn work(&mut self, issued: Option<WriteId>, now: Instant) -> Option<LogJob> {
        let passed = |since: Instant, wait| now.saturating_duration_since(since) >= wait;
        if let Some((_, since)) = self.shortage.as_mut().filter(|(_, since)| passed(*since, RETRY_AFTER)) {
            *since = now;
            return Some(LogJob::TryAgain);
        }
        let idle = self.unclosed.take_if(|(write, since)| Some(*write) == issued && passed(*since, IDLE_AFTER));
        idle.map(|_| LogJob::CloseTail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn room_is_tried_for_again_and_again_until_there_is_some() {
        let (mut care, start) = (DiskCare::default(), Instant::now());
        assert!(care.due(None).is_none() && care.work(None, start).is_none());
        care.short(Some(StorageErrorKind::DiskFull), start);
        for turn in 1..4 {
            let due = start + RETRY_AFTER * turn;
            assert_eq!(care.due(None), Some(due));
            assert!(care.work(None, due - MS).is_none());
            assert!(matches!(care.work(None, due), Some(LogJob::TryAgain)));
            assert!(care.work(None, due).is_none());
        }
        care.short(None, start);
        assert!(care.due(None).is_none() && care.shortage().is_none());
    }

    #[test]
    fn leadership_is_handed_over_once_in_a_shortage() {
        let (mut care, now) = (DiskCare::default(), Instant::now());
        assert!(!care.hands_over(RoleKind::Leader));
        for _ in 0..2 {
            care.short(Some(StorageErrorKind::DiskFull), now);
            assert!(!care.hands_over(RoleKind::Follower) && care.hands_over(RoleKind::Leader));
            care.short(Some(StorageErrorKind::TooManyOpenFiles), now);
            assert!(!care.hands_over(RoleKind::Leader));
            care.short(None, now);
        }
    }

    #[test]
    fn an_idle_log_is_closed_once_behind_its_last_write() {
        let (mut care, start) = (DiskCare::default(), Instant::now());
        let [first, second] = [1, 2].map(WriteId::from_number);
        care.durable(first, start);
        assert!(care.due(Some(second)).is_none() && care.work(Some(second), start + IDLE_AFTER).is_none());
        care.durable(second, start + MS);
        assert_eq!(care.due(Some(second)), Some(start + MS + IDLE_AFTER));
        assert!(care.work(Some(second), start + IDLE_AFTER).is_none());
        assert!(matches!(care.work(Some(second), start + MS + IDLE_AFTER), Some(LogJob::CloseTail)));
        assert!(care.due(Some(second)).is_none() && care.work(Some(second), start + IDLE_AFTER * 9).is_none());
    }
}
