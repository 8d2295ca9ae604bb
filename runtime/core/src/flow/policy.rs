//! What is attached to a target.

use crate::flow::shared::LimitName;
use crate::flow::{Rate, Unit};
use crate::{BadPolicy, Millis};

/// Largest amount a policy may name, units.
const MOST_UNITS: u64 = 1_000_000_000_000;
/// Longest span a policy may name: a day.
const LONGEST: u64 = 86_400_000;
/// Most messages that may be under way, or wait.
const MOST_AT_ONCE: u64 = 1_000_000;

/// The limiters attached to one target; with none, everything passes.
///
/// A policy is checked once, by [`FlowPolicy::validate`], where it comes in;
/// nothing made from one that was not overflows or panics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowPolicy {
    /// A token bucket.
    pub rate: Option<RatePolicy>,
    /// A sliding window.
    pub window: Option<WindowPolicy>,
    /// A rate that all nodes keep together.
    pub shared: Option<SharedRatePolicy>,
    /// A circuit breaker.
    pub breaker: Option<BreakerPolicy>,
    /// A bulkhead.
    pub bulkhead: Option<BulkheadPolicy>,
}

/// A token bucket's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// What is counted.
    pub unit: Unit,
    /// How many may pass in the long run.
    pub rate: Rate,
    /// How many may pass at once after a rest, units; nothing larger ever passes.
    pub burst: u64,
}

/// A sliding window's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPolicy {
    /// What is counted.
    pub unit: Unit,
    /// How many may pass in any window, units; nothing larger ever passes.
    pub limit: u64,
    /// How long a window is.
    pub per: Millis,
}

/// A shared rate's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRatePolicy {
    /// Those who name the same limit share it.
    pub name: LimitName,
    /// What is counted.
    pub unit: Unit,
    /// How many may pass through all nodes together in the long run.
    pub rate: Rate,
    /// How many may pass at once after a rest, units. At least
    /// [`SharedRatePolicy::least_burst`]; nothing larger than it less what the
    /// rate brings in a lease ever passes.
    pub burst: u64,
    /// How long a node may spend what it was leased. A longer one asks less of
    /// the owner, a shorter one leaves less unspent and more of the burst. It
    /// must be longer than a message and its answer take.
    pub lease: Millis,
}

/// A circuit breaker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How long an outcome counts, default 10 s; up to a tenth longer.
    pub window: Millis,
    /// How many must have ended in it before the breaker decides, default 20.
    pub calls: u32,
    /// What share of them must have failed for it to open, percent, default 50.
    pub failures: u32,
    /// How long it is open at first, default 5 s; twice as long each time a probe fails.
    pub open_for: Millis,
    /// How long it is open at most, default 60 s.
    pub open_at_most: Millis,
    /// How many real messages pass as probes, default 3; all must go well.
    pub probes: u32,
    /// How long a probe may be unheard of before it has failed, default 30 s.
    pub probe_timeout: Millis,
}

/// A bulkhead's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// How many messages may be under way, default 100.
    pub concurrent: u32,
    /// How many may wait, default 1,000; 0 for none.
    pub waiting: u32,
    /// How long one may wait, default 10 s.
    pub longest_wait: Millis,
}

impl FlowPolicy {
    /// Checks every field of what is attached.
    pub fn validate(&self) -> Result<(), BadPolicy> {
        self.rate.iter().try_for_each(RatePolicy::validate)?;
        self.window.iter().try_for_each(WindowPolicy::validate)?;
        self.shared
            .iter()
            .try_for_each(SharedRatePolicy::validate)?;
        self.breaker.iter().try_for_each(BreakerPolicy::validate)?;
        self.bulkhead.iter().try_for_each(BulkheadPolicy::validate)
    }

    /// Whether nothing is attached.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl RatePolicy {
    fn validate(&self) -> Result<(), BadPolicy> {
        BadPolicy::check(&[
            ("rate.amount", self.rate.amount, 1, MOST_UNITS),
            ("rate.per", self.rate.per.0, 1, LONGEST),
            ("rate.burst", self.burst, 1, MOST_UNITS),
        ])
    }
}

impl WindowPolicy {
    fn validate(&self) -> Result<(), BadPolicy> {
        BadPolicy::check(&[
            ("window.limit", self.limit, 1, MOST_UNITS),
            ("window.per", self.per.0, 1, LONGEST),
        ])
    }
}

impl SharedRatePolicy {
    /// The smallest burst that lets the rate be used: 1, what the rate brings in
    /// a lease's time and 1 ms, which may be out in leases, and what it brings in
    /// another before the owner is asked again.
    pub fn least_burst(&self) -> u64 {
        let span = u128::from(self.lease.0) * 2 + 1;
        let brought = u128::from(self.rate.amount).saturating_mul(span);
        let units = brought.div_ceil(self.rate.parts()).saturating_add(1);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    fn validate(&self) -> Result<(), BadPolicy> {
        BadPolicy::check(&[
            ("shared.amount", self.rate.amount, 1, MOST_UNITS),
            ("shared.per", self.rate.per.0, 1, LONGEST),
            ("shared.burst", self.burst, 1, MOST_UNITS),
            ("shared.lease", self.lease.0, 10, 10_000),
        ])?;
        let least = self.least_burst();
        if self.burst < least {
            return Err(BadPolicy {
                field: "shared.burst",
                found: self.burst,
                accepted: format!(
                    "at least {least}, which is 1 and what the rate brings in two leases of {}: or make shared.lease shorter",
                    self.lease
                ),
            });
        }
        Ok(())
    }
}

impl BreakerPolicy {
    fn validate(&self) -> Result<(), BadPolicy> {
        let open_for = self.open_for.0;
        BadPolicy::check(&[
            ("breaker.window", self.window.0, 10, LONGEST),
            ("breaker.calls", self.calls.into(), 1, MOST_AT_ONCE),
            ("breaker.failures", self.failures.into(), 1, 100),
            ("breaker.open-for", open_for, 1, LONGEST),
            (
                "breaker.open-at-most",
                self.open_at_most.0,
                open_for,
                LONGEST,
            ),
            ("breaker.probes", self.probes.into(), 1, 1_000),
            ("breaker.probe-timeout", self.probe_timeout.0, 1, LONGEST),
        ])
    }
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window: Millis(10_000),
            calls: 20,
            failures: 50,
            open_for: Millis(5_000),
            open_at_most: Millis(60_000),
            probes: 3,
            probe_timeout: Millis(30_000),
        }
    }
}

impl BulkheadPolicy {
    fn validate(&self) -> Result<(), BadPolicy> {
        BadPolicy::check(&[
            (
                "bulkhead.concurrent",
                self.concurrent.into(),
                1,
                MOST_AT_ONCE,
            ),
            ("bulkhead.waiting", self.waiting.into(), 0, MOST_AT_ONCE),
            ("bulkhead.longest-wait", self.longest_wait.0, 1, LONGEST),
        ])
    }
}

impl Default for BulkheadPolicy {
    fn default() -> Self {
        Self {
            concurrent: 100,
            waiting: 1_000,
            longest_wait: Millis(10_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> FlowPolicy {
        let rate = Rate {
            amount: 10,
            per: Millis(1_000),
        };
        let unit = Unit::Messages;
        FlowPolicy {
            rate: Some(RatePolicy {
                unit,
                rate,
                burst: 1,
            }),
            window: Some(WindowPolicy {
                unit,
                limit: 1,
                per: Millis(1),
            }),
            shared: Some(SharedRatePolicy {
                name: LimitName::new("payments").unwrap(),
                unit,
                rate,
                burst: 6,
                lease: Millis(200),
            }),
            breaker: Some(BreakerPolicy::default()),
            bulkhead: Some(BulkheadPolicy::default()),
        }
    }

    #[test]
    fn good_policies_are_taken() {
        FlowPolicy::default().validate().unwrap();
        assert!(FlowPolicy::default().is_empty());
        everything().validate().unwrap();
        assert!(!everything().is_empty());
    }

    /// The error of a policy with everything in it and one thing changed.
    fn error(change: impl FnOnce(&mut FlowPolicy)) -> String {
        let mut policy = everything();
        change(&mut policy);
        policy.validate().unwrap_err().to_string()
    }

    #[test]
    fn every_bad_field_is_named() {
        macro_rules! says {
            ($part:ident.$($field:ident).+ = $value:expr, $text:literal) => {
                let found = error(|policy| policy.$part.as_mut().unwrap().$($field).+ = $value);
                assert_eq!(found, $text);
            };
        }
        let none = Millis(0);
        says!(
            rate.rate.amount = 0,
            "rate.amount is 0: it must be 1 to 1000000000000"
        );
        says!(
            rate.rate.per = none,
            "rate.per is 0: it must be 1 to 86400000"
        );
        says!(
            rate.burst = 0,
            "rate.burst is 0: it must be 1 to 1000000000000"
        );
        says!(
            window.limit = 0,
            "window.limit is 0: it must be 1 to 1000000000000"
        );
        says!(
            window.per = none,
            "window.per is 0: it must be 1 to 86400000"
        );
        says!(
            shared.rate.amount = 0,
            "shared.amount is 0: it must be 1 to 1000000000000"
        );
        says!(
            shared.rate.per = none,
            "shared.per is 0: it must be 1 to 86400000"
        );
        says!(
            shared.burst = 0,
            "shared.burst is 0: it must be 1 to 1000000000000"
        );
        says!(
            shared.lease = Millis(9),
            "shared.lease is 9: it must be 10 to 10000"
        );
        says!(
            shared.burst = 5,
            "shared.burst is 5: it must be at least 6, which is 1 and what the rate brings in two leases of 200 ms: or make shared.lease shorter"
        );
        says!(
            breaker.window = none,
            "breaker.window is 0: it must be 10 to 86400000"
        );
        says!(
            breaker.calls = 0,
            "breaker.calls is 0: it must be 1 to 1000000"
        );
        says!(
            breaker.failures = 101,
            "breaker.failures is 101: it must be 1 to 100"
        );
        says!(
            breaker.open_for = none,
            "breaker.open-for is 0: it must be 1 to 86400000"
        );
        says!(
            breaker.open_at_most = Millis(4_999),
            "breaker.open-at-most is 4999: it must be 5000 to 86400000"
        );
        says!(
            breaker.probes = 0,
            "breaker.probes is 0: it must be 1 to 1000"
        );
        says!(
            breaker.probe_timeout = none,
            "breaker.probe-timeout is 0: it must be 1 to 86400000"
        );
        says!(
            bulkhead.concurrent = 0,
            "bulkhead.concurrent is 0: it must be 1 to 1000000"
        );
        says!(
            bulkhead.waiting = 1_000_001,
            "bulkhead.waiting is 1000001: it must be 0 to 1000000"
        );
        says!(
            bulkhead.longest_wait = none,
            "bulkhead.longest-wait is 0: it must be 1 to 86400000"
        );
    }

    #[test]
    fn a_limits_name_is_checked() {
        let error = LimitName::new("Payments").unwrap_err().to_string();
        assert!(error.starts_with("`Payments` is no limit's name: use 1 to 64"));
    }
}
