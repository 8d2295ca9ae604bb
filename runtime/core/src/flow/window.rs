//! The sliding window.

use crate::Millis;
use crate::flow::Ready;
use crate::flow::slots::Slots;

/// Slots a window is counted in. More would be more exact and take more memory.
const SLOTS: usize = 33;

/// Lets so many units pass in any window of a length.
///
/// Exact on the side of the target: no window of `per` ms ever sees more than
/// `limit` units. In return a unit may be counted longer than it should be, by
/// less than a 32nd of the window (rounded up to whole ms; windows of up to
/// 32 ms are exact), so a sender that always has more gets at least 32/33 of
/// the limit. It takes the same 300 bytes whatever the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    limit: u64,
    passed: Slots<SLOTS>,
}

impl SlidingWindow {
    /// An empty one: `limit` units in any `per`; 0 is taken for 1 ms.
    pub fn new(limit: u64, per: Millis, now: Millis) -> Self {
        Self {
            limit,
            passed: Slots::new(per, now),
        }
    }

    /// When `cost` units may pass if nothing else does before.
    pub fn ready(&mut self, now: Millis, cost: u64) -> Ready {
        self.passed.advance(now);
        if cost > self.limit {
            return Ready::TooMuch(self.limit);
        }
        let free = self.limit - self.passed.total();
        if cost <= free {
            Ready::Now
        } else {
            Ready::At(self.passed.when_forgotten(cost - free))
        }
    }

    /// Lets `cost` units pass, if they may; says whether they did.
    pub fn take(&mut self, now: Millis, cost: u64) -> bool {
        let may = self.ready(now, cost) == Ready::Now;
        if may {
            self.passed.add(cost);
        }
        may
    }

    /// Units that may pass now.
    pub fn free(&self, now: Millis) -> u64 {
        let mut passed = self.passed.clone();
        passed.advance(now);
        self.limit - passed.total()
    }

    /// Most units that may pass at once.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}
