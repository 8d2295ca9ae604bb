//! What tests share: agents and guests as components, built when a test first
//! needs them and once for all tests, and components a node must refuse.
//!
//! - [`agent`] and [`guest`] give a crate's component, [`adapter`] one made the
//!   way of WASI preview 1, [`hostile_table`] one written by hand, [`foreign`]
//!   those of other languages.
//! - [`diary`] knows what agents of the guest `diary` have to say of themselves.
//! - [`zoo`] makes components that are broken, odd, or too much.
//!
//! Failures here are a test's failures, so these functions panic with the
//! whole story instead of returning errors.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "only tests call this crate, and a test fails by panicking"
)]

pub mod diary;
mod foreign;
mod guests;
pub mod zoo;

pub use foreign::{Language, foreign};
pub use guests::{adapter, agent, guest, hostile_table, root};
