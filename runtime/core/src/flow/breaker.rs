//! The circuit breaker.
//!
//! ```text
//!              too many failures
//!     Closed ────────────────────▶ Open ◀──────────────┐
//!       ▲                           │ its time is over  │ a probe failed,
//!       │   all probes went well    ▼                   │ or was not heard of
//!       └─────────────────────── HalfOpen ──────────────┘
//! ```
//!
//! The idea is Nygard's (Release It!). A probe is a real message: the breaker
//! makes none of its own.

use std::fmt;

use crate::flow::BreakerPolicy;
use crate::flow::slots::Slots;
use crate::{Millis, Schedule};

/// Slots outcomes are counted in: a failure counts for up to a tenth of the
/// policy's window longer than it says.
const SLOTS: usize = 11;

/// How something that passed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target is well, whatever it answered.
    Ok,
    /// The target is not; with a stable word for why, as `timeout`.
    Failed(&'static str),
    /// It says nothing about the target, as when the asker cancelled.
    Ignored,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets everything pass, and counts failures.
    Closed,
    /// Lets nothing pass.
    Open,
    /// Lets a few messages pass as probes.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// Why a breaker is in its state; half-open has the cause it was opened by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerCause {
    /// It has been closed since it was made.
    Made,
    /// Too many failed.
    Failures {
        /// How many failed within the window.
        failed: u64,
        /// How many ended.
        of: u64,
        /// What the last one failed with.
        last: &'static str,
    },
    /// A probe failed.
    ProbeFailed {
        /// With what.
        last: &'static str,
    },
    /// Nothing was heard of a probe in time.
    ProbeUnheard,
    /// So many probes went well.
    ProbesOk {
        /// How many.
        probes: u32,
    },
}

impl fmt::Display for BreakerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("nothing has happened"),
            Self::Failures { failed, of, last } => {
                write!(f, "{failed} of {of} failed, the last with {last}")
            }
            Self::ProbeFailed { last } => write!(f, "a probe failed with {last}"),
            Self::ProbeUnheard => f.write_str("nothing was heard of a probe"),
            Self::ProbesOk { probes } => write!(f, "probes that went well: {probes}"),
        }
    }
}

/// Why a breaker lets something not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is {state}: {cause}")]
pub struct Tripped {
    /// [`BreakerState::Open`], or [`BreakerState::HalfOpen`] with its probes under way.
    pub state: BreakerState,
    /// Why.
    pub cause: BreakerCause,
    /// No use in asking before, unless a probe ends.
    pub until: Millis,
}

/// That something passed a breaker; give it back to [`Breaker::finished`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a breaker that does not hear how its probe ended opens again"]
pub struct Permit {
    period: u64,
}

/// A breaker as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerView {
    /// What it does.
    pub state: BreakerState,
    /// Since when.
    pub since: Millis,
    /// Why.
    pub cause: BreakerCause,
    /// When it will let a probe pass, if it is open.
    pub until: Option<Millis>,
    /// Ended well within the window, while closed.
    pub ok: u64,
    /// Failed within the window, while closed.
    pub failed: u64,
    /// Probes that have not ended.
    pub probes: u32,
    /// Probes of this half-open time that went well.
    pub probes_ok: u32,
    /// How often it has opened.
    pub opened: u64,
    /// Outcomes of what had passed before its state last changed, which decide nothing.
    pub late: u64,
}

/// Keeps messages from a target that is not well, and finds out when it is again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
    since: Millis,
    cause: BreakerCause,
    /// Changes of state so far: what passed before the last one says nothing
    /// about the target as it is now.
    period: u64,
    /// Times it opened since it was last closed.
    failed_again: u32,
    ok: Slots<SLOTS>,
    failed: Slots<SLOTS>,
    at: Millis,
    opened: u64,
    late: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Millis,
    },
    HalfOpen {
        under_way: u32,
        ok: u32,
        /// When the last probe went.
        last: Millis,
    },
}

impl Breaker {
    /// A closed one.
    pub fn new(policy: &BreakerPolicy, now: Millis) -> Self {
        Self {
            policy: *policy,
            phase: Phase::Closed,
            since: now,
            cause: BreakerCause::Made,
            period: 0,
            failed_again: 0,
            ok: Slots::new(policy.window, now),
            failed: Slots::new(policy.window, now),
            at: now,
            opened: 0,
            late: 0,
        }
    }

    /// Lets one message pass, if it may.
    pub fn admit(&mut self, now: Millis) -> Result<Permit, Tripped> {
        self.check(now)?;
        Ok(self.begin())
    }

    /// Whether a message may pass; nothing is counted.
    pub(super) fn check(&mut self, now: Millis) -> Result<(), Tripped> {
        self.advance(now);
        let until = match self.phase {
            Phase::Closed => return Ok(()),
            Phase::Open { until } => until,
            Phase::HalfOpen {
                under_way,
                ok,
                last,
            } => {
                if under_way.saturating_add(ok) < self.probes_wanted() {
                    return Ok(());
                }
                last + self.policy.probe_timeout
            }
        };
        Err(Tripped {
            state: self.state(),
            cause: self.cause,
            until,
        })
    }

    /// A message passes that [`Breaker::check`] just let.
    pub(super) fn begin(&mut self) -> Permit {
        if let Phase::HalfOpen {
            under_way, last, ..
        } = &mut self.phase
        {
            *under_way = under_way.saturating_add(1);
            *last = self.at;
        }
        Permit {
            period: self.period,
        }
    }

    /// Takes note of how something that passed has ended.
    pub fn finished(&mut self, permit: Permit, outcome: Outcome, now: Millis) {
        self.advance(now);
        if permit.period != self.period {
            self.late += 1;
            return;
        }
        match self.phase {
            Phase::Closed => self.count(outcome),
            // Nothing passes while it is open, so nothing of this period ends.
            Phase::Open { .. } => self.late += 1,
            Phase::HalfOpen {
                under_way,
                ok,
                last,
            } => {
                let ok = ok.saturating_add(u32::from(outcome == Outcome::Ok));
                self.phase = Phase::HalfOpen {
                    under_way: under_way.saturating_sub(1),
                    ok,
                    last,
                };
                if let Outcome::Failed(last) = outcome {
                    self.open(self.at, BreakerCause::ProbeFailed { last });
                } else if ok >= self.probes_wanted() {
                    self.close(ok);
                }
            }
        }
    }

    /// What it does, why, since when, and what it has counted.
    pub fn view(&self, now: Millis) -> BreakerView {
        let mut then = self.clone();
        then.advance(now);
        let (until, probes, probes_ok) = match then.phase {
            Phase::Closed => (None, 0, 0),
            Phase::Open { until } => (Some(until), 0, 0),
            Phase::HalfOpen { under_way, ok, .. } => (None, under_way, ok),
        };
        BreakerView {
            state: then.state(),
            since: then.since,
            cause: then.cause,
            until,
            ok: then.ok.total(),
            failed: then.failed.total(),
            probes,
            probes_ok,
            opened: then.opened,
            late: then.late,
        }
    }

    /// Whether it decides as a new one would.
    pub(super) fn is_fresh(&self, now: Millis) -> bool {
        let view = self.view(now);
        view.state == BreakerState::Closed && view.ok == 0 && view.failed == 0
    }

    fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Lets time pass. What time brings about is dated to when it came about,
    /// not to when somebody looked.
    fn advance(&mut self, now: Millis) {
        self.at = self.at.max(now);
        self.ok.advance(self.at);
        self.failed.advance(self.at);
        if let Phase::HalfOpen {
            under_way, last, ..
        } = self.phase
        {
            let unheard = last + self.policy.probe_timeout;
            if under_way > 0 && unheard <= self.at {
                self.open(unheard, BreakerCause::ProbeUnheard);
            }
        }
        if let Phase::Open { until } = self.phase
            && until <= self.at
        {
            let phase = Phase::HalfOpen {
                under_way: 0,
                ok: 0,
                last: until,
            };
            self.change(phase, until, self.cause);
        }
    }

    /// Counts an outcome while closed.
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok.add(1),
            Outcome::Ignored => {}
            Outcome::Failed(last) => {
                self.failed.add(1);
                let failed = self.failed.total();
                let of = failed.saturating_add(self.ok.total());
                let share = u128::from(of) * u128::from(self.policy.failures);
                if of >= self.policy.calls.into() && u128::from(failed) * 100 >= share {
                    self.open(self.at, BreakerCause::Failures { failed, of, last });
                }
            }
        }
    }

    fn open(&mut self, at: Millis, cause: BreakerCause) {
        self.opened += 1;
        self.failed_again = self.failed_again.saturating_add(1);
        let schedule = Schedule::Exponential {
            first: self.policy.open_for,
            most: self.policy.open_at_most,
        };
        let until = at + schedule.wait(self.failed_again);
        self.change(Phase::Open { until }, at, cause);
    }

    fn close(&mut self, probes: u32) {
        self.failed_again = 0;
        self.change(Phase::Closed, self.at, BreakerCause::ProbesOk { probes });
    }

    fn change(&mut self, phase: Phase, at: Millis, cause: BreakerCause) {
        self.phase = phase;
        self.since = at;
        self.cause = cause;
        self.period += 1;
        self.ok.clear();
        self.failed.clear();
    }

    fn probes_wanted(&self) -> u32 {
        self.policy.probes.max(1)
    }
}
