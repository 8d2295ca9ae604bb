//! The streams an agent speaks on: effects committed and without a verdict.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::agent::Token;
use crate::agent::kept::{Kept, Terms};
use crate::{
    AgentId, Body, Envelope, Lane, Millis, Refusal, RetryPolicy, Sender, Sequence, StreamKey,
};

/// How long a sent message may go without a verdict before it is sent again.
pub(crate) const UNANSWERED: Millis = Millis(1_000);

/// Streams kept though all their messages have verdicts, so that the next message
/// to a receiver need not begin one.
const IDLE_STREAMS: usize = 1_024;

/// Messages of a stream that are sent again where nothing is heard of it.
const UNHEARD_WINDOW: u64 = 64;
/// How long a sender that was told to hold does, if it hears nothing more.
const HOLD: Millis = Millis(1_000);

/// One stream that leaves.
///
/// A receiver that refuses says from where on, so it is sent no more than it
/// can hold: as many messages as it held when it refused, and twice as many
/// after each verdict. One that gives credit is sent so much, and one more for
/// each that has its verdict: it need not refuse any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutStream {
    /// Shared with its messages.
    pub(crate) key: Arc<StreamKey>,
    /// The number the next message gets.
    pub(crate) next: u64,
    /// From the first without a verdict on, in order.
    pub(crate) kept: VecDeque<Kept>,
    /// The first number that is still to be handed out, or to be handed out again.
    unsent: u64,
    /// How many may be under way.
    window: u64,
    /// While set, nothing is handed out: the receiver refused.
    retry_at: Option<Millis>,
    /// While set, nothing is handed out before: the receiver has given no credit.
    held_until: Option<Millis>,
    /// Whether the window is what the receiver gave credit for.
    is_credited: bool,
    /// When the oldest is sent again if nothing is heard.
    resend_at: Millis,
    /// Tries in a row that came to nothing.
    tries: u32,
    /// Whether it stands in the list of those that may be idle.
    is_listed: bool,
}

/// All streams that leave one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    /// How messages are sent again that say nothing else.
    retry: RetryPolicy,
    /// What this agent's waits differ by from those of others.
    seed: u64,
    index: HashMap<(AgentId, Lane), u32>,
    streams: Vec<Option<OutStream>>,
    /// Places in `streams` that hold none.
    free: Vec<u32>,
    /// The stream that was pushed to last: agents say many things to one receiver.
    last: u32,
    /// Streams that may have run dry, the longest ago first, each once.
    idle: VecDeque<u32>,
    /// Streams with messages.
    busy: usize,
    /// No stream that was forgotten came past this number: one that begins anew
    /// begins here, so that no receiver takes it for the old one's messages.
    floor: u64,
    messages: u64,
    bytes: u64,
}

impl Outbox {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Sends messages again as `retry` says from now on, but for how long: that each
    /// was told when it was sent.
    pub(crate) fn retry_by(&mut self, retry: RetryPolicy) {
        self.retry = retry;
    }

    /// Messages without a verdict.
    pub(crate) fn len(&self) -> u64 {
        self.messages
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.index.len()
    }

    /// Streams with messages without a verdict.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Streams with messages whose receivers have given no credit.
    pub(crate) fn held(&self) -> usize {
        let is_held = |it: &&OutStream| it.held_until.is_some() && !it.kept.is_empty();
        self.iter().filter(is_held).count()
    }

    /// Whether there is a message without a verdict to that receiver.
    pub(crate) fn is_busy(&self, to: &str, lane: Lane) -> bool {
        let at = self.index.get(&KeyRef { to, lane });
        let stream = at.and_then(|at| self.streams.get(*at as usize)?.as_ref());
        stream.is_some_and(|stream| !stream.kept.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OutStream> {
        self.streams.iter().flatten()
    }

    /// The number that streams which begin now begin with.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Puts [`Outbox::floor`] back as a snapshot has it.
    pub(crate) fn restore_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// Forgets streams whose messages all have verdicts, the longest idle first,
    /// until `keep` are left. Takes no longer than it took to add them.
    pub(crate) fn forget_idle(&mut self, keep: usize) {
        while self.idle.len() > keep
            && let Some(at) = self.idle.pop_front()
        {
            let Some(place) = self.streams.get_mut(at as usize) else {
                continue;
            };
            if let Some(stream) = place {
                stream.is_listed = false;
                if !stream.kept.is_empty() {
                    continue;
                }
            }
            if let Some(OutStream { key, next, .. }) = place.take() {
                self.floor = self.floor.max(next);
                let (to, lane) = (key.receiver.as_str(), key.lane);
                self.index.remove(&KeyRef { to, lane });
                self.free.push(at);
            }
        }
    }

    /// The last message of a stream has its verdict.
    fn ran_dry(&mut self, at: u32) {
        self.busy -= 1;
        self.list_idle(at);
        self.forget_idle(IDLE_STREAMS);
    }

    fn list_idle(&mut self, at: u32) {
        if let Some(stream) = self.get_mut(at)
            && !stream.is_listed
        {
            stream.is_listed = true;
            self.idle.push_back(at);
        }
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut OutStream> {
        self.streams.get_mut(at as usize)?.as_mut()
    }

    /// Where the stream to that receiver stands, if this agent has spoken on it lately.
    #[inline]
    pub(crate) fn find(&self, to: &str, lane: Lane) -> Option<u32> {
        let last = self
            .streams
            .get(self.last as usize)
            .and_then(Option::as_ref);
        let is_it =
            |stream: &OutStream| stream.key.lane == lane && stream.key.receiver.as_str() == to;
        if last.is_some_and(is_it) {
            return Some(self.last);
        }
        self.index.get(&KeyRef { to, lane }).copied()
    }

    /// What the messages of a stream share.
    pub(crate) fn key(&self, at: u32) -> Option<&Arc<StreamKey>> {
        self.streams
            .get(at as usize)?
            .as_ref()
            .map(|stream| &stream.key)
    }

    /// The key of a stream and the number of its last message.
    #[inline]
    pub(crate) fn last_of(&self, at: u32) -> Option<(&Arc<StreamKey>, u64)> {
        let stream = self.streams.get(at as usize)?.as_ref()?;
        Some((&stream.key, stream.next - 1))
    }

    /// The message a stream was given last, if it has no verdict.
    pub(crate) fn last_kept(&self, at: u32) -> Option<&Arc<Envelope>> {
        let stream = self.streams.get(at as usize)?.as_ref()?;
        stream.kept.back().map(|kept| &kept.envelope)
    }

    /// The number the next message of a stream gets.
    pub(crate) fn next_number(&self, at: u32) -> Option<u64> {
        let stream = self.streams.get(at as usize)?.as_ref()?;
        Some(stream.next)
    }

    /// The next message of a stream got that number when it was committed. A stream
    /// without messages may have been forgotten by then, and have begun anew behind
    /// others; or it was remembered where this one is forgotten, because streams ran dry
    /// in another order. One with messages goes on as it is.
    pub(crate) fn renumber(&mut self, at: u32, number: u64) {
        let stream = self.get_mut(at);
        if let Some(stream) = stream.filter(|it| it.kept.is_empty() && number > 0) {
            stream.next = number;
            stream.unsent = number;
        }
    }

    /// Everything is to be sent again at once. Nobody knows what of it had left.
    pub(crate) fn resume(&mut self) {
        for stream in self.streams.iter_mut().flatten() {
            for kept in &mut stream.kept {
                kept.tries = kept.tries.max(1);
            }
            stream.begin_again();
        }
    }

    /// Puts a stream back as a snapshot has it; all of it is sent again.
    pub(crate) fn restore(&mut self, key: Arc<StreamKey>, next: u64, kept: VecDeque<Kept>) {
        let at = self.begin(key);
        self.messages += kept.len() as u64;
        self.bytes += kept.iter().map(Kept::size).sum::<u64>();
        if kept.is_empty() {
            self.list_idle(at);
        } else {
            self.busy += 1;
        }
        if let Some(stream) = self.get_mut(at) {
            stream.next = next;
            stream.unsent = next;
            stream.kept = kept;
            stream.begin_again();
        }
    }

    /// Gives a message of a stream its number and keeps it. Returns it if it may
    /// leave now.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        at: u32,
        body: impl FnOnce() -> Body,
        terms: Terms,
        now: Millis,
    ) -> Option<Arc<Envelope>> {
        let Terms {
            give_up,
            retry,
            extras,
            token,
        } = terms;
        self.last = at;
        let stream = self.streams.get_mut(at as usize)?.as_mut()?;
        let number = stream.next;
        let base = NonZeroU64::new(stream.base().unwrap_or(number))?;
        stream.next += 1;
        let envelope = Arc::new(Envelope {
            stream: stream.key.clone(),
            sequence: Some(Sequence {
                number,
                base,
                give_up,
            }),
            // Made where it is put together: it is as large as the rest.
            body: body(),
            extras,
        });
        if stream.kept.is_empty() {
            stream.resend_at = now + UNANSWERED;
            stream.held_until = stream.held_until.filter(|until| *until > now);
            self.busy += 1;
        }
        self.messages += 1;
        self.bytes += envelope.size() as u64;
        let may_leave = stream.retry_at.is_none()
            && stream.held_until.is_none()
            && stream.unsent == number
            && number - base.get() < stream.window;
        stream.kept.push_back(Kept {
            envelope: envelope.clone(),
            closed: false,
            tries: u32::from(may_leave),
            refused: 0,
            refusal: None,
            retry,
            token,
        });
        stream.unsent += u64::from(may_leave);
        may_leave.then_some(envelope)
    }

    /// Everything above `after` was applied, up to `through`. What may leave now goes
    /// into `send`, and tokens of messages that are known of only now into `tokens`. Says
    /// whether that is known of any message only now.
    pub(crate) fn applied(
        &mut self,
        to: &AgentId,
        lane: Lane,
        (after, through): (u64, u64),
        now: Millis,
        send: &mut Vec<Arc<Envelope>>,
        tokens: &mut Vec<Token>,
    ) -> bool {
        let Some(at) = self.at(to, lane) else {
            return false;
        };
        let is_applied = |kept: &Kept| kept.number() > after && kept.number() <= through;
        if let Some(stream) = self.get_mut(at)
            && stream.base().is_some_and(|base| base <= after)
        {
            // The word on one before them is lost, or late.
            let mut is_news = false;
            for kept in stream.kept.iter_mut().filter(|kept| is_applied(kept)) {
                if !std::mem::replace(&mut kept.closed, true) {
                    is_news = true;
                    tokens.extend(kept.token);
                }
            }
            return is_news;
        }
        let before = self.messages;
        self.settle(at, now, send, |kept| {
            let is_applied = is_applied(kept);
            if is_applied {
                tokens.extend(kept.token);
            }
            is_applied
        });
        self.messages < before
    }

    /// The message of that number was closed unapplied, which is final: it is not
    /// sent again. Returns it and its token, unless it had its verdict before.
    pub(crate) fn closed(
        &mut self,
        to: &AgentId,
        lane: Lane,
        wanted: u64,
        now: Millis,
        send: &mut Vec<Arc<Envelope>>,
    ) -> Option<(Arc<Envelope>, Option<Token>)> {
        let index = self.at(to, lane)?;
        let stream = self.get_mut(index)?;
        let at = usize::try_from(wanted.checked_sub(stream.base()?)?).ok()?;
        let kept = stream.kept.get_mut(at).filter(|kept| !kept.closed)?;
        kept.closed = true;
        let ended = (kept.envelope.clone(), kept.token);
        self.settle(index, now, send, |_| false);
        Some(ended)
    }

    /// Drops what has its verdict from the front of a stream, and lets more leave.
    fn settle(
        &mut self,
        at: u32,
        now: Millis,
        send: &mut Vec<Arc<Envelope>>,
        mut has_verdict: impl FnMut(&Kept) -> bool,
    ) {
        let place = self.streams.get_mut(at as usize);
        let Some(stream) = place.and_then(Option::as_mut) else {
            return;
        };
        let before = self.messages;
        while let Some(kept) = stream
            .kept
            .pop_front_if(|kept| kept.closed || has_verdict(kept))
        {
            self.messages -= 1;
            self.bytes -= kept.size();
        }
        if self.messages < before {
            stream.went_on(before - self.messages, now, send);
            if stream.kept.is_empty() {
                self.ran_dry(at);
            }
        }
    }

    /// The receiver has not taken this message, one time that it was sent.
    pub(crate) fn note_refusal(&mut self, to: &AgentId, lane: Lane, number: u64, why: Refusal) {
        if let Some(kept) = self.kept_mut(to, lane, number) {
            kept.refused = kept.refused.saturating_add(1);
            kept.refusal = Some(why);
        }
    }

    /// Takes back a message that was refused each time it was sent: it is not sent
    /// again. Says why it was refused; nothing, if its receiver may have it.
    pub(crate) fn withdraw_refused(
        &mut self,
        to: &AgentId,
        lane: Lane,
        number: u64,
    ) -> Option<Refusal> {
        let kept = self.kept_mut(to, lane, number)?;
        let refusal = kept.only_refused().filter(|_| !kept.closed)?;
        kept.closed = true;
        Some(refusal)
    }

    fn kept_mut(&mut self, to: &AgentId, lane: Lane, number: u64) -> Option<&mut Kept> {
        let stream = self.get_mut(self.at(to, lane)?)?;
        let at = usize::try_from(number.checked_sub(stream.base()?)?).ok()?;
        stream.kept.get_mut(at)
    }

    /// The receiver has everything below `expected`, and refused the rest: wait,
    /// then go on from there, not before `not_before`. Returns when.
    pub(crate) fn refused(
        &mut self,
        to: &AgentId,
        lane: Lane,
        expected: u64,
        now: Millis,
        not_before: Millis,
    ) -> Option<Millis> {
        let at = self.at(to, lane)?;
        let (retry, seed) = (self.retry, self.seed);
        let stream = self.get_mut(at)?;
        let base = stream.base()?;
        let expected = expected.max(base);
        if expected >= stream.unsent && stream.retry_at.is_none() {
            // Of something that has its verdict by now.
            return None;
        }
        stream.unsent = stream.unsent.min(expected);
        // One refusal for each message of a burst is one refusal.
        if stream.retry_at.is_none() {
            stream.window = (expected - base).max(1);
            stream.tries = stream.tries.saturating_add(1);
            let wait = now + stream.wait(&retry, seed);
            stream.retry_at = Some(wait.max(not_before));
        }
        stream.retry_at
    }

    /// The receiver has taken everything up to `taken` and wants `window` more, or
    /// none for now: then nothing leaves before the next word of it, or before the
    /// instant that is returned.
    pub(crate) fn credit(
        &mut self,
        to: &AgentId,
        lane: Lane,
        taken: u64,
        window: u64,
        now: Millis,
        send: &mut Vec<Arc<Envelope>>,
    ) -> Option<Millis> {
        let at = self.at(to, lane)?;
        let stream = self.get_mut(at)?;
        stream.is_credited = true;
        if window == 0 {
            stream.held_until = Some(now + HOLD);
            return stream.held_until;
        }
        let was_held = stream.held_until.take().is_some();
        stream.retry_at = None;
        let base = stream.base()?;
        let wanted = stream.under_way(taken.saturating_add(window), base);
        // Where it was not held, it may have more under way already.
        let most = if was_held { 0 } else { stream.window };
        stream.window = wanted.max(most);
        stream.hand_out(send);
        None
    }

    /// Lets everything be sent again at once, as when a connection came back.
    pub(crate) fn retry_now(&mut self) {
        for stream in self.streams.iter_mut().flatten() {
            stream.begin_again();
        }
    }

    /// When [`Outbox::tick`] has something to do, at the earliest.
    pub(crate) fn next_wake(&self) -> Millis {
        self.iter()
            .filter_map(|stream| Some(stream.due().min(stream.kept.front()?.give_up())))
            .min()
            .unwrap_or(Millis::NEVER)
    }

    /// Hands out what is to be sent again, and what is given up.
    pub(crate) fn tick(
        &mut self,
        now: Millis,
        resend: &mut Vec<Arc<Envelope>>,
        given_up: &mut Vec<Kept>,
    ) {
        if self.messages == 0 {
            return;
        }
        let mut dry = Vec::new();
        for (at, place) in (0u32..).zip(&mut self.streams) {
            let Some(stream) = place else { continue };
            let before = self.messages;
            // A message that was tried often enough is given up when it would be again.
            let is_due = stream.due() <= now && stream.held_until.is_none();
            let retry = &self.retry;
            while let Some(kept) = stream.kept.pop_front_if(|kept| {
                kept.closed || kept.give_up() <= now || (is_due && kept.is_exhausted(retry))
            }) {
                self.messages -= 1;
                self.bytes -= kept.size();
                if !kept.closed {
                    given_up.push(kept);
                }
            }
            if self.messages < before && stream.kept.is_empty() {
                stream.drained();
                dry.push(at);
            }
            stream.tick(now, &self.retry, self.seed, resend);
        }
        for at in dry {
            self.ran_dry(at);
        }
    }

    fn at(&self, to: &AgentId, lane: Lane) -> Option<u32> {
        self.find(to.as_str(), lane)
    }

    /// The stream to that receiver, begun if there is none.
    pub(crate) fn stream(
        &mut self,
        from: impl FnOnce() -> Sender,
        to: &AgentId,
        lane: Lane,
    ) -> u32 {
        self.at(to, lane)
            .unwrap_or_else(|| self.begin(StreamKey::shared(from(), to.clone(), lane)))
    }

    /// Begins a stream; there must be none of that receiver and lane.
    fn begin(&mut self, key: Arc<StreamKey>) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX)
        });
        self.index.insert((key.receiver.clone(), key.lane), at);
        let next = self.floor.max(1);
        if let Some(place) = self.streams.get_mut(at as usize) {
            *place = Some(OutStream {
                key,
                next,
                kept: VecDeque::new(),
                unsent: next,
                window: u64::MAX,
                retry_at: None,
                held_until: None,
                is_credited: false,
                resend_at: Millis(0),
                tries: 0,
                is_listed: false,
            });
        }
        at
    }
}

impl OutStream {
    /// The first number without a verdict.
    fn base(&self) -> Option<u64> {
        self.kept.front().map(Kept::number)
    }

    /// Everything has its verdict.
    fn drained(&mut self) {
        self.retry_at = None;
        self.tries = 0;
        self.unsent = self.next;
        self.window = u64::MAX;
        self.is_credited = false;
    }

    /// Everything without a verdict is to be sent again, at once.
    fn begin_again(&mut self) {
        self.held_until = None;
        if let Some(base) = self.base() {
            self.unsent = base;
            self.retry_at = Some(Millis(0));
        }
    }

    /// How many are under way when everything up to `through` is, or everything
    /// that is already.
    fn under_way(&self, through: u64, base: u64) -> u64 {
        let next = through.saturating_add(1).max(self.unsent);
        next.saturating_sub(base).max(1)
    }

    /// So many verdicts came, so the receiver has room again.
    fn went_on(&mut self, verdicts: u64, now: Millis, send: &mut Vec<Arc<Envelope>>) {
        let Some(base) = self.base() else {
            self.drained();
            return;
        };
        self.tries = 0;
        self.resend_at = now + UNANSWERED;
        self.unsent = self.unsent.max(base);
        if self.held_until.is_some() {
            return;
        }
        if self.retry_at.take().is_none() {
            let more = if self.is_credited {
                verdicts
            } else {
                self.window
            };
            self.window = self.window.saturating_add(more);
        }
        self.hand_out(send);
    }

    /// When something is to be done about what was heard last, or was not.
    fn due(&self) -> Millis {
        let next = self.retry_at.unwrap_or(self.resend_at);
        self.held_until.unwrap_or(next)
    }

    /// How long the stream waits after as many tries as have failed: as its first
    /// message says, which those behind it cannot pass.
    fn wait(&self, of_kind: &RetryPolicy, seed: u64) -> Millis {
        let retry = self
            .kept
            .front()
            .map_or(of_kind, |kept| kept.policy(of_kind));
        retry.wait(self.tries, chance(seed, self.unsent, self.tries))
    }

    fn tick(&mut self, now: Millis, retry: &RetryPolicy, seed: u64, send: &mut Vec<Arc<Envelope>>) {
        let Some(base) = self.base() else { return };
        if self.due() > now {
            return;
        }
        if self.held_until.take().is_some() {
            // The word to go on may be lost: one more message asks for it.
            self.window = self.under_way(self.unsent, base);
            self.retry_at = None;
        } else if self.retry_at.take().is_none() {
            // Nothing was heard: it may all be lost, and the receiver with it.
            self.tries = self.tries.saturating_add(1);
            self.unsent = base;
            self.window = self.window.min(UNHEARD_WINDOW);
        }
        self.unsent = self.unsent.max(base);
        self.resend_at = now + UNANSWERED + self.wait(retry, seed);
        self.hand_out(send);
    }

    /// Hands out what fits the window, and tells the receiver where the stream
    /// begins now: a message that is sent again may find one that knows nothing
    /// of the stream.
    fn hand_out(&mut self, send: &mut Vec<Arc<Envelope>>) {
        let Some(base) = self.base() else { return };
        let until = self.next.min(base.saturating_add(self.window));
        let place = |number: u64| usize::try_from(number.saturating_sub(base)).unwrap_or(0);
        let (from, until_place) = (place(self.unsent), place(until));
        let count = until_place.saturating_sub(from);
        for kept in self.kept.iter_mut().skip(from).take(count) {
            if kept.closed {
                continue;
            }
            if let Some(sequence) = kept.envelope.sequence
                && let Some(base) = NonZeroU64::new(base)
                && sequence.base != base
            {
                let mut again = Envelope::clone(&kept.envelope);
                again.sequence = Some(Sequence { base, ..sequence });
                kept.envelope = Arc::new(again);
            }
            kept.tries = kept.tries.saturating_add(1);
            send.push(kept.envelope.clone());
        }
        self.unsent = self.unsent.max(until);
    }
}

/// Bits by which waits differ, of an agent's streams and of its fellows': those who
/// were refused together do not come back together. (SplitMix64, Steele et al., 2014.)
fn chance(seed: u64, number: u64, tries: u32) -> u64 {
    let mut bits = seed ^ number.rotate_left(32) ^ u64::from(tries);
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A key of the index, borrowed; hashes as the tuple does.
#[derive(Hash)]
struct KeyRef<'a> {
    to: &'a str,
    lane: Lane,
}

impl hashbrown::Equivalent<(AgentId, Lane)> for KeyRef<'_> {
    fn equivalent(&self, key: &(AgentId, Lane)) -> bool {
        self.lane == key.1 && self.to == key.0.as_str()
    }
}
