//! A node: workers, routing, migration, and the wiring of all rooms.
//!
//! **Invariant**: this is the only crate that names concrete adapters: the host
//! of Wasm, the stores, the transport. What can be decided without them is
//! decided in `phoenix-core` and `phoenix-cluster`; what is here performs it.
//!
//! Start with [`Node`], then `worker`: a share of the agents and everything
//! done to them. `seat` is how threads drive workers, `peers` what comes from
//! other nodes, `control` what operators and clients want.

mod built_in;
mod clients;
mod clock;
mod config;
mod control;
mod counters;
mod dead_letters;
mod deaths;
mod declare;
mod directory;
mod fetch;
mod flow;
mod gather;
mod journal;
mod kinds;
mod listen;
mod network;
mod numbers;
mod peers;
mod pressure;
mod readers;
mod seat;
mod shared;
mod sleepers;
mod start;
mod ticker;
mod witness;
mod worker;

pub use config::{NodeConfig, PeerCompression};
pub use journal::JournalDisk;
pub use network::Network;
pub use phoenix_host::{Host, HostConfig, compile_worker};
pub use start::{Node, StartError};
pub use witness::{Committed, Step, Witness};
pub use worker::Drained;

/// What reads and writes events in all formats, for the HTTP API.
pub fn event_codec() -> std::sync::Arc<dyn phoenix_core::attributes::EventCodec> {
    std::sync::Arc::new(phoenix_net::formats::Codecs::default())
}
