//! Flow control: policies that are attached, and their gates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Policy;

/// Policies and gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    /// In order of their targets and nodes.
    pub flows: Vec<Flow>,
}

/// A policy that was attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// To what, as in `kind:counter`.
    pub target: String,
    /// Every field of the limiters it has.
    pub policy: Policy,
}

/// A policy at one node, and the gate it makes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// What it is attached to, as in `kind:counter`.
    pub target: String,
    /// The node that says so, as in `node-1`.
    pub node: String,
    /// Whether it is the kind's, from its deployment, and not attached since.
    pub deployed: bool,
    /// Every field of the limiters it has.
    pub policy: Policy,
    /// Absent while nothing has come to it at this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// A gate: those of its limiters that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The token bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Fill>,
    /// The sliding window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Fill>,
    /// The node's share in a rate that all nodes keep together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Share>,
    /// The circuit breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Messages under way: taken, and not ended.
    pub running: u32,
    /// How many may be, if that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Messages that wait to pass.
    pub waiting: u32,
    /// What failed last of what had passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// What was counted since the gate was made, by name.
    pub counters: BTreeMap<String, u64>,
}

/// How much of something is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// What is counted: `messages` or `bytes`.
    pub unit: String,
    /// Units that may pass now.
    pub left: u64,
    /// Most units that may pass at once.
    pub of: u64,
}

/// A node's share in a rate that all nodes keep together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The limit's name.
    pub name: String,
    /// Units that may pass now.
    pub left: u64,
    /// Whether it waits for the owner's answer.
    pub asked: bool,
    /// Units it had from the owner.
    pub granted: u64,
    /// How many of them ended unspent.
    pub lapsed: u64,
}

/// A circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// Since when, milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// Why, for people.
    pub cause: String,
    /// When it will let a probe pass, if it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
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
}

/// What failed last of what had passed a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// A stable word for how: `failed`, `trap`, `timeout`, `expired`, `quarantined`,
    /// `init-failed`, `unanswered` or `disconnected`.
    pub code: String,
    /// In the guest's or the host's words; perhaps empty.
    pub text: String,
}
