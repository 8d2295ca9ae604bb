//! A whole node loses power at a step of its life, and again, and again: of what its
//! journal wrote and did not sync some sectors are there and some are not.
//!
//! `PHOENIX_CRASHES=5000 cargo test -p e2e --test power -- --nocapture` has as many
//! losses, after each step of a life in turn, and says between which steps they came.
//! `PHOENIX_SEED` runs one history alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it did"
)]

#[path = "../../../../runtime/store/tests/journal/volume.rs"]
#[allow(dead_code, reason = "the journal's own tests use the rest of it")]
mod volume;

mod fate;
mod history;

use std::time::Instant;

use fate::Tally;
use history::{History, Wasm};

/// Losses of power of one history, on one volume.
const LIVES: u64 = 40;
/// Steps of a life, each of which is the last of some life.
const STEPS: u64 = 400;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[test]
fn every_effect_reaches_one_verdict_wherever_the_power_goes() {
    let crashes = number("PHOENIX_CRASHES").unwrap_or(200);
    let histories = crashes.div_ceil(LIVES);
    let seeds = match number("PHOENIX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..histories,
    };
    let began = Instant::now();
    let wasm = Wasm::new();
    let mut tally = Tally::new();
    let mut steps = 0;
    for seed in seeds {
        println!("PHOENIX_SEED={seed}");
        let mut history = History::new(&wasm, seed);
        for life in 0..LIVES {
            // A step that has no common divisor with their number comes to each of them.
            let at = (seed * LIVES + life) * 149 % STEPS + 1;
            history.lose_power(at, &mut tally);
        }
        steps += history.settle();
    }
    let losses: u64 = tally.values().sum();
    println!(
        "{losses} losses of power in {:.1} s, {steps} steps acknowledged",
        began.elapsed().as_secs_f64()
    );
    for ((before, after), count) in tally {
        println!("{count:6}  after {before}, before {after}");
    }
}
