//! Seeded random numbers.

use phoenix_core::NodeId;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one pair, so that pairs do not depend on each other's traffic.
    pub(super) fn of_pair(seed: u64, low: NodeId, high: NodeId) -> Self {
        let pair = (u64::from(low.0) << 32) | u64::from(high.0);
        Self(Self(seed ^ pair).next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn one_in(&mut self, many: Option<u32>) -> bool {
        many.is_some_and(|many| self.below(u64::from(many)) == 0)
    }
}
