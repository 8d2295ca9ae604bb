//! The smallest agent: it counts.

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[agent]
impl Counter {
    /// Adds to the total and answers with it.
    fn add(&mut self, by: u64) -> u64 {
        self.total += by;
        self.total
    }

    /// The total.
    fn total(&self) -> u64 {
        self.total
    }
}
