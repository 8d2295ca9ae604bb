//! What records do to the state, live and read back.

use phoenix_core::{AgentId, MigrationId, NodeId};

use super::{Attempt, DirectoryState, Entry, Grave, Phase, Record};

impl DirectoryState {
    /// Why a record cannot follow on this state.
    pub(super) fn objection(&self, record: &Record) -> Option<&'static str> {
        let rises = |agent: &AgentId, generation: u64| {
            let before = self
                .entries
                .get(agent)
                .map(|entry| entry.generation)
                .or_else(|| self.graves.get(agent).map(|grave| grave.generation))
                .unwrap_or(0);
            (generation <= before).then_some("its generation does not rise")
        };
        match record {
            Record::Boot { node, boot } => {
                (*boot < self.nodes.boot(*node)).then_some("the boot counter falls")
            }
            Record::Dead { node, boot } => {
                (*boot != self.nodes.boot(*node)).then_some("the node has another life")
            }
            Record::Placed {
                agent, generation, ..
            } => {
                if self.entries.contains_key(agent) {
                    Some("the agent is placed already")
                } else {
                    rises(agent, *generation)
                }
            }
            Record::Moved {
                agent, generation, ..
            }
            | Record::Aborted {
                agent, generation, ..
            } => rises(agent, *generation),
            Record::Settled { agent, migration } | Record::Claimed { agent, migration } => self
                .entries
                .get(agent)
                .and_then(|entry| entry.attempt(*migration))
                .is_none()
                .then_some("there is no such attempt"),
            Record::Reclaimed {
                agent,
                migration,
                generation,
            } => match self.entries.get(agent).map(|e| e.attempt(*migration)) {
                Some(Some(_)) => rises(agent, *generation),
                _ => Some("there is no such attempt"),
            },
            Record::Reassigned {
                agent, generation, ..
            } => {
                if self.entries.contains_key(agent) {
                    rises(agent, *generation)
                } else {
                    Some("the agent has no entry")
                }
            }
            Record::Voided { agent, .. } => self
                .graves
                .get(agent)
                .is_some()
                .then_some("the agent has stopped"),
            Record::Forgotten { agent } => {
                (!self.entries.contains_key(agent)).then_some("the agent has no entry")
            }
        }
    }

    /// Makes the change. What does not fit changes nothing.
    pub(super) fn install(&mut self, record: &Record) {
        match record {
            Record::Boot { node, boot } => self.nodes.set_boot(*node, *boot),
            Record::Dead { node, .. } => self.nodes.set_dead(*node),
            Record::Placed {
                agent,
                owner,
                generation,
            } => {
                self.graves.remove(agent);
                let entry = self.entry(agent, *owner);
                entry.generation = *generation;
                entry.life = *generation;
            }
            Record::Reassigned {
                agent,
                owner,
                generation,
            } => {
                if let Some(entry) = self.entries.get_mut(agent) {
                    entry.owner = *owner;
                    entry.generation = *generation;
                    entry.life = *generation;
                }
            }
            Record::Moved {
                agent,
                migration,
                from,
                from_boot,
                to,
                generation,
            } => self.end_attempt(
                agent,
                Attempt {
                    migration: *migration,
                    from: *from,
                    from_boot: *from_boot,
                    to: *to,
                    generation: *generation,
                    phase: Phase::Moved,
                },
            ),
            Record::Aborted {
                agent,
                migration,
                from,
                generation,
            } => self.end_attempt(
                agent,
                Attempt {
                    migration: *migration,
                    from: *from,
                    from_boot: 0,
                    to: *from,
                    generation: *generation,
                    phase: Phase::Aborted,
                },
            ),
            Record::Settled { .. }
            | Record::Claimed { .. }
            | Record::Reclaimed { .. }
            | Record::Voided { .. } => self.install_phase(record),
            Record::Forgotten { agent } => {
                if let Some(entry) = self.entries.remove(agent) {
                    let grave = Grave {
                        owner: entry.owner,
                        generation: entry.generation,
                    };
                    self.graves.insert(agent.clone(), grave, self.limits.graves);
                }
            }
        }
    }

    /// Makes a change to an attempt that is remembered.
    fn install_phase(&mut self, record: &Record) {
        match record {
            Record::Settled { agent, migration } => {
                if let Some(attempt) = self.attempt_mut(agent, *migration) {
                    attempt.phase = Phase::Settled;
                }
            }
            Record::Claimed { agent, migration } => {
                if let Some(attempt) = self.attempt_mut(agent, *migration) {
                    attempt.phase = Phase::Claimed;
                }
            }
            Record::Reclaimed {
                agent,
                migration,
                generation,
            } => {
                if let Some(entry) = self.entries.get_mut(agent)
                    && let Some(attempt) = entry.attempt_mut(*migration)
                {
                    attempt.phase = Phase::Reclaimed;
                    attempt.generation = *generation;
                    let from = attempt.from;
                    entry.owner = from;
                    entry.generation = *generation;
                }
            }
            Record::Voided {
                agent,
                migration,
                by,
            } => {
                let (own, bound) = (self.own, self.limits.attempts);
                let entry = self.entry(agent, own);
                let attempt = Attempt {
                    migration: *migration,
                    from: entry.owner,
                    from_boot: 0,
                    to: *by,
                    generation: entry.generation,
                    phase: Phase::Voided,
                };
                entry.remember(attempt, bound);
            }
            Record::Boot { .. }
            | Record::Dead { .. }
            | Record::Reassigned { .. }
            | Record::Placed { .. }
            | Record::Moved { .. }
            | Record::Aborted { .. }
            | Record::Forgotten { .. } => {}
        }
    }

    fn end_attempt(&mut self, agent: &AgentId, attempt: Attempt) {
        let bound = self.limits.attempts;
        let entry = self.entry(agent, attempt.from);
        entry.owner = attempt.owner();
        entry.generation = attempt.generation;
        entry.remember(attempt, bound);
    }

    /// The agent's entry, made if it has none.
    fn entry(&mut self, agent: &AgentId, owner: NodeId) -> &mut Entry {
        self.implicit.remove(agent);
        self.entries.entry(agent.clone()).or_insert_with(|| Entry {
            owner,
            generation: 0,
            life: 0,
            attempts: Vec::new(),
        })
    }

    fn attempt_mut(&mut self, agent: &AgentId, migration: MigrationId) -> Option<&mut Attempt> {
        self.entries.get_mut(agent)?.attempt_mut(migration)
    }
}
