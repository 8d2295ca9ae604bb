//! All migrations a node takes part in.

use std::collections::BTreeMap;

use phoenix_core::directory::DirectoryAnswer;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, Epoch, MigrationId, Millis, NodeId};

use super::finished::{Ending, FinishedAttempts};
use super::{
    MigrationLimits, SourceAction, SourceEvent, SourceMigration, SourceOutcome, SourcePlan,
    TargetAction, TargetEvent, TargetMigration, TargetOutcome, TargetPlan,
};

/// Something the node is to do. Steps are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For which migration.
    pub migration: MigrationId,
    /// The other side.
    pub peer: NodeId,
    /// What.
    pub action: Action,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// As the source of this agent.
    Source(AgentId, SourceAction),
    /// As the target of the agent of this plan.
    Target(TargetPlan, TargetAction),
    /// Send this to the peer, about a migration that has ended here or never was.
    Answer(MigrationMessage),
}

/// Why a migration does not begin. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginRefused {
    /// The target is the node itself.
    #[error("{agent} lives on {node} already")]
    Here {
        /// Which agent.
        agent: AgentId,
        /// The node.
        node: NodeId,
    },
    /// The agent is on its way already.
    #[error("{agent} is already moving to {to}")]
    Moving {
        /// Which agent.
        agent: AgentId,
        /// Where to.
        to: NodeId,
    },
    /// Too many migrations leave this node at a time.
    #[error("{0} migrations leave this node already, its bound: try again when one has ended")]
    TooMany(usize),
}

/// A node's side of all migrations it takes part in.
///
/// It hands messages and connections to the machines they concern, answers
/// what concerns none, and forgets machines that are done.
#[derive(Clone, Debug)]
pub struct Migrations {
    own: NodeId,
    limits: MigrationLimits,
    boots: BTreeMap<NodeId, u64>,
    sources: BTreeMap<MigrationId, SourceMigration>,
    targets: BTreeMap<MigrationId, TargetMigration>,
    finished: FinishedAttempts,
}

impl Migrations {
    /// Those of the node `own`: none yet.
    pub fn new(own: NodeId, limits: MigrationLimits) -> Self {
        Self {
            own,
            limits,
            boots: BTreeMap::new(),
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            finished: FinishedAttempts::new(limits.finished),
        }
    }

    /// Begins to move an agent of this node's away.
    pub fn begin(&mut self, now: Millis, plan: SourcePlan) -> Result<Vec<Step>, BeginRefused> {
        if plan.target == self.own {
            return Err(BeginRefused::Here {
                agent: plan.agent,
                node: self.own,
            });
        }
        if let Some(other) = self.leaving(&plan.agent) {
            return Err(BeginRefused::Moving {
                to: other.target,
                agent: plan.agent,
            });
        }
        if self.sources.len() >= self.limits.active {
            return Err(BeginRefused::TooMany(self.limits.active));
        }
        let (id, boot) = (plan.migration, self.boots.get(&plan.target).copied());
        let (machine, actions) = SourceMigration::begin(now, plan, boot, self.limits);
        self.sources.insert(id, machine);
        Ok(self.source_steps(id, actions))
    }

    /// The migration that takes the agent away from here, unless its end is decided.
    pub fn leaving(&self, agent: &AgentId) -> Option<&SourcePlan> {
        self.sources
            .values()
            .filter(|machine| !machine.is_decided())
            .map(SourceMigration::plan)
            .find(|plan| plan.agent == *agent)
    }

    /// Whether the agent may be on its way here: then no new life of it may begin.
    pub fn is_coming(&self, agent: &AgentId) -> bool {
        let mut targets = self.targets.values();
        targets.any(|machine| machine.plan().agent == *agent)
    }

    /// Whether this node knows of no migration at all that it takes part in.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.targets.is_empty()
    }

    /// When to call [`Migrations::tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Millis> {
        let sources = self.sources.values().filter_map(SourceMigration::deadline);
        let targets = self.targets.values().filter_map(TargetMigration::deadline);
        sources.chain(targets).min()
    }

    /// Something happened to a migration of which this node is the source.
    pub fn source(&mut self, now: Millis, id: MigrationId, event: SourceEvent) -> Vec<Step> {
        let Some(machine) = self.sources.get_mut(&id) else {
            return Vec::new();
        };
        let actions = machine.handle(now, event);
        self.source_steps(id, actions)
    }

    /// Something happened to a migration of which this node is the target.
    pub fn target(&mut self, now: Millis, id: MigrationId, event: TargetEvent) -> Vec<Step> {
        let Some(machine) = self.targets.get_mut(&id) else {
            return Vec::new();
        };
        let actions = machine.handle(now, event);
        self.target_steps(id, actions)
    }

    /// The directory answered a request of a migration's, whichever side it is.
    pub fn answered(
        &mut self,
        now: Millis,
        id: MigrationId,
        request: u32,
        answer: DirectoryAnswer,
    ) -> Vec<Step> {
        if self.sources.contains_key(&id) {
            self.source(now, id, SourceEvent::Answer { request, answer })
        } else {
            self.target(now, id, TargetEvent::Answer { request, answer })
        }
    }

    /// A message came.
    pub fn received(&mut self, now: Millis, from: NodeId, message: MigrationMessage) -> Vec<Step> {
        let id = message.migration();
        if let Some(machine) = self.sources.get(&id) {
            if machine.plan().target != from {
                return Vec::new();
            }
            return self.source(now, id, SourceEvent::Message(message));
        }
        if let Some(machine) = self.targets.get(&id) {
            if machine.plan().source != from {
                return Vec::new();
            }
            return self.target(now, id, TargetEvent::Message(message));
        }
        let answer = self.finished.answer(&message);
        match (message, answer) {
            (_, Some(answer)) => vec![self.answer(from, answer)],
            (
                MigrationMessage::Prepare {
                    migration,
                    agent,
                    component,
                    durable,
                },
                None,
            ) if self.finished.get(migration).is_none() => {
                if let Some(reason) = self.refusal(&agent) {
                    return vec![
                        self.answer(from, MigrationMessage::Refused { migration, reason }),
                    ];
                }
                let plan = TargetPlan {
                    migration,
                    agent,
                    component,
                    durable,
                    source: from,
                    target: self.own,
                };
                let (machine, actions) = TargetMigration::begin(now, plan, self.limits);
                self.targets.insert(id, machine);
                self.target_steps(id, actions)
            }
            _ => Vec::new(),
        }
    }

    /// The directory says that it gave an agent to this node by that move. What
    /// concerns no machine here any more needs no answer.
    pub fn moved_here(&mut self, now: Millis, id: MigrationId, epoch: Epoch) -> Vec<Step> {
        let message = MigrationMessage::Activate {
            migration: id,
            epoch,
        };
        self.target(now, id, TargetEvent::Message(message))
    }

    /// The directory says that this node has not claimed that attempt, whose source
    /// is gone. `Ok` if it has no copy by it and will take none any more, as all
    /// that still comes of it is refused; otherwise the copy is to be claimed.
    pub fn forgo(&mut self, now: Millis, id: MigrationId) -> Result<Vec<Step>, Vec<Step>> {
        let steps = self.target(now, id, TargetEvent::Forsaken);
        if self.targets.contains_key(&id) {
            return Err(steps);
        }
        self.finished.insert(id, Ending::Dropped);
        Ok(steps)
    }

    /// Why an agent cannot come here just now, if it cannot.
    fn refusal(&self, agent: &AgentId) -> Option<String> {
        // It comes back before this node has heard that it is gone. The old copy
        // must go first, or its end would be taken for the new one's.
        if let Some(plan) = self.leaving(agent) {
            return Some(format!(
                "{} still has a copy of it, of its departure to {}",
                self.own, plan.target
            ));
        }
        (self.targets.len() >= self.limits.active).then(|| {
            format!(
                "{} migrations come to {} already, its bound",
                self.limits.active, self.own
            )
        })
    }

    /// A connection to `peer` stands.
    pub fn connected(&mut self, now: Millis, peer: NodeId, boot: u64) -> Vec<Step> {
        self.boots.insert(peer, boot);
        let mut steps = Vec::new();
        for id in self.sources_of(peer) {
            steps.extend(self.source(now, id, SourceEvent::Connected { boot }));
        }
        for id in self.targets_of(peer) {
            steps.extend(self.target(now, id, TargetEvent::Connected));
        }
        steps
    }

    /// The connection to `peer` is gone.
    pub fn disconnected(&mut self, now: Millis, peer: NodeId) -> Vec<Step> {
        self.boots.remove(&peer);
        let mut steps = Vec::new();
        for id in self.sources_of(peer) {
            steps.extend(self.source(now, id, SourceEvent::Disconnected));
        }
        for id in self.targets_of(peer) {
            steps.extend(self.target(now, id, TargetEvent::Disconnected));
        }
        steps
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) -> Vec<Step> {
        let due = |deadline: Option<Millis>| deadline.is_some_and(|at| at <= now);
        let sources: Vec<MigrationId> = self
            .sources
            .iter()
            .filter(|(_, machine)| due(machine.deadline()))
            .map(|(id, _)| *id)
            .collect();
        let targets: Vec<MigrationId> = self
            .targets
            .iter()
            .filter(|(_, machine)| due(machine.deadline()))
            .map(|(id, _)| *id)
            .collect();
        let mut steps = Vec::new();
        for id in sources {
            steps.extend(self.source(now, id, SourceEvent::Tick));
        }
        for id in targets {
            steps.extend(self.target(now, id, TargetEvent::Tick));
        }
        steps
    }

    fn sources_of(&self, peer: NodeId) -> Vec<MigrationId> {
        self.sources
            .iter()
            .filter(|(_, machine)| machine.plan().target == peer)
            .map(|(id, _)| *id)
            .collect()
    }

    fn targets_of(&self, peer: NodeId) -> Vec<MigrationId> {
        self.targets
            .iter()
            .filter(|(_, machine)| machine.plan().source == peer)
            .map(|(id, _)| *id)
            .collect()
    }

    fn answer(&self, peer: NodeId, message: MigrationMessage) -> Step {
        Step {
            migration: message.migration(),
            peer,
            action: Action::Answer(message),
        }
    }

    fn source_steps(&mut self, id: MigrationId, actions: Vec<SourceAction>) -> Vec<Step> {
        let Some(machine) = self.sources.get(&id) else {
            return Vec::new();
        };
        let plan = machine.plan().clone();
        for action in &actions {
            if let SourceAction::Finished(outcome) = action {
                let ending = match outcome {
                    SourceOutcome::Moved { .. } => Ending::Released,
                    SourceOutcome::Stayed { .. } => Ending::Kept,
                    SourceOutcome::Gone { .. } => Ending::Lost,
                };
                self.finished.insert(id, ending);
            }
        }
        if machine.is_done() {
            self.sources.remove(&id);
        }
        actions
            .into_iter()
            .map(|action| Step {
                migration: id,
                peer: plan.target,
                action: Action::Source(plan.agent.clone(), action),
            })
            .collect()
    }

    fn target_steps(&mut self, id: MigrationId, actions: Vec<TargetAction>) -> Vec<Step> {
        let Some(machine) = self.targets.get(&id) else {
            return Vec::new();
        };
        let plan = machine.plan().clone();
        for action in &actions {
            if let TargetAction::Finished(outcome) = action {
                let ending = match outcome {
                    TargetOutcome::Running { .. } => Ending::Ran,
                    TargetOutcome::Dropped { .. } => Ending::Dropped,
                };
                self.finished.insert(id, ending);
            }
        }
        if machine.is_done() {
            self.targets.remove(&id);
        }
        actions
            .into_iter()
            .map(|action| Step {
                migration: id,
                peer: plan.source,
                action: Action::Target(plan.clone(), action),
            })
            .collect()
    }
}
