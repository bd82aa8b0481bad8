//! What a server has made durable it finds again: it never goes back to an earlier term, and gives one vote per term (§5.2).

use raft_std_driver::raft_core::HardState;

pub(crate) struct Promises(Vec<HardState>);

impl Promises {
    pub(crate) fn new(hosts: usize) -> Promises {
        Promises(vec![HardState::default(); hosts])
    }

    /// A server has made it durable, or finds it on its disk.
    pub(crate) fn stands(&mut self, host: usize, now: HardState) -> Result<(), String> {
        let before = std::mem::replace(&mut self.0[host], now);
        let kept = before.voted_for.is_none() || before.voted_for == now.voted_for;
        if now.term > before.term || now.term == before.term && kept {
            return Ok(());
        }
        Err(format!("promises: s{} had promised {before:?}, and now has {now:?}", host + 1))
    }
}
