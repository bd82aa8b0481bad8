//! A running digest: of a trace, of a state machine's history, of a payload. Cheap and good enough to tell apart, no more.

use crate::Payload;

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
                let members = membership.members().iter();
                members.fold(Digest(3).with(membership.change().index.0), |digest, member| {
                    let standing = u64::from(member.votes()) << 1 | u64::from(member.outgoing);
                    digest.with(member.id.0).with(standing).with(member.disk.0)
                })
            }
        }
    }
}
