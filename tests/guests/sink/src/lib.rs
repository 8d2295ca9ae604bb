//! Counts what it hears, for the bench of one-way messages. Its peer is `flood`.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Sink {
    heard: u64,
    sum: u64,
}

#[agent]
impl Sink {
    /// Hears a number.
    fn hit(&mut self, n: u64) {
        self.heard += 1;
        self.sum = self.sum.wrapping_add(n);
    }

    /// Messages heard.
    fn heard(&self) -> u64 {
        self.heard
    }

    /// The sum of what was heard.
    fn sum(&self) -> u64 {
        self.sum
    }
}
