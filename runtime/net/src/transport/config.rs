//! What a transport is made from, and everything it bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Member;

use crate::formats::{Offer, Preferences};
use crate::identity::{Authority, Identity};
use crate::wire::BatchLimits;

/// Called with a member that joined, or that is known to listen elsewhere now.
pub type OnMember = Arc<dyn Fn(Member) + Send + Sync>;

/// What a [`super::PeerTransport`] is made from.
pub struct TransportConfig {
    /// Where to listen: UDP and TCP, on the same number. Port 0 takes a free one.
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
    /// What it speaks.
    pub protocols: Protocols,
    /// What forms and compressions it reads, as its peers are told. Default all.
    pub offer: Offer,
    /// How it writes to peers, of what they read. Default compact, and compressed
    /// from 4 KiB on.
    pub preferences: Preferences,
    /// The same for peers on the same machine. Default compact, not compressed.
    pub near: Preferences,
    /// Bounds.
    pub limits: TransportLimits,
}

impl TransportConfig {
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
            protocols: Protocols::default(),
            offer: Offer::all(),
            preferences: Preferences::default(),
            near: Preferences::near(),
            limits: TransportLimits::default(),
        }
    }
}

/// What a transport speaks. At least one of QUIC and HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// QUIC over UDP. Default true.
    pub quic: bool,
    /// QUIC's datagrams for small messages outside any stream, if the peer takes
    /// them too. Default true.
    pub datagrams: bool,
    /// HTTP/2 over TLS over TCP. Default true.
    pub http2: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            quic: true,
            datagrams: true,
            http2: true,
        }
    }
}

/// Bounds of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Bytes of one frame, and so of one message. Default 16 MiB.
    pub frame_bytes: usize,
    /// Messages that may wait for one peer, small and bulk each. Default 65,536.
    pub queue_messages: usize,
    /// Bytes that may wait for one peer, small and bulk each; at least a frame. Default 64 MiB.
    pub queue_bytes: usize,
    /// In which frames what waits leaves. Its own bounds on what waits are not
    /// used, as the two above bound that.
    pub batch: BatchLimits,
    /// Messages that may wait for one peer to be sent as datagrams. Default 4,096.
    pub datagram_queue_messages: usize,
    /// Bytes that may wait for one peer to be sent as datagrams. Default 1 MiB.
    pub datagram_queue_bytes: usize,
    /// Peers. Default 1,024.
    pub peers: usize,
    /// Connections of each protocol that have not said who they are. Default 64.
    pub handshakes: usize,
    /// How long a connection may take to say who it is, and a dial at all: the
    /// addresses of a name share it. Default 5 s.
    pub handshake_timeout: Duration,
    /// A connection that is silent for so long is dead. Default 10 s.
    pub idle_timeout: Duration,
    /// A connection with nothing to say shows so often that it lives; well below
    /// `quic_silence`, so that a packet that is lost does no harm. Default 1 s.
    pub keep_alive: Duration,
    /// How long QUIC alone is tried before HTTP/2 is tried beside it. Default 1 s.
    pub quic_head_start: Duration,
    /// A QUIC connection that is silent for so long is doubted: if the peer
    /// answers over HTTP/2 and QUIC is still silent then, it is given up before
    /// the idle timeout. Default 2 s.
    pub quic_silence: Duration,
    /// With HTTP/2 in use, the wait before QUIC is tried again; it doubles with
    /// each try, and a random half of it is taken off. Default 1 s.
    pub probe_first: Duration,
    /// The longest such wait. Default 10 s.
    pub probe_most: Duration,
    /// The same after QUIC was given up for its silence. It doubles with each
    /// time, up to 8 times this, and begins anew after a QUIC connection that
    /// lasted 3 times this. Default 10 s.
    pub distrust: Duration,
    /// To a peer that is far away, an HTTP/2 connection is made beside QUIC for
    /// bulk once so many bytes of it went without a second's rest. Default 4 MiB.
    pub bulk_from: usize,
    /// Such a connection is left when nothing used it for so long. Default 30 s.
    pub bulk_idle: Duration,
    /// The wait before the second try to connect; it doubles with each, and a
    /// random half of it is taken off. Default 50 ms.
    pub backoff_first: Duration,
    /// The longest such wait. Default 5 s.
    pub backoff_most: Duration,
    /// How long a reader looks out for the next message before its thread sleeps, while
    /// messages follow each other closely; zero is not at all. Default 50 us.
    pub lookout: Duration,
    /// How long closing may take to send what waits. Default 2 s.
    pub close_timeout: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 16 << 20,
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
            batch: BatchLimits::default(),
            datagram_queue_messages: 4_096,
            datagram_queue_bytes: 1 << 20,
            peers: 1_024,
            handshakes: 64,
            handshake_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(1),
            quic_head_start: Duration::from_secs(1),
            quic_silence: Duration::from_secs(2),
            probe_first: Duration::from_secs(1),
            probe_most: Duration::from_secs(10),
            distrust: Duration::from_secs(10),
            bulk_from: 4 << 20,
            bulk_idle: Duration::from_secs(30),
            backoff_first: Duration::from_millis(50),
            backoff_most: Duration::from_secs(5),
            lookout: Duration::from_micros(50),
            close_timeout: Duration::from_secs(2),
        }
    }
}
