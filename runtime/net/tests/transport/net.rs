//! Nodes on loopback, over whatever they are to speak.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::{Member, NodeId, PeerMessage, PeerPath, SendRefused, Transport};
use phoenix_net::{PeerTransport, Protocols, TransportConfig, TransportLimits, TransportStats};

use crate::joining::Cluster;
use crate::proxy::{Proxy, Weather};
use crate::recorder::Recorder;
use crate::suite::{Node, Started, World};
use crate::tcp_proxy::{TcpProxy, TcpWeather};
use crate::weather::{Climate, Network, Scene, Trouble};

/// Nodes of one cluster, their identities made without a connection.
pub(crate) struct Net {
    pub(crate) cluster: Cluster,
    protocols: Protocols,
    limits: TransportLimits,
    started: Mutex<BTreeMap<NodeId, Arc<PeerTransport>>>,
}

struct NetNode(Arc<PeerTransport>);

impl Net {
    pub(crate) fn new(protocols: Protocols) -> Self {
        Self::with(protocols, quick())
    }

    pub(crate) fn with(protocols: Protocols, limits: TransportLimits) -> Self {
        Self {
            cluster: Cluster::new(),
            protocols,
            limits,
            started: Mutex::default(),
        }
    }

    /// The counts of a node that was started.
    pub(crate) fn stats(&self, node: NodeId) -> TransportStats {
        self.started.lock()[&node].stats()
    }
}

/// QUIC's streams and nothing else.
pub(crate) const QUIC: Protocols = Protocols {
    quic: true,
    datagrams: false,
    http2: false,
};

/// QUIC with its datagrams.
pub(crate) const DATAGRAMS: Protocols = Protocols {
    datagrams: true,
    ..QUIC
};

/// HTTP/2 and nothing else.
pub(crate) const HTTP2: Protocols = Protocols {
    quic: false,
    datagrams: false,
    http2: true,
};

/// Everything.
pub(crate) const ALL: Protocols = Protocols {
    quic: true,
    datagrams: true,
    http2: true,
};

/// Limits with short waits.
pub(crate) fn quick() -> TransportLimits {
    TransportLimits {
        backoff_first: Duration::from_millis(5),
        backoff_most: Duration::from_millis(100),
        ..TransportLimits::default()
    }
}

impl Net {
    /// Starts a node that speaks other protocols.
    pub(crate) fn launch_with(
        &self,
        protocols: Protocols,
        node: NodeId,
        events: Arc<Recorder>,
    ) -> Arc<dyn Node> {
        Arc::new(NetNode(self.bind(protocols, node, 1, events, None)))
    }

    fn bind(
        &self,
        protocols: Protocols,
        node: NodeId,
        boot: u64,
        events: Arc<Recorder>,
        advertise: Option<&str>,
    ) -> Arc<PeerTransport> {
        let mut config = TransportConfig::new(
            "127.0.0.1:0".parse().unwrap(),
            self.cluster.identity(node),
            boot,
        );
        config.advertise = advertise.map(str::to_owned);
        config.protocols = protocols;
        config.limits = self.limits.clone();
        let transport = PeerTransport::bind(config, events).unwrap();
        self.started.lock().insert(node, Arc::clone(&transport));
        transport
    }

    /// Nodes 1 and 2, which reach each other through a [`Wire`] alone: node 2 does
    /// not know where node 1 is. Not connected yet.
    pub(crate) fn apart(&self, seed: u64) -> (Started, Started, Wire) {
        let start = |id| {
            let events = Recorder::new();
            let transport = self.bind(self.protocols, NodeId(id), 1, Arc::clone(&events), Some(""));
            let address = transport.local_address();
            let node: Arc<dyn Node> = Arc::new(NetNode(transport));
            let id = NodeId(id);
            (Started { id, node, events }, address)
        };
        // The identities are made before: joining would not survive the weather.
        self.cluster.identity(NodeId(2));
        let ((one, _), (two, target)) = (start(1), start(2));
        (one, two, Wire::to(target, seed))
    }
}

impl World for Net {
    fn start(&self, node: NodeId, boot: u64, events: Arc<Recorder>) -> Arc<dyn Node> {
        let transport = self.bind(self.protocols, node, boot, events, None);
        Arc::new(NetNode(transport))
    }
}

/// What lies between two nodes: proxies for UDP and TCP, on the same number.
pub(crate) struct Wire {
    pub(crate) udp: Proxy,
    pub(crate) tcp: TcpProxy,
}

impl Wire {
    /// Proxies for whoever listens at `target`.
    pub(crate) fn to(target: SocketAddr, seed: u64) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        loop {
            // What is free for the one may be taken for the other.
            let tcp = TcpProxy::at(any, target, seed).unwrap();
            if let Ok(udp) = Proxy::at(tcp.address(), target, seed) {
                return Self { udp, tcp };
            }
        }
    }

    /// Node 2, as node 1 finds it.
    pub(crate) fn member(&self) -> Member {
        Member {
            node: NodeId(2),
            address: self.udp.address(),
        }
    }

    /// Lets no UDP through, or all.
    pub(crate) fn block_udp(&self, blocked: bool) {
        self.udp.set(Weather {
            silent: blocked,
            ..Weather::default()
        });
    }
}

impl Network for Wire {
    fn set(&self, trouble: Option<Trouble>) {
        let (mut udp, mut tcp) = (Weather::default(), TcpWeather::default());
        let moment = Duration::from_millis(3);
        match trouble {
            None => {}
            Some(Trouble::Loss) => {
                udp.lost_per_mille = 50;
                tcp.cut_one_in = 50;
            }
            Some(Trouble::Reordering) => {
                udp.delay = moment;
                tcp.delay = moment;
            }
            Some(Trouble::Duplication) => udp.doubled_per_mille = 200,
            Some(Trouble::Delay) => {
                udp.least = moment;
                tcp.delay = moment;
            }
            Some(Trouble::Partition) => {
                udp.silent = true;
                tcp.stalled = true;
            }
        }
        self.udp.set(udp);
        self.tcp.set(tcp);
    }

    fn is_repaired(&self) -> bool {
        true
    }
}

/// Speaks these protocols, on a network in whatever weather.
pub(crate) struct Outdoors(pub(crate) Protocols);

impl Climate for Outdoors {
    fn scene(&self, trouble: Trouble) -> Scene {
        let limits = match trouble {
            Trouble::Partition => hasty(),
            _ => lenient(),
        };
        let net = Net::with(self.0, limits);
        let (one, two, wire) = net.apart(7);
        one.node.learn(wire.member());
        one.events.wait_connected(two.id, 1);
        two.events.wait_connected(one.id, 1);
        Scene {
            one,
            two,
            network: Box::new(wire),
        }
    }
}

/// Limits under which a connection is given up soon.
pub(crate) fn hasty() -> TransportLimits {
    TransportLimits {
        idle_timeout: Duration::from_millis(600),
        keep_alive: Duration::from_millis(150),
        handshake_timeout: Duration::from_millis(500),
        quic_head_start: Duration::from_millis(200),
        ..quick()
    }
}

/// Limits under which it takes long.
pub(crate) fn lenient() -> TransportLimits {
    TransportLimits {
        // What is tested is the order, not how long a bad path takes.
        idle_timeout: Duration::from_secs(60),
        quic_silence: Duration::from_secs(60),
        ..quick()
    }
}

impl Transport for NetNode {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        self.0.send(to, message)
    }

    fn learn(&self, member: Member) {
        self.0.learn(member);
    }

    fn paths(&self) -> Vec<PeerPath> {
        self.0.paths()
    }
}

impl Node for NetNode {
    fn member(&self) -> Member {
        self.0.member()
    }

    fn close(&self) {
        self.0.close();
    }
}
