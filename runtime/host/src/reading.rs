//! What is done with an agent's memory while its accessor shows it to the host.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use crate::base::{BaseBuilder, BaseImage};
use crate::image::Encoder;
use crate::instrument::GLOBALS_PER_CALL;
use crate::pages::{Finder, PAGE, PageFinder};

/// Where a component's shadow stack lies, and which global points into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// Its lowest address.
    pub(crate) low: u32,
    /// One past its highest.
    pub(crate) high: u32,
    /// The stack pointer's place among the saved globals.
    pub(crate) pointer: usize,
}

/// What the memory is read for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To be the base of all instances.
    Base(BaseBuilder),
    /// To be put into an image.
    Image,
    /// To be hashed.
    Hash(Box<blake3::Hasher>),
}

/// One reading of an instance's memory and globals.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) purpose: Purpose,
    /// The globals shown so far, padded to whole groups.
    pub(crate) globals: Vec<u64>,
    /// Size of the memory, Wasm pages.
    pub(crate) wasm_pages: u32,
    /// Dead shadow stack that is not zero yet: address and length.
    pub(crate) residue: Vec<(u32, u32)>,
    pub(crate) encoder: Encoder,
    base: Option<Arc<BaseImage>>,
    finder: Option<Arc<Finder>>,
    stack: Option<Stack>,
    /// Bytes of memory seen.
    seen: usize,
    candidates: Vec<(usize, usize)>,
}

thread_local! {
    /// One reading's room, reused by the next on this thread.
    static SPARE: Cell<Option<Box<Reading>>> = const { Cell::new(None) };
}

/// Room above this is not kept, bytes: one large agent is no reason to hold as
/// much for each thread ever after.
const KEEP_BYTES: usize = 1 << 20;

impl Reading {
    /// A reading of a fresh instance.
    pub(crate) fn of_base() -> Box<Self> {
        Self::new(Purpose::Base(BaseBuilder::default()))
    }

    /// A reading of what has changed since `base`.
    pub(crate) fn of_changes(
        purpose: Purpose,
        base: &Arc<BaseImage>,
        finder: &Arc<Finder>,
        stack: Option<Stack>,
    ) -> Box<Self> {
        let mut reading = Self::new(purpose);
        reading.base = Some(Arc::clone(base));
        reading.finder = Some(Arc::clone(finder));
        reading.stack = stack;
        reading
    }

    fn new(purpose: Purpose) -> Box<Self> {
        match SPARE.take() {
            Some(mut spare) => {
                spare.purpose = purpose;
                spare
            }
            None => Box::new(Self {
                purpose,
                globals: Vec::new(),
                wasm_pages: 0,
                residue: Vec::new(),
                encoder: Encoder::default(),
                base: None,
                finder: None,
                stack: None,
                seen: 0,
                candidates: Vec::new(),
            }),
        }
    }

    /// Keeps the room for the next reading, unless it is large.
    pub(crate) fn reuse(mut self: Box<Self>) {
        if self.room() > KEEP_BYTES {
            return;
        }
        self.purpose = Purpose::Image;
        self.globals.clear();
        self.residue.clear();
        self.encoder.clear();
        self.base = None;
        self.finder = None;
        self.stack = None;
        self.seen = 0;
        self.wasm_pages = 0;
        SPARE.set(Some(self));
    }

    fn room(&self) -> usize {
        self.encoder.room()
            + self.globals.capacity() * size_of::<u64>()
            + self.residue.capacity() * size_of::<(u32, u32)>()
            + self.candidates.capacity() * size_of::<(usize, usize)>()
    }

    /// Takes a group of globals.
    pub(crate) fn take_globals(&mut self, wasm_pages: u32, group: &[u64; GLOBALS_PER_CALL]) {
        self.wasm_pages = wasm_pages;
        self.globals.extend_from_slice(group);
    }

    /// Takes the next stretch of memory.
    pub(crate) fn take_memory(&mut self, bytes: &[u8]) {
        if let Purpose::Base(builder) = &mut self.purpose {
            builder.push(bytes);
        } else if let (Some(base), Some(finder)) = (self.base.clone(), self.finder.clone()) {
            let mut candidates = std::mem::take(&mut self.candidates);
            finder.candidates(bytes, &mut candidates);
            if finder.kind() != PageFinder::Compare {
                let pages = candidates.iter().map(|(_, count)| count).sum();
                self.encoder.expect(pages);
            }
            let (pages, _) = bytes.as_chunks::<PAGE>();
            let offset = self.seen / PAGE;
            let dead = self.dead();
            for (first, count) in &candidates {
                let run = pages.get(*first..first + count).unwrap_or_default();
                for (index, page) in (offset + first..).zip(run) {
                    self.page(index, page, &base, &dead);
                }
            }
            self.candidates = candidates;
        }
        self.seen += bytes.len();
    }

    /// The addresses below the stack pointer that hold nothing alive.
    fn dead(&self) -> Range<usize> {
        let Some(stack) = self.stack else {
            return 0..0;
        };
        let pointer = self.globals.get(stack.pointer).copied().unwrap_or(0);
        match u32::try_from(pointer) {
            Ok(pointer) if (stack.low..=stack.high).contains(&pointer) => {
                stack.low as usize..pointer as usize
            }
            _ => 0..0,
        }
    }

    fn page(&mut self, index: usize, page: &[u8; PAGE], base: &BaseImage, dead: &Range<usize>) {
        let address = index * PAGE;
        if dead.start < address + PAGE && address < dead.end {
            let from = dead.start.saturating_sub(address);
            let to = (dead.end - address).min(PAGE);
            let mut cleaned = *page;
            if let Some(part) = cleaned.get_mut(from..to)
                && part.iter().any(|byte| *byte != 0)
            {
                part.fill(0);
                self.wipe(address + from, to - from);
            }
            self.compared(index, &cleaned, base.page(index));
        } else {
            self.compared(index, page, base.page(index));
        }
    }

    fn wipe(&mut self, at: usize, length: usize) {
        let (Ok(at), Ok(length)) = (u32::try_from(at), u32::try_from(length)) else {
            return;
        };
        match self.residue.last_mut() {
            Some((start, len)) if *start + *len == at => *len += length,
            _ => self.residue.push((at, length)),
        }
    }

    /// A page is part of the agent's state exactly if it differs from the base.
    fn compared(&mut self, index: usize, page: &[u8; PAGE], base: &[u8; PAGE]) {
        if page == base {
            return;
        }
        match &mut self.purpose {
            Purpose::Image => self.encoder.page(index, page, base),
            Purpose::Hash(hasher) => {
                hasher.update(&(index as u64).to_le_bytes());
                hasher.update(page);
            }
            Purpose::Base(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_large_agent_is_not_kept() {
        let base = Arc::new(BaseBuilder::default().finish(Vec::new()));
        let finder = Arc::new(Finder::new(Some(crate::PageFinder::Compare)));
        let read = |memory: &[u8]| {
            let mut reading = Reading::of_changes(Purpose::Image, &base, &finder, None);
            reading.take_memory(memory);
            reading.reuse();
            let kept = SPARE.take();
            let room = kept.as_ref().map_or(0, |reading| reading.room());
            SPARE.set(kept);
            room
        };
        let small = read(&[7; 16 * PAGE]);
        assert!((1..=KEEP_BYTES).contains(&small), "{small}");
        let large = read(&vec![7; 16 << 20]);
        assert!(large <= KEEP_BYTES, "{large}");
    }
}
