//! The API over real connections, with a node behind it that is none.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod client;
mod fake;
mod guard;
mod http;
mod limits;
mod routes;
mod sending;
mod topics;
