//! Whether this server has a vote that counts, and whether it may lead (§6, thesis §4.2.2): what the configurations in its log
//! say of it and of its disk.

use crate::chores::Chores;
use crate::membership::Membership;
use crate::server::Server;

impl Server {
    /// Another configuration may be in force.
    pub(crate) fn members_changed(&mut self) {
        self.counts_itself = self.is_counted_voter(self.membership());
        self.chores.note(Chores::CHANGE);
    }

    fn is_counted_voter(&self, membership: &Membership) -> bool {
        membership.member(self.id()).is_some_and(|member| member.votes() && member.counts(self.incarnation))
    }

    /// Whether it may campaign and lead. A server that lost its vote with the newest configuration may do so until it knows
    /// that one to be committed: it may be the only one that holds it (thesis §4.2.2).
    pub(crate) fn may_lead(&self) -> bool {
        let unsure = self.history.current_index() > self.commit && !self.membership().is_voter(self.id());
        self.counts_itself || unsure && self.history.previous().is_some_and(|before| self.is_counted_voter(before))
    }
}
