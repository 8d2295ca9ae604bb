//! When agents are looked at, and woken, with nothing coming for them.
//!
//! A million timers may be due in the same second. Those agents wait here, in the order
//! of their times, and not with those who have something to run or are on their way from
//! sleep: whoever is sent a message meanwhile finds a few of them before it, not all.

use phoenix_core::{DueIndex, Millis};

use crate::worker::Worker;
use crate::worker::slot::Slot;
use crate::worker::wake_queue::ABREAST;

/// Agents that may want to run before others are looked at whose time has come. One is
/// looked at in any case, so that timers go on beside any number of messages.
const RUNNABLE: usize = 64;

/// When to look at which of a worker's agents, by slot.
#[derive(Default)]
pub(super) struct Alarms {
    /// Those that are awake.
    ticks: DueIndex<u32>,
    /// Those that sleep, or are in the journal alone.
    wakes: DueIndex<u32>,
    /// Those of them that were called and are not awake yet.
    called: Vec<u32>,
}

impl Alarms {
    /// Forgets a slot.
    pub(super) fn remove(&mut self, slot: u32) {
        self.ticks.remove(&slot);
        self.wakes.remove(&slot);
    }
}

impl Worker {
    /// Sees that the slot is looked at at that time, and at no other.
    pub(super) fn look_at(&mut self, slot: u32, at: Millis) {
        let Alarms { ticks, wakes, .. } = &mut self.alarms;
        match self.slots.get(slot as usize) {
            Some(Slot::Awake(_)) => {
                wakes.remove(&slot);
                ticks.set(slot, at);
            }
            Some(Slot::Asleep(_) | Slot::Stored(_)) => {
                ticks.remove(&slot);
                wakes.set(slot, at);
            }
            None => {}
        }
    }

    /// When there is something to be done here next.
    pub(super) fn next_alarm(&self) -> Millis {
        let ticks = self.alarms.ticks.next();
        if self.alarms.called.len() < ABREAST {
            return ticks.min(self.alarms.wakes.next());
        }
        // The next is called when one of those is awake.
        ticks
    }

    /// Lets time pass for agents that are awake and whose time has come, the earliest first.
    pub(super) fn tick_due(&mut self, now: Millis) {
        let most = RUNNABLE.saturating_sub(self.schedule.len()).max(1);
        for _ in 0..most {
            let Some((slot, _)) = self.alarms.ticks.pop(now) else {
                return;
            };
            if let Some(awake) = self.awake_mut(slot) {
                awake.armed = Millis::NEVER;
                self.tick(slot);
            }
        }
    }

    /// Calls agents that sleep and whose time has come, the earliest first, so many that
    /// no more than [`ABREAST`] wait to be awake.
    pub(super) fn wake_due(&mut self, now: Millis) {
        let wake_queue = &self.wake_queue;
        self.alarms
            .called
            .retain(|slot| wake_queue.is_wanted(*slot));
        for _ in 0..RUNNABLE {
            if self.alarms.called.len() >= ABREAST {
                return;
            }
            let Some((slot, _)) = self.alarms.wakes.pop(now) else {
                return;
            };
            self.want(slot);
            if self.wake_queue.is_wanted(slot) {
                self.alarms.called.push(slot);
            }
        }
    }
}
