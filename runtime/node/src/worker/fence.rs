//! The end of everything a worker has, because its node was declared dead.

use std::sync::atomic::Ordering;

use phoenix_core::control::{ControlError, Done};

use crate::deaths::FENCED;
use crate::worker::Worker;
use crate::worker::slot::Slot;
use crate::worker::wake_queue::WakeQueue;

impl Worker {
    /// Lets go of every agent, without a word to anybody: they are others' now.
    /// A turn that is under way ends for nobody.
    pub(super) fn fence(&mut self) {
        let areas = self.spilled.fenced();
        let fresh = Self::new(self.index, self.shared.clone(), areas);
        let mut old = std::mem::replace(self, fresh);
        // Jobs of before must find no tenant of theirs.
        self.tenants = old.tenants;
        self.wake_queue = WakeQueue::after(&old.wake_queue);
        let mut waiting: Vec<Done> = Vec::new();
        for slot in old.slots.drain() {
            match slot {
                Slot::Awake(awake) => {
                    self.shared.resident.fetch_sub(1, Ordering::Relaxed);
                    waiting.extend(awake.sleepers);
                    waiting.extend(awake.reset.map(|reset| reset.done));
                }
                Slot::Asleep(_) | Slot::Stored(_) => {
                    self.shared.asleep.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        waiting.extend(old.movement.take_waiting());
        waiting.extend(old.durables.asked.drain(..).map(|(_, _, _, done)| done));
        waiting.extend(old.wake_queue.take_waiting());
        old.durables.condemn(FENCED);
        // Whoever waits for the node to be empty sees that it is.
        self.draining = old.draining.take();
        for done in waiting {
            done(Err(ControlError::Unknown(FENCED.to_owned())));
        }
    }
}
