//! QUIC in trouble: lossy networks, silence, restarts, strangers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use phoenix_core::migration::MigrationMessage;
use phoenix_core::{Member, NodeId, PeerMessage, SendRefused, Transport, TransportEvents};
use phoenix_net::{PeerTransport, TransportConfig, TransportLimits};

use crate::joining::Cluster;
use crate::net::{QUIC, quick};
use crate::proxy::{Proxy, Weather};
use crate::recorder::{Recorder, Told};
use crate::suite::{eventually, number_of, numbered, ship};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

struct Node {
    transport: Arc<PeerTransport>,
    events: Arc<Recorder>,
}

impl Node {
    fn start(cluster: &Cluster, id: NodeId, boot: u64, limits: &TransportLimits) -> Self {
        Self::advertising(cluster, id, boot, limits, None)
    }

    fn advertising(
        cluster: &Cluster,
        id: NodeId,
        boot: u64,
        limits: &TransportLimits,
        advertise: Option<&str>,
    ) -> Self {
        let events = Recorder::new();
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = TransportConfig::new(listen, cluster.identity(id), boot);
        config.protocols = QUIC;
        config.limits = limits.clone();
        config.advertise = advertise.map(str::to_owned);
        let transport = PeerTransport::bind(config, events.clone()).unwrap();
        Self { transport, events }
    }

    fn address(&self) -> SocketAddr {
        self.transport.local_address()
    }

    fn send(&self, to: NodeId, message: PeerMessage) {
        while let Err(refused) = self.transport.send(to, message.clone()) {
            assert_eq!(refused, SendRefused::Full);
            std::thread::yield_now();
        }
    }
}

/// Node 1, a proxy, and node 2 behind it; node 2 does not know where node 1 is.
fn behind_proxy(cluster: &Cluster, limits: &TransportLimits, seed: u64) -> (Node, Proxy, Node) {
    // The identities are made before: joining would not survive the weather.
    cluster.identity(TWO);
    let one = Node::advertising(cluster, ONE, 1, limits, Some(""));
    let two = Node::advertising(cluster, TWO, 1, limits, Some(""));
    let proxy = Proxy::new(two.address(), seed);
    one.transport.learn(Member {
        node: TWO,
        address: proxy.address(),
    });
    one.events.wait_connected(TWO, 1);
    two.events.wait_connected(ONE, 1);
    (one, proxy, two)
}

/// Never gives up a connection by itself.
fn patient() -> TransportLimits {
    TransportLimits {
        idle_timeout: Duration::from_secs(3_600),
        keep_alive: Duration::from_millis(100),
        close_timeout: Duration::from_millis(100),
        ..quick()
    }
}

#[test]
fn a_lossy_network_loses_and_reorders_nothing() {
    const COUNT: u64 = 3_000;
    const PARTS: u64 = 8;
    let cluster = Cluster::new();
    let limits = TransportLimits {
        // What is tested is the order, not how long a lossy path takes.
        idle_timeout: Duration::from_secs(60),
        ..quick()
    };
    let (one, proxy, two) = behind_proxy(&cluster, &limits, 11);
    proxy.set(Weather {
        lost_per_mille: 30,
        delay: Duration::from_millis(3),
        ..Weather::default()
    });
    std::thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|number| one.send(TWO, numbered(0, number))));
        scope.spawn(|| (0..COUNT).for_each(|number| two.send(ONE, numbered(0, number))));
        scope.spawn(|| (0..PARTS).for_each(|part| one.send(TWO, ship(part, 100 << 10))));
    });
    let count = usize::try_from(COUNT).unwrap();
    let at_one = one.events.wait_messages(TWO, count);
    let at_two = two
        .events
        .wait_messages(ONE, count + usize::try_from(PARTS).unwrap());
    let numbers = |messages: &[PeerMessage]| -> Vec<u64> {
        let small = messages
            .iter()
            .filter(|one| !matches!(one, PeerMessage::Migration(_)));
        small.map(|message| number_of(message).1).collect()
    };
    assert_eq!(numbers(&at_one), Vec::from_iter(0..COUNT));
    assert_eq!(numbers(&at_two), Vec::from_iter(0..COUNT));
    let bulk: Vec<_> = at_two
        .into_iter()
        .filter(|one| matches!(one, PeerMessage::Migration(_)))
        .collect();
    assert!(bulk == Vec::from_iter((0..PARTS).map(|part| ship(part, 100 << 10))));
    assert_eq!(one.events.story(TWO), [Told::Connected(TWO, 1)]);
}

#[test]
fn silence_ends_a_connection_and_its_end_begins_another() {
    let cluster = Cluster::new();
    let limits = TransportLimits {
        idle_timeout: Duration::from_millis(600),
        keep_alive: Duration::from_millis(150),
        handshake_timeout: Duration::from_millis(500),
        ..quick()
    };
    let (one, proxy, two) = behind_proxy(&cluster, &limits, 5);
    proxy.set(Weather {
        silent: true,
        ..Weather::default()
    });
    one.events.wait_disconnected(TWO);
    two.events.wait_disconnected(ONE);
    proxy.set(Weather::default());
    let story = |peer| {
        [
            Told::Connected(peer, 1),
            Told::Disconnected(peer),
            Told::Connected(peer, 1),
        ]
    };
    eventually("node 1 to connect again", || {
        one.events.story(TWO) == story(TWO)
    });
    eventually("node 2 to connect again", || {
        two.events.story(ONE) == story(ONE)
    });
    one.send(TWO, numbered(0, 1));
    two.events.wait_messages(ONE, 1);
}

#[test]
fn a_restarted_node_resets_connections_of_before() {
    let cluster = Cluster::new();
    let (one, proxy, two) = behind_proxy(&cluster, &patient(), 5);
    // Its farewell is lost, and node 1 would wait for an hour.
    proxy.set(Weather {
        silent: true,
        ..Weather::default()
    });
    two.transport.close();
    drop(two);
    let two = Node::advertising(&cluster, TWO, 2, &patient(), Some(""));
    proxy.aim(two.address());
    proxy.set(Weather::default());
    one.events.wait_connected(TWO, 2);
    let story = [
        Told::Connected(TWO, 1),
        Told::Disconnected(TWO),
        Told::Connected(TWO, 2),
    ];
    assert_eq!(one.events.story(TWO), story);
}

#[test]
fn a_newer_boot_takes_the_place_of_an_older_one() {
    // Once the restarted node is the one that decides, once it is not.
    for restarted in [ONE, TWO] {
        let cluster = Cluster::new();
        let (one, proxy, two) = behind_proxy(&cluster, &patient(), 5);
        proxy.set(Weather {
            silent: true,
            ..Weather::default()
        });
        let (gone, stays) = if restarted == ONE {
            (one, two)
        } else {
            (two, one)
        };
        gone.transport.close();
        drop(gone);
        let back = Node::start(&cluster, restarted, 2, &patient());
        let other = if restarted == ONE { TWO } else { ONE };
        back.transport.learn(Member {
            node: other,
            address: stays.address().to_string(),
        });
        stays.events.wait_connected(restarted, 2);
        back.events.wait_connected(other, 1);
        let story = [
            Told::Connected(restarted, 1),
            Told::Disconnected(restarted),
            Told::Connected(restarted, 2),
        ];
        assert_eq!(stays.events.story(restarted), story);
    }
}

#[test]
fn a_link_that_only_one_side_has_gives_way() {
    let cluster = Cluster::new();
    let limits = TransportLimits {
        handshake_timeout: Duration::from_secs(1),
        ..patient()
    };
    let (one, proxy, two) = behind_proxy(&cluster, &limits, 5);
    // Node 2 loses its end; node 1, which decides, would keep its own for an hour.
    proxy.set(Weather {
        silent: true,
        ..Weather::default()
    });
    two.transport.close();
    drop(two);
    let two = Node::start(&cluster, TWO, 1, &limits);
    two.transport.learn(Member {
        node: ONE,
        address: one.address().to_string(),
    });
    let story = [
        Told::Connected(TWO, 1),
        Told::Disconnected(TWO),
        Told::Connected(TWO, 1),
    ];
    eventually("the new link to take its place", || {
        one.events.story(TWO) == story
    });
    two.events.wait_connected(ONE, 1);
    one.send(TWO, numbered(0, 1));
    two.events.wait_messages(ONE, 1);
}

#[test]
fn an_older_boot_is_refused() {
    let cluster = Cluster::new();
    let one = Node::start(&cluster, ONE, 1, &quick());
    let connect = |boot| {
        let two = Node::start(&cluster, TWO, boot, &quick());
        two.transport.learn(one.transport.member());
        two
    };
    let two = connect(5);
    one.events.wait_connected(TWO, 5);
    two.transport.close();
    one.events.wait_disconnected(TWO);
    let two = connect(4);
    eventually("the older boot to be refused", || {
        one.transport.stats().refused > 0
    });
    two.transport.close();
    let _two = connect(6);
    one.events.wait_connected(TWO, 6);
    let story = [
        Told::Connected(TWO, 5),
        Told::Disconnected(TWO),
        Told::Connected(TWO, 6),
    ];
    assert_eq!(one.events.story(TWO), story);
}

#[test]
fn nodes_of_another_cluster_are_refused() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let one = Node::start(&cluster, ONE, 1, &quick());
    let stranger = Node::start(&other, TWO, 1, &quick());
    stranger.transport.learn(one.transport.member());
    eventually("the stranger to be refused", || {
        one.transport.stats().refused > 0
    });
    one.transport.learn(stranger.transport.member());
    eventually("the stranger to refuse, too", || {
        stranger.transport.stats().refused > 0
    });
    assert_eq!(one.events.story(TWO), []);
    assert_eq!(stranger.events.story(ONE), []);
    assert_eq!(
        one.transport.send(TWO, numbered(0, 0)),
        Err(SendRefused::NotConnected)
    );
}

#[test]
fn a_node_is_not_taken_for_another() {
    let cluster = Cluster::new();
    cluster.identity(THREE);
    let one = Node::start(&cluster, ONE, 1, &quick());
    let two = Node::start(&cluster, TWO, 1, &quick());
    one.transport.learn(Member {
        node: THREE,
        address: two.address().to_string(),
    });
    // The certificate found there is refused by the one who dials.
    eventually("the other to hear of it", || {
        two.transport.stats().refused > 0
    });
    assert_eq!(one.events.story(THREE), []);
    one.transport.learn(two.transport.member());
    one.events.wait_connected(TWO, 1);
}

/// Holds up parts of snapshots and nothing else.
struct HoldsBulk {
    rest: Arc<Recorder>,
    bulk: Arc<Recorder>,
}

impl TransportEvents for HoldsBulk {
    fn received(&self, from: NodeId, messages: Vec<PeerMessage>) {
        let is_bulk = |one: &PeerMessage| {
            matches!(one, PeerMessage::Migration(MigrationMessage::Ship { .. }))
        };
        if messages.iter().any(is_bulk) {
            self.bulk.received(from, messages);
        } else {
            self.rest.received(from, messages);
        }
    }

    fn connected(&self, peer: NodeId, boot: u64) {
        self.rest.connected(peer, boot);
    }

    fn disconnected(&self, peer: NodeId) {
        self.rest.disconnected(peer);
    }
}

#[test]
fn bulk_that_waits_does_not_hold_up_the_rest() {
    let cluster = Cluster::new();
    let limits = TransportLimits {
        queue_bytes: 16 << 20,
        ..quick()
    };
    let one = Node::start(&cluster, ONE, 1, &limits);
    let events = HoldsBulk {
        rest: Recorder::new(),
        bulk: Recorder::new(),
    };
    let (rest, bulk) = (events.rest.clone(), events.bulk.clone());
    bulk.block(ONE);
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = TransportConfig::new(listen, cluster.identity(TWO), 1);
    config.protocols = QUIC;
    let two = PeerTransport::bind(config, Arc::new(events)).unwrap();
    one.transport.learn(two.member());
    one.events.wait_connected(TWO, 1);
    // Until neither the queue nor the windows have room.
    let mut parts = 0;
    bulk_until_full(&one, &mut parts);
    bulk.wait_blocked(ONE);
    bulk_until_full(&one, &mut parts);
    for number in 0..2_000 {
        one.send(TWO, numbered(0, number));
    }
    rest.wait_messages(ONE, 2_000);
    bulk.unblock(ONE);
    bulk.wait_messages(ONE, usize::try_from(parts).unwrap());
}

fn bulk_until_full(node: &Node, parts: &mut u64) {
    loop {
        match node.transport.send(TWO, ship(*parts, 1 << 20)) {
            Ok(()) => *parts += 1,
            Err(refused) => return assert_eq!(refused, SendRefused::Full),
        }
    }
}

#[test]
fn nothing_is_told_before_the_start() {
    let cluster = Cluster::new();
    let one = Node::start(&cluster, ONE, 1, &quick());
    let events = Recorder::new();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = TransportConfig::new(listen, cluster.identity(TWO), 1);
    config.protocols = QUIC;
    let two = PeerTransport::open(config, events.clone()).unwrap();
    one.transport.learn(two.member());
    // A dial that is not answered is given up and tried again; there is no event to wait for.
    assert_eq!(events.told(), []);
    two.start();
    events.wait_connected(ONE, 1);
    one.events.wait_connected(TWO, 1);
    assert_eq!(events.story(ONE), [Told::Connected(ONE, 1)]);
}

#[test]
fn counts_what_it_does() {
    let cluster = Cluster::new();
    let one = Node::start(&cluster, ONE, 1, &quick());
    let two = Node::start(&cluster, TWO, 3, &quick());
    one.transport.learn(two.transport.member());
    one.events.wait_connected(TWO, 3);
    two.events.wait_connected(ONE, 1);
    for number in 0..10 {
        one.send(TWO, numbered(0, number));
    }
    two.events.wait_messages(ONE, 10);
    let (at_one, at_two) = (one.transport.stats(), two.transport.stats());
    let [sent, received] = [&at_one.peers[0], &at_two.peers[0]];
    assert_eq!((sent.node, sent.boot, sent.connections), (TWO, Some(3), 1));
    assert_eq!(
        (received.node, received.boot, received.connected),
        (ONE, Some(1), true)
    );
    assert_eq!(sent.software, env!("CARGO_PKG_VERSION"));
    assert_eq!(sent.address, Some(two.address().to_string()));
    assert!(sent.rtt.is_some());
    assert_eq!((sent.sent_messages, received.received_messages), (10, 10));
    assert_eq!(sent.sent_bytes, received.received_bytes);
    assert_eq!((at_one.refused, at_one.malformed), (0, 0));
    two.transport.close();
    one.events.wait_disconnected(TWO);
    let sent = &one.transport.stats().peers[0];
    assert_eq!((sent.connected, sent.boot, sent.rtt), (false, None, None));
    assert_eq!(sent.last_end.as_deref(), Some("the node is closing"));
}
