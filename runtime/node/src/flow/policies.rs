//! Attaching policies, on the node that holds the directory, and listing them.

use std::sync::Arc;

use phoenix_core::control::{ControlError, Done, Request, Response};
use phoenix_core::flow::{
    AttachedFlow, AttachedFlows, FlowInfo, FlowPolicy, FlowScope, FlowTarget, MAX_FLOW_POLICIES,
    SharedRatePolicy,
};
use phoenix_core::topics::wire;
use phoenix_core::{AgentId, KindName, Millis, NodeId, PeerMessage};

use crate::clock;
use crate::flow::Flows;
use crate::gather::Gather;
use crate::kinds::Known;
use crate::shared::Shared;
use crate::worker::Event;

impl Shared {
    /// Attaches a policy, in place of the one that was.
    pub(crate) fn set_flow(
        self: &Arc<Self>,
        target: FlowTarget,
        policy: Arc<FlowPolicy>,
        done: Done,
    ) {
        let directory = self.directory.node();
        if directory != self.node {
            return self.control_at(directory, Request::SetFlow { target, policy }, done);
        }
        let shared = self.clone();
        self.in_background("flow", move || {
            done(
                shared
                    .set_flow_here(target, policy)
                    .map(|()| Response::Done),
            );
        });
    }

    fn set_flow_here(
        &self,
        target: FlowTarget,
        policy: Arc<FlowPolicy>,
    ) -> Result<(), ControlError> {
        policy
            .validate()
            .map_err(|bad| ControlError::Invalid(bad.to_string()))?;
        if policy.is_empty() {
            return Err(ControlError::Invalid(format!(
                "the policy limits nothing: set fields such as rate.amount, or take away what is \
                 attached to {target} with `phoenix flow clear {target}`"
            )));
        }
        self.is_there(&target)?;
        self.change_flows(|flows| {
            let place = flows.list.binary_search_by(|it| it.target.cmp(&target));
            // Its own name for the rate may come with other numbers.
            let others = |it: &&AttachedFlow| it.target != target;
            let attached = flows.list.iter().filter(others);
            let attached = attached.filter_map(|it| it.policy.shared.clone());
            self.agrees(&policy, attached.chain(self.shared_by_kinds(None)))?;
            match place {
                Ok(at) => {
                    if let Some(attached) = flows.list.get_mut(at) {
                        attached.policy = policy;
                    }
                }
                Err(_) if flows.list.len() >= MAX_FLOW_POLICIES => {
                    return Err(ControlError::Conflict(format!(
                        "{MAX_FLOW_POLICIES} policies are attached, and no more may be: take one away first"
                    )));
                }
                Err(at) => flows.list.insert(at, AttachedFlow { target, policy }),
            }
            Ok(())
        })
    }

    /// Takes a policy away that was attached.
    pub(crate) fn clear_flow(self: &Arc<Self>, target: FlowTarget, done: Done) {
        let directory = self.directory.node();
        if directory != self.node {
            return self.control_at(directory, Request::ClearFlow { target }, done);
        }
        let shared = self.clone();
        self.in_background("flow", move || {
            let cleared = shared.change_flows(|flows| {
                let place = flows.list.binary_search_by(|it| it.target.cmp(&target));
                let Ok(at) = place else {
                    return Err(shared.not_attached(&target));
                };
                flows.list.remove(at);
                Ok(())
            });
            done(cleared.map(|()| Response::Done));
        });
    }

    fn not_attached(&self, target: &FlowTarget) -> ControlError {
        if let FlowTarget::Kind(kind) = target
            && let Known::Ready(ready) = self.kinds.get(kind.as_str())
            && ready.policy.flow.is_some()
        {
            return ControlError::Conflict(format!(
                "{kind} was deployed with its gate: deploy it again without"
            ));
        }
        ControlError::NotFound(format!(
            "no policy is attached to {target}: `phoenix flow list` shows those that are"
        ))
    }

    /// Whether what a policy is to be attached to can be.
    fn is_there(&self, target: &FlowTarget) -> Result<(), ControlError> {
        let kind = match target {
            FlowTarget::Agent(agent) => agent.kind(),
            FlowTarget::Kind(kind) => kind.as_str(),
            FlowTarget::Topic(topic) if topic.tokens().nth(1).is_none() => return Ok(()),
            FlowTarget::Topic(topic) => {
                let space = wire::space_of(topic);
                return Err(ControlError::Invalid(format!(
                    "all topics that begin with {space} have one owner and one gate: attach it \
                     to topic:{space}"
                )));
            }
            FlowTarget::Node(node) => {
                if *node == self.node || self.peers.read().contains_key(node) {
                    return Ok(());
                }
                return Err(ControlError::NotFound(format!(
                    "no {node} in the cluster: see `phoenix nodes`"
                )));
            }
        };
        match self.kinds.get(kind) {
            Known::Unknown => Err(self.no_such_kind(kind)),
            Known::Ready(_) | Known::Coming => Ok(()),
        }
    }

    /// Whether all who share a rate by name mean the same one.
    fn agrees(
        &self,
        policy: &FlowPolicy,
        mut others: impl Iterator<Item = SharedRatePolicy>,
    ) -> Result<(), ControlError> {
        let Some(own) = &policy.shared else {
            return Ok(());
        };
        let differs = |other: &SharedRatePolicy| other.name == own.name && other != own;
        match others.find(differs) {
            None => Ok(()),
            Some(other) => Err(ControlError::Conflict(format!(
                "the rate `{}` is shared already as {} in {} with a burst of {} and leases of {}: \
                 write the same, or take another shared.name",
                own.name, other.rate.amount, other.rate.per, other.burst, other.lease
            ))),
        }
    }

    /// Whether a kind may be deployed with this policy.
    pub(crate) fn may_share(&self, kind: &str, policy: &FlowPolicy) -> Result<(), ControlError> {
        let attached = self.flows.attached().list.into_iter();
        let attached = attached.filter_map(|it| it.policy.shared.clone());
        self.agrees(policy, attached.chain(self.shared_by_kinds(Some(kind))))
    }

    /// Rates that kinds share by their deployment, but for one.
    fn shared_by_kinds(&self, but: Option<&str>) -> impl Iterator<Item = SharedRatePolicy> {
        let mut kinds = self.kinds.list();
        kinds.retain(|kind| Some(kind.kind.as_str()) != but);
        kinds
            .into_iter()
            .filter_map(|kind| kind.policy.flow.as_ref()?.shared.clone())
    }

    /// Changes what is attached, durably, then tells everybody.
    fn change_flows(
        &self,
        change: impl FnOnce(&mut AttachedFlows) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let _changing = self.flows.changing.lock();
        let mut flows = self.flows.attached();
        change(&mut flows)?;
        flows.version += 1;
        if let Some(store) = &self.flows.store {
            store
                .save(&flows)
                .map_err(|error| ControlError::Internal(error.to_string()))?;
        }
        self.flows.replace(flows.clone());
        self.flows_changed();
        self.broadcast(&PeerMessage::Flows(flows));
        Ok(())
    }

    /// The directory's node says what is attached.
    pub(crate) fn flows_heard(&self, from: NodeId, flows: AttachedFlows) {
        if from != self.directory.node() || from == self.node {
            return;
        }
        {
            let _changing = self.flows.changing.lock();
            if flows.version <= self.flows.inner.read().version {
                return;
            }
            self.flows.replace(flows);
        }
        self.flows_changed();
    }

    /// Tells a node that connected what is attached.
    pub(crate) fn tell_flows(&self, peer: NodeId) {
        let flows = self.flows.attached();
        if flows.version > 0 {
            let _ = self.send(peer, PeerMessage::Flows(flows));
        }
    }

    /// What is attached, or the policy of a kind, has changed.
    pub(crate) fn flows_changed(&self) {
        self.revise_leases();
        for seat in &self.seats {
            seat.post(Event::Regate);
        }
    }

    /// Lists policies and their gates.
    pub(crate) fn list_flows(
        self: &Arc<Self>,
        target: Option<FlowTarget>,
        scope: Option<FlowScope>,
        node: Option<NodeId>,
        from: Option<NodeId>,
        done: Done,
    ) {
        let request = |node| Request::Flows {
            target: target.clone(),
            scope,
            node,
        };
        if let Some(node) = node.filter(|node| *node != self.node) {
            if from.is_some() || !self.is_connected(node) {
                let text = format!("{node} is not connected");
                return done(Err(ControlError::Unavailable(text)));
            }
            return self.control_at(node, request(Some(node)), done);
        }
        let others = self.asked_too(node, from);
        let merge = |lists: Vec<Response>| {
            let mut all: Vec<FlowInfo> = lists
                .into_iter()
                .flat_map(|list| match list {
                    Response::Flows(flows) => flows,
                    _ => Vec::new(),
                })
                .collect();
            all.sort_by(|a, b| (&a.target, a.node).cmp(&(&b.target, b.node)));
            Response::Flows(all)
        };
        let gather = Gather::lenient(1 + others.len(), merge, done);
        gather.part()(Ok(Response::Flows(self.flow_infos(target.as_ref(), scope))));
        for other in others {
            self.control_at(other, request(Some(other)), gather.part());
        }
    }

    fn flow_infos(&self, target: Option<&FlowTarget>, scope: Option<FlowScope>) -> Vec<FlowInfo> {
        let attached = self.flows.attached().list;
        let deployed = self.kinds.list().into_iter().filter_map(|kind| {
            let target = FlowTarget::Kind(kind.kind);
            let is_replaced = attached.iter().any(|it| it.target == target);
            let policy = kind.policy.flow.filter(|_| !is_replaced)?;
            Some((target, policy, true))
        });
        let deployed: Vec<_> = deployed.collect();
        let attached = attached.into_iter().map(|it| (it.target, it.policy, false));
        let now = clock::now_ms();
        attached
            .chain(deployed)
            .filter(|(found, ..)| target.is_none_or(|target| target == found))
            .filter(|(found, ..)| scope.is_none_or(|scope| scope == found.scope()))
            .map(|(target, policy, deployed)| self.flow_info(target, policy, deployed, now))
            .collect()
    }
}

impl Shared {
    fn flow_info(
        &self,
        target: FlowTarget,
        policy: Arc<FlowPolicy>,
        deployed: bool,
        now: Millis,
    ) -> FlowInfo {
        let gate = self.flows.seen(&target, &policy);
        FlowInfo {
            gate: gate.map(|gate| Box::new(gate.info(now))),
            node: self.node,
            target,
            deployed,
            policy,
        }
    }

    /// The gates before an agent of this kind, for people.
    pub(crate) fn agent_flows(&self, agent: &AgentId, kind: &KindName) -> Vec<FlowInfo> {
        let now = clock::now_ms();
        let own = FlowTarget::Agent(agent.clone());
        let own = self.flows.policy(&own).map(|policy| (own, policy, false));
        let target = FlowTarget::Kind(kind.clone());
        let of_kind = match self.flows.policy(&target) {
            Some(policy) => Some((target, policy, false)),
            None => match self.kinds.get(kind.as_str()) {
                Known::Ready(kind) => kind.policy.flow.clone().map(|it| (target, it, true)),
                Known::Coming | Known::Unknown => None,
            },
        };
        let both = [own, of_kind].into_iter().flatten();
        both.map(|(target, policy, deployed)| self.flow_info(target, policy, deployed, now))
            .collect()
    }

    /// The gate before what leaves for a node, for people.
    pub(crate) fn node_flow(&self, node: NodeId) -> Option<Box<FlowInfo>> {
        let target = FlowTarget::Node(node);
        let policy = self.flows.policy(&target)?;
        Some(Box::new(self.flow_info(
            target,
            policy,
            false,
            clock::now_ms(),
        )))
    }
}

impl Flows {
    /// The gate that this policy has made before `target`, if it has.
    fn seen(&self, target: &FlowTarget, policy: &Arc<FlowPolicy>) -> Option<Arc<super::Gate>> {
        let inner = self.inner.read();
        let gate = inner.gates.get(target)?;
        (*gate.policy() == *policy).then(|| gate.clone())
    }
}
