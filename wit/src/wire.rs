//! Reading and writing the primitives both frames are made of.

use crate::{ContentType, Delivery, Level, short};

/// Why a frame could not be read. Nothing of it may be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame's first byte is not the version this side speaks.
    #[error("frame version {found} where {expected} is spoken")]
    Version {
        /// What the frame says.
        found: u8,
        /// What this side reads.
        expected: u8,
    },
    /// A length points past the end of the frame.
    #[error("{what} needs {needed} bytes and {left} are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A number stands for nothing.
    #[error("{found} is no {what}")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// What the frame says.
        found: u8,
    },
    /// A text is not UTF-8.
    #[error("{what} is not UTF-8")]
    Text {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes are left where the record, or the frame, should end.
    #[error("{left} bytes are left after {what}")]
    Trailing {
        /// What had been read.
        what: &'static str,
        /// Bytes too many.
        left: usize,
    },
    /// A message's retry has no waits, or a longest that is shorter than the first.
    #[error(
        "a retry of first wait {first} ms, step {step} ms, longest {most} ms: \
         waits are 1 ms at least, and the longest is no shorter than the first"
    )]
    BadRetry {
        /// The first wait.
        first: u32,
        /// What each is longer, if they grow by a step.
        step: u32,
        /// The longest.
        most: u32,
    },
    /// The answer does not match the turns that were put.
    #[error("{found} {what} where {expected} are expected")]
    Count {
        /// What was counted.
        what: &'static str,
        /// What the frame holds.
        found: u64,
        /// What it may hold.
        expected: u64,
    },
}

/// A cursor over untrusted bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    pub(crate) fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        match self.0.split_at_checked(n) {
            Some((head, tail)) => {
                self.0 = tail;
                Ok(head)
            }
            None => Err(FrameError::Short {
                what,
                needed: n,
                left: self.0.len(),
            }),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], FrameError> {
        self.chunk(what).copied()
    }

    #[inline]
    pub(crate) fn chunk<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<&'a [u8; N], FrameError> {
        match self.0.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.0 = tail;
                Ok(head)
            }
            None => Err(FrameError::Short {
                what,
                needed: N,
                left: self.0.len(),
            }),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(crate) fn text(&mut self, n: u16, what: &'static str) -> Result<&'a str, FrameError> {
        utf8(self.take(usize::from(n), what)?, what)
    }

    #[inline]
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    #[inline]
    pub(crate) fn end(&self, what: &'static str) -> Result<(), FrameError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Trailing {
                what,
                left: self.0.len(),
            })
        }
    }
}

#[inline]
pub(crate) fn utf8<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::Text { what })
}

/// Makes `last` the text in `bytes`, which it mostly is already.
#[inline(always)]
pub(crate) fn again<'a>(
    bytes: &'a [u8],
    what: &'static str,
    last: &mut &'a str,
) -> Result<(), FrameError> {
    if !short::same(bytes, last.as_bytes()) {
        *last = utf8(bytes, what)?;
    }
    Ok(())
}

#[inline]
pub(crate) fn content_type(found: u8) -> Result<ContentType, FrameError> {
    Ok(match found {
        0 => ContentType::None,
        1 => ContentType::MessagePack,
        2 => ContentType::Json,
        3 => ContentType::Binary,
        _ => {
            return Err(FrameError::Unknown {
                what: "content type",
                found,
            });
        }
    })
}

#[inline]
pub(crate) fn delivery(found: u8) -> Result<Delivery, FrameError> {
    Ok(match found {
        0 => Delivery::AtMostOnce,
        1 => Delivery::ExactlyOnce,
        2 => Delivery::AtLeastOnce,
        _ => {
            return Err(FrameError::Unknown {
                what: "delivery",
                found,
            });
        }
    })
}

pub(crate) fn level(found: u8) -> Result<Level, FrameError> {
    Ok(match found {
        0 => Level::Error,
        1 => Level::Warn,
        2 => Level::Info,
        3 => Level::Debug,
        4 => Level::Trace,
        _ => {
            return Err(FrameError::Unknown {
                what: "log level",
                found,
            });
        }
    })
}

/// The part of `text` that fits a two-byte length, cut at a character.
#[inline]
pub(crate) fn short(text: &str) -> &str {
    if text.len() <= crate::MAX_TEXT {
        return text;
    }
    cut(text)
}

#[cold]
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(crate::MAX_TEXT))
        .unwrap_or("")
}

/// A two-byte length of a text that [`short`] has been over.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "`short` bounds it")]
pub(crate) fn text_len(text: &str) -> [u8; 2] {
    debug_assert!(text.len() <= crate::MAX_TEXT);
    (text.len() as u16).to_le_bytes()
}

/// A four-byte number.
#[inline]
pub(crate) fn u32_of(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes `value` over the four bytes at `at`, which the writer put there.
pub(crate) fn patch_u32(buf: &mut [u8], at: usize, value: usize) {
    if let Some(slot) = buf.get_mut(at..at + 4) {
        slot.copy_from_slice(&u32_of(value));
    }
}
