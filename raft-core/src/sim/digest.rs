//! A running digest: of a trace, of a state machine's history, of a payload. Cheap and good enough to tell apart, no more.

use crate::Payload;
use crate::fingerprint::Fingerprint;

/// Words folded into one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    #[must_use]
    pub(crate) fn with(self, word: u64) -> Digest {
        let mixed = (self.0.rotate_left(25) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Digest(mixed ^ (mixed >> 32))
    }

    pub(crate) fn fold(&mut self, word: u64) {
        *self = self.with(word);
    }

    pub(crate) fn of_payload(payload: &Payload) -> Digest {
        match payload {
            Payload::Noop => Digest(1),
            Payload::Command(command) => {
                let start = Digest(2).with(command.len() as u64);
                command.chunks(8).fold(start, |digest, chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    digest.with(u64::from_le_bytes(word))
                })
            }
            Payload::Membership(membership) => {
                let mut print = Fingerprint::new(&[]);
                membership.fingerprint(&mut print);
                Digest(3).with(u64::try_from(print.finish() >> 64).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Membership, NodeId};

    /// The same members in other parts are another configuration.
    #[test]
    fn configurations_of_the_same_members_are_told_apart() {
        let digest = |voters: &[u64], outgoing: &[u64], learners: &[u64]| {
            let [voters, outgoing, learners] = [voters, outgoing, learners].map(|ids| ids.iter().map(|id| NodeId(*id)));
            Digest::of_payload(&Payload::Membership(Membership::joint(voters, outgoing, learners).into()))
        };
        let all = [
            digest(&[1, 2, 3], &[], &[]),
            digest(&[1, 2], &[3], &[]),
            digest(&[1, 2], &[1, 2, 3], &[]),
            digest(&[1, 2], &[], &[3]),
            digest(&[3], &[1, 2], &[]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
        assert_eq!(digest(&[2, 1], &[3], &[]), digest(&[1, 2], &[3], &[]));
    }
}
