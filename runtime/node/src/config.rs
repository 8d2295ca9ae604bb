//! What a node is started with, validated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phoenix_cluster::MigrationLimits;
use phoenix_core::Millis;
use phoenix_core::attributes::Format;
use phoenix_core::program::BuiltIn;
use phoenix_host::Host;
use phoenix_net::formats::{Compression, Form, Preferences};

use crate::journal::JournalDisk;
use crate::pressure::Gauge;
use crate::witness::Witness;

/// A node's configuration. The CLI makes it from file, environment and flags.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where identity, boot counter, kinds, directory and compiled components are kept.
    pub data_dir: PathBuf,
    /// Where the transport listens, `host:port`; port 0 for any. `None` for a
    /// node that neither hears from nor speaks to others.
    pub listen: Option<String>,
    /// Whether `listen` is a default that nobody chose: then a free port is taken
    /// where that one is not, and a node that joins a cluster on other machines
    /// listens where those reach it.
    pub listen_default: bool,
    /// The address other nodes are told, where it differs from the one listened on.
    pub advertise: Option<String>,
    /// A token to join a cluster with; needed once.
    pub join: Option<String>,
    /// The format messages to agents are written in for other nodes; `None` for
    /// Phoenix's own, which is smaller and faster. Everything else is in that always.
    pub peer_format: Option<Format>,
    /// How what goes to other nodes is compressed.
    pub peer_compression: PeerCompression,
    /// Worker threads; `None` for one a core.
    pub workers: Option<usize>,
    /// Agents in Wasm memory at once; `None` for what the machine holds.
    pub max_resident: Option<u32>,
    /// Largest linear memory any kind may allow, bytes.
    pub max_memory_bytes: u64,
    /// The program that compiles components in a process of its own, and its
    /// arguments; `None` to compile in this process.
    pub compiler: Option<(PathBuf, Vec<String>)>,
    /// Lines of log kept in memory.
    pub log_lines: usize,
    /// Dead letters kept in memory.
    pub dead_letters: usize,
    /// How long a migration may take before it is given up while that is possible.
    pub migration_timeout: Duration,
    /// How long a connected node may leave the next step of a migration undone,
    /// fetching the component included, before the other side goes on without it.
    pub migration_patience: Duration,
    /// Bytes of compressed snapshots and mailbox one moving agent may have.
    pub max_shipment: u64,
    /// Bytes of spilled messages kept on disk, of all agents together.
    pub max_spill: u64,
    /// Whether the journal has a hash of a durable agent's memory after every batch, and not
    /// only where a checkpoint is taken: then a replay names the first batch that differs.
    /// It costs a look at all changed memory each time; tests want that.
    pub hash_every_batch: bool,
    /// Whether a drain moves durable agents, too; otherwise they wait in the journal until
    /// the node is started again.
    pub drain_durable: bool,
    /// What the journal lies on, in tests; `None` for files in `data_dir`.
    pub journal: Option<JournalDisk>,
    /// The Wasm host, where nodes of one process share it; `None` for one of its own,
    /// with the bounds that are said here.
    pub host: Option<Host>,
    /// Whether durable agents of an earlier run are restored when the node begins, and
    /// not each with its first message.
    pub restore_eagerly: bool,
    /// Bytes of memory that sleeping agents' snapshots may take, all together; beyond
    /// that the longest asleep are on disk. `None` for a quarter of the machine's memory,
    /// or of the control group's.
    pub memory_budget: Option<u64>,
    /// Bytes of disk that sleeping agents may take which are not durable, all together.
    pub sleep_disk: u64,
    /// Agents that have stopped of whose streams each worker keeps what they have heard.
    pub stopped_kept: usize,
    /// Who sees every commit, in tests.
    pub witness: Option<Arc<dyn Witness>>,
    /// Kinds that are part of the node besides its own, in tests. All nodes of a cluster
    /// have the same.
    pub built_in: Vec<Arc<dyn BuiltIn>>,
}

/// How what goes to other nodes is compressed, if they can read that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCompression {
    /// Messages with LZ4 and bulk with Zstandard; nothing on the same machine.
    Auto,
    /// Nothing.
    None,
    /// Everything with LZ4, on the same machine too.
    Lz4,
    /// Everything with Zstandard, on the same machine too.
    Zstd,
}

impl NodeConfig {
    /// A node of its own in `data_dir`, without a transport.
    pub fn alone(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            listen_default: false,
            advertise: None,
            join: None,
            peer_format: None,
            peer_compression: PeerCompression::Auto,
            workers: None,
            max_resident: None,
            max_memory_bytes: 64 << 20,
            compiler: None,
            log_lines: 10_000,
            dead_letters: 1_000,
            migration_timeout: Duration::from_secs(10),
            migration_patience: Duration::from_secs(60),
            max_shipment: 256 << 20,
            max_spill: phoenix_store::spill::DEFAULT_SPACE,
            hash_every_batch: false,
            drain_durable: false,
            journal: None,
            host: None,
            restore_eagerly: false,
            memory_budget: None,
            sleep_disk: 64 << 30,
            stopped_kept: 16_384,
            witness: None,
            built_in: Vec::new(),
        }
    }

    /// A node that listens on loopback, any port.
    pub fn on_loopback(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: Some("127.0.0.1:0".to_owned()),
            ..Self::alone(data_dir)
        }
    }

    /// How it writes to other nodes, and how to those on its machine.
    pub(crate) fn preferences(&self) -> [Preferences; 2] {
        let mut both = [Preferences::default(), Preferences::near()];
        let compression = match self.peer_compression {
            PeerCompression::Auto => None,
            PeerCompression::None => Some(Compression::None),
            PeerCompression::Lz4 => Some(Compression::Lz4),
            PeerCompression::Zstd => Some(Compression::Zstd),
        };
        for preferences in &mut both {
            preferences.messages.forms = self.peer_format.map(Form::Events).into_iter().collect();
            if let Some(compression) = compression {
                preferences.messages.compressions = vec![compression];
                preferences.bulk.compressions = vec![compression];
            }
        }
        both
    }

    /// The bounds of migrations.
    pub(crate) fn migration_limits(&self) -> MigrationLimits {
        let millis = |span: Duration| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        MigrationLimits {
            image_bytes: self.max_shipment,
            stage_within: millis(self.migration_timeout),
            prepare_within: millis(self.migration_patience),
            patience: millis(self.migration_patience),
            ..MigrationLimits::default()
        }
    }

    /// Bytes of memory sleeping agents may take.
    pub(crate) fn memory_budget(&self) -> u64 {
        /// Where the system does not say how much memory there is.
        const UNKNOWN: u64 = 1 << 30;
        self.memory_budget.unwrap_or_else(|| {
            let memory = Gauge::new().read();
            memory.map_or(UNKNOWN, |memory| memory.limit / 4)
        })
    }

    /// Worker threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1)
            .clamp(1, 256)
    }
}
