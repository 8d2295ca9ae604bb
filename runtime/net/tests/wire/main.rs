//! The format on the wire: what is written is read back, and nothing that is
//! read does harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

mod batcher;
mod corpus;
mod formats;
mod generate;
mod properties;
