//! QUIC on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::{Member, NodeId, PeerMessage, SendRefused, Transport};
use phoenix_net::{QuicConfig, QuicLimits, QuicTransport, TransportStats};

use crate::joining::Cluster;
use crate::recorder::Recorder;
use crate::suite::{Node, World, pair, send, ship, transport_suite};

/// Nodes of one cluster, their identities made without a connection.
pub(crate) struct Quic {
    pub(crate) cluster: Cluster,
    limits: QuicLimits,
    started: Mutex<BTreeMap<NodeId, Arc<QuicTransport>>>,
}

struct QuicNode(Arc<QuicTransport>);

impl Quic {
    fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(limits: QuicLimits) -> Self {
        Self {
            cluster: Cluster::new(),
            limits,
            started: Mutex::default(),
        }
    }

    /// The counts of a node that was started.
    pub(crate) fn stats(&self, node: NodeId) -> TransportStats {
        self.started.lock()[&node].stats()
    }
}

/// Limits with short waits.
pub(crate) fn quick() -> QuicLimits {
    QuicLimits {
        backoff_first: Duration::from_millis(5),
        backoff_most: Duration::from_millis(100),
        ..QuicLimits::default()
    }
}

impl World for Quic {
    fn start(&self, node: NodeId, boot: u64, events: Arc<Recorder>) -> Arc<dyn Node> {
        let mut config = QuicConfig::new(
            "127.0.0.1:0".parse().unwrap(),
            self.cluster.identity(node),
            boot,
        );
        config.limits = self.limits.clone();
        let transport = QuicTransport::bind(config, events).unwrap();
        self.started.lock().insert(node, Arc::clone(&transport));
        Arc::new(QuicNode(transport))
    }
}

impl Transport for QuicNode {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        self.0.send(to, message)
    }

    fn learn(&self, member: Member) {
        self.0.learn(member);
    }
}

impl Node for QuicNode {
    fn member(&self) -> Member {
        self.0.member()
    }

    fn close(&self) {
        self.0.close();
    }
}

transport_suite!(Quic::new());

#[test]
fn bulk_both_ways_loses_nothing() {
    const PARTS: u64 = 24;
    const PART: usize = 1 << 20;
    let world = Quic::new();
    let (one, two) = pair(&world);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..PARTS).for_each(|part| send(&one, two.id, &ship(part, PART))));
        scope.spawn(|| (0..PARTS).for_each(|part| send(&two, one.id, &ship(part, PART))));
    });
    let count = usize::try_from(PARTS).unwrap();
    one.events.wait_messages(two.id, count);
    two.events.wait_messages(one.id, count);
    for node in [one.id, two.id] {
        let stats = world.stats(node);
        let peer = &stats.peers[0];
        assert_eq!((peer.connections, peer.black_holes), (1, 0), "{peer:?}");
        // Thousands were sent. A few are lost where a busy machine's buffers are full.
        assert!(peer.lost_packets < 100, "{peer:?}");
        assert_eq!(peer.last_end, None);
    }
}
