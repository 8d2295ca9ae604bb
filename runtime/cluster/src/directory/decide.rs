//! What each command comes to. Nothing here changes the state.

use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, MigrationId, NodeId};

use super::{Attempt, DirectoryState, Entry, Origin, Phase, Record};

/// What a command changes.
pub(super) enum Change {
    None,
    /// The own node gets the agent, without an entry.
    Implicit(AgentId),
    /// The own node lets go of an agent without an entry.
    NotImplicit(AgentId),
    Record(Record),
}

type Decision = (DirectoryAnswer, Change);

fn won(ownership: Ownership) -> Decision {
    (DirectoryAnswer::Owned(ownership), Change::None)
}

fn lost(ownership: Ownership) -> Decision {
    (DirectoryAnswer::Lost(ownership), Change::None)
}

fn in_doubt(why: String) -> Decision {
    (DirectoryAnswer::InDoubt(why), Change::None)
}

impl DirectoryState {
    pub(super) fn decide(&self, origin: Origin, command: &DirectoryCommand) -> Decision {
        let known = self.nodes.boot(origin.node);
        if origin.boot != known {
            return in_doubt(format!(
                "{} asks as of its start {}, and {known} is the last the directory saw of it",
                origin.node, origin.boot
            ));
        }
        if self.nodes.is_dead(origin.node) {
            return in_doubt(format!(
                "{} was declared dead after {known} starts",
                origin.node
            ));
        }
        match command {
            DirectoryCommand::Place { agent, prefer } => self.place(origin, agent, *prefer),
            DirectoryCommand::Move {
                agent,
                migration,
                generation,
                from,
                to,
            } => {
                let attempt = Attempt {
                    migration: *migration,
                    from: *from,
                    from_boot: self.nodes.boot(*from),
                    to: *to,
                    generation: *generation,
                    phase: Phase::Moved,
                };
                self.move_agent(agent, attempt)
            }
            DirectoryCommand::Abort {
                agent,
                migration,
                generation,
                from,
            } => self.abort(agent, *migration, *generation, *from),
            DirectoryCommand::Settle { agent, migration } => self.settle(agent, *migration),
            DirectoryCommand::Claim {
                agent,
                migration,
                by,
            } => self.claim(agent, *migration, *by),
            DirectoryCommand::Reclaim {
                agent,
                migration,
                by,
            } => self.reclaim(agent, *migration, *by),
            DirectoryCommand::Forget { agent, generation } => self.forget(agent, *generation),
        }
    }

    fn place(&self, origin: Origin, agent: &AgentId, prefer: Option<NodeId>) -> Decision {
        if let Some(entry) = self.entries.get(agent) {
            if self.nodes.is_dead(entry.owner) {
                return self.reassign(agent, entry, prefer);
            }
            // As long as the source may take its copy back the owner must not begin a
            // new life beside it. Once that is gone, the owner has the last copy or
            // there is none: it asks like this without one, but perhaps did so before
            // its copy came.
            if origin.node == entry.owner
                && let Some(attempt) = entry.unsettled()
            {
                if self.lives(attempt.from, attempt.from_boot) {
                    return in_doubt(format!("{agent} is on its way from {}", attempt.from));
                }
                let answer = DirectoryAnswer::Unclaimed(attempt.migration);
                return (answer, Change::None);
            }
            return won(self.found_at(origin.node, entry));
        }
        if self.implicit.contains(agent) {
            return won(self.owned(self.own, 0));
        }
        if self.entries.len() + self.implicit.len() >= self.limits.agents {
            return in_doubt(format!(
                "the directory holds {} agents, its bound: stop some before new ones are placed",
                self.limits.agents
            ));
        }
        let owner = self.nodes.choose(agent, prefer);
        let grave = self.graves.get(agent);
        let above = grave
            .map_or(0, |grave| grave.generation)
            .max(self.graves.floor());
        if owner == self.own && above == 0 && grave.is_none() {
            let answer = DirectoryAnswer::Owned(self.owned(owner, 0));
            return (answer, Change::Implicit(agent.clone()));
        }
        let generation = above + 1;
        let record = Record::Placed {
            agent: agent.clone(),
            owner,
            generation,
        };
        let answer = DirectoryAnswer::Owned(self.owned(owner, generation));
        (answer, Change::Record(record))
    }

    /// The owner was declared dead: another node begins a new life of the agent,
    /// unless the one it came from still has a copy and will take that back.
    fn reassign(&self, agent: &AgentId, entry: &Entry, prefer: Option<NodeId>) -> Decision {
        let coming = entry.unsettled();
        if let Some(attempt) = coming.filter(|a| self.lives(a.from, a.from_boot)) {
            return in_doubt(format!("{agent} is on its way back to {}", attempt.from));
        }
        let Some(generation) = entry.generation.checked_add(1) else {
            return in_doubt(format!("{agent} has no generation left"));
        };
        let owner = self.nodes.choose(agent, prefer);
        let record = Record::Reassigned {
            agent: agent.clone(),
            owner,
            generation,
        };
        let answer = DirectoryAnswer::Owned(self.owned(owner, generation));
        (answer, Change::Record(record))
    }

    /// Whether that life of the node may be going on.
    fn lives(&self, node: NodeId, boot: u64) -> bool {
        self.nodes.boot(node) == boot && !self.nodes.is_dead(node)
    }

    /// Where `asker` finds an agent. Until its move is settled that is the source,
    /// as long as that lives: it keeps what comes for the agent while it is frozen,
    /// and passes it on once the target has it. The target may have nothing yet.
    pub(super) fn found_at(&self, asker: NodeId, entry: &Entry) -> Ownership {
        let moving = entry.unsettled().filter(|attempt| {
            attempt.from != asker
                && self.nodes.is_connected(attempt.from)
                && self.lives(attempt.from, attempt.from_boot)
        });
        match moving {
            Some(attempt) => self.owned(attempt.from, attempt.generation.saturating_sub(1)),
            None => self.owned(entry.owner, entry.generation),
        }
    }

    /// Whether `node` owns the agent under `generation`, and it lives.
    fn holds(&self, agent: &AgentId, node: NodeId, generation: u64) -> bool {
        match self.entries.get(agent) {
            Some(entry) => entry.owner == node && entry.generation == generation,
            None => node == self.own && generation == 0 && self.may_be_implicit(agent),
        }
    }

    /// Whether an agent without an entry can live on the own node, under
    /// generation 0. Once stopped agents have been forgotten only those can that
    /// were placed there: of others an earlier life may have been above that.
    fn may_be_implicit(&self, agent: &AgentId) -> bool {
        let first = self.graves.floor() == 0 && self.graves.get(agent).is_none();
        first || self.implicit.contains(agent)
    }

    fn remembered(&self, agent: &AgentId, migration: MigrationId) -> Option<&Attempt> {
        self.entries.get(agent)?.attempt(migration)
    }

    /// `wanted` carries the generation the source owns the agent under.
    fn move_agent(&self, agent: &AgentId, wanted: Attempt) -> Decision {
        if let Some(attempt) = self.remembered(agent, wanted.migration) {
            return if attempt.stands() {
                won(self.owned(attempt.to, attempt.generation))
            } else {
                lost(self.ownership(agent))
            };
        }
        // Nobody is given an agent who could not keep it.
        if self.nodes.is_dead(wanted.to) {
            return lost(self.ownership(agent));
        }
        if wanted.from == wanted.to || !self.holds(agent, wanted.from, wanted.generation) {
            return lost(self.ownership(agent));
        }
        let Some(generation) = wanted.generation.checked_add(1) else {
            return lost(self.ownership(agent));
        };
        let record = Record::Moved {
            agent: agent.clone(),
            migration: wanted.migration,
            from: wanted.from,
            from_boot: wanted.from_boot,
            to: wanted.to,
            generation,
        };
        let answer = DirectoryAnswer::Owned(self.owned(wanted.to, generation));
        (answer, Change::Record(record))
    }

    fn abort(
        &self,
        agent: &AgentId,
        migration: MigrationId,
        generation: u64,
        from: NodeId,
    ) -> Decision {
        match self.remembered(agent, migration) {
            Some(attempt) if attempt.stands() => return lost(self.ownership(agent)),
            Some(attempt) if attempt.phase != Phase::Voided => {
                return won(self.owned(attempt.from, attempt.generation));
            }
            _ => {}
        }
        if !self.holds(agent, from, generation) {
            return lost(self.ownership(agent));
        }
        let Some(generation) = generation.checked_add(1) else {
            return lost(self.ownership(agent));
        };
        let record = Record::Aborted {
            agent: agent.clone(),
            migration,
            from,
            generation,
        };
        let answer = DirectoryAnswer::Owned(self.owned(from, generation));
        (answer, Change::Record(record))
    }

    fn settle(&self, agent: &AgentId, migration: MigrationId) -> Decision {
        match self.remembered(agent, migration) {
            Some(attempt) if attempt.phase == Phase::Moved => {
                let record = Record::Settled {
                    agent: agent.clone(),
                    migration,
                };
                let answer = DirectoryAnswer::Owned(self.owned(attempt.to, attempt.generation));
                (answer, Change::Record(record))
            }
            Some(attempt) if attempt.stands() => won(self.owned(attempt.to, attempt.generation)),
            _ => lost(self.ownership(agent)),
        }
    }

    fn claim(&self, agent: &AgentId, migration: MigrationId, by: NodeId) -> Decision {
        let lost = lost(self.ownership(agent));
        let Some(attempt) = self.remembered(agent, migration) else {
            return self.void(agent, migration, by);
        };
        let current = self
            .entries
            .get(agent)
            .is_some_and(|entry| entry.owner == by && entry.generation == attempt.generation);
        if !current || attempt.to != by || !attempt.stands() {
            return lost;
        }
        let here = self.owned(by, attempt.generation);
        if attempt.phase != Phase::Moved {
            return won(here);
        }
        let record = Record::Claimed {
            agent: agent.clone(),
            migration,
        };
        (DirectoryAnswer::Owned(here), Change::Record(record))
    }

    /// A target that claims before the move won will drop its copy. From then on
    /// the move must lose: the source has the only copy, and must stay its owner.
    fn void(&self, agent: &AgentId, migration: MigrationId, by: NodeId) -> Decision {
        let last = self.ownership(agent);
        let known = self.entries.contains_key(agent) || self.implicit.contains(agent);
        // An agent that does not live cannot move.
        if !known && !self.may_be_implicit(agent) {
            return lost(last);
        }
        if !known && self.entries.len() + self.implicit.len() >= self.limits.agents {
            return in_doubt("the directory is full".to_owned());
        }
        let record = Record::Voided {
            agent: agent.clone(),
            migration,
            by,
        };
        (DirectoryAnswer::Lost(last), Change::Record(record))
    }

    fn reclaim(&self, agent: &AgentId, migration: MigrationId, by: NodeId) -> Decision {
        let Some((entry, attempt)) = self
            .entries
            .get(agent)
            .and_then(|entry| Some((entry, entry.attempt(migration)?)))
        else {
            return lost(self.ownership(agent));
        };
        if attempt.from != by {
            return lost(self.ownership(agent));
        }
        match attempt.phase {
            Phase::Reclaimed => won(self.owned(by, attempt.generation)),
            Phase::Moved if entry.generation == attempt.generation => {
                let Some(generation) = entry.generation.checked_add(1) else {
                    return lost(self.ownership(agent));
                };
                let record = Record::Reclaimed {
                    agent: agent.clone(),
                    migration,
                    generation,
                };
                let answer = DirectoryAnswer::Owned(self.owned(by, generation));
                (answer, Change::Record(record))
            }
            _ => lost(self.ownership(agent)),
        }
    }

    fn forget(&self, agent: &AgentId, generation: u64) -> Decision {
        match self.entries.get(agent) {
            Some(entry) if entry.generation == generation => {
                let answer = DirectoryAnswer::Owned(self.owned(entry.owner, generation));
                let record = Record::Forgotten {
                    agent: agent.clone(),
                };
                (answer, Change::Record(record))
            }
            Some(_) => lost(self.ownership(agent)),
            None if generation == 0 && self.implicit.contains(agent) => {
                let answer = DirectoryAnswer::Owned(self.owned(self.own, 0));
                (answer, Change::NotImplicit(agent.clone()))
            }
            None => {
                let last = self.ownership(agent);
                if last.epoch.generation == generation {
                    won(last)
                } else {
                    lost(last)
                }
            }
        }
    }
}
