//! Bytes that came in, read with distrust.

use bytes::{Buf, Bytes};
use phoenix_core::Data;
use phoenix_core::attributes::{BadAttribute, BadEvent};

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The frame ends within a field.
    #[error("the frame ends within {0}")]
    Short(&'static str),
    /// A number is larger than its field holds.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    /// A tag that this version does not know.
    #[error("{what} {found} is unknown")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The tag.
        found: u64,
    },
    /// A name breaks the rules for names.
    #[error("{0} breaks the rules for its kind of name")]
    Name(&'static str),
    /// Bytes follow the message's end.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// The frame's length is over the bound.
    #[error("a frame of {found} bytes is over the bound of {bound}")]
    Frame {
        /// Its length.
        found: u32,
        /// The bound.
        bound: u32,
    },
    /// A compressed frame says that it is longer than the bound.
    #[error("a compressed frame of {found} bytes is over the bound of {bound}")]
    Unpacked {
        /// What it says.
        found: u32,
        /// The bound.
        bound: usize,
    },
    /// A compressed frame is damaged, or not what it says.
    #[error("the frame is not compressed as it says: {0}")]
    Packed(&'static str),
    /// An envelope's attribute is malformed.
    #[error("{0}")]
    Attribute(Box<BadAttribute>),
    /// A frame of events holds something else.
    #[error("{0}")]
    Event(Box<BadEvent>),
}

impl Malformed {
    /// The same, naming the field that was being read, if it names none yet.
    pub(super) fn of(self, field: &'static str) -> Self {
        /// What a reader calls what it reads while it does not know what it is for.
        const NAMELESS: [&str; 8] = [
            "a byte",
            "a number",
            "a 32-bit number",
            "a flag",
            "flag",
            "a text",
            "bytes",
            "a list",
        ];
        let name = |what| {
            if NAMELESS.contains(&what) {
                field
            } else {
                what
            }
        };
        match self {
            Self::Short(what) => Self::Short(name(what)),
            Self::Range(what) => Self::Range(name(what)),
            Self::Text(what) => Self::Text(name(what)),
            Self::Unknown { what, found } => Self::Unknown {
                what: name(what),
                found,
            },
            other => other,
        }
    }
}

/// Payloads from this size on, in bytes, are slices of the frame they came in,
/// if they make up a good part of it. Smaller ones are copied: a few bytes
/// waiting in a mailbox must not keep a whole frame in memory.
const SLICE_FROM: usize = 4 << 10;

/// A slice keeps at most this many times its own size in memory.
const MOST_KEPT: usize = 8;

/// Most items room is made for before any of them has been read.
const ROOM_AHEAD: usize = 1 << 10;

/// A frame's bytes, from here to its end.
#[derive(Debug)]
pub struct Input {
    rest: Bytes,
    frame: usize,
}

impl Input {
    /// Reads `frame` from its beginning.
    pub fn new(frame: Bytes) -> Self {
        Self {
            frame: frame.len(),
            rest: frame,
        }
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing(self.rest.len()))
        }
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let byte = *self.rest.first().ok_or(Malformed::Short(what))?;
        self.rest.advance(1);
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let array = *self.rest.first_chunk::<N>().ok_or(Malformed::Short(what))?;
        self.rest.advance(N);
        Ok(array)
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the one bit that is left.
            if index == 9 && bits > 1 {
                return Err(Malformed::Range(what));
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest.advance(index + 1);
                return Ok(value);
            }
        }
        Err(if self.rest.len() >= 10 {
            Malformed::Range(what)
        } else {
            Malformed::Short(what)
        })
    }

    /// A length that is known to be there.
    fn length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let length = self.number(what)?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.rest.len())
            .ok_or(Malformed::Short(what))
    }

    /// A text, still in the frame, handed to `read`.
    pub(super) fn text<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let length = self.length(what)?;
        let bytes = self.rest.get(..length).ok_or(Malformed::Short(what))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Text(what))?;
        let value = read(text)?;
        self.rest.advance(length);
        Ok(value)
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let length = self.length(what)?;
        Ok(self.slice(length))
    }

    pub(super) fn data(&mut self, what: &'static str) -> Result<Data, Malformed> {
        let length = self.length(what)?;
        let few = self.rest.get(..length).and_then(Data::in_place);
        if let Some(few) = few {
            self.rest.advance(length);
            return Ok(few);
        }
        Ok(self.slice(length).into())
    }

    fn slice(&mut self, length: usize) -> Bytes {
        let slice = self.rest.split_to(length);
        if length >= SLICE_FROM && length.saturating_mul(MOST_KEPT) >= self.frame {
            slice
        } else {
            Bytes::copy_from_slice(&slice)
        }
    }

    /// How many items follow, and how many of them to make room for. Every
    /// item takes at least one byte, and room for many is made as they come.
    pub(super) fn count(
        &mut self,
        most: usize,
        what: &'static str,
    ) -> Result<(usize, usize), Malformed> {
        let count = self.length(what)?;
        if count > most {
            return Err(Malformed::Range(what));
        }
        Ok((count, count.min(ROOM_AHEAD)))
    }
}
