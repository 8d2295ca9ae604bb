//! Whose a copy is that a node finds in its journal when it starts anew.

use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, MigrationId, NodeId};

/// What is to be done about a copy in the journal, after the directory answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It is the agent, under this ownership: restore it.
    Restore(Ownership),
    /// It is not. End its log.
    End(Ownership),
    /// Ask this before anything is done.
    Ask(DirectoryCommand),
    /// Nobody can say just now: keep the copy and ask again.
    Later,
}

/// Decides about a copy of `agent` in the journal of node `own`, which has no migration
/// of it under way and asked the directory `command`. `shipped_by` is the attempt that
/// brought the copy, as long as that is known; of one that never counted it has to be.
///
/// A copy that never counted may not just be dropped: its move may be on its way to the
/// directory, and win. It is claimed. Either that wins, and the copy is the agent; or it
/// loses, and so will the move.
pub fn recalled(
    own: NodeId,
    agent: &AgentId,
    shipped_by: Option<MigrationId>,
    command: &DirectoryCommand,
    answer: &DirectoryAnswer,
) -> Recalled {
    let claim = |migration| {
        Recalled::Ask(DirectoryCommand::Claim {
            agent: agent.clone(),
            migration,
            by: own,
        })
    };
    let has_claimed = matches!(command, DirectoryCommand::Claim { .. });
    match answer {
        DirectoryAnswer::Owned(owner) if owner.owner == own => Recalled::Restore(*owner),
        // It is this node's by something that came after: its place says by what.
        DirectoryAnswer::Lost(owner) if owner.owner == own => Recalled::Later,
        DirectoryAnswer::Owned(owner) | DirectoryAnswer::Lost(owner) => match shipped_by {
            Some(migration) if !has_claimed => claim(migration),
            _ => Recalled::End(*owner),
        },
        // Its source is gone, and it is the last copy there is.
        DirectoryAnswer::Unclaimed(migration) => claim(*migration),
        DirectoryAnswer::InDoubt(_) => match shipped_by {
            Some(migration) if !has_claimed => claim(migration),
            _ => Recalled::Later,
        },
    }
}
