//! What a snapshot stands for (§7). Its data never enters the core.

use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

#[cfg(feature = "sim")]
use crate::fingerprint::Fingerprint;
use crate::membership::Membership;
use crate::types::EntryId;

/// What a snapshot stands for (§7): everything through `last`, and who the members were there. The data itself never
/// enters the core.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot replaces.
    pub last: EntryId,
    /// The configuration in force at that entry.
    pub membership: Arc<Membership>,
}

impl fmt::Display for SnapshotMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.last, self.membership)
    }
}

#[cfg(feature = "sim")]
impl SnapshotMeta {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint<'_>) {
        let SnapshotMeta { last, membership } = self;
        print.entry_id(*last);
        membership.fingerprint(print);
    }
}
