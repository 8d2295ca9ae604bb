//! Words about asks on their way: to the agents that were asked, wherever they are.

use phoenix_core::{AskNotice, PeerMessage};

use crate::counters::count;
use crate::shared::Shared;
use crate::worker::slot::Slot;
use crate::worker::{Event, Worker};

/// Nodes a word may come through on its way to an agent that moves. Where nodes
/// point at each other it is dropped: nothing hangs on it.
const MAX_HOPS: u8 = 4;

impl Shared {
    /// Hands a word to the worker of the agent it is for. It is never taken to the
    /// agent at once: probes of a circle would go round on one stack.
    pub(crate) fn hand_notice(&self, notice: AskNotice, hops: u8) {
        if let Some(seat) = self.seat_of(notice.to()) {
            seat.post(Event::AskNotice { hops, notice });
        }
    }
}

impl Worker {
    /// Takes a word about an ask to its agent, or to the node that is on; it has come
    /// through `hops` nodes.
    pub(super) fn ask_notice(&mut self, notice: AskNotice, hops: u8) {
        let Some(slot) = self.table.get(notice.to()).copied() else {
            self.send_notice(notice, hops);
            return;
        };
        let counters = &self.shared.counters;
        match &notice {
            AskNotice::Probe(_) => count(&counters.ask_probes),
            AskNotice::Cancel { .. } => count(&counters.ask_cancels),
        }
        if matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_))) {
            if matches!(notice, AskNotice::Cancel { .. }) {
                // Nobody sleeps while a message waits.
                return;
            }
            self.wake(slot);
        }
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        // Of an agent that stands still it is open which copy goes on.
        if awake.frozen || awake.quarantined.is_some() {
            return;
        }
        awake.agent.noticed(notice, &*awake.kind, &mut self.actions);
        self.perform(slot);
        self.queue(slot);
    }

    /// Sends a word after its agent. Where that is, is known of every agent that was
    /// asked from here.
    fn send_notice(&mut self, notice: AskNotice, hops: u8) {
        let Some(node) = self.routes.node_of(notice.to()) else {
            return;
        };
        if hops >= MAX_HOPS || node == self.shared.node || !self.shared.is_connected(node) {
            return;
        }
        // It need not arrive.
        let _ = self
            .shared
            .send(node, PeerMessage::AskNotice { hops, notice });
    }
}
