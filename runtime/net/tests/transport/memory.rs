//! The network within a process.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::{Member, NodeId, PeerMessage, PeerPath, SendRefused, Transport};
use phoenix_net::memory::{Faults, MemoryLimits};
use phoenix_net::{MemoryNetwork, MemoryTransport};

use crate::recorder::{Recorder, Told};
use crate::suite::{Node, World, eventually, number_of, numbered, transport_suite};
use crate::weather::{Climate, Network, Scene, Trouble, weather_suite};

struct Memory(MemoryNetwork);

struct MemoryNode(Arc<MemoryTransport>);

impl World for Memory {
    fn start(&self, node: NodeId, boot: u64, events: Arc<Recorder>) -> Arc<dyn Node> {
        Arc::new(MemoryNode(self.0.join(node, boot, events)))
    }
}

impl Transport for MemoryNode {
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

impl Node for MemoryNode {
    fn member(&self) -> Member {
        self.0.member()
    }

    fn close(&self) {
        self.0.close();
    }
}

fn threaded() -> Memory {
    Memory(MemoryNetwork::threaded(1, MemoryLimits::default()))
}

transport_suite!(threaded());

/// The network in whatever weather.
struct Indoors;

struct Between(Memory);

impl Climate for Indoors {
    fn scene(&self, _: Trouble) -> Scene {
        let world = threaded();
        let (one, two) = crate::suite::pair(&world);
        let network = Box::new(Between(world));
        Scene { one, two, network }
    }
}

impl Network for Between {
    fn set(&self, trouble: Option<Trouble>) {
        let network = &self.0.0;
        let mut faults = Faults::default();
        match trouble {
            None => network.heal(ONE, TWO),
            Some(Trouble::Loss) => faults.drop_one_in = Some(20),
            // It hides neither from nodes, as the port wants it: what it can do here is
            // to break.
            Some(Trouble::Reordering | Trouble::Duplication) => faults.break_one_in = Some(200),
            Some(Trouble::Delay) => {
                faults.delay_least = Duration::from_millis(1);
                faults.delay_most = Duration::from_millis(4);
            }
            Some(Trouble::Partition) => network.partition(ONE, TWO),
        }
        network.set_faults(ONE, TWO, faults);
    }

    fn is_repaired(&self) -> bool {
        false
    }
}

weather_suite!(Indoors);

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

/// A network under a virtual clock, with `count` nodes that all know each other.
struct Stepped {
    network: MemoryNetwork,
    nodes: Vec<(Arc<MemoryTransport>, Arc<Recorder>)>,
}

impl Stepped {
    fn new(seed: u64, count: u32) -> Self {
        let network = MemoryNetwork::stepped(seed, MemoryLimits::default());
        let join = |id| {
            let events = Recorder::new();
            (network.join(NodeId(id), 1, events.clone()), events)
        };
        let nodes: Vec<_> = (1..=count).map(join).collect();
        for (one, _) in &nodes {
            for (other, _) in &nodes {
                one.learn(other.member());
            }
        }
        network.run();
        Self { network, nodes }
    }

    fn send(&self, from: usize, to: NodeId, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.nodes[from].0.send(to, numbered(0, number)).unwrap();
        }
    }

    fn received(&self, at: usize, from: NodeId) -> Vec<u64> {
        let messages = self.nodes[at].1.messages(from);
        messages
            .iter()
            .map(|message| number_of(message).1)
            .collect()
    }

    fn story(&self, at: usize, of: NodeId) -> Vec<Told> {
        self.nodes[at].1.story(of)
    }
}

/// Everything that may happen, by chance.
fn stormy() -> Faults {
    Faults {
        drop_one_in: Some(10),
        break_one_in: Some(50),
        delay_least: Duration::from_millis(1),
        delay_most: Duration::from_millis(20),
        ..Faults::default()
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let story = |seed| {
        let stepped = Stepped::new(seed, 3);
        stepped.network.set_faults(ONE, TWO, stormy());
        for number in 0..300 {
            for (from, (node, _)) in stepped.nodes.iter().enumerate() {
                for to in (1..=3).filter(|to| *to != from + 1) {
                    let to = NodeId(u32::try_from(to).unwrap());
                    // A broken connection is part of the story.
                    let _ = node.send(to, numbered(0, number));
                }
            }
            stepped.network.step();
        }
        stepped.network.run();
        let told: Vec<_> = stepped
            .nodes
            .iter()
            .map(|(_, events)| events.told())
            .collect();
        told
    };
    assert!(story(7) == story(7));
    assert!(story(7) != story(8));
}

#[test]
fn delays_do_not_change_the_order() {
    let stepped = Stepped::new(3, 2);
    let faults = Faults {
        drop_one_in: None,
        break_one_in: None,
        ..stormy()
    };
    stepped.network.set_faults(ONE, TWO, faults);
    stepped.send(0, TWO, 0..500);
    assert!(stepped.received(1, ONE).is_empty());
    stepped.network.run();
    assert_eq!(stepped.received(1, ONE), Vec::from_iter(0..500));
}

#[test]
fn drops_lose_single_messages() {
    let stepped = Stepped::new(3, 2);
    let faults = Faults {
        drop_one_in: Some(4),
        ..Faults::default()
    };
    stepped.network.set_faults(ONE, TWO, faults);
    stepped.send(0, TWO, 0..1_000);
    stepped.network.run();
    let received = stepped.received(1, ONE);
    assert!((600..900).contains(&received.len()), "{}", received.len());
    assert!(received.is_sorted());
    assert_eq!(stepped.story(1, ONE), [Told::Connected(ONE, 1)]);
}

/// A `Deliver` of a stream is every third of them, and known again by its number.
#[test]
fn only_what_is_known_again_is_repeated_and_overtaken() {
    let stepped = Stepped::new(3, 2);
    let faults = Faults {
        repeat_one_in: Some(4),
        late_one_in: Some(4),
        late_by: Duration::from_millis(50),
        delay_most: Duration::from_millis(1),
        ..Faults::default()
    };
    stepped.network.set_faults(ONE, TWO, faults);
    stepped.send(0, TWO, 0..900);
    stepped.network.run();
    let mut received = stepped.received(1, ONE);
    let in_order = received.iter().filter(|number| *number % 3 != 0);
    let expected = (0..900).filter(|number| number % 3 != 0);
    assert!(in_order.copied().eq(expected));
    assert!(
        !received
            .iter()
            .filter(|number| *number % 3 == 0)
            .is_sorted()
    );
    let harm = stepped.network.harm();
    assert!(harm.overtaken > 0, "{harm:?}");
    assert!((40..110).contains(&harm.repeated), "{harm:?}");
    assert_eq!(received.len() as u64, 900 + harm.repeated);
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len(), 900, "nothing is lost: {harm:?}");
    assert_eq!((harm.lost, harm.broken), (0, 0));
    assert_eq!(stepped.story(1, ONE), [Told::Connected(ONE, 1)]);
}

#[test]
fn a_break_loses_what_is_under_way_and_connects_again() {
    let stepped = Stepped::new(3, 2);
    stepped.send(0, TWO, 0..10);
    stepped.network.break_connection(ONE, TWO);
    let refused = stepped.nodes[0].0.send(TWO, numbered(0, 10));
    assert_eq!(refused, Err(SendRefused::NotConnected));
    stepped.network.run();
    stepped.send(0, TWO, 20..30);
    stepped.network.run();
    assert_eq!(stepped.received(1, ONE), Vec::from_iter(20..30));
    let story = |peer| {
        [
            Told::Connected(peer, 1),
            Told::Disconnected(peer),
            Told::Connected(peer, 1),
        ]
    };
    assert_eq!(stepped.story(0, TWO), story(TWO));
    assert_eq!(stepped.story(1, ONE), story(ONE));
}

#[test]
fn a_partition_lasts_until_it_is_healed() {
    let stepped = Stepped::new(3, 3);
    stepped.network.partition(ONE, TWO);
    stepped.network.run();
    let refused = stepped.nodes[0].0.send(TWO, numbered(0, 0));
    assert_eq!(refused, Err(SendRefused::NotConnected));
    stepped.send(0, NodeId(3), 0..1);
    stepped.network.heal(ONE, TWO);
    stepped.network.run();
    stepped.send(0, TWO, 1..2);
    stepped.network.run();
    assert_eq!(stepped.received(1, ONE), [1]);
    assert_eq!(stepped.received(2, ONE), [0]);
}

#[test]
fn a_killed_node_hears_nothing_and_its_older_self_stays_out() {
    let stepped = Stepped::new(3, 2);
    stepped.send(0, TWO, 0..10);
    stepped.network.kill(TWO);
    stepped.network.run();
    assert!(stepped.received(1, ONE).is_empty());
    assert_eq!(
        stepped.story(1, ONE),
        [Told::Connected(ONE, 1)],
        "the dead are told nothing"
    );
    let again = |boot| {
        let events = Recorder::new();
        let node = stepped.network.join(TWO, boot, events.clone());
        stepped.network.run();
        (node, events)
    };
    let (_two, events) = again(3);
    assert_eq!(events.story(ONE), [Told::Connected(ONE, 1)]);
    let (_two, events) = again(2);
    assert_eq!(events.story(ONE), []);
    let story = [
        Told::Connected(TWO, 1),
        Told::Disconnected(TWO),
        Told::Connected(TWO, 3),
        Told::Disconnected(TWO),
    ];
    assert_eq!(stepped.story(0, TWO), story);
}

#[test]
fn a_transport_that_was_not_started_is_not_there() {
    let stepped = Stepped::new(3, 1);
    let events = Recorder::new();
    let two = stepped.network.open(TWO, 1, events.clone());
    stepped.nodes[0].0.learn(two.member());
    stepped.network.run();
    assert_eq!(events.told(), []);
    two.start();
    stepped.network.run();
    assert_eq!(events.told(), [Told::Connected(ONE, 1)]);
}

#[test]
fn a_threaded_network_survives_a_storm() {
    let world = threaded();
    let (one, two) = crate::suite::pair(&world);
    world.0.set_faults(ONE, TWO, stormy());
    for number in 0..2_000 {
        // Refused while the connection is broken.
        let _ = one.node.send(TWO, numbered(0, number));
    }
    world.0.set_faults(ONE, TWO, Faults::default());
    eventually("the storm to be over", || {
        one.node.send(TWO, numbered(1, 1)).is_ok()
    });
    two.events.wait("the last message", |told| {
        let last =
            |told: &Told| matches!(told, Told::Received(_, list) if list.contains(&numbered(1, 1)));
        told.iter().any(last).then_some(())
    });
    let messages = two.events.messages(ONE);
    let numbers = messages
        .iter()
        .map(number_of)
        .filter(|(thread, _)| *thread == 0);
    assert!(numbers.is_sorted());
    let story = two.events.story(ONE);
    for (index, told) in story.iter().enumerate() {
        let expected = if index % 2 == 0 {
            Told::Connected(ONE, 1)
        } else {
            Told::Disconnected(ONE)
        };
        assert_eq!(*told, expected);
    }
}
