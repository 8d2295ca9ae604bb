//! What goes in and out of the target.

use bytes::Bytes;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, Digest, Epoch, MigrationId, NodeId};

/// What is to come, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// Which attempt.
    pub migration: MigrationId,
    /// Which agent.
    pub agent: AgentId,
    /// Its component.
    pub component: Digest,
    /// Whether it is durable.
    pub durable: bool,
    /// Where it comes from.
    pub source: NodeId,
    /// This node.
    pub target: NodeId,
}

/// What happens to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetEvent {
    /// A message of the source's.
    Message(MigrationMessage),
    /// A connection to the source stands.
    Connected,
    /// The connection to the source is gone.
    Disconnected,
    /// The directory says that the source's life has ended.
    Forsaken,
    /// The component is here and compiled.
    Prepared,
    /// It cannot be had, or there is no room for the agent.
    PrepareFailed(String),
    /// The copy is restored and stands still.
    StageOk,
    /// It cannot be restored.
    StageFailed(String),
    /// The directory's answer.
    Answer {
        /// The request's number.
        request: u32,
        /// The answer.
        answer: DirectoryAnswer,
    },
    /// The deadline has come.
    Tick,
}

/// What the target's driver is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAction {
    /// Send this to the source. One that is not sent is sent again later.
    Send(MigrationMessage),
    /// Fetch and compile the component; answer with [`TargetEvent::Prepared`] or
    /// [`TargetEvent::PrepareFailed`].
    Prepare,
    /// Check these bytes' hash and restore the agent from them, frozen; if it is
    /// durable, see that the journal has the copy. Answer with
    /// [`TargetEvent::StageOk`] or [`TargetEvent::StageFailed`]. A copy belongs to
    /// its migration: there may be an older one of the same agent that is yet to be dropped.
    Stage {
        /// The whole, as the source froze it.
        bytes: Bytes,
    },
    /// The copy is the agent from now on, under this epoch. It takes messages and runs no turn yet.
    Activate {
        /// The epoch.
        epoch: Epoch,
    },
    /// Run the turns of the copy that was activated.
    Run,
    /// Delete this migration's copy, staged or activated, and nobody else's; a durable
    /// one in the journal too. What waits for it is to be looked up anew.
    Drop,
    /// Ask the directory.
    Submit {
        /// The number to answer with.
        request: u32,
        /// What to ask.
        command: DirectoryCommand,
    },
    /// This is how it ended.
    Finished(TargetOutcome),
}

/// How a migration ended for the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetOutcome {
    /// The agent runs here.
    Running {
        /// Under this epoch.
        epoch: Epoch,
    },
    /// It does not, and there is no copy here.
    Dropped {
        /// Why.
        reason: String,
    },
}
