//! The port to the journal: where durable agents' turns are kept before anything
//! of them leaves the node.
//!
//! ```text
//!   worker                                 journal                     workers
//!   commit ──▶ AgentLog::append ──▶ queue ──▶ group ──▶ one sync ──▶ Told::Durable(n)
//!      └────▶ Gate::hold(n, actions) ◀──────────────── Gate::release(n) ──▶ perform
//! ```
//!
//! Every durable agent has a **log** of its own: entries numbered from 1, each
//! sealed by a check over its content and the check of the one before, so that an
//! entry that is lost, exchanged or changed is known wherever a disk keeps it. A
//! **snapshot** stands for all entries up to its index. The journal numbers what all
//! agents append by [`CommitNumber`], in the order in which it becomes durable: when
//! `n` is, so is all before. A worker holds back in a [`Gate`] what a batch wants
//! done until its number is reached.
//!
//! A journal that failed to sync has failed for good. Nobody knows then what the
//! disk holds until it is read again, so nothing that is held leaves any more, and
//! the node has to stop.
//!
//! What an entry says is in [`record`]; how entries are chained in [`chain`].

pub mod chain;
pub mod clean;
mod gate;
mod log;
pub mod record;
pub mod streams;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{AgentId, Millis};

pub use chain::{Check, Sealed, What};
pub use gate::Gate;
pub use log::{AgentLog, BadSnapshotEvery, SnapshotEvery};

/// Longest body of an entry, 320 MiB: the frame and the answer of the largest batch.
pub const MAX_BODY: usize = 320 << 20;
/// Longest snapshot, 8 GiB.
pub const MAX_SNAPSHOT: u64 = 8 << 30;

/// Numbers what all agents of a node append, from 1, in the order in which it
/// becomes durable. Counted anew at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitNumber(pub u64);

/// Why the journal takes something not, or would not. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As much waits for the disk as may: try again when some of it is durable.
    #[error("{waiting} bytes wait for the journal's disk, and {bound} may: try again")]
    Busy {
        /// Bytes that wait.
        waiting: u64,
        /// How many may.
        bound: u64,
    },
    /// The disk is full, or the journal as long as it may be.
    #[error("the journal has no room: free space in {place}, or give it more")]
    NoRoom {
        /// Where it lies.
        place: Arc<str>,
    },
    /// It can never be taken.
    #[error("an entry of {found} bytes: the journal takes {bound} at most")]
    TooLarge {
        /// Its bytes.
        found: u64,
        /// How many it may have.
        bound: u64,
    },
    /// The journal failed, and the node has to stop.
    #[error(transparent)]
    Failed(#[from] JournalFailed),
}

/// The journal failed for good: what it was told last may or may not be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal failed, and the node has to stop and be started anew: {0}")]
pub struct JournalFailed(pub Arc<str>);

/// Why an agent's log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// An entry is not what was written. Nothing after it can be trusted.
    #[error("{0}")]
    Damaged(Damage),
    /// The disk failed.
    #[error("cannot read {file}: {why}")]
    Disk {
        /// Which file.
        file: String,
        /// The system's word for it.
        why: String,
    },
}

/// Where a journal is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// Which entry of it: whose, and the index in its agent's log; or the number of a block.
    pub record: String,
    /// Where it begins, bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            record,
            offset,
            what,
        } = self;
        write!(
            f,
            "{file} is damaged at byte {offset}, {record}: {what}. Nothing after that can be \
             trusted: restore the journal from a copy, or move it away to begin anew"
        )
    }
}

/// An entry on its way to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Whose log it goes to.
    pub agent: AgentId,
    /// What it is: [`What::Record`] or [`What::End`].
    pub what: What,
    /// Its index in that log; the one before it was appended before.
    pub index: u64,
    /// Whether a life begins with it: nothing before it is needed.
    pub begins: bool,
    /// The check of the one before it.
    pub previous: Check,
    /// Its own, over all of the above and the body.
    pub check: Check,
    /// When the agent has to be woken if nothing comes for it before: see
    /// [`Standing::wake`].
    pub wake: Millis,
    /// What it says; see [`record`].
    pub body: Bytes,
}

/// A snapshot on its way to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Whose.
    pub agent: AgentId,
    /// The last entry it stands for.
    pub through: u64,
    /// The check of that.
    pub check: Check,
    /// See [`Standing::wake`].
    pub wake: Millis,
    /// The snapshot.
    pub bytes: Bytes,
}

/// What a journal knows of an agent without reading its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last entry of its log.
    pub last: u64,
    /// The check of that.
    pub check: Check,
    /// The entry up to which nothing need be run again: that of its snapshot, or of
    /// the end of its last life; 0 if there is neither.
    pub base: u64,
    /// Whether there is a snapshot.
    pub has_snapshot: bool,
    /// Bytes of the entries after `base`.
    pub since: u64,
    /// Bytes that its snapshot and those entries take.
    pub bytes: u64,
    /// When it has to be woken if nothing comes for it before: a timer, a deadline
    /// or a message to be sent again.
    pub wake: Millis,
}

impl Standing {
    /// Whether its last life has ended, and no other has begun.
    pub fn has_ended(&self) -> bool {
        self.last == self.base && !self.has_snapshot
    }
}

/// What was read of an agent: everything that is needed to have it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// How its log stands.
    pub standing: Standing,
    /// Its newest snapshot.
    pub snapshot: Option<Bytes>,
    /// The bodies of the entries after that, in order.
    pub records: Vec<Bytes>,
}

/// What a journal says to those who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything up to this number is durable.
    Durable(CommitNumber),
    /// There is no room any more ([`Refused::NoRoom`]), or there is again.
    Room(bool),
    /// What is needed of an old file cannot be read, so no file is freed any more.
    Unreadable(ReadError),
    /// It failed. Nothing more will be durable.
    Failed(JournalFailed),
}

/// Is told what becomes of what was appended, in order, on the journal's own thread.
/// It must not wait, nor call the journal's methods that read.
pub type Watcher = Box<dyn Fn(&Told) + Send + Sync>;

/// Is called once, on the journal's own thread, when a snapshot is durable.
pub type Stored = Box<dyn FnOnce(Result<(), JournalFailed>) + Send>;

/// What a journal has done and holds; counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries that are durable.
    pub entries: u64,
    /// Syncs they took, so that `entries / groups` is how many shared one.
    pub groups: u64,
    /// The most that shared one.
    pub largest_group: u64,
    /// Snapshots stored.
    pub snapshots: u64,
    /// Bytes written anew to free what lay between them.
    pub moved: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of them that are needed.
    pub live: u64,
    /// Agents known, those that have ended included.
    pub agents: u64,
}

/// Where durable agents' turns and snapshots are kept.
///
/// No method waits for a disk, but for [`Journal::read`].
pub trait Journal: Send + Sync {
    /// Whether anything is to begin whose entries it has to take: [`Refused::Busy`] and
    /// [`Refused::NoRoom`] say that it is to wait. To be asked before a batch begins, and
    /// before a message is taken in: what waits for the disk is bounded by whoever asks.
    fn room(&self) -> Result<(), Refused>;

    /// Appends an entry to its agent's log, and numbers it. What it leads to may
    /// leave the node once that number is durable, and no sooner.
    ///
    /// What it says has happened, so it is taken whether or not there is room, and waits
    /// for some. Refused is only what can never be taken ([`Refused::TooLarge`]), and
    /// everything once the journal has failed.
    fn append(&self, entry: Append) -> Result<CommitNumber, Refused>;

    /// Stores a snapshot, at leisure, in the place of the entries it stands for and
    /// of the one before it. It is never durable before those entries are, nor before
    /// a snapshot that was stored before it, whosever that is.
    fn store(&self, snapshot: Store, done: Stored) -> Result<(), Refused>;

    /// Everything up to this number is durable.
    fn durable(&self) -> CommitNumber;

    /// Tells `watcher` from now on. Watchers stay as long as the journal.
    fn watch(&self, watcher: Watcher);

    /// What is known of an agent; nothing of one that never was, or ended long ago.
    /// Only what is durable counts.
    fn standing(&self, agent: &AgentId) -> Option<Standing>;

    /// Shows every agent that has not ended, in no order, and no log of [`streams`]. Others wait meanwhile for what
    /// is known of agents, so `show` must not take long.
    fn each(&self, show: &mut dyn FnMut(&AgentId, &Standing));

    /// Reads back what is durable of an agent, and checks it.
    fn read(&self, agent: &AgentId) -> Result<Option<History>, ReadError>;

    /// What it has done and holds.
    fn figures(&self) -> Figures;
}
