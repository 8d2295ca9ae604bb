//! The directory on disk: the state machine, its log, and the rule that no
//! answer is given before what it tells of is durable.

mod format;

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use phoenix_cluster::directory::{DeathRefused, NodeRefused};
use phoenix_cluster::{DirectoryLimits, DirectoryState, Origin, Record};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, Directory, NodeId};

use crate::disk::{Disk, RealDisk};
use crate::log::{CommitQueue, LogError, LogFailed, RecordLog, TornTail, Urgency};

/// The name of the directory's files.
const NAME: &str = "directory";

/// Why the directory cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The place for its files, or its thread, cannot be made.
    #[error("cannot prepare the directory in {place}: {source}")]
    Io {
        /// Where.
        place: String,
        /// The system's word for it.
        source: std::io::Error,
    },
    /// What was read back, though undamaged, is no directory of this node.
    #[error("the directory in {place} cannot be used: {what}")]
    Content {
        /// Where.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The node itself may not join its own directory.
    #[error("the directory in {place} cannot be used: {source}")]
    Node {
        /// Where.
        place: String,
        /// Why not.
        source: NodeRefused,
    },
}

/// Why a node is not declared dead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// It may not be. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] DeathRefused),
    /// The log failed: whether it is may show after the node has started anew.
    #[error("the directory's log failed: {0}")]
    Log(String),
}

/// What can be chosen about a directory.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// What it may hold.
    pub limits: DirectoryLimits,
    /// The log is compacted when it is longer than this, bytes, and twice the
    /// last snapshot; default 8 MiB.
    pub compact_at: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            limits: DirectoryLimits::default(),
            compact_at: 8 << 20,
        }
    }
}

/// The state, and which agents have records that are not durable yet.
struct Live {
    state: DirectoryState,
    in_flight: HashMap<AgentId, u32>,
}

/// The directory of the node it runs on.
pub struct DirectoryStore {
    origin: Origin,
    live: Arc<Mutex<Live>>,
    log: CommitQueue,
    torn: Option<TornTail>,
}

impl DirectoryStore {
    /// Opens the directory below the node's data directory, or begins it. `boot`
    /// is the node's boot counter.
    pub fn open(data_dir: &Path, own: NodeId, boot: u64) -> Result<Self, DirectoryError> {
        let path = data_dir.join(NAME);
        let disk = RealDisk::open(&path).map_err(|source| DirectoryError::Io {
            place: path.display().to_string(),
            source,
        })?;
        Self::open_on(Arc::new(disk), own, boot, Tuning::default())
    }

    /// Opens the directory on a given disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        own: NodeId,
        boot: u64,
        tuning: Tuning,
    ) -> Result<Self, DirectoryError> {
        let place = disk.place();
        let (log, recovered) = RecordLog::open(disk, NAME)?;
        let content = |what: String| DirectoryError::Content {
            place: place.clone(),
            what,
        };
        let mut state = match &recovered.snapshot {
            Some(bytes) => format::decode_state(bytes, own, tuning.limits)
                .map_err(|error| content(format!("its snapshot: {error}")))?,
            None => DirectoryState::new(own, tuning.limits),
        };
        for (index, bytes) in recovered.records.iter().enumerate() {
            let number = index + 1;
            let record = format::decode_record(bytes)
                .map_err(|error| content(format!("record {number} of its log: {error}")))?;
            // The first thing a directory ever learns is that its own node is up.
            let begins = recovered.snapshot.is_none() && index == 0;
            if begins && !matches!(record, Record::Boot { node, .. } if node == own) {
                return Err(content(format!("it is not the directory of {own}")));
            }
            state
                .replay(&record)
                .map_err(|error| content(format!("record {number} of its log: {error}")))?;
        }
        let live = Arc::new(Mutex::new(Live {
            state,
            in_flight: HashMap::new(),
        }));
        let source = live.clone();
        let snapshot = Box::new(move |taken: &mut dyn FnMut()| {
            let live = source.lock();
            taken();
            format::encode_state(own, &live.state)
        });
        let log = CommitQueue::start(log, tuning.compact_at, snapshot).map_err(|source| {
            DirectoryError::Io {
                place: place.clone(),
                source,
            }
        })?;
        let store = Self {
            origin: Origin { node: own, boot },
            live,
            log,
            torn: recovered.torn,
        };
        match store.node_up(own, boot) {
            Some(source) => Err(DirectoryError::Node { place, source }),
            None => Ok(store),
        }
    }

    /// Makes durable what waits for that, and takes nothing more: its files may be opened
    /// by another from then on.
    pub fn close(&self) {
        self.log.close();
    }

    /// Carries out a command of the node and life of it that asked.
    ///
    /// `done` is called once: at once where the answer tells of nothing that is
    /// not durable yet, otherwise on the log's thread.
    pub fn submit_from(
        &self,
        origin: Origin,
        command: DirectoryCommand,
        done: Box<dyn FnOnce(DirectoryAnswer) + Send + 'static>,
    ) {
        /// More than any record takes.
        const RECORD_ROOM: usize = 1_024;
        if let Some(failure) = self.log.failure() {
            return done(failed(&failure));
        }
        if let Err(full) = self.log.check(RECORD_ROOM) {
            return done(DirectoryAnswer::InDoubt(full.to_string()));
        }
        let agent = command.agent().clone();
        let mut live = self.live.lock();
        let (answer, record) = live.state.apply(origin, &command);
        let waits = record.is_some() || live.in_flight.contains_key(&agent);
        if !waits {
            drop(live);
            return done(answer);
        }
        let urgency = match &record {
            Some(record) if record.is_lazy() => Urgency::Lazy,
            _ => Urgency::Now,
        };
        *live.in_flight.entry(agent.clone()).or_insert(0) += 1;
        let shared = self.live.clone();
        let committed = Box::new(move |result: Result<(), LogFailed>| {
            shared.lock().landed(&agent);
            done(match result {
                Ok(()) => answer,
                Err(failure) => failed(&failure),
            });
        });
        let record = record.as_ref().map(format::encode_record);
        // Under the lock: the log's order is the state's.
        let submitted = self.log.submit(record, urgency, committed);
        drop(live);
        if let Err((failure, committed)) = submitted {
            committed(Err(failure));
        }
    }

    /// A node is connected. Gives the reason if the directory does not take it in.
    pub fn node_up(&self, node: NodeId, boot: u64) -> Option<NodeRefused> {
        let mut live = self.live.lock();
        match live.state.node_up(node, boot) {
            Ok(Some(record)) => {
                let bytes = format::encode_record(&record);
                // It rides with the node's first command; without it the boot
                // counter is learned again when the node connects again.
                // A log that failed answers every command with that.
                let _ = self
                    .log
                    .submit(Some(bytes), Urgency::Lazy, Box::new(|_| {}));
                None
            }
            Ok(None) => None,
            Err(refused) => Some(refused),
        }
    }

    /// An operator declares dead the last life seen of a node that is silent.
    /// `done` is called once, when that is durable, with the life's boot counter.
    pub fn declare_dead(
        &self,
        node: NodeId,
        done: Box<dyn FnOnce(Result<u64, DeclareError>) + Send + 'static>,
    ) {
        let mut live = self.live.lock();
        let (boot, record) = match live.state.declare_dead(node) {
            Ok(declared) => declared,
            Err(refused) => {
                drop(live);
                return done(Err(refused.into()));
            }
        };
        // Even what is recorded already may not be durable yet.
        let record = record.as_ref().map(format::encode_record);
        let committed = Box::new(move |result: Result<(), LogFailed>| {
            done(match result {
                Ok(()) => Ok(boot),
                Err(failure) => Err(DeclareError::Log(failure.to_string())),
            });
        });
        let submitted = self.log.submit(record, Urgency::Now, committed);
        drop(live);
        if let Err((failure, committed)) = submitted {
            committed(Err(failure));
        }
    }

    /// The nodes whose last life was declared dead, and its boot counter.
    pub fn dead_nodes(&self) -> Vec<(NodeId, u64)> {
        let live = self.live.lock();
        let dead = live.state.nodes().filter(|(_, entry)| entry.dead);
        dead.map(|(node, entry)| (node, entry.boot)).collect()
    }

    /// Whether no other node was ever seen.
    pub fn is_alone(&self) -> bool {
        let live = self.live.lock();
        live.state.nodes().all(|(node, _)| node == self.origin.node)
    }

    /// Agents that have an entry which says that the node owns them.
    pub fn owned_by(&self, node: NodeId) -> u64 {
        let live = self.live.lock();
        let entries = live.state.entries();
        entries.filter(|(_, entry)| entry.owner == node).count() as u64
    }

    /// A node is connected no longer.
    pub fn node_down(&self, node: NodeId) {
        self.live.lock().state.node_down(node);
    }

    /// A node is about to stop: it gets no new agents.
    pub fn node_leaving(&self, node: NodeId) {
        self.live.lock().state.node_leaving(node);
    }

    /// How things stand with an agent, perhaps not durably yet. A hint: decide
    /// nothing by it that a crash must not undo.
    pub fn ownership(&self, agent: &AgentId) -> Ownership {
        self.live.lock().state.ownership(agent)
    }

    /// Where this node finds an agent, perhaps not durably yet. A hint likewise.
    pub fn whereabouts(&self, agent: &AgentId) -> Ownership {
        let live = self.live.lock();
        live.state.whereabouts(self.origin.node, agent)
    }

    /// Agents with an entry.
    pub fn entries(&self) -> usize {
        self.live.lock().state.entries().len()
    }

    /// What a crash had left at the end of the log, and was cut off when it was opened.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Why the log failed, if it did: then every answer is in doubt until the
    /// node has started anew.
    pub fn failure(&self) -> Option<String> {
        self.log.failure().map(|failure| failure.to_string())
    }
}

impl Live {
    fn landed(&mut self, agent: &AgentId) {
        if let Some(count) = self.in_flight.get_mut(agent) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(agent);
            }
        }
    }
}

fn failed(failure: &LogFailed) -> DirectoryAnswer {
    DirectoryAnswer::InDoubt(format!("the directory's log failed: {failure}"))
}

impl Directory for DirectoryStore {
    fn submit(
        &self,
        command: DirectoryCommand,
        done: Box<dyn FnOnce(DirectoryAnswer) + Send + 'static>,
    ) {
        self.submit_from(self.origin, command, done);
    }
}
