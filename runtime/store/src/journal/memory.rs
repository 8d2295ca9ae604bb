//! The journal's twin in memory, for tests and for nodes without a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use phoenix_core::AgentId;
use phoenix_core::journal::{
    Append, Check, CommitNumber, Damage, Figures, History, Journal, JournalFailed, ReadError,
    Refused, Sealed, Standing, Store, Stored, Told, Watcher, What, streams,
};

/// An agent's log.
#[derive(Clone, Debug)]
struct Log {
    standing: Standing,
    base_check: Check,
    /// With its check.
    snapshot: Option<(Bytes, Check)>,
    entries: BTreeMap<u64, Append>,
}

/// Something that waits to be durable.
enum Pending {
    Entry(CommitNumber, Append),
    Snapshot(Store, Stored),
}

#[derive(Default)]
struct Inner {
    durable: HashMap<AgentId, Log>,
    pending: Vec<Pending>,
    number: u64,
    reached: u64,
    is_full: bool,
    failure: Option<JournalFailed>,
    figures: Figures,
}

/// A journal of which what is durable survives [`MemoryJournal::crash`], and nothing
/// survives the process. Nothing is durable before [`MemoryJournal::sync`].
#[derive(Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
    watchers: RwLock<Vec<Watcher>>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes everything durable that waits, and tells those who watch; on this thread.
    /// Without room nothing is done.
    pub fn sync(&self) {
        let mut inner = self.inner.lock();
        if inner.is_full || inner.failure.is_some() || inner.pending.is_empty() {
            return;
        }
        let mut stored = Vec::new();
        let mut entries = 0;
        for pending in std::mem::take(&mut inner.pending) {
            match pending {
                Pending::Entry(number, append) => {
                    entries += 1;
                    inner.reached = number.0;
                    inner.take(append);
                }
                Pending::Snapshot(snapshot, done) => {
                    inner.figures.snapshots += 1;
                    inner.take_snapshot(snapshot);
                    stored.push(done);
                }
            }
        }
        inner.figures.groups += 1;
        inner.figures.entries += entries;
        inner.figures.largest_group = inner.figures.largest_group.max(entries);
        let reached = CommitNumber(inner.reached);
        drop(inner);
        if entries > 0 {
            self.tell(&Told::Durable(reached));
        }
        for done in stored {
            done(Ok(()));
        }
    }

    /// A sync fails: of what waits, the first `kept` are durable all the same, and
    /// nothing more will be.
    pub fn fail(&self, why: &str, kept: usize) {
        let failure = JournalFailed(why.into());
        let mut inner = self.inner.lock();
        let lost = inner.lose(kept);
        inner.failure = Some(failure.clone());
        drop(inner);
        self.tell(&Told::Failed(failure.clone()));
        for done in lost {
            done(Err(failure.clone()));
        }
    }

    /// The node ends and starts anew: of what waits, the first `kept` are durable.
    #[must_use = "it takes the place of this one"]
    pub fn crash(&self, kept: usize) -> Self {
        let mut inner = self.inner.lock();
        // Whoever waited is gone.
        drop(inner.lose(kept));
        let durable = inner.durable.clone();
        Self {
            inner: Mutex::new(Inner {
                durable,
                ..Inner::default()
            }),
            watchers: RwLock::default(),
        }
    }

    /// Whether there is room.
    pub fn set_full(&self, full: bool) {
        self.inner.lock().is_full = full;
        self.tell(&Told::Room(!full));
    }

    /// How many entries and snapshots wait.
    pub fn waiting(&self) -> usize {
        self.inner.lock().pending.len()
    }

    /// Turns a bit of what is durable of an agent: of its snapshot, or of an entry.
    pub fn damage(&self, agent: &AgentId, entry: Option<u64>, byte: usize) -> bool {
        let mut inner = self.inner.lock();
        let Some(log) = inner.durable.get_mut(agent) else {
            return false;
        };
        let body = match entry {
            Some(index) => log.entries.get_mut(&index).map(|entry| &mut entry.body),
            None => log.snapshot.as_mut().map(|(bytes, _)| bytes),
        };
        let Some(body) = body else { return false };
        let mut bytes = body.to_vec();
        let Some(byte) = bytes.get_mut(byte) else {
            return false;
        };
        *byte ^= 1;
        *body = bytes.into();
        true
    }

    fn tell(&self, told: &Told) {
        for watcher in self.watchers.read().iter() {
            watcher(told);
        }
    }
}

impl Inner {
    /// Of what waits only the first `kept` become durable; those who waited for the rest.
    fn lose(&mut self, kept: usize) -> Vec<Stored> {
        let pending = std::mem::take(&mut self.pending);
        let mut waited = Vec::new();
        for (at, pending) in pending.into_iter().enumerate() {
            match pending {
                Pending::Entry(_, append) if at < kept => self.take(append),
                Pending::Entry(..) => {}
                Pending::Snapshot(snapshot, done) => {
                    if at < kept {
                        self.take_snapshot(snapshot);
                    }
                    waited.push(done);
                }
            }
        }
        waited
    }

    fn log(&mut self, agent: &AgentId, check: Check) -> &mut Log {
        self.durable.entry(agent.clone()).or_insert_with(|| Log {
            standing: Standing {
                last: 0,
                check,
                base: 0,
                has_snapshot: false,
                since: 0,
                bytes: 0,
                wake: phoenix_core::Millis::NEVER,
            },
            base_check: check,
            snapshot: None,
            entries: BTreeMap::new(),
        })
    }

    fn take(&mut self, append: Append) {
        let log = self.log(&append.agent, append.previous);
        log.standing.last = append.index;
        log.standing.check = append.check;
        log.standing.wake = append.wake;
        if append.what == What::End {
            log.standing.base = append.index;
            log.standing.has_snapshot = false;
            log.base_check = append.check;
            log.snapshot = None;
            log.entries.clear();
        } else {
            log.entries.insert(append.index, append);
        }
        log.count();
    }

    fn take_snapshot(&mut self, snapshot: Store) {
        let log = self.log(&snapshot.agent, snapshot.check);
        if snapshot.through < log.standing.base {
            return;
        }
        log.standing.base = snapshot.through;
        log.standing.has_snapshot = true;
        log.base_check = snapshot.check;
        log.snapshot = Some((snapshot.bytes.clone(), check_of(&snapshot)));
        log.entries.retain(|index, _| *index > snapshot.through);
        if log.entries.is_empty() {
            log.standing.wake = snapshot.wake;
        }
        log.count();
    }
}

fn check_of(snapshot: &Store) -> Check {
    let sealed = Sealed {
        what: What::Snapshot,
        index: snapshot.through,
        previous: snapshot.check,
        agent: snapshot.agent.as_str(),
        body: &snapshot.bytes,
    };
    sealed.check()
}

impl Log {
    fn count(&mut self) {
        let snapshot = self.snapshot.as_ref().map_or(0, |(bytes, _)| bytes.len());
        self.standing.since = self.entries.values().map(|it| it.body.len() as u64).sum();
        self.standing.bytes = self.standing.since + snapshot as u64;
    }
}

impl Journal for MemoryJournal {
    fn room(&self) -> Result<(), Refused> {
        let inner = self.inner.lock();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone().into());
        }
        if inner.is_full {
            let place = Arc::from("memory");
            return Err(Refused::NoRoom { place });
        }
        Ok(())
    }

    fn append(&self, entry: Append) -> Result<CommitNumber, Refused> {
        let mut inner = self.inner.lock();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone().into());
        }
        inner.number += 1;
        let number = CommitNumber(inner.number);
        inner.pending.push(Pending::Entry(number, entry));
        Ok(number)
    }

    fn store(&self, snapshot: Store, done: Stored) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone().into());
        }
        inner.pending.push(Pending::Snapshot(snapshot, done));
        Ok(())
    }

    fn durable(&self) -> CommitNumber {
        CommitNumber(self.inner.lock().reached)
    }

    fn watch(&self, watcher: Watcher) {
        self.watchers.write().push(watcher);
    }

    fn standing(&self, agent: &AgentId) -> Option<Standing> {
        Some(self.inner.lock().durable.get(agent)?.standing)
    }

    fn each(&self, show: &mut dyn FnMut(&AgentId, &Standing)) {
        let inner = self.inner.lock();
        let alive = inner.durable.iter();
        for (agent, log) in alive {
            if !log.standing.has_ended() && !streams::is_log(agent) {
                show(agent, &log.standing);
            }
        }
    }

    fn read(&self, agent: &AgentId) -> Result<Option<History>, ReadError> {
        let inner = self.inner.lock();
        let Some(log) = inner.durable.get(agent) else {
            return Ok(None);
        };
        let damage = |offset: usize, record: String| {
            ReadError::Damaged(Damage {
                file: "memory".to_owned(),
                record,
                offset: offset as u64,
                what: "its content is not what was written".to_owned(),
            })
        };
        let mut snapshot = None;
        if let Some((bytes, check)) = &log.snapshot {
            let found = Store {
                agent: agent.clone(),
                through: log.standing.base,
                check: log.base_check,
                wake: log.standing.wake,
                bytes: bytes.clone(),
            };
            if check_of(&found) != *check {
                let name = format!("entry {} of {agent}", log.standing.base);
                return Err(damage(0, name));
            }
            snapshot = Some(bytes.clone());
        }
        let mut check = log.base_check;
        let mut records = Vec::new();
        for (offset, entry) in log.entries.values().enumerate() {
            let sealed = Sealed {
                what: entry.what,
                index: entry.index,
                previous: check,
                agent: agent.as_str(),
                body: &entry.body,
            };
            if sealed.check() != entry.check {
                return Err(damage(offset, format!("entry {} of {agent}", entry.index)));
            }
            check = entry.check;
            records.push(entry.body.clone());
        }
        Ok(Some(History {
            standing: log.standing,
            snapshot,
            records,
        }))
    }

    fn figures(&self) -> Figures {
        let inner = self.inner.lock();
        Figures {
            agents: inner.durable.len() as u64,
            ..inner.figures
        }
    }
}
