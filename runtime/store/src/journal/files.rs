//! A journal's files: which there are, making the next, dropping the first.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::JournalError;
use super::format::{FIRST_BLOCK, FileHeader, Link, Mask};
use super::volume::{Volume, VolumeFile, read_exact, write_all};

/// Ends the names of files that are being written.
const UNFINISHED: &str = ".unfinished";

/// One file.
#[derive(Clone)]
pub(super) struct LogFile {
    pub(super) file: Arc<dyn VolumeFile>,
    pub(super) header: FileHeader,
    pub(super) mask: Mask,
}

impl LogFile {
    fn new(file: Arc<dyn VolumeFile>, header: FileHeader) -> Self {
        Self {
            mask: Mask::of(header.number, &header.link),
            file,
            header,
        }
    }
}

/// All files, by number.
pub(super) struct Files {
    pub(super) volume: Arc<dyn Volume>,
    pub(super) all: BTreeMap<u32, LogFile>,
    /// Bytes of all of them.
    pub(super) bytes: u64,
}

pub(super) fn log_name(number: u32) -> String {
    format!("{number:010}.journal")
}

pub(super) fn index_name(number: u32) -> String {
    format!("{number:010}.index")
}

fn number_of(name: &str, to_name: fn(u32) -> String) -> Option<u32> {
    let number = name.split_once('.')?.0.parse().ok()?;
    (to_name(number) == name).then_some(number)
}

impl Files {
    /// Opens the files that are there, and reads their headers. What a crash has left
    /// half written is removed.
    pub(super) fn open(volume: Arc<dyn Volume>) -> Result<(Self, Vec<u32>), JournalError> {
        let mut files = Self {
            volume,
            all: BTreeMap::new(),
            bytes: 0,
        };
        // A file may be there whose maker was killed before its name was durable: what is
        // written to it from now on would be lost with the name.
        files.try_io("sync the names of", "the journal", |volume| volume.sync())?;
        let names = files.try_io("list the files of", "the journal", |volume| volume.list())?;
        let mut indexes = Vec::new();
        for name in names {
            if name.ends_with(UNFINISHED) {
                // It takes room, and is in nobody's way.
                let _ = files.volume.remove(&name);
            } else if let Some(number) = number_of(&name, index_name) {
                indexes.push(number);
            } else if let Some(number) = number_of(&name, log_name) {
                let file = files.open_log(&name, number)?;
                files.bytes += file.header.length;
                files.all.insert(number, file);
            }
        }
        Ok((files, indexes))
    }

    fn open_log(&self, name: &str, number: u32) -> Result<LogFile, JournalError> {
        let file = self.try_io("open", name, |volume| volume.open(name))?;
        let length = self.try_io("look at", name, |_| file.length())?;
        let mut first = vec![0; FIRST_BLOCK.min(usize::try_from(length).unwrap_or(FIRST_BLOCK))];
        self.try_io("read", name, |_| read_exact(&*file, 0, &mut first))?;
        let header = FileHeader::decode(&first, number, length);
        let header = header.ok_or_else(|| {
            self.damaged(name, 0, "the file's header", "it is not what was written")
        })?;
        Ok(LogFile::new(file, header))
    }

    /// Makes the file after the last, durable under its name.
    pub(super) fn create(&self, header: FileHeader) -> Result<LogFile, CreateError> {
        let name = log_name(header.number);
        let unfinished = format!("{name}{UNFINISHED}");
        let file = self.volume.create(&unfinished, header.length);
        let file = file.map_err(|error| self.create_error("make", &name, error))?;
        let written = write_all(&*file, 0, &header.encode());
        if let Err(error) = written {
            let _ = self.volume.remove(&unfinished);
            return Err(self.create_error("write", &name, error));
        }
        let failed = |action, error| CreateError::Failed(self.failed(action, &name, error));
        file.sync().map_err(|error| failed("sync", error))?;
        let renamed = self.volume.rename(&unfinished, &name);
        renamed.map_err(|error| failed("rename", error))?;
        self.volume
            .sync()
            .map_err(|error| failed("sync the name of", error))?;
        Ok(LogFile::new(file, header))
    }

    fn create_error(&self, action: &'static str, name: &str, error: io::Error) -> CreateError {
        if super::volume::no_room(&error) {
            CreateError::NoRoom
        } else {
            CreateError::Failed(self.failed(action, name, error))
        }
    }

    pub(super) fn add(&mut self, file: LogFile) {
        self.bytes += file.header.length;
        self.all.insert(file.header.number, file);
    }

    /// Writes an index beside its file. Without one the file is read.
    pub(super) fn write_index(&self, number: u32, bytes: &[u8]) -> io::Result<()> {
        let name = index_name(number);
        let unfinished = format!("{name}{UNFINISHED}");
        let file = self.volume.create(&unfinished, bytes.len() as u64)?;
        write_all(&*file, 0, bytes)?;
        self.volume.rename(&unfinished, &name)
    }

    pub(super) fn read_index(&self, number: u32) -> io::Result<Vec<u8>> {
        super::volume::read_all(&*self.volume.open(&index_name(number))?)
    }

    /// Drops the files before `floor`, and their indexes.
    pub(super) fn drop_before(&mut self, floor: u32) {
        while let Some(first) = self.all.first_entry().filter(|it| *it.key() < floor) {
            let (number, file) = first.remove_entry();
            self.bytes = self.bytes.saturating_sub(file.header.length);
            self.remove(number);
        }
    }

    /// A file was removed.
    pub(super) fn forget(&mut self, number: u32) {
        if let Some(file) = self.all.remove(&number) {
            self.bytes = self.bytes.saturating_sub(file.header.length);
        }
    }

    /// Removes a file that is not needed. If that fails it takes room until the next start.
    pub(super) fn remove(&self, number: u32) {
        let _ = self.volume.remove(&index_name(number));
        let _ = self.volume.remove(&log_name(number));
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.all.keys().next().copied()
    }

    pub(super) fn try_io<T>(
        &self,
        action: &'static str,
        name: &str,
        run: impl FnOnce(&dyn Volume) -> io::Result<T>,
    ) -> Result<T, JournalError> {
        run(&*self.volume).map_err(|error| self.failed(action, name, error))
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
        name: &str,
        source: io::Error,
    ) -> JournalError {
        JournalError::Io {
            action,
            file: name.to_owned(),
            place: self.volume.place(),
            source,
        }
    }

    pub(super) fn damaged(
        &self,
        name: &str,
        offset: usize,
        record: &str,
        what: &str,
    ) -> JournalError {
        JournalError::Damaged(phoenix_core::journal::Damage {
            file: format!("{}/{name}", self.volume.place()),
            record: record.to_owned(),
            offset: offset as u64,
            what: what.to_owned(),
        })
    }

    pub(super) fn missing(&self, number: u32) -> JournalError {
        JournalError::Missing {
            file: log_name(number),
            place: self.volume.place(),
        }
    }
}

/// Why the next file could not be made.
pub(super) enum CreateError {
    /// There is no room; nothing was changed.
    NoRoom,
    Failed(JournalError),
}

/// The header of the file after one that ends with `link`.
pub(super) fn next_header(number: u32, link: Link, floor: u32, length: u64) -> FileHeader {
    FileHeader {
        number,
        link,
        floor,
        length,
    }
}
