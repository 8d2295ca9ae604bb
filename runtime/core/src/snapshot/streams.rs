//! The streams that arrive at an agent: in its snapshot, or in a table beside it.
//!
//! An agent that hears from many has many of them, and few change between two of its
//! snapshots. So the journal may have them in a log of their own, of which each entry has
//! those that changed since the one before; see [`crate::journal::streams`]. An entry, or
//! a snapshot of that log, is a **part** of the table: a version byte, and the streams
//! as a snapshot has them. What a later part says of a stream counts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::codec::{Reader, Writer};
use super::{SNAPSHOT_VERSION, SnapshotError, flags};
use crate::agent::{Agent, InStream, Inbound, Skips};
use crate::{Millis, StreamKey};

/// The version of a part this node writes, and the only one it reads.
const PART_VERSION: u8 = 1;

/// The table has a stream as it is; beside its lane.
const IS_SAVED: u8 = 1 << 4;
/// A stream began with what an earlier run of its node had left; beside its lane.
const IS_ADOPTED: u8 = 1 << 5;
/// The sender of a stream was told to hold; beside its lane.
const IS_HELD: u8 = 1 << 6;
/// Something of a stream is closed above its watermark; beside its lane.
const HAS_SKIPS: u8 = 1 << 7;
const MARKS: u8 = IS_SAVED | IS_ADOPTED | IS_HELD | HAS_SKIPS;

/// Where a snapshot's streams are, if it has not got them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The last entry of the streams' log that counts.
    pub through: u64,
    /// How many streams there are at least.
    pub count: u64,
}

/// A part of a table, and what of the agent it has.
#[derive(Debug)]
pub struct Part {
    /// The part.
    pub bytes: Bytes,
    places: Vec<u32>,
}

impl Part {
    /// The table has this: it need not be told again while it does not change.
    pub fn note_saved(&self, agent: &mut Agent) {
        agent.inbound.note_saved(self.places.iter().copied());
    }
}

/// A part that has none.
pub fn none() -> Bytes {
    Bytes::from_static(&[PART_VERSION, 0])
}

/// All streams of an agent, as one part.
pub fn whole(agent: &Agent) -> Part {
    part(&agent.inbound, agent.inbound.places().collect())
}

/// The streams that the table does not have as they are, in parts of some `bytes` each.
pub fn changes(agent: &Agent, bytes: usize) -> Vec<Part> {
    let inbound = &agent.inbound;
    let mut parts = Vec::new();
    let mut places = Vec::new();
    let mut room = bytes;
    for (at, stream) in inbound.unsaved() {
        let taken = LEAST_BYTES + stream.key.sender.to_string().len();
        if taken > room && !places.is_empty() {
            parts.push(part(inbound, std::mem::take(&mut places)));
            room = bytes;
        }
        room = room.saturating_sub(taken);
        places.push(at);
    }
    if !places.is_empty() {
        parts.push(part(inbound, places));
    }
    parts
}

/// Bytes that most streams take but for the name of who speaks.
const LEAST_BYTES: usize = 20;

fn part(inbound: &Inbound, places: Vec<u32>) -> Part {
    let mut bytes = Vec::with_capacity(places.len() * (LEAST_BYTES + 20));
    let mut w = Writer(&mut bytes);
    w.u8(PART_VERSION);
    w.number(places.len() as u64);
    for at in &places {
        if let Some(stream) = inbound.at(*at) {
            w.stream(inbound, stream, false);
        }
    }
    Part {
        bytes: bytes.into(),
        places,
    }
}

/// Where the streams of a snapshot are, if it has not got them itself. Its hash is not
/// checked.
pub fn beside(snapshot: &Bytes) -> Result<Option<Beside>, SnapshotError> {
    let mut r = Reader::new(snapshot, snapshot.len());
    match r.u8("version")? {
        SNAPSHOT_VERSION => {}
        version => return Err(SnapshotError::Version(version)),
    }
    if flags(&mut r)?.0 & super::STREAMS_BESIDE == 0 {
        return Ok(None);
    }
    super::skip_head(&mut r)?;
    r.number("give-up")?;
    Beside::decode(&mut r).map(Some)
}

impl Beside {
    pub(super) fn encode(self, w: &mut Writer<'_>) {
        w.number(self.through);
        w.number(self.count);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Self {
            through: r.number("streams")?,
            count: r.number("streams")?,
        })
    }

    /// Reads the streams from the parts of the table that count.
    pub(super) fn read(
        self,
        agent: &mut Agent,
        table: &[Bytes],
    ) -> Result<Vec<(u32, u64)>, SnapshotError> {
        let mut adopted = BTreeMap::new();
        for bytes in table {
            let mut r = Reader::new(bytes, bytes.len());
            match r.u8("version")? {
                PART_VERSION => {}
                version => return Err(SnapshotError::Version(version)),
            }
            for _ in 0..r.count(4, "streams")? {
                let (at, first) = stream(agent, &mut r, true)?;
                adopted.remove(&at);
                adopted.extend(first.map(|first| (at, first)));
            }
            if !r.is_empty() {
                let left = bytes.len() - r.at(bytes.len());
                return Err(SnapshotError::Trailing(left));
            }
        }
        if (agent.inbound.len() as u64) < self.count {
            return Err(SnapshotError::Short("streams"));
        }
        Ok(adopted.into_iter().collect())
    }
}

/// Reads the streams of a snapshot that has them; gives those that were adopted, each
/// with the number it begins with.
pub(super) fn decode(
    agent: &mut Agent,
    r: &mut Reader<'_>,
) -> Result<Vec<(u32, u64)>, SnapshotError> {
    let mut adopted = Vec::new();
    for _ in 0..r.count(4, "streams")? {
        let (at, first) = stream(agent, r, false)?;
        adopted.extend(first.map(|first| (at, first)));
    }
    Ok(adopted)
}

/// Reads one. Gives the number it begins with, if it was adopted.
fn stream(
    agent: &mut Agent,
    r: &mut Reader<'_>,
    is_of_table: bool,
) -> Result<(u32, Option<u64>), SnapshotError> {
    let sender = r.sender()?;
    let marked = r.u8("lane")?;
    let key = StreamKey {
        sender,
        receiver: agent.id.clone(),
        lane: Reader::lane_of(marked & !MARKS)?,
    };
    let watermark = r.number("watermark")?;
    let last_give_up = Millis(r.number("give-up")?);
    let first = if marked & IS_ADOPTED != 0 {
        let first = r.number("first")?;
        if first == 0 || first > watermark.saturating_add(1) {
            return Err(SnapshotError::Invalid("first"));
        }
        Some(first)
    } else {
        None
    };
    let mut skips: Vec<Skips> = Vec::new();
    if marked & HAS_SKIPS != 0 {
        let mut last = 0;
        for _ in 0..r.count(3, "skips")? {
            let skip = Skips {
                from: r.number("skips")?,
                through: r.number("skips")?,
                how: r.closed()?,
            };
            if skip.from <= last || skip.through < skip.from {
                return Err(SnapshotError::Invalid("skips"));
            }
            last = skip.through;
            skips.push(skip);
        }
    }
    let is_held = marked & IS_HELD != 0;
    let inbound = &mut agent.inbound;
    let at = inbound.restore(key, watermark, last_give_up, is_held, skips);
    if is_of_table || marked & IS_SAVED != 0 {
        inbound.note_saved([at]);
    }
    Ok((at, first))
}

impl Writer<'_> {
    /// All streams that arrive.
    pub(super) fn streams(&mut self, inbound: &Inbound) {
        self.number(inbound.len() as u64);
        for stream in inbound.iter() {
            self.stream(inbound, stream, stream.is_saved);
        }
    }

    fn stream(&mut self, inbound: &Inbound, stream: &InStream, is_saved: bool) {
        let skips = inbound.skips(stream);
        let mark = |is_so: bool, bit| if is_so { bit } else { 0 };
        let marks = mark(stream.is_held, IS_HELD)
            | mark(!skips.is_empty(), HAS_SKIPS)
            | mark(stream.is_adopted, IS_ADOPTED)
            | mark(is_saved, IS_SAVED);
        self.sender(&stream.key.sender);
        self.u8(stream.key.lane as u8 | marks);
        self.number(stream.watermark);
        self.number(stream.last_give_up.0);
        if stream.is_adopted {
            // Streams count from 1.
            self.number(inbound.adopted_from(&stream.key).unwrap_or(1));
        }
        if skips.is_empty() {
            return;
        }
        self.number(skips.len() as u64);
        for skip in skips {
            self.number(skip.from);
            self.number(skip.through);
            self.closed(&skip.how);
        }
    }
}
