//! The steps of migrations, read off the network.

use std::collections::HashMap;

use phoenix_core::directory::DirectoryCommand;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, MigrationId, NodeId, PeerMessage};

/// A message that takes a migration a step further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The target is asked whether the agent can come.
    Prepare,
    /// It can.
    Ready,
    /// The compare-and-swap.
    Move,
    /// A part of the agent.
    Ship,
    /// The directory tells the target that it has it.
    Activate,
    /// It tells the source, too.
    MoveAnswer,
    /// The target has its copy, and knows.
    Activated,
    /// The source has let go.
    Released,
    /// The directory is told.
    Settle,
    /// It knows.
    SettleAnswer,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Prepare,
        Self::Ready,
        Self::Move,
        Self::Ship,
        Self::Activate,
        Self::MoveAnswer,
        Self::Activated,
        Self::Released,
        Self::Settle,
        Self::SettleAnswer,
    ];
}

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Motion {
    /// Which attempt.
    pub migration: MigrationId,
    /// Of whom.
    pub agent: AgentId,
    /// From where.
    pub source: NodeId,
    /// To where.
    pub target: NodeId,
}

/// Recognises the messages of migrations by having seen all before.
#[derive(Debug, Default)]
pub struct Steps {
    motions: HashMap<MigrationId, Motion>,
    /// Requests to the directory: who asks under which number, what for.
    asks: HashMap<(NodeId, u64), (MigrationId, Step)>,
}

impl Steps {
    /// The migration a message belongs to, and the step, if it is one that counts.
    pub fn see(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &PeerMessage,
    ) -> Option<(Motion, Option<Step>)> {
        let (migration, step) = match message {
            PeerMessage::Migration(message) => {
                if let MigrationMessage::Prepare {
                    migration, agent, ..
                } = message
                {
                    let motion = Motion {
                        migration: *migration,
                        agent: agent.clone(),
                        source: from,
                        target: to,
                    };
                    self.motions.insert(*migration, motion);
                }
                (message.migration(), step(message))
            }
            PeerMessage::DirectoryAsk { id, command } => {
                // A node that started anew counts from the beginning.
                self.asks.remove(&(from, *id));
                let (migration, asked, answer) = match command {
                    DirectoryCommand::Move { migration, .. } => {
                        (*migration, Some(Step::Move), Some(Step::MoveAnswer))
                    }
                    DirectoryCommand::Settle { migration, .. } => {
                        (*migration, Some(Step::Settle), Some(Step::SettleAnswer))
                    }
                    DirectoryCommand::Abort { migration, .. }
                    | DirectoryCommand::Claim { migration, .. }
                    | DirectoryCommand::Reclaim { migration, .. } => (*migration, None, None),
                    DirectoryCommand::Place { .. } | DirectoryCommand::Forget { .. } => {
                        return None;
                    }
                };
                if let Some(answer) = answer {
                    self.asks.insert((from, *id), (migration, answer));
                }
                (migration, asked)
            }
            PeerMessage::DirectoryAnswer { id, .. } => {
                let (migration, step) = self.asks.get(&(to, *id))?;
                (*migration, Some(*step))
            }
            _ => return None,
        };
        Some((self.motions.get(&migration)?.clone(), step))
    }
}

fn step(message: &MigrationMessage) -> Option<Step> {
    Some(match message {
        MigrationMessage::Prepare { .. } => Step::Prepare,
        MigrationMessage::Ready { .. } => Step::Ready,
        MigrationMessage::Ship { .. } => Step::Ship,
        MigrationMessage::Activate { .. } => Step::Activate,
        MigrationMessage::Activated { .. } => Step::Activated,
        MigrationMessage::Released { .. } => Step::Released,
        // Said by a target that was not told.
        MigrationMessage::Staged { .. }
        | MigrationMessage::Refused { .. }
        | MigrationMessage::Cancelled { .. }
        | MigrationMessage::Unknown { .. } => return None,
    })
}
