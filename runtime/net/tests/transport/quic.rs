//! QUIC on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::{Member, NodeId, PeerMessage, SendRefused, Transport};
use phoenix_net::{QuicConfig, QuicLimits, QuicTransport, TransportStats};

use crate::joining::Cluster;
use crate::recorder::Recorder;
use crate::suite::{Node, World, transport_suite};

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
