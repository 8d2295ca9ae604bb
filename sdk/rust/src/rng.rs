//! Randomness a replay repeats.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A small random number generator: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
///
/// [`Context::rng`](crate::Context::rng) gives one seeded by agent and turn, so
/// a replay draws the same numbers. It may be kept in the agent's state. Not for
/// secrets: whoever knows the agent's seed knows every number.
///
/// ```
/// use phoenix_sdk::Rng;
///
/// let mut rng = Rng::new(7);
/// assert!((1..7).contains(&rng.range(1..7)));
/// assert!(rng.pick(&["heads", "tails"]).is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng(u64);

/// The golden ratio's fraction, SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finisher: every bit of the input moves every bit of the output.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `draw`-th random number of a turn.
pub(crate) fn of_turn(seed: u64, turn: u64, draw: u64) -> u64 {
    let start = mix(seed ^ mix(turn.wrapping_add(STEP)));
    mix(start.wrapping_add(draw.wrapping_add(1).wrapping_mul(STEP)))
}

impl Rng {
    /// A generator that gives the same numbers for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number of the range, each equally likely; the start of an empty range.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        let Some(width) = range
            .end
            .checked_sub(range.start)
            .filter(|width| *width > 0)
        else {
            return range.start;
        };
        // Lemire's multiplication, with the rejection that makes it exact.
        let reject = width.wrapping_neg() % width;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(width);
            #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
            let low = product as u64;
            if low >= reject {
                let high = (product >> 64) as u64;
                return range.start + high;
            }
        }
    }

    /// A number from 0 up to, not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `true` with the given probability, 0 to 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`, or `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.range(0..items.len() as u64);
        items.get(usize::try_from(at).ok()?)
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let at = self.range(0..end as u64 + 1);
            items.swap(end, usize::try_from(at).unwrap_or(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn stays_in_the_range_and_reaches_its_ends() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 6];
        for _ in 0..200 {
            let face = rng.range(1..7);
            seen[usize::try_from(face).unwrap() - 1] = true;
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(rng.range(5..5), 5);
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&rng.unit())));
        assert!(!rng.chance(0.0));
        assert!(rng.chance(1.0));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Rng::new(3).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
        assert_eq!(Rng::new(3).pick::<u8>(&[]), None);
    }
}
