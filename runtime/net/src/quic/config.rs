//! What a QUIC transport is made from, and everything it bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Member;

use crate::identity::{Authority, Identity};

/// Called with a member that joined, or that is known to listen elsewhere now.
pub type OnMember = Arc<dyn Fn(Member) + Send + Sync>;

/// What a [`super::QuicTransport`] is made from.
pub struct QuicConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `host:port` where others reach this node, if that is not where it listens.
    pub advertise: Option<String>,
    /// Who this node is.
    pub identity: Identity,
    /// How often it has started, this time counted.
    pub boot: u64,
    /// The version of its software, for others to see.
    pub software: String,
    /// The cluster's authority, if this node holds it: then it lets others join.
    pub authority: Option<Arc<Authority>>,
    /// Told of members that joined here or that listen elsewhere than was known,
    /// so that they can be announced. Must not wait.
    pub on_member: Option<OnMember>,
    /// The runtime to work on; one of its own if none is given. It must have
    /// time and I/O enabled. On one with a single thread, an event handler that
    /// blocks holds up all peers.
    pub runtime: Option<tokio::runtime::Handle>,
    /// Bounds.
    pub limits: QuicLimits,
}

impl QuicConfig {
    /// The defaults.
    pub fn new(listen: SocketAddr, identity: Identity, boot: u64) -> Self {
        Self {
            listen,
            advertise: None,
            identity,
            boot,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            authority: None,
            on_member: None,
            runtime: None,
            limits: QuicLimits::default(),
        }
    }
}

/// Bounds of a QUIC transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicLimits {
    /// Bytes of one frame, and so of one message. Default 16 MiB.
    pub frame_bytes: usize,
    /// Messages that may wait for one peer, small and bulk each. Default 65,536.
    pub queue_messages: usize,
    /// Bytes that may wait for one peer, small and bulk each; at least a frame. Default 64 MiB.
    pub queue_bytes: usize,
    /// Peers. Default 1,024.
    pub peers: usize,
    /// Connections that have not said who they are. Default 64.
    pub handshakes: usize,
    /// How long a connection may take to say who it is, and a dial at all: the
    /// addresses of a name share it. Default 5 s.
    pub handshake_timeout: Duration,
    /// A connection that is silent for so long is dead. Default 10 s.
    pub idle_timeout: Duration,
    /// A connection with nothing to say shows so often that it lives; below a
    /// third of the idle timeout, so that two lost ones do no harm. Default 3 s.
    pub keep_alive: Duration,
    /// The wait before the second try to connect; it doubles with each, and a
    /// random half of it is taken off. Default 50 ms.
    pub backoff_first: Duration,
    /// The longest such wait. Default 5 s.
    pub backoff_most: Duration,
    /// How long closing may take to send what waits. Default 2 s.
    pub close_timeout: Duration,
}

impl Default for QuicLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 16 << 20,
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
            peers: 1_024,
            handshakes: 64,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            backoff_first: Duration::from_millis(50),
            backoff_most: Duration::from_secs(5),
            close_timeout: Duration::from_secs(2),
        }
    }
}
