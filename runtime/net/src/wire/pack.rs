//! Compression of frames.
//!
//! A frame is compressed where that is agreed with its reader, the frame is
//! larger than [`Packing::from`] and comes out at least an eighth smaller. The
//! reader knows the length it will have before it makes room for any of it,
//! refuses one over its bound, and makes room only as bytes come out: a few
//! bytes that claim to be many megabytes cost what they really are.

use std::fmt;

use bytes::Bytes;
use zstd::stream::raw::{
    CParameter, DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer,
};

use super::Malformed;
use crate::formats::{Compression, Form};

/// How a peer is written to, once it is agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// How agents' messages are written. Default compact.
    pub form: Form,
    /// How large frames are compressed. Default not at all.
    pub compression: Compression,
    /// Frames from this size on, in bytes, are compressed. Default 4 KiB: below
    /// it a packet is saved seldom.
    pub from: usize,
}

impl Packing {
    /// The default of [`Packing::from`], bytes.
    pub const FROM: usize = 4 << 10;
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            form: Form::Compact,
            compression: Compression::None,
            from: Self::FROM,
        }
    }
}

/// A compressed frame is worth it if it saves this part of its bytes.
const WORTH: usize = 8;

/// Zstandard's fastest level of those that find most of what there is to find in messages.
const ZSTD_LEVEL: i32 = 1;

/// Bytes of history that Zstandard looks back on, as a power of two: 1 MiB, which
/// is what a reader has to keep beside the frame itself.
const ZSTD_WINDOW: u32 = 20;

/// Room made for a frame before any of it has come out, bytes.
const FIRST_ROOM: usize = 64 << 10;

/// The most that LZ4 makes of one byte.
const LZ4_MOST: usize = 255;

/// Compresses frames for one reader. Keeps its tables and its room.
#[derive(Default)]
pub(super) struct Packer {
    compression: Compression,
    from: usize,
    /// What was compressed last.
    packed: Vec<u8>,
    lz4: Option<lz4_flex::block::CompressTable>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Packer {
    pub(super) fn new(packing: &Packing) -> Self {
        Self {
            compression: packing.compression,
            from: packing.from,
            ..Self::default()
        }
    }

    /// Whether a frame of so many bytes is to be tried.
    pub(super) fn wants(&self, bytes: usize) -> bool {
        self.compression != Compression::None && bytes >= self.from
    }

    /// `bytes` compressed, and how, if that saves enough.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> Option<(Compression, &[u8])> {
        // Less room than there is at the worst: what does not fit is not worth it.
        let most = bytes.len() - bytes.len() / WORTH;
        let length = match self.compression {
            Compression::None => return None,
            Compression::Lz4 => self.lz4(bytes)?,
            Compression::Zstd => self.zstd(bytes)?,
        };
        let packed = self.packed.get(..length)?;
        (length <= most).then_some((self.compression, packed))
    }

    fn lz4(&mut self, bytes: &[u8]) -> Option<usize> {
        let most = lz4_flex::block::get_maximum_output_size(bytes.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let table = self.lz4.get_or_insert_default();
        lz4_flex::block::compress_into_with_table(bytes, &mut self.packed, table).ok()
    }

    fn zstd(&mut self, bytes: &[u8]) -> Option<usize> {
        let compressor = match &mut self.zstd {
            Some(compressor) => compressor,
            none => none.insert(zstd_compressor()?),
        };
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        compressor.compress_to_buffer(bytes, &mut self.packed).ok()
    }
}

fn zstd_compressor() -> Option<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok()?;
    compressor
        .set_parameter(CParameter::WindowLog(ZSTD_WINDOW))
        .ok()?;
    Some(compressor)
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer")
            .field("compression", &self.compression)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Undoes compression for one writer. Keeps what Zstandard needs.
#[derive(Default)]
pub(super) struct Unpacker {
    zstd: Option<ZstdDecoder<'static>>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// What `packed` was, which is `length` bytes; the caller has held that
    /// against its bound.
    pub(super) fn unpack(
        &mut self,
        compression: Compression,
        packed: Bytes,
        length: usize,
    ) -> Result<Bytes, Malformed> {
        match compression {
            Compression::None => Ok(packed),
            Compression::Lz4 => unpack_lz4(&packed, length).map(Bytes::from),
            Compression::Zstd => self.unpack_zstd(&packed, length).map(Bytes::from),
        }
    }

    fn unpack_zstd(&mut self, packed: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
        let no_zstd = |_| Malformed::Packed("it is no zstd");
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => {
                let mut decoder = ZstdDecoder::new().map_err(no_zstd)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
                    .map_err(no_zstd)?;
                none.insert(decoder)
            }
        };
        decoder.reinit().map_err(no_zstd)?;
        let mut unpacked = Vec::with_capacity(length.min(FIRST_ROOM));
        let mut input = InBuffer::around(packed);
        loop {
            let (read, written) = (input.pos(), unpacked.len());
            let mut output = OutBuffer::around_pos(&mut unpacked, written);
            let left = decoder.run(&mut input, &mut output).map_err(no_zstd)?;
            if left == 0 {
                break;
            }
            let written_now = unpacked.len() - written;
            if unpacked.len() == unpacked.capacity() && unpacked.len() < length {
                // Twice as much, but never more than it is to be.
                let more = unpacked.len().min(length - unpacked.len());
                unpacked.reserve_exact(more);
            } else if input.pos() == read && written_now == 0 {
                return Err(Malformed::Packed("it does not end where it says"));
            }
        }
        if unpacked.len() == length && input.pos() == packed.len() {
            Ok(unpacked)
        } else {
            Err(Malformed::Packed("it is not as long as it says"))
        }
    }
}

fn unpack_lz4(packed: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    if length > packed.len().saturating_mul(LZ4_MOST) {
        return Err(Malformed::Packed("lz4 makes no more than 255 bytes of one"));
    }
    let mut unpacked = vec![0; length];
    match lz4_flex::block::decompress_into(packed, &mut unpacked) {
        Ok(written) if written == length => Ok(unpacked),
        Ok(_) => Err(Malformed::Packed("it is not as long as it says")),
        Err(_) => Err(Malformed::Packed("it is no lz4")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(compression: Compression, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut packer = Packer::new(&Packing {
            compression,
            ..Packing::default()
        });
        packer.pack(bytes).map(|(_, packed)| packed.to_vec())
    }

    fn unpack(compression: Compression, packed: &[u8], length: usize) -> Result<Bytes, Malformed> {
        Unpacker::default().unpack(compression, Bytes::copy_from_slice(packed), length)
    }

    const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

    #[test]
    fn what_is_packed_is_unpacked_by_tables_used_before() {
        for compression in BOTH {
            let packing = Packing {
                compression,
                ..Packing::default()
            };
            let (mut packer, mut unpacker) = (Packer::new(&packing), Unpacker::default());
            for length in [5_000, 60_000, 70_000, 3 << 20, 4_096] {
                let bytes: Vec<u8> = (0..length).map(|at: usize| (at / 7 % 50) as u8).collect();
                let (how, packed) = packer.pack(&bytes).unwrap();
                assert_eq!(how, compression);
                let packed = Bytes::copy_from_slice(packed);
                let again = unpacker.unpack(how, packed, bytes.len()).unwrap();
                assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn noise_is_left_as_it_is() {
        // A multiplicative generator's high bytes.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(20_000)
        .collect();
        for compression in BOTH {
            assert_eq!(packed(compression, &noise), None);
        }
    }

    #[test]
    fn a_length_that_is_not_true_is_refused() {
        let bytes = vec![7; 300_000];
        for compression in BOTH {
            let packed = packed(compression, &bytes).unwrap();
            unpack(compression, &packed, bytes.len()).unwrap();
            for wrong in [1, bytes.len() - 1, bytes.len() + 1, 16 << 20] {
                unpack(compression, &packed, wrong).unwrap_err();
            }
            unpack(compression, &packed[..packed.len() - 1], bytes.len()).unwrap_err();
            let longer = [&packed[..], &[0]].concat();
            unpack(compression, &longer, bytes.len()).unwrap_err();
            unpack(compression, &[], 1).unwrap_err();
            unpack(compression, b"what is neither", 16).unwrap_err();
        }
    }

    #[test]
    fn a_window_larger_than_ours_is_refused() {
        // 64 MiB of history: the reader would have to keep as much.
        let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
        compressor.set_parameter(CParameter::WindowLog(26)).unwrap();
        let bytes = vec![7; (1 << 20) + 1];
        let packed = compressor.compress(&bytes).unwrap();
        let refused = unpack(Compression::Zstd, &packed, bytes.len());
        assert_eq!(refused, Err(Malformed::Packed("it is no zstd")));
    }
}
