//! What a node does with the steps its machines ask for.

use phoenix_cluster::migration::{
    Action, SourceAction, SourceEvent, SourceOutcome, Step, TargetAction, TargetEvent,
    TargetOutcome,
};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{MigrationId, NodeId};

use crate::invariants;
use crate::node::{Copy, Kept, Memory};
use crate::world::{Asker, DIRECTORY, Event, World, pair};

impl World {
    pub(crate) fn perform(&mut self, node: NodeId, steps: Vec<Step>) {
        let mut skip_parts = false;
        for step in steps {
            let (id, peer) = (step.migration, step.peer);
            match step.action {
                Action::Answer(message)
                | Action::Source(_, SourceAction::Send(message))
                | Action::Target(_, TargetAction::Send(message)) => {
                    if let MigrationMessage::Ship { offset, .. } = &message {
                        let full = self.wild() && self.rng.chance(5);
                        if skip_parts || full || self.cut.contains(&pair(node, peer)) {
                            if !skip_parts {
                                let event = SourceEvent::NotSent { offset: *offset };
                                self.own(node, 0, Event::Source(node, id, event));
                            }
                            skip_parts = true;
                            continue;
                        }
                    }
                    self.transmit(node, peer, Event::Message(node, peer, message));
                }
                Action::Source(_, SourceAction::Submit { request, command })
                | Action::Target(_, TargetAction::Submit { request, command }) => {
                    let asker = Asker::Migration(id, request);
                    self.transmit(node, DIRECTORY, Event::Ask(node, asker, command));
                }
                Action::Source(_, action) => self.source_action(node, id, action),
                Action::Target(_, action) => self.target_action(node, id, action),
            }
        }
    }

    fn source_action(&mut self, node: NodeId, id: MigrationId, action: SourceAction) {
        match action {
            SourceAction::Freeze => {
                let delay = self.rng.below(20);
                self.own(node, delay, Event::Source(node, id, SourceEvent::Still));
            }
            SourceAction::Unfreeze { epoch } => {
                let it = self.node(node);
                it.generation = epoch.generation;
                let Some(copy) = it.copy.as_mut().filter(|copy| copy.frozen == Some(id)) else {
                    self.broken = Some(format!("{node} unfreezes what {id} did not freeze"));
                    return;
                };
                copy.frozen = None;
                copy.epoch = epoch;
                self.runs(node);
            }
            SourceAction::Release { owner } => {
                if let Err(why) = invariants::released_only_after_activation(self, id, node) {
                    self.broken = Some(why);
                }
                let it = self.node(node);
                it.generation = it.generation.max(owner.epoch.generation);
                self.hear(node, owner);
                let it = self.node(node);
                if it.copy.take().is_none_or(|copy| copy.frozen != Some(id)) {
                    self.broken = Some(format!("{node} lets go of what {id} did not freeze"));
                }
                self.end_log(node);
            }
            SourceAction::Finished(outcome) => match outcome {
                SourceOutcome::Moved { .. } => self.tally.moved += 1,
                SourceOutcome::Stayed { .. } => self.tally.stayed += 1,
                SourceOutcome::Gone { .. } => self.tally.gone += 1,
            },
            SourceAction::Send(_) | SourceAction::Submit { .. } => {}
        }
    }

    fn target_action(&mut self, node: NodeId, id: MigrationId, action: TargetAction) {
        match action {
            TargetAction::Prepare => {
                let delay = self.rng.below(200);
                let event = if self.wild() && self.rng.chance(3) {
                    TargetEvent::PrepareFailed("no such component".to_owned())
                } else if self.nodes[&node].is_stored() {
                    self.node(node).verifying.push(id);
                    return self.own(node, 0, Event::Recall(node));
                } else if self.nodes[&node].journal.is_some() {
                    TargetEvent::PrepareFailed("it lives here".to_owned())
                } else {
                    TargetEvent::Prepared
                };
                self.own(node, delay, Event::Target(node, id, event));
            }
            TargetAction::Stage { bytes } => {
                let failed = self.wild() && self.rng.chance(3);
                let delay = self.rng.below(20);
                let event = if failed {
                    TargetEvent::StageFailed("out of memory".to_owned())
                } else {
                    self.node(node).staged.insert(id, Memory::of(&bytes));
                    // Before or after it crashes, if it does.
                    if self.rng.chance(50) {
                        self.journal_has(node, id);
                    }
                    TargetEvent::StageOk
                };
                self.own(node, delay, Event::Target(node, id, event));
            }
            TargetAction::Activate { epoch } => {
                self.activations.insert(id);
                let it = self.node(node);
                it.activated.insert(id, epoch);
                it.route = None;
                it.held.clear();
                if !self.nodes[&node].staged.contains_key(&id) {
                    self.broken = Some(format!("{node} activates {id} and has no copy"));
                }
            }
            TargetAction::Run => {
                let it = self.node(node);
                let (Some(memory), Some(epoch)) = (it.staged.remove(&id), it.activated.remove(&id))
                else {
                    self.broken = Some(format!("{node} runs {id} and has no copy"));
                    return;
                };
                it.generation = it.generation.max(epoch.generation);
                let before = it.copy.replace(Copy {
                    memory,
                    epoch,
                    frozen: None,
                });
                if before.is_some() {
                    self.broken = Some(format!("{node} runs {id} over another copy"));
                }
                self.runs(node);
            }
            TargetAction::Drop => {
                self.node(node).staged.remove(&id);
                self.node(node).activated.remove(&id);
                self.end_log(node);
            }
            TargetAction::Finished(TargetOutcome::Dropped { .. }) => self.node(node).route = None,
            TargetAction::Finished(_) | TargetAction::Send(_) | TargetAction::Submit { .. } => {}
        }
    }

    /// The journal of the node has the copy that is staged by that attempt, and with it
    /// all that was said before.
    pub(crate) fn journal_has(&mut self, node: NodeId, id: MigrationId) {
        let durable = self.plan.durable;
        let it = self.node(node);
        if let Some(memory) = it.staged.get(&id).copied().filter(|_| durable) {
            it.ending = None;
            it.journal = Some(Kept {
                memory,
                shipped_by: Some(id),
            });
        }
    }

    /// What the journal of the node has is not the agent any more.
    pub(crate) fn end_log(&mut self, node: NodeId) {
        let it = self.node(node);
        if let Some(kept) = it.journal.take() {
            it.ending = Some(kept);
            let delay = self.rng.below(10);
            self.own(node, delay, Event::Ended(node));
        }
    }
}
