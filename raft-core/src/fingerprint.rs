//! What tells two states of a server apart, for explorers: feature `sim`.
//!
//! Two servers of one [`Config`](crate::Config) with the same fingerprint answer every sequence of events alike, but for
//! what the dice say. Each room writes down its own part, next to its fields, and names there what it leaves out.

use crate::types::{EntryId, Index, NodeId, Term};

/// Words mixed into 128 bits. All words are mixed in full, so that sums of fingerprints are as good as fingerprints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fingerprint<'a> {
    lanes: [u64; 2],
    /// What each server is called, in order of the servers' ids; others are called what they are.
    names: &'a [(NodeId, u64)],
}

impl<'a> Fingerprint<'a> {
    pub(crate) fn new(names: &'a [(NodeId, u64)]) -> Fingerprint<'a> {
        Fingerprint { lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344], names }
    }

    pub(crate) fn word(&mut self, word: u64) {
        let [left, right] = self.lanes;
        self.lanes = [
            avalanche(left ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15)),
            avalanche(
                right.rotate_left(23).wrapping_add(word).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ 0x5851_f42d_4c95_7f2d,
            ),
        ];
    }

    pub(crate) fn words(&mut self, words: impl IntoIterator<Item = u64>) {
        words.into_iter().for_each(|word| self.word(word));
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.word(u64::from(flag));
    }

    pub(crate) fn index(&mut self, Index(index): Index) {
        self.word(index);
    }

    pub(crate) fn term(&mut self, Term(term): Term) {
        self.word(term);
    }

    pub(crate) fn entry_id(&mut self, id: EntryId) {
        self.term(id.term);
        self.index(id.index);
    }

    /// A server, by its name.
    pub(crate) fn node(&mut self, id: NodeId) {
        self.word(self.name(id));
    }

    pub(crate) fn maybe_node(&mut self, id: Option<NodeId>) {
        self.flag(id.is_some());
        if let Some(id) = id {
            self.node(id);
        }
    }

    /// Parts whose order means nothing.
    pub(crate) fn set<T>(&mut self, parts: impl IntoIterator<Item = T>, mut part: impl FnMut(&mut Self, T)) {
        let mut sum = 0u128;
        for one in parts {
            let mut print = Fingerprint::new(self.names);
            part(&mut print, one);
            sum = sum.wrapping_add(print.finish());
        }
        self.wide(sum);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn finish(&self) -> u128 {
        let [left, right] = self.lanes;
        u128::from(avalanche(left ^ right.rotate_left(32))) << 64 | u128::from(avalanche(right.wrapping_add(left)))
    }

    fn name(&self, id: NodeId) -> u64 {
        self.names.iter().find(|(known, _)| *known == id).map_or(id.0, |(_, name)| *name)
    }

    pub(crate) fn wide(&mut self, wide: u128) {
        let [low, high] = [wide & u128::from(u64::MAX), wide >> 64];
        for half in [low, high] {
            self.word(u64::try_from(half).unwrap_or(0));
        }
    }
}

/// Every bit of the answer depends on every bit of the question (the finish of SplitMix64).
fn avalanche(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
