//! Keeps a given number of bytes that no compression makes smaller, for the
//! bench of what a migration costs by the memory an agent has changed.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Blob {
    words: Vec<u64>,
    asked: u64,
}

#[agent]
impl Blob {
    /// Keeps so many bytes, rounded up to eight, made from `seed`.
    fn fill(&mut self, bytes: u64, seed: u64) -> u64 {
        let words = bytes.div_ceil(8);
        self.words = (0..words).map(|i| mixed(seed, i)).collect();
        words * 8
    }

    /// Changes every byte.
    fn change(&mut self, seed: u64) {
        for (i, word) in (0..).zip(&mut self.words) {
            *word ^= mixed(seed, i);
        }
    }

    /// A sum over every byte, by which a test sees that all of them came along.
    fn digest(&self) -> u64 {
        let fold = |sum: u64, word: &u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3);
        // Halved, so that every JSON reader can hold it.
        self.words.iter().fold(0xcbf2_9ce4_8422_2325, fold) >> 11
    }

    /// How often it was asked this: a message that costs nothing.
    fn ping(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }
}

/// Word `i` of a stream, by the mixer of SplitMix64.
fn mixed(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
