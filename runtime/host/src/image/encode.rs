//! Writing an image.

use super::IMAGE_VERSION;
use super::compress::{self, Form};
use crate::base::BaseImage;
use crate::instrument::INSTRUMENTATION_VERSION;
use crate::pages::PAGE;
use crate::typed::Kept;

/// Fewer zeros than this within changed bytes are written out: a new pair costs as much.
const MIN_GAP: u64 = 4;

/// Bytes compared at a time.
const CHUNK: usize = 64;

/// Collects the changed pages of one image. Reusable.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    runs: Vec<(usize, usize)>,
    changes: Vec<u8>,
    /// Bytes of the pair being collected.
    literal: Vec<u8>,
    /// Zeros before it.
    skipped: u64,
    /// Zeros since its last byte.
    zeros: u64,
}

impl Encoder {
    /// Forgets what was collected; its room is kept.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.changes.clear();
        self.literal.clear();
        self.skipped = 0;
        self.zeros = 0;
    }

    /// Makes room for so many pages, should all of them have changed.
    pub(crate) fn expect(&mut self, pages: usize) {
        self.literal.reserve(pages * PAGE);
        self.changes.reserve(pages * PAGE);
    }

    /// Bytes of the room it keeps.
    pub(crate) fn room(&self) -> usize {
        self.runs.capacity() * size_of::<(usize, usize)>()
            + self.changes.capacity()
            + self.literal.capacity()
    }

    /// Adds a page that differs from `base`. Pages come in ascending order.
    pub(crate) fn page(&mut self, index: usize, now: &[u8; PAGE], base: &[u8; PAGE]) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == index => *count += 1,
            _ => self.runs.push((index, 1)),
        }
        let (now, _) = now.as_chunks::<CHUNK>();
        let (base, _) = base.as_chunks::<CHUNK>();
        for (now, base) in now.iter().zip(base) {
            let mut change = [0; CHUNK];
            for (change, (now, base)) in change.iter_mut().zip(now.iter().zip(base)) {
                *change = now ^ base;
            }
            self.chunk(&change);
        }
    }

    fn chunk(&mut self, change: &[u8; CHUNK]) {
        let zeros = change
            .iter()
            .fold(0, |sum, byte| sum + u8::from(*byte == 0));
        if usize::from(zeros) == CHUNK {
            self.zeros += CHUNK as u64;
        } else if zeros == 0 && self.zeros == 0 {
            self.literal.extend_from_slice(change);
        } else {
            let (words, _) = change.as_chunks::<8>();
            for word in words {
                self.word(*word);
            }
        }
    }

    fn word(&mut self, bytes: [u8; 8]) {
        if bytes == [0; 8] {
            self.zeros += 8;
            return;
        }
        if self.zeros == 0 && !bytes.contains(&0) {
            self.literal.extend_from_slice(&bytes);
            return;
        }
        for byte in bytes {
            if byte == 0 {
                self.zeros += 1;
                continue;
            }
            if self.literal.is_empty() || self.zeros >= MIN_GAP {
                self.pair();
                self.skipped = self.zeros;
            } else {
                let zeros = usize::try_from(self.zeros).unwrap_or(0);
                self.literal.resize(self.literal.len() + zeros, 0);
            }
            self.zeros = 0;
            self.literal.push(byte);
        }
    }

    fn pair(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        varint(&mut self.changes, self.skipped);
        varint(&mut self.changes, self.literal.len() as u64);
        self.changes.append(&mut self.literal);
    }

    /// Appends the image to `out`.
    pub(crate) fn finish(
        &mut self,
        out: &mut Vec<u8>,
        base: &BaseImage,
        wasm_pages: u32,
        kept: &Kept,
        globals: &[u64],
    ) {
        self.pair();
        out.extend_from_slice(&[IMAGE_VERSION, INSTRUMENTATION_VERSION]);
        out.extend_from_slice(&crate::error::short(&base.hash));
        varint(out, u64::from(wasm_pages));
        varint(out, u64::from(kept.pending));
        varint(out, kept.open.len() as u64);
        let mut last = 0;
        for request in &kept.open {
            varint(out, request - last);
            last = *request;
        }
        changed_globals(out, globals, &base.globals);
        varint(out, self.runs.len() as u64);
        let mut end = 0;
        for (first, count) in &self.runs {
            varint(out, (first - end) as u64);
            varint(out, *count as u64);
            end = first + count;
        }
        let packed = compress::pack(&self.changes, base.dictionary.as_ref());
        let (form, bytes) = match &packed {
            Some((form, packed)) => (*form, packed.as_slice()),
            None => (Form::Plain, self.changes.as_slice()),
        };
        varint(out, ((self.changes.len() as u64) << 2) | form as u64);
        out.extend_from_slice(bytes);
    }

    /// The changes collected so far, for a dictionary.
    pub(crate) fn take_changes(&mut self) -> Vec<u8> {
        self.pair();
        std::mem::take(&mut self.changes)
    }
}

fn changed_globals(out: &mut Vec<u8>, now: &[u64], base: &[u64]) {
    let changed = || {
        now.iter()
            .zip(base)
            .enumerate()
            .filter(|(_, (now, base))| now != base)
    };
    varint(out, changed().count() as u64);
    let mut next = 0;
    for (index, (now, base)) in changed() {
        varint(out, (index - next) as u64);
        varint(out, now ^ base);
        next = index + 1;
    }
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}
