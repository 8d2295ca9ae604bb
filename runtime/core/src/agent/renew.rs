//! A new life for an agent whose old one is given up.

use std::sync::Arc;

use crate::agent::inbound::Arrival;
use crate::agent::{Actions, Agent, MAX_CLOCK_SKEW, acknowledge};
use crate::{DeadReason, Envelope, Incarnation, Lane, Millis, Notice, Payload};

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

    /// Until when a message may come again that had its verdict in this life; not after
    /// `now` if none can any more.
    pub fn heard_until(&mut self, now: Millis) -> Millis {
        self.inbound.forget_before(now - MAX_CLOCK_SKEW);
        self.inbound.speakable_until() + MAX_CLOCK_SKEW
    }

    /// What is left of an agent that has stopped and was abandoned ([`Agent::abandon`]):
    /// it takes nothing, and its next life ([`Agent::renew`]) goes on with its streams.
    /// In its place is one that has heard nothing.
    pub fn take_stopped(&mut self) -> Self {
        let bare = Self::bare(self.id.clone(), self.incarnation, self.seed);
        let mut whole = std::mem::replace(self, bare);
        Self {
            stopped: whole.stopped.take(),
            clock: whole.clock,
            inbound: std::mem::take(&mut whole.inbound),
            notes: whole.notes.take(),
            ..Self::bare(whole.id.clone(), whole.incarnation, whole.seed)
        }
    }

    /// Says once more what became of a message that had its verdict. Says whether it had one.
    pub fn tell_again(&mut self, envelope: &Arc<Envelope>, out: &mut Actions) -> bool {
        let Some(sequence) = &envelope.sequence else {
            return false;
        };
        // Nothing is taken in here: a stream that is not known has no room.
        let notice = match self.inbound.arrival(&envelope.stream, sequence, 0) {
            Arrival::Committed { after, through } => Notice::Applied { after, through },
            Arrival::Skipped(reason) => Notice::Skipped {
                number: sequence.number,
                reason,
            },
            _ => return false,
        };
        self.counters.duplicates += 1;
        acknowledge(envelope, notice, out);
        true
    }
}
