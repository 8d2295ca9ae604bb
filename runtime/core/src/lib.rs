//! What Phoenix decides without touching the world: ids, envelopes, limits,
//! mailboxes, streams and their verdicts, and the ports behind which the world
//! lies.
//!
//! **Invariant**: nothing here knows tokio, wasmtime, a socket, a file, a clock
//! or ambient randomness. Events, `now` and random numbers go in, actions come
//! out. CI builds this crate for `wasm32-unknown-unknown` to prove it.
//!
//! Start with [`Envelope`], then [`agent::Agent`], the state machine every
//! agent is to its worker. [`flow`] decides what may pass to a target, and when.
//! The ports are [`Transport`] (nodes to nodes), [`Directory`] (who owns an agent)
//! and [`Control`] (operators to a node).

pub mod agent;
pub mod control;
mod data;
mod dead_letter;
pub mod directory;
pub mod flow;
mod id;
mod limits;
mod message;
pub mod migration;
mod peer;
mod retry;
pub mod snapshot;
mod time;

pub use control::Control;
pub use data::Data;
pub use directory::Directory;
pub use id::{
    AgentId, BadAgentId, ClientId, Digest, Epoch, Incarnation, KindName, MigrationId, NodeId,
};
pub use limits::{BadPolicy, KindPolicy, SpawnPolicy};
pub use message::{
    Acknowledgement, Ask, Body, DeadReason, Envelope, Failure, Lane, Notice, Payload, Refusal,
    Reply, ReplyTo, Sender, Sequence, SkipReason, StreamKey,
};
pub use peer::{Member, PeerMessage, SendRefused, Transport, TransportEvents};
pub use phoenix_wit::{ContentType, Delivery, Level};
pub use retry::{RetryPolicy, Schedule};
pub use smol_str::SmolStr;
pub use time::{Millis, Nanos};
