//! Several receivers of one message.

use crate::wire::{self, Bytes, FrameError};

/// Bytes of the count before a list.
const COUNT: usize = 4;

/// Bytes of a receiver's length before it.
const LENGTH: usize = 2;

/// Whom a message is for that has several receivers, as they stand in a frame. Cheap to
/// copy; made by a [`ReceiverList`] or a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Receivers<'a>(
    /// How many they are, and then each behind its length: in one piece, because effects
    /// are many and each is as large as the largest.
    &'a [u8],
);

/// Puts receivers together. One list may be used for many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverList {
    count: u32,
    /// See [`Receivers`].
    bytes: Vec<u8>,
}

impl<'a> Receivers<'a> {
    /// Nobody.
    pub const NONE: Receivers<'static> = Receivers(&[0; COUNT]);

    /// How many they are.
    pub fn len(&self) -> usize {
        let count = self.0.first_chunk::<COUNT>();
        count.map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each of them, `kind/key`, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = Bytes::new(self.0.get(COUNT..).unwrap_or_default());
        std::iter::from_fn(move || next(&mut rest).ok())
    }

    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Takes a list that is as long as its count says.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut rest = Bytes::new(bytes);
        for _ in 0..rest.u32("receiver count")? {
            next(&mut rest)?;
        }
        rest.end("the receivers")?;
        Ok(Self(bytes))
    }
}

#[inline]
fn next<'a>(rest: &mut Bytes<'a>) -> Result<&'a str, FrameError> {
    let length = rest.u16("receiver's length")?;
    rest.text(length, "receiver")
}

impl std::fmt::Debug for Receivers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for ReceiverList {
    fn default() -> Self {
        Self {
            count: 0,
            bytes: vec![0; COUNT],
        }
    }
}

impl<T: AsRef<str>> FromIterator<T> for ReceiverList {
    fn from_iter<I: IntoIterator<Item = T>>(receivers: I) -> Self {
        let mut list = Self::new();
        for to in receivers {
            list.push(to.as_ref());
        }
        list
    }
}

impl ReceiverList {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `to`, `kind/key`; at most [`crate::MAX_TEXT`] bytes, longer is cut.
    pub fn push(&mut self, to: &str) {
        let to = wire::short(to);
        self.bytes.reserve(LENGTH + to.len());
        self.bytes.extend_from_slice(&wire::text_len(to));
        self.bytes.extend_from_slice(to.as_bytes());
        self.count += 1;
        wire::patch_u32(&mut self.bytes, 0, self.count as usize);
    }

    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.truncate(COUNT);
        wire::patch_u32(&mut self.bytes, 0, 0);
    }

    /// Bytes they take in a frame.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Those that were added.
    pub fn receivers(&self) -> Receivers<'_> {
        Receivers(&self.bytes)
    }
}
