//! One lane of an area as files.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phoenix_core::{AgentId, Envelope, SpillError};

use super::SpillSpace;
use super::segment::{Header, Record, Seal, read_record, write_record};

/// A segment is followed by another when it has this many bytes, 1 MiB.
const SEGMENT: u64 = 1 << 20;
/// Read at once, 64 KiB, and more where one message is longer.
const CHUNK: usize = 64 << 10;
/// Bytes of one word of how much was taken: where the next message begins, and the
/// same with all bits turned, so that a torn one is known.
const WORD: usize = 16;

/// A segment.
pub(super) struct SegmentFile {
    path: PathBuf,
    number: u64,
    seal: Seal,
    /// Where the first message begins that was not taken.
    read: u64,
    /// Bytes of it that are to be read, header included.
    bytes: u64,
    /// It was here before this process: it may end within a message.
    may_be_torn: bool,
    /// Nothing is written to it any more.
    is_closed: bool,
}

impl SegmentFile {
    /// One that is there already, with a header of so many bytes.
    pub(super) fn found(path: PathBuf, number: u64, seal: Seal, header: u64, bytes: u64) -> Self {
        let read = read_word(&word_path(&path)).unwrap_or(0);
        Self {
            read: read.clamp(header, bytes.max(header)),
            path,
            number,
            seal,
            bytes,
            may_be_torn: true,
            is_closed: true,
        }
    }
}

/// What is wrong with a lane. Nothing more can be read of it.
pub(super) enum BadLane {
    Disk(io::Error),
    Damaged(String),
}

impl BadLane {
    pub(super) fn into_error(self, agent: &AgentId) -> SpillError {
        let agent = agent.clone();
        match self {
            Self::Disk(error) => SpillError::Disk {
                agent,
                what: "read",
                why: error.to_string(),
            },
            Self::Damaged(why) => SpillError::Damaged { agent, why },
        }
    }
}

impl From<io::Error> for BadLane {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// The files of one lane.
#[derive(Default)]
pub(super) struct LaneFiles {
    /// The first is read, the last is written.
    segments: VecDeque<SegmentFile>,
    /// The last, open for writing.
    writer: Option<File>,
    /// The number the next segment gets.
    next: u64,
}

impl LaneFiles {
    pub(super) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Closes the last segment, which is opened again when it is written to.
    pub(super) fn close(&mut self) {
        self.writer = None;
    }

    /// A segment that is there already, the next in order.
    pub(super) fn found(&mut self, segment: SegmentFile) {
        self.next = segment.number + 1;
        self.segments.push_back(segment);
    }

    /// Appends a message, if there is space. What fails is as if it had not been tried.
    pub(super) fn push(
        &mut self,
        header: &Header,
        path: impl Fn(u64) -> PathBuf,
        envelope: &Envelope,
        space: &SpillSpace,
        scratch: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let is_full = |it: &SegmentFile| it.bytes >= SEGMENT || it.is_closed;
        if self.segments.back().is_none_or(is_full) {
            let (head, seal) = header.write(self.next);
            if !space.take(head.len() as u64) {
                return Ok(false);
            }
            let segment = SegmentFile {
                path: path(self.next),
                number: self.next,
                seal,
                read: head.len() as u64,
                bytes: head.len() as u64,
                may_be_torn: false,
                is_closed: false,
            };
            match create(&segment.path, &head) {
                Ok(file) => self.writer = Some(file),
                Err(error) => {
                    space.give_back(head.len() as u64);
                    return Err(error);
                }
            }
            self.next += 1;
            self.segments.push_back(segment);
        }
        let Some(last) = self.segments.back_mut() else {
            return Ok(false);
        };
        write_record(last.seal, last.bytes, envelope, scratch);
        let length = scratch.len() as u64;
        if !space.take(length) {
            return Ok(false);
        }
        let written = append(&mut self.writer, &last.path, scratch);
        match written {
            Ok(()) => last.bytes += length,
            Err(_) => {
                space.give_back(length);
                // Whatever came of it is not read, and nothing is written behind it.
                last.is_closed = true;
                self.writer = None;
            }
        }
        written.map(|()| true)
    }

    /// Takes the first messages, one at least if there is one. What is in front of
    /// damage is taken before that is said.
    pub(super) fn pop(
        &mut self,
        messages: u64,
        bytes: u64,
        space: &SpillSpace,
    ) -> Result<Vec<Arc<Envelope>>, BadLane> {
        let mut taken: Vec<Arc<Envelope>> = Vec::new();
        let (mut count, mut left) = (0, bytes);
        let mut fits = |envelope: &Envelope| {
            let size = envelope.size() as u64;
            let fits = count == 0 || (count < messages && size <= left);
            if fits {
                count += 1;
                left = left.saturating_sub(size);
            }
            fits
        };
        while let Some(first) = self.segments.front_mut() {
            let (read, found) = match first.read_some(&mut fits) {
                Ok(some) => some,
                Err(_) if !taken.is_empty() => break,
                Err(bad) => return Err(bad),
            };
            if read > first.read {
                // Before they are given out: none may come twice.
                append_word(&word_path(&first.path), read)?;
                first.read = read;
            }
            taken.extend(found);
            if first.read < first.bytes {
                // The next does not fit any more.
                break;
            }
            self.remove_first(space);
        }
        Ok(taken)
    }

    /// Reads it through: how many messages can be read of it, and their bytes. What
    /// cannot is cut off.
    pub(super) fn survey(&mut self, space: &SpillSpace) -> (u64, u64, Option<BadLane>) {
        let (mut messages, mut bytes) = (0, 0);
        let mut note = |envelope: &Envelope| {
            messages += 1;
            bytes += envelope.size() as u64;
            true
        };
        let mut bad = None;
        for at in 0..self.segments.len() {
            let Some(segment) = self.segments.get_mut(at) else {
                break;
            };
            let mut read = segment.read;
            while read < segment.bytes && bad.is_none() {
                match segment.read_from(read, &mut note) {
                    Ok((to, _)) => read = to,
                    Err(why) => bad = Some(why),
                }
            }
            if bad.is_some() {
                space.give_back(segment.bytes - read);
                segment.bytes = read;
                let rest = self.segments.split_off(at + 1);
                for mut segment in rest {
                    segment.remove(space);
                }
                break;
            }
        }
        (messages, bytes, bad)
    }

    fn remove_first(&mut self, space: &SpillSpace) {
        if self.segments.len() == 1 {
            self.writer = None;
        }
        if let Some(mut first) = self.segments.pop_front() {
            first.remove(space);
        }
    }

    /// Deletes whatever is there.
    pub(super) fn remove_all(&mut self, space: &SpillSpace) {
        while !self.segments.is_empty() {
            self.remove_first(space);
        }
    }
}

impl SegmentFile {
    /// Deletes it.
    fn remove(&mut self, space: &SpillSpace) {
        space.give_back(std::mem::take(&mut self.bytes));
        // If it stays it is in the way of nothing: it says that all was taken.
        if fs::remove_file(&self.path).is_ok() {
            let _ = fs::remove_file(word_path(&self.path));
        }
    }

    /// Reads messages as long as they `fit`. Gives where the next one begins.
    fn read_some(
        &self,
        fits: &mut impl FnMut(&Envelope) -> bool,
    ) -> Result<(u64, Vec<Arc<Envelope>>), BadLane> {
        self.read_from(self.read, fits)
    }

    /// The same from another place on. Stops in front of damage, which is an error
    /// if it is the first thing there.
    fn read_from(
        &self,
        from: u64,
        fits: &mut impl FnMut(&Envelope) -> bool,
    ) -> Result<(u64, Vec<Arc<Envelope>>), BadLane> {
        let mut found = Vec::new();
        let mut at = from;
        let mut chunk = Vec::new();
        let mut used = 0;
        while at < self.bytes {
            match self.record(at, &mut chunk, &mut used) {
                Ok(Some((envelope, length))) => {
                    if !fits(&envelope) {
                        break;
                    }
                    found.push(envelope);
                    used += length;
                    at += length as u64;
                }
                Ok(None) => return Ok((self.bytes, found)),
                Err(_) if !found.is_empty() => break,
                Err(bad) => return Err(bad),
            }
        }
        Ok((at, found))
    }

    /// The message that begins at `at`, and how many bytes it takes; none if the
    /// process ended while it was written. Of what was read into `chunk` so much is
    /// `used`.
    fn record(
        &self,
        at: u64,
        chunk: &mut Vec<u8>,
        used: &mut usize,
    ) -> Result<Option<(Arc<Envelope>, usize)>, BadLane> {
        let damaged = |why: String| BadLane::Damaged(format!("{}: {why}", self.path.display()));
        loop {
            let rest = chunk.get(*used..).unwrap_or_default();
            let length = match read_record(self.seal, at, rest).map_err(damaged)? {
                Record::Message(envelope, length) => return Ok(Some((envelope, length))),
                Record::Needs(length) => length,
            };
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            if length > left && self.may_be_torn {
                return Ok(None);
            }
            *chunk = read_at(&self.path, at, length.max(CHUNK).min(left))?;
            *used = 0;
            if chunk.len() < length {
                return Err(damaged(format!("it ends at byte {}", at + left as u64)));
            }
        }
    }
}

fn create(path: &Path, head: &[u8]) -> io::Result<File> {
    // One of the same name that could not be deleted has left its word.
    match fs::remove_file(word_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    if let Err(error) = file.write_all(head) {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

/// Appends `record` to the segment at `path`.
fn append(writer: &mut Option<File>, path: &Path, record: &[u8]) -> io::Result<()> {
    match writer {
        Some(file) => file.write_all(record),
        None => {
            let file = OpenOptions::new().append(true).open(path)?;
            writer.insert(file).write_all(record)
        }
    }
}

/// At most `length` bytes of a file, from `offset` on.
pub(super) fn read_at(path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; length];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn word_path(segment: &Path) -> PathBuf {
    segment.with_extension("read")
}

fn append_word(path: &Path, read: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&word(read))
}

fn word(read: u64) -> [u8; WORD] {
    let mut word = [0; WORD];
    let (plain, turned) = word.split_at_mut(8);
    plain.copy_from_slice(&read.to_le_bytes());
    turned.copy_from_slice(&(!read).to_le_bytes());
    word
}

/// The last whole word of the file, if there is one.
fn read_word(path: &Path) -> Option<u64> {
    let bytes = fs::read(path).ok()?;
    let (words, _torn) = bytes.as_chunks::<WORD>();
    words.iter().rev().find_map(|word| {
        let (plain, turned) = word.split_first_chunk::<8>()?;
        let read = u64::from_le_bytes(*plain);
        (turned == (!read).to_le_bytes()).then_some(read)
    })
}
