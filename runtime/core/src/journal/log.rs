//! One agent's log as its worker sees it.

use bytes::Bytes;

use crate::journal::streams::StreamsLog;
use crate::journal::{
    Append, Check, CommitNumber, Journal, MAX_BODY, MAX_SNAPSHOT, Refused, Sealed, Standing, Store,
    Stored, What,
};
use crate::{AgentId, BadPolicy, Millis};

/// When a durable agent's snapshot is due, whichever comes first. It is taken when
/// the agent goes to sleep as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEvery {
    /// Turns since the last, 1 to 1,000,000; 1,000 by default. How many are run again
    /// at most when the agent is restored.
    pub turns: u32,
    /// Bytes of entries since the last, 4 KiB to 1 GiB; 4 MiB by default.
    pub bytes: u64,
}

impl Default for SnapshotEvery {
    fn default() -> Self {
        Self {
            turns: 1_000,
            bytes: 4 << 20,
        }
    }
}

/// A bound of [`SnapshotEvery`] that does not fit.
pub type BadSnapshotEvery = BadPolicy;

impl SnapshotEvery {
    /// Checks both bounds.
    pub fn validate(&self) -> Result<(), BadSnapshotEvery> {
        BadPolicy::check(&[
            ("snapshot-every-turns", self.turns.into(), 1, 1_000_000),
            ("snapshot-every-bytes", self.bytes, 4 << 10, 1 << 30),
        ])
    }
}

/// Where one agent's log ends, and how far its snapshot lies behind: a worker has one
/// for each durable agent that is awake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLog {
    agent: AgentId,
    last: u64,
    check: Check,
    /// Turns and bytes appended since the last snapshot.
    turns: u64,
    bytes: u64,
    /// The entry the snapshot that was stored last stands for.
    stored: u64,
    /// A life begins with what comes next.
    pub(super) is_fresh: bool,
    /// The log of the agent's streams, if it has many.
    pub(super) streams: Option<Box<StreamsLog>>,
    /// The number of what was appended last.
    number: CommitNumber,
}

impl AgentLog {
    /// That of an agent the journal knows nothing of.
    pub fn new(agent: AgentId) -> Self {
        let check = Check::first(&agent);
        Self {
            agent,
            last: 0,
            check,
            turns: 0,
            bytes: 0,
            stored: 0,
            is_fresh: true,
            streams: None,
            number: CommitNumber::default(),
        }
    }

    /// That of an agent the journal knows. `turns` is how many were run again.
    pub fn resume(agent: AgentId, standing: &Standing, turns: u64) -> Self {
        Self {
            agent,
            last: standing.last,
            check: standing.check,
            turns,
            bytes: standing.since,
            stored: standing.base,
            is_fresh: standing.has_ended(),
            streams: None,
            number: CommitNumber::default(),
        }
    }

    /// Whose log it is.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The entry that the snapshot stands for which was stored last, durable or not.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// What the agent wants done waits for this number: all it says rests on entries up
    /// to that. What was there when the log was resumed is durable.
    pub fn number(&self) -> CommitNumber {
        self.number
    }

    /// Bytes appended since the last snapshot.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a snapshot is due.
    pub fn is_due(&self, every: &SnapshotEvery) -> bool {
        self.turns >= every.turns.into() || self.bytes >= every.bytes
    }

    /// Lets a snapshot be due: what came before is of no use any more.
    pub fn make_due(&mut self) {
        self.bytes = u64::MAX;
    }

    /// Whether a snapshot taken now would stand for anything new.
    pub fn is_behind(&self) -> bool {
        self.stored < self.last
    }

    /// Appends what `turns` turns did. On an error the log is as it was: see
    /// [`Journal::append`].
    pub fn append(
        &mut self,
        journal: &dyn Journal,
        turns: u32,
        wake: Millis,
        body: Bytes,
    ) -> Result<CommitNumber, Refused> {
        let bytes = body.len() as u64;
        let number = self.entry(journal, What::Record, wake, body)?;
        self.turns += u64::from(turns);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(number)
    }

    /// Says that the agent's life ended: all there is of it may be dropped.
    pub fn end(&mut self, journal: &dyn Journal, why: Bytes) -> Result<CommitNumber, Refused> {
        let number = self.entry(journal, What::End, Millis::NEVER, why)?;
        self.rest();
        self.is_fresh = true;
        self.number = self.end_streams(journal)?.unwrap_or(number);
        Ok(self.number)
    }

    /// Stores a snapshot of the agent as it is after the last entry.
    ///
    /// An agent whose life begins with one, because it came from elsewhere, must run
    /// no turn before that is stored: nothing else says what the turn began with. Then
    /// [`AgentLog::begins_with_snapshot`] is to be told.
    pub fn store(
        &mut self,
        journal: &dyn Journal,
        wake: Millis,
        bytes: Bytes,
        done: Stored,
    ) -> Result<(), Refused> {
        bound(bytes.len() as u64, MAX_SNAPSHOT)?;
        let snapshot = Store {
            agent: self.agent.clone(),
            through: self.last,
            check: self.check,
            wake,
            bytes,
        };
        journal.store(snapshot, done)?;
        self.rest();
        Ok(())
    }

    /// The snapshot that its agent begins with here is durable: no life begins with what
    /// follows.
    pub fn begins_with_snapshot(&mut self) {
        self.is_fresh = false;
    }

    pub(super) fn rest(&mut self) {
        self.turns = 0;
        self.bytes = 0;
        self.stored = self.last;
    }

    pub(super) fn entry(
        &mut self,
        journal: &dyn Journal,
        what: What,
        wake: Millis,
        body: Bytes,
    ) -> Result<CommitNumber, Refused> {
        bound(body.len() as u64, MAX_BODY as u64)?;
        let index = self.last + 1;
        let sealed = Sealed {
            what,
            index,
            previous: self.check,
            agent: self.agent.as_str(),
            body: &body,
        };
        let check = sealed.check();
        let number = journal.append(Append {
            agent: self.agent.clone(),
            what,
            index,
            begins: self.is_fresh,
            previous: self.check,
            check,
            wake,
            body,
        })?;
        self.last = index;
        self.check = check;
        self.is_fresh = false;
        self.number = number;
        Ok(number)
    }
}

fn bound(found: u64, bound: u64) -> Result<(), Refused> {
    if found > bound {
        return Err(Refused::TooLarge { found, bound });
    }
    Ok(())
}
