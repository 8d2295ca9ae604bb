//! The directory on node 1: its state, its log, and what of the log is synced.

use phoenix_cluster::directory::NodeRefused;
use phoenix_cluster::{DirectoryLimits, DirectoryState, Origin, Record};
use phoenix_core::NodeId;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};

pub(crate) struct Directory {
    pub(crate) state: DirectoryState,
    /// The state as it would be after a crash just now that loses all it may lose.
    pub(crate) synced_state: DirectoryState,
    log: Vec<Record>,
    pub(crate) synced: usize,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let state = DirectoryState::new(NodeId(1), DirectoryLimits::default());
        Self {
            synced_state: state.clone(),
            state,
            log: Vec::new(),
            synced: 0,
        }
    }

    /// The answer, and how much of the log must be synced before it is given.
    pub(crate) fn ask(
        &mut self,
        origin: Origin,
        command: &DirectoryCommand,
    ) -> (DirectoryAnswer, usize) {
        let (answer, record) = self.state.apply(origin, command);
        self.log.extend(record);
        (answer, self.log.len())
    }

    /// Whether the node is taken in.
    pub(crate) fn node_up(&mut self, node: NodeId, boot: u64) -> bool {
        match self.state.node_up(node, boot) {
            Ok(record) => {
                self.log.extend(record);
                true
            }
            Err(NodeRefused::DeclaredDead { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Whether the node is dead from now on, and how much must be synced before that is told.
    pub(crate) fn declare_dead(&mut self, node: NodeId) -> Option<usize> {
        let (_, record) = self.state.declare_dead(node).ok()?;
        self.log.extend(record);
        Some(self.log.len())
    }

    /// Whether the last thing that was recorded, not synced yet, took an agent from a dead node.
    pub(crate) fn reassigned(&self) -> bool {
        let last = self.log.len() > self.synced;
        last && matches!(self.log.last(), Some(Record::Reassigned { .. }))
    }

    pub(crate) fn sync(&mut self, through: usize) {
        for record in self.log.iter().take(through).skip(self.synced) {
            self.synced_state.replay(record).unwrap();
        }
        self.synced = self.synced.max(through);
    }

    /// The node crashed, and `kept` of the records not yet synced survived.
    pub(crate) fn recover(&mut self, kept: usize) {
        self.log.truncate(self.synced + kept);
        let mut state = DirectoryState::new(NodeId(1), DirectoryLimits::default());
        for record in &self.log {
            state.replay(record).unwrap();
        }
        self.state = state;
        self.sync(self.log.len());
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.log.len() - self.synced
    }
}
