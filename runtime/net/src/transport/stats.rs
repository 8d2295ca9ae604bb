//! What a transport counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phoenix_core::{NodeId, Protocol};

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
    /// Whether it is connected.
    pub connected: bool,
    /// What everything whose order is promised travels over; `None` where not connected.
    pub protocol: Option<Protocol>,
    /// How often it had started; `None` where not connected.
    pub boot: Option<u64>,
    /// The version of its software; empty where not connected.
    pub software: String,
    /// Time to it and back; `None` where not connected.
    pub rtt: Option<Duration>,
    /// Sessions so far: times it was connected.
    pub sessions: u64,
    /// Connections so far, of either protocol.
    pub connections: u64,
    /// Why the last session ended, in words for people.
    pub last_end: Option<String>,
    /// QUIC's packets to it that were taken for lost and sent again.
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
    /// Datagrams.
    pub datagrams: DatagramStats,
}

/// About the datagrams to and from one peer. Several messages may share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// Sent.
    pub sent: u64,
    /// Messages that became too large for the path while they waited, and were dropped.
    pub outgrown: u64,
    /// Received, and handed over.
    pub received: u64,
    /// Received behind a later one, or once more, and dropped.
    pub late: u64,
    /// Numbers that were passed over by a later one and have not come.
    pub missing: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sessions: Counter,
    pub(super) connections: Counter,
    /// Of connections that ended, as the next one too.
    pub(super) lost_packets: Counter,
    pub(super) black_holes: Counter,
    pub(super) sent_messages: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) received_messages: Counter,
    pub(super) received_bytes: Counter,
    pub(super) datagrams: DatagramCounters,
}

#[derive(Debug, Default)]
pub(super) struct DatagramCounters {
    pub(super) sent: Counter,
    pub(super) outgrown: Counter,
    pub(super) received: Counter,
    pub(super) late: Counter,
    pub(super) passed_over: Counter,
}

impl DatagramCounters {
    pub(super) fn stats(&self) -> DatagramStats {
        let late = self.late.get();
        DatagramStats {
            sent: self.sent.get(),
            outgrown: self.outgrown.get(),
            received: self.received.get(),
            late,
            // Each that is late was passed over before.
            missing: self.passed_over.get().saturating_sub(late),
        }
    }
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
