//! Many submitters, one sync.
//!
//! Entries wait in a queue; one thread takes all that wait, writes them as one block,
//! syncs once, and tells those who watch. While it syncs the next ones gather, so the
//! longer a sync takes the more it carries. Snapshots, and what is written anew to free
//! files, go along in bounded parts, so that nobody waits for all of one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use phoenix_core::journal::clean::{Cleaner, Next};
use phoenix_core::journal::{
    Append, Check, CommitNumber, Figures, JournalFailed, ReadError, Refused, Sealed, Store, Stored,
    Told, Watcher, What,
};
use phoenix_core::{AgentId, Millis};

use super::engine::{Engine, Item, Shared, WriteError};
use super::format::{BEGINS, FIRST, Kind, LAST, MOVED};
use super::read::{self, All, Read};
use super::{Options, holdings};

/// Entries of one block, bytes: 4 MiB, and one entry.
const GROUP: usize = 4 << 20;
/// Bytes of snapshots that go along with one block, 1 MiB.
const ALONG: usize = 1 << 20;
/// Longest part of a snapshot, 256 KiB.
const PART: usize = 256 << 10;
/// Entries that wait before nothing more is begun, 1,048,576.
const WAITING: usize = 1 << 20;
/// How long it waits before it looks for room again, 100 ms.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// An entry that waits.
struct Waiting {
    number: CommitNumber,
    append: Append,
    /// Snapshots that are needless when this is durable.
    needless: Vec<Stored>,
}

/// A snapshot that waits, or is being written.
struct Job {
    /// Everything up to this number goes before it.
    after: CommitNumber,
    store: Store,
    flags: u8,
    /// The part that comes next, and what it is chained to.
    part: u32,
    previous: Check,
    done: Option<Stored>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Waiting>,
    bytes: u64,
    jobs: VecDeque<Job>,
    job_bytes: u64,
    /// The number that was given last.
    number: u64,
    full: bool,
    stopping: bool,
    failure: Option<JournalFailed>,
}

impl Queue {
    /// Snapshots of a life that ends are not written: what is written after its end
    /// would be taken for another's.
    fn drop_jobs(&mut self, agent: &AgentId) -> Vec<Stored> {
        if self.jobs.iter().all(|job| job.store.agent != *agent) {
            return Vec::new();
        }
        let mut needless = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            if job.store.agent == *agent {
                self.job_bytes -= job.store.bytes.len() as u64;
                needless.extend(job.done);
            } else {
                self.jobs.push_back(job);
            }
        }
        needless
    }
}

struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    durable: AtomicU64,
    figures: Mutex<Figures>,
    watchers: RwLock<Vec<Watcher>>,
    shared: Arc<Shared>,
    options: Options,
}

/// The journal's thread, and what waits for it.
pub(super) struct Writer {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(engine: Engine, options: Options) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            wake: Condvar::new(),
            durable: AtomicU64::new(0),
            figures: Mutex::default(),
            watchers: RwLock::default(),
            shared: engine.shared.clone(),
            options,
        });
        let now = (inner.options.clock)();
        let run = Thread {
            cleaner: Cleaner::new(inner.options.cleaning, now),
            inner: inner.clone(),
            engine,
            group: Group::default(),
            job: None,
            to_move: Vec::new(),
            is_stuck: false,
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run.run())?;
        Ok(Self {
            inner,
            thread: Some(thread),
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(super) fn room(&self) -> Result<(), Refused> {
        let queue = self.inner.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone().into());
        }
        if queue.full {
            let place = self.inner.shared.files.read().volume.place().into();
            return Err(Refused::NoRoom { place });
        }
        let (waiting, bound) = (queue.bytes, self.inner.options.waiting_bytes);
        if waiting >= bound || queue.entries.len() >= WAITING {
            return Err(Refused::Busy { waiting, bound });
        }
        Ok(())
    }

    pub(super) fn append(&self, append: Append) -> Result<CommitNumber, Refused> {
        let mut queue = self.inner.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone().into());
        }
        queue.number += 1;
        queue.bytes += append.body.len() as u64;
        let number = CommitNumber(queue.number);
        let mut needless = Vec::new();
        if append.what == What::End {
            needless = queue.drop_jobs(&append.agent);
        }
        queue.entries.push_back(Waiting {
            number,
            append,
            needless,
        });
        drop(queue);
        self.inner.wake.notify_one();
        Ok(number)
    }

    pub(super) fn store(&self, store: Store, done: Stored) -> Result<(), Refused> {
        let mut queue = self.inner.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone().into());
        }
        let bound = self.inner.options.waiting_snapshot_bytes;
        let bytes = store.bytes.len() as u64;
        if queue.job_bytes + bytes > bound && !queue.jobs.is_empty() {
            let waiting = queue.job_bytes;
            return Err(Refused::Busy { waiting, bound });
        }
        queue.job_bytes += bytes;
        let after = CommitNumber(queue.number);
        queue.jobs.push_back(Job::new(after, store, 0, Some(done)));
        drop(queue);
        self.inner.wake.notify_one();
        Ok(())
    }

    pub(super) fn durable(&self) -> CommitNumber {
        CommitNumber(self.inner.durable.load(Ordering::Acquire))
    }

    pub(super) fn watch(&self, watcher: Watcher) {
        self.inner.watchers.write().push(watcher);
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = *self.inner.figures.lock();
        figures.bytes = self.inner.shared.files.read().bytes;
        let index = self.inner.shared.index.lock();
        figures.live = index.live();
        figures.agents = index.len() as u64;
        figures
    }
}

impl Drop for Writer {
    /// Writes what waits, if there is room for it, then ends the thread.
    fn drop(&mut self) {
        self.inner.queue.lock().stopping = true;
        self.inner.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A thread that panicked has told nobody anything wrong.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn tell(&self, told: &Told) {
        for watcher in self.watchers.read().iter() {
            watcher(told);
        }
    }
}

impl Job {
    fn new(after: CommitNumber, store: Store, flags: u8, done: Option<Stored>) -> Self {
        Self {
            after,
            previous: store.check,
            store,
            flags,
            part: 0,
            done,
        }
    }

    /// The next part, and whether it is the last.
    fn next(&mut self) -> (Item, bool) {
        let Store {
            agent,
            through,
            wake,
            bytes,
            ..
        } = &self.store;
        let from = (self.part as usize).saturating_mul(PART).min(bytes.len());
        let to = from.saturating_add(PART).min(bytes.len());
        let is_last = to == bytes.len();
        let body = bytes.slice(from..to);
        let sealed = Sealed {
            what: What::Snapshot,
            index: *through,
            previous: self.previous,
            agent: agent.as_str(),
            body: &body,
        };
        let check = sealed.check();
        let item = Item {
            kind: Kind::Of(What::Snapshot),
            flags: self.flags | if is_last { LAST } else { 0 },
            index: *through,
            previous: self.previous,
            check,
            wake: *wake,
            part: self.part,
            agent: Some(agent.clone()),
            body,
        };
        self.part += 1;
        self.previous = check;
        (item, is_last)
    }
}

/// What goes into one block.
#[derive(Default)]
struct Group {
    items: Vec<Item>,
    bytes: usize,
    /// The last number in it.
    number: Option<CommitNumber>,
    entries: u64,
    moved: u64,
    /// Snapshots that are whole with it.
    stored: Vec<Stored>,
    snapshots: u64,
}

impl Group {
    fn push(&mut self, item: Item) {
        self.bytes += item.size();
        self.items.push(item);
    }
}

struct Thread {
    inner: Arc<Inner>,
    engine: Engine,
    cleaner: Cleaner,
    /// What is to be written next, or waits for room.
    group: Group,
    /// The snapshot that is being written.
    job: Option<Job>,
    /// Agents of which something in the first file is to be written anew.
    to_move: Vec<AgentId>,
    /// What is needed of the first file cannot be read: it stays.
    is_stuck: bool,
}

impl Thread {
    fn run(mut self) {
        let ended = loop {
            if let Err(failure) = self.clean() {
                break Some(failure);
            }
            if !self.gather() {
                break None;
            }
            if let Err(failure) = self.write() {
                break Some(failure);
            }
            let queue = self.inner.queue.lock();
            if queue.full && queue.stopping {
                drop(queue);
                break Some(JournalFailed(
                    "it was closed while there was no room".into(),
                ));
            }
        };
        if let Some(failure) = ended {
            self.fail(&failure);
        }
    }

    /// Puts together what is written next; `false` when nothing will come any more.
    fn gather(&mut self) -> bool {
        let inner = self.inner.clone();
        // Before the queue is held: whoever holds the index may want that.
        let look_again = self.look_again();
        let mut queue = inner.queue.lock();
        loop {
            if queue.full {
                self.inner.wake.wait_for(&mut queue, ROOM_WAIT);
                if self.group.items.is_empty() {
                    self.take(&mut queue);
                }
                return true;
            }
            self.take(&mut queue);
            if !self.group.items.is_empty() {
                return true;
            }
            if queue.stopping {
                return false;
            }
            match look_again {
                Some(wait) if wait.is_zero() => return true,
                Some(wait) => {
                    if inner.wake.wait_for(&mut queue, wait).timed_out() {
                        return true;
                    }
                }
                None => inner.wake.wait(&mut queue),
            }
        }
    }

    /// Entries first; then, of snapshots, what may go along.
    fn take(&mut self, queue: &mut Queue) {
        while self.group.bytes < GROUP
            && let Some(waiting) = queue.entries.pop_front()
        {
            let Waiting {
                number,
                append,
                needless,
            } = waiting;
            self.group.stored.extend(needless);
            queue.bytes -= append.body.len() as u64;
            if append.what == What::End
                && let Some(job) = self.job.take_if(|job| job.store.agent == append.agent)
            {
                if job.flags & MOVED == 0 {
                    queue.job_bytes -= job.store.bytes.len() as u64;
                }
                self.group.stored.extend(job.done);
            }
            self.group.number = Some(number);
            self.group.entries += 1;
            self.group.push(item(append));
        }
        let next = queue.entries.front().map(|entry| entry.number);
        let mut along = 0;
        while along < ALONG {
            if self.job.is_none() {
                let may = queue.jobs.front();
                if may.is_none_or(|job| next.is_some_and(|next| next <= job.after)) {
                    return;
                }
                self.job = queue.jobs.pop_front();
            }
            let Some(job) = &mut self.job else { return };
            let (item, is_last) = job.next();
            along += item.size();
            if job.flags & MOVED != 0 {
                self.group.moved += item.size() as u64;
            }
            self.group.push(item);
            if is_last && let Some(job) = self.job.take() {
                if job.flags & MOVED == 0 {
                    queue.job_bytes -= job.store.bytes.len() as u64;
                    self.group.snapshots += 1;
                }
                self.group.stored.extend(job.done);
            }
        }
    }

    /// Writes the group, and tells everybody. Without room it stays.
    fn write(&mut self) -> Result<(), JournalFailed> {
        if self.group.items.is_empty() {
            return Ok(());
        }
        match self.engine.write(&self.group.items) {
            Ok(()) => {}
            Err(WriteError::NoRoom) => {
                self.set_full(true);
                return Ok(());
            }
            Err(WriteError::Failed(error)) => return Err(JournalFailed(error.to_string().into())),
        }
        self.set_full(false);
        let group = std::mem::take(&mut self.group);
        {
            let mut figures = self.inner.figures.lock();
            figures.groups += 1;
            figures.entries += group.entries;
            figures.largest_group = figures.largest_group.max(group.entries);
            figures.snapshots += group.snapshots;
            figures.moved += group.moved;
        }
        if group.moved > 0 {
            self.cleaner.moved(group.moved, self.now());
        }
        if let Some(number) = group.number {
            self.inner.durable.store(number.0, Ordering::Release);
            self.inner.tell(&Told::Durable(number));
        }
        for stored in group.stored {
            stored(Ok(()));
        }
        Ok(())
    }

    fn set_full(&self, full: bool) {
        let mut queue = self.inner.queue.lock();
        let is_new = std::mem::replace(&mut queue.full, full) != full;
        drop(queue);
        if is_new {
            self.inner.tell(&Told::Room(!full));
        }
    }

    /// Nothing is written any more: everybody is told, and whoever comes later.
    fn fail(&mut self, failure: &JournalFailed) {
        let mut queue = self.inner.queue.lock();
        queue.failure = Some(failure.clone());
        let entries = std::mem::take(&mut queue.entries);
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.inner.tell(&Told::Failed(failure.clone()));
        let stored = std::mem::take(&mut self.group.stored);
        let jobs = self.job.take().into_iter().chain(jobs);
        let needless = entries.into_iter().flat_map(|waiting| waiting.needless);
        let jobs = jobs.filter_map(|job| job.done);
        for stored in stored.into_iter().chain(needless).chain(jobs) {
            stored(Err(failure.clone()));
        }
    }

    fn now(&self) -> Millis {
        (self.inner.options.clock)()
    }

    fn next_cleaning(&mut self) -> Next {
        if self.is_stuck {
            return Next::Rest;
        }
        let is_full = self.inner.queue.lock().full;
        let held = holdings(&self.inner.shared, is_full);
        self.cleaner.next(&held, self.now())
    }

    /// How long until there may be something to clean.
    fn look_again(&mut self) -> Option<Duration> {
        if self.is_stuck {
            return None;
        }
        let held = holdings(&self.inner.shared, false);
        let now = self.now();
        match self.cleaner.next(&held, now) {
            Next::Rest => None,
            Next::Drop | Next::Move(_) => Some(Duration::ZERO),
            Next::Wait(at) => Some(Duration::from_millis(now.until(at).0.max(1))),
        }
    }

    /// Takes one step of cleaning: what is written anew goes into the next group.
    fn clean(&mut self) -> Result<(), JournalFailed> {
        match self.next_cleaning() {
            Next::Rest | Next::Wait(_) => Ok(()),
            Next::Drop => self.drop_first(),
            // Before entries of the same agents, which follow what is moved.
            Next::Move(bytes) if self.group.items.is_empty() && self.job.is_none() => {
                self.move_some(bytes)
            }
            Next::Move(_) => Ok(()),
        }
    }

    fn drop_first(&mut self) -> Result<(), JournalFailed> {
        let files = self.inner.shared.files.read();
        let (first, last) = (files.first(), files.all.keys().next_back().copied());
        drop(files);
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(());
        };
        // All that nobody needs go at once.
        let needed = self.inner.shared.index.lock().needed_from(first, last);
        self.to_move.clear();
        match self.engine.drop_before(needed) {
            Ok(()) => {
                if self.group.items.is_empty() {
                    self.set_full(false);
                }
                Ok(())
            }
            Err(WriteError::NoRoom) => {
                self.set_full(true);
                Ok(())
            }
            Err(WriteError::Failed(error)) => Err(JournalFailed(error.to_string().into())),
        }
    }

    fn move_some(&mut self, bytes: u64) -> Result<(), JournalFailed> {
        let Some(first) = self.inner.shared.files.read().first() else {
            return Ok(());
        };
        if self.to_move.is_empty() {
            self.to_move = self.inner.shared.index.lock().pinned_by(first);
        }
        while self.group.moved < bytes && self.job.is_none() {
            let Some(agent) = self.to_move.pop() else {
                break;
            };
            match read::read(&self.inner.shared, &agent) {
                Ok(Some(all)) => self.move_agent(&agent, all, first),
                Ok(None) => {}
                Err(error) => self.stuck(&error),
            }
        }
        Ok(())
    }

    fn move_agent(&mut self, agent: &AgentId, all: All, first: u32) {
        if all
            .entry
            .files
            .first()
            .is_some_and(|(file, _)| *file == first)
        {
            let begins = if all.entry.begun { BEGINS } else { 0 };
            let mut flags = MOVED | FIRST | begins;
            for read in &all.entries {
                let item = moved_item(agent, read, flags);
                self.group.moved += item.size() as u64;
                self.group.push(item);
                flags = MOVED;
            }
        }
        if all
            .entry
            .snapshot
            .is_some_and(|stored| stored.first == first)
        {
            let wake = all
                .parts
                .last()
                .map_or(Millis::NEVER, |part| part.head.wake);
            let (through, check) = (all.entry.base, all.entry.base_check);
            let store = Store {
                agent: agent.clone(),
                through,
                check,
                wake,
                bytes: all.history().snapshot.unwrap_or_default(),
            };
            self.job = Some(Job::new(CommitNumber(0), store, MOVED, None));
        }
    }

    /// The first file has to stay, and all after it.
    fn stuck(&mut self, error: &ReadError) {
        self.is_stuck = true;
        self.to_move.clear();
        self.inner.tell(&Told::Unreadable(error.clone()));
    }
}

fn item(append: Append) -> Item {
    Item {
        kind: Kind::Of(append.what),
        flags: if append.begins { BEGINS } else { 0 },
        index: append.index,
        previous: append.previous,
        check: append.check,
        wake: append.wake,
        part: 0,
        agent: Some(append.agent),
        body: append.body,
    }
}

fn moved_item(agent: &AgentId, read: &Read, flags: u8) -> Item {
    let head = &read.head;
    Item {
        kind: head.kind,
        flags,
        index: head.index,
        previous: head.previous,
        check: head.check,
        wake: head.wake,
        part: 0,
        agent: Some(agent.clone()),
        body: Bytes::clone(&read.body),
    }
}
