//! Who is recorded and answers is counted: a leader that goes on about another disk of its name loses a voter that is there.

use std::format;
use std::vec::Vec;

use super::ears::Reply;
use crate::NodeId;
use crate::sim::server::Server;
use crate::sim::violation::{Invariant, Verdict, ensure};

#[derive(Default)]
pub(crate) struct RecordedDiskCounts {
    /// Whose log went back, as leaders said in which life: these are counted no more.
    regressed: Vec<(usize, u32, NodeId)>,
}

impl RecordedDiskCounts {
    /// The leader in `slot` says that the log of a follower went back.
    pub(crate) fn regressed(&mut self, slot: usize, life: u32, peer: NodeId) {
        self.regressed.push((slot, life, peer));
    }

    /// The leader in `slot` was given this reply, and leads on.
    pub(crate) fn answered(&self, slot: usize, server: &Server, reply: Reply) -> Verdict {
        let Some(raft) = &server.raft else { return Ok(()) };
        let Reply { from, is_conflict } = reply;
        let counts = raft.status().membership().member(from.id).is_some_and(|member| member.counts(from.incarnation));
        if !counts || is_conflict || self.regressed.contains(&(slot, server.life, from.id)) {
            return Ok(());
        }
        let follower = raft.status().followers().find(|follower| follower.id == from.id);
        let sound = follower.is_some_and(|follower| follower.disk == from.incarnation && follower.counted);
        ensure(sound, Invariant::RecordedDiskCounts, || {
            format!("{from} counts and answers, and is known as {follower:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{advance, found, leader};
    use super::*;
    use crate::{Incarnation, ServerId};

    #[test]
    fn who_answers_and_is_not_counted_is_found() {
        let mut server = leader();
        advance(&mut server, 10, &[2]);
        let mut oracle = RecordedDiskCounts::default();
        let reply = |id, disk| {
            let from = ServerId { id: NodeId(id), incarnation: disk };
            Reply { from, is_conflict: false }
        };
        let broken = Some(Invariant::RecordedDiskCounts);
        assert_eq!(found(oracle.answered(0, &server, reply(2, Incarnation(2)))), None);
        assert_eq!(found(oracle.answered(0, &server, reply(3, Incarnation(3)))), broken, "as if it had been heard");
        assert_eq!(
            found(oracle.answered(0, &server, reply(2, Incarnation(9)))),
            broken,
            "as if on another founder's disk"
        );
        assert_eq!(found(oracle.answered(0, &server, reply(2, Incarnation::joined(9)))), None, "it does not count");
        assert_eq!(found(oracle.answered(0, &server, reply(9, Incarnation(9)))), None, "no member");
        oracle.regressed(0, server.life, NodeId(3));
        assert_eq!(found(oracle.answered(0, &server, reply(3, Incarnation(3)))), None, "its log went back");
    }
}
