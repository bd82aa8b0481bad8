//! One request for entries that are on disk alone.

use crate::action::FetchId;
#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::types::Index;

/// What became of the newest request for one purpose: for a follower, or for the application. There is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// It has not been answered. An answer counts only as long as `from` is what is needed next.
    UnderWay {
        id: FetchId,
        from: Index,
        to: Index,
        /// When it was made.
        since: u64,
    },
    /// It brought nothing that was of use. The next one waits for a heartbeat, or for a tick if it is the application's.
    Failed,
}

impl Fetch {
    pub(crate) fn id(self) -> Option<FetchId> {
        if let Fetch::UnderWay { id, .. } = self { Some(id) } else { None }
    }

    /// Whether there may be another one, when what begins at `next` is needed: this one failed, is about something else,
    /// or has not been answered for `patience` ticks.
    pub(crate) fn is_over(self, next: Index, now: u64, patience: u64) -> bool {
        match self {
            Fetch::UnderWay { from, since, .. } => from != next || now - since >= patience,
            Fetch::Failed => true,
        }
    }

    /// Which of all there ever were it is means nothing.
    #[cfg(feature = "sim")]
    pub(crate) fn fingerprint(self, print: &mut Fingerprint<'_>, now: u64) {
        match self {
            Fetch::UnderWay { id: _, from, to, since } => {
                print.words([0, from.0, to.0, now.wrapping_sub(since)]);
            }
            Fetch::Failed => print.word(1),
        }
    }
}
