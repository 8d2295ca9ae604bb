//! A simulated node: its migrations and what it has of the one agent.

use std::collections::BTreeMap;

use bytes::Bytes;
use phoenix_cluster::{MigrationLimits, Migrations, Whereabouts};
use phoenix_core::{Epoch, MigrationId, NodeId};

/// An agent's memory: which life of it, and how many turns it has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) life: u64,
    pub(crate) turns: u64,
}

impl Memory {
    /// As it is shipped: some bytes of filling make it several parts.
    pub(crate) fn image(self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.life.to_le_bytes());
        bytes.extend_from_slice(&self.turns.to_le_bytes());
        bytes.extend_from_slice(&[7; 9]);
        bytes.into()
    }

    pub(crate) fn of(image: &[u8]) -> Self {
        assert_eq!(image.len(), 25, "the image arrives whole");
        assert_eq!(&image[16..], &[7; 9], "and in order");
        Self {
            life: u64::from_le_bytes(image[..8].try_into().unwrap()),
            turns: u64::from_le_bytes(image[8..16].try_into().unwrap()),
        }
    }
}

/// The agent on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub(crate) memory: Memory,
    pub(crate) epoch: Epoch,
    /// Set while it stands still for this migration.
    pub(crate) frozen: Option<MigrationId>,
}

/// What a node's journal has of a durable agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) memory: Memory,
    /// The attempt that brought it, until a snapshot is taken here.
    pub(crate) shipped_by: Option<MigrationId>,
}

pub(crate) struct Node {
    pub(crate) boot: u64,
    pub(crate) alive: bool,
    /// The highest boot counter it saw of each other node.
    pub(crate) seen: BTreeMap<NodeId, u64>,
    pub(crate) table: Migrations,
    pub(crate) copy: Option<Copy>,
    pub(crate) staged: BTreeMap<MigrationId, Memory>,
    /// The epoch a staged copy was activated under.
    pub(crate) activated: BTreeMap<MigrationId, Epoch>,
    /// The highest generation it heard of for the agent.
    pub(crate) generation: u64,
    /// Where it heard last that the agent is, if that is elsewhere.
    pub(crate) route: Option<Whereabouts>,
    /// Messages that wait for the directory's word, by the nodes they were sent from.
    pub(crate) held: Vec<NodeId>,
    /// What survives it.
    pub(crate) journal: Option<Kept>,
    /// What it had there, and would have again if it crashed now: that it ended is not
    /// durable yet.
    pub(crate) ending: Option<Kept>,
    /// Attempts to come here that wait until it is known whose an older copy is.
    pub(crate) verifying: Vec<MigrationId>,
}

impl Node {
    pub(crate) fn new(id: NodeId, boot: u64) -> Self {
        let limits = MigrationLimits {
            part_bytes: 8,
            burst_parts: 3,
            ..MigrationLimits::default()
        };
        Self {
            boot,
            alive: true,
            seen: BTreeMap::new(),
            table: Migrations::new(id, limits),
            copy: None,
            staged: BTreeMap::new(),
            activated: BTreeMap::new(),
            generation: 0,
            route: None,
            held: Vec::new(),
            journal: None,
            ending: None,
            verifying: Vec::new(),
        }
    }

    /// Whether it has a copy in its journal, and nothing else of the agent.
    pub(crate) fn is_stored(&self) -> bool {
        let is_loaded = self.copy.is_some() || !self.staged.is_empty();
        self.journal.is_some() && !is_loaded
    }

    pub(crate) fn running(&self) -> Option<Copy> {
        self.copy.filter(|copy| self.alive && copy.frozen.is_none())
    }

    /// Every memory it has, running or not.
    pub(crate) fn memories(&self) -> impl Iterator<Item = Memory> + '_ {
        let all = self.copy.iter().map(|copy| copy.memory);
        all.chain(self.staged.values().copied())
            .filter(|_| self.alive)
    }
}
