//! What Phoenix decides without touching the world: ids, envelopes, limits,
//! mailboxes, streams and their verdicts, and the ports behind which the world
//! lies.
//!
//! **Invariant**: nothing here knows tokio, wasmtime, a socket, a file, a clock
//! or ambient randomness. Events, `now` and random numbers go in, actions come
//! out. CI builds this crate for `wasm32-unknown-unknown` to prove it.
//!
//! Start with [`Envelope`], then [`agent::Agent`], the state machine every
//! agent is to its worker; whose turn it is there, [`schedule::Schedule`] says.
//! [`flow`] decides what may pass to a target, and when; [`DueIndex`] has what is due in
//! order, and [`topics`] finds who subscribed to a topic. [`program`] is how agents run
//! whose program is part of the node.
//! [`program`] is what agents are made of that are part of the node, and [`patterns`] has
//! some: pipelines and sagas.
//! What a message says about itself is in [`attributes`], and how types of messages are
//! treated in [`taxonomy`].
//! The ports are [`Transport`] (nodes to nodes), [`Directory`] (who owns an agent),
//! [`Control`] (operators to a node), [`Spill`] (messages beyond a mailbox's
//! bounds to a disk) and [`Journal`] (durable agents' turns, before their effects).

pub mod agent;
mod ask_notice;
pub mod attributes;
mod client_send;
pub mod control;
mod data;
mod dead_letter;
pub mod directory;
mod due;
pub mod flow;
mod id;
pub mod journal;
mod limits;
mod message;
pub mod migration;
pub mod patterns;
mod peer;
pub mod program;
mod retry;
pub mod schedule;
pub mod snapshot;
mod spill;
pub mod taxonomy;
mod time;
pub mod topics;

pub use ask_notice::{AskLink, AskNotice, MAX_PROBE_LINKS, PROBE_BUDGET, Probe};
pub use attributes::{Attributes, CloudEvent};
pub use client_send::{
    BadClientSend, CLIENT_GIVE_UP, ClientOptions, ClientSend, ClientTerms, MAX_CLIENT_GIVE_UP,
    MAX_CLIENT_KEY, MAX_CLIENT_TTL,
};
pub use control::Control;
pub use data::Data;
pub use directory::Directory;
pub use due::DueIndex;
pub use id::{
    AgentId, BadAgentId, ClientId, Digest, Epoch, Incarnation, KindName, MigrationId, NodeId,
};
pub use journal::Journal;
pub use limits::{BadOverflow, BadPolicy, KindPolicy, Overflow, SpawnPolicy};
pub use message::{
    Acknowledgement, Ask, Body, Bounce, DeadReason, Envelope, Expiry, Extras, Failure, Lane,
    MAX_REDIRECTS, Notice, Original, Payload, Refusal, Reply, ReplyTo, Sender, Sequence,
    SkipReason, StreamKey,
};
pub use peer::{Member, PeerMessage, PeerPath, Protocol, SendRefused, Transport, TransportEvents};
pub use phoenix_wit::{ContentType, Delivery, Level};
pub use retry::{BadSchedule, RetryPolicy, Schedule};
pub use smol_str::SmolStr;
pub use spill::{Backlog, MemorySpill, Spill, SpillError};
pub use time::{Millis, Nanos};
