//! The streams an agent hears from: what was taken, what was committed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::message::Speaker;
use crate::{Millis, Sender, Sequence, StreamKey};

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
}

/// What to do with a reliable message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next of its stream.
    Next(StreamIndex),
    /// Committed before: acknowledge again.
    Committed(u64),
    /// In the mailbox already.
    Waiting,
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
    touched: Vec<u32>,
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

    /// Puts a stream back as a snapshot has it.
    pub(crate) fn restore(&mut self, key: StreamKey, watermark: u64, last_give_up: Millis) {
        let at = self.add(Arc::new(key));
        if let Some(stream) = self.get_mut(at) {
            stream.watermark = watermark;
            stream.taken = watermark;
            stream.last_give_up = last_give_up;
        }
        self.expiry.push(Reverse((last_give_up, at)));
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
            return Arrival::Committed(0);
        }
        let Some(at) = self.find(key) else {
            if sequence.give_up <= self.forgotten {
                return Arrival::Forgotten;
            }
            if sequence.number != sequence.base {
                return Arrival::Early(sequence.base);
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
        let Some(stream) = self.get_mut(at) else {
            return Arrival::NoRoom;
        };
        if !Arc::ptr_eq(&stream.key, key) {
            // A client that comes through another node wants its verdicts there.
            stream.key = key.clone();
        }
        if sequence.number <= stream.watermark {
            return Arrival::Committed(stream.watermark);
        }
        if sequence.number <= stream.taken {
            return Arrival::Waiting;
        }
        let next = stream.taken.saturating_add(1);
        // What lies below the sender's base has its verdict: a gap up to there is closed.
        if sequence.number == next || (sequence.base > next && sequence.number == sequence.base) {
            Arrival::Next(StreamIndex(at))
        } else {
            Arrival::Early(next.max(sequence.base))
        }
    }

    /// Whether everything that was taken of a stream has its verdict.
    pub(crate) fn is_settled(&self, at: StreamIndex) -> bool {
        self.get(at.0)
            .is_some_and(|stream| stream.taken == stream.watermark)
    }

    /// Notes that `sequence` is in the mailbox.
    pub(crate) fn take(&mut self, at: StreamIndex, sequence: &Sequence) {
        if let Some(stream) = self.get_mut(at.0) {
            stream.taken = sequence.number;
            let until = remembered(&stream.key.sender, sequence.give_up);
            stream.last_give_up = stream.last_give_up.max(until);
        }
    }

    /// Notes that `number` has its verdict.
    pub(crate) fn commit(&mut self, at: StreamIndex, number: u64) {
        if let Some(stream) = self.streams.get_mut(at.0 as usize).and_then(Option::as_mut) {
            debug_assert!(number > stream.watermark, "streams are applied in order");
            stream.watermark = number;
            if !stream.touched {
                stream.touched = true;
                self.touched.push(at.0);
            }
        }
    }

    /// Calls `each` with every stream whose watermark moved since the last call.
    pub(crate) fn moved(&mut self, mut each: impl FnMut(&InStream)) {
        for at in self.touched.drain(..) {
            if let Some(stream) = self.streams.get_mut(at as usize).and_then(Option::as_mut) {
                stream.touched = false;
                each(stream);
            }
        }
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
        self.free.push(index);
        self.forgotten = self.forgotten.max(stream.last_give_up);
    }

    #[inline]
    fn find(&mut self, key: &Arc<StreamKey>) -> Option<u32> {
        let last = self.get(self.last);
        if last.is_some_and(|stream| Arc::ptr_eq(&stream.key, key)) {
            return Some(self.last);
        }
        let streams = &self.streams;
        let at = *self.index.find(hash(&self.hasher, key), |at| {
            get(streams, *at).is_some_and(|stream| {
                stream.key.lane == key.lane && Speaker(&stream.key.sender) == Speaker(&key.sender)
            })
        })?;
        self.last = at;
        Some(at)
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

    fn get_mut(&mut self, at: u32) -> Option<&mut InStream> {
        self.streams.get_mut(at as usize)?.as_mut()
    }

    /// The stream, with where verdicts about it go.
    pub(crate) fn key(&self, at: StreamIndex) -> Option<&Arc<StreamKey>> {
        self.get(at.0).map(|stream| &stream.key)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentId, Incarnation, Lane};

    fn of(sender: &str) -> Arc<StreamKey> {
        let sender = AgentId::new(sender).unwrap();
        StreamKey::shared(
            Sender::Agent(sender, Incarnation::default()),
            AgentId::new("c/d").unwrap(),
            Lane::Normal,
        )
    }

    fn stream() -> Arc<StreamKey> {
        of("a/b")
    }

    fn at(number: u64, base: u64) -> Sequence {
        Sequence {
            number,
            base,
            give_up: Millis(100),
        }
    }

    fn take(inbound: &mut Inbound, sequence: &Sequence) -> StreamIndex {
        match inbound.arrival(&stream(), sequence, 10) {
            Arrival::Next(index) => {
                inbound.take(index, sequence);
                index
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_is_taken_in_order_and_once() {
        let mut inbound = Inbound::default();
        let index = take(&mut inbound, &at(1, 1));
        take(&mut inbound, &at(2, 1));
        assert_eq!(
            inbound.arrival(&stream(), &at(2, 1), 10),
            Arrival::Waiting,
            "not twice"
        );
        assert_eq!(inbound.arrival(&stream(), &at(4, 1), 10), Arrival::Early(3));
        inbound.commit(index, 1);
        inbound.commit(index, 2);
        assert_eq!(
            inbound.arrival(&stream(), &at(1, 1), 10),
            Arrival::Committed(2)
        );
    }

    #[test]
    fn a_gap_the_sender_closed_is_no_gap() {
        let mut inbound = Inbound::default();
        take(&mut inbound, &at(1, 1));
        take(&mut inbound, &at(5, 5));
        assert_eq!(inbound.arrival(&stream(), &at(3, 3), 10), Arrival::Waiting);
    }

    #[test]
    fn a_number_that_cannot_be_is_not_taken() {
        let mut inbound = Inbound::default();
        for (number, base) in [(0, 0), (1, 0), (0, 1), (3, 4)] {
            let arrival = inbound.arrival(&stream(), &at(number, base), 10);
            assert_eq!(arrival, Arrival::Committed(0));
        }
        assert_eq!(inbound.len(), 0);
        take(&mut inbound, &at(u64::MAX, u64::MAX));
        let again = inbound.arrival(&stream(), &at(u64::MAX, 1), 10);
        assert_eq!(again, Arrival::Waiting);
    }

    #[test]
    fn an_unknown_stream_begins_at_its_base() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.arrival(&stream(), &at(9, 7), 10), Arrival::Early(7));
        take(&mut inbound, &at(7, 7));
        assert_eq!(inbound.len(), 1);
    }

    #[test]
    fn forgotten_only_after_the_last_give_up() {
        let mut inbound = Inbound::default();
        let index = take(&mut inbound, &at(1, 1));
        inbound.forget_before(Millis(1_000));
        assert_eq!(inbound.len(), 1, "one of its messages waits");
        inbound.commit(index, 1);
        inbound.moved(|_| ());
        let later = Sequence {
            give_up: Millis(2_000),
            ..at(2, 1)
        };
        let index = take(&mut inbound, &later);
        inbound.commit(index, 2);
        inbound.moved(|_| ());
        inbound.forget_before(Millis(2_000));
        assert_eq!(inbound.len(), 1);
        inbound.forget_before(Millis(2_001));
        assert_eq!(inbound.len(), 0);
        // Never applied again, whatever comes late.
        assert_eq!(
            inbound.arrival(&stream(), &at(1, 1), 10),
            Arrival::Forgotten
        );
        assert_eq!(inbound.arrival(&stream(), &later, 10), Arrival::Forgotten);
        let new = Sequence {
            give_up: Millis(2_001),
            ..at(3, 3)
        };
        take(&mut inbound, &new);
        assert_eq!((inbound.len(), inbound.streams.len()), (1, 1));
    }

    #[test]
    fn a_full_table_has_room_again_when_streams_are_over() {
        let mut inbound = Inbound::default();
        let of = |key: u32| of(&format!("a/{key}"));
        for key in 0..1_000 {
            let Arrival::Next(index) = inbound.arrival(&of(key), &at(1, 1), 1_000) else {
                panic!("no room")
            };
            inbound.take(index, &at(1, 1));
            inbound.commit(index, 1);
        }
        inbound.moved(|_| ());
        let new = Sequence {
            give_up: Millis(900),
            ..at(1, 1)
        };
        assert_eq!(inbound.arrival(&of(2_000), &new, 1_000), Arrival::NoRoom);
        inbound.forget_before(Millis(101));
        assert_eq!((inbound.len(), inbound.expiry.len()), (0, 0));
        let arrival = inbound.arrival(&of(2_000), &new, 1_000);
        assert!(matches!(arrival, Arrival::Next(_)), "{arrival:?}");
    }
}
