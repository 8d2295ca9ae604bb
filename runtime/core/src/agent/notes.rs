//! What a durable agent notes for its log, when it has committed something.
//!
//! ```text
//!   commit, fail, offer, acknowledged, tick ──▶ Notes ──▶ take_records ──▶ AgentLog
//! ```
//!
//! An ephemeral agent has no notes, and pays a look whether it has some.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::agent::batch::Batch;
use crate::agent::inbound::StreamIndex;
use crate::agent::{Agent, BadAnswer, Input};
use crate::journal::MAX_BODY;
use crate::journal::record::{
    Anew, Closed, GivenUp, Heard, Moved, Put, Record, Says, Terms, Turns, Verdict,
};
use crate::limits::MAX_DURABLE_BATCH;
use crate::{AgentId, Body, Envelope, Epoch, Incarnation, Lane, Nanos, Payload, Reply, SkipReason};

/// Notes that may wait for the next batch, at most: words that messages were applied,
/// for all of which one number stands where they follow each other.
const MAX_WAITING: usize = 256;
/// What the entry of a batch has of its inputs beside its frame, bytes: a batch ends with
/// the input that brings it there.
pub(super) const MAX_BESIDE: usize = 16 << 20;
/// What it has beside all of that: what the agent runs under, and numbers.
const REST: usize = 1 << 20;
/// Bytes of frame and answer that fit an entry: replies in the frame are noted beside it
/// too, and an effect's number takes no more than the effect.
const MAX_FRAMES: u64 = ((MAX_BODY - MAX_BESIDE - REST) / 2) as u64;
const _: () = assert!(MAX_DURABLE_BATCH + (REST as u64) <= MAX_FRAMES);
/// Messages on their way to another receiver that one entry has, bytes: it ends with the
/// one that brings it there.
const MAX_FORWARDED: usize = 1 << 20;
/// Closed messages that one entry has.
const MAX_CLOSED: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What is still to be said, in order, each with when it came to be.
    pending: Vec<(Nanos, Says)>,
    /// How many verdicts are among that.
    heard: usize,
    /// Bytes of the messages that go on by the last entry of that.
    forwarded: usize,
    /// Whether something among that is more than a word that messages were applied: if
    /// that is lost it comes again.
    is_urgent: bool,
    /// The numbers that effects got since the last commit began.
    numbers: Vec<u64>,
    /// While committed turns are run again: the numbers their effects have to get.
    pub(super) recorded: VecDeque<u64>,
    /// What the agent runs under.
    pub(super) terms: Option<Arc<Terms>>,
    /// Whether the entries that count say so.
    is_said: bool,
    /// Whether a checkpoint of the memory was taken since the last batch.
    is_after_checkpoint: bool,
    /// What the agent begins with, until an entry says so.
    config: Option<Box<Payload>>,
    /// Which life the first of what is pending is of, if that is over.
    last_life: Option<Incarnation>,
}

impl Notes {
    fn note(&mut self, now: Nanos, says: Says) {
        self.is_urgent = true;
        self.pending.push((now, says));
    }

    /// Whether there is nothing to be said.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Forgets what was noted; gives the numbers that effects got.
    pub(super) fn forget(&mut self) -> Vec<u64> {
        self.pending.clear();
        self.heard = 0;
        self.is_urgent = false;
        self.last_life = None;
        self.recorded.clear();
        std::mem::take(&mut self.numbers)
    }
}

impl Agent {
    /// Notes from now on what has to be kept of it; its next batch says `terms`.
    ///
    /// To be told when a durable agent begins, is restored or wakes, when it is to run
    /// under other terms, and whenever a snapshot of it was handed to the journal:
    /// what was said before that may be dropped.
    pub fn keep_log(&mut self, terms: &Arc<Terms>) {
        let notes = self.notes.get_or_insert_default();
        notes.terms = Some(terms.clone());
        notes.is_said = false;
        notes.config = self.mailbox.init().cloned().map(Box::new);
    }

    /// Notes that a checkpoint of its memory was taken after its last batch: with an image
    /// that was taken then it goes on, here or where the image is put.
    pub fn note_checkpoint(&mut self) {
        if let Some(notes) = &mut self.notes {
            notes.is_after_checkpoint = true;
        }
    }

    /// Whether it notes what has to be kept of it.
    pub fn is_durable(&self) -> bool {
        self.notes.is_some()
    }

    /// What it runs under, as its log has it.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        self.notes.as_ref()?.terms.as_ref()
    }

    /// What has to be appended to its log, in order, before anything leaves of what
    /// was done since the last call. To be asked after everything that may lead to
    /// [`crate::agent::Actions`].
    ///
    /// Words that messages were applied may be lost, because they come again: they wait
    /// for what cannot be, unless `all` is wanted, as before a sleep in memory alone.
    pub fn take_records(&mut self, epoch: Epoch, all: bool) -> Vec<Record> {
        let Some(notes) = &mut self.notes else {
            return Vec::new();
        };
        if !(notes.is_urgent || all || notes.heard >= MAX_WAITING) {
            return Vec::new();
        }
        notes.is_urgent = false;
        notes.heard = 0;
        if let Some((now, first)) = notes.pending.first()
            && let Some(config) = notes.config.take()
            && !begins(first)
        {
            notes.pending.insert(0, (*now, Says::Begins(config)));
        }
        let mut life = notes.last_life.take().unwrap_or(self.incarnation);
        let record = |(now, says)| {
            let incarnation = life;
            if let Says::Anew(anew) = &says {
                life = anew.incarnation;
            }
            Record {
                incarnation,
                epoch,
                now,
                says,
            }
        };
        notes.pending.drain(..).map(record).collect()
    }

    /// Notes that its life is over, and that this one begins. Its notes are still those of
    /// the old one, which was `last_life`.
    #[cold]
    pub(super) fn note_anew(&mut self, last_life: Incarnation, config: &Payload) {
        let now = self.clock.nanos();
        let anew = Box::new(Anew {
            incarnation: self.incarnation,
            config: config.clone(),
        });
        let Some(notes) = &mut self.notes else { return };
        notes.last_life.get_or_insert(last_life);
        notes.config = None;
        notes.is_after_checkpoint = false;
        notes.note(now, Says::Anew(anew));
    }

    /// Notes that it is to end, so that it does whatever becomes of its node before it
    /// has ([`Agent::stop`]).
    pub fn note_stop(&mut self) {
        let now = self.clock.nanos();
        if let (Some(notes), Some(why)) = (&mut self.notes, &self.stopped) {
            notes.note(now, Says::Stops(why.clone()));
        }
    }

    /// Begins the record of a batch that is about to be committed; takes its frame.
    #[inline]
    pub(super) fn begin_note(&mut self, batch: &mut Batch, answer: &Bytes) -> Option<Box<Turns>> {
        self.notes.as_ref()?;
        Some(self.begin_turns(batch, answer))
    }

    #[cold]
    fn begin_turns(&mut self, batch: &mut Batch, answer: &Bytes) -> Box<Turns> {
        let was_put = batch.turns() > 0;
        let (mut terms, mut after_checkpoint) = (None, false);
        if let Some(notes) = &mut self.notes {
            notes.numbers.clear();
            // Memory changes with a batch that is put to the guest.
            if was_put {
                after_checkpoint = std::mem::take(&mut notes.is_after_checkpoint);
            }
            if !std::mem::replace(&mut notes.is_said, true) {
                terms = notes.terms.as_deref().cloned();
            }
        }
        let put = |entry: &super::batch::Entry| Put {
            input: match entry.skip {
                None => placeless(&entry.input),
                Some(_) => unread(&entry.input),
            },
            skip: entry.skip,
        };
        let frame = std::mem::take(&mut batch.frame);
        Box::new(Turns {
            terms,
            after_checkpoint,
            first: batch.first_turn(),
            frame: if was_put { frame.into() } else { Bytes::new() },
            answer: if was_put {
                answer.clone()
            } else {
                Bytes::new()
            },
            inputs: batch.entries.iter().map(put).collect(),
            numbers: Vec::new(),
            moved: Vec::new(),
            memory: None,
        })
    }

    /// The batch is committed, and its watermarks are not reported yet.
    #[cold]
    pub(super) fn note_turns(&mut self, mut turns: Box<Turns>) {
        let moved = self.inbound.touched().map(|stream| Moved {
            sender: stream.key.sender.clone(),
            lane: stream.key.lane,
            through: stream.watermark,
        });
        turns.moved = moved.collect();
        if let Some(notes) = &mut self.notes {
            turns.numbers.clone_from(&notes.numbers);
            notes.note(self.now, Says::Turns(turns));
        }
    }

    /// The next message of an own stream is about to get its number.
    #[cold]
    pub(super) fn note_number(&mut self, at: u32) {
        let Some(notes) = &mut self.notes else { return };
        if let Some(recorded) = notes.recorded.pop_front() {
            self.outbox.renumber(at, recorded);
        }
        notes.numbers.extend(self.outbox.next_number(at));
    }

    /// An input that faults is about to be given up.
    #[cold]
    pub(super) fn note_given_up(
        &mut self,
        input: &Input,
        why: &Arc<str>,
        attempts: u32,
        now: Nanos,
    ) {
        let through = match input {
            Input::Envelope(_, Some(at)) => self.inbound.watermark(*at),
            _ => 0,
        };
        let given_up = Box::new(GivenUp {
            input: placeless(input),
            why: why.clone(),
            attempts,
            through,
        });
        if let Some(notes) = &mut self.notes {
            notes.note(now, Says::GivenUp(given_up));
        }
    }

    /// A message is closed before its turn: of its stream, what all had their verdicts
    /// up to before, and its number.
    #[cold]
    pub(super) fn note_closed(
        &mut self,
        at: StreamIndex,
        (through, number): (u64, u64),
        reason: SkipReason,
        forward: Option<Arc<Envelope>>,
    ) {
        let Some(key) = self.inbound.key(at) else {
            return;
        };
        let closed = Closed {
            sender: key.sender.clone(),
            lane: key.lane,
            number,
            give_up: self.inbound.last_give_up(at),
            through,
            reason,
            forward,
        };
        let bytes = closed.forward.as_ref().map_or(0, |it| it.size());
        let now = self.clock.nanos();
        let Some(notes) = &mut self.notes else { return };
        match notes.pending.last_mut() {
            Some((_, Says::Closed(all)))
                if all.len() < MAX_CLOSED && notes.forwarded < MAX_FORWARDED =>
            {
                notes.forwarded += bytes;
                all.push(closed);
            }
            _ => {
                notes.forwarded = bytes;
                notes.note(now, Says::Closed(vec![closed]));
            }
        }
    }

    /// What it sent has a verdict now.
    #[cold]
    pub(super) fn note_heard(&mut self, to: &AgentId, lane: Lane, number: u64, verdict: Verdict) {
        let now = self.clock.nanos();
        let Some(notes) = &mut self.notes else { return };
        notes.is_urgent |= !matches!(verdict, Verdict::Applied { .. });
        if let Some((_, Says::Heard(all))) = notes.pending.last_mut() {
            if let Some(last) = all.last_mut()
                && matches!(verdict, Verdict::Applied { .. })
                && last.verdict == verdict
                && last.lane == lane
                && last.receiver == *to
            {
                last.number = last.number.max(number);
                return;
            }
            notes.heard += 1;
            all.push(heard(to, lane, number, verdict));
            return;
        }
        notes.heard += 1;
        let says = Says::Heard(vec![heard(to, lane, number, verdict)]);
        notes.pending.push((now, says));
    }
}

/// Whether an entry is of the turn an agent begins with.
fn begins(says: &Says) -> bool {
    match says {
        Says::Turns(turns) => {
            let first = turns.inputs.first();
            first.is_some_and(|put| matches!(put.input, Input::Init { .. }))
        }
        Says::GivenUp(given_up) => matches!(given_up.input, Input::Init { .. }),
        Says::Begins(_) | Says::Anew(_) => true,
        Says::Closed(_) | Says::Heard(_) | Says::Terms(_) | Says::Stops(_) => false,
    }
}

fn heard(to: &AgentId, lane: Lane, number: u64, verdict: Verdict) -> Heard {
    Heard {
        receiver: to.clone(),
        lane,
        number,
        verdict,
    }
}

/// What an entry has of an input beside what the frame has of it, bytes at most.
pub(super) fn noted_bytes(input: &Input) -> usize {
    match input {
        Input::Envelope(envelope, _) => envelope.noted_bytes(),
        _ => Envelope::OVERHEAD,
    }
}

/// Whether a batch and its answer fit an entry. The journal can take no other, so that one
/// has to be undone.
pub(super) fn check_size(frame: usize, answer: usize) -> Result<(), BadAnswer> {
    let (found, bound) = (frame as u64 + answer as u64, MAX_FRAMES);
    if found > bound {
        return Err(BadAnswer::TooLargeToKeep { found, bound });
    }
    Ok(())
}

/// An input that nobody reads, as it was skipped: who sent it, and which it is.
fn unread(input: &Input) -> Input {
    let Input::Envelope(envelope, _) = input else {
        return input.clone();
    };
    let body = match &envelope.body {
        Body::Message { method, ask, .. } => Body::Message {
            method: method.clone(),
            payload: Payload::default(),
            ask: ask.clone(),
        },
        Body::Spawn { ask, .. } => Body::Spawn {
            config: Payload::default(),
            ask: ask.clone(),
        },
        Body::Reply { ask, asker, .. } => Body::Reply {
            ask: *ask,
            asker: *asker,
            reply: Reply::Timeout,
        },
        // The agent's own, by which it is known.
        Body::Bounce(_) => envelope.body.clone(),
    };
    let envelope = Envelope {
        body,
        ..Envelope::clone(envelope)
    };
    Input::Envelope(Arc::new(envelope), None)
}

/// An input without its place in the agent's tables.
fn placeless(input: &Input) -> Input {
    match input {
        Input::Envelope(envelope, _) => Input::Envelope(envelope.clone(), None),
        other => other.clone(),
    }
}
