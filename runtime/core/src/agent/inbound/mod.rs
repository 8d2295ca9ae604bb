//! The streams an agent hears from: what was taken, what was committed.

mod inherited;
mod recorded;
mod saved;
mod skips;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::message::Speaker;
use crate::{Lane, Millis, Sender, Sequence, SkipReason, StreamKey};
pub(crate) use inherited::Inherited;
use skips::Runs;
pub(crate) use skips::{Closed, Skips};

/// Where a stream stands in its agent's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamIndex(u32);

/// How long after the give-up of its last message a client may still repeat one.
const CLIENT_REMEMBERED: Millis = Millis(3_600_000);

/// One stream that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InStream {
    /// Who speaks; of a client, with the node it last came through. Shared with
    /// the messages, so that most are known by where their key lies.
    pub(crate) key: Arc<StreamKey>,
    /// Everything up to here has its verdict, committed.
    pub(crate) watermark: u64,
    /// Everything up to here is in the mailbox or beyond. At least the watermark.
    pub(crate) taken: u64,
    /// The latest give-up instant seen: until then, and some, it must not be forgotten.
    pub(crate) last_give_up: Millis,
    /// Whether the current commit moved the watermark.
    touched: bool,
    /// Whether some of it is in [`Inbound::skips`].
    has_skips: bool,
    /// Whether it is in [`Inbound::held`].
    pub(crate) is_held: bool,
    /// Whether it is in [`Inbound::adopted`].
    pub(crate) is_adopted: bool,
    /// What was taken last waits behind what an earlier run of the node has left.
    is_behind: bool,
    /// Whether the table beside the agent's snapshots has it as it is.
    pub(crate) is_saved: bool,
}

/// What to do with a reliable message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next of its stream.
    Next(StreamIndex),
    /// Applied before, as everything above `after` was, up to `through`: acknowledge again.
    Committed { after: u64, through: u64 },
    /// In the mailbox already, or nothing is known of it any more.
    Waiting,
    /// Closed already without being applied.
    Skipped(SkipReason),
    /// Others must come first, beginning with this number.
    Early(u64),
    /// It may belong to a stream that was forgotten, and was given up long ago.
    Forgotten,
    /// The table of streams is full.
    NoRoom,
}

/// All streams that arrive at one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbound {
    /// Where each stream stands, by speaker and lane.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    streams: Vec<Option<InStream>>,
    free: Vec<u32>,
    /// When to look whether a stream can be forgotten: one entry a stream.
    expiry: BinaryHeap<Reverse<(Millis, u32)>>,
    /// The latest give-up of a stream that was forgotten.
    forgotten: Millis,
    last: u32,
    /// Streams whose watermark moved in the current commit, and where it was before.
    touched: Vec<(u32, u64)>,
    /// What was closed without being applied and still counts for something.
    skips: BTreeMap<u32, Runs>,
    /// Streams whose senders were told to hold, and in which turn they were told last.
    held: BTreeMap<u32, u64>,
    /// Streams that began with what an earlier run of the node has left, and with
    /// which number, while nothing is heard of their senders.
    adopted: BTreeMap<u32, u64>,
}

impl Inbound {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &InStream> {
        self.streams.iter().flatten()
    }

    /// The latest give-up of a stream that was forgotten.
    pub(crate) fn forgotten(&self) -> Millis {
        self.forgotten
    }

    /// Puts [`Inbound::forgotten`] back as a snapshot has it.
    pub(crate) fn restore_forgotten(&mut self, forgotten: Millis) {
        self.forgotten = forgotten;
    }

    /// Puts a stream back as a snapshot has it, in place of what was known of it, and says
    /// where.
    pub(crate) fn restore(
        &mut self,
        key: StreamKey,
        watermark: u64,
        last_give_up: Millis,
        is_held: bool,
        skips: Vec<Skips>,
    ) -> u32 {
        let known = self.look_up(&key);
        let at = known.unwrap_or_else(|| self.add(Arc::new(key)));
        if let Some(stream) = self.get_mut(at) {
            stream.watermark = watermark;
            stream.taken = watermark;
            stream.last_give_up = last_give_up;
            stream.has_skips = !skips.is_empty();
            stream.is_held = is_held;
            stream.is_adopted = false;
        }
        if known.is_some() {
            self.held.remove(&at);
            self.skips.remove(&at);
            self.adopted.remove(&at);
        }
        if is_held {
            // Whoever still sends is told anew.
            self.held.insert(at, u64::MAX);
        }
        if !skips.is_empty() {
            self.skips.insert(at, Runs::new(skips));
            self.take_skips(at);
        }
        if known.is_none() {
            self.expiry.push(Reverse((last_give_up, at)));
        }
        at
    }

    /// What was closed of a stream and still counts for something, in order.
    pub(crate) fn skips(&self, stream: &InStream) -> &[Skips] {
        if !stream.has_skips {
            return &[];
        }
        let at = self.look_up(&stream.key);
        at.and_then(|at| self.skips.get(&at))
            .map_or(&[], Runs::as_slice)
    }

    /// Decides about a message without taking it yet.
    #[inline]
    pub(crate) fn arrival(
        &mut self,
        key: &Arc<StreamKey>,
        sequence: &Sequence,
        bound: u32,
    ) -> Arrival {
        if !sequence.is_valid() {
            // No sender makes such a number, and nothing was ever before it.
            return Arrival::Committed {
                after: 0,
                through: 0,
            };
        }
        let Some(at) = self.find(key) else {
            if sequence.give_up <= self.forgotten {
                return Arrival::Forgotten;
            }
            if sequence.number != sequence.base.get() {
                return Arrival::Early(sequence.base.get());
            }
            if self.len() >= bound as usize {
                return Arrival::NoRoom;
            }
            let at = self.add(key.clone());
            let until = remembered(&key.sender, sequence.give_up);
            if let Some(stream) = self.get_mut(at) {
                stream.watermark = sequence.number.saturating_sub(1);
                stream.taken = stream.watermark;
                stream.last_give_up = until;
            }
            self.expiry.push(Reverse((until, at)));
            return Arrival::Next(StreamIndex(at));
        };
        if self.get(at).is_some_and(|stream| stream.is_adopted) {
            return self.heard_again(at, key, sequence);
        }
        self.follow(at, key, sequence)
    }

    /// Decides about a message of a stream that is known.
    #[inline]
    fn follow(&mut self, at: u32, key: &Arc<StreamKey>, sequence: &Sequence) -> Arrival {
        let Some(stream) = self.get_mut(at) else {
            return Arrival::NoRoom;
        };
        if !Arc::ptr_eq(&stream.key, key) {
            // A client that comes through another node wants its verdicts there.
            stream.key = key.clone();
        }
        if stream.has_skips {
            self.heard(at, sequence.base.get());
        }
        let Some(stream) = self.get(at) else {
            return Arrival::NoRoom;
        };
        let (taken, has_skips) = (stream.taken, stream.has_skips);
        // After a recovery something may be closed that lies behind what is still to come.
        if sequence.number <= taken || (has_skips && self.skipped(at, sequence.number).is_some()) {
            return self.known(at, sequence.number);
        }
        let (next, base) = (taken.saturating_add(1), sequence.base.get());
        // What lies below the sender's base has its verdict: a gap up to there is closed.
        if sequence.number == next || (base > next && sequence.number == base) {
            Arrival::Next(StreamIndex(at))
        } else {
            Arrival::Early(next.max(base))
        }
    }

    /// Decides about a number that was taken before.
    #[cold]
    fn known(&self, at: u32, number: u64) -> Arrival {
        let Some(stream) = self.get(at) else {
            return Arrival::NoRoom;
        };
        let watermark = stream.watermark;
        let runs = self.skips.get(&at).filter(|_| stream.has_skips);
        let run = runs.and_then(|runs| runs.find(number));
        match run.map(|run| &run.how) {
            Some(Closed::For(reason)) => Arrival::Skipped(reason.clone()),
            Some(Closed::Quietly | Closed::Unknown) => Arrival::Waiting,
            None if number > watermark => Arrival::Waiting,
            None => {
                let around = runs.map(|runs| runs.around(number, watermark));
                let (after, through) = around.unwrap_or((0, watermark));
                Arrival::Committed { after, through }
            }
        }
    }

    /// The sender of a stream has heard the end of everything below `base`.
    #[cold]
    fn heard(&mut self, at: u32, base: u64) {
        let stream = self.streams.get_mut(at as usize).and_then(Option::as_mut);
        let (Some(stream), Some(runs)) = (stream, self.skips.get_mut(&at)) else {
            return;
        };
        stream.is_saved = false;
        runs.heard(base, stream.watermark);
        if runs.is_empty() {
            stream.has_skips = false;
            self.skips.remove(&at);
        }
    }

    /// Whether everything that was taken of a stream has its verdict.
    pub(crate) fn is_settled(&self, at: StreamIndex) -> bool {
        self.get(at.0)
            .is_some_and(|stream| stream.taken == stream.watermark)
    }

    /// Notes that `sequence` is in the mailbox.
    pub(crate) fn take(&mut self, at: StreamIndex, sequence: &Sequence) {
        let Some(stream) = self.get_mut(at.0) else {
            return;
        };
        let before = stream.taken;
        stream.taken = sequence.number;
        let until = remembered(&stream.key.sender, sequence.give_up);
        stream.last_give_up = stream.last_give_up.max(until);
        let (next, has_skips) = (before.saturating_add(1), stream.has_skips);
        if before == stream.watermark {
            stream.watermark = sequence.number.saturating_sub(1);
        } else if next < sequence.number {
            // The sender closed what lies between.
            self.add_gap(at.0, next, sequence.number - 1);
        }
        if has_skips {
            self.take_skips(at.0);
        }
    }

    /// Notes that `number` has its verdict.
    #[inline]
    pub(crate) fn commit(&mut self, at: StreamIndex, number: u64) {
        if let Some(stream) = self.streams.get_mut(at.0 as usize).and_then(Option::as_mut) {
            debug_assert!(number > stream.watermark, "streams are applied in order");
            let before = std::mem::replace(&mut stream.watermark, number);
            stream.is_saved = false;
            if !stream.touched {
                stream.touched = true;
                self.touched.push((at.0, before));
            }
            if stream.has_skips {
                self.commit_skips(at.0);
            }
        }
    }

    /// Notes that `number` has its verdict though it was not applied, and others
    /// before it may wait for their turns.
    pub(crate) fn skip(&mut self, at: StreamIndex, number: u64, how: Closed) {
        let Some(stream) = self.get(at.0) else { return };
        let (watermark, is_quiet) = (stream.watermark, how == Closed::Quietly);
        let is_next = number == watermark.saturating_add(1);
        if number > watermark && !(is_next && is_quiet) {
            self.add_skips(at.0, number, number, how);
        }
        if is_next {
            self.commit(at, number);
        }
    }

    fn add_skips(&mut self, at: u32, from: u64, through: u64, how: Closed) {
        let Some(stream) = self.get_mut(at) else {
            return;
        };
        stream.has_skips = true;
        let watermark = stream.watermark;
        let added = Skips { from, through, how };
        self.skips.entry(at).or_default().add(added, watermark);
    }

    /// The sender closed these numbers itself, but for those that were closed before.
    #[cold]
    fn add_gap(&mut self, at: u32, mut from: u64, through: u64) {
        let runs = self.skips.get(&at).map_or(&[][..], Runs::as_slice);
        let inside = runs
            .iter()
            .filter(|it| it.through >= from && it.from <= through);
        let inside: Vec<_> = inside.map(|it| (it.from, it.through)).collect();
        for (first, last) in inside {
            if from < first {
                self.add_skips(at, from, first - 1, Closed::Quietly);
            }
            from = last.saturating_add(1);
        }
        if from <= through {
            self.add_skips(at, from, through, Closed::Quietly);
        }
    }

    fn skipped(&self, at: u32, number: u64) -> Option<&Skips> {
        self.skips.get(&at)?.find(number)
    }

    /// Moves the watermark over what was closed behind it.
    #[cold]
    fn commit_skips(&mut self, at: u32) {
        let stream = self.streams.get_mut(at as usize).and_then(Option::as_mut);
        let (Some(stream), Some(runs)) = (stream, self.skips.get_mut(&at)) else {
            return;
        };
        stream.is_saved = false;
        stream.watermark = runs.pass(stream.watermark);
        if runs.is_empty() {
            stream.has_skips = false;
            self.skips.remove(&at);
        }
    }

    /// What was closed behind the last that was taken counts as taken.
    fn take_skips(&mut self, at: u32) {
        let stream = self.streams.get_mut(at as usize).and_then(Option::as_mut);
        if let (Some(stream), Some(runs)) = (stream, self.skips.get(&at)) {
            stream.taken = runs.taken(stream.taken);
        }
    }

    /// The stream of a message that was taken and has no verdict, if that is so.
    pub(crate) fn taken(
        &mut self,
        key: &Arc<StreamKey>,
        sequence: &Sequence,
    ) -> Option<StreamIndex> {
        let at = self.find(key)?;
        let stream = self.get(at)?;
        let is_open = stream.watermark < sequence.number && sequence.number <= stream.taken;
        (is_open && self.skipped(at, sequence.number).is_none()).then_some(StreamIndex(at))
    }

    /// Of a lane, what was taken is lost but for `kept`: the rest is taken again
    /// when it comes again.
    pub(crate) fn untake(&mut self, lane: Lane, kept: impl Iterator<Item = (StreamIndex, u64)>) {
        for stream in self.streams.iter_mut().flatten() {
            if stream.key.lane == lane {
                stream.taken = stream.watermark;
            }
        }
        for (at, number) in kept {
            if let Some(stream) = self.get_mut(at.0) {
                stream.taken = stream.taken.max(number);
            }
        }
        let skipping: Vec<u32> = self.skips.keys().copied().collect();
        for at in skipping {
            self.take_skips(at);
        }
    }

    /// Notes that the sender of a stream is to hold, and gives the stream if it is
    /// to be told so now: once in each turn. Clients and the node hold by themselves.
    pub(crate) fn hold(&mut self, at: StreamIndex, turn: u64) -> Option<&InStream> {
        let stream = self.streams.get_mut(at.0 as usize)?.as_mut()?;
        if !matches!(stream.key.sender, Sender::Agent(..)) {
            return None;
        }
        stream.is_held = true;
        stream.is_saved = false;
        let told = self.held.insert(at.0, turn);
        (told != Some(turn)).then_some(stream)
    }

    /// Streams whose senders hold.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Calls `each` with every stream whose sender holds: they need not any more.
    pub(crate) fn release(&mut self, mut each: impl FnMut(&InStream)) {
        for at in std::mem::take(&mut self.held).into_keys() {
            let stream = self.streams.get_mut(at as usize).and_then(Option::as_mut);
            if let Some(stream) = stream.filter(|stream| stream.is_held) {
                stream.is_held = false;
                stream.is_saved = false;
                each(stream);
            }
        }
    }

    /// Calls `each` with what was applied of streams since the last call: of such a
    /// stream, everything above the first number up to the second. Streams whose senders
    /// may have messages that it would cover unseen are left out.
    pub(crate) fn moved(&mut self, mut each: impl FnMut(&InStream, u64, u64)) {
        for (at, before) in self.touched.drain(..) {
            let stream = self.streams.get_mut(at as usize).and_then(Option::as_mut);
            let Some(stream) = stream else { continue };
            stream.touched = false;
            if stream.is_adopted {
                continue;
            }
            let runs = self.skips.get(&at).filter(|_| stream.has_skips);
            match runs {
                None => each(stream, 0, stream.watermark),
                Some(runs) => runs.applied(before, stream.watermark, |after, through| {
                    each(stream, after, through);
                }),
            }
        }
    }

    /// Until when somebody may speak on one of the streams.
    pub(crate) fn speakable_until(&self) -> Millis {
        let all = self.iter().map(|stream| stream.last_give_up);
        all.max().unwrap_or_default()
    }

    /// Forgets the streams that nobody can speak on any more: those whose last
    /// give-up lies before `instant`. Each stream is looked at once a give-up time.
    pub(crate) fn forget_before(&mut self, instant: Millis) {
        while let Some(Reverse((at, index))) = self.expiry.peek().copied()
            && at < instant
        {
            self.expiry.pop();
            let Some(stream) = self
                .streams
                .get_mut(index as usize)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            let busy = stream.touched || stream.taken != stream.watermark;
            if busy || stream.last_give_up >= instant {
                let again = stream.last_give_up.max(instant);
                self.expiry.push(Reverse((again, index)));
            } else {
                self.forget(index);
            }
        }
    }

    fn forget(&mut self, index: u32) {
        let place = self.streams.get_mut(index as usize);
        let Some(stream) = place.and_then(Option::take) else {
            return;
        };
        let hash = hash(&self.hasher, &stream.key);
        if let Ok(entry) = self.index.find_entry(hash, |at| *at == index) {
            entry.remove();
        }
        if stream.is_held {
            self.held.remove(&index);
        }
        if stream.is_adopted {
            self.adopted.remove(&index);
        }
        if stream.has_skips {
            self.skips.remove(&index);
        }
        self.free.push(index);
        self.forgotten = self.forgotten.max(stream.last_give_up);
    }

    #[inline]
    fn find(&mut self, key: &Arc<StreamKey>) -> Option<u32> {
        let last = self.get(self.last);
        if last.is_some_and(|stream| Arc::ptr_eq(&stream.key, key)) {
            return Some(self.last);
        }
        let at = self.look_up(key)?;
        self.last = at;
        Some(at)
    }

    fn look_up(&self, key: &StreamKey) -> Option<u32> {
        let streams = &self.streams;
        let found = self.index.find(hash(&self.hasher, key), |at| {
            get(streams, *at).is_some_and(|stream| is_stream(&stream.key, key))
        });
        found.copied()
    }

    fn add(&mut self, key: Arc<StreamKey>) -> u32 {
        let hash = hash(&self.hasher, &key);
        let at = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.streams.get_mut(at as usize) {
            *place = Some(InStream {
                key,
                watermark: 0,
                taken: 0,
                last_give_up: Millis(0),
                touched: false,
                has_skips: false,
                is_held: false,
                is_adopted: false,
                is_behind: false,
                is_saved: false,
            });
        }
        let (hasher, streams) = (&self.hasher, &self.streams);
        self.index
            .insert_unique(hash, at, |at| rehash(hasher, streams, *at));
        at
    }

    fn get(&self, at: u32) -> Option<&InStream> {
        get(&self.streams, at)
    }

    /// The stream, to be changed.
    fn get_mut(&mut self, at: u32) -> Option<&mut InStream> {
        let stream = self.streams.get_mut(at as usize)?.as_mut()?;
        stream.is_saved = false;
        Some(stream)
    }

    /// The stream, with where verdicts about it go.
    pub(crate) fn key(&self, at: StreamIndex) -> Option<&Arc<StreamKey>> {
        self.get(at.0).map(|stream| &stream.key)
    }
}

/// Whether messages under the one key are of the stream of the other.
fn is_stream(one: &StreamKey, other: &StreamKey) -> bool {
    one.lane == other.lane && Speaker(&one.sender) == Speaker(&other.sender)
}

fn get(streams: &[Option<InStream>], at: u32) -> Option<&InStream> {
    streams.get(at as usize)?.as_ref()
}

fn hash(hasher: &DefaultHashBuilder, key: &StreamKey) -> u64 {
    hasher.hash_one((Speaker(&key.sender), key.lane))
}

fn rehash(hasher: &DefaultHashBuilder, streams: &[Option<InStream>], at: u32) -> u64 {
    get(streams, at).map_or(0, |stream| hash(hasher, &stream.key))
}

/// Until when a stream is remembered for a message of that give-up.
fn remembered(sender: &Sender, give_up: Millis) -> Millis {
    match sender {
        // Its node stamps a message anew each time the client repeats it.
        Sender::Client(..) => give_up + CLIENT_REMEMBERED,
        Sender::Agent(..) | Sender::System => give_up,
    }
}
