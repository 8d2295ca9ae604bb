//! Small messages that may be lost, as QUIC's datagrams.
//!
//! A datagram is its number, eight bytes, little-endian, and frames as a stream
//! has them, as many as wait and fit. Numbers begin at 1 on each connection and
//! have no gaps. One that does not go up is late, or comes once more, and is
//! dropped; one that goes up by more than one passes others over. Either is counted.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use phoenix_core::PeerMessage;
use quinn::{Connection, SendDatagramError};

use super::Shared;
use super::hello::Close;
use super::inbound::Frames;
use super::peer::Peer;
use super::session::TaskEnd;
use super::stats::DatagramCounters;
use crate::quic::DATAGRAM_BUFFER;
use crate::wire::{HEADER, Malformed};

/// Bytes of a datagram's number.
const NUMBER: usize = 8;

/// Most datagrams that are handed over at once.
const BATCH: usize = 64;

/// Bytes of frames that a datagram has room for on this path just now; 0 if the
/// other side takes none.
pub(super) fn room(connection: &Connection) -> usize {
    let most = connection.max_datagram_size().unwrap_or(0);
    // QUIC counts a little more than its bytes against the buffer.
    most.min(DATAGRAM_BUFFER / 2).saturating_sub(NUMBER)
}

/// Sends what waits, until the queue or the connection closes.
pub(super) async fn write(peer: Arc<Peer>, connection: Connection) -> TaskEnd {
    let queue = peer.datagram_queue();
    let counters = &peer.counters.datagrams;
    let mut packer = Packer::default();
    while let Some(chunks) = queue.take().await {
        let bytes = chunks.iter().map(Bytes::len).sum();
        packer.add(&chunks);
        loop {
            let room = room(&connection);
            peer.set_datagram_room(room);
            let Some(datagram) = packer.next(room, counters) else {
                break;
            };
            match connection.send_datagram_wait(datagram).await {
                Ok(()) => counters.sent.add(1),
                // The path has become narrower this very moment.
                Err(SendDatagramError::TooLarge) => counters.outgrown.add(1),
                Err(_) => return TaskEnd::Lost,
            }
        }
        queue.written(bytes);
    }
    TaskEnd::Written
}

/// Puts frames that wait into datagrams.
#[derive(Default)]
struct Packer {
    number: u64,
    /// Frames, the last of which may not be whole yet.
    waiting: BytesMut,
}

impl Packer {
    fn add(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.waiting.extend_from_slice(chunk);
        }
    }

    /// The next datagram, with at most `room` bytes of frames.
    fn next(&mut self, room: usize, counters: &DatagramCounters) -> Option<Bytes> {
        let mut end = 0;
        while let Some(frame) = self.waiting.get(end..).and_then(whole_frame) {
            if end + frame <= room {
                end += frame;
            } else if end > 0 {
                break;
            } else {
                self.waiting.advance(frame);
                counters.outgrown.add(1);
            }
        }
        if end == 0 {
            return None;
        }
        self.number += 1;
        let mut datagram = BytesMut::with_capacity(NUMBER + end);
        datagram.put_u64_le(self.number);
        datagram.extend_from_slice(&self.waiting.split_to(end));
        Some(datagram.freeze())
    }
}

/// Bytes of the frame that begins here, its length's included, if it is whole.
fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER>()?;
    let length = usize::try_from(u32::from_le_bytes(*header)).ok()?;
    let frame = HEADER.checked_add(length)?;
    (bytes.len() >= frame).then_some(frame)
}

/// Hands over what comes, until the connection ends.
pub(super) async fn read(shared: Arc<Shared>, peer: Arc<Peer>, connection: Connection) -> TaskEnd {
    let mut reader = Reader::new(shared.limits.frame_bytes);
    loop {
        let Ok(first) = connection.read_datagram().await else {
            return TaskEnd::Lost;
        };
        let mut messages = Vec::new();
        let mut next = Some(first);
        let mut malformed = None;
        for _ in 0..BATCH {
            let Some(datagram) = next else { break };
            peer.counters.received_bytes.add(datagram.len());
            let counters = &peer.counters.datagrams;
            if let Err(error) = reader.take(datagram, counters, &mut messages) {
                malformed = Some(error);
                break;
            }
            next = waiting(&connection).await;
        }
        peer.counters.received_messages.add(messages.len());
        if !messages.is_empty() {
            shared.received(peer.node, messages);
        }
        if let Some(error) = malformed {
            return TaskEnd::Close(Close::Malformed(error));
        }
    }
}

/// A datagram that is there already.
async fn waiting(connection: &Connection) -> Option<Bytes> {
    let mut read = pin!(connection.read_datagram());
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Ready(datagram) => Poll::Ready(datagram.ok()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

struct Reader {
    /// The highest number so far.
    highest: u64,
    frames: Frames,
}

impl Reader {
    fn new(bound: usize) -> Self {
        Self {
            highest: 0,
            frames: Frames::new(bound),
        }
    }

    /// Appends the messages of a datagram, unless it is late.
    fn take(
        &mut self,
        mut datagram: Bytes,
        counters: &DatagramCounters,
        messages: &mut Vec<PeerMessage>,
    ) -> Result<(), Malformed> {
        let short = Malformed::Short("a datagram's number");
        let number = datagram.try_get_u64_le().map_err(|_| short)?;
        if number <= self.highest {
            counters.late.add(1);
            return Ok(());
        }
        counters.passed_over.add_all(number - self.highest - 1);
        counters.received.add(1);
        self.highest = number;
        self.frames.push(datagram, messages)?;
        if self.frames.is_within() {
            return Err(Malformed::Short("a datagram's last frame"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::stats::DatagramStats;
    use crate::wire::{Chunks, Output, encode};

    fn frames(count: usize) -> Vec<Bytes> {
        let mut chunks = Chunks::default();
        for _ in 0..count {
            let mut out = Output::new();
            encode(&PeerMessage::Leaving, 100, &mut out).unwrap();
            out.append_to(&mut chunks);
        }
        chunks.take(usize::MAX)
    }

    /// Bytes of one such frame: its length, its flags, its tag.
    const FRAME: usize = HEADER + 2;

    #[test]
    fn as_many_frames_share_a_datagram_as_fit() {
        let counters = DatagramCounters::default();
        let mut packer = Packer::default();
        packer.add(&frames(5));
        let mut reader = Reader::new(100);
        let mut messages = Vec::new();
        let mut counts = Vec::new();
        while let Some(datagram) = packer.next(2 * FRAME + 1, &counters) {
            reader.take(datagram, &counters, &mut messages).unwrap();
            counts.push(messages.len());
        }
        assert_eq!(counts, [2, 4, 5]);
        assert_eq!(counters.stats().received, 3);
    }

    #[test]
    fn a_frame_that_comes_in_parts_waits_for_its_end() {
        let counters = DatagramCounters::default();
        let mut packer = Packer::default();
        let [whole] = &frames(1)[..] else {
            panic!("one chunk")
        };
        packer.add(&[whole.slice(..FRAME - 1)]);
        assert_eq!(packer.next(100, &counters), None);
        packer.add(&[whole.slice(FRAME - 1..)]);
        assert!(packer.next(100, &counters).is_some());
    }

    #[test]
    fn what_the_path_outgrew_is_dropped_and_counted() {
        let counters = DatagramCounters::default();
        let mut packer = Packer::default();
        packer.add(&frames(2));
        assert_eq!(packer.next(FRAME - 1, &counters), None);
        assert_eq!(counters.stats().outgrown, 2);
    }

    #[test]
    fn late_and_repeated_ones_are_dropped_and_counted() {
        let counters = DatagramCounters::default();
        let mut packer = Packer::default();
        packer.add(&frames(4));
        let datagrams: Vec<_> = std::iter::from_fn(|| packer.next(FRAME, &counters)).collect();
        let mut reader = Reader::new(100);
        let mut messages = Vec::new();
        for number in [0, 2, 1, 2, 3] {
            let datagram = datagrams[number].clone();
            reader.take(datagram, &counters, &mut messages).unwrap();
        }
        assert_eq!(messages.len(), 3);
        let stats = DatagramStats {
            received: 3,
            late: 2,
            ..DatagramStats::default()
        };
        assert_eq!(counters.stats(), stats);
        // One that never comes is missing.
        packer.add(&frames(2));
        packer.next(FRAME, &counters).unwrap();
        let last = packer.next(FRAME, &counters).unwrap();
        let counters = DatagramCounters::default();
        reader.take(last, &counters, &mut messages).unwrap();
        assert_eq!(counters.stats().missing, 1);
    }

    #[test]
    fn a_datagram_ends_with_a_frame() {
        let counters = DatagramCounters::default();
        let mut packer = Packer::default();
        packer.add(&frames(1));
        let datagram = packer.next(FRAME, &counters).unwrap();
        for length in 0..datagram.len() {
            let mut messages = Vec::new();
            let cut = datagram.slice(..length);
            let taken = Reader::new(100).take(cut, &counters, &mut messages);
            // A number and nothing behind it is a datagram of no messages.
            assert_eq!(taken.is_ok(), length == NUMBER, "{length} bytes");
            assert!(messages.is_empty());
        }
    }
}
