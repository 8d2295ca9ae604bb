//! Reading an image that somebody else wrote.

use std::borrow::Cow;
use std::ops::Range;

use super::compress::{self, Dictionary, Form};
use super::{IMAGE_VERSION, PAGES_PER_WASM_PAGE};
use crate::instrument::INSTRUMENTATION_VERSION;
use crate::typed::{Kept, MAX_OPEN};

/// What an image may claim. Nothing larger is allocated.
#[derive(Clone, Copy, Debug)]
pub struct ImageLimits {
    /// Linear memory, bytes.
    pub memory_bytes: u64,
    /// Mutable globals the component has.
    pub globals: usize,
}

/// Why an image cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Written by another version of Phoenix.
    #[error("its {what} is version {found}, and this node reads {expected}")]
    Version {
        /// The format, or the instrumentation.
        what: &'static str,
        /// What the image says.
        found: u8,
        /// What this node reads.
        expected: u8,
    },
    /// It ends too early.
    #[error("it ends at byte {at}, within {what}")]
    Short {
        /// Where.
        at: usize,
        /// What was being read.
        what: &'static str,
    },
    /// A number is larger than it can be.
    #[error("{what} is {found}, and {limit} is the most there can be")]
    TooLarge {
        /// What the number is.
        what: &'static str,
        /// What the image says.
        found: u64,
        /// What it may be.
        limit: u64,
    },
    /// A number is not written in its shortest form, or is 0 where it cannot be.
    #[error("{what} is not written as it should be")]
    Form {
        /// What the number is.
        what: &'static str,
    },
    /// The compressed part does not decompress to what was announced.
    #[error("its compressed part is damaged: {0}")]
    Compressed(String),
    /// It was packed with a dictionary that is not at hand.
    #[error("it was packed with its kind's dictionary, and is read without it")]
    Dictionary,
    /// It is of a program of the node's, which does not take what was saved.
    #[error("what was saved is not what its program saves: {0}")]
    Program(String),
    /// Bytes are left at the end.
    #[error("{0} bytes are left at its end")]
    Trailing(usize),
}

/// A memory image, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// First half of the base image's hash.
    pub base: [u8; 16],
    /// Size of the memory, pages of 64 KiB.
    pub wasm_pages: u32,
    pub(crate) kept: Kept,
    /// Changed globals: index, and value XOR base value.
    pub globals: Vec<(usize, u64)>,
    /// Runs of changed pages of 4 KiB: first, and how many.
    pub runs: Vec<(u32, u32)>,
    /// Whether the changes need the kind's dictionary, and were left unread.
    pub packed: bool,
    changes: Cow<'a, [u8]>,
}

impl Image<'_> {
    /// The changed bytes: place among the changed pages, and bytes to XOR with the base's there.
    pub fn changes(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.places()
            .map(|(place, range)| (place, self.bytes(range)))
    }

    /// The same, by where the bytes are.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut cursor = Cursor::new(&self.changes);
        let mut at = 0;
        std::iter::from_fn(move || {
            let (skipped, bytes) = cursor.pair().ok()??;
            let place = at + skipped;
            at = place + bytes.len() as u64;
            Some((place, cursor.at - bytes.len()..cursor.at))
        })
    }

    /// Changed bytes that [`Image::places`] has told of.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.changes.get(range).unwrap_or_default()
    }
}

/// Reads an image and checks all of it.
///
/// What was packed with its kind's dictionary stays unread: only a component that
/// restores the image has it at hand. [`Image::packed`] says so.
pub fn decode<'a>(bytes: &'a [u8], limits: &ImageLimits) -> Result<Image<'a>, ImageError> {
    read(bytes, limits, &Packed::Left)
}

/// Reads an image and checks all of it.
pub(crate) fn decode_with<'a>(
    bytes: &'a [u8],
    limits: &ImageLimits,
    dictionary: Option<&Dictionary>,
) -> Result<Image<'a>, ImageError> {
    read(bytes, limits, &Packed::Read(dictionary))
}

/// What is done with changes that need a dictionary.
enum Packed<'d> {
    Left,
    Read(Option<&'d Dictionary>),
}

fn read<'a>(
    bytes: &'a [u8],
    limits: &ImageLimits,
    packed: &Packed<'_>,
) -> Result<Image<'a>, ImageError> {
    let mut cursor = Cursor::new(bytes);
    version("format", cursor.byte("version")?, IMAGE_VERSION)?;
    let found = cursor.byte("version")?;
    version("instrumentation", found, INSTRUMENTATION_VERSION)?;
    let base = cursor.array("base hash")?;
    let wasm_pages = cursor.bounded("memory size", limits.memory_bytes >> 16)?;
    let kept = kept(&mut cursor)?;
    let globals = globals(&mut cursor, limits.globals)?;
    let (runs, pages) = runs(&mut cursor, wasm_pages * PAGES_PER_WASM_PAGE)?;
    let changes = changes(&mut cursor, pages << 12, packed)?;
    Ok(Image {
        base,
        wasm_pages: u32::try_from(wasm_pages).unwrap_or(u32::MAX),
        kept,
        globals,
        runs,
        packed: changes.is_none(),
        changes: changes.unwrap_or_default(),
    })
}

pub(super) fn version(what: &'static str, found: u8, expected: u8) -> Result<(), ImageError> {
    if found == expected {
        Ok(())
    } else {
        Err(ImageError::Version {
            what,
            found,
            expected,
        })
    }
}

fn kept(cursor: &mut Cursor<'_>) -> Result<Kept, ImageError> {
    let pending = cursor.bounded("pending handlers", u64::from(u16::MAX))?;
    let count = cursor.bounded("open requests", MAX_OPEN as u64)?;
    if count > cursor.left() as u64 {
        return Err(ImageError::Short {
            at: cursor.bytes.len(),
            what: "open requests",
        });
    }
    let mut open = Vec::new();
    let mut last = 0u64;
    for nth in 0..count {
        let step = cursor.varint("an open request")?;
        let next = last.checked_add(step);
        let (Some(request), true) = (next, step > 0 || nth == 0) else {
            return Err(ImageError::Form {
                what: "an open request",
            });
        };
        open.push(request);
        last = request;
    }
    Ok(Kept {
        pending: u16::try_from(pending).unwrap_or(u16::MAX),
        open,
    })
}

fn globals(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(usize, u64)>, ImageError> {
    let changed = cursor.count("changed globals", count as u64)?;
    let mut globals = Vec::with_capacity(changed);
    let mut next = 0;
    for _ in 0..changed {
        let left = (count as u64).saturating_sub(next + 1);
        let index = next + cursor.bounded("a global's place", left)?;
        let value = cursor.varint("a global")?;
        if value == 0 {
            return Err(ImageError::Form { what: "a global" });
        }
        globals.push((usize::try_from(index).unwrap_or(usize::MAX), value));
        next = index + 1;
    }
    Ok(globals)
}

/// The runs, and how many pages they have together.
fn runs(cursor: &mut Cursor<'_>, pages: u64) -> Result<(Vec<(u32, u32)>, u64), ImageError> {
    let number = cursor.count("runs of pages", pages)?;
    let mut runs = Vec::with_capacity(number);
    let (mut end, mut total) = (0, 0);
    for nth in 0..number {
        let skipped = cursor.bounded("skipped pages", pages - end)?;
        let count = cursor.bounded("pages of a run", pages - end - skipped)?;
        if count == 0 || (skipped == 0 && nth > 0) {
            return Err(ImageError::Form {
                what: "a run of pages",
            });
        }
        let first = end + skipped;
        runs.push((
            u32::try_from(first).unwrap_or(u32::MAX),
            u32::try_from(count).unwrap_or(u32::MAX),
        ));
        end = first + count;
        total += count;
    }
    Ok((runs, total))
}

/// The rest of the image: pairs that stay within `room` bytes.
fn changes<'a>(
    cursor: &mut Cursor<'a>,
    room: u64,
    packed: &Packed<'_>,
) -> Result<Option<Cow<'a, [u8]>>, ImageError> {
    let announced = cursor.varint("length of the changes")?;
    // A pair takes more bytes than it stands for only if it is at the very
    // beginning; a little more room is given than any encoder needs.
    let limit = room.saturating_add(64);
    let length = announced >> 2;
    if length > limit {
        return Err(ImageError::TooLarge {
            what: "length of the changes",
            found: length,
            limit,
        });
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let rest = cursor.rest();
    let form = announced & 3;
    let changes: Cow<'a, [u8]> = if form == Form::Packed as u64 {
        Cow::Owned(compress::unpack(rest, length, None)?)
    } else if form == Form::WithDictionary as u64 {
        let Packed::Read(dictionary) = packed else {
            return Ok(None);
        };
        let dictionary = dictionary.ok_or(ImageError::Dictionary)?;
        Cow::Owned(compress::unpack(rest, length, Some(dictionary))?)
    } else if form != Form::Plain as u64 {
        return Err(ImageError::Form {
            what: "the form of the changes",
        });
    } else if rest.len() == length {
        Cow::Borrowed(rest)
    } else if rest.len() > length {
        return Err(ImageError::Trailing(rest.len() - length));
    } else {
        return Err(ImageError::Short {
            at: cursor.at,
            what: "the changes",
        });
    };
    let mut pairs = Cursor::new(&changes);
    let mut left = room;
    while let Some((skipped, bytes)) = pairs.pair()? {
        let taken = skipped.saturating_add(bytes.len() as u64);
        left = left.checked_sub(taken).ok_or(ImageError::TooLarge {
            what: "reach of the changes",
            found: taken,
            limit: left,
        })?;
    }
    Ok(Some(changes))
}

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, ImageError> {
        let byte = self
            .bytes
            .get(self.at)
            .copied()
            .ok_or(ImageError::Short { at: self.at, what })?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], ImageError> {
        let found = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or(ImageError::Short { at: self.at, what })?;
        self.at += N;
        Ok(found)
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, ImageError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(ImageError::Form { what })
    }

    fn bounded(&mut self, what: &'static str, limit: u64) -> Result<u64, ImageError> {
        let found = self.varint(what)?;
        if found > limit {
            return Err(ImageError::TooLarge { what, found, limit });
        }
        Ok(found)
    }

    /// A number of records of at least two bytes each: no more than there are bytes for.
    fn count(&mut self, what: &'static str, limit: u64) -> Result<usize, ImageError> {
        let count = self.bounded(what, limit)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.left() / 2 {
            return Err(ImageError::Short {
                at: self.bytes.len(),
                what,
            });
        }
        Ok(count)
    }

    fn pair(&mut self) -> Result<Option<(u64, &'a [u8])>, ImageError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let skipped = self.varint("a change")?;
        let length = self.varint("a change")?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length))
            .filter(|end| length > 0 && *end <= self.bytes.len())
            .ok_or(ImageError::Short {
                at: self.bytes.len(),
                what: "a change",
            })?;
        let bytes = self.bytes.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(Some((skipped, bytes)))
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }
}
