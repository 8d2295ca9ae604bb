//! What a node counts, by name.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal),* $(,)?) => {
        /// Everything a node counts since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$doc])* pub(crate) $field: AtomicU64),* }

        impl Counters {
            /// Name and value.
            pub(crate) fn list(&self) -> Vec<(String, u64)> {
                vec![$(($name.to_owned(), self.$field.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
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
    /// Snapshots handed to the journal.
    snapshots = "snapshots",
    /// Sleeping agents that left memory for disk.
    paged_out = "paged-out",
    /// Durable agents had again from the journal.
    restored = "restored",
    /// Hashes of their memory that came out as the journal has them.
    hashes_proved = "memory-hashes-proved",
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
    brief_batches = "brief_batches",
    brief_batches_undone = "brief_batches_undone",
    /// Bytes of guests' logs that were cut.
    log_cut = "log-bytes-cut",
    /// Messages spilled to disk.
    spilled = "spilled",
    /// Spilled messages, or lanes of them, that could not be written or read back.
    spill_lost = "spill-lost",
    /// Spilled messages sent after an agent that had moved.
    spill_forwarded = "spill-forwarded",
    /// Probes that followed asks which may wait for each other.
    ask_probes = "ask-probes",
    /// Asks given up, as those who were asked are told.
    ask_cancels = "ask-cancels",
    /// Messages that gates did not let pass.
    turned_down = "turned-down",
    /// Messages forwarded to where their agent had moved.
    forwarded = "forwarded",
}

/// What one worker counts with each turn. Nobody else adds to it, so that adding
/// need not be atomic.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Turns committed.
    turns: AtomicU64,
    /// Batches committed.
    batches: AtomicU64,
}

impl Tally {
    /// Notes that a batch of so many turns is committed.
    pub(crate) fn add(&self, turns: u64) {
        let more = |counter: &AtomicU64, n: u64| {
            counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        };
        more(&self.turns, turns);
        more(&self.batches, 1);
    }

    /// All of some workers': name and value.
    pub(crate) fn sum<'a>(tallies: impl Iterator<Item = &'a Self>) -> [(String, u64); 2] {
        let (mut turns, mut batches) = (0, 0);
        for tally in tallies {
            turns += tally.turns.load(Ordering::Relaxed);
            batches += tally.batches.load(Ordering::Relaxed);
        }
        [("turns".to_owned(), turns), ("batches".to_owned(), batches)]
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds `n`.
pub(crate) fn count_by(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
