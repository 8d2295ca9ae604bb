//! What two nodes say to each other while an agent moves.

use bytes::Bytes;

use crate::{AgentId, Digest, Epoch, MigrationId};

/// A step of a migration, as a message between source and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationMessage {
    /// Source to target: an agent of this component wants to come. The target
    /// fetches and compiles the component if it must.
    Prepare {
        /// Which attempt.
        migration: MigrationId,
        /// Which agent.
        agent: AgentId,
        /// Its component.
        component: Digest,
        /// Whether it is durable: the target then has its copy in its journal before
        /// it says that it is staged, and the directory moves it no sooner.
        durable: bool,
    },
    /// Target to source: it can come.
    Ready {
        /// Which attempt.
        migration: MigrationId,
    },
    /// Source to target: a part of the frozen agent. Parts come in order; the
    /// last one completes it.
    Ship {
        /// Which attempt.
        migration: MigrationId,
        /// Where this part begins.
        offset: u64,
        /// How long the whole is, bytes.
        total: u64,
        /// This part.
        bytes: Bytes,
    },
    /// Target to source: the whole has arrived, its hash is right, it is restored,
    /// frozen, and waits for word of the move.
    Staged {
        /// Which attempt.
        migration: MigrationId,
    },
    /// Target to source: it cannot come, or a part of it is missing or wrong.
    Refused {
        /// Which attempt.
        migration: MigrationId,
        /// Why.
        reason: String,
    },
    /// Directory to target, or source to target: the directory has given the agent
    /// to the target.
    Activate {
        /// Which attempt.
        migration: MigrationId,
        /// The target's epoch.
        epoch: Epoch,
    },
    /// Target to source: it has its copy, and is the owner now; the source may let go.
    Activated {
        /// Which attempt.
        migration: MigrationId,
    },
    /// Source to target: the source's copy is gone. The target begins to run turns.
    Released {
        /// Which attempt.
        migration: MigrationId,
    },
    /// Source to target: it stays where it is; forget the copy.
    Cancelled {
        /// Which attempt.
        migration: MigrationId,
    },
    /// Target to source: there is no copy here of this attempt.
    Unknown {
        /// Which attempt.
        migration: MigrationId,
    },
}

impl MigrationMessage {
    /// Which attempt it belongs to.
    pub fn migration(&self) -> MigrationId {
        match self {
            Self::Prepare { migration, .. }
            | Self::Ready { migration }
            | Self::Ship { migration, .. }
            | Self::Staged { migration }
            | Self::Refused { migration, .. }
            | Self::Activate { migration, .. }
            | Self::Activated { migration }
            | Self::Released { migration }
            | Self::Cancelled { migration }
            | Self::Unknown { migration } => *migration,
        }
    }
}
