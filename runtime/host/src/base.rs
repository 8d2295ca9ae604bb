//! The memory every instance of a component begins with.

use phoenix_core::Digest;

use crate::image::Dictionary;
use crate::pages::PAGE;

/// The base image: memory and globals after instantiation, `_initialize` and
/// `start` included. The same on every node, since host imports are fixed by
/// the component's digest until the first turn.
///
/// Pages of zeros, most of them as a rule, are not stored.
#[derive(Debug)]
pub(crate) struct BaseImage {
    /// Size of the memory, in Wasm pages of 64 KiB.
    pub(crate) wasm_pages: u32,
    /// Every mutable global, as bits, in the order of the instrumentation.
    pub(crate) globals: Vec<u64>,
    /// For each 4-KiB page, one more than its place in `stored`; 0 is a page of zeros.
    index: Vec<u32>,
    stored: Vec<[u8; PAGE]>,
    /// What changes in every agent that begins, as the image of one that has
    /// described itself has it.
    pub(crate) dictionary: Option<Dictionary>,
    /// Over all of it; travels with snapshots.
    pub(crate) hash: Digest,
}

static ZEROS: [u8; PAGE] = [0; PAGE];

impl BaseImage {
    /// The page with this index; past the base's end, zeros.
    #[inline]
    pub(crate) fn page(&self, index: usize) -> &[u8; PAGE] {
        match self.index.get(index) {
            Some(place) if *place > 0 => self.stored.get(*place as usize - 1).unwrap_or(&ZEROS),
            _ => &ZEROS,
        }
    }

    /// Whether the page with this index is zeros.
    pub(crate) fn is_zeros(&self, index: usize) -> bool {
        self.index.get(index).is_none_or(|place| *place == 0)
    }

    /// The base with these changes as the dictionary of its images.
    pub(crate) fn with_dictionary(mut self, changes: &[u8]) -> Self {
        if let Some(dictionary) = Dictionary::new(changes) {
            let mut hasher = blake3::Hasher::new_derive_key("phoenix 2025 base and dictionary");
            hasher.update(&self.hash.0);
            hasher.update(changes);
            self.hash = Digest(*hasher.finalize().as_bytes());
            self.dictionary = Some(dictionary);
        }
        self
    }
}

/// Reads a base image out of a fresh instance.
#[derive(Debug, Default)]
pub(crate) struct BaseBuilder {
    index: Vec<u32>,
    stored: Vec<[u8; PAGE]>,
}

impl BaseBuilder {
    /// Takes the next stretch of memory, whole pages.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (pages, _) = bytes.as_chunks::<PAGE>();
        for page in pages {
            if *page == ZEROS {
                self.index.push(0);
            } else {
                self.stored.push(*page);
                self.index
                    .push(u32::try_from(self.stored.len()).unwrap_or(0));
            }
        }
    }

    /// The image.
    pub(crate) fn finish(self, globals: Vec<u64>) -> BaseImage {
        let wasm_pages = u32::try_from(self.index.len() / 16).unwrap_or(u32::MAX);
        let mut hasher = blake3::Hasher::new_derive_key("phoenix 2025 base image");
        hasher.update(&wasm_pages.to_le_bytes());
        hasher.update(&(globals.len() as u64).to_le_bytes());
        for global in &globals {
            hasher.update(&global.to_le_bytes());
        }
        let stored = (0u32..).zip(&self.index).filter(|(_, place)| **place > 0);
        for ((page, _), bytes) in stored.zip(&self.stored) {
            hasher.update(&page.to_le_bytes());
            hasher.update(bytes);
        }
        BaseImage {
            wasm_pages,
            globals,
            index: self.index,
            stored: self.stored,
            dictionary: None,
            hash: Digest(*hasher.finalize().as_bytes()),
        }
    }
}
