//! What a transport counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phoenix_core::NodeId;

/// A transport's counts since it was bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Each known peer.
    pub peers: Vec<PeerStats>,
    /// Connections refused before they stood: wrong version, cluster, certificate, boot.
    pub refused: u64,
    /// Connections closed because of a malformed frame.
    pub malformed: u64,
}

/// About one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// Which.
    pub node: NodeId,
    /// Where it listens, if that is known.
    pub address: Option<String>,
    /// Whether a connection stands.
    pub connected: bool,
    /// How often it had started; `None` where not connected.
    pub boot: Option<u64>,
    /// The version of its software; empty where not connected.
    pub software: String,
    /// Time to it and back; `None` where not connected.
    pub rtt: Option<Duration>,
    /// Connections so far.
    pub connections: u64,
    /// Why the last one that stood ended, in words for people.
    pub last_end: Option<String>,
    /// Packets to it that were taken for lost and sent again.
    pub lost_packets: u64,
    /// How often packets of the path's size were suddenly all lost, and smaller
    /// ones got through.
    pub black_holes: u64,
    /// Messages sent.
    pub sent_messages: u64,
    /// Bytes of frames sent.
    pub sent_bytes: u64,
    /// Messages received.
    pub received_messages: u64,
    /// Bytes of frames received.
    pub received_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: Counter,
    /// Of connections that ended, as the next one too.
    pub(super) lost_packets: Counter,
    pub(super) black_holes: Counter,
    pub(super) sent_messages: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) received_messages: Counter,
    pub(super) received_bytes: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: usize) {
        self.add_all(more as u64);
    }

    pub(super) fn add_all(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
