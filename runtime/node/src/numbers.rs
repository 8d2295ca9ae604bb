//! Numbers of what this node asks of others.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that no earlier life of the node has used: an answer to a question of
/// before its restart must not pass for one to a question of now.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    /// Bits of a number within one life: a trillion questions.
    const BITS: u32 = 40;

    /// The numbers of the life with this boot counter.
    pub(crate) fn of_life(boot: u64) -> Self {
        Self(AtomicU64::new(boot << Self::BITS))
    }

    /// The next one.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lives_share_no_number() {
        let (first, second) = (Numbers::of_life(1), Numbers::of_life(2));
        let of_first: Vec<u64> = (0..3).map(|_| first.next()).collect();
        assert_eq!(of_first, [of_first[0], of_first[0] + 1, of_first[0] + 2]);
        assert!(second.next() > of_first[2] + 1_000_000_000);
    }
}
