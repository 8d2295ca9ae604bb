//! Asks that wait for each other: agents with scripted guests on a network that
//! delays, and a naive graph of who waits for whom beside them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod circles;
mod graph;
mod guest;
mod notices;
mod world;
