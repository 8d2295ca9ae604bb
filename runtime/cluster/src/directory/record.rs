//! What the directory must not forget.

use phoenix_core::{AgentId, MigrationId, NodeId};

/// One change of the directory. It must be on disk before the answer that tells
/// of it is given, and replayed in order it makes the same state again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A node was seen with a higher boot counter.
    Boot {
        /// Which node.
        node: NodeId,
        /// Its boot counter.
        boot: u64,
    },
    /// An operator declared a node dead.
    Dead {
        /// Which node.
        node: NodeId,
        /// In which life: the next one is welcome.
        boot: u64,
    },
    /// An agent got its entry.
    Placed {
        /// Which agent.
        agent: AgentId,
        /// Where it lives.
        owner: NodeId,
        /// Under which generation.
        generation: u64,
    },
    /// A migration won.
    Moved {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The source.
        from: NodeId,
        /// How often the source had started.
        from_boot: u64,
        /// The target.
        to: NodeId,
        /// The target's generation.
        generation: u64,
    },
    /// A migration was given up before it moved.
    Aborted {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The source, which keeps the agent.
        from: NodeId,
        /// The source's generation from now on.
        generation: u64,
    },
    /// The source has let go of its copy.
    Settled {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
    },
    /// The target runs its copy without having heard from the source.
    Claimed {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
    },
    /// The source took the agent back.
    Reclaimed {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The source's generation from now on.
        generation: u64,
    },
    /// The target gave a migration up before it moved.
    Voided {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The target.
        by: NodeId,
    },
    /// The owner was declared dead, and the agent begins a new life elsewhere.
    Reassigned {
        /// Which agent.
        agent: AgentId,
        /// Where it lives from now on.
        owner: NodeId,
        /// Under which generation.
        generation: u64,
    },
    /// The agent stopped.
    Forgotten {
        /// Which agent.
        agent: AgentId,
    },
}

impl Record {
    /// Whether the record may wait for another one to be synced with: nobody's
    /// pause hangs on it.
    pub fn is_lazy(&self) -> bool {
        matches!(self, Self::Settled { .. })
    }

    /// The agent it is about; none for a node's.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Boot { .. } | Self::Dead { .. } => None,
            Self::Placed { agent, .. }
            | Self::Moved { agent, .. }
            | Self::Aborted { agent, .. }
            | Self::Settled { agent, .. }
            | Self::Claimed { agent, .. }
            | Self::Reclaimed { agent, .. }
            | Self::Voided { agent, .. }
            | Self::Reassigned { agent, .. }
            | Self::Forgotten { agent } => Some(agent),
        }
    }
}

/// A record that does not follow from the state it is replayed on: the log is
/// not the one this state was made from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{record:?} does not follow: {why}")]
pub struct BadRecord {
    /// The record.
    pub record: Box<Record>,
    /// What is wrong with it.
    pub why: &'static str,
}
