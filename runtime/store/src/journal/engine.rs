//! Writing blocks to the last file, and opening what is there.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use phoenix_core::journal::{Check, What};
use phoenix_core::{AgentId, Millis};

use super::entry::AgentEntry;
use super::files::{CreateError, Files, LogFile, index_name, log_name, next_header};
use super::format::{self, Entry, FIRST_BLOCK, Head, Kind, Link, MOVED, Place, entry_size, extent};
use super::index::{Index, Staged};
use super::scan::{Block, Scan, scan};
use super::volume::{no_room, read_all, write_all};
use super::{JournalError, Opened, Options, TornTail};

/// Room that is left for the last block of a file.
const CLOSE_ROOM: usize = format::SECTOR;
/// Room that is left besides, for the word that files before are not needed: a full disk
/// is freed by it.
const FLOOR_ROOM: usize = format::SECTOR;

/// What is shared with those who read.
pub(super) struct Shared {
    pub(super) index: Mutex<Index>,
    pub(super) files: RwLock<Files>,
}

/// An entry to be written.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) index: u64,
    pub(super) previous: Check,
    pub(super) check: Check,
    pub(super) wake: Millis,
    pub(super) part: u32,
    /// Whose it is; none of the journal's own.
    pub(super) agent: Option<AgentId>,
    pub(super) body: Bytes,
}

impl Item {
    /// A word of the journal's own.
    fn own(kind: Kind, index: u64) -> Self {
        Self {
            kind,
            flags: 0,
            index,
            previous: Check::default(),
            check: Check::default(),
            wake: Millis::NEVER,
            part: 0,
            agent: None,
            body: Bytes::new(),
        }
    }

    fn agent(&self) -> &str {
        self.agent.as_ref().map_or("", AgentId::as_str)
    }

    /// Bytes it takes in a file.
    pub(super) fn size(&self) -> usize {
        entry_size(self.agent(), self.body.len())
    }

    fn out_of_order(&self, what: &str) -> WriteError {
        WriteError::Failed(JournalError::OutOfOrder {
            name: super::scan::entry_name(self.index, self.agent()),
            what: what.to_owned(),
        })
    }

    fn as_entry(&self, before: Place) -> Entry<'_> {
        Entry {
            head: Head {
                kind: self.kind,
                flags: self.flags,
                index: self.index,
                previous: self.previous,
                check: self.check,
                wake: self.wake,
                before,
                part: self.part,
            },
            agent: self.agent(),
            body: &self.body,
        }
    }
}

/// Why a group was not written.
pub(super) enum WriteError {
    /// There is no room: nothing was changed, and it may be tried again.
    NoRoom,
    /// The journal is done with.
    Failed(JournalError),
}

/// The end of a journal.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    options: Options,
    last: LogFile,
    /// Where the next block goes, and what it is chained to.
    at: usize,
    link: Link,
}

impl Engine {
    /// Writes a block of these entries, and makes it durable.
    pub(super) fn write(&mut self, items: &[Item]) -> Result<(), WriteError> {
        self.write_leaving(FLOOR_ROOM + CLOSE_ROOM, items)
    }

    fn write_leaving(&mut self, room: usize, items: &[Item]) -> Result<(), WriteError> {
        let size = items.iter().map(Item::size).sum::<usize>();
        let length = usize::try_from(self.last.header.length).unwrap_or(usize::MAX);
        if self.at + extent(size) + room > length {
            self.roll(extent(size))?;
        }
        let (payload, staged) = self.lay_out(items, size)?;
        self.put_block(&payload)?;
        self.shared.index.lock().apply(staged);
        Ok(())
    }

    /// Puts entries one after the other, each with where the one before it lies.
    fn lay_out(&self, items: &[Item], size: usize) -> Result<(Vec<u8>, Staged), WriteError> {
        let index = self.shared.index.lock();
        let mut staged = index.stage();
        let mut payload = Vec::with_capacity(size);
        // Of entries that are written anew the first needs none before it.
        let mut moved = Place::NONE;
        for item in items {
            let offset = self.at + format::BLOCK_HEADER + payload.len();
            let place = Place {
                file: self.last.header.number,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
            };
            let before = match (item.kind, &item.agent) {
                (Kind::Of(What::Snapshot), _) => staged.part_before(item.part),
                (Kind::Of(_), Some(_)) if item.flags & MOVED != 0 => {
                    let first = item.flags & format::FIRST != 0;
                    let before = if first { Place::NONE } else { moved };
                    moved = place;
                    before
                }
                (Kind::Of(_), Some(agent)) => match staged.agent(&index, agent) {
                    Some(known) => {
                        let begins = item.flags & format::BEGINS != 0;
                        let next = known.check_next(item.index, item.previous, begins);
                        next.map_err(|what| item.out_of_order(&what))?;
                        known.before()
                    }
                    None if item.flags & format::BEGINS != 0 => Place::NONE,
                    None => return Err(item.out_of_order("nothing is known of its agent")),
                },
                _ => Place::NONE,
            };
            let entry = item.as_entry(before);
            let taken = staged.take(&index, &entry, place, item.agent.as_ref());
            taken.map_err(|what| item.out_of_order(&what))?;
            entry.put(&mut payload);
        }
        Ok((payload, staged))
    }

    fn put_block(&mut self, payload: &[u8]) -> Result<(), WriteError> {
        let LogFile { header, mask, file } = &self.last;
        let (block, next) = format::block(header.number, *mask, self.at, self.link, payload);
        let failed = |action, error| {
            let files = self.shared.files.read();
            WriteError::Failed(files.failed(action, &log_name(header.number), error))
        };
        match write_all(&**file, self.at as u64, &block) {
            Ok(()) => {}
            // Nothing after `at` counts until it is synced: it is written again.
            Err(error) if no_room(&error) => return Err(WriteError::NoRoom),
            Err(error) => return Err(failed("write to", error)),
        }
        file.sync().map_err(|error| failed("sync", error))?;
        self.at += block.len();
        self.link = next;
        Ok(())
    }

    /// Goes on in a new file, with room for a block of `needed` bytes.
    fn roll(&mut self, needed: usize) -> Result<(), WriteError> {
        let close = Item::own(Kind::Close, 0);
        let mut payload = Vec::new();
        close.as_entry(Place::NONE).put(&mut payload);
        let number = self.last.header.number + 1;
        let length = self
            .options
            .file_bytes
            .max((FIRST_BLOCK + needed + FLOOR_ROOM + CLOSE_ROOM) as u64);
        let next = {
            let files = self.shared.files.read();
            if files.bytes + length > self.options.capacity {
                return Err(WriteError::NoRoom);
            }
            let floor = self.shared.index.lock().floor;
            // It is made first: a file that is closed has one after it.
            let header = next_header(number, self.link.next(&payload), floor, length);
            files.create(header).map_err(|error| match error {
                CreateError::NoRoom => WriteError::NoRoom,
                CreateError::Failed(error) => WriteError::Failed(error),
            })?
        };
        if let Err(error) = self.put_block(&payload) {
            self.shared.files.read().remove(number);
            return Err(error);
        }
        let closed = std::mem::replace(&mut self.last, next.clone())
            .header
            .number;
        self.at = FIRST_BLOCK;
        let bytes = self.shared.index.lock().close(closed, &self.link);
        let mut files = self.shared.files.write();
        files.add(next);
        // It can be made again from the file.
        let _ = files.write_index(closed, &bytes);
        Ok(())
    }

    /// Drops the files before `floor`: nothing in them is needed.
    pub(super) fn drop_before(&mut self, floor: u32) -> Result<(), WriteError> {
        self.write_leaving(CLOSE_ROOM, &[Item::own(Kind::Floor, floor.into())])?;
        self.shared.files.write().drop_before(floor);
        Ok(())
    }

    /// Opens the journal in `volume`, or begins it.
    pub(super) fn open(
        files: Files,
        indexes: &[u32],
        options: Options,
    ) -> Result<(Self, Opened), JournalError> {
        let mut opening = Opening {
            files,
            index: Index::default(),
            opened: Opened::default(),
            last: None,
        };
        if opening.files.all.is_empty() {
            opening.begin(indexes, &options)?;
        }
        let end = opening.read(indexes)?;
        let Opening {
            files,
            mut index,
            opened,
            ..
        } = opening;
        index.drop_partial();
        let (number, at, link) = end;
        let last = files.all.get(&number).cloned();
        let last = last.ok_or_else(|| files.missing(number))?;
        let engine = Self {
            shared: Arc::new(Shared {
                index: Mutex::new(index),
                files: RwLock::new(files),
            }),
            options,
            last,
            at,
            link,
        };
        Ok((engine, opened))
    }
}

/// A journal that is being opened.
struct Opening {
    files: Files,
    index: Index,
    opened: Opened,
    /// What the last file holds.
    last: Option<Scan>,
}

/// The last file, and where and how it goes on.
type End = (u32, usize, Link);

impl Opening {
    fn begin(&mut self, indexes: &[u32], options: &Options) -> Result<(), JournalError> {
        if let Some(number) = indexes.iter().min() {
            return Err(self.files.missing(*number));
        }
        let header = next_header(1, format::first_link(), 1, options.file_bytes);
        let file = self.files.create(header).map_err(|error| match error {
            CreateError::NoRoom => JournalError::NoRoom {
                place: self.files.volume.place(),
            },
            CreateError::Failed(error) => error,
        })?;
        self.files.add(file);
        Ok(())
    }

    fn read(&mut self, indexes: &[u32]) -> Result<End, JournalError> {
        let numbers: Vec<u32> = self.files.all.keys().copied().collect();
        let mut end: Option<End> = None;
        for (number, expected) in numbers.iter().zip(numbers.first().copied().unwrap_or(1)..) {
            if *number != expected {
                return Err(self.files.missing(expected));
            }
        }
        let floor = self.find_floor(numbers.last().copied())?;
        if numbers.first().is_none_or(|first| *first > floor) {
            return Err(self.files.missing(floor));
        }
        self.index.raise_floor(floor);
        let mut link = None;
        for number in numbers.iter().filter(|number| **number >= floor) {
            let Some(file) = self.files.all.get(number).cloned() else {
                continue;
            };
            if let Some((open, at, _)) = end {
                // The file before was not closed: this one was made just before a crash.
                self.undo_roll(open, at, &file)?;
                continue;
            }
            if link.is_some_and(|link| link != file.header.link) {
                let what = "it does not follow the file before it";
                let name = log_name(*number);
                return Err(self.files.damaged(&name, 0, "the file's header", what));
            }
            match self.read_file(*number, &file, indexes.contains(number))? {
                Ending::Closed(next) => link = Some(next),
                Ending::Open(at, next) => end = Some((*number, at, next)),
            }
        }
        let Some(end) = end else {
            return Err(self
                .files
                .missing(numbers.last().map_or(1, |last| last + 1)));
        };
        if let Some(first) = self.index.first_needed().filter(|first| *first < floor) {
            return Err(self.files.missing(first));
        }
        if let Some((agent, entry)) = self.index.broken() {
            let name = log_name(entry.place.file);
            let record = super::scan::entry_name(entry.base + 1, agent.as_str());
            let what = "what came before it is not there";
            return Err(self
                .files
                .damaged(&name, entry.place.offset as usize, &record, what));
        }
        self.files.drop_before(floor);
        for number in indexes
            .iter()
            .filter(|number| !self.files.all.contains_key(number))
        {
            self.files.remove(*number);
        }
        Ok(end)
    }

    /// The first file that is needed. The word for it is in the last file, or in the
    /// header of a later one than it is in.
    fn find_floor(&mut self, last: Option<u32>) -> Result<u32, JournalError> {
        let headers = self.files.all.values().map(|file| file.header.floor);
        let floor = headers.max().unwrap_or(1);
        let Some(file) = last.and_then(|last| self.files.all.get(&last)) else {
            return Ok(floor);
        };
        let scan = self.scan(file)?;
        let said = scan.blocks.iter().filter_map(Block::floor).max();
        self.last = Some(scan);
        Ok(floor.max(said.unwrap_or(floor)))
    }

    fn scan(&self, file: &LogFile) -> Result<Scan, JournalError> {
        let name = log_name(file.header.number);
        let bytes = self
            .files
            .try_io("read", &name, |_| read_all(&*file.file))?;
        scan(&bytes, &file.header).map_err(|it| self.damaged(file, &it))
    }

    fn damaged(&self, file: &LogFile, it: &super::scan::Damage) -> JournalError {
        let name = log_name(file.header.number);
        self.files.damaged(&name, it.offset, &it.record, &it.what)
    }

    /// Takes a file from its index, or entry by entry.
    fn read_file(
        &mut self,
        number: u32,
        file: &LogFile,
        has_index: bool,
    ) -> Result<Ending, JournalError> {
        if has_index {
            let read = self.files.read_index(number).ok();
            let loaded = read.and_then(|bytes| self.index.load(&bytes, number).ok());
            if let Some(link) = loaded {
                return Ok(Ending::Closed(link));
            }
            self.opened.damaged_indexes.push(index_name(number));
        }
        let name = log_name(number);
        let is_last = self.files.all.keys().next_back() == Some(&number);
        let scan = match self.last.take_if(|_| is_last) {
            Some(scan) => scan,
            None => self.scan(file)?,
        };
        self.opened.scanned += 1;
        for block in &scan.blocks {
            let mut staged = self.index.stage();
            let index = &self.index;
            let taken = block.each(number, |entry, place| {
                staged.take(index, &entry, place, None)
            });
            taken.map_err(|it| self.damaged(file, &it))?;
            self.index.apply(staged);
        }
        let Scan {
            end,
            link,
            torn,
            is_closed,
            ..
        } = scan;
        // What was written and not synced was read all the same: it has to be durable
        // before anything is done about it.
        self.files.try_io("sync", &name, |_| file.file.sync())?;
        if is_closed {
            let bytes = self.index.close(number, &link);
            // It can be made again.
            let _ = self.files.write_index(number, &bytes);
            return Ok(Ending::Closed(link));
        }
        if let Some(torn) = torn {
            let cut = |_: &dyn super::Volume| file.file.clear_from(end as u64);
            self.files.try_io("cut the torn end of", &name, cut)?;
            self.opened.torn = Some(TornTail {
                file: name,
                offset: end as u64,
                bytes: torn as u64,
            });
        }
        Ok(Ending::Open(end, link))
    }

    /// Removes a file that was made when the one before it was about to be closed.
    fn undo_roll(&mut self, open: u32, at: usize, file: &LogFile) -> Result<(), JournalError> {
        let name = log_name(file.header.number);
        let bytes = self
            .files
            .try_io("read", &name, |_| read_all(&*file.file))?;
        let is_empty = bytes.iter().skip(FIRST_BLOCK).all(|byte| *byte == 0);
        if !is_empty || file.header.number != open + 1 {
            let what = "it ends here, and there is a file after it";
            let record = "the file's last block";
            return Err(self.files.damaged(&log_name(open), at, record, what));
        }
        self.files
            .try_io("remove", &name, |volume| volume.remove(&name))?;
        self.files.forget(file.header.number);
        Ok(())
    }
}

/// How a file ends.
enum Ending {
    /// The next one is there, and begins with this.
    Closed(Link),
    /// It goes on here.
    Open(usize, Link),
}

/// How an agent stands, for those who read.
pub(super) fn entry_of(shared: &Shared, agent: &AgentId) -> Option<AgentEntry> {
    shared.index.lock().get(agent)
}
