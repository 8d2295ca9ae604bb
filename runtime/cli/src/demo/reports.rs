//! What agents say of themselves, as the demo reads it.
//!
//! These types repeat the agents' own on purpose: the comparison shares no
//! code with what it compares.

use serde::Deserialize;

use super::log::Statuses;

/// What did not come as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Deviations {
    /// Numbers left out.
    pub(super) lost: u64,
    /// Numbers that came again.
    pub(super) duplicated: u64,
    /// Numbers that came after a greater one.
    pub(super) reordered: u64,
}

/// `visitor/ADDR`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Visitor {
    /// Requests, each told to `site/main`.
    pub(super) events: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// Requests by status.
    pub(super) statuses: Statuses,
    /// Sessions.
    pub(super) sessions: u64,
    /// Errors.
    pub(super) errors: u64,
    /// Deviations of the feed.
    pub(super) deviations: Deviations,
}

/// `site/main`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Site {
    /// Requests.
    pub(super) events: u64,
    /// Visitors heard of.
    pub(super) visitors: u64,
    /// Bytes.
    pub(super) bytes: u64,
    /// Requests by status.
    pub(super) statuses: Statuses,
    /// Sessions.
    pub(super) sessions: i64,
    /// Deviations of what visitors told.
    pub(super) deviations: Deviations,
}

/// `alerts/main`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Alerts {
    /// Errors heard of.
    pub(super) errors: u64,
    /// Bursts found.
    pub(super) alerts: u64,
    /// Minutes of the clock with as many errors as a burst has.
    pub(super) minutes: u64,
    /// Errors whose times are not kept, so that no bursts are found among them.
    pub(super) untracked: u64,
    /// Deviations of the feed.
    pub(super) deviations: Deviations,
}

/// A burst of errors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Alert {
    /// Whose; none if it takes all visitors together.
    pub(super) visitor: Option<String>,
    /// The first error's time.
    pub(super) from: i64,
    /// The last one's.
    pub(super) to: i64,
}
