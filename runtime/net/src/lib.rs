//! How nodes talk: two transports behind core's port, the format on the wire,
//! and who a node is.
//!
//! [`QuicTransport`] joins nodes across machines by QUIC with mutual TLS,
//! [`memory::MemoryNetwork`] joins them within a process and fails on demand;
//! one suite of tests holds both to the port. [`identity`] makes a cluster's
//! authority, lets nodes join by a token, and keeps who a node is. [`wire`] is
//! the format of the messages.
//!
//! **Invariant**: nothing outside this crate names quinn, rustls or rcgen, and
//! nothing here knows what a message means beyond which stream it takes.

pub mod formats;
pub mod identity;
pub mod memory;
mod quic;
pub mod wire;

pub use identity::{Authority, Identity, JoinToken, join};
pub use memory::{MemoryNetwork, MemoryTransport};
pub use quic::{
    BindError, OnMember, PeerStats, QuicConfig, QuicLimits, QuicTransport, TlsError,
    TransportStats, longest_close,
};
