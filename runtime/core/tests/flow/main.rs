//! Each limiter against a naive oracle, under virtual time. A case that fails is
//! printed, shrunk, with the seed that makes it again.

mod breaker;
mod bucket;
mod bulkhead;
mod gate;
mod shared;
mod window;

use phoenix_core::Millis;
use proptest::prelude::*;

/// Cases of each property.
const CASES: u32 = 10_000;

/// Virtual time: it goes on, and now and then back.
struct Time {
    shown: u64,
    latest: u64,
}

impl Time {
    fn new(at: u64) -> Self {
        Self {
            shown: at,
            latest: at,
        }
    }

    fn go(&mut self, by: i64) {
        self.shown = self.shown.saturating_add_signed(by);
        self.latest = self.latest.max(self.shown);
    }

    /// What the clock shows.
    fn shown(&self) -> Millis {
        Millis(self.shown)
    }
}

/// A step of time: mostly on, by nothing, a little or much; rarely back.
fn step(most: i64) -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => Just(0),
        4 => 0..=most / 8,
        2 => 0..=most,
        1 => -most..=0,
    ]
}

/// Any number, those at the ends often.
fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(1 << 63),
        0_u64..1_000,
        any::<u64>(),
    ]
}
