//! Spilled messages on disk: what mailboxes have no room for, in order, lane by lane.
//!
//! ```text
//!   HASH-LANE-00000003.spill    messages, appended
//!   HASH-LANE-00000003.read     how much of it was taken, appended
//! ```
//!
//! A lane of an agent's area is a queue of segments. It is written at its last one and read
//! at its first; a segment whose messages were all taken is deleted, and so is the
//! word of how much was. That word is written before a message is given out, so one
//! that is sent at most once never comes twice.
//!
//! What was pushed is with the operating system: it survives the end of the process,
//! however that comes, but need not survive the machine's. Nothing here waits for
//! the disk to be sure: a reliable message has its sender, and any other may be lost.
//! Damage is an error that names the file, and costs what is behind it in its lane.
//! What is in front of it is given out first.

mod lane;
mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use phoenix_core::{AgentId, Backlog, Digest, Envelope, Lane, Spill, SpillError};

use lane::{LaneFiles, SegmentFile};
use segment::{Header, MAX_HEADER};

/// Bytes a node keeps of spilled messages if it is not told otherwise, 16 GiB.
pub const DEFAULT_SPACE: u64 = 16 << 30;
/// Segments that are kept open for writing at once.
const MAX_OPEN: usize = 64;

/// What all areas of a node may take on its disk, together. Shared by those who
/// each keep some of them.
#[derive(Debug)]
pub struct SpillSpace {
    bound: u64,
    used: AtomicU64,
}

impl SpillSpace {
    /// So many bytes.
    pub fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self {
            bound,
            used: AtomicU64::new(0),
        })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self.used.try_update(Relaxed, Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.bound)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// Areas on disk.
pub struct DiskSpill {
    directory: PathBuf,
    space: Arc<SpillSpace>,
    lanes: BTreeMap<(AgentId, Lane), LaneFiles>,
    /// Lanes with a segment open for writing, the longest ago first.
    open: VecDeque<(AgentId, Lane)>,
    /// Where records are put together.
    scratch: Vec<u8>,
}

impl DiskSpill {
    /// The areas in `directory`, made if it is not there, that are of agents which
    /// this one `keeps`. Files that cannot be read are said in the second part, and
    /// left alone.
    pub fn open(
        directory: &Path,
        space: Arc<SpillSpace>,
        keeps: impl Fn(&AgentId) -> bool,
    ) -> io::Result<(Self, Vec<String>)> {
        crate::files::create_private_dir(directory)?;
        let mut spill = Self {
            directory: directory.to_owned(),
            space,
            lanes: BTreeMap::new(),
            open: VecDeque::new(),
            scratch: Vec::new(),
        };
        let mut bad = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(directory)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        for name in names {
            let Some(number) = number_of(&name) else {
                continue;
            };
            match spill.find(&name, number, &keeps) {
                Ok(()) => {}
                Err(why) => bad.push(format!("{}: {why}", directory.join(&name).display())),
            }
        }
        Ok((spill, bad))
    }

    /// Takes note of a segment that is there.
    fn find(
        &mut self,
        name: &str,
        number: u64,
        keeps: &impl Fn(&AgentId) -> bool,
    ) -> Result<(), String> {
        let path = self.directory.join(name);
        let head = lane::read_at(&path, 0, MAX_HEADER).map_err(|error| error.to_string())?;
        let (header, length, seal) =
            Header::read(&head, number).map_err(|error| error.to_string())?;
        if !keeps(&header.agent) {
            return Ok(());
        }
        if !name.starts_with(&prefix(&header.agent, header.lane)) {
            return Err("it is not of the agent that its name says".to_owned());
        }
        let bytes = fs::metadata(&path)
            .map_err(|error| error.to_string())?
            .len();
        self.space.used.fetch_add(bytes, Relaxed);
        let lane = self.lanes.entry((header.agent, header.lane)).or_default();
        lane.found(SegmentFile::found(path, number, seal, length as u64, bytes));
        Ok(())
    }

    /// Drops a lane.
    fn remove(&mut self, key: &(AgentId, Lane)) {
        if let Some(mut files) = self.lanes.remove(key) {
            files.remove_all(&self.space);
            self.open.retain(|open| open != key);
        }
    }

    /// Closes what was written to longest ago, if too much is open.
    fn note_open(&mut self, key: &(AgentId, Lane)) {
        self.open.push_back(key.clone());
        while self.open.len() > MAX_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            if let Some(lane) = self.lanes.get_mut(&oldest) {
                lane.close();
            }
        }
    }
}

impl Spill for DiskSpill {
    fn push(&mut self, agent: &AgentId, envelope: &Arc<Envelope>) -> Result<(), SpillError> {
        let key = (agent.clone(), envelope.stream.lane);
        let lane = self.lanes.entry(key.clone()).or_default();
        let failed = |source: io::Error| SpillError::Disk {
            agent: agent.clone(),
            what: "written",
            why: source.to_string(),
        };
        let was_open = lane.is_open();
        let header = Header {
            agent: agent.clone(),
            lane: key.1,
        };
        let path = |number| segment_path(&self.directory, &header, number);
        let pushed = lane.push(&header, path, envelope, &self.space, &mut self.scratch);
        let is_open = lane.is_open();
        if is_open && !was_open {
            self.note_open(&key);
        }
        match pushed {
            Ok(true) => Ok(()),
            Ok(false) => Err(SpillError::Full {
                bound: self.space.bound,
            }),
            Err(error) => Err(failed(error)),
        }
    }

    fn pop(
        &mut self,
        agent: &AgentId,
        lane: Lane,
        messages: u64,
        bytes: u64,
    ) -> Result<Vec<Arc<Envelope>>, SpillError> {
        let key = (agent.clone(), lane);
        let Some(files) = self.lanes.get_mut(&key) else {
            return Ok(Vec::new());
        };
        let popped = files.pop(messages, bytes, &self.space);
        if popped.is_err() || files.is_empty() {
            self.remove(&key);
        }
        popped.map_err(|bad| bad.into_error(agent))
    }

    fn survey(&mut self, agent: &AgentId) -> (Vec<Backlog>, Vec<SpillError>) {
        let (mut backlogs, mut lost) = (Vec::new(), Vec::new());
        for lane in Lane::MESSAGES {
            let key = (agent.clone(), lane);
            let Some(files) = self.lanes.get_mut(&key) else {
                continue;
            };
            let (messages, bytes, bad) = files.survey(&self.space);
            lost.extend(bad.map(|bad| bad.into_error(agent)));
            if messages == 0 {
                self.remove(&key);
                continue;
            }
            backlogs.push(Backlog {
                lane,
                messages,
                bytes,
            });
        }
        (backlogs, lost)
    }

    fn clear(&mut self, agent: &AgentId) {
        for lane in Lane::MESSAGES {
            self.remove(&(agent.clone(), lane));
        }
    }

    fn agents(&self) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> = self.lanes.keys().map(|(agent, _)| agent.clone()).collect();
        agents.dedup();
        agents
    }
}

/// What the names of a lane's files begin with.
fn prefix(agent: &AgentId, lane: Lane) -> String {
    let hash = Digest::of(agent.as_str().as_bytes()).to_string();
    let hash = hash.get(..32).unwrap_or_default();
    format!("{hash}-{}-", lane as u8)
}

fn segment_path(directory: &Path, header: &Header, number: u64) -> PathBuf {
    let prefix = prefix(&header.agent, header.lane);
    directory.join(format!("{prefix}{number:010}.spill"))
}

/// The number of the segment of that name.
fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".spill")?
        .rsplit_once('-')?
        .1
        .parse()
        .ok()
}
