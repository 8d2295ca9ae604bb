//! What becomes of messages the agent sent.

use crate::agent::verdict::REDIRECTED;
use crate::agent::{
    Actions, Agent, Input, Kept, MessageEnd, Token, answer, of_the_host, refusal_text, skip_text,
};
use crate::journal::record::Verdict;
use crate::{
    AgentId, Body, Bounce, DeadReason, Envelope, Lane, Level, Millis, Notice, Refusal, Reply,
    SkipReason,
};

impl Agent {
    /// Tells it what became of messages it sent. While it is not decided which copy of
    /// it goes on, nothing of that counts.
    pub fn acknowledged(
        &mut self,
        to: &AgentId,
        lane: Lane,
        notice: &Notice,
        now: Millis,
        out: &mut Actions,
    ) {
        self.clock = self.clock.max(now);
        if self.mailbox.is_shipped() {
            // Whichever copy of it goes on sends again what has no verdict in it, and is
            // told again: here it would come back to an agent that takes it back there too.
            return;
        }
        match notice {
            Notice::Applied { after, through } => {
                let (after, through) = (*after, *through);
                let applied = (after, through);
                let (send, mut tokens) = (&mut out.send, Vec::new());
                let outbox = &mut self.outbox;
                let is_news = outbox.applied(to, lane, applied, now, send, &mut tokens);
                if is_news && self.notes.is_some() {
                    self.note_heard(to, lane, through, Verdict::Applied { after });
                }
                for token in tokens {
                    self.tell(token, to, MessageEnd::Applied);
                }
            }
            Notice::Skipped { number, reason } => {
                let closed = self.outbox.closed(to, lane, *number, now, &mut out.send);
                if let Some((envelope, token)) = closed {
                    if self.notes.is_some() {
                        self.note_heard(to, lane, *number, verdict_of(reason));
                    }
                    self.skipped(&envelope, token, reason, out);
                }
            }
            Notice::Refused {
                expected,
                number,
                refusal,
            } => {
                self.outbox.note_refusal(to, lane, *number, *refusal);
                let not_before = now + refusal.retry_after();
                let refused = self.outbox.refused(to, lane, *expected, now, not_before);
                if let Some(at) = refused {
                    self.wake_by(at);
                }
            }
            Notice::Credit { taken, window } => {
                let send = &mut out.send;
                if let Some(at) = self.outbox.credit(to, lane, *taken, *window, now, send) {
                    self.wake_by(at);
                }
            }
        }
    }

    /// A message was closed unapplied where it was sent.
    fn skipped(
        &mut self,
        envelope: &Envelope,
        token: Option<Token>,
        reason: &SkipReason,
        out: &mut Actions,
    ) {
        if *reason == SkipReason::Redirected {
            self.went_on(envelope, token);
            return;
        }
        if let SkipReason::Dead(reason) = reason
            && own_ask(envelope).is_none()
            && token.is_none()
        {
            let (to, code) = (envelope.receiver(), reason.code());
            let text = format!("a message to {to} is a dead letter: {code}");
            out.log.push((Level::Warn, text));
        }
        let why = skip_text(reason);
        self.came_back(envelope, token, skip_reply(reason), &why, out);
    }

    /// A message was sent on by its receiver. Whoever has it now answers for it, but
    /// not to this agent.
    pub(super) fn went_on(&mut self, envelope: &Envelope, token: Option<Token>) {
        if let Some(token) = token {
            let end = MessageEnd::Unsure(REDIRECTED.into());
            self.tell(token, envelope.receiver(), end);
        }
    }

    /// Tells whoever it concerns that a message was closed unapplied, and why.
    pub(super) fn came_back(
        &mut self,
        envelope: &Envelope,
        token: Option<Token>,
        end: Reply,
        why: &str,
        out: &mut Actions,
    ) {
        if let Some(token) = token {
            let end = MessageEnd::NotApplied(why.into());
            self.tell(token, envelope.receiver(), end);
        } else if envelope.original().is_some() {
            // It was sent on for another agent, which may wait for an answer.
            if let Body::Message { ask: Some(ask), .. } = &envelope.body {
                answer(ask, end, out);
            }
        } else if let Some(ask) = own_ask(envelope) {
            self.end_ask(ask, end);
        } else {
            self.bounce(envelope, why, false);
        }
    }

    /// Tells itself that it gave up a message, as it is recorded.
    pub(super) fn gave_up_again(
        &mut self,
        envelope: &Envelope,
        token: Option<Token>,
        may_have_left: bool,
    ) {
        let (reason, end) = if may_have_left {
            (DeadReason::GaveUp, Reply::Timeout)
        } else {
            let reason = DeadReason::NoCredit;
            let end = Reply::Bounced(reason.code().into());
            (reason, end)
        };
        if let Some(ask) = own_ask(envelope) {
            self.end_ask(ask, end);
        } else if !matches!(envelope.body, Body::Reply { .. }) {
            self.lost(envelope, token, reason.code(), may_have_left);
        }
    }

    /// A message that was given up has ended: whoever wants to hear of it does, else it
    /// comes back.
    fn lost(&mut self, envelope: &Envelope, token: Option<Token>, reason: &str, unsure: bool) {
        let Some(token) = token else {
            return self.bounce(envelope, reason, unsure);
        };
        let end = if unsure {
            MessageEnd::Unsure(reason.into())
        } else {
            MessageEnd::NotApplied(reason.into())
        };
        self.tell(token, envelope.receiver(), end);
    }

    /// Ends asks that are given up and never left, or never were taken: they were not
    /// asked, which says more than that they ran out.
    pub(super) fn end_unsent_asks(&mut self, given_up: &[Kept]) {
        for kept in given_up {
            let Some(ask) = own_ask(&kept.envelope) else {
                continue;
            };
            if kept.tries == 0 {
                self.end_ask(ask, Reply::Bounced(DeadReason::NoCredit.code().into()));
            } else if let Some(refusal) = kept.only_refused() {
                self.end_ask(ask, unavailable(refusal));
            }
        }
    }

    /// Ends what was given up.
    pub(super) fn gave_up(&mut self, given_up: Vec<Kept>, out: &mut Actions) {
        for kept in given_up {
            if self.notes.is_some() {
                self.note_gave_up(&kept);
            }
            let refusal = kept.only_refused().filter(|_| kept.tries > 0);
            let Kept {
                envelope,
                tries,
                token,
                ..
            } = kept;
            let sent = tries > 0;
            let (reason, heard) = if sent {
                self.counters.undetermined += 1;
                (DeadReason::GaveUp, "nothing was heard")
            } else {
                self.counters.no_credit += 1;
                (DeadReason::NoCredit, "its receiver had no room")
            };
            if let Some(ask) = own_ask(&envelope) {
                self.end_ask(ask, Reply::Timeout);
            } else if let Some(token) = token {
                match refusal {
                    Some(refusal) => {
                        self.lost(&envelope, Some(token), refusal_text(refusal), false);
                    }
                    None => self.lost(&envelope, Some(token), reason.code(), sent),
                }
            } else if !matches!(envelope.body, Body::Reply { .. }) {
                let text = format!("a message to {} is given up: {heard}", envelope.receiver());
                out.log.push((Level::Warn, text));
                self.bounce(&envelope, reason.code(), sent);
            }
            out.dead.push((envelope, reason, tries));
        }
    }

    #[cold]
    fn note_gave_up(&mut self, kept: &Kept) {
        let envelope = &kept.envelope;
        let refusal = kept.only_refused().filter(|_| kept.tries > 0);
        let is_told = own_ask(envelope).is_some() || kept.token.is_some();
        let verdict = match refusal.filter(|_| is_told) {
            Some(refusal) => Verdict::Unavailable(refusal_text(refusal).into()),
            None => Verdict::GivenUp {
                may_have_left: kept.tries > 0,
            },
        };
        let number = envelope.sequence.map_or(0, |it| it.number);
        let (to, lane) = (&envelope.stream.receiver, envelope.stream.lane);
        self.note_heard(to, lane, number, verdict);
    }

    /// Puts a message of the agent's own into its mailbox, to say that it came back.
    /// It waits with the replies: there is one at most for each place in the outbox,
    /// and a batch takes it before anything that fills the outbox again.
    fn bounce(&mut self, envelope: &Envelope, reason: &str, unsure: bool) {
        let Body::Message {
            method,
            payload,
            ask: None,
        } = &envelope.body
        else {
            return;
        };
        if self.stopped.is_some() || envelope.original().is_some() {
            return;
        }
        self.counters.bounced += 1;
        let bounce = Body::Bounce(Box::new(Bounce {
            to: envelope.receiver().clone(),
            method: method.clone(),
            payload: payload.clone(),
            reason: reason.into(),
            unsure,
        }));
        let bounce = of_the_host(self.id.clone(), bounce);
        self.mailbox.push_urgent(Input::Envelope(bounce, None));
    }
}

/// Never taken, so safe to ask again.
pub(super) fn unavailable(refusal: Refusal) -> Reply {
    Reply::Unavailable(refusal_text(refusal).into())
}

/// What whoever waits for an answer is told of a message that was closed unapplied.
fn skip_reply(reason: &SkipReason) -> Reply {
    match reason {
        SkipReason::TurnedDown(_) => Reply::Unavailable(skip_text(reason).into()),
        _ => Reply::Bounced(skip_text(reason).into()),
    }
}

/// A verdict that closes one message unapplied, as it is recorded.
fn verdict_of(reason: &SkipReason) -> Verdict {
    match reason {
        SkipReason::Redirected => Verdict::Redirected,
        SkipReason::TurnedDown(_) => Verdict::Unavailable(skip_text(reason).into()),
        SkipReason::Expired | SkipReason::Cancelled | SkipReason::Dead(_) => {
            Verdict::Skipped(skip_text(reason).into())
        }
    }
}

/// The ask an own message stands for, by the agent's number.
fn own_ask(envelope: &Envelope) -> Option<u64> {
    // What was sent on is another agent's ask.
    let is_own = envelope.original().is_none();
    envelope.body.ask().filter(|_| is_own).map(|ask| ask.id)
}
