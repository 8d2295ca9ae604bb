//! Stored agents are looked up in the directory when a node begins.
//!
//! ```text
//!   start, connection ──▶ next ──▶ (so many at once) ──▶ directory ──▶ ours: stays stored,
//!                                                          │          or is restored
//!                                                          └─▶ another's: recalled, ended
//! ```
//!
//! A node that was away may have been declared dead, and its agents live elsewhere now. What
//! its journal has of them must never be taken for them again, and whoever asks for one is
//! sent there, so nobody else would find out.

use std::collections::VecDeque;

use hashbrown::HashSet;
use phoenix_core::AgentId;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};

use crate::worker::Worker;
use crate::worker::slot::{Owned, Slot};

/// Agents that one worker looks up at a time.
const AT_ONCE: usize = 64;

/// Agents that are looked up.
#[derive(Default)]
pub(super) struct LookUps {
    /// Still to be.
    next: VecDeque<AgentId>,
    /// The directory has been asked.
    open: HashSet<AgentId>,
}

impl Worker {
    /// Looks up all stored agents of this worker. Those that are this node's stay stored,
    /// unless its configuration has them restored at once.
    pub(super) fn look_up_stored(&mut self) {
        let stored = self.slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Stored(stored) if stored.owned.is_none() => Some(stored.agent.clone()),
            Slot::Stored(_) | Slot::Awake(_) | Slot::Asleep(_) => None,
        });
        self.look_ups.next = stored.collect();
        // What the directory had not answered by now it may never answer.
        self.look_ups.open.clear();
    }

    /// Looks up some more. Says whether it asked about any.
    pub(super) fn look_up_some(&mut self) -> bool {
        let mut any = false;
        while self.look_ups.open.len() < AT_ONCE
            && let Some(agent) = self.look_ups.next.pop_front()
        {
            if self.stored_slot(&agent).is_none() {
                continue;
            }
            any = true;
            self.look_ups.open.insert(agent.clone());
            self.ask_directory(DirectoryCommand::Place {
                agent,
                prefer: Some(self.shared.node),
            });
        }
        any
    }

    /// The directory answered. Says whether that is all there is to do about it. A stored
    /// agent that was looked up gives up its slot if it is not surely this node's: what
    /// follows is as if its place had been asked for a message.
    pub(super) fn looked_up(&mut self, agent: &AgentId, answer: &DirectoryAnswer) -> bool {
        if !self.look_ups.open.remove(agent) {
            return false;
        }
        let Some(slot) = self.stored_slot(agent) else {
            return false;
        };
        if self.wake_queue.is_wanted(slot) {
            // Whoever wants it asks as well.
            return !self.wake_queue.is_asking(slot);
        }
        let own = self.shared.node;
        match answer {
            DirectoryAnswer::Owned(it) | DirectoryAnswer::Lost(it) if it.owner == own => {
                if let Some(Slot::Stored(stored)) = self.slots.get_mut(slot as usize)
                    && matches!(answer, DirectoryAnswer::Owned(_))
                {
                    stored.owned = Some(Owned::by(it));
                }
                if self.shared.config.restore_eagerly {
                    self.want(slot);
                }
                true
            }
            // It is looked up again with the next connection, or when it is wanted.
            DirectoryAnswer::InDoubt(_) => true,
            // Another's; or what the journal has may be the last copy there is, and is claimed.
            DirectoryAnswer::Owned(_)
            | DirectoryAnswer::Lost(_)
            | DirectoryAnswer::Unclaimed(_) => {
                self.remove(slot, agent);
                false
            }
        }
    }

    fn stored_slot(&self, agent: &AgentId) -> Option<u32> {
        let slot = self.table.get(agent).copied();
        slot.filter(|slot| self.is_stored_slot(*slot))
    }
}
