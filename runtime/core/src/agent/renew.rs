//! A new life for an agent whose old one is given up.

use crate::agent::{Actions, Agent};
use crate::{DeadReason, Incarnation, Lane, Payload};

impl Agent {
    /// Begins a new life from nothing, as a new incarnation. What waits for the
    /// old one ends unapplied, and whoever waits for its answers is told so.
    ///
    /// The streams it hears from go on where they are: what had its verdict in the
    /// old life is not applied in the new one. Its own streams, asks and timers end
    /// with the old life, so what it sent should have its verdicts first. What it
    /// has spilled should be given to [`Agent::abandon_spilled`] first: what is not
    /// has no verdict, and is taken anew when its sender sends it again.
    ///
    /// A durable agent notes that: its log goes on, so that the new life has these
    /// streams after a crash too. It notes what comes then once it is told to
    /// ([`Agent::keep_log`]).
    pub fn renew(&mut self, incarnation: Incarnation, config: Payload, out: &mut Actions) {
        for lane in Lane::MESSAGES {
            if self.mailbox.spilled_in(lane) > 0 {
                self.spill_lost(lane);
            }
        }
        self.abandon(&DeadReason::Reset, out);
        let inbound = std::mem::take(&mut self.inbound);
        let (notes, last_life) = (self.notes.take(), self.incarnation);
        *self = Self {
            inbound,
            clock: self.clock,
            notes,
            ..Self::new(self.id.clone(), incarnation, config.clone())
        };
        if self.notes.is_some() {
            self.note_anew(last_life, &config);
        }
    }
}
