//! Copies of a durable agent that a node finds in its journal when it starts anew.

use phoenix_cluster::migration::{Recalled, TargetEvent, recalled};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::{MigrationId, NodeId};

use crate::node::{Copy, Kept, Memory};
use crate::world::{Asker, DIRECTORY, Event, World};

/// After how long a node asks again whose its copy is, milliseconds.
const AGAIN: u64 = 1_000;

impl World {
    /// What runs on the node is durable.
    pub(crate) fn commit(&mut self, node: NodeId, memory: Memory) {
        if self.plan.durable {
            // Until a snapshot is taken it is known what brought it.
            let is_known = self.rng.chance(90);
            let before = self.nodes[&node].journal;
            let shipped_by = before.and_then(|kept| kept.shipped_by.filter(|_| is_known));
            self.node(node).journal = Some(Kept { memory, shipped_by });
        }
    }

    pub(crate) fn ask_place(&mut self, node: NodeId) {
        let command = self.place(node);
        self.transmit(node, DIRECTORY, Event::Ask(node, Asker::Place, command));
    }

    pub(crate) fn claim(&mut self, node: NodeId, id: MigrationId) {
        let asker = Asker::Claim(id);
        let command = self.claim_of(node, id);
        self.transmit(node, DIRECTORY, Event::Ask(node, asker, command));
    }

    fn place(&self, node: NodeId) -> DirectoryCommand {
        DirectoryCommand::Place {
            agent: self.agent.clone(),
            prefer: Some(node),
        }
    }

    fn claim_of(&self, node: NodeId, id: MigrationId) -> DirectoryCommand {
        DirectoryCommand::Claim {
            agent: self.agent.clone(),
            migration: id,
            by: node,
        }
    }

    /// Asks whose the copy in the journal is, until somebody says so.
    pub(crate) fn recall(&mut self, node: NodeId) {
        if self.nodes[&node].is_stored() {
            self.ask_place(node);
            self.own(node, AGAIN, Event::Recall(node));
        }
    }

    /// The directory answered about such a copy.
    pub(crate) fn recalled(&mut self, node: NodeId, asker: Asker, answer: &DirectoryAnswer) {
        let command = match asker {
            Asker::Claim(id) => self.claim_of(node, id),
            _ => self.place(node),
        };
        let it = &self.nodes[&node];
        let Some(Kept { memory, shipped_by }) = it.journal else {
            return;
        };
        match recalled(node, &self.agent, shipped_by, &command, answer) {
            Recalled::Restore(owner) if owner.life > self.began[&memory.life] => {
                // It was given to another node, and to this one, when its node was dead.
                self.end_log(node);
                let owner = DirectoryAnswer::Owned(owner);
                self.answered(node, asker, owner);
            }
            Recalled::Restore(owner) => {
                if owner.epoch.term != it.boot || owner.epoch.generation < it.generation {
                    return;
                }
                let it = self.node(node);
                it.generation = owner.epoch.generation;
                it.copy = Some(Copy {
                    memory,
                    epoch: owner.epoch,
                    frozen: None,
                });
                self.tally.restored += 1;
                self.runs(node);
            }
            Recalled::End(owner) => {
                self.end_log(node);
                let it = self.node(node);
                it.generation = it.generation.max(owner.epoch.generation);
                self.hear(node, owner);
                for sender in std::mem::take(&mut self.node(node).held) {
                    self.transmit(node, owner.owner, Event::Pass(owner.owner, sender));
                }
            }
            Recalled::Ask(DirectoryCommand::Claim { migration, .. }) => {
                self.claim(node, migration);
                return;
            }
            Recalled::Ask(other) => panic!("{other:?}"),
            // It is recalled again.
            Recalled::Later => return,
        }
        for id in std::mem::take(&mut self.node(node).verifying) {
            let event = match self.nodes[&node].copy {
                Some(_) => TargetEvent::PrepareFailed("it lives here".to_owned()),
                None => TargetEvent::Prepared,
            };
            self.own(node, 0, Event::Target(node, id, event));
        }
    }
}
