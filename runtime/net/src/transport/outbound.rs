//! What waits for a peer's stream of one class, and in which frames it leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use phoenix_core::{
    Acknowledgement, Envelope, Lane, Nanos, Notice, PeerMessage, SendRefused, SkipReason,
};
use tokio::sync::Notify;

use super::config::TransportLimits;
use crate::formats::Purpose;
use crate::select::Size;
use crate::wire::{
    self, BatchLimits, Chunks, Due, Encoder, FrameBatcher, HEADER, Output, Packing, Place, TooLarge,
};

/// Which stream a message takes, if it takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// Everything whose order the port promises.
    Ordered = 0,
    /// Parts of snapshots and components, which the rest may overtake.
    Bulk = 1,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Ordered, Self::Bulk];

    pub(super) fn of(size: Size) -> Self {
        match size {
            Size::Bulk => Self::Bulk,
            Size::Packet | Size::Frame => Self::Ordered,
        }
    }

    /// How large what travels in it is.
    pub(super) fn size(self) -> Size {
        match self {
            Self::Ordered => Size::Frame,
            Self::Bulk => Size::Bulk,
        }
    }

    /// What its frames are for.
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Ordered => Purpose::Messages,
            Self::Bulk => Purpose::Bulk,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }
}

/// A message that waits, or one of a list.
#[derive(Debug)]
pub(super) enum Item {
    Envelope(Arc<Envelope>),
    Acknowledgement(Acknowledgement),
    /// Anything else, whole.
    Message(Box<PeerMessage>),
}

/// Bytes that an acknowledgement counts for, beside a reason's text.
const ACKNOWLEDGEMENT: usize = 64;

/// Bytes of names and numbers that an envelope may take beyond what it counts for.
const MARGIN: usize = 4 << 10;

impl Item {
    /// Where it stands among the others. Lanes have nothing to do with each other;
    /// what ends a path or a life, or is told before it is needed, stays where it is.
    fn place(&self) -> Place {
        match self {
            Self::Envelope(envelope) => Place::Lane(envelope.stream.lane),
            Self::Acknowledgement(_) => Place::Lane(Lane::High),
            Self::Message(message) => match **message {
                PeerMessage::Answer { .. } => Place::Lane(Lane::High),
                _ => Place::Barrier,
            },
        }
    }
}

/// Bytes an acknowledgement counts for.
fn acknowledgement_bytes(acknowledgement: &Acknowledgement) -> usize {
    let detail = match &acknowledgement.notice {
        Notice::Skipped {
            reason: SkipReason::Dead(reason),
            ..
        } => reason.detail().len(),
        _ => 0,
    };
    ACKNOWLEDGEMENT + detail
}

/// A message with what it counts for while it waits.
#[derive(Debug)]
pub(super) struct Weighed {
    message: PeerMessage,
    bytes: usize,
}

impl Weighed {
    /// Weighs `message`, and refuses it if it fits into no frame of `bound` bytes.
    pub(super) fn new(message: PeerMessage, bound: usize) -> Result<Self, TooLarge> {
        let bytes = match &message {
            PeerMessage::Deliver(envelopes) => {
                let mut bytes = 0;
                for envelope in envelopes {
                    let size = envelope.size();
                    if size + MARGIN > bound {
                        // Close to it, or over: what it takes exactly decides.
                        encoded(&PeerMessage::Deliver(vec![envelope.clone()]), bound)?;
                    }
                    bytes += size;
                }
                bytes
            }
            PeerMessage::Acknowledge(acknowledgements) => {
                acknowledgements.iter().map(acknowledgement_bytes).sum()
            }
            other => encoded(other, bound)?,
        };
        Ok(Self { message, bytes })
    }

    fn parts(self, mut put: impl FnMut(Item, usize)) {
        match self.message {
            PeerMessage::Deliver(envelopes) => {
                for envelope in envelopes {
                    let bytes = envelope.size();
                    put(Item::Envelope(envelope), bytes);
                }
            }
            PeerMessage::Acknowledge(acknowledgements) => {
                for one in acknowledgements {
                    let bytes = acknowledgement_bytes(&one);
                    put(Item::Acknowledgement(one), bytes);
                }
            }
            other => put(Item::Message(Box::new(other)), self.bytes),
        }
    }
}

/// Bytes of its frames.
fn encoded(message: &PeerMessage, bound: usize) -> Result<usize, TooLarge> {
    let mut out = Output::new();
    wire::encode(message, bound, &mut out)?;
    Ok(out.len())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No connection.
    #[default]
    Closed,
    Open,
    /// Nothing more is taken; what waits is still sent.
    Finishing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    batcher: FrameBatcher<Item>,
    /// Messages that were not written out.
    messages: usize,
    /// Bytes ever queued in this session.
    queued: u64,
    /// Bytes ever written.
    written: u64,
    /// The writer waits for something to do.
    idle: bool,
}

impl State {
    fn new(phase: Phase, limits: &BatchLimits) -> Self {
        Self {
            phase,
            batcher: FrameBatcher::new(limits.clone()),
            messages: 0,
            queued: 0,
            written: 0,
            idle: false,
        }
    }
}

/// The queue of a class to one peer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    batch: BatchLimits,
    messages: usize,
    bytes: u64,
    began: Instant,
}

/// What was taken out of a queue and is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    messages: usize,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limits: &TransportLimits) -> Self {
        // The queue is bounded before anything is put into the batcher.
        let batch = BatchLimits {
            waiting_messages: usize::MAX,
            waiting_bytes: usize::MAX,
            ..limits.batch.clone()
        };
        let least = limits.frame_bytes + HEADER;
        Self {
            state: Mutex::new(State::new(Phase::Closed, &batch)),
            wake: Notify::new(),
            batch,
            messages: limits.queue_messages,
            bytes: limits.queue_bytes.max(least) as u64,
            began: Instant::now(),
        }
    }

    /// Bytes ever queued and ever written in this session.
    pub(super) fn moved(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.queued, state.written)
    }

    /// Whether a message would be taken just now.
    pub(super) fn check(&self) -> Result<(), SendRefused> {
        self.check_state(&self.state.lock(), 0)
    }

    fn check_state(&self, state: &State, more: u64) -> Result<(), SendRefused> {
        if state.phase != Phase::Open {
            return Err(SendRefused::NotConnected);
        }
        if more > self.bytes {
            // To be told that it is full would be to try for ever.
            return Err(SendRefused::TooLarge);
        }
        let waiting = state.queued.saturating_sub(state.written);
        if state.messages >= self.messages || waiting + more > self.bytes {
            return Err(SendRefused::Full);
        }
        Ok(())
    }

    /// Queues a message, or refuses all of it.
    pub(super) fn push(&self, message: Weighed) -> Result<(), SendRefused> {
        let now = self.now();
        let bytes = message.bytes as u64;
        let mut state = self.state.lock();
        self.check_state(&state, bytes)?;
        state.queued += bytes;
        let State {
            batcher, messages, ..
        } = &mut *state;
        message.parts(|item, bytes| {
            *messages += 1;
            // The batcher has no bounds of its own.
            drop(batcher.push(item.place(), bytes, now, item));
        });
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        // A busy writer looks again before it waits: one wake for many messages.
        if idle {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves the next frame's items to `frame`; waits while none is due, and can be
    /// cancelled then. `None` when the session is to end.
    pub(super) async fn take(&self, frame: &mut Vec<Item>) -> Option<Taken> {
        loop {
            let wait = {
                let now = self.now();
                let mut state = self.state.lock();
                let due = match state.phase {
                    Phase::Open => state.batcher.due(now),
                    Phase::Finishing if !state.batcher.is_empty() => Due::Now,
                    Phase::Finishing | Phase::Closed => return None,
                };
                match due {
                    Due::Now => {
                        let bytes = state.batcher.take(frame);
                        let messages = frame.len();
                        return Some(Taken { messages, bytes });
                    }
                    Due::At(at) => {
                        state.idle = true;
                        Some(Duration::from_nanos(at.0.saturating_sub(now.0)))
                    }
                    Due::Never => {
                        state.idle = true;
                        None
                    }
                }
            };
            match wait {
                Some(wait) => {
                    // Either way it is looked again.
                    let _ = tokio::time::timeout(wait, self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// What was taken is with the connection now and does not count any more.
    pub(super) fn written(&self, taken: Taken) {
        let mut state = self.state.lock();
        state.written += taken.bytes as u64;
        state.messages = state.messages.saturating_sub(taken.messages);
    }

    /// A session stands.
    pub(super) fn open(&self) {
        *self.state.lock() = State::new(Phase::Open, &self.batch);
    }

    /// Takes nothing more; what waits is still sent.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Finishing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The session is over, and what waited with it.
    pub(super) fn close(&self) {
        let closed = State::new(Phase::Closed, &self.batch);
        let before = std::mem::replace(&mut *self.state.lock(), closed);
        // It may be much: not under the lock.
        drop(before);
        self.wake.notify_one();
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Makes bytes of a frame's items, as was agreed with the peer.
#[derive(Debug)]
pub(super) struct FrameWriter {
    encoder: Encoder,
    bound: usize,
    out: Output,
    chunks: Chunks,
}

impl FrameWriter {
    pub(super) fn new(packing: &Packing, bound: usize) -> Self {
        Self {
            encoder: Encoder::new(packing),
            bound,
            out: Output::new(),
            chunks: Chunks::default(),
        }
    }

    /// The frames of `items`, which is left empty. Neighbours of a kind share one.
    pub(super) fn write(&mut self, items: &mut Vec<Item>) -> Vec<Bytes> {
        let mut items = items.drain(..).peekable();
        while let Some(item) = items.next() {
            let message = match item {
                Item::Message(message) => *message,
                Item::Envelope(first) => {
                    let mut list = vec![first];
                    while let Some(Item::Envelope(next)) =
                        items.next_if(|next| matches!(next, Item::Envelope(_)))
                    {
                        list.push(next);
                    }
                    PeerMessage::Deliver(list)
                }
                Item::Acknowledgement(first) => {
                    let mut list = vec![first];
                    while let Some(Item::Acknowledgement(next)) =
                        items.next_if(|next| matches!(next, Item::Acknowledgement(_)))
                    {
                        list.push(next);
                    }
                    PeerMessage::Acknowledge(list)
                }
            };
            // What fits in compact form may not as an event: frames say what they are.
            let written = self
                .encoder
                .encode(&message, self.bound, &mut self.out)
                .or_else(|_| wire::encode(&message, self.bound, &mut self.out));
            if let Err(error) = written {
                tracing::error!(%error, "a message that was held against the bound");
            }
            self.out.append_to(&mut self.chunks);
        }
        self.chunks.take(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use phoenix_core::attributes::Format;
    use phoenix_core::{AgentId, Body, Failure, Incarnation, Payload, Reply, Sender, StreamKey};

    use super::*;
    use crate::formats::Form;

    fn envelope(lane: Lane, bytes: usize) -> Arc<Envelope> {
        let receiver = AgentId::new("counter/1").unwrap();
        Arc::new(Envelope {
            stream: StreamKey::shared(Sender::System, receiver, lane),
            sequence: None,
            body: Body::Spawn {
                config: Payload {
                    bytes: vec![7; bytes].into(),
                    ..Payload::default()
                },
                ask: None,
            },
            extras: None,
        })
    }

    fn deliver(lanes: &[Lane]) -> PeerMessage {
        PeerMessage::Deliver(lanes.iter().map(|lane| envelope(*lane, 10)).collect())
    }

    fn marker(marker: u64) -> PeerMessage {
        PeerMessage::MarkerSeen {
            agent: AgentId::new("counter/1").unwrap(),
            marker,
        }
    }

    const BOUND: usize = 1 << 20;

    fn weighed(message: PeerMessage) -> Weighed {
        Weighed::new(message, BOUND).unwrap()
    }

    fn queue(limits: &TransportLimits) -> Queue {
        let queue = Queue::new(limits);
        queue.open();
        queue
    }

    fn taken(queue: &Queue) -> (Vec<Item>, Taken) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut items = Vec::new();
        let taken = runtime.block_on(queue.take(&mut items)).unwrap();
        (items, taken)
    }

    fn read(chunks: Vec<Bytes>) -> Vec<PeerMessage> {
        let mut messages = Vec::new();
        let mut frames = crate::transport::inbound::Frames::new(BOUND);
        for chunk in chunks {
            frames.push(chunk, &mut messages).unwrap();
        }
        messages
    }

    #[test]
    fn what_waits_leaves_by_its_urgency_and_neighbours_share_a_frame() {
        use Lane::{Bulk, Normal, Reply};
        let queue = queue(&TransportLimits::default());
        for message in [
            deliver(&[Bulk, Normal]),
            deliver(&[Normal, Reply]),
            deliver(&[Bulk]),
            marker(1),
            deliver(&[Reply]),
        ] {
            queue.push(weighed(message)).unwrap();
        }
        let (mut items, _) = taken(&queue);
        let frames = FrameWriter::new(&Packing::default(), BOUND).write(&mut items);
        let expected = [
            deliver(&[Reply, Normal, Normal, Bulk, Bulk]),
            marker(1),
            deliver(&[Reply]),
        ];
        assert_eq!(read(frames), expected);
    }

    #[test]
    fn it_is_bounded_until_what_was_taken_is_written() {
        let limits = TransportLimits {
            queue_messages: 2,
            ..TransportLimits::default()
        };
        let queue = queue(&limits);
        queue.push(weighed(deliver(&[Lane::Normal; 2]))).unwrap();
        let full = Err(SendRefused::Full);
        assert_eq!(queue.push(weighed(marker(1))), full);
        let (items, taken) = taken(&queue);
        assert_eq!((items.len(), queue.check()), (2, full));
        queue.written(taken);
        assert_eq!(queue.check(), Ok(()));
        queue.finish();
        assert_eq!(queue.check(), Err(SendRefused::NotConnected));
    }

    #[test]
    fn only_what_fits_a_frame_is_taken() {
        for (bytes, fits) in [(BOUND - 100, true), (BOUND, false)] {
            let message = PeerMessage::Deliver(vec![envelope(Lane::Normal, bytes)]);
            assert_eq!(Weighed::new(message, BOUND).is_ok(), fits, "{bytes} bytes");
        }
        let answer = PeerMessage::Answer {
            ask: 1,
            reply: Reply::Failed(Box::new(Failure {
                details: Payload {
                    bytes: vec![7; BOUND].into(),
                    ..Payload::default()
                },
                ..Failure::default()
            })),
        };
        assert!(Weighed::new(answer, BOUND).is_err());
    }

    #[test]
    fn what_is_too_large_as_an_event_is_written_in_compact_form() {
        let packing = Packing {
            form: Form::Events(Format::Json),
            ..Packing::default()
        };
        // Its bytes take a third more as text.
        let message = PeerMessage::Deliver(vec![envelope(Lane::Normal, BOUND - 100)]);
        let mut items = Vec::new();
        weighed(message.clone()).parts(|item, _| items.push(item));
        let frames = FrameWriter::new(&packing, BOUND).write(&mut items);
        assert_eq!(read(frames), [message]);
    }

    #[test]
    fn acknowledgements_keep_their_order_and_share_a_frame() {
        let receiver = AgentId::new("counter/1").unwrap();
        let sender = Sender::Agent(receiver.clone(), Incarnation::default());
        let stream = StreamKey::shared(sender, receiver, Lane::Normal);
        let applied = |through| Acknowledgement {
            stream: stream.clone(),
            notice: Notice::Applied { after: 0, through },
        };
        let queue = queue(&TransportLimits::default());
        for through in 1..=3 {
            let message = PeerMessage::Acknowledge(vec![applied(through)]);
            queue.push(weighed(message)).unwrap();
        }
        let (mut items, _) = taken(&queue);
        let frames = FrameWriter::new(&Packing::default(), BOUND).write(&mut items);
        let all = (1..=3).map(applied).collect();
        assert_eq!(read(frames), [PeerMessage::Acknowledge(all)]);
    }
}
