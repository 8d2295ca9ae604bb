//! Where entries lie in the file of a [`super::DiskArena`]: pure bookkeeping.
//!
//! The file is a row of segments. Small entries share them, one after the other; a large
//! one has a run of them to itself. Runs that are free are reused lowest first, and the
//! file is cut where its end is free.

use std::collections::BTreeMap;

use super::{HEAD, Handle};

/// Bytes in a segment, 1 MiB.
pub(super) const SEGMENT: u64 = 1 << 20;
/// Entries longer than this have segments of their own, 256 KiB.
const LARGE: u64 = 256 << 10;
/// Offsets are multiples of this, bytes, so that 32 bits are enough for 64 GiB.
pub(super) const UNIT: u64 = 16;
/// Slots the table grows by at least: it never has room for many in vain.
const SLOT_CHUNK: usize = 4_096;
/// Waste is tolerated up to this, bytes, and up to a quarter of all.
const TOLERATED: u64 = 2 * SEGMENT;
/// Ends the list of free slots.
const NO_SLOT: u32 = u32::MAX;
/// In place of the length of a slot that is free: no entry is so long.
const FREE: u32 = u32::MAX;
/// The most segments a file has.
const MAX_SEGMENTS: u64 = (u32::MAX as u64 + 1) * UNIT / SEGMENT;

/// An entry's place; of a free slot, the next one that is free.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// In [`UNIT`]s from the beginning of the file.
    at: u32,
    length: u32,
    turn: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// Bytes of entries that live, headers and padding included.
    live: u64,
    /// How far it is filled.
    filled: u64,
    /// It cannot be read through, so it is not emptied before its entries are gone.
    is_stuck: bool,
}

/// Segments that hold nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// Where they begin, bytes.
    pub(super) at: u64,
    /// How long they are, bytes.
    pub(super) length: u64,
    /// The file may end where they begin.
    pub(super) is_end: bool,
}

/// Slots, segments and what is free.
#[derive(Debug)]
pub(super) struct Layout {
    slots: Vec<Slot>,
    free_slot: u32,
    segments: Vec<Segment>,
    /// Runs of free segments: first, and how many.
    runs: BTreeMap<u32, u32>,
    /// The segment that small entries are put into.
    open: Option<u32>,
    entries: usize,
    payload: u64,
    /// Bytes of entries that live, as they lie in the file.
    live: u64,
    /// How far segments are filled, all of them together.
    filled: u64,
    limit: u64,
}

/// Bytes an entry takes in the file.
pub(super) fn extent(length: u32) -> u64 {
    (HEAD as u64 + u64::from(length)).next_multiple_of(UNIT)
}

impl Layout {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            slots: Vec::new(),
            free_slot: NO_SLOT,
            segments: Vec::new(),
            runs: BTreeMap::new(),
            open: None,
            entries: 0,
            payload: 0,
            live: 0,
            filled: 0,
            limit,
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    pub(super) fn payload(&self) -> u64 {
        self.payload
    }

    /// Bytes of the file that are in use: entries, and what lies between them.
    pub(super) fn bytes(&self) -> u64 {
        self.filled
    }

    /// Bytes of memory the tables take.
    pub(super) fn footprint(&self) -> u64 {
        let tables = self.slots.capacity() * size_of::<Slot>()
            + self.segments.capacity() * size_of::<Segment>();
        tables as u64
    }

    /// Where an entry lies and how long it is.
    pub(super) fn find(&self, handle: Handle) -> Option<(u64, u32)> {
        let slot = self.slots.get(handle.slot as usize)?;
        let is_it = slot.turn == handle.turn && slot.length != FREE;
        is_it.then_some((u64::from(slot.at) * UNIT, slot.length))
    }

    /// Room for an entry of so many bytes, if there is any; where it is.
    pub(super) fn insert(&mut self, length: u32) -> Option<(Handle, u64)> {
        let extent = extent(length);
        if length == FREE || self.filled + extent > self.limit {
            return None;
        }
        let number = self.next_slot()?;
        let at = self.room(extent)?;
        let turn = match self.slots.get_mut(number as usize) {
            Some(slot) => {
                self.free_slot = slot.at;
                slot.turn
            }
            None => {
                self.grow();
                0
            }
        };
        let slot = Slot {
            at: units(at),
            length,
            turn,
        };
        match self.slots.get_mut(number as usize) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        self.entries += 1;
        self.payload += u64::from(length);
        let handle = Handle { slot: number, turn };
        Some((handle, at))
    }

    /// Lets go of an entry; whether there was one, and the segments that are free by that.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Option<Freed>> {
        let (at, length) = self.find(handle)?;
        if let Some(slot) = self.slots.get_mut(handle.slot as usize) {
            *slot = Slot {
                at: self.free_slot,
                length: FREE,
                turn: slot.turn.wrapping_add(1),
            };
            self.free_slot = handle.slot;
        }
        self.entries -= 1;
        self.payload -= u64::from(length);
        Some(self.release(at, extent(length)))
    }

    /// The segment to be emptied, if more than a quarter of all is waste.
    pub(super) fn sparsest(&self) -> Option<u64> {
        let waste = self.filled - self.live;
        if waste <= TOLERATED || waste <= self.filled / 4 {
            return None;
        }
        let segments = self.segments.iter().zip(0_u32..);
        let worth = segments.filter(|(segment, number)| {
            // A run's first segment says how long all of it is.
            let is_shared = segment.filled <= SEGMENT && segment.live > 0;
            is_shared
                && segment.live < segment.filled
                && !segment.is_stuck
                && self.open != Some(*number)
        });
        let (_, number) = worth.min_by_key(|(segment, number)| (segment.live, *number))?;
        Some(u64::from(number) * SEGMENT)
    }

    /// How far the segment at `at` is filled.
    pub(super) fn filled(&self, at: u64) -> u64 {
        self.segment(at).map_or(0, |segment| segment.filled)
    }

    /// The segment at `at` cannot be read through.
    pub(super) fn stuck(&mut self, at: u64) {
        if let Some(segment) = self.segments.get_mut(index(at)) {
            segment.is_stuck = true;
        }
    }

    /// Whether the entry of this slot lies at `at`, with this length.
    pub(super) fn is_at(&self, slot: u32, at: u64, length: u32) -> bool {
        let slot = self.slots.get(slot as usize);
        slot.is_some_and(|slot| u64::from(slot.at) * UNIT == at && slot.length == length)
    }

    /// Another place for the entry of this slot; the old one is free after [`Layout::moved`].
    pub(super) fn elsewhere(&mut self, length: u32) -> Option<u64> {
        self.room(extent(length))
    }

    /// The entry of this slot was copied to `to`.
    pub(super) fn moved(&mut self, number: u32, to: u64) -> Option<Freed> {
        let slot = self.slots.get_mut(number as usize)?;
        let from = u64::from(slot.at) * UNIT;
        let extent = extent(slot.length);
        slot.at = units(to);
        self.release(from, extent)
    }

    /// The entry was not copied after all.
    pub(super) fn not_moved(&mut self, to: u64, length: u32) -> Option<Freed> {
        self.release(to, extent(length))
    }

    fn next_slot(&self) -> Option<u32> {
        if (self.free_slot as usize) < self.slots.len() {
            return Some(self.free_slot);
        }
        let number = u32::try_from(self.slots.len()).ok()?;
        (number != NO_SLOT).then_some(number)
    }

    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            // A table that doubled would stand half empty.
            let more = SLOT_CHUNK.max(self.slots.len() / 16);
            self.slots.reserve_exact(more);
        }
    }

    fn segment(&self, at: u64) -> Option<&Segment> {
        self.segments.get(index(at))
    }

    /// Room for so many bytes; where it begins.
    fn room(&mut self, extent: u64) -> Option<u64> {
        let (number, offset) = if extent > LARGE {
            (self.take_run(extent.div_ceil(SEGMENT))?, 0)
        } else {
            let open = self.open.filter(|open| {
                let segment = self.segments.get(*open as usize);
                segment.is_some_and(|segment| segment.filled + extent <= SEGMENT)
            });
            let number = match open {
                Some(open) => open,
                None => self.take_run(1)?,
            };
            self.open = Some(number);
            let segment = self.segments.get(number as usize)?;
            (number, segment.filled)
        };
        let segment = self.segments.get_mut(number as usize)?;
        segment.filled += extent;
        segment.live += extent;
        self.filled += extent;
        self.live += extent;
        Some(u64::from(number) * SEGMENT + offset)
    }

    /// So many segments that follow each other; the first.
    fn take_run(&mut self, count: u64) -> Option<u32> {
        let count = u32::try_from(count).ok()?;
        let free = self.runs.iter().find(|(_, length)| **length >= count);
        if let Some((first, length)) = free.map(|(first, length)| (*first, *length)) {
            self.runs.remove(&first);
            if length > count {
                self.runs.insert(first + count, length - count);
            }
            return Some(first);
        }
        let first = u32::try_from(self.segments.len()).ok()?;
        if u64::from(first) + u64::from(count) > MAX_SEGMENTS {
            return None;
        }
        let all = self.segments.len() + count as usize;
        self.segments.resize(all, Segment::default());
        Some(first)
    }

    /// An entry's place is free; the segments that are by that.
    fn release(&mut self, at: u64, extent: u64) -> Option<Freed> {
        let number = u32::try_from(index(at)).ok()?;
        let segment = self.segments.get_mut(number as usize)?;
        segment.live -= extent;
        self.live -= extent;
        if segment.live > 0 {
            return None;
        }
        let filled = std::mem::take(segment).filled;
        self.filled -= filled;
        if self.open == Some(number) {
            self.open = None;
        }
        let count = u32::try_from(filled.div_ceil(SEGMENT)).ok()?;
        Some(self.give_run(number, count))
    }

    fn give_run(&mut self, first: u32, count: u32) -> Freed {
        let (mut first, mut count) = (first, count);
        let length = u64::from(count) * SEGMENT;
        let at = u64::from(first) * SEGMENT;
        if let Some(after) = self.runs.remove(&(first + count)) {
            count += after;
        }
        let before = self.runs.range(..first).next_back();
        if let Some((start, before)) = before.map(|(start, length)| (*start, *length))
            && start + before == first
        {
            self.runs.remove(&start);
            first = start;
            count += before;
        }
        if (first + count) as usize >= self.segments.len() {
            self.segments.truncate(first as usize);
            return Freed {
                at: u64::from(first) * SEGMENT,
                length: u64::from(count) * SEGMENT,
                is_end: true,
            };
        }
        self.runs.insert(first, count);
        Freed {
            at,
            length,
            is_end: false,
        }
    }
}

/// The number of the segment at `at`.
fn index(at: u64) -> usize {
    usize::try_from(at / SEGMENT).unwrap_or(usize::MAX)
}

/// A place in the file in units: files are no longer than those can tell.
fn units(at: u64) -> u32 {
    u32::try_from(at / UNIT).unwrap_or(u32::MAX)
}
