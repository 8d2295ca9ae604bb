//! What a node keeps: on disk and in memory.

pub mod arena;
mod rings;

pub use arena::SnapshotArena;
pub use rings::{DeadLetters, LogRing};
