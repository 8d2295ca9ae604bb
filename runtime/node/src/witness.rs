//! Who looks on while agents commit: how tests prove what an owner may do.

use std::fmt::Debug;

use phoenix_core::{Acknowledgement, AgentId, Epoch, Incarnation, NodeId};

/// A commit, as the node makes it.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// Whose.
    pub agent: &'a AgentId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// Under which epoch.
    pub epoch: Epoch,
    /// On which node.
    pub node: NodeId,
    /// The number of the first turn.
    pub turn: u64,
    /// How many turns. None if everything in the batch was skipped.
    pub turns: u64,
    /// The verdicts that are about to be given because of it.
    pub verdicts: &'a [Acknowledgement],
}

/// Sees every commit of a node before anything of it leaves the node. It is
/// called on the worker's thread, which waits for it.
pub trait Witness: Debug + Send + Sync {
    /// An agent has committed.
    fn committed(&self, commit: &Committed<'_>);

    /// A step is about to be taken for an agent.
    fn stepping(&self, _agent: &AgentId, _step: Step) {}
}

/// What is done for a durable agent beside its commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The journal has what it committed, and what waited for that leaves.
    HandOut,
    /// It takes the verdict on a message that it sent.
    Acknowledgement,
    /// Its snapshot goes to the journal.
    Snapshot,
}
