//! Messages that passed a gate: whether the next one may be asked to, how one ends
//! that did, and what becomes of one that was turned down.
//!
//! Whoever drives the agent keeps the gates. It gives each message that passed
//! them a ticket, and gets that back with how the message ended, once: when its
//! turn committed, its answer was given or came too late, or it was closed unapplied.

use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_wit::Outcome as Turned;

use crate::agent::batch::Skip;
use crate::agent::inbound::{Arrival, Closed};
use crate::agent::{Actions, Agent, acknowledge, answer, refuse};
use crate::flow::{Outcome, TurnedDown, TurnedDownBy};
use crate::{
    Body, DeadReason, Envelope, KindPolicy, Millis, Notice, Refusal, Reply, ReplyTo, SkipReason,
};

/// Longest text of a failure that is kept, bytes.
const MAX_WHY: usize = 1_024;

/// That a message with a ticket has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its ticket.
    pub ticket: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// What it failed with, in the guest's or the host's words.
    pub why: Option<Arc<str>>,
}

/// Messages with tickets.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Those that wait or run, by where they lie: what has a ticket is in the
    /// mailbox or in a batch, and does not move.
    waiting: HashMap<usize, usize>,
    /// Requests taken and not answered, by the number of their turn: the ticket,
    /// and when the asker stops waiting.
    open: HashMap<u64, (usize, Millis)>,
    ended: Vec<Ended>,
}

impl Watched {
    fn take(&mut self, envelope: &Arc<Envelope>) -> Option<usize> {
        self.waiting.remove(&place(envelope))
    }

    fn end(&mut self, ticket: usize, outcome: Outcome, why: Option<&str>) {
        let why = why.map(|why| {
            let end = why.floor_char_boundary(MAX_WHY);
            why.get(..end).unwrap_or("").into()
        });
        self.ended.push(Ended {
            ticket,
            outcome,
            why,
        });
    }
}

/// Where a message stands that is about to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It is not to be taken now, whatever gates say: it is out of turn, or too large.
    Not,
    /// It is the next of its stream, or of none.
    Next {
        /// Whether the mailbox has room for it.
        room: bool,
    },
}

impl Agent {
    /// Where `envelope` stands; to be asked before it is put to a gate, so that
    /// nothing that is repeated or out of turn counts there.
    pub fn outlook(&mut self, envelope: &Arc<Envelope>, policy: &KindPolicy) -> Outlook {
        if self.stopped.is_some() || envelope.asked_bytes() > policy.max_message as usize {
            return Outlook::Not;
        }
        let is_next = match &envelope.sequence {
            None => true,
            Some(sequence) => matches!(
                self.inbound
                    .arrival(&envelope.stream, sequence, policy.streams),
                Arrival::Next(_)
            ),
        };
        match is_next {
            true => Outlook::Next {
                room: self.has_room(envelope, policy),
            },
            false => Outlook::Not,
        }
    }

    /// Gives a message a ticket that is offered next and that the mailbox has room for.
    pub fn watch(&mut self, envelope: &Arc<Envelope>, ticket: usize) {
        let watched = self.watched.get_or_insert_default();
        if let Some(gone) = watched.waiting.insert(place(envelope), ticket) {
            // What lay there before left without a word.
            watched.end(gone, Outcome::Ignored, None);
        }
    }

    /// Tickets whose messages have ended since this was last asked.
    pub fn ended(&mut self) -> Vec<Ended> {
        match &mut self.watched {
            Some(watched) => std::mem::take(&mut watched.ended),
            None => Vec::new(),
        }
    }

    /// Forgets all tickets: nobody asks for them any more.
    pub fn unwatch(&mut self) {
        self.watched = None;
    }

    /// Ends a message that gates turned down, the next of its stream if it is
    /// reliable. One that nobody waits for stays with its sender, which tries
    /// again; whoever waits for an answer is told at once.
    pub fn turn_down(
        &mut self,
        envelope: &Arc<Envelope>,
        why: &TurnedDown,
        policy: &KindPolicy,
        out: &mut Actions,
    ) {
        self.counters.turned_down += 1;
        let at = match &envelope.sequence {
            None => None,
            Some(sequence) => {
                match self
                    .inbound
                    .arrival(&envelope.stream, sequence, policy.streams)
                {
                    Arrival::Next(at) => Some((at, *sequence)),
                    // Time has gone by since it was looked at.
                    _ => return turn_away(envelope, why, out),
                }
            }
        };
        let is_ask = envelope.body.ask().is_some();
        let Some((at, sequence)) = at else {
            if why.notice.by == TurnedDownBy::Size {
                self.close(envelope, None, &DeadReason::TooLarge, 0, out);
            } else if is_ask {
                turn_away(envelope, why, out);
            } else {
                self.drop_unreliable(envelope, out);
            }
            return;
        };
        if why.notice.by == TurnedDownBy::Size {
            self.inbound.take(at, &sequence);
            self.close(envelope, Some(at), &DeadReason::TooLarge, 0, out);
            self.report_watermarks(out);
        } else if is_ask {
            self.inbound.take(at, &sequence);
            let reason = SkipReason::TurnedDown(why.text.clone());
            if self.notes.is_some() {
                let through = self.inbound.watermark(at);
                let closed = (through, sequence.number);
                self.note_closed(at, closed, reason.clone(), None);
            }
            self.inbound
                .skip(at, sequence.number, Closed::bare(&reason));
            let from = out.acknowledge.len();
            turn_away(envelope, why, out);
            for acknowledgement in out.acknowledge.iter_mut().skip(from) {
                self.readdress(acknowledgement, Some(at));
            }
            self.report_watermarks(out);
        } else {
            turn_away(envelope, why, out);
        }
    }

    /// A message's turn committed.
    #[inline(always)]
    pub(super) fn note_turn(&mut self, envelope: &Arc<Envelope>, turn: u64, turned: &Turned<'_>) {
        if self.watched.is_some() {
            self.note_watched_turn(envelope, turn, turned);
        }
    }

    #[cold]
    fn note_watched_turn(&mut self, envelope: &Arc<Envelope>, turn: u64, turned: &Turned<'_>) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        let Some(ticket) = watched.take(envelope) else {
            return;
        };
        match (turned, envelope.body.ask()) {
            (Turned::Failed(failure), _) => {
                watched.end(ticket, Outcome::Failed(FAILED), Some(failure.message));
            }
            (Turned::Pending, Some(ask)) => {
                let deadline = ask.deadline;
                watched.open.insert(turn, (ticket, deadline));
                self.wake_by(deadline);
            }
            // Of a one-way message whose handler waits nobody hears the end.
            _ => watched.end(ticket, Outcome::Ok, None),
        }
    }

    /// A request of an earlier turn was answered.
    pub(super) fn note_reply(
        &mut self,
        turn: u64,
        failure: Option<&phoenix_wit::Failure<'_>>,
        now: Millis,
    ) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        match (watched.open.remove(&turn), failure) {
            (None, _) => {}
            (Some((ticket, deadline)), _) if deadline <= now => {
                watched.end(ticket, Outcome::Failed(TIMEOUT), Some(LATE));
            }
            (Some((ticket, _)), Some(failure)) => {
                watched.end(ticket, Outcome::Failed(FAILED), Some(failure.message));
            }
            (Some((ticket, _)), None) => watched.end(ticket, Outcome::Ok, None),
        }
    }

    /// A message is closed without having been put.
    pub(super) fn note_skip(&mut self, envelope: &Arc<Envelope>, skip: Skip) {
        if self.watched.is_none() {
            return;
        }
        let is_given_up = self.is_cancelled(envelope);
        let Some(watched) = &mut self.watched else {
            return;
        };
        let Some(ticket) = watched.take(envelope) else {
            return;
        };
        let is_ask = envelope.body.ask().is_some();
        match skip {
            // Its asker has not said so, so it is the deadline that has passed.
            Skip::Cancelled if !is_given_up => {
                watched.end(ticket, Outcome::Failed(TIMEOUT), Some(LATE));
            }
            Skip::Expired if is_ask => {
                watched.end(ticket, Outcome::Failed(TIMEOUT), Some(LATE));
            }
            Skip::Expired => watched.end(
                ticket,
                Outcome::Failed("expired"),
                Some("its time was over before its turn came"),
            ),
            Skip::Cancelled | Skip::LateReply | Skip::Nothing | Skip::Missed => {
                watched.end(ticket, Outcome::Ignored, None);
            }
        }
    }

    /// A message is a dead letter.
    pub(super) fn note_dead(&mut self, envelope: &Arc<Envelope>, reason: &DeadReason) {
        if let Some(watched) = &mut self.watched
            && let Some(ticket) = watched.take(envelope)
        {
            watched.end(ticket, outcome_of(reason), Some(reason.detail()));
        }
    }

    /// A message is lost.
    pub(super) fn note_gone(&mut self, envelope: &Arc<Envelope>) {
        if let Some(watched) = &mut self.watched
            && let Some(ticket) = watched.take(envelope)
        {
            watched.end(ticket, Outcome::Ignored, None);
        }
    }

    /// The agent ends, and with it all requests it has not answered.
    pub(super) fn end_requests(&mut self, reason: &DeadReason) {
        if let Some(watched) = &mut self.watched {
            for (_, (ticket, _)) in std::mem::take(&mut watched.open) {
                watched.end(ticket, outcome_of(reason), Some(reason.detail()));
            }
        }
    }

    /// Ends requests whose askers have stopped waiting.
    pub(super) fn end_overdue(&mut self, now: Millis) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        let late = watched
            .open
            .extract_if(|_, (_, deadline)| *deadline <= now)
            .map(|(_, (ticket, _))| ticket);
        for ticket in late.collect::<Vec<_>>() {
            watched.end(ticket, Outcome::Failed(TIMEOUT), Some(LATE));
        }
    }

    /// When [`Agent::end_overdue`] next has something to do.
    pub(super) fn next_overdue(&self) -> Millis {
        let open = self
            .watched
            .iter()
            .flat_map(|watched| watched.open.values());
        open.map(|(_, deadline)| *deadline)
            .min()
            .unwrap_or(Millis::NEVER)
    }
}

const FAILED: &str = "failed";
const TIMEOUT: &str = "timeout";
const LATE: &str = "it was not answered by its deadline";

/// What the end of a message says about its agent.
fn outcome_of(reason: &DeadReason) -> Outcome {
    match reason {
        DeadReason::Trapped(_) => Outcome::Failed("trap"),
        DeadReason::Quarantined(_) => Outcome::Failed("quarantined"),
        DeadReason::InitFailed(_) => Outcome::Failed("init-failed"),
        _ => Outcome::Ignored,
    }
}

/// Tells the sender of a message that a gate turned it down: whoever waits for
/// an answer that it has none, and anybody else to try again.
pub fn turn_away(envelope: &Arc<Envelope>, why: &TurnedDown, out: &mut Actions) {
    let Some(ask) = envelope.body.ask() else {
        return refuse(envelope, None, Refusal::Flow(why.notice), out);
    };
    match (envelope.sequence, &ask.reply_to) {
        (Some(sequence), ReplyTo::Agent(..)) => {
            let notice = Notice::Skipped {
                number: sequence.number,
                reason: SkipReason::TurnedDown(why.text.clone()),
            };
            acknowledge(envelope, notice, out);
        }
        (_, ReplyTo::Agent(..)) => answer(ask, Reply::Unavailable(why.text.clone()), out),
        (_, ReplyTo::Client(_)) => {
            if let Some(sequence) = envelope.sequence {
                let notice = Notice::Skipped {
                    number: sequence.number,
                    reason: SkipReason::TurnedDown(why.text.clone()),
                };
                acknowledge(envelope, notice, out);
            }
            answer(ask, Reply::TurnedDown(Box::new(why.clone())), out);
        }
    }
}

/// Whether gates count it: what an agent is asked to do, not what ends something
/// it began, nor its creation.
pub fn is_counted(envelope: &Envelope) -> bool {
    matches!(envelope.body, Body::Message { .. })
}

fn place(envelope: &Arc<Envelope>) -> usize {
    Arc::as_ptr(envelope).addr()
}
