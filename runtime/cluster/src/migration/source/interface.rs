//! What goes in and out of the source.

use bytes::Bytes;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, Digest, Epoch, MigrationId, NodeId};

/// What is to be moved, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    /// Which attempt: random.
    pub migration: MigrationId,
    /// Which agent.
    pub agent: AgentId,
    /// Its component.
    pub component: Digest,
    /// This node.
    pub source: NodeId,
    /// Where the agent goes.
    pub target: NodeId,
    /// The generation this node owns it under.
    pub generation: u64,
    /// Whether the agent is durable. Then each copy is in its node's journal, and is
    /// there again when the node is: the target's is before the directory is asked for
    /// the move, the source's until it is released.
    pub durable: bool,
}

/// What happens to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// A message of the target's.
    Message(MigrationMessage),
    /// A connection to the target stands.
    Connected {
        /// The target's boot counter.
        boot: u64,
    },
    /// The connection to the target is gone.
    Disconnected,
    /// The agent stands still: no turn of it runs until it is unfrozen, and if it is
    /// durable all of it is. What it is follows by [`SourceEvent::Frozen`].
    Still,
    /// This is all of the agent that stands still: snapshot and mailbox.
    Frozen(Bytes),
    /// The agent cannot be frozen, or not be read. If it was said to stand still it
    /// goes on doing so until it is unfrozen, otherwise it goes on.
    FreezeFailed(String),
    /// The transport refused the part that begins here. Neither it nor a later
    /// one of the same list of actions may be sent.
    NotSent {
        /// Where the part begins.
        offset: u64,
    },
    /// The directory's answer.
    Answer {
        /// The request's number.
        request: u32,
        /// The answer.
        answer: DirectoryAnswer,
    },
    /// Somebody wants the migration to end. Without effect once it has won.
    Cancel(String),
    /// The deadline has come.
    Tick,
}

/// What the source's driver is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAction {
    /// Send this to the target. One that is not sent is sent again later; of
    /// parts tell the machine by [`SourceEvent::NotSent`].
    Send(MigrationMessage),
    /// Freeze the agent at its next turn boundary; answer with
    /// [`SourceEvent::Still`] and then [`SourceEvent::Frozen`], or with
    /// [`SourceEvent::FreezeFailed`] in the place of either.
    Freeze,
    /// Ask the directory.
    Submit {
        /// The number to answer with.
        request: u32,
        /// What to ask.
        command: DirectoryCommand,
    },
    /// The agent stays: let it go on under this epoch.
    Unfreeze {
        /// The epoch.
        epoch: Epoch,
    },
    /// Delete the copy, a durable one in the journal too. What waits in its mailbox goes to where the agent lives
    /// now, as will all that still comes for it. Done before any later action.
    Release {
        /// Where it lives now. This node itself only if the agent was stopped.
        owner: Ownership,
    },
    /// This is how it ended.
    Finished(SourceOutcome),
}

/// How a migration ended for the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOutcome {
    /// The agent lives on the target.
    Moved {
        /// Its epoch there.
        epoch: Epoch,
    },
    /// The agent stays here.
    Stayed {
        /// Its epoch from now on; `None` if it never stood still.
        epoch: Option<Epoch>,
        /// Why it did not move.
        reason: String,
    },
    /// The directory says the agent is elsewhere, or stopped: the copy was not this node's to keep.
    Gone {
        /// What the directory says.
        owner: Ownership,
    },
}
