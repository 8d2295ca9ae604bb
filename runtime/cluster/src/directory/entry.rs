//! What the directory holds of an agent.

use std::collections::VecDeque;

use hashbrown::HashMap;
use phoenix_core::{AgentId, MigrationId, NodeId};

/// How far an attempt to move an agent came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The target owns the agent; the source still has its frozen copy.
    Moved,
    /// The source let go of its copy.
    Settled,
    /// The target runs its copy without having heard that the source let go.
    Claimed,
    /// The source took the agent back.
    Reclaimed,
    /// The source gave the attempt up before it moved.
    Aborted,
    /// The target gave the attempt up before it moved: it must not move any more,
    /// for the target has no copy.
    Voided,
}

/// An attempt to move an agent, as the directory remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub migration: MigrationId,
    /// The source.
    pub from: NodeId,
    /// How often the source had started when the agent moved.
    pub from_boot: u64,
    /// The target; the source itself where it gave up before moving.
    pub to: NodeId,
    /// The generation the attempt ended with; of a voided one, the generation of the time.
    pub generation: u64,
    /// How far it came.
    pub phase: Phase,
}

impl Attempt {
    /// Who owned the agent when the attempt was last decided upon.
    pub fn owner(&self) -> NodeId {
        match self.phase {
            Phase::Moved | Phase::Settled | Phase::Claimed => self.to,
            Phase::Reclaimed | Phase::Aborted | Phase::Voided => self.from,
        }
    }

    /// Whether its move stands.
    pub(super) fn stands(&self) -> bool {
        matches!(self.phase, Phase::Moved | Phase::Settled | Phase::Claimed)
    }
}

/// An agent that has an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it lives.
    pub owner: NodeId,
    /// Under which generation.
    pub generation: u64,
    /// Under which its present life was placed, or given to another node: see
    /// [`phoenix_core::directory::Ownership::life`].
    pub life: u64,
    /// The last attempts to move it, newest last.
    pub attempts: Vec<Attempt>,
}

impl Entry {
    pub(super) fn attempt(&self, migration: MigrationId) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.migration == migration)
    }

    pub(super) fn attempt_mut(&mut self, migration: MigrationId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|a| a.migration == migration)
    }

    /// The attempt that moved the agent where it is now, while nobody has said
    /// which of the two copies lives on.
    pub(super) fn unsettled(&self) -> Option<&Attempt> {
        self.attempts
            .iter()
            .find(|a| a.phase == Phase::Moved && a.generation == self.generation)
    }

    /// Remembers the attempt, in place of what is known of it. Where that is one
    /// too many, one of an earlier generation is forgotten first: its commands
    /// are lost without it too. The one that is not settled is never forgotten.
    pub(super) fn remember(&mut self, attempt: Attempt, bound: usize) {
        self.attempts.retain(|a| a.migration != attempt.migration);
        if self.attempts.len() >= bound.max(2) {
            let now = self.generation;
            let earlier = self.attempts.iter().position(|a| a.generation != now);
            let settled = || self.attempts.iter().position(|a| a.phase != Phase::Moved);
            if let Some(index) = earlier.or_else(settled) {
                self.attempts.remove(index);
            }
        }
        self.attempts.push(attempt);
    }
}

/// An agent that stopped: what its next life must be above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grave {
    /// Where it lived last.
    pub owner: NodeId,
    /// Under which generation.
    pub generation: u64,
}

/// The agents that stopped, as many as are remembered, oldest first.
///
/// Of those no longer remembered one number is kept: every new entry begins
/// above it, so that no agent ever lives twice under one generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Graves {
    known: HashMap<AgentId, (Grave, u64)>,
    order: VecDeque<(u64, AgentId)>,
    dug: u64,
    floor: u64,
}

impl Graves {
    pub(super) fn get(&self, agent: &AgentId) -> Option<Grave> {
        self.known.get(agent).map(|(grave, _)| *grave)
    }

    /// The generation every new entry must be above.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    pub(super) fn insert(&mut self, agent: AgentId, grave: Grave, bound: usize) {
        self.dug = self.dug.wrapping_add(1);
        self.known.insert(agent.clone(), (grave, self.dug));
        self.order.push_back((self.dug, agent));
        while self.known.len() > bound {
            let Some((number, oldest)) = self.order.pop_front() else {
                break;
            };
            if self.is(&oldest, number)
                && let Some((gone, _)) = self.known.remove(&oldest)
            {
                self.floor = self.floor.max(gone.generation);
            }
        }
        // Graves that were left behind would let the order grow without bound.
        if self.order.len() > 2 * bound.max(16) {
            let known = &self.known;
            self.order
                .retain(|(number, agent)| known.get(agent).is_some_and(|(_, n)| n == number));
        }
    }

    pub(super) fn remove(&mut self, agent: &AgentId) {
        self.known.remove(agent);
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, Grave)> + '_ {
        self.order
            .iter()
            .filter_map(|(number, agent)| match self.known.get(agent) {
                Some((grave, n)) if n == number => Some((agent, *grave)),
                _ => None,
            })
    }

    fn is(&self, agent: &AgentId, number: u64) -> bool {
        self.known.get(agent).is_some_and(|(_, n)| *n == number)
    }
}
