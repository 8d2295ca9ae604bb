//! The directory: which node owns which agent, as a state machine.
//!
//! ```text
//!   command, who asks ──► decide ──► answer
//!                           │           ▲ not given before
//!                           ▼           │
//!                         record ──► synced (the store's work)
//! ```
//!
//! An agent without an entry lives on the directory's own node, under
//! generation 0. So a cluster of one node writes nothing, and an entry is made
//! when an agent is placed elsewhere or first moves.
//!
//! **Invariant**: for each agent the generation only rises, over its stops and
//! new lives too; and each value of it belongs to one node.

mod decide;
mod entry;
mod nodes;
mod record;
mod replay;

use hashbrown::{HashMap, HashSet};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, Epoch, NodeId};

use decide::Change;
use entry::Graves;
use nodes::Nodes;

pub use entry::{Attempt, Entry, Grave, Phase};
pub use nodes::{DeathRefused, NodeEntry, NodeRefused, Standing};
pub use record::{BadRecord, Record};

/// What the directory may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Agents with an entry or placed on its own node, default 10,000,000. At
    /// the bound new agents are not placed; those that live move as before.
    pub agents: usize,
    /// Stopped agents remembered one by one, default 100,000.
    pub graves: usize,
    /// Attempts to move an agent remembered of each, default 6, at least 2: a
    /// command repeated after that many later moves is answered as lost.
    pub attempts: usize,
    /// Nodes, default 4,096.
    pub nodes: usize,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            agents: 10_000_000,
            graves: 100_000,
            attempts: 6,
            nodes: 4_096,
        }
    }
}

/// Who asks: a node, in the life of it that the command was sent in.
///
/// A command from an earlier life of a node than the last one seen is not
/// carried out: what it was about died with that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which node.
    pub node: NodeId,
    /// Its boot counter when it asked.
    pub boot: u64,
}

/// The directory's state.
#[derive(Clone, Debug)]
pub struct DirectoryState {
    own: NodeId,
    limits: DirectoryLimits,
    nodes: Nodes,
    entries: HashMap<AgentId, Entry>,
    graves: Graves,
    /// Agents given to the own node without an entry. Dies with the node, as those agents do.
    implicit: HashSet<AgentId>,
}

impl DirectoryState {
    /// The empty directory of the node `own`. Announce that node by
    /// [`DirectoryState::node_up`] before anything else.
    pub fn new(own: NodeId, limits: DirectoryLimits) -> Self {
        Self {
            own,
            limits,
            nodes: Nodes::new(own),
            entries: HashMap::new(),
            graves: Graves::default(),
            implicit: HashSet::new(),
        }
    }

    /// Carries out a command.
    ///
    /// The record, if there is one, must be durable before the answer is given;
    /// so must every earlier record about the same agent.
    ///
    /// A node must ask for an agent's place before it creates the agent, the
    /// directory's own node too: that is what keeps two nodes from creating it.
    pub fn apply(
        &mut self,
        origin: Origin,
        command: &DirectoryCommand,
    ) -> (DirectoryAnswer, Option<Record>) {
        let (mut answer, change) = self.decide(origin, command);
        let record = match change {
            Change::None => None,
            Change::Implicit(agent) => {
                self.implicit.insert(agent);
                None
            }
            Change::NotImplicit(agent) => {
                self.implicit.remove(&agent);
                None
            }
            Change::Record(record) => {
                self.install(&record);
                Some(record)
            }
        };
        if let DirectoryAnswer::Owned(ownership) | DirectoryAnswer::Lost(ownership) = &mut answer {
            ownership.life = self.life(command.agent());
        }
        (answer, record)
    }

    /// A node is connected, or the own node starts. The record must be durable
    /// before any command of the node is answered.
    pub fn node_up(&mut self, node: NodeId, boot: u64) -> Result<Option<Record>, NodeRefused> {
        let known = self.nodes.boot(node);
        if boot < known {
            return Err(NodeRefused::OldBoot {
                node,
                said: boot,
                known,
            });
        }
        if boot == known && self.nodes.is_dead(node) {
            return Err(NodeRefused::DeclaredDead { node, boot });
        }
        if !self.nodes.knows(node) && self.nodes.len() >= self.limits.nodes {
            return Err(NodeRefused::TooMany(self.limits.nodes));
        }
        let news = !self.nodes.knows(node) || boot > known;
        if news {
            self.nodes.set_boot(node, boot);
        }
        self.nodes.set_standing(node, Standing::Up);
        Ok(news.then_some(Record::Boot { node, boot }))
    }

    /// An operator declares dead the last life that was seen of a node, and gives
    /// its boot counter. Whether that is true only the operator can know.
    ///
    /// The record, if there is one, must be durable before anybody is told. What
    /// the node owned is given to others, each agent under a higher generation, as
    /// it is next looked for. Commands of that life, should it live after all, are
    /// not carried out any more.
    pub fn declare_dead(&mut self, node: NodeId) -> Result<(u64, Option<Record>), DeathRefused> {
        if node == self.own {
            return Err(DeathRefused::Own(node));
        }
        let entry = self.nodes.get(node).ok_or(DeathRefused::Unknown(node))?;
        if entry.standing != Standing::Down {
            return Err(DeathRefused::Connected(node));
        }
        let boot = entry.boot;
        let record = (!entry.dead).then_some(Record::Dead { node, boot });
        self.nodes.set_dead(node);
        Ok((boot, record))
    }

    /// A node is connected no longer. What it owns it keeps.
    pub fn node_down(&mut self, node: NodeId) {
        self.nodes.set_standing(node, Standing::Down);
    }

    /// A node is about to stop: it gets no new agents.
    pub fn node_leaving(&mut self, node: NodeId) {
        self.nodes.set_standing(node, Standing::Leaving);
    }

    /// Replays a record that was read from disk.
    pub fn replay(&mut self, record: &Record) -> Result<(), BadRecord> {
        match self.objection(record) {
            None => {
                self.install(record);
                Ok(())
            }
            Some(why) => Err(BadRecord {
                record: Box::new(record.clone()),
                why,
            }),
        }
    }

    /// How things stand with the agent: without an entry it is the own node's.
    pub fn ownership(&self, agent: &AgentId) -> Ownership {
        if let Some(entry) = self.entries.get(agent) {
            let life = entry.life;
            let owned = self.owned(entry.owner, entry.generation);
            Ownership { life, ..owned }
        } else if let Some(grave) = self.graves.get(agent) {
            self.owned(grave.owner, grave.generation)
        } else {
            self.owned(self.own, 0)
        }
    }

    /// Where `asker` finds the agent: with its owner, or while it moves with the
    /// node that it leaves.
    pub fn whereabouts(&self, asker: NodeId, agent: &AgentId) -> Ownership {
        match self.entries.get(agent) {
            Some(entry) => Ownership {
                life: entry.life,
                ..self.found_at(asker, entry)
            },
            None => self.ownership(agent),
        }
    }

    fn owned(&self, owner: NodeId, generation: u64) -> Ownership {
        Ownership {
            owner,
            epoch: Epoch {
                generation,
                term: self.nodes.boot(owner),
            },
            // Of one without an entry.
            life: 0,
        }
    }

    fn life(&self, agent: &AgentId) -> u64 {
        self.entries.get(agent).map_or(0, |entry| entry.life)
    }
}

/// The whole state, for a snapshot of it and back.
impl DirectoryState {
    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, NodeEntry)> + '_ {
        self.nodes.iter()
    }

    /// The agents with an entry, in no order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&AgentId, &Entry)> + '_ {
        self.entries.iter()
    }

    /// The stopped agents remembered one by one, oldest first.
    pub fn graves(&self) -> impl Iterator<Item = (&AgentId, Grave)> + '_ {
        self.graves.iter()
    }

    /// The generation above which every new entry begins.
    pub fn floor(&self) -> u64 {
        self.graves.floor()
    }

    /// Puts back an agent's entry. Attempts beyond the bound are dropped, oldest first.
    pub fn load_entry(&mut self, agent: AgentId, mut entry: Entry) {
        let extra = entry
            .attempts
            .len()
            .saturating_sub(self.limits.attempts.max(2));
        entry.attempts.drain(..extra);
        self.entries.insert(agent, entry);
    }

    /// Puts back a stopped agent; call it for the oldest first.
    pub fn load_grave(&mut self, agent: AgentId, grave: Grave) {
        self.graves.insert(agent, grave, self.limits.graves);
    }

    /// Puts back the floor.
    pub fn load_floor(&mut self, floor: u64) {
        self.graves.raise_floor(floor);
    }

    /// Puts back a node. It is down until it is announced.
    pub fn load_node(&mut self, node: NodeId, boot: u64, dead: bool) {
        self.nodes.set_boot(node, boot);
        if dead {
            self.nodes.set_dead(node);
        }
    }
}
