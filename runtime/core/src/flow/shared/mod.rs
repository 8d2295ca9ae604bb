//! A rate that all nodes keep together.
//!
//! ```text
//!   RateTenant, one a node                            RateOwner, one a name
//!     asks at `a` ───── LeaseAsk { want, least } ─────▶ takes tokens out of its
//!     spends until `a + L` ◀── LeaseGrant { tokens } ── bucket at `g ≥ a`
//! ```
//!
//! The owner leases slices of the budget. A slice may be spent for `L`, counted
//! from when it was asked for, on the clock of whoever asked: no two clocks are
//! ever compared. A message that is lost, a grant that comes late and a node
//! that dies leave tokens unspent; nothing makes them be spent twice. Leases
//! that end by themselves are from Gray and Cheriton (1989).
//!
//! **Invariant**: in any `w` ms, all nodes together let pass at most
//! `burst + rate × w` units. What passes in a window was granted in it or less
//! than `L` before it. The owner's bucket, which holds
//! `burst - rate × (L + 1 ms)`, gives at most `rate × (w + L + 1 ms)` more than
//! that in so long; the 1 ms is what two readings of a clock in whole
//! milliseconds may be off by. An owner's bucket is empty when it begins, and
//! fills from 1 ms later on, so a row of owners gives no more than one of them.
//!
//! Two things are asked of whoever drives this. Of one name at most one owner
//! grants at a time, as at most one node owns an agent. And clocks run alike
//! to one part in a thousand, by which a tenant shortens its leases; a machine
//! that was suspended may spend what it held late, two slices at most.

mod owner;
mod tenant;

use std::fmt;
use std::sync::Arc;

pub use owner::{MAX_TENANTS, RateOwner};
pub use tenant::{RateTenant, SharedView};

use crate::Millis;
use crate::flow::{Rate, SharedRatePolicy, TokenBucket};

/// The name of a limit that nodes share: 1 to 64 of `a-z 0-9 - _`, beginning
/// with a letter. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitName(Arc<str>);

/// A text that names no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no limit's name: use 1 to 64 of a-z, 0-9, - and _, beginning with a letter, as in payments"
)]
pub struct BadLimitName(String);

impl LimitName {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, BadLimitName> {
        // The same form as a kind's.
        if crate::id::is_kind(text) {
            Ok(Self(text.into()))
        } else {
            Err(BadLimitName(crate::id::shown(text)))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a tenant. Each that a node makes gets one greater than all that
/// it made before, so that no grant meant for one of them is spent by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantLife {
    /// How often the node had started.
    pub boot: u64,
    /// How many tenants it had made since.
    pub count: u64,
}

/// Which ask of a tenant's; an ask that is repeated keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId {
    /// Which life of the tenant's.
    pub life: TenantLife,
    /// Which ask of that life.
    pub number: u64,
}

/// A node asks the owner of a limit for a slice of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Which limit.
    pub limit: LimitName,
    /// Which of the node's tenants asks, where each of its workers has one.
    pub part: u16,
    /// Which ask.
    pub id: LeaseId,
    /// Units it would like.
    pub want: u64,
    /// Units below which a slice is of no use.
    pub least: u64,
}

/// The owner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Of which limit.
    pub limit: LimitName,
    /// For which of the node's tenants.
    pub part: u16,
    /// The ask it answers.
    pub id: LeaseId,
    /// Units that may pass; 0 if there were too few.
    pub tokens: u64,
    /// How long they may, from when they were asked for.
    pub valid_for: Millis,
    /// Where there were too few: how long to wait before asking again.
    pub retry_after: Millis,
}

/// What the owner's bucket holds, in parts.
fn capacity(policy: &SharedRatePolicy) -> u128 {
    let Rate { amount, .. } = policy.rate;
    let spent_late = u128::from(amount) * (u128::from(policy.lease.0) + 1);
    (u128::from(policy.burst) * policy.rate.parts()).saturating_sub(spent_late)
}

/// The owner's bucket at its start.
fn bucket(policy: &SharedRatePolicy, now: Millis) -> TokenBucket {
    TokenBucket::empty(policy.rate, capacity(policy), now + Millis(1))
}

/// How long of a lease is left to spend, whatever the two clocks are off by.
fn usable(valid_for: Millis) -> Millis {
    valid_for - Millis(valid_for.0.div_ceil(1_000))
}
