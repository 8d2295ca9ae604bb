//! Many things that come due, in one ordered index.
//!
//! What a worker has to look at later, and what an agent has to be called for, is a
//! thousand or a million keys with one time each. An entry in a tree and one in a table
//! is all that one takes: there is no task for it, and nobody goes through all of them.

use std::collections::BTreeSet;
use std::hash::Hash;

use hashbrown::HashMap;

use crate::Millis;

/// Keys with the time each is due at, in the order of these times; of several at the same
/// time, in the order of the keys.
#[derive(Clone, Debug)]
pub struct DueIndex<K> {
    due: HashMap<K, Millis>,
    order: BTreeSet<(Millis, K)>,
}

impl<K> Default for DueIndex<K> {
    fn default() -> Self {
        Self {
            due: HashMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord + Hash> DueIndex<K> {
    /// Has a key come due at a time, and at no other; [`Millis::NEVER`] takes it out.
    pub fn set(&mut self, key: K, at: Millis) {
        if at == Millis::NEVER {
            self.remove(&key);
            return;
        }
        if let Some(was) = self.due.insert(key, at) {
            if was == at {
                return;
            }
            self.order.remove(&(was, key));
        }
        self.order.insert((at, key));
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) {
        if let Some((key, was)) = self.due.remove_entry(key) {
            self.order.remove(&(was, key));
        }
    }

    /// When the key is due; [`Millis::NEVER`] if it is not here.
    pub fn due(&self, key: &K) -> Millis {
        self.due.get(key).copied().unwrap_or(Millis::NEVER)
    }

    /// When the first is due; [`Millis::NEVER`] if there is none.
    pub fn next(&self) -> Millis {
        self.order.first().map_or(Millis::NEVER, |(due, _)| *due)
    }

    /// Takes out the first, if it is due by `now`.
    pub fn pop(&mut self, now: Millis) -> Option<(K, Millis)> {
        if self.next() > now {
            return None;
        }
        let (due, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some((key, due))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u8, u64),
        Remove(u8),
        Pop(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..20_u8, 0..50_u64).prop_map(|(key, at)| Step::Set(key, at)),
            1 => (0..20_u8).prop_map(|key| Step::Set(key, u64::MAX)),
            1 => (0..20_u8).prop_map(Step::Remove),
            2 => (0..50_u64).prop_map(Step::Pop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn it_is_a_table_that_is_looked_through(steps in prop::collection::vec(step(), 0..60)) {
            let mut index = DueIndex::default();
            let mut table = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(key, at) => {
                        index.set(key, Millis(at));
                        if at == u64::MAX {
                            table.remove(&key);
                        } else {
                            table.insert(key, at);
                        }
                    }
                    Step::Remove(key) => {
                        index.remove(&key);
                        table.remove(&key);
                    }
                    Step::Pop(now) => {
                        let first = table.iter().map(|(key, at)| (*at, *key)).min();
                        let first = first.filter(|(at, _)| *at <= now);
                        let popped = index.pop(Millis(now));
                        prop_assert_eq!(popped, first.map(|(at, key)| (key, Millis(at))));
                        if let Some((_, key)) = first {
                            table.remove(&key);
                        }
                    }
                }
                let next = table.values().min().copied().unwrap_or(u64::MAX);
                prop_assert_eq!(index.next(), Millis(next));
                prop_assert_eq!((index.len(), index.is_empty()), (table.len(), table.is_empty()));
                for key in 0..20 {
                    let at = table.get(&key).copied().unwrap_or(u64::MAX);
                    prop_assert_eq!(index.due(&key), Millis(at));
                }
            }
        }
    }

    #[test]
    fn a_million_come_in_order() {
        let mut index = DueIndex::default();
        for key in 0..1_000_000_u32 {
            let at = u64::from(key.wrapping_mul(2_654_435_761) % 1_000);
            index.set(key, Millis(at));
        }
        let mut last = (Millis(0), 0);
        let mut popped = 0;
        while let Some((key, due)) = index.pop(Millis(1_000)) {
            assert!((due, key) >= last);
            last = (due, key);
            popped += 1;
        }
        assert_eq!(popped, 1_000_000);
    }
}
