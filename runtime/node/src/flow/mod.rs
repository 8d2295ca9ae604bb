//! Gates: what policies that are attached to agents, kinds, topics and nodes do
//! at this node.
//!
//! ```text
//!   attached, and kinds' own ──▶ Flows ──▶ Gate ◀── workers: what agents are sent
//!   (policies.rs)                            ▲  ◀── routes: what leaves for a node
//!                                            │
//!                          leases.rs ────────┘  shares in rates that nodes share
//! ```
//!
//! A gate is made when something first comes to it, and counts from then on. What
//! it decides is decided in [`phoenix_core::flow`]; here gates are found, locked
//! and looked at.

mod gate;
mod leases;
mod nodes;
mod policies;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use phoenix_core::flow::{AttachedFlow, AttachedFlows, FlowPolicy, FlowTarget, TenantLife};
use phoenix_core::topics::{TopicName, wire};
use phoenix_core::{AgentId, NodeId};
use phoenix_store::FlowStore;

use crate::clock;
use crate::kinds::Kind;
pub(crate) use gate::{Gate, Passes, admit, cost};
use leases::Leases;

/// All policies and gates of a node.
pub(crate) struct Flows {
    boot: u64,
    /// Whether a policy is attached to anything, beside those of kinds.
    any: AtomicBool,
    /// Whether one is attached to a node.
    any_node: AtomicBool,
    inner: RwLock<Inner>,
    leases: Mutex<Leases>,
    /// Where policies are kept; on the node that holds the directory only.
    store: Option<FlowStore>,
    /// One change at a time.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    attached: BTreeMap<FlowTarget, Arc<FlowPolicy>>,
    gates: HashMap<FlowTarget, Arc<Gate>>,
    /// Gates made so far.
    made: u64,
}

impl Flows {
    /// Those that an earlier run of the node has left.
    pub(crate) fn new(boot: u64, store: Option<FlowStore>, kept: AttachedFlows) -> Self {
        let flows = Self {
            boot,
            any: AtomicBool::new(false),
            any_node: AtomicBool::new(false),
            inner: RwLock::default(),
            leases: Mutex::default(),
            store,
            changing: Mutex::new(()),
        };
        flows.replace(kept);
        flows
    }

    /// From now on these are attached, and no others. Gates whose policy is not the
    /// one it was begin anew.
    fn replace(&self, flows: AttachedFlows) {
        let mut inner = self.inner.write();
        inner.version = flows.version;
        inner.attached = flows
            .list
            .into_iter()
            .map(|attached| (attached.target, attached.policy))
            .collect();
        let Inner {
            attached, gates, ..
        } = &mut *inner;
        gates.retain(|target, gate| match (attached.get(target), target) {
            (Some(policy), _) => *policy == *gate.policy(),
            // Perhaps the kind's own: whoever needs it next sees.
            (None, FlowTarget::Kind(_)) => true,
            (None, _) => false,
        });
        let is_node = |target: &FlowTarget| matches!(target, FlowTarget::Node(_));
        self.any.store(!attached.is_empty(), Ordering::Release);
        self.any_node
            .store(attached.keys().any(is_node), Ordering::Release);
    }

    /// What is attached.
    fn attached(&self) -> AttachedFlows {
        let inner = self.inner.read();
        let list = inner.attached.iter().map(|(target, policy)| AttachedFlow {
            target: target.clone(),
            policy: policy.clone(),
        });
        AttachedFlows {
            version: inner.version,
            list: list.collect(),
        }
    }

    /// The policy that is attached to `target`, beside one of a kind's own.
    fn policy(&self, target: &FlowTarget) -> Option<Arc<FlowPolicy>> {
        self.inner.read().attached.get(target).cloned()
    }

    /// The gates before an agent, its own first; most have none.
    pub(crate) fn gates_of(&self, agent: &AgentId, kind: &Kind) -> Vec<Arc<Gate>> {
        let is_attached = self.any.load(Ordering::Acquire);
        if !is_attached && kind.policy.flow.is_none() {
            return Vec::new();
        }
        let target = FlowTarget::Agent(agent.clone());
        let own = self
            .policy(&target)
            .map(|policy| self.gate(target, &policy));
        let target = FlowTarget::Kind(kind.info.kind.clone());
        let of_kind = self.policy(&target).or_else(|| kind.policy.flow.clone());
        let of_kind = of_kind.map(|policy| self.gate(target, &policy));
        let of_space = self.gate_of_space(agent);
        let gates = [own, of_kind, of_space].into_iter().flatten();
        gates.filter(|gate| !gate.policy().is_empty()).collect()
    }

    /// The gate before what is sent to the owner of a space of topics, if one is attached
    /// to that.
    fn gate_of_space(&self, agent: &AgentId) -> Option<Arc<Gate>> {
        if agent.kind() != wire::KIND {
            return None;
        }
        self.attached_gate(FlowTarget::Topic(TopicName::new(agent.key()).ok()?))
    }

    /// The gate before what leaves for a node, if one is attached to it.
    #[inline]
    pub(crate) fn node_gate(&self, node: NodeId) -> Option<Arc<Gate>> {
        if !self.any_node.load(Ordering::Acquire) {
            return None;
        }
        self.attached_gate(FlowTarget::Node(node))
    }

    /// All gates before nodes.
    fn node_gates(&self) -> Vec<Arc<Gate>> {
        if !self.any_node.load(Ordering::Acquire) {
            return Vec::new();
        }
        let inner = self.inner.read();
        let gates = inner.gates.values();
        gates
            .filter(|gate| matches!(gate.target(), FlowTarget::Node(_)))
            .cloned()
            .collect()
    }

    fn attached_gate(&self, target: FlowTarget) -> Option<Arc<Gate>> {
        let policy = self.policy(&target)?;
        Some(self.gate(target, &policy)).filter(|gate| !gate.policy().is_empty())
    }

    /// The gate that this policy makes before `target`.
    fn gate(&self, target: FlowTarget, policy: &Arc<FlowPolicy>) -> Arc<Gate> {
        let is_it = |gate: &&Arc<Gate>| *gate.policy() == *policy;
        if let Some(gate) = self.inner.read().gates.get(&target).filter(is_it) {
            return gate.clone();
        }
        let mut inner = self.inner.write();
        if let Some(gate) = inner.gates.get(&target).filter(is_it) {
            return gate.clone();
        }
        inner.made += 1;
        let life = TenantLife {
            boot: self.boot,
            count: inner.made,
        };
        // Each tenant of a shared rate has a part of its own: there are fewer gates at a time.
        let part = u16::try_from(inner.made % (1 << 16)).unwrap_or(0);
        let gate = Arc::new(Gate::new(
            target.clone(),
            policy.clone(),
            part,
            life,
            clock::now_ms(),
        ));
        inner.gates.insert(target, gate.clone());
        gate
    }

    /// The gates that have a share in a rate.
    fn sharing(&self) -> Vec<Arc<Gate>> {
        let inner = self.inner.read();
        let gates = inner.gates.values();
        gates
            .filter(|gate| gate.policy().shared.is_some())
            .cloned()
            .collect()
    }
}
