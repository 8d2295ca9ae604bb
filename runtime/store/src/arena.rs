//! Where hibernated agents' snapshots lie in memory: packed, not an allocation each.
//!
//! Bytes are appended to segments of 1 MiB. An entry costs its bytes, eight
//! bytes before them and eight in the table that handles index. What is removed
//! leaves a hole; when holes make up too much, the emptiest segment is moved to
//! the end and its memory reused, so that sparse segments do not pile up.

/// Bytes of one segment; a larger entry gets a segment of its own.
const SEGMENT: usize = 1 << 20;
/// Bytes before each entry: its place in the table, and its length.
const HEAD: usize = 8;
/// Holes may make up this share of all bytes, one in so many, before they are closed.
const HOLES: usize = 4;
/// An entry of the table that is free.
const FREE: u32 = u32::MAX;

/// Names an entry. Stays the same while the entry is moved about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u32);

/// The arena cannot take the entry; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {0} bytes does not fit the arena: at most 4 GiB, and 4 billion entries")]
pub struct ArenaFull(pub usize);

/// Entries of bytes, packed.
#[derive(Debug, Default)]
pub struct SnapshotArena {
    segments: Vec<Segment>,
    /// Segment and offset of each entry; a free one links to the next free one.
    table: Vec<(u32, u32)>,
    free: Option<u32>,
    /// Segments without a live entry.
    empty: Vec<u32>,
    /// Where the next entry goes.
    current: Option<u32>,
    live: usize,
    entries: usize,
    used: usize,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    live: usize,
}

impl SnapshotArena {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of all entries, their heads not counted.
    pub fn live_bytes(&self) -> usize {
        self.live - self.entries * HEAD
    }

    /// Bytes of memory the arena holds.
    pub fn held_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(|s| s.bytes.capacity()).sum();
        segments
            + self.table.capacity() * size_of::<(u32, u32)>()
            + self.segments.capacity() * size_of::<Segment>()
    }

    /// Copies `bytes` in.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Handle, ArenaFull> {
        let full = ArenaFull(bytes.len());
        let length = u32::try_from(bytes.len()).map_err(|_| full)?;
        let index = match self.free {
            Some(index) => index,
            None => u32::try_from(self.table.len())
                .ok()
                .filter(|index| *index != FREE)
                .ok_or(full)?,
        };
        let place = self.append(index, length, bytes);
        match self.table.get_mut(index as usize) {
            Some(slot) => {
                self.free = (slot.1 != FREE).then_some(slot.1);
                *slot = place;
            }
            None => self.table.push(place),
        }
        self.live += HEAD + bytes.len();
        self.entries += 1;
        Ok(Handle(index))
    }

    /// The entry's bytes.
    pub fn get(&self, handle: Handle) -> Option<&[u8]> {
        let (segment, offset) = *self.table.get(handle.0 as usize)?;
        let bytes = &self.segments.get(segment as usize)?.bytes;
        let at = offset as usize;
        let (_, length) = head(bytes, at)?;
        bytes.get(at + HEAD..at + HEAD + length)
    }

    /// Removes an entry. Harmless if it is gone.
    pub fn remove(&mut self, handle: Handle) {
        let Some(length) = self.get(handle).map(<[u8]>::len) else {
            return;
        };
        let size = HEAD + length;
        let Some(slot) = self.table.get_mut(handle.0 as usize) else {
            return;
        };
        let segment = slot.0;
        *slot = (FREE, self.free.unwrap_or(FREE));
        self.free = Some(handle.0);
        self.live -= size;
        self.entries -= 1;
        self.shrink(segment, size);
        if self.used > SEGMENT && (self.used - self.live) * HOLES > self.used {
            self.close_holes();
        }
    }

    /// Takes `size` bytes out of a segment's count; an empty one is reused.
    fn shrink(&mut self, at: u32, size: usize) {
        let Some(segment) = self.segments.get_mut(at as usize) else {
            return;
        };
        segment.live -= size;
        if segment.live > 0 {
            return;
        }
        self.used -= segment.bytes.len();
        if segment.bytes.capacity() > SEGMENT {
            segment.bytes = Vec::new();
        }
        segment.bytes.clear();
        if self.current != Some(at) {
            self.empty.push(at);
        }
    }

    /// Writes an entry at the end.
    fn append(&mut self, index: u32, length: u32, bytes: &[u8]) -> (u32, u32) {
        let at = self.segment_for(HEAD + bytes.len());
        let Some(segment) = self.segments.get_mut(at as usize) else {
            return (FREE, FREE);
        };
        let offset = u32::try_from(segment.bytes.len()).unwrap_or(FREE);
        segment.bytes.extend_from_slice(&index.to_le_bytes());
        segment.bytes.extend_from_slice(&length.to_le_bytes());
        segment.bytes.extend_from_slice(bytes);
        segment.live += HEAD + bytes.len();
        self.used += HEAD + bytes.len();
        (at, offset)
    }

    /// A segment with room for `size` bytes.
    fn segment_for(&mut self, size: usize) -> u32 {
        if let Some(current) = self.current
            && let Some(segment) = self.segments.get(current as usize)
            && (segment.bytes.len() + size <= SEGMENT || segment.bytes.is_empty())
        {
            return current;
        }
        let room = size.max(SEGMENT);
        let at = match self.empty.pop() {
            Some(at) => at,
            None => {
                self.segments.push(Segment::default());
                u32::try_from(self.segments.len() - 1).unwrap_or(FREE)
            }
        };
        if let Some(segment) = self.segments.get_mut(at as usize) {
            segment.bytes.reserve_exact(room);
        }
        // A segment that an oversized entry fills is never the current one again.
        if size <= SEGMENT {
            self.current = Some(at);
        }
        at
    }

    /// Moves what is left in the emptiest segment to the end.
    fn close_holes(&mut self) {
        let emptiest = self
            .segments
            .iter()
            .enumerate()
            .filter(|(at, s)| {
                s.live > 0 && s.live < s.bytes.len() && self.current.map(|c| c as usize) != Some(*at)
            })
            .min_by_key(|(_, s)| s.live)
            .map(|(at, _)| at);
        let Some(at) = emptiest else { return };
        let Some(segment) = self.segments.get_mut(at) else {
            return;
        };
        let old = std::mem::take(&mut segment.bytes);
        segment.live = 0;
        self.used -= old.len();
        let own = u32::try_from(at).unwrap_or(FREE);
        let mut offset = 0;
        while let Some((index, length)) = head(&old, offset) {
            let place = (own, u32::try_from(offset).unwrap_or(FREE));
            let body = old
                .get(offset + HEAD..offset + HEAD + length)
                .unwrap_or_default();
            // A hole's place in the table belongs to nobody, or to somebody else.
            if self.table.get(index as usize) == Some(&place) {
                let moved = self.append(index, u32::try_from(length).unwrap_or(0), body);
                if let Some(slot) = self.table.get_mut(index as usize) {
                    *slot = moved;
                }
            }
            offset += HEAD + length;
        }
        let mut old = old;
        old.clear();
        if let Some(segment) = self.segments.get_mut(at) {
            segment.bytes = old;
        }
        self.empty.push(own);
        self.release_spare();
    }

    /// Gives memory back that is not likely to be needed soon.
    fn release_spare(&mut self) {
        /// Empty segments kept for the next entries.
        const SPARE: usize = 2;
        let many = self.empty.len().saturating_sub(SPARE);
        for at in self.empty.iter().take(many) {
            if let Some(segment) = self.segments.get_mut(*at as usize) {
                segment.bytes = Vec::new();
            }
        }
    }
}

/// Place in the table and length of the entry at `at`.
fn head(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let (index, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some((
        u32::from_le_bytes(*index),
        u32::from_le_bytes(*length) as usize,
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize),
        Remove(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let size = prop_oneof![20 => 0usize..600, 2 => 0usize..200_000, 1 => Just(SEGMENT + 5)];
        let step = prop_oneof![
            3 => size.prop_map(Step::Insert),
            2 => (0usize..10_000).prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn it_holds_what_a_map_holds(steps in steps()) {
            let mut arena = SnapshotArena::new();
            let mut oracle: HashMap<u32, Vec<u8>> = HashMap::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(size) => {
                        let bytes = vec![n as u8; size];
                        let handle = arena.insert(&bytes).unwrap();
                        prop_assert!(oracle.insert(handle.0, bytes).is_none());
                    }
                    Step::Remove(which) => {
                        let mut keys: Vec<u32> = oracle.keys().copied().collect();
                        keys.sort_unstable();
                        if let Some(key) = keys.get(which % keys.len().max(1)) {
                            oracle.remove(key);
                            arena.remove(Handle(*key));
                            arena.remove(Handle(*key));
                        }
                    }
                }
                prop_assert_eq!(arena.len(), oracle.len());
                for (key, bytes) in &oracle {
                    prop_assert_eq!(arena.get(Handle(*key)), Some(bytes.as_slice()));
                }
            }
            prop_assert_eq!(arena.live_bytes(), oracle.values().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn small_entries_cost_little_beyond_their_bytes() {
        let mut arena = SnapshotArena::new();
        let count = 100_000;
        for _ in 0..count {
            arena.insert(&[7; 300]).unwrap();
        }
        let beyond = arena.held_bytes() - arena.live_bytes();
        // The table may be twice as large as it needs to be, as any growing vector.
        assert!(beyond <= count * (16 + 8) + count * 300 / 50 + SEGMENT, "{beyond}");
    }

    #[test]
    fn holes_are_closed() {
        let mut arena = SnapshotArena::new();
        let handles: Vec<Handle> = (0..50_000)
            .map(|_| arena.insert(&[7; 300]).unwrap())
            .collect();
        for (n, handle) in handles.iter().enumerate() {
            if n % 10 != 0 {
                arena.remove(*handle);
            }
        }
        assert_eq!(arena.len(), 5_000);
        assert!(
            arena.held_bytes() < 3 * arena.live_bytes() + 4 * SEGMENT,
            "{} held for {}",
            arena.held_bytes(),
            arena.live_bytes()
        );
    }
}
