//! Flow control: what may pass to one target (an agent, a kind, a topic, a peer), and when.
//!
//! ```text
//!                      ┌─────────────── FlowGate ───────────────┐
//!   admit(now, cost) ─▶│ Breaker     is the target well?        │─▶ Refused(why)
//!                      │ Bulkhead    how many are under way?    │─▶ Delayed { until }
//!                      │ TokenBucket, SlidingWindow, RateTenant │─▶ Admitted(pass) ─▶ the target
//!                      │             how many have gone of late?│                        │
//!                      └────────────────────────────────────────┘◀── finished(pass, outcome, now)
//! ```
//!
//! Each limiter stands alone; a [`FlowGate`] holds those a [`FlowPolicy`] names
//! and lets a message pass all of them or none. A [`RateTenant`] is a node's
//! share of a rate that all nodes keep together; its other side is [`RateOwner`].
//!
//! **Invariant**: a limiter's memory does not grow with what passes it. All
//! arithmetic is in whole numbers and saturates; no number makes it panic.
//!
//! **Invariant**: time that goes back stands still until it has caught up: what
//! was let pass once is not let pass again.

mod breaker;
mod bucket;
mod bulkhead;
mod fields;
mod gate;
mod info;
mod notice;
mod policy;
mod shared;
mod slots;
mod target;
mod window;

pub use breaker::{Breaker, BreakerCause, BreakerState, BreakerView, Outcome, Permit, Tripped};
pub use bucket::TokenBucket;
pub use bulkhead::{Bulkhead, Entry, NoPlace, Place};
pub use fields::{BadFlow, FLOW_FIELDS, FlowField, FlowFields, FlowForm, FlowValue};
pub use gate::{
    Admission, Fill, FlowGate, FlowRefusal, GateCounters, GateView, Held, Hold, Limit, Pass,
    admit_all,
};
pub use info::{
    AttachedFlow, AttachedFlows, BreakerInfo, FlowInfo, GateInfo, LastFailure, MAX_FLOW_POLICIES,
    ShareInfo,
};
pub use notice::{FlowNotice, TurnedDown, TurnedDownBy};
pub use policy::{
    BreakerPolicy, BulkheadPolicy, FlowPolicy, RatePolicy, SharedRatePolicy, WindowPolicy,
};
pub use shared::{
    BadLimitName, LeaseAsk, LeaseGrant, LeaseId, LimitName, MAX_TENANTS, RateOwner, RateTenant,
    SharedView, TenantLife,
};
pub use target::{BadFlowTarget, FlowScope, FlowTarget};
pub use window::SlidingWindow;

use crate::Millis;

/// So many units in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many. With 0 there are none, ever.
    pub amount: u64,
    /// In how long; 0 is taken for 1 ms.
    pub per: Millis,
}

impl Rate {
    /// So many a second.
    pub fn per_second(amount: u64) -> Self {
        Self {
            amount,
            per: Millis(1_000),
        }
    }

    /// Parts in a unit. A limiter counts in parts, of which each millisecond
    /// brings `amount`, so that nothing is ever rounded.
    fn parts(self) -> u128 {
        self.per.0.max(1).into()
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Messages.
    #[default]
    Messages,
    /// Bytes of messages.
    Bytes,
}

/// What is to pass: one message, or several that end as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Messages.
    pub messages: u64,
    /// Bytes, as [`crate::Envelope::size`] counts them.
    pub bytes: u64,
}

impl Cost {
    /// One message of so many bytes.
    pub fn message(bytes: u64) -> Self {
        Self { messages: 1, bytes }
    }

    fn of(self, unit: Unit) -> u64 {
        match unit {
            Unit::Messages => self.messages,
            Unit::Bytes => self.bytes,
        }
    }
}

/// When something may pass one limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Now.
    Now,
    /// Not before this instant; [`Millis::NEVER`] if time alone will not do.
    At(Millis),
    /// Never: it is more than the limiter lets pass at once, which is this.
    TooMuch(u64),
}
