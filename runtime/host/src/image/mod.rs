//! The format of a memory image: what of an agent differs from its base.
//!
//! An image is canonical: the same memory gives the same bytes, on every node
//! and however changed pages were found. All numbers are LEB128 varints unless
//! a width is given.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format, now 1 |
//! | 1 | version of the instrumentation |
//! | 16 | first half of the base image's hash |
//! | … | size of the memory, pages of 64 KiB |
//! | … | handlers pending in a typed agent |
//! | … | number of its open requests, then for each: how much greater its number is than the last |
//! | … | number of changed globals, then for each: globals skipped, value XOR base value |
//! | … | number of runs of changed pages (4 KiB), then for each: pages skipped, pages in the run |
//! | … | bytes of the changes, times 4, plus: 0 as they are, 1 zstd, 2 zstd with the kind's dictionary |
//! | … | the changes, to the end |
//!
//! The *changes* are the changed pages, one after the other, each XORed with its
//! page of the base, as pairs: zero bytes skipped, bytes that follow, those
//! bytes. Zeros at the end are left out.
//!
//! The *dictionary* is the changes of an agent that has done nothing but
//! describe itself: what all agents of a kind have in common, such as a fresh
//! allocator, then costs a sleeping one next to nothing.

mod compress;
mod decode;
mod encode;
pub(crate) mod saved;

pub(crate) use compress::Dictionary;
pub(crate) use decode::decode_with;
pub use decode::{Image, ImageError, ImageLimits, decode};
pub(crate) use encode::Encoder;

/// Version of the format that this host writes, and the only one it reads.
pub const IMAGE_VERSION: u8 = 1;

/// 4-KiB pages in a Wasm page.
const PAGES_PER_WASM_PAGE: u64 = 16;

#[cfg(test)]
mod tests;
