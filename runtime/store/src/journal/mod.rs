//! Durable agents' turns and snapshots on disk: the journal.
//!
//! ```text
//!   0000000007.journal   header │ block │ block │ block │ close    0000000007.index
//!   0000000008.journal   header │ block │ block │ zeros …
//! ```
//!
//! A row of files of which only the last is written to. Every sync makes one block
//! durable, with the entries of all agents that came meanwhile. An entry says where
//! the one before it of the same agent lies, so an agent is read from its last entry
//! back, and the rest is not. A file goes when nothing in it is needed, the first one
//! first; what is still needed of the first is written anew at the end, at a bounded
//! rate, when too much of the whole is waste.
//!
//! - [`format`]: the bytes, and how a torn end is told from damage
//! - [`scan`]: reading a file from its beginning
//! - [`entry`], [`index`]: what is known without reading
//! - [`files`], [`engine`]: the files, and writing to the last
//! - [`read`]: reading one agent
//! - [`writer`]: many submitters, one sync

mod engine;
mod entry;
mod files;
mod format;
mod index;
mod memory;
mod read;
mod scan;
mod table;
mod volume;
mod writer;

use std::io;
use std::sync::Arc;

use phoenix_core::journal::clean::{Cleaning, Holdings};
use phoenix_core::journal::{
    Append, CommitNumber, Damage, Figures, History, Journal, ReadError, Refused, Standing, Store,
    Stored, Watcher, streams,
};
use phoenix_core::{AgentId, Millis};

pub use memory::MemoryJournal;
pub use volume::{RealVolume, Volume, VolumeFile};

/// What time it is, milliseconds since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// How a journal is kept.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a file, 64 MiB by default. One with an entry that is longer is longer.
    pub file_bytes: u64,
    /// Bytes that all files may have; without a bound by default.
    pub capacity: u64,
    /// Bytes that may wait for the disk before nothing more is taken, 64 MiB by default.
    pub waiting_bytes: u64,
    /// Bytes of snapshots that may wait likewise, 256 MiB by default.
    pub waiting_snapshot_bytes: u64,
    /// How files are freed.
    pub cleaning: Cleaning,
    /// The time, for the rate of cleaning.
    pub clock: Clock,
}

impl Options {
    /// The defaults.
    pub fn new(clock: Clock) -> Self {
        Self {
            file_bytes: 64 << 20,
            capacity: u64::MAX,
            waiting_bytes: 64 << 20,
            waiting_snapshot_bytes: 256 << 20,
            cleaning: Cleaning::default(),
            clock,
        }
    }
}

/// Why a journal cannot be opened, or failed. What was durable is as it was.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed. After a failed write or sync the journal is not to be used again.
    #[error("cannot {action} {file} in {place}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// In which directory.
        place: String,
        /// The system's word for it.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// A file is missing that others need.
    #[error("{file} is missing in {place}, and what is there needs it: restore it from a copy")]
    Missing {
        /// Which file.
        file: String,
        /// In which directory.
        place: String,
    },
    /// There is no room to begin a journal.
    #[error("{place} has no room for a journal: free some space there")]
    NoRoom {
        /// In which directory.
        place: String,
    },
    /// Entries did not come in their order: the node is at fault.
    #[error("{name} was not appended in its order: {what}")]
    OutOfOrder {
        /// Which entry.
        name: String,
        /// What is wrong.
        what: String,
    },
}

/// What a crash left of the last block; nothing of it was acknowledged, and it was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// In which file.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// How long it was, bytes.
    pub bytes: u64,
}

/// How a journal was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What was cut off at the end.
    pub torn: Option<TornTail>,
    /// Indexes that were damaged, and were made again from their files.
    pub damaged_indexes: Vec<String>,
    /// Files that were read from their beginning: the last, and those without an index.
    pub scanned: u64,
}

/// A journal on disk, with a thread that writes it.
pub struct DiskJournal {
    writer: writer::Writer,
}

impl DiskJournal {
    /// Opens the journal in `volume`, or begins it, and starts its thread.
    pub fn open(volume: Arc<dyn Volume>, options: Options) -> Result<(Self, Opened), JournalError> {
        let place = volume.place();
        let (files, indexes) = files::Files::open(volume)?;
        let (engine, opened) = engine::Engine::open(files, &indexes, options.clone())?;
        let writer = writer::Writer::start(engine, options);
        let writer = writer.map_err(|source| JournalError::Io {
            action: "start the thread for",
            file: "the journal".to_owned(),
            place,
            source,
        })?;
        Ok((Self { writer }, opened))
    }
}

impl Journal for DiskJournal {
    fn room(&self) -> Result<(), Refused> {
        self.writer.room()
    }

    fn append(&self, entry: Append) -> Result<CommitNumber, Refused> {
        self.writer.append(entry)
    }

    fn store(&self, snapshot: Store, done: Stored) -> Result<(), Refused> {
        self.writer.store(snapshot, done)
    }

    fn durable(&self) -> CommitNumber {
        self.writer.durable()
    }

    fn watch(&self, watcher: Watcher) {
        self.writer.watch(watcher);
    }

    fn standing(&self, agent: &AgentId) -> Option<Standing> {
        let entry = engine::entry_of(self.writer.shared(), agent)?;
        Some(entry.standing())
    }

    fn each(&self, show: &mut dyn FnMut(&AgentId, &Standing)) {
        let index = self.writer.shared().index.lock();
        for (agent, entry) in index.iter() {
            if !entry.has_ended() && !streams::is_log(agent) {
                show(agent, &entry.standing());
            }
        }
    }

    fn read(&self, agent: &AgentId) -> Result<Option<History>, ReadError> {
        Ok(read::read(self.writer.shared(), agent)?.map(read::All::history))
    }

    fn figures(&self) -> Figures {
        self.writer.figures()
    }
}

/// What a journal's files hold.
fn holdings(shared: &engine::Shared, is_full: bool) -> Holdings {
    let files = shared.files.read();
    let first = files.first().unwrap_or(0);
    let index = shared.index.lock();
    Holdings {
        bytes: files.bytes,
        live: index.live(),
        files: u32::try_from(files.all.len()).unwrap_or(u32::MAX),
        pinning: index.pinning(first),
        is_full,
    }
}
