//! The first byte of every frame: what form its content has, and how it is compressed.

use bytes::{Buf, Bytes};
use phoenix_core::attributes::Format;

use super::Malformed;
use crate::formats::{Compression, Form};

/// Bytes the flags take.
pub(super) const BYTES: usize = 1;

/// Bytes of the length that a compressed frame says it has.
pub(super) const UNPACKED: usize = 4;

/// A frame in compact form.
pub(super) const COMPACT: u8 = 0;

const COMPRESSION: u8 = 0b11;
const FORM: u8 = 0b11 << 2;

/// The flags of a frame of that form, not compressed.
pub(super) fn of_form(form: Form) -> u8 {
    match form {
        Form::Compact => COMPACT,
        Form::Events(Format::MessagePack) => 1 << 2,
        Form::Events(Format::Protobuf) => 2 << 2,
        Form::Events(Format::Json) => 3 << 2,
    }
}

/// The same flags, compressed.
pub(super) fn compressed(flags: u8, compression: Compression) -> u8 {
    flags & !COMPRESSION
        | match compression {
            Compression::None => 0,
            Compression::Lz4 => 1,
            Compression::Zstd => 2,
        }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) form: Form,
    pub(super) compression: Compression,
    /// How long the content is once it is unpacked; `None` if it is not compressed.
    pub(super) unpacked: Option<usize>,
}

impl Flags {
    /// Takes the flags off a frame, and holds the length it says against `bound`.
    pub(super) fn read(frame: &mut Bytes, bound: usize) -> Result<Self, Malformed> {
        let flags = *frame.first().ok_or(Malformed::Short("its flags"))?;
        frame.advance(BYTES);
        let unknown = |what| Malformed::Unknown {
            what,
            found: flags.into(),
        };
        let compression = match flags & COMPRESSION {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            _ => return Err(unknown("a compression, in flags")),
        };
        let form = match (flags & FORM) >> 2 {
            0 => Form::Compact,
            1 => Form::Events(Format::MessagePack),
            2 => Form::Events(Format::Protobuf),
            _ => Form::Events(Format::Json),
        };
        if flags & !(COMPRESSION | FORM) != 0 {
            return Err(unknown("a meaning of flags"));
        }
        let unpacked = if compression == Compression::None {
            None
        } else {
            Some(unpacked(frame, bound)?)
        };
        Ok(Self {
            form,
            compression,
            unpacked,
        })
    }
}

fn unpacked(frame: &mut Bytes, bound: usize) -> Result<usize, Malformed> {
    let length = frame
        .first_chunk::<UNPACKED>()
        .ok_or(Malformed::Short("the length of what is compressed"))?;
    let found = u32::from_le_bytes(*length);
    frame.advance(UNPACKED);
    usize::try_from(found)
        .ok()
        .filter(|length| *length <= bound)
        .ok_or(Malformed::Unpacked { found, bound })
}
