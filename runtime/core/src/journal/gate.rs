//! What waits for the journal before it may leave.

use std::collections::VecDeque;

use crate::journal::CommitNumber;

/// Holds back what batches want done until the journal has them, in order.
///
/// A worker has one. It is full when it holds as many as its bound; then no batch of
/// a durable agent should begin.
#[derive(Debug)]
pub struct Gate<T> {
    held: VecDeque<(CommitNumber, T)>,
    through: CommitNumber,
    bound: usize,
}

impl<T> Gate<T> {
    /// What a worker holds at most by default, 65,536 batches.
    pub const DEFAULT_BOUND: usize = 65_536;

    /// An empty gate that holds so many.
    pub fn new(bound: usize) -> Self {
        Self {
            held: VecDeque::new(),
            through: CommitNumber(0),
            bound,
        }
    }

    /// Holds `work` until `number` is durable. Gives it back if it is already.
    ///
    /// Numbers come in the order in which the journal gave them to this worker; what
    /// comes with one that is lower than the last waits for the last.
    #[must_use = "what is given back may leave"]
    pub fn hold(&mut self, number: CommitNumber, work: T) -> Option<T> {
        let last = self.held.back().map_or(number, |(last, _)| *last);
        let number = number.max(last);
        if number <= self.through && self.held.is_empty() {
            return Some(work);
        }
        self.held.push_back((number, work));
        None
    }

    /// Whether everything up to `number` was said to be durable.
    pub fn has_reached(&self, number: CommitNumber) -> bool {
        number <= self.through
    }

    /// Everything up to `through` is durable. A word that comes late changes nothing.
    pub fn reach(&mut self, through: CommitNumber) {
        self.through = self.through.max(through);
    }

    /// The next that may leave, in the order in which it was held.
    pub fn release(&mut self) -> Option<T> {
        let (number, _) = self.held.front()?;
        if *number > self.through {
            return None;
        }
        self.held.pop_front().map(|(_, work)| work)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether it holds as many as it may.
    pub fn is_full(&self) -> bool {
        self.held.len() >= self.bound
    }

    /// Takes everything out: the journal failed, and none of it may leave.
    pub fn condemn(&mut self) -> impl Iterator<Item = T> {
        self.through = CommitNumber(0);
        std::mem::take(&mut self.held)
            .into_iter()
            .map(|(_, work)| work)
    }
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BOUND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(gate: &mut Gate<u64>, through: u64) -> Vec<u64> {
        gate.reach(CommitNumber(through));
        std::iter::from_fn(|| gate.release()).collect()
    }

    #[test]
    fn nothing_leaves_before_its_number_and_all_in_order() {
        let mut gate = Gate::new(3);
        for number in [2, 5, 9] {
            assert_eq!(gate.hold(CommitNumber(number), number), None);
        }
        assert!(gate.is_full());
        assert!(released(&mut gate, 1).is_empty());
        assert_eq!(released(&mut gate, 5), [2, 5]);
        assert!(released(&mut gate, 4).is_empty(), "a late word");
        assert_eq!(released(&mut gate, 9), [9]);
        assert_eq!(gate.hold(CommitNumber(7), 7), Some(7), "durable already");
    }

    #[test]
    fn what_comes_later_never_overtakes() {
        let mut gate = Gate::default();
        assert_eq!(gate.hold(CommitNumber(4), 4), None);
        assert_eq!(gate.hold(CommitNumber(3), 3), None);
        assert!(released(&mut gate, 3).is_empty());
        assert_eq!(released(&mut gate, 4), [4, 3]);
    }

    #[test]
    fn after_a_failure_nothing_is_released() {
        let mut gate = Gate::default();
        assert_eq!(gate.hold(CommitNumber(1), 1), None);
        gate.reach(CommitNumber(1));
        assert_eq!(gate.condemn().collect::<Vec<_>>(), [1]);
        assert_eq!(gate.release(), None);
    }
}
