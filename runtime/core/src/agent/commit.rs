//! Turning a guest's answer into committed state and actions.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;
use phoenix_wit::timer::Timing;
use phoenix_wit::{AnswerReader, Effect, Outcome, Schedule};
use smallvec::SmallVec;

use crate::agent::batch::{Batch, BatchRoom, Entry};
use crate::agent::committing::{Commit, bound, clip, cut};
use crate::agent::how::{self, How};
use crate::agent::notes::check_size;
use crate::agent::numbers::Numbers;
use crate::agent::outbox::UNANSWERED;
use crate::agent::{
    Actions, Agent, BadAnswer, Input, Terms, Timer, answer, cause, is_reliable, multicast, pubsub,
};
use crate::attributes::Attributes;
use crate::message::Speaker;
use crate::{
    AgentId, Ask, Body, Envelope, KindPolicy, Lane, Level, Millis, Reply, ReplyTo, Sender, SmolStr,
    StreamKey,
};

/// How many ends of its messages an agent may have yet to hear of when it sends more, in
/// messages its outbox has room for.
const WORDS: u64 = 2;

/// Numbers that effects of one batch have used already.
#[derive(Default)]
struct Seen<'a> {
    /// The last receiver that was looked at.
    to: &'a str,
    asks: Numbers,
    answered: Numbers,
    /// Timers that fired, or were cancelled or set.
    timers: Numbers,
}

/// The effects of a batch's turns; most batches of one turn have one or none.
type Effects<'a> = SmallVec<[Effect<'a>; 2]>;

/// A turn's answer, checked, not yet applied.
struct Checked<'a> {
    outcome: Outcome<'a>,
    pending: u16,
    effects: (usize, usize),
}

impl Agent {
    /// Commits a batch with the guest's answer. On an error nothing is changed
    /// and the batch is given back for [`Agent::fail`] or [`Agent::split`].
    pub fn commit(
        &mut self,
        batch: Batch,
        answer: &Bytes,
        policy: &KindPolicy,
        room: &mut BatchRoom,
        out: &mut Actions,
    ) -> Result<(), Box<(Batch, BadAnswer)>> {
        let mut effects = SmallVec::new();
        if batch.turns() > 1 {
            // Most effects take a few dozen bytes: room for those of most answers at once.
            effects.reserve((answer.len() / 32).min(1_024));
        }
        let turns = match self.check(&batch, answer, policy, &mut effects) {
            Ok(turns) => turns,
            Err(bad) => return Err(Box::new((batch, bad))),
        };
        let mut commit = Commit {
            policy,
            answer,
            now: batch.now.millis(),
            log_left: 0,
            to: ("", None),
            method: ("", SmolStr::default()),
            lane: how::usual_lane(&policy.treatment),
            cause: None,
        };
        let now = batch.now;
        let mut batch = batch;
        let noted = self.begin_note(&mut batch, answer);
        self.isolate = self.isolate.saturating_sub(batch.turns());
        self.attempts = 0;
        self.adapt_window(&batch, &turns);
        let mut deferred = Vec::new();
        // Whether turns were taken before the first that was deferred, and after.
        let (mut before, mut after) = (false, false);
        let mut turns = turns.into_iter();
        let mut entries = batch.entries;
        for Entry { input, skip } in entries.drain(..) {
            if let Some(skip) = skip {
                self.settle_skip(&input, skip, commit.now, out);
                continue;
            }
            let Some(turn) = turns.next() else { break };
            let number = self.turn;
            self.turn += 1;
            self.pending = turn.pending;
            if matches!(turn.outcome, Outcome::Deferred) {
                self.counters.deferred += 1;
                deferred.push(input);
                continue;
            }
            before |= deferred.is_empty();
            after |= !deferred.is_empty();
            commit.log_left = policy.turn_log_bytes as usize;
            let (from, to) = turn.effects;
            commit.cause = cause::of(&input, self.seed, number);
            self.consume(&input, number, turn.outcome, &mut commit, out);
            for effect in effects.get(from..to).unwrap_or_default() {
                self.apply(effect, &mut commit, out);
            }
        }
        self.now = now;
        if before {
            // The guest may think better of what it deferred earlier.
            self.mailbox.retry_deferred();
        }
        if after {
            self.mailbox.restore(deferred.into_iter());
        } else {
            self.mailbox.defer(deferred);
        }
        if let Some(turns) = noted {
            self.note_turns(turns);
        }
        self.report_watermarks(out);
        room.entries = entries;
        Ok(())
    }

    /// Fits the messages a batch may hold to what the guest takes of one. Where
    /// handlers wait and do not interleave that is one; putting more of a backlog
    /// would have all but the first deferred, each time.
    fn adapt_window(&mut self, batch: &Batch, turns: &[Checked<'_>]) {
        if turns
            .iter()
            .any(|turn| matches!(turn.outcome, Outcome::Deferred))
        {
            self.window = 1;
            return;
        }
        if self.window == u32::MAX {
            return;
        }
        let put = batch.entries.iter().filter(|entry| entry.skip.is_none());
        let messages = put.filter(|entry| entry.input.is_message()).count();
        if messages > 0 {
            let waits = turns
                .iter()
                .any(|turn| matches!(turn.outcome, Outcome::Pending));
            // Of one that waits alone nothing is learnt.
            if messages > 1 || self.pending > 0 || !waits {
                self.window = self.window.saturating_mul(2);
            }
        }
    }

    /// Reads and checks the whole answer; changes nothing.
    fn check<'a>(
        &self,
        batch: &Batch,
        answer: &'a [u8],
        policy: &KindPolicy,
        effects: &mut Effects<'a>,
    ) -> Result<SmallVec<[Checked<'a>; 1]>, BadAnswer> {
        let mut turns = SmallVec::with_capacity(batch.turns() as usize);
        if batch.turns() == 0 {
            return Ok(turns);
        }
        if self.notes.is_some() {
            check_size(batch.frame.len(), answer.len())?;
        }
        let mut reader = AnswerReader::new(answer, batch.turns())?;
        let mut seen = Seen::default();
        // Made for the first of them: most batches have none.
        let mut deferred_senders: Option<HashSet<Speaker<&Sender>>> = None;
        let put = batch.entries.iter().filter(|entry| entry.skip.is_none());
        for (number, entry) in (batch.first_turn..).zip(put) {
            let Some(mut turn) = reader.next_answer()? else {
                break;
            };
            bound(
                "effects",
                "turn",
                turn.effects.left().into(),
                policy.turn_effects.into(),
            )?;
            if let Input::Timer { id, .. } = &entry.input
                && !seen.timers.insert(*id)
            {
                return Err(BadAnswer::TimerOvertaken(*id));
            }
            let from = effects.len();
            let mut count = u64::from(turn.effects.left());
            while let Some(effect) = turn.effects.next_effect()? {
                if let Effect::Multicast { .. } = &effect {
                    count += effect.count() as u64 - 1;
                    bound("effects", "turn", count, policy.turn_effects.into())?;
                }
                self.check_effect(&effect, number, batch, &mut seen, policy)?;
                effects.push(effect);
            }
            let is_deferred = matches!(turn.outcome, Outcome::Deferred);
            if let Input::Envelope(envelope, _) = &entry.input {
                if is_deferred {
                    let senders = deferred_senders.get_or_insert_default();
                    senders.insert(Speaker(envelope.sender()));
                } else if envelope.sequence.is_some()
                    && let Some(senders) = &deferred_senders
                    && senders.contains(&Speaker(envelope.sender()))
                {
                    return Err(BadAnswer::BadDeferral(number));
                }
            }
            let may_defer = matches!(entry.input, Input::Timer { .. } | Input::Verdict(_))
                || matches!(&entry.input, Input::Envelope(e, _) if matches!(e.body, Body::Message { .. } | Body::Bounce(_)));
            if is_deferred && (!may_defer || effects.len() > from || turn.pending == 0) {
                return Err(BadAnswer::BadDeferral(number));
            }
            turns.push(Checked {
                outcome: turn.outcome,
                pending: turn.pending,
                effects: (from, effects.len()),
            });
        }
        reader.next_answer()?;
        self.check_room(effects, batch, policy)?;
        Ok(turns)
    }

    #[inline(always)]
    fn check_effect<'a>(
        &self,
        effect: &Effect<'a>,
        number: u64,
        batch: &Batch,
        seen: &mut Seen<'a>,
        policy: &KindPolicy,
    ) -> Result<(), BadAnswer> {
        match *effect {
            Effect::Send { to, payload, .. } | Effect::SendWith { to, payload, .. } => {
                self.check_receiver(to, seen)?;
                if let Effect::SendWith { message_type, .. } = *effect {
                    how::attributes(message_type)?;
                }
                bound(
                    "bytes",
                    "message",
                    payload.bytes.len() as u64,
                    policy.max_message.into(),
                )
            }
            Effect::Multicast { .. } => multicast::check(effect, policy),
            Effect::Publish { .. } | Effect::Subscribe { .. } | Effect::Unsubscribe { .. } => {
                pubsub::check(effect, policy)
            }
            Effect::Ask {
                ask, to, payload, ..
            } => {
                self.check_receiver(to, seen)?;
                let open = (self.asks.len() + seen.asks.len() + 1) as u64;
                bound("open asks", "agent", open, policy.open_asks.into())?;
                if self.asks.contains_key(&ask) || !seen.asks.insert(ask) {
                    return Err(BadAnswer::AskInUse(ask));
                }
                bound(
                    "bytes",
                    "message",
                    payload.bytes.len() as u64,
                    policy.max_message.into(),
                )
            }
            Effect::Reply { request, .. } => {
                let open = self.requests.contains_key(&request)
                    || (request >= batch.first_turn
                        && request < number
                        && batch.request_of(request).is_some());
                if !open || !seen.answered.insert(request) {
                    return Err(BadAnswer::NoSuchRequest(request));
                }
                Ok(())
            }
            Effect::Spawn { agent, config } => {
                AgentId::check(agent)?;
                bound(
                    "bytes",
                    "message",
                    config.bytes.len() as u64,
                    policy.max_message.into(),
                )
            }
            Effect::SetTimer {
                id,
                schedule,
                catch_up,
                payload,
                ..
            } => {
                if let Schedule::Cron(_) = schedule {
                    Timing::begin(&schedule, catch_up, batch.now.millis().0)?;
                }
                seen.timers.insert(id);
                bound(
                    "bytes",
                    "message",
                    payload.bytes.len() as u64,
                    policy.max_message.into(),
                )
            }
            Effect::CancelTimer { id } => {
                seen.timers.insert(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn check_receiver<'a>(&self, to: &'a str, seen: &mut Seen<'a>) -> Result<(), BadAnswer> {
        if !std::ptr::eq(seen.to, to) {
            if self.outbox.find(to, Lane::Normal).is_none() {
                AgentId::check(to)?;
            }
            seen.to = to;
        }
        Ok(())
    }

    /// Whether all of the batch's effects fit the tables they go to.
    fn check_room(
        &self,
        effects: &[Effect<'_>],
        batch: &Batch,
        policy: &KindPolicy,
    ) -> Result<(), BadAnswer> {
        if effects.is_empty() {
            return Ok(());
        }
        let kept = effects.iter().map(|effect| match effect {
            Effect::Send { .. }
            | Effect::SendWith { .. }
            | Effect::Ask { .. }
            | Effect::Reply { .. }
            | Effect::Spawn { .. }
            | Effect::Publish { .. }
            | Effect::Subscribe { .. }
            | Effect::Unsubscribe { .. } => 1,
            Effect::Multicast { to, .. } => to.len(),
            _ => 0,
        });
        let kept: usize = kept.sum();
        let room = u64::from(policy.outbox_messages).saturating_sub(self.outbox.len());
        if kept as u64 > room && batch.turns() > 1 {
            return Err(BadAnswer::OutboxFull);
        }
        if kept > 0 {
            // There is one for each message that had room, so they are more only if what
            // the agent says to them is, again and again.
            let (words, most) = (
                self.mailbox.words() as u64,
                WORDS * u64::from(policy.outbox_messages),
            );
            bound("ends of its messages to hear of", "agent", words, most)?;
        }
        let timers = effects
            .iter()
            .filter(|e| matches!(e, Effect::SetTimer { id, .. } if !self.timers.contains(*id)));
        let timers = (self.timers.len() + timers.count()) as u64;
        bound("timers", "agent", timers, policy.timers.into())?;
        if self.outbox.busy() + kept > policy.streams as usize {
            let mut new: Vec<(Cow<'_, str>, Lane)> = effects
                .iter()
                .flat_map(|effect| how::streams_of(effect, &policy.treatment))
                .filter(|(to, lane)| !self.outbox.is_busy(to, *lane))
                .collect();
            new.sort_unstable();
            new.dedup();
            let streams = (self.outbox.busy() + new.len()) as u64;
            bound("receivers", "agent", streams, policy.streams.into())?;
        }
        Ok(())
    }

    /// Takes an input that was applied out of the tables it stood in, and answers
    /// whoever waits for it.
    fn consume(
        &mut self,
        input: &Input,
        number: u64,
        outcome: Outcome<'_>,
        commit: &mut Commit<'_>,
        out: &mut Actions,
    ) {
        match input {
            Input::Init { .. } => {
                self.begun = !matches!(outcome, Outcome::Failed(_));
                if let Outcome::Failed(failure) = outcome {
                    self.stopped = Some(clip(failure.message).into());
                }
            }
            Input::Ended { ask, reply } => {
                self.asks.remove(ask);
                // Counted here: an answer that is being put when the circle is found
                // is what the guest sees.
                self.counters.deadlocks += u64::from(matches!(**reply, Reply::Deadlock));
            }
            Input::Abandoned { ask } => {
                self.asks.remove(ask);
            }
            Input::Verdict(verdict) => {
                if let Outcome::Failed(failure) = outcome {
                    let (to, why) = (&verdict.to, clip(failure.message));
                    let text = format!("hearing of a message to {to} failed: {why}");
                    out.log.push((Level::Warn, text));
                }
            }
            Input::Timer { id, due } => {
                if let Some(next) = self.timers.fired(*id, *due, commit.now) {
                    self.wake_by(next);
                }
            }
            Input::Envelope(envelope, at) => {
                if let (Some(at), Some(sequence)) = (at, envelope.sequence) {
                    self.inbound.commit(*at, sequence.number);
                }
                self.note_turn(envelope, number, &outcome);
                match &envelope.body {
                    Body::Reply { ask, .. } => {
                        self.asks.remove(ask);
                    }
                    Body::Message { ask: Some(ask), .. } => {
                        self.answer_request(ask, number, outcome, commit, out);
                    }
                    Body::Message { method, .. } => {
                        if let Outcome::Failed(failure) = outcome {
                            let text = format!("{method} failed: {}", clip(failure.message));
                            out.log.push((Level::Warn, text));
                        }
                    }
                    Body::Bounce(_) => {
                        if let Outcome::Failed(failure) = outcome {
                            let why = clip(failure.message);
                            let text = format!("taking back a message failed: {why}");
                            out.log.push((Level::Warn, text));
                        }
                    }
                    Body::Spawn { .. } => {}
                }
            }
        }
    }

    fn answer_request(
        &mut self,
        ask: &Ask,
        number: u64,
        outcome: Outcome<'_>,
        commit: &mut Commit<'_>,
        out: &mut Actions,
    ) {
        let reply = match outcome {
            Outcome::Ok(payload) => Reply::Ok(commit.payload(payload)),
            Outcome::Failed(failure) => Reply::Failed(Box::new(commit.failure(&failure))),
            Outcome::Pending => {
                self.requests.insert(number, ask.clone());
                return;
            }
            Outcome::Deferred => return,
        };
        self.send_reply(ask, reply, commit.cause.as_ref(), commit.now, out);
    }

    /// Answers a request: a client's at once, an agent's through the outbox.
    pub(super) fn send_reply(
        &mut self,
        ask: &Ask,
        reply: Reply,
        cause: Option<&Arc<Attributes>>,
        now: Millis,
        out: &mut Actions,
    ) {
        match &ask.reply_to {
            ReplyTo::Client(_) => answer(ask, reply, out),
            ReplyTo::Agent(to, asker) => {
                let body = || Body::Reply {
                    ask: ask.id,
                    asker: *asker,
                    reply,
                };
                // Nobody waits longer than the deadline, give or take a clock.
                let give_up = ask.deadline + super::MAX_CLOCK_SKEW;
                let at = self.stream(to, Lane::Reply);
                let terms = Terms {
                    extras: cause.map(|cause| cause::put(None, cause)),
                    ..Terms::until(give_up)
                };
                self.push(at, body, terms, now, out);
            }
        }
    }

    #[inline(always)]
    fn apply<'a>(&mut self, effect: &Effect<'a>, commit: &mut Commit<'a>, out: &mut Actions) {
        match *effect {
            Effect::Send {
                to,
                method,
                payload,
                delivery,
            } => {
                let body = |commit: &mut Commit<'a>| Body::Message {
                    method: commit.method(method),
                    payload: commit.payload(payload),
                    ask: None,
                };
                let how = How {
                    is_reliable: is_reliable(delivery),
                    ..How::reliable(commit.lane)
                };
                self.send(to, body, how, commit, out);
            }
            Effect::SendWith {
                to,
                method,
                message_type,
                payload,
                options,
            } => {
                let body = |commit: &mut Commit<'a>| Body::Message {
                    method: commit.method(method),
                    payload: commit.payload(payload),
                    ask: None,
                };
                let kind = &commit.policy.treatment;
                let how = How::of(options, message_type, kind, commit.now);
                self.send(to, body, how, commit, out);
            }
            Effect::Multicast { .. } => self.multicast(effect, commit, out),
            Effect::Ask {
                ask,
                to,
                method,
                payload,
                deadline_ms,
                waiter,
            } => {
                let (asked, deadline) = self.ask_of(ask, deadline_ms, commit.now);
                let body = |commit: &mut Commit<'a>| Body::Message {
                    method: commit.method(method),
                    payload: commit.payload(payload),
                    ask: Some(asked),
                };
                let how = How {
                    give_up: Some(deadline),
                    ..How::reliable(commit.lane)
                };
                self.send(to, body, how, commit, out);
                if let (said, Some(at)) = commit.to
                    && std::ptr::eq(said, to)
                {
                    self.begin_ask(ask, at, deadline, waiter, commit.now);
                }
            }
            Effect::Wait { ask, handler } => self.note_waiter(ask, handler, commit.now),
            Effect::Reply { request, answer } => self.reply(request, answer, commit, out),
            Effect::Spawn { agent, config } => {
                let body = |commit: &mut Commit<'a>| Body::Spawn {
                    config: commit.payload(config),
                    ask: None,
                };
                self.send(agent, body, How::reliable(commit.lane), commit, out);
            }
            Effect::SetTimer {
                id,
                schedule,
                catch_up,
                method,
                payload,
            } => {
                // `check` has been over it.
                let Ok((timing, Some(due))) = Timing::begin(&schedule, catch_up, commit.now.0)
                else {
                    // It would come due behind the end of time.
                    self.timers.cancel(id);
                    return;
                };
                let timer = Timer {
                    timing,
                    due: Millis(due),
                    method: method.into(),
                    payload: commit.payload(payload),
                };
                self.wake_by(timer.due);
                self.timers.set(id, timer);
            }
            Effect::CancelTimer { id } => self.timers.cancel(id),
            Effect::Stop { reason } => self.stopped = Some(clip(reason).into()),
            Effect::Log { level, text } => self.log(level, text, commit, out),
            Effect::Publish { .. } | Effect::Subscribe { .. } | Effect::Unsubscribe { .. } => {
                self.tell_owner(effect, commit, out);
            }
        }
    }

    /// Answers a request of an earlier turn.
    fn reply(
        &mut self,
        request: u64,
        answer: Result<phoenix_wit::Payload<'_>, phoenix_wit::Failure<'_>>,
        commit: &mut Commit<'_>,
        out: &mut Actions,
    ) {
        let Some(ask) = self.requests.remove(&request) else {
            return;
        };
        self.note_reply(request, answer.as_ref().err(), commit.now);
        let reply = match answer {
            Ok(payload) => Reply::Ok(commit.payload(payload)),
            Err(failure) => Reply::Failed(Box::new(commit.failure(&failure))),
        };
        self.send_reply(&ask, reply, commit.cause.as_ref(), commit.now, out);
    }

    /// Writes a line to the agent's log, cut to what its turn may write.
    fn log(&mut self, level: Level, text: &str, commit: &mut Commit<'_>, out: &mut Actions) {
        let kept = cut(text, commit.log_left);
        let cut = text.len() - kept.len();
        // After a cut nothing follows: a log with holes misleads.
        commit.log_left = if cut == 0 {
            commit.log_left - kept.len()
        } else {
            0
        };
        self.counters.log_cut += cut as u64;
        if cut == 0 || !kept.is_empty() {
            out.log.push((level, kept.to_owned()));
        }
    }

    #[inline(always)]
    fn send<'a>(
        &mut self,
        to: &'a str,
        body: impl FnOnce(&mut Commit<'a>) -> Body,
        mut how: How,
        commit: &mut Commit<'a>,
        out: &mut Actions,
    ) {
        if let Some(cause) = &commit.cause {
            how.extras = Some(cause::put(how.extras, cause));
        }
        let lane = how.lane;
        let is_usual = lane == commit.lane;
        let known = if is_usual && std::ptr::eq(commit.to.0, to) && commit.to.1.is_some() {
            commit.to.1
        } else {
            self.outbox.find(to, lane)
        };
        if how.is_reliable {
            let Some(at) = known.or_else(|| self.begin_stream(to, lane)) else {
                return;
            };
            if is_usual {
                commit.to = (to, Some(at));
            }
            let now = commit.now;
            let terms = Terms {
                give_up: how.give_up.unwrap_or(now + commit.policy.give_up_after),
                retry: how.retry,
                extras: how.extras,
                token: None,
            };
            self.push(at, || body(commit), terms, now, out);
        } else {
            let known = known.and_then(|at| self.outbox.key(at)).cloned();
            let Some(stream) = known.or_else(|| self.loose_stream(to, lane)) else {
                return;
            };
            out.send.push(Arc::new(Envelope {
                stream,
                sequence: None,
                body: body(commit),
                extras: how.extras,
            }));
        }
    }

    /// Keeps a reliable message and hands it out.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        at: u32,
        body: impl FnOnce() -> Body,
        terms: Terms,
        now: Millis,
        out: &mut Actions,
    ) {
        self.wake_by(now + UNANSWERED);
        if self.notes.is_some() {
            self.note_number(at);
        }
        if let Some(envelope) = self.outbox.push(at, body, terms, now) {
            out.send.push(envelope);
        }
    }

    /// The stream to `to`, which `check` has been over.
    #[cold]
    pub(super) fn begin_stream(&mut self, to: &str, lane: Lane) -> Option<u32> {
        let to = AgentId::new(to).ok()?;
        Some(self.stream(&to, lane))
    }

    pub(super) fn stream(&mut self, to: &AgentId, lane: Lane) -> u32 {
        let (id, incarnation) = (&self.id, self.incarnation);
        let from = || Sender::Agent(id.clone(), incarnation);
        self.outbox.stream(from, to, lane)
    }

    /// The key of messages that are kept in no stream.
    #[cold]
    pub(super) fn loose_stream(&self, to: &str, lane: Lane) -> Option<Arc<StreamKey>> {
        Some(StreamKey::shared(
            self.sender(),
            AgentId::new(to).ok()?,
            lane,
        ))
    }
}

impl Batch {
    /// The request that the turn of that number brought, if it is in this batch.
    fn request_of(&self, number: u64) -> Option<&Ask> {
        let at = usize::try_from(number.checked_sub(self.first_turn)?).ok()?;
        self.entries
            .iter()
            .filter(|entry| entry.skip.is_none())
            .nth(at)?
            .input
            .ask()
    }
}
