//! What a node keeps: on disk the directory, the kinds, spilled messages, its boot
//! counter and the journal of durable agents; in memory sleeping agents, dead letters and logs.
//!
//! **Invariant**: nothing here knows what an agent's state means, what a
//! component does, or what a network is. Files are written so that a crash at
//! any point leaves either what was before or what was to be; what is read back
//! is checked, and damage is an error that names the file, never a guess.
//!
//! Start with [`DataDir`], then [`DirectoryStore`], which is a
//! [`RecordLog`](log::RecordLog) behind a state machine, [`KindStore`],
//! [`DiskSpill`](spill::DiskSpill), [`SnapshotArena`], and [`DiskJournal`].

pub mod arena;
mod boot;
mod chain;
mod data_dir;
mod dead_letters;
mod directory;
pub mod disk;
pub mod disk_arena;
mod files;
mod flow;
pub mod journal;
mod kinds;
pub mod log;
mod log_ring;
pub mod spill;
mod wire;

pub use arena::SnapshotArena;
pub use boot::{BootCounter, BootError};
pub use data_dir::{DataDir, DataDirError};
pub use dead_letters::{DeadLetters, NoLetter, PushedOut};
pub use directory::{DeclareError, DirectoryError, DirectoryStore, Tuning};
pub use disk_arena::DiskArena;
pub use flow::{FlowStore, FlowStoreError};
pub use journal::{DiskJournal, MemoryJournal};
pub use kinds::{KindError, KindStore};
pub use log_ring::LogRing;
