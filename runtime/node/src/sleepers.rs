//! What sleeping agents take of a node's memory and disk, and how much of it they may.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sleeping agents of all workers.
pub(crate) struct Sleepers {
    workers: Vec<Worker>,
    /// Bytes of memory they may take, as the configuration has it.
    configured: u64,
    /// How much that is while memory is short.
    budget: AtomicU64,
}

#[derive(Default)]
struct Worker {
    in_memory: AtomicU64,
    memory_bytes: AtomicU64,
    on_disk: AtomicU64,
    disk_bytes: AtomicU64,
}

impl Sleepers {
    /// None yet; they may take so many bytes of memory.
    pub(crate) fn new(workers: usize, budget: u64) -> Self {
        Self {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            configured: budget,
            budget: AtomicU64::new(budget),
        }
    }

    /// Bytes of memory those of one worker may take.
    pub(crate) fn budget_of_worker(&self) -> u64 {
        self.budget.load(Relaxed) / self.workers.len().max(1) as u64
    }

    /// Notes what a worker's take: how many, and bytes, of memory and of its disk.
    pub(crate) fn publish(&self, worker: usize, memory: (u64, u64), disk: (u64, u64)) {
        if let Some(worker) = self.workers.get(worker) {
            worker.in_memory.store(memory.0, Relaxed);
            worker.memory_bytes.store(memory.1, Relaxed);
            worker.on_disk.store(disk.0, Relaxed);
            worker.disk_bytes.store(disk.1, Relaxed);
        }
    }

    /// Memory is short, or is not any more: `available` bytes of `limit` are left.
    /// Says whether it is short.
    pub(crate) fn adapt(&self, available: u64, limit: u64) -> bool {
        let held = self.sum(|worker| &worker.memory_bytes);
        let budget = next_budget(
            self.budget.load(Relaxed),
            self.configured,
            held,
            available,
            limit,
        );
        self.budget.store(budget, Relaxed);
        available < limit / SHORT
    }

    /// Name and value.
    pub(crate) fn list(&self) -> [(String, u64); 4] {
        [
            ("asleep-memory", self.sum(|worker| &worker.in_memory)),
            (
                "asleep-memory-bytes",
                self.sum(|worker| &worker.memory_bytes),
            ),
            ("asleep-disk", self.sum(|worker| &worker.on_disk)),
            ("asleep-disk-bytes", self.sum(|worker| &worker.disk_bytes)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    fn sum(&self, of: impl Fn(&Worker) -> &AtomicU64) -> u64 {
        let values = self.workers.iter().map(|it| of(it).load(Relaxed));
        values.sum()
    }
}

/// Memory is short when less than one in so many bytes is left.
const SHORT: u64 = 16;
/// It is plenty when more than one in so many is.
const PLENTY: u64 = 8;

/// What sleeping agents may take of memory from now on: while it is short a quarter less
/// than they have each time, and as it becomes plenty again a quarter more.
fn next_budget(budget: u64, configured: u64, held: u64, available: u64, limit: u64) -> u64 {
    if available < limit / SHORT {
        return budget.min(held - held / 4);
    }
    if available > limit / PLENTY {
        let more = (budget / 4).max(limit / 64);
        return budget.saturating_add(more).min(configured);
    }
    budget
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_sleeps_leaves_memory_while_that_is_short() {
        let sleepers = Sleepers::new(2, 8 * GIB);
        assert_eq!(sleepers.budget_of_worker(), 4 * GIB);
        sleepers.publish(0, (10, 3 * GIB), (0, 0));
        sleepers.publish(1, (10, GIB), (7, 700));
        assert!(!sleepers.adapt(8 * GIB, 16 * GIB));
        assert_eq!(sleepers.budget_of_worker(), 4 * GIB);
        assert!(sleepers.adapt(GIB / 2, 16 * GIB), "a thirty-second is left");
        assert_eq!(sleepers.budget_of_worker(), 3 * GIB / 2);
        // In between nothing changes, so that agents do not go to and fro.
        assert!(!sleepers.adapt(GIB + GIB / 2, 16 * GIB));
        assert_eq!(sleepers.budget_of_worker(), 3 * GIB / 2);
        for _ in 0..20 {
            sleepers.adapt(8 * GIB, 16 * GIB);
        }
        assert_eq!(sleepers.budget_of_worker(), 4 * GIB);
        let list = sleepers.list();
        assert_eq!(list[0], ("asleep-memory".to_owned(), 20));
        assert_eq!(list[3], ("asleep-disk-bytes".to_owned(), 700));
    }

    #[test]
    fn a_budget_of_nothing_stays_nothing() {
        assert_eq!(next_budget(0, 0, 0, 15 * GIB, 16 * GIB), 0);
        assert_eq!(next_budget(GIB, GIB, 0, 0, 16 * GIB), 0);
    }
}
