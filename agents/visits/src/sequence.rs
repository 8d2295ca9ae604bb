//! Checking that numbers arrive once each and in order.

use serde::{Deserialize, Serialize};

/// Gaps that are remembered, so that a late number is told from a repeated
/// one. At the bound the oldest gap counts as lost for good.
const MAX_GAPS: usize = 64;

/// What did not come as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviations {
    /// Numbers that have not come although a greater one has.
    pub lost: u64,
    /// Numbers that came again.
    pub duplicated: u64,
    /// Numbers that came after a greater one.
    pub reordered: u64,
}

impl Deviations {
    /// Adds another sender's.
    pub fn add(&mut self, other: Deviations) {
        self.lost = self.lost.saturating_add(other.lost);
        self.duplicated = self.duplicated.saturating_add(other.duplicated);
        self.reordered = self.reordered.saturating_add(other.reordered);
    }
}

/// The numbers heard from one sender, who counts from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    highest: u64,
    /// Numbers below the highest that have not come: first and last of each gap.
    gaps: Vec<(u64, u64)>,
    forgotten: u64,
    duplicated: u64,
    reordered: u64,
}

impl Sequence {
    /// Notes that `n` has come.
    pub fn hear(&mut self, n: u64) {
        if n > self.highest {
            let first_missing = self.highest + 1;
            if n > first_missing {
                self.remember_gap(first_missing, n - 1);
            }
            self.highest = n;
        } else if let Some(index) = self.gaps.iter().position(|(a, b)| (*a..=*b).contains(&n)) {
            let (first, last) = self.gaps.remove(index);
            let parts = [(first, n - 1), (n + 1, last)];
            for (first, last) in parts.into_iter().rev().filter(|(a, b)| a <= b) {
                self.gaps.insert(index, (first, last));
            }
            self.forget_gaps();
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }

    /// What did not come as it should, so far.
    pub fn deviations(&self) -> Deviations {
        let missing: u64 = self.gaps.iter().map(|(a, b)| b - a + 1).sum();
        Deviations {
            lost: self.forgotten + missing,
            duplicated: self.duplicated,
            reordered: self.reordered,
        }
    }

    fn remember_gap(&mut self, first: u64, last: u64) {
        self.gaps.push((first, last));
        self.forget_gaps();
    }

    fn forget_gaps(&mut self) {
        while self.gaps.len() > MAX_GAPS {
            let (first, last) = self.gaps.remove(0);
            self.forgotten += last - first + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn heard(numbers: &[u64]) -> Deviations {
        let mut sequence = Sequence::default();
        for n in numbers {
            sequence.hear(*n);
        }
        sequence.deviations()
    }

    fn deviations(lost: u64, duplicated: u64, reordered: u64) -> Deviations {
        Deviations {
            lost,
            duplicated,
            reordered,
        }
    }

    #[test]
    fn each_deviation_is_counted_as_what_it_is() {
        assert_eq!(heard(&[]), deviations(0, 0, 0));
        assert_eq!(heard(&[1, 2, 3]), deviations(0, 0, 0));
        assert_eq!(heard(&[1, 2, 4, 5]), deviations(1, 0, 0));
        assert_eq!(heard(&[3]), deviations(2, 0, 0));
        assert_eq!(heard(&[1, 2, 2]), deviations(0, 1, 0));
        assert_eq!(heard(&[1, 3, 2]), deviations(0, 0, 1));
        assert_eq!(heard(&[1, 5, 3, 3]), deviations(2, 1, 1));
        assert_eq!(heard(&[1, 0]), deviations(0, 1, 0));
        assert_eq!(heard(&[u64::MAX, 1]), deviations(u64::MAX - 2, 0, 1));
    }

    #[test]
    fn more_gaps_than_are_remembered_stay_lost() {
        let gaps = MAX_GAPS as u64 + 10;
        let odd: Vec<u64> = (1..=gaps).map(|n| 2 * n).collect();
        let mut sequence = Sequence::default();
        odd.iter().for_each(|n| sequence.hear(*n));
        assert_eq!(sequence.deviations().lost, gaps);
        sequence.hear(1);
        assert_eq!(sequence.deviations(), deviations(gaps, 1, 0));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_numbers(numbers in proptest::collection::vec(1_u64..60, 0..80)) {
            let (mut seen, mut highest) = (BTreeSet::new(), 0);
            let (mut duplicated, mut reordered) = (0, 0);
            for n in &numbers {
                if !seen.insert(*n) {
                    duplicated += 1;
                } else if *n < highest {
                    reordered += 1;
                }
                highest = highest.max(*n);
            }
            let lost = highest - seen.len() as u64;
            prop_assert_eq!(heard(&numbers), deviations(lost, duplicated, reordered));
        }
    }
}
