//! The image of an agent whose program is part of the node.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format, now 1 |
//! | 16 | first half of the digest of the program's kind and version |
//! | … | bytes that the program saved, times 4, plus: 0 as they are, 1 zstd |
//! | … | those bytes, to the end |

use std::borrow::Cow;

use super::compress::{self, Form};
use super::decode::{Cursor, version};
use super::encode::varint;
use super::{IMAGE_VERSION, ImageError};
use crate::error::{RestoreError, hex};

/// How much longer than in its image what was saved may be at most: what packs better
/// than that is not packed, so that a short image never takes much memory to read.
const MOST_PACKED: u64 = 256;

/// Appends the image of what a program of the kind `of` has saved.
pub(crate) fn write(out: &mut Vec<u8>, of: &[u8; 16], saved: &[u8]) {
    out.push(IMAGE_VERSION);
    out.extend_from_slice(of);
    let packed = compress::pack(saved, None)
        .filter(|(_, packed)| saved.len() as u64 <= packed.len() as u64 * MOST_PACKED);
    let (form, bytes) = match &packed {
        Some((form, packed)) => (*form, packed.as_slice()),
        None => (Form::Plain, saved),
    };
    varint(out, ((saved.len() as u64) << 2) | form as u64);
    out.extend_from_slice(bytes);
}

/// What was saved by a program of the kind `expected`, at most `limit` bytes of it.
pub(crate) fn read<'a>(
    image: &'a [u8],
    expected: &[u8; 16],
    limit: u64,
) -> Result<Cow<'a, [u8]>, RestoreError> {
    let mut cursor = Cursor::new(image);
    version("format", cursor.byte("version")?, IMAGE_VERSION)?;
    let of: [u8; 16] = cursor.array("kind")?;
    if of != *expected {
        return Err(RestoreError::Base {
            found: hex(&of),
            expected: hex(expected),
        });
    }
    let head = cursor.varint("length")?;
    let bytes = cursor.rest();
    let (needed, most) = (head >> 2, bytes.len() as u64 * MOST_PACKED);
    if needed > most {
        return Err(ImageError::TooLarge {
            what: "length",
            found: needed,
            limit: most,
        }
        .into());
    }
    if needed > limit {
        return Err(RestoreError::Memory { needed, limit });
    }
    let length = usize::try_from(needed).unwrap_or(usize::MAX);
    if head & 3 == Form::Packed as u64 {
        return Ok(Cow::Owned(compress::unpack(bytes, length, None)?));
    }
    if head & 3 != Form::Plain as u64 {
        let what = "the form of what was saved";
        return Err(ImageError::Form { what }.into());
    }
    match bytes.len().checked_sub(length) {
        Some(0) => Ok(Cow::Borrowed(bytes)),
        Some(left) => Err(ImageError::Trailing(left).into()),
        None => {
            let (at, what) = (image.len(), "what was saved");
            Err(ImageError::Short { at, what }.into())
        }
    }
}
