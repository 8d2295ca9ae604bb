//! What the agents `visitor`, `site` and `alerts` hear of, from a topic and from
//! each other, and how each of them checks that it heard everything once and in order.

mod sequence;

pub use sequence::{Deviations, Sequence};

use std::collections::BTreeMap;

use phoenix_sdk::requests;
use serde::{Deserialize, Serialize};

/// The first status that counts as an error.
pub const FIRST_ERROR: u16 = 400;

/// How often each status was answered.
pub type Statuses = BTreeMap<u16, u64>;

/// What `site/main` is told.
#[requests]
pub trait Site {
    /// A visitor made a request.
    fn visit(visit: Visit);
}

/// One request of a visitor, as the topic of the log has it. `visitor/ADDR` hears of its
/// own, `alerts/main` of all that were answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The visitor's address.
    pub visitor: String,
    /// Which of this visitor's requests it is, from 1.
    pub n: u64,
    /// How many of them were answered with an error, this one included.
    pub errors: u64,
    /// When it was made, seconds since 1970-01-01 UTC.
    pub at: i64,
    /// The status it was answered with.
    pub status: u16,
    /// The bytes it was answered with.
    pub bytes: u64,
}

/// One request as a visitor tells `site/main` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Which of this visitor's tellings it is, from 1.
    pub n: u64,
    /// The status it was answered with.
    pub status: u16,
    /// The bytes it was answered with.
    pub bytes: u64,
    /// How many sessions the visitor has more than before. Less than 0 where a
    /// late event joined two.
    pub sessions: i64,
}
