//! How nodes talk: two transports behind core's port, the format on the wire,
//! and who a node is.
//!
//! [`PeerTransport`] joins nodes across machines by QUIC, or by HTTP/2 where UDP
//! is blocked, with mutual TLS; [`memory::MemoryNetwork`] joins them within a
//! process and fails on demand; one suite of tests holds both to the port.
//! [`select`] is the table of what travels over what. [`identity`] makes a
//! cluster's authority, lets nodes join by a token, and keeps who a node is.
//! [`wire`] is the format of the messages.
//!
//! **Invariant**: nothing outside this crate names quinn, h2, rustls or rcgen,
//! and nothing here knows what a message means beyond what it travels over.

pub mod formats;
mod http2;
pub mod identity;
pub mod memory;
mod quic;
pub mod select;
mod tls;
mod transport;
pub mod wire;

pub use identity::{Authority, Identity, JoinToken, join};
pub use memory::{MemoryNetwork, MemoryTransport};
pub use tls::TlsError;
pub use transport::{
    BindError, DatagramStats, OnMember, PeerStats, PeerTransport, Protocols, TransportConfig,
    TransportLimits, TransportStats, longest_close,
};
