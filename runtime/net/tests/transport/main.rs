//! One suite that every transport passes, and what is particular to each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

mod intruder;
mod joining;
mod memory;
mod proxy;
mod quic;
mod recorder;
mod suite;
mod trouble;
