//! Putting a node together, and taking it apart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use phoenix_core::control::Control;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::flow::AttachedFlows;
use phoenix_core::{AgentId, Level, Member, Millis, NodeId, PeerMessage, Transport};
use phoenix_host::{CompilerProgram, Host, HostConfig, HostStartError};
use phoenix_store::spill::DiskSpill;
use phoenix_store::{BootCounter, DataDir, DataDirError, DirectoryStore, FlowStore, KindStore};

use crate::built_in;
use crate::clock;
use crate::config::NodeConfig;
use crate::control::Desk;
use crate::counters::count;
use crate::directory::DirectoryAccess;
use crate::flow::Flows;
use crate::kinds::{Kind, Kinds};
use crate::network::{Network, Wire};
use crate::peers::Ears;
use crate::shared::{Deployed, Shared};
use crate::ticker;
use crate::worker::{ASLEEP, Drained, Event, Spilled, Worker, known_agents};

/// The node that holds the directory until a consensus does: the cluster's first.
const FIRST: NodeId = NodeId(1);
/// How long stopping waits for a worker's step to end before it lets go of it.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long after the time to drain a worker may take to say what is left.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another node uses the data directory.
    #[error("another node{} uses the data directory {path}", process(holder))]
    InUse {
        /// Which.
        path: std::path::PathBuf,
        /// The process id it wrote down; empty if it wrote none.
        holder: String,
    },
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be used: {reason}")]
    Data {
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// The host of Wasm did not start.
    #[error(transparent)]
    Host(#[from] HostStartError),
    /// The cluster could not be created or joined.
    #[error("{0}")]
    Join(String),
    /// The transport could not be set up.
    #[error("cannot listen for other nodes: {0}")]
    Listen(String),
    /// A kind cannot be had: one that was deployed before, or one of the node's own.
    #[error("the kind {kind} cannot be used: {reason}")]
    Kind {
        /// Which.
        kind: String,
        /// Why not.
        reason: String,
    },
    /// The system gave no thread.
    #[error("no thread could be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running node. Dropping it stops it without draining.
pub struct Node {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
    wire: Option<Wire>,
    _data: DataDir,
}

impl Node {
    /// Starts a node as its configuration says.
    pub fn start(config: NodeConfig) -> Result<Self, StartError> {
        let network = Network::of(&config);
        Self::start_on(config, network)
    }

    /// Starts a node on a given network; tests run clusters in one process this way.
    pub fn start_on(config: NodeConfig, network: Network) -> Result<Self, StartError> {
        let at = |reason: String| StartError::Data {
            path: config.data_dir.clone(),
            reason,
        };
        let data = DataDir::open(&config.data_dir).map_err(|error| match error {
            DataDirError::InUse { path, holder } => StartError::InUse { path, holder },
            other => at(other.to_string()),
        })?;
        let boot = BootCounter::next(data.path()).map_err(|error| at(error.to_string()))?;
        clear_asleep(&data.path().join(ASLEEP)).map_err(|error| at(error.to_string()))?;
        let place = network.place(&config)?;
        let node = place.node();
        let host = match &config.host {
            Some(host) => host.clone(),
            None => Host::start(host_config(&config, data.path()))?,
        };
        let mut deployed = Deployed {
            kinds: Kinds::default(),
            kind_store: None,
            flows: Flows::new(boot, None, AttachedFlows::default()),
        };
        built_in::install(&config.built_in, &deployed.kinds)?;
        let directory = if node == FIRST {
            let store = DirectoryStore::open(data.path(), node, boot)
                .map_err(|error| at(error.to_string()))?;
            let saved = KindStore::open(data.path()).map_err(|error| at(error.to_string()))?;
            load_kinds(&saved, &host, &deployed.kinds)?;
            deployed.kind_store = Some(saved);
            let saved = FlowStore::new(data.path());
            let kept = saved.load().map_err(|error| at(error.to_string()))?;
            deployed.flows = Flows::new(boot, Some(saved), kept);
            DirectoryAccess::Here {
                node,
                store: Arc::new(store),
            }
        } else {
            DirectoryAccess::At {
                node: FIRST,
                open: crate::directory::Open::new(boot),
            }
        };
        let shared = Arc::new(Shared::new(node, boot, config, host, deployed, directory));
        if let DirectoryAccess::Here { store, .. } = &shared.directory {
            for (node, boot) in store.dead_nodes() {
                shared.deaths.note(node, boot);
            }
        }
        let mut stored = open_journal(&shared)?.into_iter();
        for (index, seat) in shared.seats.iter().enumerate() {
            let spilled = open_spilled(&shared, data.path(), index)?;
            let mut worker = Worker::new(index, shared.clone(), spilled);
            worker.know_all(stored.next().unwrap_or_default());
            seat.start(Box::new(worker))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = ticker::start(shared.clone(), stop.clone())?;
        let mut started = Self {
            shared: shared.clone(),
            stop,
            ticker: Some(ticker),
            wire: None,
            _data: data,
        };
        started.wire = place.connect(boot, Arc::new(Ears(shared.clone())), &shared)?;
        if let DirectoryAccess::Here { .. } = &shared.directory {
            shared.declare_all();
        }
        Ok(started)
    }

    /// What operators and clients speak to.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::new(Desk(self.shared.clone()))
    }

    /// Its number in the cluster.
    pub fn id(&self) -> NodeId {
        self.shared.node
    }

    /// Where its transport listens, `host:port`; empty if it has none.
    pub fn address(&self) -> String {
        self.shared.address.read().clone()
    }

    /// Tells it of another node of its cluster.
    pub fn learn(&self, node: NodeId, address: &str) {
        self.shared.learn(Member {
            node,
            address: address.to_owned(),
        });
    }

    /// Nodes it is connected to.
    pub fn connected(&self) -> Vec<NodeId> {
        self.shared.connected()
    }

    /// Whether an operator asked it to stop.
    pub fn shutdown_wanted(&self) -> bool {
        self.shared.shutdown_wanted.load(Ordering::Acquire)
    }

    /// Whether an operator declared it dead: it has no agents any more, and is to
    /// be started again.
    pub fn declared_dead(&self) -> bool {
        self.shared.is_fenced()
    }

    /// Why its journal failed, if it has: nothing of durable agents leaves it any more,
    /// and it is to be stopped and started again.
    pub fn journal_failure(&self) -> Option<Arc<str>> {
        self.shared.journals.failure().cloned()
    }

    /// Moves agents to other nodes, or puts them to sleep where there are none,
    /// and refuses new ones, for `limit` at most. Says which agents are left:
    /// they end with the node.
    pub fn drain(&self, limit: Duration) -> Drained {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.broadcast(&PeerMessage::Leaving);
        let begun = Drained {
            alone: true,
            ..Drained::default()
        };
        let progress = Arc::new((Mutex::new((self.shared.seats.len(), begun)), Condvar::new()));
        let span = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let until = clock::now_ms() + Millis(span);
        for seat in &self.shared.seats {
            let progress = progress.clone();
            let done = Box::new(move |drained| {
                let mut progress_now = progress.0.lock();
                progress_now.0 -= 1;
                progress_now.1.join(drained);
                progress.1.notify_all();
            });
            seat.post(Event::Drain { until, done });
        }
        let patience = Instant::now() + limit + ANSWER_WITHIN;
        let mut now = progress.0.lock();
        while now.0 > 0 {
            if progress.1.wait_until(&mut now, patience).timed_out() {
                // A worker that is stuck names nobody; its agents are counted.
                let all = &self.shared;
                now.1.lost =
                    all.resident.load(Ordering::Relaxed) + all.asleep.load(Ordering::Relaxed);
                break;
            }
        }
        std::mem::take(&mut now.1)
    }

    /// Tells clients that wait that the node stops, and lets no more wait. What
    /// they asked for may have been done.
    pub fn dismiss_clients(&self) {
        self.shared.clients.close();
        self.shared.controls.close();
    }

    /// Stops it: workers end, clients are told, connections are closed.
    pub fn stop(mut self) {
        self.shut();
    }

    fn shut(&mut self) {
        self.dismiss_clients();
        if let Some(wire) = self.wire.take() {
            wire.close();
        }
        *self.shared.transport.write() = None;
        for seat in &self.shared.seats {
            seat.close();
        }
        let until = Instant::now() + CLOSE_WITHIN;
        for seat in &self.shared.seats {
            seat.wait_closed(until);
        }
        self.stop.store(true, Ordering::Release);
        if let Some(ticker) = self.ticker.take() {
            // A ticker that panicked has nothing left to give back.
            let _ = ticker.join();
        }
        self.shared.let_go();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.ticker.is_some() {
            self.shut();
        }
    }
}

fn process(holder: &str) -> String {
    if holder.is_empty() {
        String::new()
    } else {
        format!(", process {holder},")
    }
}

fn host_config(config: &NodeConfig, data: &Path) -> HostConfig {
    let mut host = HostConfig {
        cache_dir: Some(data.join("compiled")),
        max_resident: config.max_resident,
        max_memory_bytes: config.max_memory_bytes,
        ..HostConfig::default()
    };
    host.admission.compiler = config
        .compiler
        .clone()
        .map(|(program, arguments)| CompilerProgram { program, arguments });
    host
}

/// Takes away the agents that slept on disk when an earlier run was killed: they were
/// lost with it.
fn clear_asleep(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The areas of a worker's agents, with what an earlier run has left in them.
fn open_spilled(shared: &Shared, data: &Path, index: usize) -> Result<Spilled, StartError> {
    let keeps = |agent: &AgentId| shared.worker_of(agent) == index;
    let directory = data.join("spill");
    let opened = DiskSpill::open(&directory, shared.spill_space.clone(), keeps);
    let (areas, bad) = opened.map_err(|error| StartError::Data {
        path: directory,
        reason: error.to_string(),
    })?;
    // Nobody can say whose these are, so every worker finds them.
    for why in bad.iter().filter(|_| index == 0) {
        let text = format!("spilled messages of an earlier run are lost: {why}");
        shared.log(None, Level::Error, &text);
        count(&shared.counters.spill_lost);
    }
    Ok(Spilled::new(Box::new(areas)))
}

/// What the journal of an earlier run has, by worker. Where the directory is here, every
/// agent of it is claimed before another node can ask for it; whose another node has, is
/// recalled at once, so that its copy here ends.
fn open_journal(shared: &Arc<Shared>) -> Result<Vec<Vec<(AgentId, Millis)>>, StartError> {
    if !shared.journals.is_there() {
        return Ok(Vec::new());
    }
    let journal = shared.open_journal().map_err(|reason| StartError::Data {
        path: shared.config.data_dir.clone(),
        reason,
    })?;
    let workers = shared.seats.len();
    let mut known = known_agents(&*journal, workers, |agent| shared.worker_of(agent));
    if let DirectoryAccess::Here { node, .. } = &shared.directory {
        let own = *node;
        for (agent, wake_at) in known.iter_mut().flatten() {
            let command = DirectoryCommand::Place {
                agent: agent.clone(),
                prefer: Some(own),
            };
            let is_others = Arc::new(AtomicBool::new(false));
            let answered = is_others.clone();
            let done = Box::new(move |answer| {
                let is_own = matches!(&answer, DirectoryAnswer::Owned(it) if it.owner == own);
                answered.store(!is_own, Ordering::Release);
            });
            shared.directory.submit(shared, command, done);
            // What has an owner is answered at once, and what has none is this node's.
            if is_others.load(Ordering::Acquire) {
                *wake_at = Millis(0);
            }
        }
    }
    Ok(known)
}

/// Brings back the kinds that were deployed before.
fn load_kinds(store: &KindStore, host: &Host, kinds: &Kinds) -> Result<(), StartError> {
    let failed = |kind: &str, reason: String| StartError::Kind {
        kind: kind.to_owned(),
        reason,
    };
    let saved = store
        .list()
        .map_err(|error| failed("list", error.to_string()))?;
    for info in saved {
        let name = info.kind.as_str().to_owned();
        if kinds.is_built_in(&name) {
            let taken = "its name is that of a kind that is part of the node";
            return Err(failed(&name, taken.to_owned()));
        }
        let bytes = store
            .component(&info.component)
            .map_err(|error| failed(&name, error.to_string()))?;
        let component = host
            .admit(&bytes, &info.policy)
            .map_err(|error| failed(&name, error.to_string()))?;
        kinds.install(Arc::new(Kind::new(info, component)));
    }
    Ok(())
}

/// Hands the transport to the node.
pub(crate) fn attach(shared: &Shared, transport: Arc<dyn Transport>, address: String) {
    *shared.transport.write() = Some(transport);
    *shared.address.write() = address;
}
