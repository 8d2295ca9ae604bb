//! From a stream's bytes to messages.

use bytes::{Buf, Bytes, BytesMut};
use phoenix_core::PeerMessage;

use crate::wire::{Decoder, HEADER, Malformed};

/// Puts frames together. Whole frames are read where they lie; one that comes
/// in parts is gathered in a buffer of its own size.
#[derive(Debug)]
pub(super) struct Frames {
    partial: BytesMut,
    decoder: Decoder,
    bound: u32,
}

impl Frames {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            partial: BytesMut::new(),
            decoder: Decoder::new(bound),
            bound: u32::try_from(bound).unwrap_or(u32::MAX),
        }
    }

    /// Whether a frame has begun that has not ended.
    pub(super) fn is_within(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes the stream's next bytes and appends the messages they complete.
    pub(super) fn push(
        &mut self,
        mut chunk: Bytes,
        messages: &mut Vec<PeerMessage>,
    ) -> Result<(), Malformed> {
        while !chunk.is_empty() {
            if self.partial.is_empty()
                && let Some(length) = self.length(&chunk)?
                && chunk.len() - HEADER >= length
            {
                chunk.advance(HEADER);
                messages.push(self.decoder.decode(chunk.split_to(length))?);
                continue;
            }
            self.gather(&mut chunk, messages)?;
        }
        Ok(())
    }

    /// Moves bytes of a frame that comes in parts to the buffer.
    fn gather(
        &mut self,
        chunk: &mut Bytes,
        messages: &mut Vec<PeerMessage>,
    ) -> Result<(), Malformed> {
        if self.partial.len() < HEADER {
            let missing = (HEADER - self.partial.len()).min(chunk.len());
            self.partial.extend_from_slice(&chunk.split_to(missing));
        }
        let Some(length) = self.length(&self.partial)? else {
            return Ok(());
        };
        let missing = HEADER + length - self.partial.len();
        self.partial.reserve(missing);
        let taken = chunk.split_to(missing.min(chunk.len()));
        self.partial.extend_from_slice(&taken);
        if taken.len() == missing {
            let mut frame = std::mem::take(&mut self.partial).freeze();
            frame.advance(HEADER);
            messages.push(self.decoder.decode(frame)?);
        }
        Ok(())
    }

    /// The length of the frame that begins here, if that much of it is there.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header);
        if length > self.bound {
            return Err(Malformed::Frame {
                found: length,
                bound: self.bound,
            });
        }
        Ok(usize::try_from(length).ok())
    }
}
