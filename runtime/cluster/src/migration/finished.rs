//! What became of attempts that ended: late messages are answered from here.

use std::collections::VecDeque;

use hashbrown::HashMap;
use phoenix_core::MigrationId;
use phoenix_core::migration::MigrationMessage;

/// How an attempt ended on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This node was the source and let go of its copy because the target has one that lives.
    Released,
    /// This node was the source and kept the agent.
    Kept,
    /// This node was the source and found that the agent is neither its own nor the target's.
    Lost,
    /// This node was the target and runs the agent.
    Ran,
    /// This node was the target and has no copy.
    Dropped,
}

/// The attempts that ended, as many as are remembered.
#[derive(Clone, Debug)]
pub struct FinishedAttempts {
    bound: usize,
    endings: HashMap<MigrationId, Ending>,
    order: VecDeque<MigrationId>,
}

impl FinishedAttempts {
    /// Remembers the last `bound` attempts.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            endings: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Notes an ending.
    pub fn insert(&mut self, migration: MigrationId, ending: Ending) {
        if self.endings.insert(migration, ending).is_none() {
            self.order.push_back(migration);
        }
        while self.order.len() > self.bound {
            if let Some(oldest) = self.order.pop_front() {
                self.endings.remove(&oldest);
            }
        }
    }

    /// How the attempt ended, if that is remembered.
    pub fn get(&self, migration: MigrationId) -> Option<Ending> {
        self.endings.get(&migration).copied()
    }

    /// The answer to a message about an attempt that no machine here is at work
    /// on; `None` if it needs none.
    ///
    /// Of an attempt it knows nothing about a node says `Unknown`, to either
    /// side: a target then asks the directory, a source takes back what the
    /// directory lets it. It never says `Released` or `Cancelled` of such.
    pub fn answer(&self, message: &MigrationMessage) -> Option<MigrationMessage> {
        use MigrationMessage as M;
        let migration = message.migration();
        let ending = self.get(migration);
        match message {
            // From a target.
            M::Ready { .. } | M::Staged { .. } | M::Activated { .. } => match ending {
                Some(Ending::Kept) => Some(M::Cancelled { migration }),
                Some(Ending::Released) => {
                    matches!(message, M::Activated { .. }).then_some(M::Released { migration })
                }
                _ => Some(M::Unknown { migration }),
            },
            // From a source.
            M::Ship { .. } | M::Activate { .. } => match ending {
                Some(Ending::Ran) => {
                    matches!(message, M::Activate { .. }).then_some(M::Activated { migration })
                }
                _ => Some(M::Unknown { migration }),
            },
            M::Prepare { .. } => match ending {
                Some(Ending::Dropped) => Some(M::Refused {
                    migration,
                    reason: "this attempt ended here already".to_owned(),
                }),
                _ => None,
            },
            M::Refused { .. } | M::Unknown { .. } | M::Released { .. } | M::Cancelled { .. } => {
                None
            }
        }
    }
}
