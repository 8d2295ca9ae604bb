//! A durable agent as its snapshot and the entries after it have it.
//!
//! ```text
//!   snapshot ──▶ Recovery ──▶ resume ──▶ Agent
//!   or Init        ▲  │
//!        entries ──┘  └──▶ Again: frames that bring the guest's memory up to date
//! ```
//!
//! Nothing is decided anew: an outcome is what the entry says it was, and nothing is
//! emitted. What was committed is all there is. What only waited is forgotten: messages
//! have no verdict, so that their senders send them again; timers and deadlines come
//! due again.
//!
//! That effects get the numbers they were recorded with is the proof that the journal
//! and the state are of one agent; the guest's answers and memory are the host's to
//! compare.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::agent::batch::{Batch, BatchRoom, Entry};
use crate::agent::{Actions, Agent, Input, Terms as KeptBy};
use crate::journal::record::{
    Anew, Closed, GivenUp, Heard, Put, Record, Says, Terms, Turns, Verdict,
};
use crate::{AgentId, Digest, Incarnation, Millis, Nanos, Notice, Payload, Reply, StreamKey};

/// Running a journal's turns again gave something else than it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "divergence in {agent} at turn {turn}: {what} {recorded} in the journal, and {found} \
     when that is run again"
)]
pub struct Diverged {
    /// Whose journal.
    pub agent: AgentId,
    /// The turn it was found at: the first of its batch, or the next.
    pub turn: u64,
    /// What differs.
    pub what: &'static str,
    /// What the journal says.
    pub recorded: String,
    /// What came out.
    pub found: String,
}

/// Turns the host has to run again, to bring the guest's memory up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// The number of the first of them.
    pub first: u64,
    /// How many they are.
    pub turns: u32,
    /// Whether a checkpoint of the memory has to be taken before them, as was then.
    pub after_checkpoint: bool,
    /// The frame, exactly as it was put to the guest.
    pub frame: Bytes,
    /// What the guest answered then: it has to answer the same.
    pub answer: Bytes,
    /// The hash its memory has to have after them, where one was taken.
    pub memory: Option<Digest>,
}

/// What an entry asks of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing: the guest had no part in it.
    Nothing,
    /// To run turns again.
    Turns(Rerun),
    /// To forget the memory, and what was to be run again before: a new life began, with
    /// memory as it is instantiated.
    Anew,
}

/// An agent on its way back to where its journal ends.
#[derive(Debug)]
pub struct Recovery {
    agent: Agent,
    room: BatchRoom,
    /// Whether its memory is still what the snapshot has.
    is_at_snapshot: bool,
    /// What it would want done, and must not.
    unsaid: Actions,
}

impl Recovery {
    /// From a snapshot.
    pub fn from_snapshot(agent: Agent) -> Self {
        let mut recovery = Self {
            agent,
            room: BatchRoom::default(),
            is_at_snapshot: true,
            unsaid: Actions::default(),
        };
        recovery.agent.notes.get_or_insert_default();
        recovery.agent.forget_uncommitted();
        recovery
    }

    /// From the first entry of a life, which is still to be run. `None` if no life
    /// begins with it.
    pub fn from_first(agent: &AgentId, first: &Record) -> Option<Self> {
        let config = match &first.says {
            Says::Begins(config) => Some(&**config),
            Says::Turns(turns) => turns.inputs.first().and_then(|put| config_of(&put.input)),
            Says::GivenUp(given_up) => config_of(&given_up.input),
            Says::Anew(anew) => Some(&anew.config),
            Says::Closed(_) | Says::Heard(_) | Says::Terms(_) | Says::Stops(_) => None,
        };
        let config = config?.clone();
        let agent = Agent::new(agent.clone(), first.incarnation, config);
        let mut recovery = Self::from_snapshot(agent);
        recovery.is_at_snapshot = false;
        Some(recovery)
    }

    /// The agent as far as it has come.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What the agent ran under last, if an entry has said it. The frames of a
    /// [`Rerun`] are for that component under these limits.
    pub fn terms(&self) -> Option<&Arc<Terms>> {
        self.agent.terms()
    }

    /// Takes the next entry. On an error the recovery is of no use any more.
    pub fn replay(&mut self, record: &Record) -> Result<Again, Diverged> {
        let incarnation = self.agent.incarnation;
        if record.incarnation != incarnation {
            let text = |it: Incarnation| format!("{it:?}");
            let (recorded, found) = (text(record.incarnation), text(incarnation));
            return Err(self.divergence("incarnation", recorded, found));
        }
        self.agent.clock = self.agent.clock.max(record.now.millis());
        let mut again = Again::Nothing;
        match &record.says {
            Says::Turns(turns) => again = self.turns(turns, record.now)?,
            Says::GivenUp(given_up) => self.given_up(given_up, record.now.millis()),
            Says::Closed(all) => {
                for closed in all {
                    self.closed(closed)?;
                }
            }
            Says::Heard(all) => all.iter().for_each(|heard| self.heard(heard)),
            Says::Terms(terms) => self.run_under(terms),
            // It was begun with.
            Says::Begins(_) => {}
            Says::Anew(anew) => {
                self.anew(anew);
                again = Again::Anew;
            }
            Says::Stops(why) => self.agent.stop(why),
        }
        self.forget();
        Ok(again)
    }

    fn anew(&mut self, anew: &Anew) {
        let Anew {
            incarnation,
            config,
        } = anew;
        let out = &mut self.unsaid;
        self.agent.renew(*incarnation, config.clone(), out);
        self.settle();
        self.is_at_snapshot = false;
        // It begins under those that are its kind's then.
        if let Some(notes) = &mut self.agent.notes {
            notes.terms = None;
        }
    }

    /// The agent, after the last entry. Its next [`Agent::tick`] sends everything
    /// without a verdict again, under its old numbers; deadlines and timers stand.
    ///
    /// It notes for its log again once it is told to ([`Agent::keep_log`]).
    pub fn resume(mut self, now: Millis) -> Agent {
        self.forget();
        let mut agent = self.agent;
        if self.is_at_snapshot {
            agent.note_checkpoint();
        }
        agent.clock = agent.clock.max(now);
        agent.outbox.resume();
        agent.wake = Millis(0);
        agent.probe_at = Millis(0);
        agent
    }

    fn forget(&mut self) -> Vec<u64> {
        self.unsaid = Actions::default();
        let notes = self.agent.notes.as_mut();
        notes.map(|notes| notes.forget()).unwrap_or_default()
    }

    fn divergence(&self, what: &'static str, recorded: String, found: String) -> Diverged {
        Diverged {
            agent: self.agent.id.clone(),
            turn: self.agent.turn,
            what,
            recorded,
            found,
        }
    }

    fn run_under(&mut self, terms: &Terms) {
        self.agent.retry_by(&terms.policy);
        if let Some(notes) = &mut self.agent.notes {
            notes.terms = Some(Arc::new(terms.clone()));
        }
    }

    fn turns(&mut self, turns: &Turns, now: Nanos) -> Result<Again, Diverged> {
        if let Some(terms) = &turns.terms {
            self.run_under(terms);
        }
        let first = self.agent.turn;
        if turns.first != first {
            let (recorded, found) = (turns.first.to_string(), first.to_string());
            return Err(self.divergence("first turn", recorded, found));
        }
        let Some(terms) = self.terms().cloned() else {
            let (recorded, found) = ("none".to_owned(), "a need of them".to_owned());
            return Err(self.divergence("terms", recorded, found));
        };
        let entries = turns.inputs.iter().map(|put| self.entry(put)).collect();
        let batch = Batch::again(Vec::new(), entries, first, now);
        if let Some(notes) = &mut self.agent.notes {
            notes.recorded = turns.numbers.iter().copied().collect();
        }
        let (room, out) = (&mut self.room, &mut self.unsaid);
        let committed = self
            .agent
            .commit(batch, &turns.answer, &terms.policy, room, out);
        if let Err(undone) = committed {
            let (recorded, found) = ("good".to_owned(), undone.1.to_string());
            return Err(self.divergence("an answer is", recorded, found));
        }
        for moved in &turns.moved {
            let key = StreamKey {
                sender: moved.sender.clone(),
                receiver: self.agent.id.clone(),
                lane: moved.lane,
            };
            self.agent.inbound.advance_known(&key, moved.through);
        }
        let numbers = self.forget();
        if numbers != turns.numbers {
            let (recorded, found) = differing(&turns.numbers, &numbers);
            let divergence = self.divergence("numbers of effects are", recorded, found);
            return Err(Diverged {
                turn: first,
                ..divergence
            });
        }
        // What was deferred waits with its senders.
        self.agent.forget_uncommitted();
        if turns.count() == 0 {
            return Ok(Again::Nothing);
        }
        self.is_at_snapshot = false;
        Ok(Again::Turns(Rerun {
            first,
            turns: turns.count(),
            after_checkpoint: turns.after_checkpoint,
            frame: turns.frame.clone(),
            answer: turns.answer.clone(),
            memory: turns.memory,
        }))
    }

    /// An input as it is put to a commit. It waits no more, if it waits.
    fn entry(&mut self, put: &Put) -> Entry {
        let before = |number: u64| number.saturating_sub(1);
        Entry {
            input: self.input(&put.input, before),
            skip: put.skip,
        }
    }

    /// A recorded input with its place in the agent's tables; `before` says where a
    /// stream begins that is not known.
    fn input(&mut self, input: &Input, before: impl FnOnce(u64) -> u64) -> Input {
        self.agent.mailbox.take_same(input);
        let Input::Envelope(envelope, _) = input else {
            return input.clone();
        };
        let at = envelope.sequence.map(|it| {
            let before = before(it.number);
            let (key, base) = (&envelope.stream, it.base.get());
            let inbound = &mut self.agent.inbound;
            inbound.recorded(key, it.give_up, base, before)
        });
        Input::Envelope(envelope.clone(), at)
    }

    fn given_up(&mut self, given_up: &GivenUp, now: Millis) {
        let GivenUp {
            input,
            why,
            attempts,
            through,
        } = given_up;
        let input = self.input(input, |_| *through);
        if let Input::Envelope(_, Some(at)) = &input {
            self.agent.inbound.advance(*at, *through);
        }
        let out = &mut self.unsaid;
        self.agent.give_up_input(input, why, *attempts, now, out);
        self.settle();
    }

    fn closed(&mut self, closed: &Closed) -> Result<(), Diverged> {
        let key = StreamKey::shared(closed.sender.clone(), self.agent.id.clone(), closed.lane);
        let inbound = &mut self.agent.inbound;
        let at = inbound.recorded(&key, closed.give_up, 1, closed.through);
        inbound.advance(at, closed.through);
        let how = super::Closed::bare(&closed.reason);
        inbound.skip(at, closed.number, how);
        self.settle();
        let Some(forward) = &closed.forward else {
            return Ok(());
        };
        let (to, lane) = (forward.receiver(), forward.stream.lane);
        let recorded = forward.sequence.map_or(0, |it| it.number);
        let new = self.agent.stream(to, lane);
        self.agent.outbox.renumber(new, recorded);
        let found = self.agent.outbox.next_number(new).unwrap_or(0);
        if found != recorded {
            let (recorded, found) = (recorded.to_string(), found.to_string());
            return Err(self.divergence("the number of what goes on is", recorded, found));
        }
        let give_up = forward.sequence.map_or(Millis::NEVER, |it| it.give_up);
        let kept_by = KeptBy {
            extras: forward.extras.clone(),
            ..KeptBy::until(give_up)
        };
        let (body, now) = (forward.body.clone(), self.agent.clock);
        let out = &mut self.unsaid;
        self.agent.push(new, || body, kept_by, now, out);
        Ok(())
    }

    /// What moved is reported to nobody.
    fn settle(&mut self) {
        let moved: Vec<_> = self.agent.inbound.touched().cloned().collect();
        self.agent.inbound.moved(|_, _, _| ());
        for stream in moved {
            let inbound = &mut self.agent.inbound;
            inbound.advance_known(&stream.key, stream.watermark);
        }
    }

    fn heard(&mut self, heard: &Heard) {
        let Heard {
            receiver,
            lane,
            number,
            verdict,
        } = heard;
        let (now, out) = (self.agent.clock, &mut self.unsaid);
        if let Verdict::Applied { after } = verdict {
            let (after, through) = (*after, *number);
            let notice = Notice::Applied { after, through };
            self.agent.acknowledged(receiver, *lane, &notice, now, out);
            return;
        }
        let outbox = &mut self.agent.outbox;
        let closed = outbox.closed(receiver, *lane, *number, now, &mut out.send);
        let Some((envelope, token)) = closed else {
            return;
        };
        match verdict {
            Verdict::Applied { .. } => {}
            Verdict::Redirected => self.agent.went_on(&envelope, token),
            Verdict::Skipped(why) => {
                let end = Reply::Bounced(why.clone());
                self.agent.came_back(&envelope, token, end, why, out);
            }
            Verdict::Unavailable(why) => {
                let end = Reply::Unavailable(why.clone());
                self.agent.came_back(&envelope, token, end, why, out);
            }
            Verdict::GivenUp { may_have_left } => {
                self.agent.gave_up_again(&envelope, token, *may_have_left);
            }
        }
    }
}

impl Agent {
    /// Forgets what waits and comes again: messages, timers that came due.
    fn forget_uncommitted(&mut self) {
        self.mailbox.go_on();
        if self.mailbox.iter().all(Input::is_own) {
            return;
        }
        let kept = self.mailbox.drain().into_iter().filter(Input::is_own);
        for input in kept {
            self.mailbox.push_urgent(input);
        }
        self.inbound.untake_all();
        self.timers.unqueue();
    }
}

fn config_of(input: &Input) -> Option<&Payload> {
    match input {
        Input::Init { config } => Some(config),
        _ => None,
    }
}

/// The first numbers that differ, and where.
fn differing(recorded: &[u64], found: &[u64]) -> (String, String) {
    let at = recorded
        .iter()
        .zip(found)
        .position(|(one, other)| one != other);
    let at = at.unwrap_or(recorded.len().min(found.len()));
    let text = |numbers: &[u64]| match numbers.get(at) {
        Some(number) => format!("{number} for effect {at}"),
        None => format!("{at} in all"),
    };
    (text(recorded), text(found))
}
