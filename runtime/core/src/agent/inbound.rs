//! The streams an agent hears from: what was taken, what was committed.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::message::Speaker;
use crate::{Lane, Millis, Sender, Sequence};

/// Where a stream stands in its agent's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamIndex(u32);

/// One stream that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InStream {
    /// Who speaks; of a client, with the node it last came through.
    pub(crate) sender: Sender,
    pub(crate) lane: Lane,
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
    /// The table of streams is full.
    NoRoom,
}

/// All streams that arrive at one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbound {
    /// Where each stream stands, by speaker and lane.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    streams: Vec<InStream>,
    last: u32,
    touched: Vec<u32>,
}

impl Inbound {
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &InStream> {
        self.streams.iter()
    }

    /// Puts a stream back as a snapshot has it.
    pub(crate) fn restore(
        &mut self,
        sender: Sender,
        lane: Lane,
        watermark: u64,
        last_give_up: Millis,
    ) {
        let at = self.add(sender, lane);
        if let Some(stream) = self.streams.get_mut(at as usize) {
            stream.watermark = watermark;
            stream.taken = watermark;
            stream.last_give_up = last_give_up;
        }
    }

    /// Decides about a message without taking it yet.
    pub(crate) fn arrival(&mut self, sender: &Sender, sequence: &Sequence, bound: u32) -> Arrival {
        if !sequence.is_valid() {
            // No sender makes such a number, and nothing was ever before it.
            return Arrival::Committed(0);
        }
        let Some(at) = self.find(sender, sequence.lane) else {
            if sequence.number != sequence.base {
                return Arrival::Early(sequence.base);
            }
            if self.streams.len() >= bound as usize {
                return Arrival::NoRoom;
            }
            let at = self.add(sender.clone(), sequence.lane);
            if let Some(stream) = self.streams.get_mut(at as usize) {
                stream.watermark = sequence.number.saturating_sub(1);
                stream.taken = stream.watermark;
            }
            return Arrival::Next(StreamIndex(at));
        };
        let Some(stream) = self.streams.get_mut(at as usize) else {
            return Arrival::NoRoom;
        };
        if stream.sender != *sender {
            // A client that comes through another node wants its verdicts there.
            stream.sender = sender.clone();
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

    /// Notes that `sequence` is in the mailbox.
    pub(crate) fn take(&mut self, at: StreamIndex, sequence: &Sequence) {
        if let Some(stream) = self.streams.get_mut(at.0 as usize) {
            stream.taken = sequence.number;
            stream.last_give_up = stream.last_give_up.max(sequence.give_up);
        }
    }

    /// Notes that `number` has its verdict.
    pub(crate) fn commit(&mut self, at: StreamIndex, number: u64) {
        if let Some(stream) = self.streams.get_mut(at.0 as usize) {
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
            if let Some(stream) = self.streams.get_mut(at as usize) {
                stream.touched = false;
                each(stream);
            }
        }
    }

    /// Forgets the streams nobody can speak on any more. Call it with an empty mailbox.
    pub(crate) fn forget_before(&mut self, instant: Millis) {
        if !self.streams.iter().any(|s| s.last_give_up < instant) {
            return;
        }
        self.streams.retain(|s| s.last_give_up >= instant);
        self.last = 0;
        self.index.clear();
        for (at, stream) in (0u32..).zip(&self.streams) {
            let hash = hash(&self.hasher, &stream.sender, stream.lane);
            let (hasher, streams) = (&self.hasher, &self.streams);
            self.index
                .insert_unique(hash, at, |at| rehash(hasher, streams, *at));
        }
    }

    fn find(&mut self, sender: &Sender, lane: Lane) -> Option<u32> {
        let is_it =
            |stream: &InStream| stream.lane == lane && Speaker(&stream.sender) == Speaker(sender);
        if self.streams.get(self.last as usize).is_some_and(is_it) {
            return Some(self.last);
        }
        let streams = &self.streams;
        let at = *self.index.find(hash(&self.hasher, sender, lane), |at| {
            streams.get(*at as usize).is_some_and(is_it)
        })?;
        self.last = at;
        Some(at)
    }

    fn add(&mut self, sender: Sender, lane: Lane) -> u32 {
        let at = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        let hash = hash(&self.hasher, &sender, lane);
        self.streams.push(InStream {
            sender,
            lane,
            watermark: 0,
            taken: 0,
            last_give_up: Millis(0),
            touched: false,
        });
        let (hasher, streams) = (&self.hasher, &self.streams);
        self.index
            .insert_unique(hash, at, |at| rehash(hasher, streams, *at));
        at
    }

    /// Where verdicts about a stream go.
    pub(crate) fn sender(&self, at: StreamIndex) -> Option<&Sender> {
        self.streams.get(at.0 as usize).map(|stream| &stream.sender)
    }
}

fn hash(hasher: &DefaultHashBuilder, sender: &Sender, lane: Lane) -> u64 {
    hasher.hash_one((Speaker(sender), lane))
}

fn rehash(hasher: &DefaultHashBuilder, streams: &[InStream], at: u32) -> u64 {
    streams
        .get(at as usize)
        .map_or(0, |stream| hash(hasher, &stream.sender, stream.lane))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentId, Incarnation};

    fn sender() -> Sender {
        Sender::Agent(AgentId::new("a/b").unwrap(), Incarnation::default())
    }

    fn at(number: u64, base: u64) -> Sequence {
        Sequence {
            lane: Lane::Normal,
            number,
            base,
            give_up: Millis(100),
        }
    }

    fn take(inbound: &mut Inbound, sequence: &Sequence) -> StreamIndex {
        match inbound.arrival(&sender(), sequence, 10) {
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
            inbound.arrival(&sender(), &at(2, 1), 10),
            Arrival::Waiting,
            "not twice"
        );
        assert_eq!(inbound.arrival(&sender(), &at(4, 1), 10), Arrival::Early(3));
        inbound.commit(index, 1);
        inbound.commit(index, 2);
        assert_eq!(
            inbound.arrival(&sender(), &at(1, 1), 10),
            Arrival::Committed(2)
        );
    }

    #[test]
    fn a_gap_the_sender_closed_is_no_gap() {
        let mut inbound = Inbound::default();
        take(&mut inbound, &at(1, 1));
        take(&mut inbound, &at(5, 5));
        assert_eq!(inbound.arrival(&sender(), &at(3, 3), 10), Arrival::Waiting);
    }

    #[test]
    fn a_number_that_cannot_be_is_not_taken() {
        let mut inbound = Inbound::default();
        for (number, base) in [(0, 0), (1, 0), (0, 1), (3, 4)] {
            let arrival = inbound.arrival(&sender(), &at(number, base), 10);
            assert_eq!(arrival, Arrival::Committed(0));
        }
        assert_eq!(inbound.len(), 0);
        take(&mut inbound, &at(u64::MAX, u64::MAX));
        let again = inbound.arrival(&sender(), &at(u64::MAX, 1), 10);
        assert_eq!(again, Arrival::Waiting);
    }

    #[test]
    fn an_unknown_stream_begins_at_its_base() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.arrival(&sender(), &at(9, 7), 10), Arrival::Early(7));
        take(&mut inbound, &at(7, 7));
        assert_eq!(inbound.len(), 1);
    }

    #[test]
    fn forgotten_only_after_the_last_give_up() {
        let mut inbound = Inbound::default();
        take(&mut inbound, &at(1, 1));
        inbound.forget_before(Millis(100));
        assert_eq!(inbound.len(), 1);
        inbound.forget_before(Millis(101));
        assert_eq!(inbound.len(), 0);
    }
}
