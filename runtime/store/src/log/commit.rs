//! Many submitters, one sync.
//!
//! Records wait in a queue; one thread takes all that wait, writes them as one
//! block, syncs once, and tells each submitter. While it syncs the next ones
//! gather, so the longer a sync takes the more it carries.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{LogError, MAX_RECORD, RecordLog};

/// Most entries that wait, 65,536.
const MAX_WAITING: usize = 65_536;
/// Most bytes that wait, 64 MiB.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// How long a record that is in no hurry waits for another one, 100 ms.
const LAZY_WAIT: Duration = Duration::from_millis(100);

/// The log failed, and why; the record may or may not be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogFailed(pub Arc<str>);

/// As much waits for the log as may. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as much waits for the disk as may: try again")]
pub struct QueueFull;

/// Called once, on the log's thread, when the entry and all before it are durable.
pub type Committed = Box<dyn FnOnce(Result<(), LogFailed>) + Send + 'static>;

/// Makes a snapshot. It calls its argument at the moment the snapshot is of: all
/// records submitted before are in the snapshot, all others are not. So it must
/// hold whatever keeps others from submitting.
pub type SnapshotSource = Box<dyn Fn(&mut dyn FnMut()) -> Vec<u8> + Send + 'static>;

/// How soon an entry is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits.
    Now,
    /// With the next one that is urgent, or after 100 ms.
    Lazy,
}

struct Entry {
    /// None for one that only waits for those before it.
    record: Option<Vec<u8>>,
    done: Committed,
}

#[derive(Default)]
struct Queue {
    entries: Vec<Entry>,
    bytes: usize,
    urgent: bool,
    stopping: bool,
    failure: Option<LogFailed>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// A log with a thread that writes it.
pub struct CommitQueue {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CommitQueue {
    /// Starts the thread. It compacts the log whenever that is longer than
    /// `compact_at` bytes and twice its snapshot.
    pub fn start(
        log: RecordLog,
        compact_at: u64,
        snapshot: SnapshotSource,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: shared.clone(),
            log,
            compact_at,
            next_compaction: compact_at,
            snapshot,
        };
        let thread = thread::Builder::new()
            .name("record-log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether there is room for another record of `bytes`.
    pub fn check(&self, bytes: usize) -> Result<(), QueueFull> {
        let queue = self.shared.queue.lock();
        let full = queue.entries.len() >= MAX_WAITING
            || queue.bytes + bytes > MAX_WAITING_BYTES
            || bytes > MAX_RECORD;
        if full { Err(QueueFull) } else { Ok(()) }
    }

    /// Queues a record. Without one, `done` is called when everything queued
    /// before is durable. The bounds are checked by [`CommitQueue::check`] alone.
    ///
    /// If the log has failed `done` comes back uncalled: the caller may hold a
    /// lock that it needs.
    pub fn submit(
        &self,
        record: Option<Vec<u8>>,
        urgency: Urgency,
        done: Committed,
    ) -> Result<(), (LogFailed, Committed)> {
        let mut queue = self.shared.queue.lock();
        if let Some(failure) = queue.failure.clone() {
            return Err((failure, done));
        }
        if queue.stopping {
            return Err((LogFailed("the log is closed".into()), done));
        }
        queue.bytes += record.as_ref().map_or(0, Vec::len);
        queue.entries.push(Entry { record, done });
        if urgency == Urgency::Now {
            queue.urgent = true;
        }
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Why the log failed, if it did. It does not recover.
    pub fn failure(&self) -> Option<LogFailed> {
        self.shared.queue.lock().failure.clone()
    }
}

impl CommitQueue {
    /// Writes what waits, then ends the thread. Whoever submits more is told that the log
    /// is closed.
    pub fn close(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // A thread that panicked has told nobody anything wrong.
            let _ = thread.join();
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.close();
    }
}

struct Writer {
    shared: Arc<Shared>,
    log: RecordLog,
    compact_at: u64,
    next_compaction: u64,
    snapshot: SnapshotSource,
}

impl Writer {
    fn run(mut self) {
        while let Some(entries) = self.wait() {
            let result = self
                .log
                .commit(entries.iter().filter_map(|entry| entry.record.as_deref()));
            if !self.tell(entries, result) || !self.compact() {
                return;
            }
        }
    }

    /// What is to be written next; `None` when nothing will come any more.
    fn wait(&self) -> Option<Vec<Entry>> {
        let mut queue = self.shared.queue.lock();
        while queue.entries.is_empty() {
            if queue.stopping {
                return None;
            }
            self.shared.wake.wait(&mut queue);
        }
        if !queue.urgent && !queue.stopping {
            self.linger(&mut queue);
        }
        Some(take(&mut queue))
    }

    /// Waits for something urgent, for a while.
    fn linger(&self, queue: &mut MutexGuard<'_, Queue>) {
        let hurry = |queue: &mut Queue| !queue.urgent && !queue.stopping;
        self.shared.wake.wait_while_for(queue, hurry, LAZY_WAIT);
    }

    /// Tells everybody; whether the log lives.
    fn tell(&self, entries: Vec<Entry>, result: Result<(), LogError>) -> bool {
        let failure = match result {
            Ok(()) => None,
            Err(error) => Some(LogFailed(error.to_string().into())),
        };
        let mut all = entries;
        if let Some(failure) = &failure {
            let mut queue = self.shared.queue.lock();
            queue.failure = Some(failure.clone());
            all.extend(take(&mut queue));
        }
        for entry in all {
            (entry.done)(failure.clone().map_or(Ok(()), Err));
        }
        failure.is_none()
    }

    /// Compacts the log if it is time; whether the log lives.
    fn compact(&mut self) -> bool {
        if self.log.bytes() < self.next_compaction {
            return true;
        }
        let mut entries = Vec::new();
        let shared = self.shared.clone();
        let bytes = (self.snapshot)(&mut || entries = take(&mut shared.queue.lock()));
        let result = match self.log.compact(&bytes) {
            // The snapshot has the entries' records.
            Ok(true) => Ok(()),
            Ok(false) => self
                .log
                .commit(entries.iter().filter_map(|entry| entry.record.as_deref())),
            Err(error) => Err(error),
        };
        self.next_compaction = self.log.bytes() + self.compact_at.max(2 * bytes.len() as u64);
        self.tell(entries, result)
    }
}

fn take(queue: &mut Queue) -> Vec<Entry> {
    queue.bytes = 0;
    queue.urgent = false;
    std::mem::take(&mut queue.entries)
}
