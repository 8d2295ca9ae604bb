//! How one agent's log stands: what every entry that is written changes of it.
//!
//! The same steps are taken when an entry is written and when it is read back, so what
//! was known before a restart is known after it.

use phoenix_core::Millis;
use phoenix_core::journal::{Check, Standing, What};
use smallvec::{SmallVec, smallvec};

use super::format::{BEGINS, Entry, FIRST, Kind, MOVED, Place, entry_size};

/// A snapshot that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Where its last part lies; each part says where the one before it does.
    pub(super) last: Place,
    /// The file its first part is in.
    pub(super) first: u32,
    pub(super) parts: u32,
    /// The last entry it stands for.
    pub(super) through: u64,
    /// Bytes it takes in files.
    pub(super) bytes: u64,
}

/// How an agent's log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AgentEntry {
    pub(super) last: u64,
    pub(super) check: Check,
    /// Where the last entry lies, if it is needed.
    pub(super) place: Place,
    /// No entry up to this one is needed.
    pub(super) base: u64,
    pub(super) base_check: Check,
    pub(super) snapshot: Option<Stored>,
    /// Bytes that the entries after `base` take in files.
    pub(super) since: u64,
    pub(super) wake: Millis,
    /// The files they lie in, each with the index of the first in it.
    pub(super) files: SmallVec<[(u32, u64); 1]>,
    /// The file in which the end of its last life stands.
    pub(super) ended_in: Option<u32>,
    /// Its life began with the entry after `base`.
    pub(super) begun: bool,
}

impl AgentEntry {
    /// That of an agent whose first entry follows this one.
    pub(super) fn after(index: u64, check: Check) -> Self {
        Self {
            last: index,
            check,
            base: index,
            base_check: check,
            ..Self::default()
        }
    }

    /// What others may know of it.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            last: self.last,
            check: self.check,
            base: self.base,
            has_snapshot: self.snapshot.is_some(),
            since: self.since,
            bytes: self.live(),
            wake: self.wake,
        }
    }

    /// Whether nothing of it is needed but that it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.last == self.base && self.snapshot.is_none()
    }

    /// Whether everything of it is there: a snapshot, or its life from the beginning.
    pub(super) fn is_whole(&self) -> bool {
        let is_stored = self.snapshot.is_some_and(|it| it.through == self.base);
        self.begun || is_stored || self.has_ended()
    }

    /// The first file with something in it that is needed. That a life has ended is
    /// needed only as long as files before are there, and those go first.
    pub(super) fn first_file(&self) -> Option<u32> {
        let snapshot = self.snapshot.map(|snapshot| snapshot.first);
        let log = self.files.first().map(|(file, _)| *file);
        snapshot.into_iter().chain(log).min()
    }

    /// Bytes in files that are needed.
    pub(super) fn live(&self) -> u64 {
        self.since + self.snapshot.map_or(0, |snapshot| snapshot.bytes)
    }

    /// Where the entry before the next one lies.
    pub(super) fn before(&self) -> Place {
        if self.last > self.base {
            self.place
        } else {
            Place::NONE
        }
    }

    /// Whether an entry that is about to be written is the next.
    pub(super) fn check_next(
        &self,
        index: u64,
        previous: Check,
        begins: bool,
    ) -> Result<(), String> {
        if index != self.last + 1 || previous != self.check {
            return Err(format!("it does not follow entry {}", self.last));
        }
        if begins && self.last != self.base {
            return Err("it begins a life before the last has ended".to_owned());
        }
        Ok(())
    }

    /// Takes an entry that is not a part of a snapshot. Where some before it were in
    /// files that are gone, a snapshot or what was moved has to come later.
    pub(super) fn take(&mut self, entry: &Entry<'_>, place: Place) -> Result<(), String> {
        let head = &entry.head;
        let size = entry_size(entry.agent, entry.body.len()) as u64;
        if head.flags & MOVED != 0 {
            self.take_moved(entry, place, size);
            return Ok(());
        }
        if head.index > self.last + 1 {
            self.base = head.index - 1;
            self.base_check = head.previous;
            self.begun = false;
            self.since = 0;
            self.files.clear();
        } else if head.index <= self.last || head.previous != self.check {
            return Err(format!("it does not follow entry {}", self.last));
        }
        if head.flags & BEGINS != 0 {
            self.begun = true;
        }
        self.last = head.index;
        self.check = head.check;
        self.place = place;
        self.wake = head.wake;
        if head.kind == Kind::Of(What::End) {
            self.base = head.index;
            self.base_check = head.check;
            self.snapshot = None;
            self.since = 0;
            self.begun = false;
            self.files.clear();
            self.ended_in = Some(place.file);
            return Ok(());
        }
        self.since += size;
        if self
            .files
            .last()
            .is_none_or(|(file, _)| *file != place.file)
        {
            self.files.push((place.file, head.index));
        }
        Ok(())
    }

    /// An agent's entries are moved all at once, the first to the last of them.
    fn take_moved(&mut self, entry: &Entry<'_>, place: Place, size: u64) {
        let head = &entry.head;
        if head.flags & FIRST != 0 {
            self.base = head.index - 1;
            self.base_check = head.previous;
            self.begun = head.flags & BEGINS != 0;
            self.since = 0;
            self.files = smallvec![(place.file, head.index)];
        }
        self.since += size;
        if head.index >= self.last {
            self.last = head.index;
            self.check = head.check;
            self.place = place;
            self.wake = head.wake;
        }
    }

    /// Takes a snapshot that is whole now: `through` is the entry it stands for.
    pub(super) fn take_snapshot(&mut self, through: u64, check: Check, wake: Millis, it: Stored) {
        if through < self.base {
            if !self.is_whole() {
                // What was moved along with it comes later.
                self.snapshot = Some(it);
            }
            return;
        }
        let (all, left) = (
            self.last.saturating_sub(self.base),
            self.last.saturating_sub(through),
        );
        if through >= self.last {
            self.last = through;
            self.check = check;
            self.wake = wake;
            self.files.clear();
            self.since = 0;
        } else if through > self.base {
            // What lies before in the same files is not counted entry by entry.
            let since = u128::from(self.since) * u128::from(left) / u128::from(all.max(1));
            self.since = u64::try_from(since).unwrap_or(self.since);
            self.forget_through(through);
        }
        if through > self.base {
            self.begun = false;
        }
        self.base = through;
        self.base_check = check;
        self.snapshot = Some(it);
    }

    fn forget_through(&mut self, through: u64) {
        let needed = self
            .files
            .iter()
            .rposition(|(_, first)| *first <= through + 1);
        self.files.drain(..needed.unwrap_or(0));
        if let Some((_, first)) = self.files.first_mut() {
            *first = (*first).max(through + 1);
        }
    }
}
