//! Bytes on their way out: small things are copied together, large payloads
//! are kept as they are and sent from where they lie.

use bytes::{BufMut, Bytes, BytesMut};
use phoenix_core::Data;

use super::pack::Packer;
use super::{HEADER, TooLarge, flags};

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

    /// Leaves room for a frame's length, and writes that its bytes are of `form`
    /// and not compressed.
    pub(super) fn begin_frame(&mut self, form: u8) -> Frame {
        let mark = self.mark();
        self.copied.put_u32_le(0);
        let start = self.len();
        self.byte(form);
        Frame {
            mark,
            start,
            content: self.mark(),
        }
    }

    /// Bytes of the frame so far.
    pub(super) fn frame_len(&self, frame: &Frame) -> usize {
        self.len().saturating_sub(frame.start)
    }

    /// Compresses the frame if `packer` wants to and fills in its length, or
    /// takes it back if it is over `bound` as it is.
    pub(super) fn end_frame(
        &mut self,
        frame: &Frame,
        packer: &mut Packer,
        bound: usize,
    ) -> Result<(), TooLarge> {
        let bytes = self.frame_len(frame);
        let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= bound) else {
            self.rewind(&frame.mark);
            return Err(TooLarge { bytes, bound });
        };
        let length = if packer.wants(bytes) {
            self.pack_frame(frame, packer).unwrap_or(length)
        } else {
            length
        };
        let at = frame.mark.copied;
        if let Some(room) = self.copied.get_mut(at..at + HEADER) {
            room.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// Puts the frame's content compressed in its place; the frame's length then.
    fn pack_frame(&mut self, frame: &Frame, packer: &mut Packer) -> Option<u32> {
        let content = &frame.content;
        let gathered;
        let bytes = if self.large.len() == content.large {
            self.copied.get(content.copied..)?
        } else {
            gathered = self.gathered(content);
            &gathered
        };
        let unpacked = u32::try_from(bytes.len()).ok()?;
        let (compression, packed) = packer.pack(bytes)?;
        let length = u32::try_from(flags::BYTES + flags::UNPACKED + packed.len()).ok()?;
        self.rewind(content);
        // The flags are the byte before.
        let flags = self
            .copied
            .get_mut(content.copied.checked_sub(flags::BYTES)?)?;
        *flags = flags::compressed(*flags, compression);
        self.copied.put_u32_le(unpacked);
        self.raw(packed);
        Some(length)
    }

    /// What was written since, in one piece.
    fn gathered(&self, since: &Mark) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut from = since.copied;
        for (at, bytes) in self.large.get(since.large..).unwrap_or_default() {
            whole.extend_from_slice(self.copied.get(from..*at).unwrap_or_default());
            whole.extend_from_slice(bytes);
            from = *at;
        }
        whole.extend_from_slice(self.copied.get(from..).unwrap_or_default());
        whole
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
    /// How much was written before its bytes, which begin behind the length.
    start: usize,
    /// Where its content begins, behind the flags.
    content: Mark,
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
