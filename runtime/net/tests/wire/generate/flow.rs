//! What is said about flow control.

use std::sync::Arc;

use phoenix_core::Millis;
use phoenix_core::flow::{
    AttachedFlow, AttachedFlows, BreakerInfo, BreakerPolicy, BreakerState, BulkheadPolicy, Fill,
    FlowInfo, FlowNotice, FlowPolicy, FlowScope, FlowTarget, GateInfo, LastFailure, LeaseAsk,
    LeaseGrant, LeaseId, LimitName, Rate, RatePolicy, ShareInfo, SharedRatePolicy, TenantLife,
    TurnedDown, TurnedDownBy, Unit, WindowPolicy,
};
use phoenix_core::topics::TopicName;

use super::Generator;

impl Generator {
    pub(super) fn flow_scope(&mut self) -> FlowScope {
        use FlowScope::{Agent, Kind, Node, Topic};
        self.pick(&[Agent, Kind, Topic, Node])
    }

    pub(super) fn flow_target(&mut self) -> FlowTarget {
        match self.below(4) {
            0 => FlowTarget::Agent(self.agent()),
            1 => FlowTarget::Kind(self.kind()),
            2 => FlowTarget::Topic(TopicName::new("orders.eu").unwrap()),
            _ => FlowTarget::Node(self.node()),
        }
    }

    pub(super) fn flow_notice(&mut self) -> FlowNotice {
        use TurnedDownBy::{Breaker, Bulkhead, Rate, Shared, Size, Wait, Window};
        FlowNotice {
            at: self.flow_scope(),
            by: self.pick(&[Rate, Window, Shared, Bulkhead, Breaker, Wait, Size]),
            retry_after: self.millis(),
        }
    }

    pub(super) fn turned_down(&mut self) -> TurnedDown {
        TurnedDown {
            notice: self.flow_notice(),
            text: self.shared_text(),
        }
    }

    fn limit(&mut self) -> LimitName {
        LimitName::new(self.pick(&["payments", "b-2"])).unwrap()
    }

    fn unit(&mut self) -> Unit {
        self.pick(&[Unit::Messages, Unit::Bytes])
    }

    /// From 1 to 1,000: one that does not fit is refused.
    fn fitting(&mut self) -> u64 {
        1 + self.number() % 1_000
    }

    fn rate(&mut self) -> Rate {
        Rate {
            amount: self.fitting(),
            per: Millis(self.fitting()),
        }
    }

    pub(super) fn flow_policy(&mut self) -> Arc<FlowPolicy> {
        Arc::new(FlowPolicy {
            rate: self.option(|g| RatePolicy {
                unit: g.unit(),
                rate: g.rate(),
                burst: g.fitting(),
            }),
            window: self.option(|g| WindowPolicy {
                unit: g.unit(),
                limit: g.fitting(),
                per: Millis(g.fitting()),
            }),
            shared: self.option(|g| {
                let mut policy = SharedRatePolicy {
                    name: g.limit(),
                    unit: g.unit(),
                    rate: g.rate(),
                    burst: 0,
                    lease: Millis(9 + g.fitting()),
                };
                policy.burst = policy.least_burst() + g.fitting();
                policy
            }),
            breaker: self.option(|g| BreakerPolicy {
                window: Millis(9 + g.fitting()),
                calls: 7,
                failures: 100,
                open_for: Millis(g.fitting()),
                open_at_most: Millis(1_000 + g.fitting()),
                probes: 2,
                probe_timeout: Millis(g.fitting()),
            }),
            bulkhead: self.option(|g| BulkheadPolicy {
                concurrent: 1,
                waiting: 0,
                longest_wait: Millis(g.fitting()),
            }),
        })
    }

    fn fill(&mut self) -> Fill {
        Fill {
            unit: self.unit(),
            left: self.number(),
            of: self.number(),
        }
    }

    pub(super) fn flow_info(&mut self) -> FlowInfo {
        use BreakerState::{Closed, HalfOpen, Open};
        FlowInfo {
            target: self.flow_target(),
            node: self.node(),
            deployed: self.flag(),
            policy: self.flow_policy(),
            gate: self.option(|g| {
                Box::new(GateInfo {
                    rate: g.option(Self::fill),
                    window: g.option(Self::fill),
                    shared: g.option(|g| ShareInfo {
                        limit: g.limit(),
                        left: g.number(),
                        asked: g.flag(),
                        granted: g.number(),
                        lapsed: g.number(),
                    }),
                    breaker: g.option(|g| BreakerInfo {
                        state: g.pick(&[Closed, Open, HalfOpen]),
                        since: g.millis(),
                        cause: g.shared_text(),
                        until: g.option(Self::millis),
                        ok: g.number(),
                        failed: g.number(),
                        probes: g.small(),
                        probes_ok: g.small(),
                        opened: g.number(),
                    }),
                    running: g.small(),
                    concurrent: g.option(Self::small),
                    waiting: g.small(),
                    last_failure: g.option(|g| LastFailure {
                        at: g.millis(),
                        code: g.shared_text(),
                        text: g.shared_text(),
                    }),
                    counters: g.list(3, |g| (g.text(), g.number())),
                })
            }),
        }
    }

    pub(super) fn attached_flows(&mut self) -> AttachedFlows {
        AttachedFlows {
            version: self.number(),
            list: self.list(3, |g| AttachedFlow {
                target: g.flow_target(),
                policy: g.flow_policy(),
            }),
        }
    }

    fn lease_id(&mut self) -> LeaseId {
        LeaseId {
            life: TenantLife {
                boot: self.number(),
                count: self.number(),
            },
            number: self.number(),
        }
    }

    pub(super) fn lease_ask(&mut self) -> LeaseAsk {
        LeaseAsk {
            limit: self.limit(),
            part: self.small() as u16,
            id: self.lease_id(),
            want: self.number(),
            least: self.number(),
        }
    }

    pub(super) fn lease_grant(&mut self) -> LeaseGrant {
        LeaseGrant {
            limit: self.limit(),
            part: self.small() as u16,
            id: self.lease_id(),
            tokens: self.number(),
            valid_for: self.millis(),
            retry_after: self.millis(),
        }
    }
}
