//! The node's journal: when it is opened, and who is told what became of entries.
//!
//! ```text
//!   worker ──▶ Journals::awaits ──┐            ┌──▶ Event::Journal ──▶ worker
//!                                 └▶ (flag) ◀──┤
//!   journal's thread ──▶ Told::Durable ────────┘   none of those that wait for nothing
//! ```
//!
//! A node without durable agents has no journal: one is begun when the first comes.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use phoenix_core::Level;
use phoenix_core::journal::{Journal, Told};
use phoenix_store::DiskJournal;
use phoenix_store::journal::{JournalError, Options, RealVolume, Volume};

use crate::clock;
use crate::shared::Shared;
use crate::worker::Event;

/// What a journal lies on, and how it is kept.
#[derive(Clone)]
pub struct JournalDisk {
    /// Where its files are.
    pub volume: Arc<dyn Volume>,
    /// How they are kept.
    pub options: Options,
}

impl fmt::Debug for JournalDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalDisk")
            .field("place", &self.volume.place())
            .field("file_bytes", &self.options.file_bytes)
            .finish_non_exhaustive()
    }
}

/// The journal, if there is one, and the workers that wait for it.
pub(crate) struct Journals {
    directory: PathBuf,
    /// What it lies on instead.
    given: Option<JournalDisk>,
    open: RwLock<Option<Arc<dyn Journal>>>,
    /// By worker: how much it holds back.
    awaited: Vec<AtomicUsize>,
    /// It has no room.
    full: AtomicBool,
    failure: OnceLock<Arc<str>>,
}

impl Journals {
    /// None yet; it is to lie in `directory`, unless something else is `given`.
    pub(crate) fn new(directory: PathBuf, given: Option<JournalDisk>, workers: usize) -> Self {
        Self {
            directory,
            given,
            open: RwLock::new(None),
            awaited: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            full: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// Whether an earlier run of the node has begun one.
    pub(crate) fn is_there(&self) -> bool {
        match &self.given {
            Some(disk) => disk.volume.list().is_ok_and(|names| !names.is_empty()),
            None => self.directory.is_dir(),
        }
    }

    /// What it is to lie on.
    fn disk(&self) -> Result<JournalDisk, String> {
        if let Some(disk) = &self.given {
            return Ok(disk.clone());
        }
        let directory = &self.directory;
        let volume = RealVolume::open(directory)
            .map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
        Ok(JournalDisk {
            volume: Arc::new(volume),
            options: Options::new(Arc::new(clock::now_ms)),
        })
    }

    /// The journal, if it is open.
    pub(crate) fn get(&self) -> Option<Arc<dyn Journal>> {
        self.open.read().clone()
    }

    /// The worker holds so much back, and wants an [`Event::Journal`] when more is
    /// durable. What became durable before this call is told to nobody: it has to look
    /// after it.
    pub(crate) fn awaits(&self, worker: usize, held: usize) {
        if let Some(awaited) = self.awaited.get(worker) {
            awaited.store(held.max(1), Ordering::SeqCst);
        }
    }

    /// Whether it has no room, so that durable agents take nothing.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Why the node has to stop, if the journal failed.
    pub(crate) fn failure(&self) -> Option<&Arc<str>> {
        self.failure.get()
    }

    /// What it has done and holds: names and values.
    pub(crate) fn count(&self) -> impl Iterator<Item = (String, u64)> {
        let figures = self.get().map(|it| it.figures()).unwrap_or_default();
        let list = [
            ("journal-bytes", figures.bytes),
            ("journal-entries", figures.entries),
            ("journal-live-bytes", figures.live),
            ("journal-moved-bytes", figures.moved),
            ("journal-snapshots", figures.snapshots),
            ("journal-syncs", figures.groups),
        ];
        list.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
    }

    /// Lets go of it: the node has stopped.
    pub(crate) fn close(&self) {
        let open = self.open.write().take();
        drop(open);
    }
}

impl Shared {
    /// The journal, which is opened if it is not, and begun if there is none.
    pub(crate) fn open_journal(self: &Arc<Self>) -> Result<Arc<dyn Journal>, String> {
        let mut open = self.journals.open.write();
        if let Some(journal) = &*open {
            return Ok(journal.clone());
        }
        let JournalDisk { volume, options } = self.journals.disk()?;
        let opened = DiskJournal::open(volume, options);
        let is_full = matches!(opened, Err(JournalError::NoRoom { .. }));
        self.journals.full.store(is_full, Ordering::Relaxed);
        let (journal, opened) = opened.map_err(|error| error.to_string())?;
        if let Some(torn) = opened.torn {
            let text = format!(
                "{} ended in {} bytes that a crash left, at byte {}: nothing of them was \
                 acknowledged, and they were cut off",
                torn.file, torn.bytes, torn.offset
            );
            self.log(None, Level::Warn, &text);
        }
        for file in opened.damaged_indexes {
            let text = format!("the index {file} was damaged, and is made again");
            self.log(None, Level::Warn, &text);
        }
        let journal: Arc<dyn Journal> = Arc::new(journal);
        // The journal must not keep alive what keeps it.
        let shared = Arc::downgrade(self);
        journal.watch(Box::new(move |told| {
            if let Some(shared) = shared.upgrade() {
                shared.journal_told(told);
            }
        }));
        *open = Some(journal.clone());
        Ok(journal)
    }

    /// The journal says something, on its own thread.
    fn journal_told(&self, told: &Told) {
        match told {
            Told::Durable(_) => self.wake_for_journal(),
            Told::Room(false) => {
                self.journals.full.store(true, Ordering::Relaxed);
                let text = format!(
                    "the journal has no room: durable agents wait until there is free space in {}",
                    self.journals.directory.display()
                );
                self.log(None, Level::Error, &text);
            }
            Told::Room(true) => {
                self.journals.full.store(false, Ordering::Relaxed);
                self.wake_for_journal();
                let text = "the journal has room again, and durable agents go on";
                self.log(None, Level::Info, text);
            }
            Told::Unreadable(error) => {
                let text = format!("the journal frees no file any more: {error}");
                self.log(None, Level::Error, &text);
            }
            Told::Failed(failed) => self.journal_failed(&failed.to_string()),
        }
    }

    /// Tells workers that wait for the journal that it has gone on.
    ///
    /// Where one batch is all that was waited for, its worker is driven on this thread if
    /// it sleeps, and what comes of that is written next: an agent that is asked again
    /// and again has its turns without a thread that has to wake. More batches than one
    /// belong into one sync, which would be begun too early by this.
    fn wake_for_journal(&self) {
        let held = self.journals.awaited.iter();
        let held: usize = held.map(|held| held.load(Ordering::SeqCst)).sum();
        let is_alone = held == 1;
        for (seat, held) in self.seats.iter().zip(&self.journals.awaited) {
            if held.swap(0, Ordering::SeqCst) == 0 {
                continue;
            }
            let visit = is_alone.then(|| seat.visit()).flatten();
            seat.post(Event::Journal);
            if let Some(visit) = visit {
                visit.drive();
            }
        }
    }

    /// Nobody knows what is durable: nothing that waits for that leaves any more, and
    /// the node has to stop.
    pub(crate) fn journal_failed(&self, why: &str) {
        if self.journals.failure.set(why.into()).is_err() {
            return;
        }
        self.log(None, Level::Error, why);
        for seat in &self.seats {
            seat.post(Event::Journal);
        }
    }
}
