//! Reading one agent back, from its last entry to the first that is needed.

use bytes::Bytes;
use phoenix_core::AgentId;
use phoenix_core::journal::{Check, Damage, History, ReadError, Sealed, What};

use super::engine::{Shared, entry_of};
use super::entry::AgentEntry;
use super::files::{Files, LogFile, log_name};
use super::format::{ENTRY_HEAD, Head, Kind, Place, entry_head};
use super::scan::{WRONG_CONTENT, entry_name};
use super::volume::read_exact;

/// Read at once, bytes: most entries are shorter.
const CHUNK: usize = 1_024;
/// Read at once where an agent's entries lie close to each other, 64 KiB.
const WINDOW: usize = 64 << 10;
/// How far from the one read before an entry lies close to it, 2 KiB: one more read costs
/// less than what lies between entries that are farther apart.
const CLOSE: usize = 2 << 10;
/// How often a file may be dropped while it is being read from.
const TRIES: usize = 8;

/// An entry as it was read.
pub(super) struct Read {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// Everything of an agent that is needed.
pub(super) struct All {
    pub(super) entry: AgentEntry,
    /// The parts of its snapshot, in order.
    pub(super) parts: Vec<Read>,
    /// Its entries after that, in order.
    pub(super) entries: Vec<Read>,
}

impl All {
    pub(super) fn history(self) -> History {
        let mut snapshot = None;
        if let [only] = self.parts.as_slice() {
            snapshot = Some(only.body.clone());
        } else if !self.parts.is_empty() {
            let bytes = self.parts.iter().map(|part| part.body.len()).sum();
            let mut whole = Vec::with_capacity(bytes);
            for part in &self.parts {
                whole.extend_from_slice(&part.body);
            }
            snapshot = Some(whole.into());
        }
        History {
            standing: self.entry.standing(),
            snapshot,
            records: self.entries.into_iter().map(|read| read.body).collect(),
        }
    }
}

/// Reads an agent and checks every entry against the one before it.
pub(super) fn read(shared: &Shared, agent: &AgentId) -> Result<Option<All>, ReadError> {
    let mut tries = 0;
    loop {
        let Some(entry) = entry_of(shared, agent) else {
            return Ok(None);
        };
        let mut reader = Reader {
            shared,
            agent,
            window: Window::default(),
        };
        match reader.all(&entry) {
            Ok(all) => return Ok(Some(all)),
            // What was written anew elsewhere is there now.
            Err(Bad::Gone(_)) if tries < TRIES && entry_of(shared, agent) != Some(entry) => {
                tries += 1;
            }
            Err(Bad::Gone(file)) => {
                let why = "it is gone".to_owned();
                return Err(ReadError::Disk { file, why });
            }
            Err(Bad::Error(error)) => return Err(error),
        }
    }
}

enum Bad {
    /// The file is not there any more.
    Gone(String),
    Error(ReadError),
}

struct Reader<'a> {
    shared: &'a Shared,
    agent: &'a AgentId,
    window: Window,
}

/// What was read of a file last, and where it begins. Agents are read from their last
/// entry back, so what lies before that is wanted next.
#[derive(Default)]
struct Window {
    file: u32,
    start: usize,
    bytes: Bytes,
}

impl Window {
    fn get(&self, file: u32, offset: usize, length: usize) -> Option<Bytes> {
        let from = offset.checked_sub(self.start)?;
        let to = from.checked_add(length)?;
        let is_in = self.file == file && to <= self.bytes.len();
        is_in.then(|| self.bytes.slice(from..to))
    }

    /// Where to begin to read what ends at `end`.
    fn next_start(&self, file: u32, offset: usize, end: usize) -> usize {
        let last = self.start + self.bytes.len();
        let is_close = self.file == file && end <= last && last - end <= CLOSE;
        if is_close {
            end.saturating_sub(WINDOW).min(offset)
        } else {
            offset
        }
    }
}

impl Reader<'_> {
    fn all(&mut self, entry: &AgentEntry) -> Result<All, Bad> {
        let mut parts = Vec::new();
        if let Some(stored) = &entry.snapshot {
            let mut place = stored.last;
            for part in (0..stored.parts).rev() {
                let at = place;
                let read = self.entry(place, What::Snapshot, stored.through, part)?;
                place = read.head.before;
                parts.push((at, read));
            }
            parts.reverse();
        }
        let mut entries = Vec::new();
        let mut place = entry.place;
        for index in (entry.base + 1..=entry.last).rev() {
            let at = place;
            let read = self.entry(place, What::Record, index, 0)?;
            place = read.head.before;
            entries.push((at, read));
        }
        entries.reverse();
        let mut check = entry.base_check;
        let parts = self.chained(parts, &mut check)?;
        let mut check = entry.base_check;
        let entries = self.chained(entries, &mut check)?;
        if entry.last > entry.base && check != entry.check {
            let what = "the last entry is not the one that was written last";
            return Err(self.damaged(entry.place, entry.last, what));
        }
        Ok(All {
            entry: entry.clone(),
            parts,
            entries,
        })
    }

    /// Checks that each entry follows the one before it.
    fn chained(&self, all: Vec<(Place, Read)>, check: &mut Check) -> Result<Vec<Read>, Bad> {
        let mut chained = Vec::with_capacity(all.len());
        for (place, read) in all {
            if read.head.previous != *check {
                let what = "it does not follow the entry before it";
                return Err(self.damaged(place, read.head.index, what));
            }
            *check = read.head.check;
            chained.push(read);
        }
        Ok(chained)
    }

    /// The entry at `place`, which is to be this one.
    fn entry(&mut self, place: Place, what: What, index: u64, part: u32) -> Result<Read, Bad> {
        let file = self.shared.files.read().all.get(&place.file).cloned();
        let file = file.ok_or_else(|| Bad::Gone(log_name(place.file)))?;
        let length = usize::try_from(file.header.length).unwrap_or(usize::MAX);
        let offset = place.offset as usize;
        let left = length.saturating_sub(offset);
        if left < ENTRY_HEAD || offset == 0 {
            return Err(self.damaged(place, index, "the file ends before it"));
        }
        let mut bytes = self.bytes(&file, offset, CHUNK.min(left))?;
        let wrong = |what: &str| self.damaged(place, index, what);
        let (head, id, body) = entry_head(&bytes).map_err(|bad| wrong(&bad.to_string()))?;
        let size = ENTRY_HEAD + id + body;
        if size > left {
            return Err(wrong("the file ends within it"));
        }
        if size > bytes.len() {
            bytes = self.bytes(&file, offset, size)?;
        }
        bytes.truncate(size);
        let wrong = |what: &str| self.damaged(place, index, what);
        let agent = self.agent.as_str();
        let is_it = head.kind == Kind::Of(what)
            && head.index == index
            && head.part == part
            && bytes.get(ENTRY_HEAD..ENTRY_HEAD + id) == Some(agent.as_bytes());
        if !is_it {
            return Err(wrong("another entry lies in its place"));
        }
        let body = bytes.slice(ENTRY_HEAD + id..);
        let sealed = Sealed {
            what,
            index,
            previous: head.previous,
            agent,
            body: &body,
        };
        if sealed.check() != head.check {
            return Err(wrong(WRONG_CONTENT));
        }
        Ok(Read { head, body })
    }

    fn bytes(&mut self, file: &LogFile, offset: usize, length: usize) -> Result<Bytes, Bad> {
        let number = file.header.number;
        if let Some(bytes) = self.window.get(number, offset, length) {
            return Ok(bytes);
        }
        let end = offset + length;
        let start = self.window.next_start(number, offset, end);
        let mut bytes = vec![0; end - start];
        read_exact(&*file.file, start as u64, &mut bytes).map_err(|error| {
            Bad::Error(ReadError::Disk {
                file: self.name(number),
                why: error.to_string(),
            })
        })?;
        file.mask.apply(start, &mut bytes);
        let bytes = Bytes::from(bytes);
        let found = bytes.slice(offset - start..);
        self.window = Window {
            file: number,
            start,
            bytes,
        };
        Ok(found)
    }

    fn name(&self, number: u32) -> String {
        let files: &Files = &self.shared.files.read();
        format!("{}/{}", files.volume.place(), log_name(number))
    }

    fn damaged(&self, place: Place, index: u64, what: &str) -> Bad {
        Bad::Error(ReadError::Damaged(Damage {
            file: self.name(place.file),
            record: entry_name(index, self.agent.as_str()),
            offset: place.offset.into(),
            what: what.to_owned(),
        }))
    }
}
