//! Random numbers from a seed, the same on every machine.

/// `SplitMix64`, by Steele, Lea and Flood: small and good enough to spread load.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator for `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Less than `bound`; 0 where that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// One of `from`.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        usize::try_from(self.below(from.len() as u64))
            .ok()
            .and_then(|index| from.get(index))
    }

    /// Nearly 0 to four times `mean`, and `mean` on average: the product of
    /// two even draws, so that short ones prevail.
    pub(super) fn around(&mut self, mean: u64) -> i64 {
        let (a, b) = (self.below(2 * mean), self.below(2_000));
        i64::try_from(a * b / 1_000).unwrap_or(i64::MAX)
    }

    /// Less than 2 to the `log2`, value k about 1/k as likely as 1: an even
    /// draw of the length in bits, then of the bits.
    pub(super) fn skewed(&mut self, log2: u32) -> u64 {
        let highest = (1 << self.below(u64::from(log2) + 1)) >> 1;
        highest + self.below(highest)
    }
}

/// Spreads `bits`: equal for equal ones, unlike for similar ones.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut random = Random::new(3);
        let mut sum = 0;
        for _ in 0..10_000 {
            assert!(random.skewed(5) < 32);
            assert!(random.below(7) < 7);
            sum += random.around(1_000);
        }
        assert!((900..1_100).contains(&(sum / 10_000)), "{sum}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
