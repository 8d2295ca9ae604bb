//! What tests share: agents and guests as components, built when a test first
//! needs them and once for all tests, and components a node must refuse.
//!
//! Failures here are a test's failures, so these functions panic with the
//! whole story instead of returning errors.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "only tests call this crate, and a test fails by panicking"
)]

pub mod guests;

pub use guests::{agent, guest};
