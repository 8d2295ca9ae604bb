//! Bytes on their way out: small things are copied together, large payloads
//! are kept as they are and sent from where they lie.

use bytes::{BufMut, Bytes, BytesMut};
use phoenix_core::Data;

use super::{HEADER, TooLarge};

/// From this size on, in bytes, a payload is not copied but sent as a chunk of
/// its own. Below it a copy is cheaper than one more chunk.
const OWN_CHUNK_FROM: usize = 4 << 10;

/// An encoder's output: a byte string in pieces.
#[derive(Debug, Default)]
pub struct Output {
    /// What was copied.
    copied: BytesMut,
    /// Large payloads, each with the position in `copied` it comes before.
    large: Vec<(usize, Bytes)>,
    /// Bytes in `large`.
    large_bytes: usize,
}

impl Output {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.copied.len() + self.large_bytes
    }

    /// Whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything, keeps the room.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.large.clear();
        self.large_bytes = 0;
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.copied.put_u8(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
    }

    /// LEB128, seven bits a byte, lowest first.
    pub(super) fn number(&mut self, mut value: u64) {
        let mut buffer = [0_u8; 10];
        let mut length = 0;
        for slot in &mut buffer {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            length += 1;
            if value == 0 {
                *slot = low;
                break;
            }
            *slot = low | 0x80;
        }
        if let Some(used) = buffer.get(..length) {
            self.raw(used);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &Bytes) {
        self.number(bytes.len() as u64);
        if bytes.len() >= OWN_CHUNK_FROM {
            self.large_bytes += bytes.len();
            self.large.push((self.copied.len(), bytes.clone()));
        } else {
            self.raw(bytes);
        }
    }

    pub(super) fn data(&mut self, data: &Data) {
        if data.len() >= OWN_CHUNK_FROM {
            self.bytes(&data.to_bytes());
        } else {
            self.number(data.len() as u64);
            self.raw(data);
        }
    }

    /// Where writing stands.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            copied: self.copied.len(),
            large: self.large.len(),
        }
    }

    /// Takes back what was written since.
    pub(super) fn rewind(&mut self, mark: &Mark) {
        self.copied.truncate(mark.copied);
        for (_, bytes) in self.large.drain(mark.large..) {
            self.large_bytes -= bytes.len();
        }
    }

    /// Leaves room for a frame's length.
    pub(super) fn begin_frame(&mut self) -> Frame {
        let mark = self.mark();
        self.copied.put_u32_le(0);
        Frame {
            mark,
            start: self.len(),
        }
    }

    /// Bytes of the frame so far.
    pub(super) fn frame_len(&self, frame: &Frame) -> usize {
        self.len().saturating_sub(frame.start)
    }

    /// Fills in the frame's length, or takes the frame back if it is over `bound`.
    pub(super) fn end_frame(&mut self, frame: &Frame, bound: usize) -> Result<(), TooLarge> {
        let bytes = self.frame_len(frame);
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= bound);
        let at = frame.mark.copied;
        match (length, self.copied.get_mut(at..at + HEADER)) {
            (Some(length), Some(room)) => {
                room.copy_from_slice(&length.to_le_bytes());
                Ok(())
            }
            _ => {
                self.rewind(&frame.mark);
                Err(TooLarge { bytes, bound })
            }
        }
    }

    /// Moves everything to the end of `queue`.
    pub fn append_to(&mut self, queue: &mut Chunks) {
        let mut from = 0;
        for (at, bytes) in self.large.drain(..) {
            queue.copy(self.copied.get(from..at).unwrap_or_default());
            queue.push(bytes);
            from = at;
        }
        queue.copy(self.copied.get(from..).unwrap_or_default());
        self.clear();
    }

    /// Everything in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        let mut queue = Chunks::default();
        self.append_to(&mut queue);
        let mut whole = BytesMut::with_capacity(queue.len());
        for chunk in queue.take(usize::MAX) {
            whole.extend_from_slice(&chunk);
        }
        whole.freeze()
    }
}

/// A place in an output.
#[derive(Debug)]
pub(super) struct Mark {
    copied: usize,
    large: usize,
}

/// A frame being written.
#[derive(Debug)]
pub(super) struct Frame {
    mark: Mark,
    /// Where its bytes begin, behind the length.
    start: usize,
}

/// Bytes waiting to be written, in order.
#[derive(Debug, Default)]
pub struct Chunks {
    full: std::collections::VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Chunks {
    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if !self.tail.is_empty() {
            self.full.push_back(self.tail.split().freeze());
        }
        self.full.push_back(bytes);
    }

    /// Takes chunks of about `limit` bytes together: whole chunks, at least one if there are any.
    pub fn take(&mut self, limit: usize) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.full.push_back(self.tail.split().freeze());
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < limit {
            let Some(chunk) = self.full.pop_front() else {
                break;
            };
            bytes += chunk.len();
            taken.push(chunk);
        }
        self.len -= bytes;
        taken
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.full.clear();
        self.tail.clear();
        self.len = 0;
    }
}
