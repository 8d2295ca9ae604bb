//! Sleeping agents' snapshots, in few large allocations.
//!
//! ```text
//!   slot table        segment, 1 MiB
//!   ┌─────────────┐   ┌──────┬──────┬───────┬──────┬──────┬──────┬ ─ ─
//!   │ seg, offset ├──►│ slot │ size │ bytes │ slot │ size │ bytes│ free
//!   └─────────────┘   └──────┴──────┴───────┴──────┴──────┴──────┴ ─ ─
//! ```
//!
//! A [`Handle`] names a slot, not a place, so segments that have become sparse
//! are emptied into others without anybody noticing. An entry costs 16 bytes
//! beside its own: 8 in the slot table, 8 before its bytes.

use std::fmt;

/// Bytes in a segment, 1 MiB.
const SEGMENT: usize = 1 << 20;
/// Entries longer than this have an allocation of their own, 64 KiB.
const LARGE: usize = 64 << 10;
/// Bytes before each entry: its slot and its length.
const HEADER: usize = 8;
/// Slots the table grows by, 4,096: it never has room for more than that in vain.
const SLOT_CHUNK: usize = 4_096;
/// Empty segments kept for reuse, 4.
const SPARE_SEGMENTS: usize = 4;
/// Bytes an arena holds by default, 64 GiB.
const DEFAULT_LIMIT: u64 = 64 << 30;

/// Names an entry. One that was removed is known as such until its slot has
/// been used 4,095 times more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    slot: u32,
    turn: u32,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.turn)
    }
}

/// The entry does not fit: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the arena for sleeping agents holds {held} of {limit} bytes, and {wanted} more do not fit"
)]
pub struct ArenaFull {
    /// Bytes it holds.
    pub held: u64,
    /// Bytes it may hold.
    pub limit: u64,
    /// Bytes that were to come.
    pub wanted: u64,
}

/// Where an entry is. A free slot has the next free one in place of the segment.
#[derive(Clone, Copy)]
struct Place {
    segment: u32,
    /// 20 bits of offset, 12 of the slot's turn.
    rest: u32,
}

const TURN_BITS: u32 = 12;
const TURN_MASK: u32 = (1 << TURN_BITS) - 1;
/// The offset of a free slot: no entry begins at a segment's last byte.
const FREE: u32 = u32::MAX >> TURN_BITS;
/// Ends the list of free slots.
const NO_SLOT: u32 = u32::MAX;

impl Place {
    fn new(segment: u32, offset: u32, turn: u32) -> Self {
        Self {
            segment,
            rest: offset << TURN_BITS | (turn & TURN_MASK),
        }
    }

    fn offset(self) -> u32 {
        self.rest >> TURN_BITS
    }

    fn turn(self) -> u32 {
        self.rest & TURN_MASK
    }
}

/// A stretch of entries; or one entry that is large.
#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Bytes of entries that live, headers included.
    live: usize,
    /// The longest it has been: the memory it takes.
    touched: usize,
}

/// The snapshots of a worker's sleeping agents. It has one owner, on whatever thread.
pub struct SnapshotArena {
    slots: Vec<Place>,
    free_slot: u32,
    segments: Vec<Segment>,
    /// Segments without memory.
    unused: Vec<u32>,
    /// Segments with memory and without entries.
    spare: Vec<u32>,
    /// The segment that is being filled.
    open: Option<u32>,
    entries: usize,
    payload: u64,
    /// Bytes in segments, of entries that live and of others.
    used: u64,
    touched: u64,
    limit: u64,
}

impl Default for SnapshotArena {
    fn default() -> Self {
        Self::new()
    }
}

impl SnapshotArena {
    /// An arena that holds 64 GiB.
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// An arena that holds so many bytes of entries.
    pub fn with_limit(limit: u64) -> Self {
        Self {
            slots: Vec::new(),
            free_slot: NO_SLOT,
            segments: Vec::new(),
            unused: Vec::new(),
            spare: Vec::new(),
            open: None,
            entries: 0,
            payload: 0,
            used: 0,
            touched: 0,
            limit,
        }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the entries held.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Bytes of memory the arena takes: entries, what lies between them, tables.
    pub fn footprint(&self) -> u64 {
        let tables = self.slots.capacity() * size_of::<Place>()
            + self.segments.capacity() * size_of::<Segment>()
            + (self.unused.capacity() + self.spare.capacity()) * size_of::<u32>();
        self.touched + tables as u64
    }

    /// Keeps a copy of `bytes`.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Handle, ArenaFull> {
        let wanted = bytes.len() as u64;
        let full = ArenaFull {
            held: self.payload,
            limit: self.limit,
            wanted,
        };
        let length = u32::try_from(bytes.len()).map_err(|_| full)?;
        if self.payload + wanted > self.limit {
            return Err(full);
        }
        let slot = self.take_slot().ok_or(full)?;
        let segment = self.segment_for(HEADER + bytes.len());
        let offset = self.append(segment, slot, length, bytes);
        let Some(place) = self.slots.get_mut(slot as usize) else {
            return Err(full);
        };
        let turn = place.turn();
        *place = Place::new(segment, offset, turn);
        self.entries += 1;
        self.payload += wanted;
        Ok(Handle { slot, turn })
    }

    /// The entry's bytes; `None` if it was removed.
    pub fn get(&self, handle: Handle) -> Option<&[u8]> {
        let place = self.place(handle)?;
        let segment = self.segments.get(place.segment as usize)?;
        let (_, bytes) = entry_at(&segment.bytes, place.offset() as usize)?;
        Some(bytes)
    }

    /// Lets go of an entry; whether there was one.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let Some(place) = self.place(handle) else {
            return false;
        };
        let Some(segment) = self.segments.get_mut(place.segment as usize) else {
            return false;
        };
        let Some((_, bytes)) = entry_at(&segment.bytes, place.offset() as usize) else {
            return false;
        };
        let length = bytes.len();
        segment.live -= HEADER + length;
        let empty = segment.live == 0;
        self.entries -= 1;
        self.payload -= length as u64;
        if let Some(slot) = self.slots.get_mut(handle.slot as usize) {
            *slot = Place::new(self.free_slot, FREE, place.turn() + 1);
            self.free_slot = handle.slot;
        }
        if empty {
            self.retire(place.segment);
        } else {
            self.tidy();
        }
        true
    }

    /// Where the entry is, if it is.
    fn place(&self, handle: Handle) -> Option<Place> {
        let place = *self.slots.get(handle.slot as usize)?;
        (place.turn() == handle.turn && place.offset() != FREE).then_some(place)
    }

    fn take_slot(&mut self) -> Option<u32> {
        if let Some(place) = self.slots.get(self.free_slot as usize) {
            let slot = self.free_slot;
            self.free_slot = place.segment;
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok()?;
        if slot == NO_SLOT {
            return None;
        }
        if self.slots.len() == self.slots.capacity() {
            // A table that doubled would stand half empty.
            let more = SLOT_CHUNK.max(self.slots.len() / 16);
            self.slots.reserve_exact(more);
        }
        self.slots.push(Place::new(NO_SLOT, FREE, 0));
        Some(slot)
    }

    /// A segment with room for an entry of so many bytes, header included.
    fn segment_for(&mut self, needed: usize) -> u32 {
        if needed > LARGE {
            return self.new_segment(needed);
        }
        let fits = |open: &u32| {
            let open = self.segments.get(*open as usize);
            open.is_some_and(|open| open.bytes.len() + needed <= SEGMENT)
        };
        if let Some(open) = self.open.filter(fits) {
            return open;
        }
        let segment = match self.spare.pop() {
            Some(spare) => spare,
            None => self.new_segment(SEGMENT),
        };
        self.open = Some(segment);
        segment
    }

    fn new_segment(&mut self, capacity: usize) -> u32 {
        let fresh = Segment {
            bytes: Vec::with_capacity(capacity),
            ..Segment::default()
        };
        if let Some(number) = self.unused.pop()
            && let Some(segment) = self.segments.get_mut(number as usize)
        {
            *segment = fresh;
            return number;
        }
        self.segments.push(fresh);
        // Fewer segments than slots: the number fits.
        u32::try_from(self.segments.len() - 1).unwrap_or(u32::MAX)
    }

    /// Writes an entry at the end of a segment; where it begins.
    fn append(&mut self, number: u32, slot: u32, length: u32, bytes: &[u8]) -> u32 {
        let Some(segment) = self.segments.get_mut(number as usize) else {
            return FREE;
        };
        // A segment has at most a mebibyte, but for one that has one entry only.
        let offset = u32::try_from(segment.bytes.len()).unwrap_or(FREE);
        segment.bytes.extend_from_slice(&slot.to_le_bytes());
        segment.bytes.extend_from_slice(&length.to_le_bytes());
        segment.bytes.extend_from_slice(bytes);
        segment.live += HEADER + bytes.len();
        self.used += (HEADER + bytes.len()) as u64;
        let grown = segment.bytes.len().saturating_sub(segment.touched);
        segment.touched += grown;
        self.touched += grown as u64;
        offset
    }

    /// An empty segment is kept for reuse, or its memory is given back.
    fn retire(&mut self, number: u32) {
        let Some(segment) = self.segments.get_mut(number as usize) else {
            return;
        };
        self.used -= segment.bytes.len() as u64;
        segment.bytes.clear();
        segment.live = 0;
        if self.open == Some(number) {
            return;
        }
        let usual = segment.bytes.capacity() == SEGMENT;
        if usual && self.spare.len() < SPARE_SEGMENTS {
            self.spare.push(number);
        } else {
            self.touched -= segment.touched as u64;
            *segment = Segment::default();
            self.unused.push(number);
        }
    }

    /// Empties the sparsest segment into others when more than a quarter of all
    /// is waste. Each call moves less than a segment.
    fn tidy(&mut self) {
        let live = self.payload + (self.entries * HEADER) as u64;
        let waste = self.used.saturating_sub(live);
        if waste <= 2 * SEGMENT as u64 || waste <= self.used / 4 {
            return;
        }
        let sparsest = self
            .segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.live > 0 && segment.bytes.len() > segment.live)
            .filter_map(|(number, segment)| Some((segment.live, u32::try_from(number).ok()?)))
            .filter(|(_, number)| self.open != Some(*number))
            .min();
        if let Some((_, number)) = sparsest {
            self.evacuate(number);
        }
    }

    fn evacuate(&mut self, number: u32) {
        let Some(segment) = self.segments.get_mut(number as usize) else {
            return;
        };
        let bytes = std::mem::take(&mut segment.bytes);
        let mut offset = 0;
        while let Some((slot, entry)) = entry_at(&bytes, offset) {
            let here = u32::try_from(offset).unwrap_or(FREE);
            offset += HEADER + entry.len();
            let Some(place) = self.slots.get(slot as usize).copied() else {
                continue;
            };
            if place.segment != number || place.offset() != here {
                continue;
            }
            let to = self.segment_for(HEADER + entry.len());
            let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
            let moved = self.append(to, slot, length, entry);
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = Place::new(to, moved, place.turn());
            }
        }
        if let Some(segment) = self.segments.get_mut(number as usize) {
            segment.bytes = bytes;
        }
        self.retire(number);
    }
}

/// The slot and the bytes of the entry that begins at `offset`.
fn entry_at(bytes: &[u8], offset: usize) -> Option<(u32, &[u8])> {
    let rest = bytes.get(offset..)?;
    let (slot, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some((u32::from_le_bytes(*slot), rest.get(..length)?))
}
