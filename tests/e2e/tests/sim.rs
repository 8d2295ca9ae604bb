//! A cluster of three nodes in the worst of weather, seed after seed: every message
//! that was accepted has exactly one end, and the books balance to the message.
//!
//! `PHOENIX_SEED` runs one seed alone, `PHOENIX_SEEDS` another number of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use e2e::sim::{Seen, run};

/// Seeds in every run of the tests.
const SEEDS: u64 = 50;
/// Clusters at a time: most of what one does is wait.
const AT_ONCE: usize = 4;

/// What must have come about in [`SEEDS`] seeds, or they prove nothing about it.
const WANTED: [&str; 28] = [
    "lost",
    "repeated",
    "overtaken",
    "broken connections",
    "partitions",
    "hibernations",
    "wakes",
    "migrations",
    "forwarded",
    "spilled",
    "snapshots",
    "duplicates",
    "refused-full",
    "held",
    "dropped-oldest",
    "dropped-newest",
    "high",
    "normal",
    "low",
    "bulk",
    "at most once: applied",
    "sent on and applied",
    "dropped",
    "expired",
    "expired, and told",
    "given up after its tries",
    "given up after its time",
    "trapped",
];

#[test]
fn every_message_has_exactly_one_end() {
    if let Some(seed) = number("PHOENIX_SEED") {
        println!("{}", run(seed));
        return;
    }
    let seeds = number("PHOENIX_SEEDS").unwrap_or(SEEDS);
    let (next, all) = (AtomicU64::new(0), Mutex::new(Seen::default()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let seen = run(seed);
                    all.lock().unwrap().join(&seen);
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    println!("{all}");
    if seeds >= SEEDS {
        let never = WANTED.iter().filter(|what| all.times(what) == 0);
        let never: Vec<_> = never.collect();
        assert!(
            never.is_empty(),
            "in {seeds} seeds never seen: {never:?}\n{all}"
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}
