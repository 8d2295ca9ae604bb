//! Who owns which agent: the commands of the directory and its answers.
//!
//! The directory is one state machine, wherever it runs. Until there is a
//! consensus-backed one it runs on the cluster's first node, synced to disk
//! before it answers. An agent without an entry lives on that node.
//!
//! Every command is idempotent: those of a migration by its [`MigrationId`],
//! the others by their nature. Whoever hears no answer repeats the command.

use crate::{AgentId, Epoch, MigrationId, NodeId};

/// Where an agent lives, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The node that may commit for it.
    pub owner: NodeId,
    /// The epoch it does so under.
    pub epoch: Epoch,
    /// The generation under which it was placed last, or given to another node than one
    /// that is dead: a copy of a life that began before that, which an ended node left
    /// behind, is not the agent any more.
    pub life: u64,
}

/// What is asked of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryCommand {
    /// Where does the agent live? If nowhere yet, it is given to `prefer` (if that
    /// node is up), or to a node of the directory's choice.
    Place {
        /// Which agent.
        agent: AgentId,
        /// Where it would best live.
        prefer: Option<NodeId>,
    },
    /// The compare-and-swap of a migration: from the owner at `generation` to `to`.
    /// Once it has won, whoever runs the directory tells `to` so by
    /// [`crate::migration::MigrationMessage::Activate`], beside answering.
    Move {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The generation the source owns it under.
        generation: u64,
        /// The source.
        from: NodeId,
        /// The target.
        to: NodeId,
    },
    /// Gives up a migration whose move was not asked for, or not answered: the
    /// owner stays, under a higher generation, so that a late move loses.
    Abort {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The generation the source owned it under.
        generation: u64,
        /// The source.
        from: NodeId,
    },
    /// The target has activated its copy and the source has let go of its own.
    Settle {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
    },
    /// The target, which cannot reach the source, asks to run its copy; or, without
    /// one, to begin a new life ([`DirectoryAnswer::Unclaimed`]). Wins only after
    /// the move, and shuts out a later [`DirectoryCommand::Reclaim`].
    Claim {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The target.
        by: NodeId,
    },
    /// The source, whose target came back without the copy, asks for the agent
    /// back. Wins only after the move and before any settle or claim.
    Reclaim {
        /// Which agent.
        agent: AgentId,
        /// Which attempt.
        migration: MigrationId,
        /// The source.
        by: NodeId,
    },
    /// The agent stopped: forget it, if `generation` is still its own.
    Forget {
        /// Which agent.
        agent: AgentId,
        /// The generation it was owned under.
        generation: u64,
    },
}

impl DirectoryCommand {
    /// The agent the command is about.
    pub fn agent(&self) -> &AgentId {
        match self {
            Self::Place { agent, .. }
            | Self::Move { agent, .. }
            | Self::Abort { agent, .. }
            | Self::Settle { agent, .. }
            | Self::Claim { agent, .. }
            | Self::Reclaim { agent, .. }
            | Self::Forget { agent, .. } => agent,
        }
    }
}

/// What the directory answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryAnswer {
    /// The agent lives here. For a migration's commands: the command won, and this is the result.
    Owned(Ownership),
    /// The command lost; this is how things stand.
    Lost(Ownership),
    /// To a [`DirectoryCommand::Place`] of the owner: it owns the agent by this
    /// attempt, whose source is gone, and has not said what became of its copy.
    /// If it has one, or is about to, it claims that. Otherwise it first sees to it
    /// that it takes none any more, then claims the agent for a new life.
    Unclaimed(MigrationId),
    /// The directory cannot answer just now; nothing is known of the command. Repeat it.
    InDoubt(String),
}

/// The port to the directory.
pub trait Directory: Send + Sync {
    /// Carries out `command` and calls `done` once with the answer, from any thread.
    fn submit(
        &self,
        command: DirectoryCommand,
        done: Box<dyn FnOnce(DirectoryAnswer) + Send + 'static>,
    );
}
