//! Sleeping agents' snapshots on disk, in one file.
//!
//! ```text
//!   slot table, in memory      segment, 1 MiB
//!   ┌──────────────┐   ┌──────┬──────┬───────┬───────┬──────┬ ─ ─
//!   │ place, length├──►│ slot │ size │ check │ bytes │ slot │ free
//!   └──────────────┘   └──────┴──────┴───────┴───────┴──────┴ ─ ─
//! ```
//!
//! As the [`SnapshotArena`](crate::SnapshotArena): a [`Handle`] names a slot, not a place,
//! and segments that have become sparse are emptied into others when more than a quarter
//! of all is waste. What is free is given back to the file system. An entry costs 12 bytes
//! of memory, and 16 to 31 of the file beside its own.
//!
//! These snapshots are lost with their node, as those in memory are, so nothing is ever
//! synced, and a file that an earlier run has left is emptied. An entry's check is over
//! its slot, that slot's turn and its bytes: whatever else lies in its place is known.

mod layout;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use layout::{Freed, Layout, extent};

/// Bytes a file holds by default, 64 GiB; the most it can hold.
const DEFAULT_LIMIT: u64 = 64 << 30;
/// Bytes before each entry: its slot, its length and its check.
const HEAD: usize = 16;
/// Room that is kept for the next entry, bytes.
const SCRATCH: usize = 1 << 20;

/// Names an entry.
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

/// Why a snapshot is not on disk. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DiskArenaError {
    /// It does not fit.
    #[error(
        "{path} holds {held} of {limit} bytes of sleeping agents, and {wanted} more do not fit"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes it holds.
        held: u64,
        /// Bytes it may hold.
        limit: u64,
        /// Bytes that were to come.
        wanted: u64,
    },
    /// The disk failed, or is full.
    #[error("cannot write sleeping agents to {path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's word for it.
        source: io::Error,
    },
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The disk failed.
    #[error("cannot read a sleeping agent at byte {at} of {path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Where it should be.
        at: u64,
        /// The system's word for it.
        source: io::Error,
    },
    /// What lies there is not what was written.
    #[error("{path} is damaged at byte {at}: that is not the sleeping agent written there")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it should be.
        at: u64,
    },
}

/// The snapshots of a worker's sleeping agents that its memory has no room for. It has
/// one owner; a [`Reading`] may run on another thread.
pub struct DiskArena {
    file: Arc<File>,
    path: PathBuf,
    layout: Layout,
    limit: u64,
    /// Where entries are put together.
    scratch: Vec<u8>,
}

/// One entry to be read, on whatever thread.
#[derive(Clone, Debug)]
pub struct Reading {
    file: Arc<File>,
    path: PathBuf,
    handle: Handle,
    at: u64,
    length: u32,
}

impl DiskArena {
    /// An empty one at `path`, in place of what was there.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, DEFAULT_LIMIT)
    }

    /// One that takes so many bytes of disk at most.
    pub fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            crate::files::create_private_dir(directory)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let limit = limit.min(DEFAULT_LIMIT);
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            layout: Layout::new(limit),
            limit,
            scratch: Vec::new(),
        })
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.layout.entries()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the entries held.
    pub fn payload(&self) -> u64 {
        self.layout.payload()
    }

    /// Bytes of disk in use: entries, and what lies between them.
    pub fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// Bytes of memory its tables take.
    pub fn footprint(&self) -> u64 {
        self.layout.footprint() + self.scratch.capacity() as u64
    }

    /// Keeps a copy of `bytes`.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<Handle, DiskArenaError> {
        let length = u32::try_from(bytes.len()).ok();
        let room = length.and_then(|length| Some((length, self.layout.insert(length)?)));
        let Some((length, (handle, at))) = room else {
            return Err(DiskArenaError::Full {
                path: self.path.clone(),
                held: self.layout.bytes(),
                limit: self.limit,
                wanted: bytes.len() as u64,
            });
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(&handle.slot.to_le_bytes());
        self.scratch.extend_from_slice(&length.to_le_bytes());
        self.scratch.extend_from_slice(&check(handle, bytes));
        self.scratch.extend_from_slice(bytes);
        if let Err(source) = self.file.write_all_at(&self.scratch, at) {
            self.remove(handle);
            let path = self.path.clone();
            return Err(DiskArenaError::Disk { path, source });
        }
        self.scratch.shrink_to(SCRATCH);
        Ok(handle)
    }

    /// The length of an entry; `None` if it was removed.
    pub fn length(&self, handle: Handle) -> Option<u32> {
        Some(self.layout.find(handle)?.1)
    }

    /// What reads an entry; `None` if it was removed. Should the entry be moved before it
    /// is read, that is told as damage: then one asked for anew differs from this.
    pub fn reading(&self, handle: Handle) -> Option<Reading> {
        let (at, length) = self.layout.find(handle)?;
        Some(Reading {
            file: self.file.clone(),
            path: self.path.clone(),
            handle,
            at,
            length,
        })
    }

    /// Lets go of an entry; whether there was one.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let Some(freed) = self.layout.remove(handle) else {
            return false;
        };
        match freed {
            Some(freed) => self.give_back(freed),
            None => self.tidy(),
        }
        true
    }

    /// Empties the sparsest segment into others if there is too much waste.
    fn tidy(&mut self) {
        let Some(at) = self.layout.sparsest() else {
            return;
        };
        if self.empty(at).is_none() {
            self.layout.stuck(at);
        }
    }

    /// Moves what lives in the segment at `start` elsewhere; `None` if not all of it could be.
    fn empty(&mut self, start: u64) -> Option<()> {
        let filled = self.layout.filled(start);
        let mut segment = vec![0; usize::try_from(filled).ok()?];
        self.file.read_exact_at(&mut segment, start).ok()?;
        let mut offset = 0;
        while offset < filled {
            let rest = segment.get(usize::try_from(offset).ok()?..)?;
            let (slot, length) = head(rest)?;
            let at = start + offset;
            let extent = extent(length);
            offset += extent;
            if !self.layout.is_at(slot, at, length) {
                continue;
            }
            let entry = rest.get(..HEAD + usize::try_from(length).ok()?)?;
            let to = self.layout.elsewhere(length)?;
            let freed = if self.file.write_all_at(entry, to).is_ok() {
                self.layout.moved(slot, to)
            } else {
                let freed = self.layout.not_moved(to, length);
                freed.into_iter().for_each(|freed| self.give_back(freed));
                return None;
            };
            freed.into_iter().for_each(|freed| self.give_back(freed));
        }
        Some(())
    }

    fn give_back(&self, freed: Freed) {
        // Where that does not work the room is used again all the same.
        if freed.is_end {
            let _ = self.file.set_len(freed.at);
        } else {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(&*self.file, hole, freed.at, freed.length);
        }
    }
}

impl Drop for DiskArena {
    fn drop(&mut self) {
        // What is in it is lost with its owner.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Reading {
    /// Bytes of the entry.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Whether `other` reads the same entry from the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        self.handle == other.handle && self.at == other.at
    }

    /// Reads the entry.
    pub fn run(&self) -> Result<Vec<u8>, ReadingError> {
        let at = self.at;
        let damaged = || ReadingError::Damaged {
            path: self.path.clone(),
            at,
        };
        let mut bytes = vec![0; HEAD + self.length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|source| {
            let path = self.path.clone();
            ReadingError::Disk { path, at, source }
        })?;
        let found = head(&bytes);
        let body = bytes.split_off(HEAD);
        let is_it = found == Some((self.handle.slot, self.length))
            && bytes
                .get(8..)
                .is_some_and(|it| it == check(self.handle, &body));
        is_it.then_some(body).ok_or_else(damaged)
    }
}

/// The slot and the length an entry begins with.
fn head(bytes: &[u8]) -> Option<(u32, u32)> {
    let (slot, rest) = bytes.split_first_chunk()?;
    let length = rest.first_chunk()?;
    Some((u32::from_le_bytes(*slot), u32::from_le_bytes(*length)))
}

fn check(handle: Handle, bytes: &[u8]) -> [u8; 8] {
    let mut hash = blake3::Hasher::new();
    hash.update(&handle.slot.to_le_bytes());
    hash.update(&handle.turn.to_le_bytes());
    hash.update(bytes);
    let mut check = [0; 8];
    hash.finalize_xof().fill(&mut check);
    check
}
