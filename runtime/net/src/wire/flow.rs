//! What is said about flow control: policies, gates, and leases of shared rates.

use std::sync::Arc;

use phoenix_core::flow::{
    AttachedFlow, AttachedFlows, BreakerInfo, BreakerPolicy, BreakerState, BulkheadPolicy, Fill,
    FlowInfo, FlowNotice, FlowPolicy, FlowScope, FlowTarget, GateInfo, LastFailure, LeaseAsk,
    LeaseGrant, LeaseId, LimitName, Rate, RatePolicy, ShareInfo, SharedRatePolicy, TenantLife,
    TurnedDown, TurnedDownBy, Unit, WindowPolicy,
};
use phoenix_core::topics::{KindSubscriptions, TopicName};

use super::codec::{Wire, choice, record};
use super::input::{Input, Malformed};
use super::output::Output;

choice!(FlowScope as "what a gate stands before" {
    0 => Agent,
    1 => Kind,
    2 => Topic,
    3 => Node,
});

choice!(TurnedDownBy as "a limiter" {
    0 => Rate,
    1 => Window,
    2 => Shared,
    3 => Bulkhead,
    4 => Breaker,
    5 => Wait,
    6 => Size,
});

record!(FlowNotice {
    at,
    by,
    retry_after
});
record!(TurnedDown { notice, text });

choice!(FlowTarget as "a policy's target" {
    0 => Agent(agent),
    1 => Kind(kind),
    2 => Topic(topic),
    3 => Node(node),
});

impl Wire for TopicName {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a topic", |text| {
            TopicName::new(text).map_err(|_| Malformed::Name("a topic"))
        })
    }
}

/// As they are written.
impl Wire for KindSubscriptions {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a kind's subscriptions", |text| {
            text.parse()
                .map_err(|_| Malformed::Range("a kind's subscriptions"))
        })
    }
}

impl Wire for LimitName {
    fn put(&self, out: &mut Output) {
        out.text(self.as_str());
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        input.text("a limit's name", |text| {
            LimitName::new(text).map_err(|_| Malformed::Name("a limit's name"))
        })
    }
}

choice!(Unit as "a unit" {
    0 => Messages,
    1 => Bytes,
});

record!(Rate { amount, per });
record!(RatePolicy { unit, rate, burst });
record!(WindowPolicy { unit, limit, per });
record!(SharedRatePolicy {
    name,
    unit,
    rate,
    burst,
    lease
});
record!(BreakerPolicy {
    window,
    calls,
    failures,
    open_for,
    open_at_most,
    probes,
    probe_timeout,
});
record!(BulkheadPolicy {
    concurrent,
    waiting,
    longest_wait,
});
record!(FlowPolicy {
    rate,
    window,
    shared,
    breaker,
    bulkhead,
});

/// One that does not fit is refused: what is made from it would not hold.
impl Wire for Arc<FlowPolicy> {
    fn put(&self, out: &mut Output) {
        (**self).put(out);
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        let policy = FlowPolicy::get(input)?;
        match policy.validate() {
            Ok(()) => Ok(Arc::new(policy)),
            Err(_) => Err(Malformed::Range("a flow policy")),
        }
    }
}

record!(AttachedFlow { target, policy });
record!(AttachedFlows { version, list });

record!(FlowInfo {
    target,
    node,
    deployed,
    policy,
    gate,
});
record!(Fill { unit, left, of });
record!(ShareInfo {
    limit,
    left,
    asked,
    granted,
    lapsed,
});

choice!(BreakerState as "a breaker's state" {
    0 => Closed,
    1 => Open,
    2 => HalfOpen,
});

record!(BreakerInfo {
    state,
    since,
    cause,
    until,
    ok,
    failed,
    probes,
    probes_ok,
    opened,
});
record!(LastFailure { at, code, text });
record!(GateInfo {
    rate,
    window,
    shared,
    breaker,
    running,
    concurrent,
    waiting,
    last_failure,
    counters,
});

record!(TenantLife { boot, count });
record!(LeaseId { life, number });
record!(LeaseAsk {
    limit,
    part,
    id,
    want,
    least,
});
record!(LeaseGrant {
    limit,
    part,
    id,
    tokens,
    valid_for,
    retry_after,
});
