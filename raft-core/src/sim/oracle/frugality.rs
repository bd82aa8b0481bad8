//! A cluster does not talk for its own sake: what is done is in proportion to what is asked. A storm of messages that feeds
//! itself would else look like a busy day.

use std::format;

use crate::sim::violation::{Invariant, Verdict, ensure};

/// More steps than this in one tick, and the servers talk for the sake of talking; but for what they do about entries.
const TICK_STEPS_MAX: u64 = 3000;

/// For each entry that a server writes: it comes, is durable, is acknowledged, committed and applied, some of it twice. With
/// limits of one and a network that takes no time, a long log is written so within a tick.
const ENTRY_STEPS_MAX: u64 = 8;

pub(crate) struct Frugality {
    tick: u64,
    /// The tick must be over before there are more steps than this.
    steps_max: u64,
}

impl Default for Frugality {
    fn default() -> Frugality {
        Frugality { tick: 0, steps_max: TICK_STEPS_MAX }
    }
}

impl Frugality {
    /// So many steps have been taken when `tick` begins, or goes on.
    pub(crate) fn tick(&mut self, tick: u64, steps: u64) {
        if tick > self.tick {
            *self = Frugality { tick, steps_max: steps + TICK_STEPS_MAX };
        }
    }

    /// A server writes so many entries: that takes some steps.
    pub(crate) fn writes(&mut self, entries: u64) {
        self.steps_max += entries * ENTRY_STEPS_MAX;
    }

    /// So many steps have been taken.
    pub(crate) fn stepped(&self, steps: u64) -> Verdict {
        ensure(steps <= self.steps_max, Invariant::Frugality, || {
            format!("more than {TICK_STEPS_MAX} steps in one tick besides those for entries")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talk_without_end_is_found() {
        let mut frugality = Frugality::default();
        assert!(frugality.stepped(3000).is_ok());
        assert_eq!(frugality.stepped(3001).unwrap_err().invariant, Invariant::Frugality);
        frugality.writes(10);
        assert!(frugality.stepped(3080).is_ok() && frugality.stepped(3081).is_err());
        frugality.tick(0, 3080);
        assert!(frugality.stepped(3081).is_err(), "the same tick");
        frugality.tick(1, 3080);
        assert!(frugality.stepped(6080).is_ok() && frugality.stepped(6081).is_err());
    }
}
