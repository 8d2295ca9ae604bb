//! An append-only log of records, with a snapshot in front of it.
//!
//! ```text
//!   NAME-0000000003.snapshot   what the owner made of all records before
//!   NAME-0000000003.log        the records since
//! ```
//!
//! What a record means is the owner's business. A log that fails to write or
//! sync has failed for good: nothing is known of what the disk holds until it
//! is read back, by opening the log anew.

mod block;
mod commit;
mod scan;

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use block::Link;

pub use block::MAX_RECORD;
pub use commit::{CommitQueue, Committed, LogFailed, QueueFull, SnapshotSource, Urgency};

/// Longest snapshot, 8 GiB.
const MAX_SNAPSHOT: u64 = 8 << 30;
/// Begins a snapshot file; its hash and length follow.
const SNAPSHOT_MAGIC: [u8; 8] = *b"PHXSNP\0\x01";
const SNAPSHOT_HEADER: usize = 8 + 8 + 8 + 32;
/// Ends the names of files that are being written.
const UNFINISHED: &str = ".unfinished";

/// Why a log cannot be opened, or failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. After an append or a sync the log is not to be used again.
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
    /// A file is not what was written. Nothing was changed.
    #[error(
        "{file} in {place} is damaged at byte {offset}: {what}. Nothing after that can be \
         trusted; restore the directory {place} from a copy, or move it away to begin anew"
    )]
    Damaged {
        /// Which file.
        file: String,
        /// In which directory.
        place: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A file that belongs to those that are there is missing. Nothing was changed.
    #[error("{file} is missing in {place}, and other files there need it: restore it from a copy")]
    Missing {
        /// Which file.
        file: String,
        /// In which directory.
        place: String,
    },
    /// The log failed before.
    #[error("the log in {0} failed before and is not written to any more")]
    Failed(String),
}

/// What a crash left of the last block; it was never acknowledged, and was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// In which file.
    pub file: String,
    /// Where it began.
    pub offset: u64,
    /// How long it was, bytes.
    pub bytes: u64,
}

/// What was read back.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The snapshot, if there is one.
    pub snapshot: Option<Vec<u8>>,
    /// The records after it.
    pub records: Vec<Vec<u8>>,
    /// What was cut off at the end.
    pub torn: Option<TornTail>,
}

/// A log that is open for appending. Its owner decides when to sync.
pub struct RecordLog {
    disk: Arc<dyn Disk>,
    name: String,
    number: u64,
    file: Box<dyn DiskFile>,
    link: Link,
    bytes: u64,
    snapshot_bytes: u64,
    failed: bool,
}

impl RecordLog {
    /// Opens the log of this name, or begins it, and reads back what it holds.
    pub fn open(disk: Arc<dyn Disk>, name: &str) -> Result<(Self, Recovered), LogError> {
        let at = At { disk: &*disk, name };
        // What a run that was killed has named and written may not be durable: it has to
        // be before anything is done about what is read.
        at.try_io("sync", "names", |disk| disk.sync())?;
        let files = at.try_io("list", "files", |disk| disk.list())?;
        let numbers = |kind: &str| -> Vec<u64> {
            let found = files.iter().filter_map(|file| number_of(file, name, kind));
            found.collect()
        };
        let snapshots = numbers("snapshot");
        let logs = numbers("log");
        let number = snapshots.iter().copied().max().unwrap_or(0);
        let mut recovered = Recovered::default();
        let mut snapshot_bytes = 0;
        if let Some(number) = snapshots.iter().copied().max() {
            let snapshot = at.read_snapshot(number)?;
            snapshot_bytes = snapshot.len() as u64;
            recovered.snapshot = Some(snapshot);
        }
        let log_name = file_name(name, number, "log");
        if !logs.contains(&number) {
            // Every snapshot's log is made before the snapshot gets its name.
            if number > 0 || !logs.is_empty() {
                return Err(LogError::Missing {
                    file: log_name,
                    place: disk.place(),
                });
            }
            at.create_log(0)?;
        }
        at.check_later_logs(&logs, number)?;
        let bytes = at.try_io("read", &log_name, |disk| disk.read(&log_name))?;
        let scan = scan::scan(&bytes, number).map_err(|damage| LogError::Damaged {
            file: log_name.clone(),
            place: disk.place(),
            offset: damage.offset as u64,
            what: damage.what,
        })?;
        recovered.records = scan.records;
        recovered.torn = (scan.torn > 0).then(|| TornTail {
            file: log_name.clone(),
            offset: scan.end as u64,
            bytes: scan.torn as u64,
        });
        let end = scan.end as u64;
        let mut file = at.try_io("open", &log_name, |disk| disk.append_to(&log_name, end))?;
        at.try_io("sync", &log_name, |_| file.sync())?;
        at.clean_up(&files, number);
        let log = Self {
            name: name.to_owned(),
            number,
            file,
            link: scan.link,
            bytes: end,
            snapshot_bytes,
            failed: false,
            disk,
        };
        Ok((log, recovered))
    }

    /// Bytes of the log file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the snapshot in front of it.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes
    }

    /// Where the log lies, for messages.
    pub fn place(&self) -> String {
        self.disk.place()
    }

    /// Appends records, each at most [`MAX_RECORD`] long, and makes them durable.
    ///
    /// After an error the log is done with.
    pub fn commit<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), LogError> {
        let mut payload = Vec::new();
        for record in records {
            block::put_record(&mut payload, record);
            if payload.len() >= block::FULL_PAYLOAD {
                self.commit_block(&payload)?;
                payload.clear();
            }
        }
        if payload.is_empty() {
            return Ok(());
        }
        self.commit_block(&payload)
    }

    /// One block, synced before the next one is written: that is what tells a
    /// torn end from damage.
    fn commit_block(&mut self, payload: &[u8]) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed(self.disk.place()));
        }
        let mut out = Vec::with_capacity(block::BLOCK_HEADER + payload.len());
        let next = block::put_block(&mut out, self.number, self.link, payload);
        let written = self.file.append(&out).map_err(|error| ("append to", error));
        let synced = written.and_then(|()| self.file.sync().map_err(|error| ("sync", error)));
        if let Err((action, source)) = synced {
            self.failed = true;
            return Err(LogError::Io {
                action,
                file: file_name(&self.name, self.number, "log"),
                place: self.disk.place(),
                source,
            });
        }
        self.link = next;
        self.bytes += out.len() as u64;
        Ok(())
    }

    /// Puts `snapshot` in the place of all records so far.
    ///
    /// `Ok(false)` if the disk has no room for it: the log goes on as it was.
    /// After an error the log is done with.
    pub fn compact(&mut self, snapshot: &[u8]) -> Result<bool, LogError> {
        if self.failed {
            return Err(LogError::Failed(self.disk.place()));
        }
        let before = self.number;
        let number = before + 1;
        let at = At {
            disk: &*self.disk,
            name: &self.name,
        };
        let unfinished = format!("{}{UNFINISHED}", file_name(&self.name, number, "snapshot"));
        match at.write_snapshot(&unfinished, number, snapshot) {
            Ok(()) => {}
            Err(Written::NoRoom) => {
                // Unfinished files are deleted when the log is opened, at the latest.
                let _ = self.disk.remove(&unfinished);
                return Ok(false);
            }
            Err(Written::Failed(error)) => {
                self.failed = true;
                return Err(error);
            }
        }
        let switched = at.create_log(number).and_then(|file| {
            let name = file_name(&self.name, number, "snapshot");
            at.try_io("rename", &name, |disk| disk.rename(&unfinished, &name))?;
            at.try_io("sync", "names", |disk| disk.sync())?;
            Ok(file)
        });
        match switched {
            Ok(file) => {
                self.file = file;
                self.number = number;
                self.link = block::first_link(number);
                self.bytes = block::FILE_HEADER as u64;
                self.snapshot_bytes = snapshot.len() as u64;
                for kind in ["log", "snapshot"] {
                    // Old files only take room; the next opening tries again.
                    let _ = self.disk.remove(&file_name(&self.name, before, kind));
                }
                Ok(true)
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }
}

/// How a file was not written.
enum Written {
    /// There is no room; nothing was named yet.
    NoRoom,
    Failed(LogError),
}

/// A disk and the log's name on it.
struct At<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
}

impl At<'_> {
    fn try_io<T>(
        &self,
        action: &'static str,
        file: &str,
        run: impl FnOnce(&dyn Disk) -> io::Result<T>,
    ) -> Result<T, LogError> {
        run(self.disk).map_err(|source| LogError::Io {
            action,
            file: file.to_owned(),
            place: self.disk.place(),
            source,
        })
    }

    /// An empty log, durable under its name.
    fn create_log(&self, number: u64) -> Result<Box<dyn DiskFile>, LogError> {
        let name = file_name(self.name, number, "log");
        let unfinished = format!("{name}{UNFINISHED}");
        let file = self.try_io("write", &name, |disk| {
            let mut file = disk.create(&unfinished)?;
            file.append(&block::file_header(number))?;
            file.sync()?;
            Ok(file)
        })?;
        self.try_io("rename", &name, |disk| disk.rename(&unfinished, &name))?;
        self.try_io("sync", "names", |disk| disk.sync())?;
        Ok(file)
    }

    fn write_snapshot(&self, file: &str, number: u64, snapshot: &[u8]) -> Result<(), Written> {
        let mut header = Vec::with_capacity(SNAPSHOT_HEADER);
        header.extend_from_slice(&SNAPSHOT_MAGIC);
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&(snapshot.len() as u64).to_le_bytes());
        header.extend_from_slice(&snapshot_hash(&header, snapshot));
        let failed = |error| Written::Failed(error);
        let mut open = match self.disk.create(file) {
            Ok(open) => open,
            Err(error) if no_room(&error) => return Err(Written::NoRoom),
            Err(error) => return self.try_io("create", file, |_| Err(error)).map_err(failed),
        };
        for bytes in [header.as_slice(), snapshot] {
            match open.append(bytes) {
                Ok(()) => {}
                Err(error) if no_room(&error) => return Err(Written::NoRoom),
                Err(error) => return self.try_io("write", file, |_| Err(error)).map_err(failed),
            }
        }
        self.try_io("sync", file, |_| open.sync()).map_err(failed)
    }

    fn read_snapshot(&self, number: u64) -> Result<Vec<u8>, LogError> {
        let name = file_name(self.name, number, "snapshot");
        let mut bytes = self.try_io("read", &name, |disk| disk.read(&name))?;
        let damaged = |what| LogError::Damaged {
            file: name.clone(),
            place: self.disk.place(),
            offset: 0,
            what,
        };
        let snapshot = bytes.split_off(SNAPSHOT_HEADER.min(bytes.len()));
        let (head, hash) = bytes
            .split_at_checked(SNAPSHOT_HEADER - 32)
            .ok_or_else(|| damaged("the header is cut off"))?;
        let mut expected = SNAPSHOT_MAGIC.to_vec();
        expected.extend_from_slice(&number.to_le_bytes());
        expected.extend_from_slice(&(snapshot.len() as u64).to_le_bytes());
        if head != expected || snapshot.len() as u64 > MAX_SNAPSHOT {
            return Err(damaged("the header is not that of this snapshot"));
        }
        if hash != snapshot_hash(head, &snapshot) {
            return Err(damaged("its hash is not that of its content"));
        }
        Ok(snapshot)
    }

    /// A log after the newest snapshot's is what a crash left of compacting, and
    /// empty. One with records has lost its snapshot.
    fn check_later_logs(&self, logs: &[u64], number: u64) -> Result<(), LogError> {
        for later in logs.iter().copied().filter(|n| *n > number) {
            let file = file_name(self.name, later, "log");
            let bytes = self.try_io("read", &file, |disk| disk.read(&file))?;
            if bytes.len() > block::FILE_HEADER {
                return Err(LogError::Missing {
                    file: file_name(self.name, later, "snapshot"),
                    place: self.disk.place(),
                });
            }
        }
        Ok(())
    }

    /// Deletes what a crash left beside the files in use.
    fn clean_up(&self, files: &[String], number: u64) {
        for file in files {
            let ours = file
                .strip_prefix(self.name)
                .is_some_and(|rest| rest.starts_with('-'));
            let other = ["log", "snapshot"]
                .iter()
                .any(|kind| number_of(file, self.name, kind).is_some_and(|n| n != number));
            if ours && (other || file.ends_with(UNFINISHED)) {
                // It takes room and is in nobody's way.
                let _ = self.disk.remove(file);
            }
        }
    }
}

fn snapshot_hash(header: &[u8], snapshot: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(header);
    hash.update(snapshot);
    *hash.finalize().as_bytes()
}

fn no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn file_name(name: &str, number: u64, kind: &str) -> String {
    format!("{name}-{number:010}.{kind}")
}

/// The number in the name of a file of this kind.
fn number_of(file: &str, name: &str, kind: &str) -> Option<u64> {
    let number = file.strip_prefix(name)?.strip_prefix('-')?;
    let number = number.strip_suffix(kind)?.strip_suffix('.')?.parse().ok()?;
    (file_name(name, number, kind) == file).then_some(number)
}
