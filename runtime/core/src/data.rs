//! Bytes that travel with messages.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use phoenix_wit::short;

/// Bytes of a word.
const WORD: usize = 8;
/// Words that are kept in place.
const WORDS: usize = 4;
/// Bytes that are kept in place, at most.
const FEW: usize = WORD * WORDS;

/// Bytes, cheap to clone: a few are kept in place, more are shared.
///
/// Most messages carry a handful of bytes. Kept in place they cost no allocation
/// and no reference count, and they keep nothing else alive: a small payload of
/// a large frame does not hold the frame.
#[derive(Clone)]
pub struct Data(Form);

#[derive(Clone)]
enum Form {
    Few { len: u8, words: Words },
    Many(Bytes),
}

/// Bytes in words, which travel in registers: bytes that are copied one way and
/// moved on in another soon after make a processor wait for its own stores.
#[derive(Clone)]
#[repr(align(8))]
struct Words([[u8; WORD]; WORDS]);

impl Data {
    /// No bytes.
    pub const EMPTY: Self = Self(Form::Few {
        len: 0,
        words: Words([[0; WORD]; WORDS]),
    });

    /// The bytes, if they are few enough to be kept in place.
    #[inline(always)]
    pub fn in_place(slice: &[u8]) -> Option<Self> {
        let len = u8::try_from(slice.len()).ok()?;
        if slice.len() > FEW {
            return None;
        }
        let word = |at: usize| short::word(slice.get(WORD * at..).unwrap_or_default());
        let words = Words([word(0), word(1), word(2), word(3)]);
        Some(Self(Form::Few { len, words }))
    }

    /// The bytes in the other form: copied if they are few, else shared.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Form::Few { .. } => Bytes::copy_from_slice(self),
            Form::Many(bytes) => bytes.clone(),
        }
    }
}

impl Deref for Data {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Few { len, words } => {
                let bytes = words.0.as_flattened();
                bytes.get(..usize::from(*len)).unwrap_or_default()
            }
            Form::Many(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Self::in_place(&bytes).unwrap_or(Self(Form::Many(bytes)))
    }
}

impl From<&[u8]> for Data {
    fn from(slice: &[u8]) -> Self {
        Self::in_place(slice).unwrap_or_else(|| Self(Form::Many(Bytes::copy_from_slice(slice))))
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Data {}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_are_what_they_were() {
        for len in (0..=FEW + 1).chain([1_000]) {
            let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let forms = [
                Data::from(&*bytes),
                Data::from(bytes.clone()),
                Data::from(Bytes::from(bytes.clone())),
            ];
            for data in forms {
                assert_eq!(*data, *bytes);
                assert_eq!(data.to_bytes(), bytes);
                assert_eq!(data, data.clone());
            }
        }
        assert_ne!(Data::from(&b"a"[..]), Data::from(&b"b"[..]));
    }

    #[test]
    fn a_few_bytes_keep_no_frame_alive() {
        let frame = Bytes::from(vec![7; 100_000]);
        let few = Data::from(frame.slice(..FEW));
        let many = Data::from(frame.slice(..FEW + 1));
        assert!(matches!(few.0, Form::Few { .. }));
        assert_eq!(many.to_bytes().as_ptr(), frame.as_ptr());
    }
}
