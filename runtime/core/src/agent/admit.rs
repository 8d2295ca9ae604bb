//! What becomes of a message that arrives.
//!
//! ```text
//!   offer ──▶ the next of its stream? ──▶ room? ──▶ mailbox
//!                 │ no                       │ no
//!                 ▼                          ▼
//!       told again, or refused     the kind's overflow policy
//! ```
//!
//! Whatever a policy does to a reliable message closes it in its stream, with the
//! watermark, and is reported to its sender as final: so a dropped one is neither
//! sent again nor in the way of those after it.

use std::sync::Arc;

use crate::agent::inbound::{Arrival, Closed, StreamIndex};
use crate::agent::{Actions, Agent, Input, Terms, acknowledge, answer, refuse};
use crate::{
    Acknowledgement, AgentId, Body, DeadReason, Envelope, Extras, KindPolicy, MAX_REDIRECTS,
    Millis, Notice, Original, Overflow, Refusal, Reply, SkipReason, StreamKey,
};

impl Agent {
    /// Gives it a message. Reliable ones are taken in the order of their stream
    /// and once; whatever is not taken is said in `out`.
    pub fn offer(&mut self, envelope: Arc<Envelope>, policy: &KindPolicy, out: &mut Actions) {
        if self.stopped.is_some() {
            self.counters.refused_busy += 1;
            refuse(&envelope, None, Refusal::Busy, out);
            return;
        }
        let is_urgent = envelope.body.is_end();
        let too_large = envelope.asked_bytes() > policy.max_message as usize;
        let Some(sequence) = envelope.sequence else {
            if too_large {
                self.close(&envelope, None, &DeadReason::TooLarge, 0, out);
            } else if is_urgent {
                self.mailbox.push_urgent(Input::Envelope(envelope, None));
            } else if self.has_room(&envelope, policy) {
                self.take_in(envelope, None, policy, out);
            } else {
                self.overflow(envelope, None, policy, out);
            }
            return;
        };
        match self
            .inbound
            .arrival(&envelope.stream, &sequence, policy.streams)
        {
            Arrival::Next(at) => {
                if too_large && self.inbound.is_settled(at) {
                    self.inbound.take(at, &sequence);
                    self.close(&envelope, Some(at), &DeadReason::TooLarge, 0, out);
                    self.report_watermarks(out);
                } else if is_urgent {
                    self.inbound.take(at, &sequence);
                    self.mailbox
                        .push_urgent(Input::Envelope(envelope, Some(at)));
                } else if too_large {
                    // It is closed after those before it.
                    self.reject(&envelope, out);
                } else if self.has_room(&envelope, policy) {
                    self.inbound.take(at, &sequence);
                    self.take_in(envelope, Some(at), policy, out);
                } else {
                    self.overflow(envelope, Some(at), policy, out);
                }
            }
            Arrival::Committed { after, through } => {
                self.counters.duplicates += 1;
                acknowledge(&envelope, Notice::Applied { after, through }, out);
            }
            Arrival::Waiting => self.counters.duplicates += 1,
            Arrival::Skipped(reason) => {
                self.counters.duplicates += 1;
                let number = sequence.number;
                acknowledge(&envelope, Notice::Skipped { number, reason }, out);
            }
            Arrival::Early(expected) => {
                self.counters.refused_early += 1;
                refuse(&envelope, Some(expected), Refusal::OutOfOrder, out);
            }
            Arrival::Forgotten => self.close(&envelope, None, &DeadReason::Forgotten, 0, out),
            Arrival::NoRoom => {
                // Time may have made room.
                self.wake_by(Millis(0));
                self.counters.refused_busy += 1;
                refuse(&envelope, None, Refusal::Busy, out);
            }
        }
    }

    /// Puts a message for which there is room into the mailbox.
    #[inline]
    fn take_in(
        &mut self,
        envelope: Arc<Envelope>,
        at: Option<StreamIndex>,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        self.mailbox.push_message(Input::Envelope(envelope, at));
        self.hold_if_high(at, policy, out);
    }

    /// Puts back a message that was in the mailbox when the snapshot was taken:
    /// it was accepted then, so no bound refuses it now.
    pub(crate) fn readmit(&mut self, envelope: Arc<Envelope>) {
        let at = match &envelope.sequence {
            Some(sequence) => match self.inbound.arrival(&envelope.stream, sequence, u32::MAX) {
                Arrival::Next(at) => {
                    self.inbound.take(at, sequence);
                    Some(at)
                }
                _ => return,
            },
            None => None,
        };
        let is_urgent = envelope.body.is_end();
        let input = Input::Envelope(envelope, at);
        if is_urgent {
            self.mailbox.push_urgent(input);
        } else {
            self.mailbox.push_message(input);
        }
    }

    /// Deals with a message that has no room, the next of its stream if it is
    /// reliable.
    #[cold]
    fn overflow(
        &mut self,
        envelope: Arc<Envelope>,
        at: Option<StreamIndex>,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        let is_behind_spilled = self.mailbox.spilled_in(envelope.stream.lane) > 0;
        let fits_when_empty = envelope.size() as u64 <= policy.mailbox_bytes;
        match &policy.overflow {
            _ if is_behind_spilled => self.spill(envelope, at, policy, out),
            Overflow::Spill => self.spill(envelope, at, policy, out),
            // What was shipped is not this copy's to decide about.
            _ if self.mailbox.is_shipped() => self.reject(&envelope, out),
            Overflow::Reject => self.reject(&envelope, out),
            Overflow::Redirect(to) => self.redirect(&envelope, at, to, policy, out),
            Overflow::DropOldest if fits_when_empty => self.displace(envelope, at, policy, out),
            Overflow::DropOldest | Overflow::DropNewest => {
                self.counters.dropped_newest += 1;
                self.drop_arriving(&envelope, at, out);
            }
        }
        // Whoever overfills a mailbox has not heard that it is to hold.
        self.hold_if_high(at, policy, out);
        self.report_watermarks(out);
    }

    /// Leaves a message with its sender; an at-most-once one is lost.
    pub(super) fn reject(&mut self, envelope: &Arc<Envelope>, out: &mut Actions) {
        if let Some(sequence) = envelope.sequence {
            self.counters.refused_full += 1;
            refuse(envelope, Some(sequence.number), Refusal::MailboxFull, out);
        } else {
            self.drop_unreliable(envelope, out);
        }
    }

    /// Makes room by dropping what has waited longest among the least urgent; a
    /// message that would have to displace more urgent ones is dropped itself.
    fn displace(
        &mut self,
        envelope: Arc<Envelope>,
        at: Option<StreamIndex>,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        let (size, lane) = (envelope.size(), envelope.stream.lane);
        if !self.mailbox.can_make_room(size, lane, policy) {
            self.counters.dropped_newest += 1;
            self.drop_arriving(&envelope, at, out);
            return;
        }
        while !self.mailbox.has_room(size, policy)
            && let Some(oldest) = self.mailbox.drop_oldest(lane)
        {
            if let Input::Envelope(oldest, at) = oldest {
                self.counters.dropped_oldest += 1;
                self.lose(&oldest, at, out);
            }
        }
        if let (Some(at), Some(sequence)) = (at, &envelope.sequence) {
            self.inbound.take(at, sequence);
        }
        self.mailbox.push_message(Input::Envelope(envelope, at));
    }

    fn drop_arriving(
        &mut self,
        envelope: &Arc<Envelope>,
        at: Option<StreamIndex>,
        out: &mut Actions,
    ) {
        if let (Some(at), Some(sequence)) = (at, &envelope.sequence) {
            self.inbound.take(at, sequence);
        }
        self.lose(envelope, at, out);
    }

    /// Ends a message that was taken and has no room: a reliable one as a dead letter.
    pub(super) fn lose(
        &mut self,
        envelope: &Arc<Envelope>,
        at: Option<StreamIndex>,
        out: &mut Actions,
    ) {
        if at.is_some() {
            self.close(envelope, at, &DeadReason::Overflow, 0, out);
        } else {
            self.drop_unreliable(envelope, out);
        }
    }

    pub(super) fn drop_unreliable(&mut self, envelope: &Arc<Envelope>, out: &mut Actions) {
        self.counters.dropped += 1;
        self.note_gone(envelope);
        if let Some(ask) = envelope.body.ask() {
            answer(ask, Reply::Unavailable("mailbox full".into()), out);
        }
    }

    /// Sends a message on to another agent. It is closed here and stands in the
    /// outbox in one step, so that it goes on once; until then it stays with its
    /// sender, and where it cannot go on it stays there for good.
    fn redirect(
        &mut self,
        envelope: &Arc<Envelope>,
        at: Option<StreamIndex>,
        to: &AgentId,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        if !self.may_redirect(envelope, to, policy) {
            self.reject(envelope, out);
            return;
        }
        self.counters.redirected += 1;
        let (lane, body) = (envelope.stream.lane, envelope.body.clone());
        let extras = Some(Box::new(Extras {
            expiry: envelope.expiry(),
            original: Some(self.original_of(envelope)),
            attributes: envelope.attributes().cloned(),
        }));
        let (Some(at), Some(sequence)) = (at, envelope.sequence) else {
            out.send.push(Arc::new(Envelope {
                stream: StreamKey::shared(self.sender(), to.clone(), lane),
                sequence: None,
                body,
                extras,
            }));
            return;
        };
        self.inbound.take(at, &sequence);
        let reason = SkipReason::Redirected;
        let through = self.inbound.watermark(at);
        self.inbound
            .skip(at, sequence.number, Closed::bare(&reason));
        if let Some(stream) = self.inbound.key(at).cloned() {
            let number = sequence.number;
            let notice = Notice::Skipped { number, reason };
            out.acknowledge.push(Acknowledgement { stream, notice });
        }
        let (now, new) = (self.clock, self.stream(to, lane));
        let terms = Terms {
            extras,
            ..Terms::until(sequence.give_up)
        };
        self.push(new, || body, terms, now, out);
        if self.notes.is_some() {
            let forward = self.outbox.last_kept(new).cloned();
            self.note_closed(
                at,
                (through, sequence.number),
                SkipReason::Redirected,
                forward,
            );
        }
    }

    /// Whether a message may go on to `to`. What goes on never takes the room that
    /// the agent's own next batch needs to begin.
    fn may_redirect(&self, envelope: &Envelope, to: &AgentId, policy: &KindPolicy) -> bool {
        let redirects = envelope.original().map_or(0, |it| it.redirects);
        if *to == self.id
            || redirects >= MAX_REDIRECTS
            || !matches!(envelope.body, Body::Message { .. })
        {
            return false;
        }
        let messages = self.outbox.len() + 1 + u64::from(policy.turn_effects);
        let has_room = messages <= policy.outbox_messages.into()
            && self.outbox.bytes() + envelope.size() as u64 <= policy.outbox_bytes;
        let has_stream = self.outbox.busy() < policy.streams as usize
            || self.outbox.is_busy(to.as_str(), envelope.stream.lane);
        envelope.sequence.is_none() || (has_room && has_stream)
    }

    fn original_of(&self, envelope: &Envelope) -> Original {
        match envelope.original() {
            Some(original) => Original {
                redirects: original.redirects + 1,
                ..original.clone()
            },
            None => Original {
                sender: envelope.sender().clone(),
                receiver: self.id.clone(),
                number: envelope.sequence.map(|sequence| sequence.number),
                redirects: 1,
            },
        }
    }
}
