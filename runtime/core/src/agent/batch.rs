//! Choosing what goes into a frame.

use std::sync::Arc;

use phoenix_wit::{FrameWriter, Input as Put, Turn};

use crate::agent::notes::{MAX_BESIDE, noted_bytes};
use crate::agent::{Actions, Agent, Closed, Input, MAX_CLOCK_SKEW, answer};
use crate::{
    Acknowledgement, Body, DeadReason, Envelope, KindPolicy, Millis, Nanos, Notice, Payload, Reply,
    Sender, SkipReason,
};

/// What the kind says of its handlers: which of them may run while another is pending.
pub trait Handlers {
    /// Whether `method` may run while another handler is pending.
    fn interleaves(&self, method: &str) -> bool;
    /// Whether any handler may.
    fn any_interleaves(&self) -> bool;
}

/// A batch of turns on its way through the guest.
#[derive(Debug)]
pub struct Batch {
    /// The input frame.
    pub frame: Vec<u8>,
    /// What is in it, and what was skipped on the way, in order.
    pub(crate) entries: Vec<Entry>,
    pub(crate) first_turn: u64,
    pub(crate) now: Nanos,
    turns: u32,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) input: Input,
    /// `Some` if it is not in the frame: it ends with the commit, unapplied.
    pub(crate) skip: Option<Skip>,
}

/// Why an input ended without being put to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Its time was over.
    Expired,
    /// Whoever asked has stopped waiting.
    Cancelled,
    /// It is the answer to an ask that has ended.
    LateReply,
    /// A spawn of an agent that lives, a cancelled timer: nothing to do.
    Nothing,
    /// A due time that is later than its timer lets one fire.
    Missed,
}

impl Batch {
    /// Turns in the frame; zero if everything was skipped and the guest need not be called.
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// The number of its first turn.
    pub fn first_turn(&self) -> u64 {
        self.first_turn
    }

    /// The `now` of its turns.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// One that was committed before, to be committed again.
    pub(crate) fn again(frame: Vec<u8>, entries: Vec<Entry>, first_turn: u64, now: Nanos) -> Self {
        let put = entries.iter().filter(|entry| entry.skip.is_none());
        Self {
            turns: u32::try_from(put.count()).unwrap_or(u32::MAX),
            frame,
            entries,
            first_turn,
            now,
        }
    }

    /// A batch of nothing that is put to the guest.
    pub(crate) fn of_skipped(entries: Vec<Entry>, first_turn: u64, now: Nanos) -> Self {
        Self {
            frame: Vec::new(),
            entries,
            first_turn,
            now,
            turns: 0,
        }
    }

    pub(crate) fn into_inputs(self) -> impl DoubleEndedIterator<Item = Input> {
        self.entries.into_iter().map(|entry| entry.input)
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }
}

/// Room that batches reuse.
#[derive(Debug, Default)]
pub struct BatchRoom {
    pub(crate) entries: Vec<Entry>,
    source: String,
}

impl Agent {
    /// Whether [`Agent::begin`] would find something to put.
    pub fn ready(&self, handlers: &impl Handlers) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        if self.mailbox.has_urgent() {
            return true;
        }
        if self.pending == 0 {
            return self.mailbox.front_message().is_some() || self.mailbox.spilled() > 0;
        }
        handlers.any_interleaves() && self.mailbox.may_have_interleaving()
    }

    /// Takes the next batch out of the mailbox and writes its frame into `buf`,
    /// whose room is reused. `None` if nothing can be put now.
    pub fn begin(
        &mut self,
        now: Nanos,
        policy: &KindPolicy,
        handlers: &impl Handlers,
        room: &mut BatchRoom,
        buf: Vec<u8>,
    ) -> Option<Batch> {
        let now = now.max(self.now);
        self.inbound.forget_before(now.millis() - MAX_CLOCK_SKEW);
        // A batch starts only if the outbox has room for what a turn may send.
        if self.outbox.len() + u64::from(policy.turn_effects) > u64::from(policy.outbox_messages)
            || self.outbox.bytes() > policy.outbox_bytes
        {
            return None;
        }
        let mut writer = FrameWriter::new(buf, self.id.as_str(), self.seed);
        let mut entries = std::mem::take(&mut room.entries);
        entries.clear();
        let bound = if self.isolate > 0 {
            1
        } else {
            policy.batch_messages
        };
        let (mut messages, mut requests) = (0, self.requests.len());
        let mut beside = 0;
        while writer.count() < bound
            && writer.len() < policy.batch_bytes as usize
            && beside < MAX_BESIDE
        {
            let may_ask = requests < policy.open_requests as usize;
            let Some(input) = self.next_input(messages, may_ask, handlers) else {
                break;
            };
            messages += u32::from(input.is_message());
            requests += usize::from(input.ask().is_some());
            let number = self.turn + u64::from(writer.count());
            let last = self.ends_batch(&input, handlers);
            let skip = self.put(&input, number, now, &mut writer, &mut room.source);
            if self.notes.is_some() {
                beside += noted_bytes(&input);
            }
            entries.push(Entry { input, skip });
            if last && skip.is_none() {
                break;
            }
        }
        // A batch may have room for one turn, and a timer may be due each time.
        let might_have = self.pending == 0 && self.mailbox.level().messages > 0;
        self.is_messages_turn = messages == 0 && might_have;
        if entries.is_empty() {
            room.entries = entries;
            return None;
        }
        Some(Batch {
            turns: writer.count(),
            frame: writer.finish(),
            entries,
            first_turn: self.turn,
            now,
        })
    }

    /// The next input for a batch that holds `messages` already. Requests have to
    /// wait unless `may_ask`, and what stands behind them with them.
    #[inline(always)]
    fn next_input(
        &mut self,
        messages: u32,
        may_ask: bool,
        handlers: &impl Handlers,
    ) -> Option<Input> {
        let is_their_turn = self.is_messages_turn && self.pending == 0;
        if is_their_turn
            && messages == 0
            && self.mailbox.is_timer_next()
            && let Some(input) = self.next_message(messages, may_ask, handlers)
        {
            return Some(input);
        }
        if let Some(input) = self.mailbox.pop_urgent() {
            return Some(input);
        }
        self.next_message(messages, may_ask, handlers)
    }

    #[inline(always)]
    fn next_message(
        &mut self,
        messages: u32,
        may_ask: bool,
        handlers: &impl Handlers,
    ) -> Option<Input> {
        if messages >= self.window {
            return None;
        }
        if self.pending == 0 {
            if !may_ask && self.mailbox.front_message()?.ask().is_some() {
                return None;
            }
            return self.mailbox.pop_message();
        }
        if !handlers.any_interleaves() {
            return None;
        }
        let found = self
            .mailbox
            .next_interleaving(|envelope| interleaves(envelope, handlers))?;
        if !may_ask && found.ask().is_some() {
            return None;
        }
        self.mailbox.take_interleaving()
    }

    /// Where handlers interleave, one that does not may leave the agent pending:
    /// what comes after it is chosen when that is known, so that nothing of a
    /// stream is put behind a message the guest defers.
    fn ends_batch(&self, input: &Input, handlers: &impl Handlers) -> bool {
        match input {
            Input::Init { .. } => true,
            Input::Envelope(envelope, _) => {
                handlers.any_interleaves() && !interleaves(envelope, handlers)
            }
            Input::Ended { .. }
            | Input::Abandoned { .. }
            | Input::Verdict(_)
            | Input::Timer { .. } => handlers.any_interleaves(),
        }
    }

    /// Writes `input` into the frame, or says why it is skipped.
    fn put(
        &self,
        input: &Input,
        number: u64,
        now: Nanos,
        writer: &mut FrameWriter,
        source: &mut String,
    ) -> Option<Skip> {
        let input = match input {
            Input::Init { config } => Put::Init {
                config: config.as_wit(),
            },
            Input::Ended { ask, reply } => {
                if !self.asks.contains_key(ask) {
                    return Some(Skip::Nothing);
                }
                Put::Reply {
                    ask: *ask,
                    reply: reply_as_wit(reply),
                }
            }
            Input::Abandoned { ask } => {
                if !self.asks.contains_key(ask) {
                    return Some(Skip::Nothing);
                }
                Put::Reply {
                    ask: *ask,
                    reply: phoenix_wit::Reply::Abandoned,
                }
            }
            Input::Verdict(verdict) => verdict.as_wit(),
            Input::Timer { id, due } => {
                let Some(timer) = self.timers.get(*id, *due) else {
                    return Some(Skip::Nothing);
                };
                if !timer.timing.fires(due.0, now.millis().0) {
                    return Some(Skip::Missed);
                }
                Put::Timer {
                    id: *id,
                    method: &timer.method,
                    payload: timer.payload.as_wit(),
                }
            }
            Input::Envelope(envelope, _) => match &envelope.body {
                Body::Spawn { .. } => return Some(Skip::Nothing),
                Body::Bounce(bounce) => Put::Bounced {
                    to: bounce.to.as_str(),
                    method: &bounce.method,
                    payload: bounce.payload.as_wit(),
                    reason: &bounce.reason,
                    unsure: bounce.unsure,
                },
                Body::Reply { ask, asker, reply } => {
                    let waits = self.asks.get(ask).is_some_and(|open| !open.ended);
                    if !waits || *asker != self.incarnation {
                        return Some(Skip::LateReply);
                    }
                    Put::Reply {
                        ask: *ask,
                        reply: reply_as_wit(reply),
                    }
                }
                Body::Message {
                    method,
                    payload,
                    ask,
                } => {
                    if let Some(skip) = over(envelope, now.millis()) {
                        return Some(skip);
                    }
                    if ask.is_some() && self.is_cancelled(envelope) {
                        return Some(Skip::Cancelled);
                    }
                    Put::Message {
                        source: source_text(envelope.first_sender(), source),
                        method,
                        payload: payload.as_wit(),
                        request: ask.is_some(),
                        deadline: ask.as_ref().map_or(0, |ask| ask.deadline.nanos().0),
                    }
                }
            },
        };
        writer.push(&Turn {
            number,
            now: now.0,
            input,
        });
        None
    }

    /// Ends what was not put to the guest.
    pub(super) fn settle_skip(
        &mut self,
        input: &Input,
        skip: Skip,
        now: Millis,
        out: &mut Actions,
    ) {
        match skip {
            Skip::Expired => self.counters.expired += 1,
            Skip::Cancelled => self.counters.cancelled += 1,
            Skip::LateReply => self.counters.late_replies += 1,
            Skip::Missed => self.counters.timers_missed += 1,
            Skip::Nothing => {}
        }
        if let Input::Timer { id, due } = input
            && skip == Skip::Missed
            && let Some(next) = self.timers.missed(*id, *due, now)
        {
            self.wake_by(next);
        }
        let Input::Envelope(envelope, at) = input else {
            return;
        };
        self.note_skip(envelope, skip);
        if skip == Skip::Cancelled {
            self.forget_cancelled(envelope);
        }
        if let Body::Spawn { ask: Some(ask), .. } = &envelope.body {
            let now = self.now.millis();
            self.send_reply(ask, Reply::Ok(Payload::default()), None, now, out);
        }
        if let (Some(at), Some(sequence)) = (at, envelope.sequence) {
            // The guest may have deferred one before it.
            let reason = skip.reason();
            let how = reason.as_ref().map_or(Closed::Quietly, Closed::bare);
            self.inbound.skip(*at, sequence.number, how);
            if let (Some(reason), Some(stream)) = (reason, self.inbound.key(*at)) {
                let number = sequence.number;
                let notice = Notice::Skipped { number, reason };
                let stream = stream.clone();
                out.acknowledge.push(Acknowledgement { stream, notice });
            }
        }
        if matches!(skip, Skip::Expired | Skip::Cancelled)
            && envelope.sequence.is_none()
            && let Some(ask) = envelope.body.ask()
        {
            // Whoever waits for the verdict of what was sent once hears it so.
            answer(ask, Reply::Bounced("expired".into()), out);
        }
        if skip == Skip::Expired && envelope.expiry().is_some_and(|it| it.report) {
            self.counters.count_dead(&DeadReason::Expired);
            out.dead.push((envelope.clone(), DeadReason::Expired, 0));
        }
    }
}

impl Skip {
    pub(crate) fn reason(self) -> Option<SkipReason> {
        match self {
            Self::Expired => Some(SkipReason::Expired),
            Self::Cancelled => Some(SkipReason::Cancelled),
            Self::LateReply | Self::Nothing | Self::Missed => None,
        }
    }
}

fn interleaves(envelope: &Arc<Envelope>, handlers: &impl Handlers) -> bool {
    match &envelope.body {
        Body::Message { method, .. } => handlers.interleaves(method),
        Body::Reply { .. } | Body::Spawn { .. } | Body::Bounce(_) => true,
    }
}

/// How a message is skipped that nobody wants any more: its asker has stopped
/// waiting, its sender has given it up, or its time is over.
fn over(envelope: &Envelope, now: Millis) -> Option<Skip> {
    if let Body::Message { ask: Some(ask), .. } = &envelope.body
        && ask.deadline <= now
    {
        return Some(Skip::Cancelled);
    }
    let is_over = envelope.sequence.is_some_and(|s| s.give_up <= now)
        || envelope.expiry().is_some_and(|it| it.at <= now);
    is_over.then_some(Skip::Expired)
}

/// How agents see a sender. Clients and the system are put together in `room`.
fn source_text<'a>(from: &'a Sender, room: &'a mut String) -> &'a str {
    match from {
        Sender::Agent(id, _) => id.as_str(),
        Sender::Client(client, _) => {
            room.clear();
            room.push_str("client/");
            room.push_str(client.as_str());
            room
        }
        Sender::System => "sys/node",
    }
}

fn reply_as_wit(reply: &Reply) -> phoenix_wit::Reply<'_> {
    match reply {
        Reply::Ok(payload) => phoenix_wit::Reply::Ok(payload.as_wit()),
        Reply::Failed(failure) => phoenix_wit::Reply::Failed(phoenix_wit::Failure {
            code: &failure.code,
            message: &failure.message,
            details: failure.details.as_wit(),
        }),
        Reply::Timeout => phoenix_wit::Reply::Timeout,
        Reply::Bounced(why) => phoenix_wit::Reply::Bounced(why),
        Reply::Deadlock => phoenix_wit::Reply::Deadlock,
        Reply::Unavailable(why) => phoenix_wit::Reply::Unavailable(why),
        Reply::TurnedDown(why) => phoenix_wit::Reply::Unavailable(&why.text),
    }
}
