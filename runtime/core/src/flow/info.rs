//! Policies and gates as operators see them, and as nodes tell each other.

use std::sync::Arc;

use crate::flow::{BreakerState, Fill, FlowPolicy, FlowTarget, GateView, LimitName};
use crate::{Millis, NodeId};

/// Most policies that may be attached in a cluster, beside those of kinds.
pub const MAX_FLOW_POLICIES: usize = 10_000;

/// A policy and what it is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedFlow {
    /// To what.
    pub target: FlowTarget,
    /// The policy.
    pub policy: Arc<FlowPolicy>,
}

/// All policies that are attached in a cluster, beside those of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedFlows {
    /// Greater with each change: whoever has these passes older ones over.
    pub version: u64,
    /// The policies, in order of their targets.
    pub list: Vec<AttachedFlow>,
}

/// A policy at one node, and the gate it makes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// What it is attached to.
    pub target: FlowTarget,
    /// Which node says so.
    pub node: NodeId,
    /// Whether it is the kind's, from its deployment, and not attached to it since.
    pub deployed: bool,
    /// The policy.
    pub policy: Arc<FlowPolicy>,
    /// The gate; `None` while nothing has come to it at this node.
    pub gate: Option<Box<GateInfo>>,
}

/// A gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateInfo {
    /// The token bucket.
    pub rate: Option<Fill>,
    /// The sliding window.
    pub window: Option<Fill>,
    /// The share in a rate that all nodes keep together.
    pub shared: Option<ShareInfo>,
    /// The circuit breaker.
    pub breaker: Option<BreakerInfo>,
    /// Messages under way: taken, and not ended.
    pub running: u32,
    /// How many may be, if that is bounded.
    pub concurrent: Option<u32>,
    /// Messages that wait to pass.
    pub waiting: u32,
    /// What failed last of what had passed, if anything did.
    pub last_failure: Option<LastFailure>,
    /// What was counted since the gate was made: name and value.
    pub counters: Vec<(String, u64)>,
}

/// What failed last of what had passed a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When.
    pub at: Millis,
    /// A stable word for how.
    pub code: Arc<str>,
    /// In the guest's or the host's words; perhaps empty.
    pub text: Arc<str>,
}

/// A node's share in a rate that all nodes keep together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareInfo {
    /// Which limit.
    pub limit: LimitName,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerInfo {
    /// What it does.
    pub state: BreakerState,
    /// Since when.
    pub since: Millis,
    /// Why, for people.
    pub cause: Arc<str>,
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
}

impl GateInfo {
    /// What there is to say about a gate that looks so.
    pub fn new(view: GateView, last_failure: Option<LastFailure>) -> Self {
        Self {
            rate: view.rate,
            window: view.window,
            shared: view.shared.map(|share| ShareInfo {
                limit: share.limit,
                left: share.left,
                asked: share.asked,
                granted: share.granted,
                lapsed: share.lapsed,
            }),
            breaker: view.breaker.map(|breaker| BreakerInfo {
                state: breaker.state,
                since: breaker.since,
                cause: breaker.cause.to_string().into(),
                until: breaker.until,
                ok: breaker.ok,
                failed: breaker.failed,
                probes: breaker.probes,
                probes_ok: breaker.probes_ok,
                opened: breaker.opened,
            }),
            running: view.running,
            concurrent: view.concurrent,
            waiting: view.waiting,
            last_failure,
            counters: view
                .counters
                .list()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }
}
