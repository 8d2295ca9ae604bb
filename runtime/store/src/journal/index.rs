//! What a journal knows without reading entries: how every agent's log stands, and
//! which files are needed.
//!
//! When a file is closed, how the agents stand of which something is in it is written
//! beside it, in `NUMBER.index`:
//!
//! ```text
//!   magic 8 | number 4 | floor 4 | link: sequence 8, chain 16 | agents 4 |
//!   for each agent: id, numbers as they stand below | a snapshot that goes on | hash 32
//! ```
//!
//! So starting takes as long as reading these, and the last file. An index that is not
//! there, or is damaged, is made again from its file.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use phoenix_core::journal::{Check, What};
use phoenix_core::{AgentId, Millis};
use smallvec::SmallVec;

use super::entry::{AgentEntry, Stored};
use super::format::{Entry, Kind, LAST, Link, Place, entry_size};
use super::table::Table;
use crate::wire::{BadBytes, Reader, put_bytes, put_number};

const MAGIC: [u8; 8] = *b"PHXJIX\0\x01";
const HASH: usize = 32;
/// Fewest bytes of an agent in an index.
const LEAST_AGENT: usize = 30;

/// A snapshot of which not all parts are written.
#[derive(Clone, Debug)]
struct Partial {
    agent: AgentId,
    through: u64,
    /// The check of the part before the next, and the one before the first.
    check: Check,
    base: Check,
    stored: Stored,
}

/// How all agents stand.
#[derive(Debug, Default)]
pub(super) struct Index {
    agents: Table,
    /// Agents by the first file that holds something needed of them.
    pins: BTreeMap<u32, u64>,
    /// Agents by the file in which a life of theirs ended.
    ended: BTreeMap<u32, Vec<AgentId>>,
    live: u64,
    /// Agents of which something is in the file that is written to.
    touched: HashSet<AgentId>,
    partial: Option<Partial>,
    /// No file before this one is needed.
    pub(super) floor: u32,
}

/// What entries of one block change, until the block is durable.
#[derive(Debug, Default)]
pub(super) struct Staged {
    agents: HashMap<AgentId, AgentEntry>,
    partial: Option<Partial>,
    touched: Vec<AgentId>,
    floor: Option<u32>,
}

impl Index {
    pub(super) fn get(&self, agent: &AgentId) -> Option<AgentEntry> {
        self.agents.get(agent)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, AgentEntry)> {
        self.agents.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.agents.len()
    }

    /// Bytes in files that are needed.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Agents of which something in `file` is needed, and nothing before.
    pub(super) fn pinning(&self, file: u32) -> u64 {
        let partial = self
            .partial
            .as_ref()
            .is_some_and(|it| it.stored.first == file);
        self.pins.get(&file).copied().unwrap_or(0) + u64::from(partial)
    }

    /// An agent of which not all is there that is needed.
    pub(super) fn broken(&self) -> Option<(&AgentId, &AgentEntry)> {
        self.agents.busy().find(|(_, entry)| !entry.is_whole())
    }

    /// The first of these files that is needed, the last in any case.
    pub(super) fn needed_from(&self, first: u32, last: u32) -> u32 {
        let mut files = first..last;
        files.find(|file| self.pinning(*file) > 0).unwrap_or(last)
    }

    /// Those agents.
    pub(super) fn pinned_by(&self, file: u32) -> Vec<AgentId> {
        self.agents.pinned_by(file)
    }

    /// The first file of which something is needed.
    pub(super) fn first_needed(&self) -> Option<u32> {
        self.pins.keys().next().copied()
    }

    /// Puts an agent's entry in place of what was known.
    fn set(&mut self, agent: AgentId, entry: AgentEntry) {
        self.count(&entry, true);
        let ended_in = entry.ended_in;
        let before = self.agents.insert(agent.clone(), entry);
        if let Some(before) = &before {
            self.count(before, false);
        }
        if let Some(file) = ended_in
            && before.is_none_or(|before| before.ended_in != ended_in)
        {
            self.ended.entry(file).or_default().push(agent);
        }
    }

    fn remove(&mut self, agent: &AgentId) {
        if let Some(before) = self.agents.remove(agent) {
            self.count(&before, false);
        }
    }

    fn count(&mut self, entry: &AgentEntry, is_there: bool) {
        if is_there {
            self.live += entry.live();
        } else {
            self.live = self.live.saturating_sub(entry.live());
        }
        let Some(file) = entry.first_file() else {
            return;
        };
        let pins = self.pins.entry(file).or_default();
        if is_there {
            *pins += 1;
        } else {
            *pins = pins.saturating_sub(1);
            if *pins == 0 {
                self.pins.remove(&file);
            }
        }
    }

    /// What was staged is durable.
    pub(super) fn apply(&mut self, staged: Staged) {
        for (agent, entry) in staged.agents {
            self.set(agent, entry);
        }
        self.touched.extend(staged.touched);
        self.partial = staged.partial;
        if let Some(floor) = staged.floor {
            self.raise_floor(floor);
        }
    }

    /// Forgets what the files before `floor` alone knew: that agents have ended.
    pub(super) fn raise_floor(&mut self, floor: u32) {
        self.floor = self.floor.max(floor);
        let kept = self.ended.split_off(&floor);
        let gone = std::mem::replace(&mut self.ended, kept);
        for agent in gone.into_values().flatten() {
            let Some(mut entry) = self.agents.get(&agent) else {
                continue;
            };
            if entry.ended_in.is_none_or(|file| file >= floor) {
                continue;
            }
            if entry.has_ended() {
                self.remove(&agent);
            } else {
                entry.ended_in = None;
                self.set(agent, entry);
            }
        }
    }

    /// A snapshot that was never finished is nothing.
    pub(super) fn drop_partial(&mut self) {
        self.partial = None;
    }

    pub(super) fn stage(&self) -> Staged {
        Staged {
            partial: self.partial.clone(),
            ..Staged::default()
        }
    }

    /// The index of the file of this number, which ends with `link`; the next file has
    /// nothing in it yet.
    pub(super) fn close(&mut self, number: u32, link: &Link) -> Vec<u8> {
        let touched = std::mem::take(&mut self.touched);
        let entries = touched
            .iter()
            .filter_map(|agent| Some((agent, self.agents.get(agent)?)));
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&self.floor.to_le_bytes());
        out.extend_from_slice(&link.sequence.to_le_bytes());
        out.extend_from_slice(&link.chain);
        put_number(&mut out, entries.clone().count() as u64);
        for (agent, entry) in entries {
            put_entry(&mut out, agent, &entry);
        }
        put_partial(&mut out, self.partial.as_ref());
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// Takes what an index says, unless it is not whole; what the file's end is chained
    /// to.
    pub(super) fn load(&mut self, bytes: &[u8], number: u32) -> Result<Link, BadBytes> {
        let end = bytes
            .len()
            .checked_sub(HASH)
            .ok_or(BadBytes::Short("the hash"))?;
        let (body, hash) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if blake3::hash(body).as_bytes() != hash {
            return Err(BadBytes::Value("its hash"));
        }
        let mut r = Reader::new(body);
        if r.array("magic")? != MAGIC || u32::from_le_bytes(r.array("number")?) != number {
            return Err(BadBytes::Value("its header"));
        }
        let floor = u32::from_le_bytes(r.array("floor")?);
        let link = Link {
            sequence: u64::from_le_bytes(r.array("sequence")?),
            chain: r.array("chain")?,
        };
        let count = r.number("agents")?;
        if count > (body.len() / LEAST_AGENT) as u64 {
            return Err(BadBytes::Short("an agent"));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(&mut r)?);
        }
        let partial = partial(&mut r)?;
        r.end()?;
        self.partial = partial;
        self.agents.reserve(entries.len());
        for (agent, entry) in entries {
            self.set(agent, entry);
        }
        self.touched.clear();
        self.floor = self.floor.max(floor);
        Ok(link)
    }
}

impl Staged {
    /// How an agent stands after what is staged.
    pub(super) fn agent(&mut self, index: &Index, agent: &AgentId) -> Option<&mut AgentEntry> {
        if !self.agents.contains_key(agent) {
            let entry = index.get(agent)?;
            self.agents.insert(agent.clone(), entry);
        }
        self.agents.get_mut(agent)
    }

    /// Where the part of a snapshot before this one lies.
    pub(super) fn part_before(&self, part: u32) -> Place {
        match &self.partial {
            Some(partial) if part > 0 => partial.stored.last,
            _ => Place::NONE,
        }
    }

    /// Takes an entry that lies at `place`; `agent` is whose it is, if that is at hand.
    pub(super) fn take(
        &mut self,
        index: &Index,
        entry: &Entry<'_>,
        place: Place,
        agent: Option<&AgentId>,
    ) -> Result<(), String> {
        let head = &entry.head;
        match head.kind {
            Kind::Close => return Ok(()),
            Kind::Floor => {
                self.floor = u32::try_from(head.index).ok();
                return Ok(());
            }
            Kind::Of(_) => {}
        }
        // An id of which there is one is not made again: there are very many.
        let agent = match agent.or_else(|| index.agents.id(entry.agent)) {
            Some(agent) => agent.clone(),
            None => AgentId::new(entry.agent).map_err(|bad| bad.to_string())?,
        };
        if head.kind == Kind::Of(What::Snapshot) {
            self.take_part(index, &agent, entry, place)?;
        } else {
            // One whose beginning is in files that are not needed any more begins here.
            if self.agent(index, &agent).is_none() {
                let before = AgentEntry::after(head.index.saturating_sub(1), head.previous);
                self.agents.insert(agent.clone(), before);
            }
            if let Some(known) = self.agent(index, &agent) {
                known.take(entry, place)?;
            }
            if head.kind == Kind::Of(What::End) {
                // Nothing more is written of a snapshot of the life that ended.
                self.partial = self.partial.take().filter(|it| it.agent != agent);
            }
        }
        self.touched.push(agent);
        Ok(())
    }

    fn take_part(
        &mut self,
        index: &Index,
        agent: &AgentId,
        entry: &Entry<'_>,
        place: Place,
    ) -> Result<(), String> {
        let head = &entry.head;
        let size = entry_size(entry.agent, entry.body.len()) as u64;
        let mut partial = match self.partial.take() {
            _ if head.part == 0 => Partial {
                agent: agent.clone(),
                through: head.index,
                check: head.previous,
                base: head.previous,
                stored: Stored {
                    last: place,
                    first: place.file,
                    parts: 0,
                    through: head.index,
                    bytes: 0,
                },
            },
            Some(partial) => partial,
            // It began in a file that is gone: it was never needed.
            None => return Ok(()),
        };
        let fits = partial.agent == *agent
            && partial.through == head.index
            && partial.check == head.previous
            && partial.stored.parts == head.part;
        if !fits {
            return Err("it is not the next part of its snapshot".to_owned());
        }
        partial.check = head.check;
        partial.stored.last = place;
        partial.stored.parts += 1;
        partial.stored.bytes += size;
        if head.flags & LAST == 0 {
            self.partial = Some(partial);
            return Ok(());
        }
        let Partial {
            through,
            base,
            stored,
            ..
        } = partial;
        if self.agent(index, agent).is_none() {
            let before = AgentEntry::after(through, base);
            self.agents.insert(agent.clone(), before);
        }
        if let Some(known) = self.agent(index, agent) {
            known.take_snapshot(through, base, head.wake, stored);
        }
        Ok(())
    }
}

fn put_entry(out: &mut Vec<u8>, agent: &AgentId, entry: &AgentEntry) {
    put_bytes(out, agent.as_str().as_bytes());
    out.extend_from_slice(&entry.check.0);
    out.extend_from_slice(&entry.base_check.0);
    for number in [
        entry.last,
        entry.base,
        entry.since,
        entry.wake.0,
        entry.place.file.into(),
        entry.place.offset.into(),
        entry.ended_in.unwrap_or(0).into(),
        entry.files.len() as u64,
    ] {
        put_number(out, number);
    }
    for (file, first) in &entry.files {
        put_number(out, (*file).into());
        put_number(out, *first);
    }
    out.push(u8::from(entry.begun));
    out.push(u8::from(entry.snapshot.is_some()));
    if let Some(stored) = &entry.snapshot {
        put_stored(out, stored);
    }
}

fn entry(r: &mut Reader<'_>) -> Result<(AgentId, AgentEntry), BadBytes> {
    let agent = agent_id(r)?;
    let check = Check(r.array("check")?);
    let base_check = Check(r.array("check")?);
    let mut entry = AgentEntry {
        check,
        base_check,
        last: r.number("last")?,
        base: r.number("base")?,
        since: r.number("since")?,
        wake: Millis(r.number("wake")?),
        place: Place {
            file: short(r)?,
            offset: short(r)?,
        },
        ended_in: Some(short(r)?).filter(|file| *file > 0),
        files: SmallVec::new(),
        snapshot: None,
        begun: false,
    };
    for _ in 0..r.number("files")? {
        entry.files.push((short(r)?, r.number("first")?));
    }
    entry.begun = r.byte("begun")? != 0;
    if r.byte("snapshot")? != 0 {
        entry.snapshot = Some(stored(r)?);
    }
    Ok((agent, entry))
}

fn put_partial(out: &mut Vec<u8>, partial: Option<&Partial>) {
    out.push(u8::from(partial.is_some()));
    let Some(it) = partial else {
        return;
    };
    put_bytes(out, it.agent.as_str().as_bytes());
    out.extend_from_slice(&it.check.0);
    out.extend_from_slice(&it.base.0);
    put_number(out, it.through);
    put_stored(out, &it.stored);
}

fn partial(r: &mut Reader<'_>) -> Result<Option<Partial>, BadBytes> {
    if r.byte("snapshot")? == 0 {
        return Ok(None);
    }
    Ok(Some(Partial {
        agent: agent_id(r)?,
        check: Check(r.array("check")?),
        base: Check(r.array("check")?),
        through: r.number("through")?,
        stored: stored(r)?,
    }))
}

fn agent_id(r: &mut Reader<'_>) -> Result<AgentId, BadBytes> {
    let id = std::str::from_utf8(r.bytes("id")?).ok();
    let agent = id.and_then(|id| AgentId::new(id).ok());
    agent.ok_or(BadBytes::Value("an agent's id"))
}

fn put_stored(out: &mut Vec<u8>, stored: &Stored) {
    put_number(out, stored.parts.into());
    put_number(out, stored.last.file.into());
    put_number(out, stored.last.offset.into());
    put_number(out, stored.first.into());
    put_number(out, stored.through);
    put_number(out, stored.bytes);
}

fn stored(r: &mut Reader<'_>) -> Result<Stored, BadBytes> {
    Ok(Stored {
        parts: short(r)?,
        last: Place {
            file: short(r)?,
            offset: short(r)?,
        },
        first: short(r)?,
        through: r.number("through")?,
        bytes: r.number("bytes")?,
    })
}

fn short(r: &mut Reader<'_>) -> Result<u32, BadBytes> {
    u32::try_from(r.number("number")?).map_err(|_| BadBytes::Range("number"))
}
