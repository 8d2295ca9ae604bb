//! What a node counts, by name.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal),* $(,)?) => {
        /// Everything a node counts since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $field: AtomicU64),* }

        impl Counters {
            /// Name and value, sorted by name.
            pub(crate) fn list(&self) -> Vec<(String, u64)> {
                let mut list = vec![$(($name.to_owned(), self.$field.load(Ordering::Relaxed))),*];
                list.sort();
                list
            }
        }
    };
}

counters! {
    /// Turns committed.
    turns = "turns",
    /// Batches committed.
    batches = "batches",
    /// Batches undone.
    faults = "faults",
    /// Agents created.
    spawned = "spawned",
    /// Agents stopped.
    stopped = "stopped",
    /// Agents that began anew.
    resets = "resets",
    /// Agents put to sleep.
    hibernations = "hibernations",
    /// Agents woken.
    wakes = "wakes",
    /// Checkpoints of running agents.
    checkpoints = "checkpoints",
    /// Agents moved away.
    migrations = "migrations",
    /// Agents moved here.
    arrivals = "arrivals",
    /// Migrations given up.
    migrations_aborted = "migrations-aborted",
    /// Messages that ended unapplied.
    dead_letters = "dead-letters",
    /// Messages and acknowledgements the transport did not take.
    unsent = "unsent",
    /// At-most-once messages dropped.
    dropped = "dropped",
    /// Times a worker's queue was handed to a spare thread.
    handovers = "handovers",
    /// Effects that named something the node does not offer yet.
    unsupported = "unsupported",
    /// Bytes of guests' logs that were cut.
    log_cut = "log-bytes-cut",
    /// Messages forwarded to where their agent had moved.
    forwarded = "forwarded",
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds `n`.
pub(crate) fn count_by(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
