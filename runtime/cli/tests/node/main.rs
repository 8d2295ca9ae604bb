//! Real nodes as processes: started, operated, joined, told to stop.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../process/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod process;

mod blocked;
mod dead;
mod harness;
mod join;
mod life;
mod spill;
mod stop;
mod timers;
