//! The journal, on disk and in memory: one suite for both, over a volume that fails in
//! every way a disk does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends where it is wrong"
)]

mod crash;
mod damage;
mod figures;
mod full;
mod model;
mod real;
mod suite;
mod volume;
