//! zstd, with and without a dictionary.

use std::cell::RefCell;

use zstd::zstd_safe::{self, CCtx, CDict, DCtx, DDict};

use super::ImageError;

/// Level of compression: the quickest, since agents fall asleep often.
const LEVEL: i32 = 1;

/// Changes shorter than this are not worth packing without a dictionary, bytes.
const PACK_FROM: usize = 256;

/// Changes shorter than this are not worth packing with one.
const PACK_WITH_DICTIONARY_FROM: usize = 64;

/// Of more changes than this a sample is packed first, bytes.
const SAMPLE_FROM: usize = 16 << 10;

/// Stretches that a sample is made of, evenly spread, and how long each is, bytes.
const SAMPLE_STRETCHES: usize = 8;
const SAMPLE_STRETCH: usize = 1 << 10;

/// A sample that packing makes no smaller than this, of a hundred, is of changes
/// that are not worth it: encrypted, random or packed before.
const SAMPLE_PERCENT: usize = 98;

/// Longest dictionary, bytes. Of more than that the end is not used.
const MAX_DICTIONARY: usize = 64 << 10;

/// How an image's changes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain = 0,
    Packed = 1,
    WithDictionary = 2,
}

/// Bytes that images of a kind have in common, ready for both directions.
pub(crate) struct Dictionary {
    packing: CDict<'static>,
    unpacking: DDict<'static>,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").finish_non_exhaustive()
    }
}

impl Dictionary {
    /// `None` if there is too little in common to be worth it.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..bytes.len().min(MAX_DICTIONARY))?;
        if bytes.len() < PACK_WITH_DICTIONARY_FROM {
            return None;
        }
        Some(Self {
            packing: CDict::try_create(bytes, LEVEL)?,
            unpacking: DDict::try_create(bytes)?,
        })
    }
}

thread_local! {
    static PACKER: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// The changes packed, if that makes them shorter.
pub(super) fn pack(changes: &[u8], dictionary: Option<&Dictionary>) -> Option<(Form, Vec<u8>)> {
    let least = match dictionary {
        Some(_) => PACK_WITH_DICTIONARY_FROM,
        None => PACK_FROM,
    };
    if changes.len() < least {
        return None;
    }
    if changes.len() > SAMPLE_FROM {
        let sample = sample(changes);
        let (_, packed) = pack_whole(&sample, None)?;
        if packed.len() * 100 >= sample.len() * SAMPLE_PERCENT {
            return None;
        }
    }
    let (form, out) = pack_whole(changes, dictionary)?;
    (out.len() < changes.len()).then_some((form, out))
}

/// A few stretches of the changes. Which ones depends on their length alone: the
/// same changes are packed, or not, on every node.
fn sample(changes: &[u8]) -> Vec<u8> {
    let apart = changes.len() / SAMPLE_STRETCHES;
    let stretches = changes.chunks_exact(apart).take(SAMPLE_STRETCHES);
    let mut sample = Vec::with_capacity(SAMPLE_STRETCHES * SAMPLE_STRETCH);
    for stretch in stretches {
        sample.extend(stretch.iter().take(SAMPLE_STRETCH));
    }
    sample
}

fn pack_whole(bytes: &[u8], dictionary: Option<&Dictionary>) -> Option<(Form, Vec<u8>)> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    let form = PACKER.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = CCtx::try_create();
        }
        let context = slot.as_mut()?;
        match dictionary {
            Some(dictionary) => context
                .compress_using_cdict(&mut out, bytes, &dictionary.packing)
                .ok()
                .map(|_| Form::WithDictionary),
            None => context
                .compress(&mut out, bytes, LEVEL)
                .ok()
                .map(|_| Form::Packed),
        }
    })?;
    Some((form, out))
}

/// Unpacks changes that were announced to have `length` bytes, and not more than that.
pub(super) fn unpack(
    bytes: &[u8],
    length: usize,
    dictionary: Option<&Dictionary>,
) -> Result<Vec<u8>, ImageError> {
    let mut out = Vec::with_capacity(length);
    let result = UNPACKER.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = DCtx::try_create();
        }
        let context = slot
            .as_mut()
            .ok_or_else(|| ImageError::Compressed("there is no memory to unpack it".to_owned()))?;
        match dictionary {
            Some(dictionary) => {
                context.decompress_using_ddict(&mut out, bytes, &dictionary.unpacking)
            }
            None => context.decompress(&mut out, bytes),
        }
        .map_err(|code| ImageError::Compressed(zstd_safe::get_error_name(code).to_owned()))
    });
    result?;
    if out.len() == length {
        Ok(out)
    } else {
        Err(ImageError::Compressed(format!(
            "{} bytes where {length} were announced",
            out.len()
        )))
    }
}
