//! The streams of an agent that hears from many, in a log of their own.
//!
//! A snapshot is stored every so many turns, and few streams change meanwhile. Of an
//! agent with many of them they are not written each time: an entry of another log has
//! those that changed, and the snapshot says up to which entry that log counts.
//!
//! ```text
//!   the agent's log   … │ turns │ turns │ snapshot, streams to 7 │ turns │ …
//!   its streams' log  all, to 4 │ changes 5 │ 6 │ 7
//! ```
//!
//! Entries are durable before a snapshot that names them. All streams are stored again,
//! in place of the changes, when those have come to take as much: after a snapshot that
//! names the last of them, so that no snapshot names one that is gone. What follows the
//! entry a snapshot names is of later snapshots that were lost.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::{AgentLog, CommitNumber, Journal, ReadError, Refused, What};
use crate::agent::Agent;
use crate::snapshot::SnapshotError;
use crate::snapshot::streams::{self, Beside};
use crate::{AgentId, Digest, Millis};

/// How many streams an agent has at least whose snapshots are stored without them, 4,096.
pub const MANY: usize = 4_096;
/// Bytes of an entry: what others wait behind.
const PART: usize = 256 << 10;
/// Bytes of changes below which they are not stored anew, 256 KiB.
const SPARED: u64 = 256 << 10;

/// What the ids of these logs begin with. No agent is of the kind `sys`.
const PREFIX: &str = "sys/streams-";

/// The id of an agent's log of streams.
pub fn log_id(agent: &AgentId) -> Option<AgentId> {
    let digest = Digest::of(agent.as_str().as_bytes());
    AgentId::new(&format!("{PREFIX}{digest}")).ok()
}

/// Whether an id is that of a log of streams, and no agent's.
pub fn is_log(id: &AgentId) -> bool {
    id.as_str().starts_with(PREFIX)
}

/// Where the log of an agent's streams ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamsLog {
    log: AgentLog,
    /// Whether all streams were stored in it since it began.
    is_whole: bool,
    /// Bytes they took then.
    whole: u64,
}

/// Why the streams of a snapshot cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Their log cannot.
    #[error("its streams cannot be read: {0}")]
    Log(#[from] ReadError),
    /// There is no such entry.
    #[error("its snapshot needs its streams up to entry {needed}, and there are those {found}")]
    Missing {
        /// The entry that the snapshot names.
        needed: u64,
        /// What there is.
        found: String,
    },
}

/// What was read of the streams a snapshot is stored without.
#[derive(Debug, Default)]
pub struct Streams {
    log: Option<Box<StreamsLog>>,
    /// The parts of the table, in order: see [`crate::snapshot::decode_beside`].
    pub table: Vec<Bytes>,
}

impl Streams {
    /// Reads those of a snapshot, if it was stored without them.
    pub fn read(
        journal: &dyn Journal,
        agent: &AgentId,
        snapshot: &Bytes,
    ) -> Result<Self, Unreadable> {
        let Some(Beside { through, .. }) = streams::beside(snapshot)? else {
            return Ok(Self::default());
        };
        let missing = |found: &str| Unreadable::Missing {
            needed: through,
            found: found.to_owned(),
        };
        let id = log_id(agent).ok_or_else(|| missing("of nobody"))?;
        let history = journal.read(&id)?.ok_or_else(|| missing("of none"))?;
        let standing = history.standing;
        let Some(whole) = history.snapshot else {
            return Err(missing("of an end"));
        };
        if through < standing.base || through > standing.last {
            return Err(missing(&format!(
                "from {} to {}",
                standing.base, standing.last
            )));
        }
        let log = StreamsLog {
            log: AgentLog::resume(id, &standing, 0),
            is_whole: true,
            whole: whole.len() as u64,
        };
        let mut table = vec![whole];
        let counted = usize::try_from(through - standing.base).unwrap_or(usize::MAX);
        table.extend(history.records.into_iter().take(counted));
        Ok(Self {
            log: Some(Box::new(log)),
            table,
        })
    }
}

impl AgentLog {
    /// Goes on with the streams that were read with the agent's snapshot.
    pub fn with_streams(mut self, streams: Streams) -> Self {
        self.streams = streams.log;
        self
    }

    /// Has the journal keep what changed of an agent's streams, if it has many: a
    /// snapshot that is stored now needs only say where they are. On an error it has to
    /// have them; what was appended does no harm.
    pub fn save_streams(
        &mut self,
        journal: &dyn Journal,
        agent: &mut Agent,
    ) -> Result<Option<Beside>, Refused> {
        let count = agent.streams().0;
        if self.streams.is_none() {
            let Some(id) = log_id(agent.id()).filter(|_| count >= MANY) else {
                return Ok(None);
            };
            let log = match journal.standing(&id) {
                Some(standing) => Self::resume(id, &standing, 0),
                None => Self::new(id),
            };
            self.streams = Some(Box::new(StreamsLog {
                log,
                is_whole: false,
                whole: 0,
            }));
        }
        let Some(streams) = &mut self.streams else {
            return Ok(None);
        };
        if streams.is_whole {
            streams.append_changes(journal, agent)?;
        } else {
            streams.begin(journal, agent)?;
        }
        Ok(Some(Beside {
            through: streams.log.last(),
            count: count as u64,
        }))
    }

    /// Stores all streams in place of their changes, if these have come to take as much.
    /// To be called when a snapshot was stored that needs none before
    /// [`AgentLog::save_streams`] was called, and nothing has happened since.
    pub fn condense_streams(&mut self, journal: &dyn Journal, agent: &Agent) {
        if let Some(streams) = &mut self.streams
            && streams.log.bytes() > streams.whole.max(SPARED)
        {
            // The changes are enough if there is no room for it now.
            let _ = streams.store_whole(journal, agent);
        }
    }

    /// The agent's life ended, and so does the log of its streams, if there is one.
    pub(super) fn end_streams(
        &mut self,
        journal: &dyn Journal,
    ) -> Result<Option<CommitNumber>, Refused> {
        if let Some(streams) = &mut self.streams
            && streams.log.last() > 0
            && !streams.log.is_fresh
        {
            streams.is_whole = false;
            return streams.log.end(journal, Bytes::new()).map(Some);
        }
        Ok(None)
    }
}

impl StreamsLog {
    /// No snapshot needs anything of the log yet.
    fn begin(&mut self, journal: &dyn Journal, agent: &mut Agent) -> Result<(), Refused> {
        if self.log.last() == 0 || self.log.is_fresh {
            let begins = streams::none();
            self.log
                .entry(journal, What::Record, Millis::NEVER, begins)?;
        }
        self.store_whole(journal, agent)?.note_saved(agent);
        self.is_whole = true;
        Ok(())
    }

    fn store_whole(
        &mut self,
        journal: &dyn Journal,
        agent: &Agent,
    ) -> Result<streams::Part, Refused> {
        let all = streams::whole(agent);
        let bytes = all.bytes.clone();
        self.log
            .store(journal, Millis::NEVER, bytes, Box::new(|_| ()))?;
        self.whole = all.bytes.len() as u64;
        Ok(all)
    }

    fn append_changes(&mut self, journal: &dyn Journal, agent: &mut Agent) -> Result<(), Refused> {
        for part in streams::changes(agent, PART) {
            self.log
                .append(journal, 0, Millis::NEVER, part.bytes.clone())?;
            part.note_saved(agent);
        }
        Ok(())
    }
}
