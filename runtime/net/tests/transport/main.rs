//! One suite that every transport passes, and what is particular to each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says where"
)]

mod agreed;
mod composite;
mod datagrams;
mod http2;
mod intruder;
mod joining;
mod memory;
mod net;
mod proxy;
mod quic;
mod recorder;
mod suite;
mod tcp_proxy;
mod trouble;
mod weather;
