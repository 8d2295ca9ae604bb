//! The binary against a node that is none: what it prints, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../../../gateway/tests/api/fake.rs"]
#[allow(dead_code, reason = "the gateway's own tests use the rest of it")]
mod fake;

#[path = "../process/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod process;

mod answers;
mod failures;
mod harness;
mod patterns;
mod topics;
