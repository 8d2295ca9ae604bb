//! The token bucket.

use crate::Millis;
use crate::flow::{Rate, Ready};

/// Lets units pass at a rate, and a burst of them after a rest.
///
/// Exact: in any span of `t` ms it lets through at most
/// `burst + amount × t / per` units, and whatever keeps to that passes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    rate: Rate,
    /// Most it holds, in parts of a unit (see [`Rate::parts`]).
    capacity: u128,
    /// What it held at `at`, in parts.
    level: u128,
    at: Millis,
}

impl TokenBucket {
    /// A full one. `burst` is in units.
    pub fn new(rate: Rate, burst: u64, now: Millis) -> Self {
        let capacity = u128::from(burst) * rate.parts();
        Self {
            rate,
            capacity,
            level: capacity,
            at: now,
        }
    }

    /// An empty one that holds so many parts of a unit and fills from `from` on.
    pub(super) fn empty(rate: Rate, capacity: u128, from: Millis) -> Self {
        Self {
            rate,
            capacity,
            level: 0,
            at: from,
        }
    }

    /// When `cost` units may pass if nothing else does before.
    pub fn ready(&mut self, now: Millis, cost: u64) -> Ready {
        self.refill(now);
        let parts = self.in_parts(cost);
        if parts > self.capacity {
            Ready::TooMuch(self.burst())
        } else if parts <= self.level {
            Ready::Now
        } else {
            Ready::At(self.when(parts))
        }
    }

    /// Lets `cost` units pass, if they may; says whether they did.
    pub fn take(&mut self, now: Millis, cost: u64) -> bool {
        let may = self.ready(now, cost) == Ready::Now;
        if may {
            self.level -= self.in_parts(cost);
        }
        may
    }

    /// Whole units that may pass now.
    pub fn level(&self, now: Millis) -> u64 {
        self.units(self.level_at(now))
    }

    /// Most units that may pass at once.
    pub fn burst(&self) -> u64 {
        self.units(self.capacity)
    }

    /// Whether it is as a new one.
    pub(super) fn is_full(&self, now: Millis) -> bool {
        self.level_at(now) == self.capacity
    }

    /// When so many units would be there if it held any number.
    pub(super) fn when_filled(&mut self, now: Millis, units: u128) -> Millis {
        self.refill(now);
        self.when(units.saturating_mul(self.rate.parts()))
    }

    fn when(&self, parts: u128) -> Millis {
        let missing = parts.saturating_sub(self.level);
        let amount = u128::from(self.rate.amount);
        if missing == 0 {
            return self.at;
        }
        if amount == 0 {
            return Millis::NEVER;
        }
        let wait = u64::try_from(missing.div_ceil(amount)).unwrap_or(u64::MAX);
        self.at + Millis(wait)
    }

    fn refill(&mut self, now: Millis) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Millis) -> u128 {
        let brought = u128::from(self.at.until(now).0) * u128::from(self.rate.amount);
        self.level.saturating_add(brought).min(self.capacity)
    }

    fn in_parts(&self, units: u64) -> u128 {
        u128::from(units) * self.rate.parts()
    }

    fn units(&self, parts: u128) -> u64 {
        u64::try_from(parts / self.rate.parts()).unwrap_or(u64::MAX)
    }
}
