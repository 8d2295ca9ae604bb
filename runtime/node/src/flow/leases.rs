//! Rates that all nodes share: the owner, on the node that holds the directory, and
//! the shares of this node's gates.
//!
//! That node is one as long as there is no consensus, and each of its lives begins
//! with owners that have nothing yet. So of each name at most one owner lends at a time.

use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::flow::{LeaseAsk, LeaseGrant, LimitName, RateOwner, SharedRatePolicy};
use phoenix_core::{Millis, NodeId, PeerMessage};

use crate::clock;
use crate::flow::Gate;
use crate::shared::Shared;
use crate::worker::Event;

/// The owners of shared rates that this node is, by name.
#[derive(Default)]
pub(super) struct Leases {
    owners: HashMap<LimitName, (SharedRatePolicy, RateOwner)>,
}

impl Shared {
    /// Asks for what gates lack of rates that they share. Says whether they may have
    /// more now.
    pub(crate) fn lease(&self, gates: &[Arc<Gate>], now: Millis) -> bool {
        let mut has_more = false;
        for gate in gates {
            if gate.policy().shared.is_some()
                && let Some(ask) = gate.lease_ask(now)
            {
                has_more |= self.send_lease_ask(gate, ask, now);
            }
        }
        has_more
    }

    /// Asks again for what was not answered, or was to be asked for later.
    pub(crate) fn lease_again(&self, now: Millis) {
        for gate in self.flows.sharing() {
            if let Some(ask) = gate.late_lease_ask(now)
                && self.send_lease_ask(&gate, ask, now)
            {
                self.flow_ready(&gate);
            }
        }
    }

    fn send_lease_ask(&self, gate: &Gate, ask: LeaseAsk, now: Millis) -> bool {
        let owner = self.directory.node();
        if owner != self.node {
            // One that is lost is sent again.
            let _ = self.send(owner, PeerMessage::LeaseAsk(ask));
            return false;
        }
        let grant = self.lend(self.node, &ask, now);
        if let Some(grant) = &grant {
            gate.lease_granted(grant, now);
        }
        grant.is_some_and(|grant| grant.tokens > 0)
    }

    /// A node wants a slice of a rate whose owner is here.
    pub(crate) fn lease_asked(&self, from: NodeId, ask: &LeaseAsk) {
        if self.directory.node() == self.node
            && let Some(grant) = self.lend(from, ask, clock::now_ms())
        {
            // One that is lost is asked for again, and is the same then.
            let _ = self.send(from, PeerMessage::LeaseGrant(grant));
        }
    }

    /// The owner answered a gate of this node's.
    pub(crate) fn lease_granted(&self, from: NodeId, grant: &LeaseGrant) {
        if from != self.directory.node() {
            return;
        }
        let now = clock::now_ms();
        for gate in self.flows.sharing() {
            let shared = gate.policy().shared.as_ref();
            if gate.part() == grant.part && shared.is_some_and(|it| it.name == grant.limit) {
                gate.lease_granted(grant, now);
                self.flow_ready(&gate);
            }
        }
    }

    /// What the owner of a limit, which is here, answers.
    fn lend(&self, node: NodeId, ask: &LeaseAsk, now: Millis) -> Option<LeaseGrant> {
        let mut leases = self.flows.leases.lock();
        if !leases.owners.contains_key(&ask.limit) {
            let mut policies = self.shared_policies();
            let policy = policies.find(|policy| policy.name == ask.limit)?;
            let owner = RateOwner::new(&policy, now);
            leases.owners.insert(ask.limit.clone(), (policy, owner));
        }
        let (_, owner) = leases.owners.get_mut(&ask.limit)?;
        owner.asked(node, ask, now)
    }

    /// Policies have changed: owners of what is not shared so any more end.
    pub(super) fn revise_leases(&self) {
        let current: Vec<SharedRatePolicy> = self.shared_policies().collect();
        let mut leases = self.flows.leases.lock();
        leases
            .owners
            .retain(|_, (policy, _)| current.contains(policy));
    }

    /// Every policy of a shared rate, a kind's own too.
    pub(super) fn shared_policies(&self) -> impl Iterator<Item = SharedRatePolicy> {
        let attached = self.flows.attached().list.into_iter();
        let attached = attached.filter_map(|attached| attached.policy.shared.clone());
        let kinds = self.kinds.list().into_iter();
        attached.chain(kinds.filter_map(|kind| kind.policy.flow.as_ref()?.shared.clone()))
    }

    /// Something may pass a gate that could not: whoever waits there is to try again.
    pub(crate) fn flow_ready(&self, gate: &Gate) {
        if gate.is_awaited() {
            for seat in &self.seats {
                seat.post(Event::FlowReady);
            }
        }
    }
}
