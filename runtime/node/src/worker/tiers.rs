//! Where sleeping agents lie: in memory while there is room for them, then on disk.
//!
//! ```text
//!   idle_after ──▶ Tier::Memory ──▶ (memory_budget) ──▶ durable:   Slot::Stored
//!                                                       ephemeral: Tier::Disk
//! ```
//!
//! The longest asleep go first. Of a durable agent the journal has everything as soon as
//! what it said last is durable, so nothing is written for it; an ephemeral one's snapshot
//! goes to a file of the worker's, and is lost with the node as it would be in memory.

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use phoenix_core::journal::Standing;
use phoenix_core::{Level, Millis};
use phoenix_store::disk_arena::{self, DiskArenaError, Reading, ReadingError};
use phoenix_store::{DiskArena, arena};

use crate::counters::count;
use crate::worker::Worker;
use crate::worker::slot::{Asleep, Owned, Slot, Stored, Tier};

/// Agents that go to disk in one step of a worker.
const AT_ONCE: usize = 64;
/// How long one that the journal does not have yet is waited for.
const NOT_YET: Millis = Millis(20);
/// How long after a failure of the disk it is tried again.
const DISK_RETRY: Millis = Millis(1_000);
/// Bytes an agent in memory takes beside its snapshot: its entry in the arena.
const ENTRY: u64 = 16;
/// Places that no longer hold which the order may have, beside as many as hold.
const SLACK: usize = 1_024;

/// What a worker knows of its sleeping agents' tiers.
pub(super) struct Tiers {
    /// Those in memory, the longest asleep first; what no longer holds is passed over.
    order: VecDeque<(u32, arena::Handle)>,
    /// Where those on disk are to lie.
    path: PathBuf,
    /// From the first of them on.
    disk: Option<DiskArena>,
    /// Bytes of disk they may take.
    disk_bytes: u64,
    /// Nothing goes to disk before.
    look_again: Millis,
}

/// Why a snapshot is not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The disk failed: it may be read later.
    NotNow(String),
    /// It is not there any more.
    Lost(String),
}

impl Tiers {
    /// All in memory; on disk they may take so many bytes of a file at `path`.
    pub(super) fn new(path: PathBuf, disk_bytes: u64) -> Self {
        Self {
            order: VecDeque::new(),
            path,
            disk: None,
            disk_bytes,
            look_again: Millis(0),
        }
    }

    /// Agents on disk, and the bytes of it they take.
    pub(super) fn on_disk(&self) -> (u64, u64) {
        let disk = self.disk.as_ref();
        disk.map_or((0, 0), |disk| (disk.len() as u64, disk.bytes()))
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<disk_arena::Handle, DiskArenaError> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            None => {
                let made = DiskArena::with_limit(&self.path, self.disk_bytes);
                let made = made.map_err(|source| DiskArenaError::Disk {
                    path: self.path.clone(),
                    source,
                })?;
                self.disk.insert(made)
            }
        };
        disk.insert(bytes)
    }
}

impl Worker {
    /// An agent fell asleep in memory.
    pub(super) fn fell_asleep(&mut self, slot: u32, handle: arena::Handle) {
        let kept = 2 * self.arena.len() + SLACK;
        if self.tiers.order.len() > kept {
            let slots = &self.slots;
            let lies = |(slot, handle): &(u32, arena::Handle)| lies_in(slots, *slot, *handle);
            self.tiers.order.retain(lies);
        }
        self.tiers.order.push_back((slot, handle));
    }

    /// The snapshot of a sleeping agent, read here and now if it is on disk.
    pub(super) fn snapshot_of(&self, tier: Tier) -> Result<Bytes, Unread> {
        let gone = || Unread::Lost("its snapshot is gone".to_owned());
        match tier {
            Tier::Memory(handle) => {
                let bytes = self.arena.get(handle).ok_or_else(gone)?;
                Ok(Bytes::copy_from_slice(bytes))
            }
            Tier::Disk(handle) => {
                let reading = self.reading_of(handle).ok_or_else(gone)?;
                let bytes = reading.run().map_err(|error| match error {
                    ReadingError::Disk { .. } => Unread::NotNow(error.to_string()),
                    ReadingError::Damaged { .. } => Unread::Lost(error.to_string()),
                })?;
                Ok(bytes.into())
            }
        }
    }

    /// Bytes of a sleeping agent's snapshot.
    pub(super) fn length_of(&self, tier: Tier) -> u64 {
        match tier {
            Tier::Memory(handle) => self.arena.get(handle).map_or(0, <[u8]>::len) as u64,
            Tier::Disk(handle) => {
                let disk = self.tiers.disk.as_ref();
                let length = disk.and_then(|disk| disk.length(handle));
                length.unwrap_or(0).into()
            }
        }
    }

    /// What reads a snapshot that is on disk.
    pub(super) fn reading_of(&self, handle: disk_arena::Handle) -> Option<Reading> {
        self.tiers.disk.as_ref()?.reading(handle)
    }

    /// Lets go of a sleeping agent's snapshot.
    pub(super) fn let_go_of(&mut self, tier: Tier) {
        match tier {
            Tier::Memory(handle) => drop(self.arena.remove(handle)),
            Tier::Disk(handle) => {
                if let Some(disk) = &mut self.tiers.disk {
                    disk.remove(handle);
                }
            }
        }
    }

    /// Whether sleeping agents take more memory than they may.
    fn is_over_budget(&self) -> bool {
        let held = self.arena.payload() + self.arena.len() as u64 * ENTRY;
        held > self.shared.sleepers.budget_of_worker()
    }

    /// When [`Worker::page_out`] has something to do.
    pub(super) fn tiers_deadline(&self) -> Millis {
        if self.is_over_budget() && !self.tiers.order.is_empty() {
            self.tiers.look_again
        } else {
            Millis::NEVER
        }
    }

    /// Has the longest asleep leave memory while there are too many in it.
    pub(super) fn page_out(&mut self) {
        let now = self.now.millis();
        for _ in 0..AT_ONCE {
            if now < self.tiers.look_again || !self.is_over_budget() {
                break;
            }
            let Some((slot, handle)) = self.tiers.order.pop_front() else {
                break;
            };
            if !lies_in(&self.slots, slot, handle) {
                continue;
            }
            if let Err(retry) = self.page_out_one(slot, handle) {
                self.tiers.order.push_front((slot, handle));
                self.tiers.look_again = now + retry;
            }
        }
        let memory = (self.arena.len() as u64, self.arena.footprint());
        let figures = &self.shared.sleepers;
        figures.publish(self.index, memory, self.tiers.on_disk());
    }

    /// One leaves memory; or it is said in how long that is to be tried again.
    fn page_out_one(&mut self, slot: u32, handle: arena::Handle) -> Result<(), Millis> {
        let Some(Slot::Asleep(asleep)) = self.slots.get_mut(slot as usize) else {
            return Ok(());
        };
        if let Some(log) = &asleep.log {
            let journal = self.durables.journal.as_ref();
            let standing = journal.and_then(|journal| journal.standing(log.agent()));
            // It has to come back by the snapshot it fell asleep with: another way to the
            // same memory leaves other dead stack.
            let is_whole = |it: &Standing| it.last == log.last() && it.base >= log.stored();
            if !standing.as_ref().is_some_and(is_whole) {
                return Err(NOT_YET);
            }
            let stored = Stored {
                agent: log.agent().clone(),
                owned: Some(Owned::alive(asleep.generation)),
            };
            self.arena.remove(handle);
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = Slot::Stored(stored);
            }
            count(&self.shared.counters.paged_out);
            return Ok(());
        }
        let Some(bytes) = self.arena.get(handle) else {
            return Ok(());
        };
        match self.tiers.insert(bytes) {
            Ok(on_disk) => {
                asleep.tier = Tier::Disk(on_disk);
                self.arena.remove(handle);
                count(&self.shared.counters.paged_out);
                Ok(())
            }
            Err(error) => {
                let text = format!("agents that sleep stay in memory: {error}");
                self.shared.log(None, Level::Warn, &text);
                Err(DISK_RETRY)
            }
        }
    }
}

/// Whether the slot's agent sleeps in memory under this handle.
fn lies_in(slots: &slab::Slab<Slot>, slot: u32, handle: arena::Handle) -> bool {
    matches!(
        slots.get(slot as usize),
        Some(Slot::Asleep(Asleep { tier: Tier::Memory(it), .. })) if *it == handle
    )
}
