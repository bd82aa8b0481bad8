//! What waits to be looked at when a step settles: one test sends a step past all that is rare.

/// A set of rare duties. A rule that leaves something undone notes its duty here, and takes it out when all is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chores(u8);

impl Chores {
    /// A change of the membership, a member to be promoted, recorded or seen off.
    pub(crate) const CHANGE: Chores = Chores(1);
    /// A transfer of leadership.
    pub(crate) const TRANSFER: Chores = Chores(2);
    /// Reads that wait.
    pub(crate) const READ: Chores = Chores(4);

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn contains(self, duty: Chores) -> bool {
        self.0 & duty.0 != 0
    }

    pub(crate) fn note(&mut self, duty: Chores) {
        self.0 |= duty.0;
    }

    pub(crate) fn done(&mut self, duty: Chores) {
        self.0 &= !duty.0;
    }
}
