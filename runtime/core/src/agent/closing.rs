//! How inputs end that are not applied.

use std::sync::Arc;

use crate::agent::batch::{Batch, BatchRoom, Entry};
use crate::agent::inbound::StreamIndex;
use crate::agent::{Actions, Agent, Closed, Failed, Input, bury};
use crate::{Acknowledgement, Body, DeadReason, Envelope, KindPolicy, Millis, Nanos, SkipReason};

impl Agent {
    /// Ends the inputs of a batch that were not put to the guest, whose others fault.
    pub(super) fn end_skipped(
        &mut self,
        skipped: Vec<Entry>,
        now: Nanos,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        if skipped.is_empty() {
            return;
        }
        let batch = Batch::of_skipped(skipped, self.turn, now);
        let (answer, mut room) = (bytes::Bytes::new(), BatchRoom::default());
        // Nothing was put, so there is nothing to object to.
        let committed = self.commit(batch, &answer, policy, &mut room, out);
        debug_assert!(committed.is_ok(), "an answer to nothing is good");
    }

    /// Ends an input that faulted alone as often as it may.
    pub(super) fn give_up_input(
        &mut self,
        input: Input,
        why: &Arc<str>,
        attempts: u32,
        now: Millis,
        out: &mut Actions,
    ) -> Failed {
        match input {
            Input::Init { .. } => return Failed::InitFailed,
            Input::Ended { ask, .. } => self.abandon_ask(ask),
            Input::Abandoned { ask } => {
                self.asks.remove(&ask);
                if self.pending > 0 {
                    return Failed::Stuck;
                }
            }
            // What the agent is told of it is over; the message had its end before.
            Input::Verdict(_) => {}
            Input::Timer { id, due } => {
                if let Some(next) = self.timers.fired(id, due, now) {
                    self.wake_by(next);
                }
            }
            Input::Envelope(envelope, at) => {
                let reason = DeadReason::Trapped(why.clone());
                if let Body::Reply { ask, .. } = envelope.body {
                    self.abandon_ask(ask);
                }
                self.close_noted(&envelope, at, &reason, attempts, out);
            }
        }
        Failed::Dropped
    }

    /// Ends `envelope` without applying it, as committed as an applied one.
    pub(super) fn close(
        &mut self,
        envelope: &Arc<Envelope>,
        at: Option<StreamIndex>,
        reason: &DeadReason,
        attempts: u32,
        out: &mut Actions,
    ) {
        if self.notes.is_some()
            && let (Some(at), Some(sequence)) = (at, envelope.sequence)
        {
            let through = self.inbound.watermark(at);
            let skipped = SkipReason::Dead(reason.clone());
            self.note_closed(at, (through, sequence.number), skipped, None);
        }
        self.close_noted(envelope, at, reason, attempts, out);
    }

    /// The same of one whose end is noted otherwise.
    fn close_noted(
        &mut self,
        envelope: &Arc<Envelope>,
        at: Option<StreamIndex>,
        reason: &DeadReason,
        attempts: u32,
        out: &mut Actions,
    ) {
        self.counters.count_dead(reason);
        self.note_dead(envelope, reason);
        if let (Some(at), Some(sequence)) = (at, envelope.sequence) {
            let reason = SkipReason::Dead(reason.clone());
            self.inbound
                .skip(at, sequence.number, Closed::bare(&reason));
        }
        let from = out.acknowledge.len();
        bury(envelope, reason, attempts, out);
        for acknowledgement in out.acknowledge.iter_mut().skip(from) {
            self.readdress(acknowledgement, at);
        }
    }

    /// A verdict goes to the node its client last came through, which need not
    /// be the one this message came through.
    pub(super) fn readdress(&self, acknowledgement: &mut Acknowledgement, at: Option<StreamIndex>) {
        if let Some(key) = at.and_then(|at| self.inbound.key(at)) {
            acknowledgement.stream = key.clone();
        }
    }
}
