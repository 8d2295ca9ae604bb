//! What every transport must do. `transport_suite!` makes tests of it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, Lane, Member, MigrationId, Millis, NodeId, Payload,
    PeerMessage, SendRefused, Sender, Sequence, StreamKey, Transport,
};

use crate::recorder::{Recorder, Told};

/// A transport under test, and the place it lives in.
pub(crate) trait World {
    /// Starts a node. A node of the same number that was started before is
    /// closed, or gone.
    fn start(&self, node: NodeId, boot: u64, events: Arc<Recorder>) -> Arc<dyn Node>;
}

/// A node's transport.
pub(crate) trait Node: Transport {
    /// What others learn to reach it.
    fn member(&self) -> Member;
    /// Ends it in good order.
    fn close(&self);
}

pub(crate) struct Started {
    pub(crate) id: NodeId,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) events: Arc<Recorder>,
}

pub(crate) fn start(world: &dyn World, id: u32, boot: u64) -> Started {
    let (id, events) = (NodeId(id), Recorder::new());
    Started {
        id,
        node: world.start(id, boot, Arc::clone(&events)),
        events,
    }
}

/// Two nodes that are connected.
pub(crate) fn pair(world: &dyn World) -> (Started, Started) {
    let (one, two) = (start(world, 1, 1), start(world, 2, 1));
    one.node.learn(two.node.member());
    one.events.wait_connected(two.id, 1);
    two.events.wait_connected(one.id, 1);
    (one, two)
}

fn stream(receiver: AgentId) -> Arc<StreamKey> {
    StreamKey::shared(Sender::System, receiver, Lane::Normal)
}

/// The `number`th message of `thread`.
pub(crate) fn numbered(thread: u64, number: u64) -> PeerMessage {
    let agent = AgentId::new(&format!("counter/{thread}")).unwrap();
    match number % 3 {
        0 => PeerMessage::Deliver(vec![Arc::new(Envelope {
            stream: stream(agent),
            sequence: Some(Sequence {
                // A stream's first number is 1.
                number: number + 1,
                base: NonZeroU64::MIN,
                give_up: Millis(thread),
            }),
            body: Body::Message {
                method: "add".into(),
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: vec![1; usize::try_from(number % 600).unwrap()].into(),
                },
                ask: None,
            },
            extras: None,
        })]),
        1 => PeerMessage::Marker {
            agent,
            origin: NodeId(1),
            marker: number,
        },
        _ => PeerMessage::MarkerSeen {
            agent,
            marker: number,
        },
    }
}

/// Which of which thread it is.
pub(crate) fn number_of(message: &PeerMessage) -> (u64, u64) {
    let (agent, number) = match message {
        PeerMessage::Deliver(envelopes) => (
            envelopes[0].receiver(),
            envelopes[0].sequence.unwrap().number - 1,
        ),
        PeerMessage::Marker { agent, marker, .. } | PeerMessage::MarkerSeen { agent, marker } => {
            (agent, *marker)
        }
        other => panic!("{other:?} was not sent"),
    };
    (agent.key().parse().unwrap(), number)
}

/// A one-way message outside any stream, with so many bytes.
pub(crate) fn one_way(number: u64, size: usize) -> PeerMessage {
    PeerMessage::Deliver(vec![Arc::new(Envelope {
        stream: stream(AgentId::new("counter/one-way").unwrap()),
        sequence: None,
        body: Body::Message {
            method: number.to_string().into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: vec![3; size].into(),
            },
            ask: None,
        },
        extras: None,
    })])
}

/// Which of the one-way messages it is; `None` for all others.
pub(crate) fn number_of_one_way(message: &PeerMessage) -> Option<u64> {
    let PeerMessage::Deliver(envelopes) = message else {
        return None;
    };
    match &envelopes[0].body {
        Body::Message { method, .. } if envelopes[0].sequence.is_none() => {
            Some(method.parse().unwrap())
        }
        _ => None,
    }
}

/// Sends, and tries again while the queue is full.
pub(crate) fn send(from: &Started, to: NodeId, message: &PeerMessage) {
    while let Err(refused) = from.node.send(to, message.clone()) {
        assert_eq!(refused, SendRefused::Full);
        std::thread::yield_now();
    }
}

/// A part of a snapshot.
pub(crate) fn ship(offset: u64, size: usize) -> PeerMessage {
    PeerMessage::Migration(MigrationMessage::Ship {
        migration: MigrationId(7),
        offset,
        total: 1 << 40,
        bytes: Bytes::from(vec![u8::try_from(offset % 251).unwrap(); size]),
    })
}

/// A message of `size` bytes on the ordered stream.
/// A message with so many bytes.
pub(crate) fn large(number: u64, size: usize) -> PeerMessage {
    PeerMessage::Deliver(vec![Arc::new(Envelope {
        stream: stream(AgentId::new("counter/0").unwrap()),
        sequence: Some(Sequence {
            number: number + 1,
            base: NonZeroU64::MIN,
            give_up: Millis::NEVER,
        }),
        body: Body::Spawn {
            config: Payload {
                content_type: ContentType::Binary,
                bytes: vec![7; size].into(),
            },
            ask: None,
        },
        extras: None,
    })])
}

/// Waits for something that is not told as an event.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn keeps_the_order_of_each_thread(world: &dyn World) {
    const THREADS: u64 = 4;
    const EACH: u64 = 2_500;
    let (one, two) = pair(world);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (one, to) = (&one, two.id);
            scope.spawn(move || {
                for number in 0..EACH {
                    send(one, to, &numbered(thread, number));
                }
            });
        }
    });
    let count = usize::try_from(THREADS * EACH).unwrap();
    let messages = two.events.wait_messages(one.id, count);
    let mut next = [0; THREADS as usize];
    for message in &messages {
        let (thread, number) = number_of(message);
        let expected = &mut next[usize::try_from(thread).unwrap()];
        assert_eq!(number, *expected, "of thread {thread}");
        assert_eq!(*message, numbered(thread, number), "as it was sent");
        *expected += 1;
    }
    assert_eq!(next, [EACH; THREADS as usize]);
}

pub(crate) fn delivers_at_most_once_what_is_outside_any_stream(world: &dyn World) {
    const COUNT: u64 = 500;
    let (one, two) = pair(world);
    for number in 0..COUNT {
        send(&one, two.id, &one_way(number, 100));
        send(&one, two.id, &numbered(0, number));
    }
    // It may be lost, but not all that is sent.
    let mut number = COUNT;
    eventually("a later one", || {
        send(&one, two.id, &one_way(number, 100));
        number += 1;
        let messages = two.events.messages(one.id);
        let mut later = messages.iter().filter_map(number_of_one_way);
        later.any(|number| number >= COUNT)
    });
    let messages = two.events.messages(one.id);
    let numbers: Vec<_> = messages.iter().filter_map(number_of_one_way).collect();
    let once: std::collections::BTreeSet<_> = numbers.iter().collect();
    assert_eq!(once.len(), numbers.len(), "one came twice");
    let streams = |message: &&PeerMessage| number_of_one_way(message).is_none();
    let expected = usize::try_from(COUNT).unwrap();
    eventually("the rest", || {
        let messages = two.events.messages(one.id);
        messages.iter().filter(streams).count() == expected
    });
}

pub(crate) fn says_how_peers_are_reached(world: &dyn World) {
    let (one, two) = pair(world);
    one.node.learn(Member {
        node: NodeId(9),
        address: "127.0.0.1:9".to_owned(),
    });
    let paths = one.node.paths();
    let nodes: Vec<_> = paths.iter().map(|path| path.node).collect();
    assert_eq!(nodes, [two.id, NodeId(9)]);
    let protocol = paths[0].protocol.unwrap();
    assert!(
        paths[0].reason.starts_with(&protocol.to_string()),
        "{paths:?}"
    );
    assert!(paths[0].bulk.is_some());
    assert_eq!(paths[1].protocol, None);
    assert!(paths[1].reason.contains("not connected"), "{paths:?}");
    two.node.close();
    one.events.wait_disconnected(two.id);
    assert_eq!(one.node.paths()[0].protocol, None);
}

pub(crate) fn hands_over_in_batches(world: &dyn World) {
    const COUNT: u64 = 3_000;
    let (one, two) = pair(world);
    two.events.block(one.id);
    for number in 0..COUNT {
        send(&one, two.id, &numbered(0, number));
    }
    two.events.wait_blocked(one.id);
    two.events.unblock(one.id);
    let messages = two
        .events
        .wait_messages(one.id, usize::try_from(COUNT).unwrap());
    assert_eq!(messages.len(), usize::try_from(COUNT).unwrap());
    let calls = two.events.calls(one.id);
    assert!(calls < COUNT / 4, "{calls} calls for {COUNT} messages");
}

pub(crate) fn refuses_what_a_full_queue_has_no_room_for(world: &dyn World) {
    const SIZE: usize = 64 << 10;
    let (one, two) = pair(world);
    two.events.block(one.id);
    let mut sent = 0;
    loop {
        match one.node.send(two.id, large(sent, SIZE)) {
            Ok(()) => sent += 1,
            Err(refused) => {
                assert_eq!(refused, SendRefused::Full);
                break;
            }
        }
        assert!(sent < 100_000, "nothing is bounded");
    }
    two.events.wait_blocked(one.id);
    two.events.unblock(one.id);
    // All that was accepted arrives, and what follows is accepted again.
    send(&one, two.id, &large(sent, SIZE));
    let count = usize::try_from(sent + 1).unwrap();
    let messages = two.events.wait_messages(one.id, count);
    for (number, message) in (0..).zip(&messages) {
        assert_eq!(number_of(message).1, number);
    }
    assert_eq!(messages.len(), count);
}

pub(crate) fn refuses_a_message_that_never_fits(world: &dyn World) {
    let (one, two) = pair(world);
    let refused = one.node.send(two.id, large(0, 17 << 20));
    assert_eq!(refused, Err(SendRefused::TooLarge));
    let refused = one.node.send(two.id, ship(0, 17 << 20));
    assert_eq!(refused, Err(SendRefused::TooLarge));
    // Each part would do, and all of them together wait in vain for room.
    let PeerMessage::Deliver(part) = large(0, 1 << 20) else {
        unreachable!("it is one")
    };
    let parts = PeerMessage::Deliver(vec![Arc::clone(&part[0]); 65]);
    assert_eq!(one.node.send(two.id, parts), Err(SendRefused::TooLarge));
    one.node.send(two.id, large(1, 15 << 20)).unwrap();
    let messages = two.events.wait_messages(one.id, 1);
    assert_eq!(messages, [large(1, 15 << 20)]);
}

pub(crate) fn carries_bulk_next_to_small_messages(world: &dyn World) {
    const PARTS: u64 = 40;
    const PART: usize = 1 << 20;
    const SMALL: u64 = 4_000;
    let (one, two) = pair(world);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..PARTS).for_each(|part| send(&one, two.id, &ship(part, PART))));
        scope.spawn(|| (0..SMALL).for_each(|number| send(&one, two.id, &numbered(0, number))));
        scope.spawn(|| (0..SMALL).for_each(|number| send(&two, one.id, &numbered(0, number))));
    });
    let count = usize::try_from(PARTS + SMALL).unwrap();
    let messages = two.events.wait_messages(one.id, count);
    let (bulk, small): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .partition(|message| matches!(message, PeerMessage::Migration(_)));
    let expected: Vec<_> = (0..PARTS).map(|part| ship(part, PART)).collect();
    assert!(bulk == expected, "the parts are as they were sent");
    let order: Vec<_> = small.iter().map(|message| number_of(message).1).collect();
    assert_eq!(order, Vec::from_iter(0..SMALL));
    one.events
        .wait_messages(two.id, usize::try_from(SMALL).unwrap());
}

pub(crate) fn tells_of_a_connection_once(world: &dyn World) {
    let (one, two) = pair(world);
    // Learning again, from either side, changes nothing.
    one.node.learn(two.node.member());
    two.node.learn(one.node.member());
    for number in 0..100 {
        send(&one, two.id, &numbered(0, number));
        send(&two, one.id, &numbered(0, number));
    }
    two.events.wait_messages(one.id, 100);
    one.events.wait_messages(two.id, 100);
    two.node.close();
    one.events.wait_disconnected(two.id);
    two.events.wait_disconnected(one.id);
    let story = |peer| [Told::Connected(peer, 1), Told::Disconnected(peer)];
    assert_eq!(one.events.story(two.id), story(two.id));
    assert_eq!(two.events.story(one.id), story(one.id));
}

pub(crate) fn connects_again_to_a_peer_that_restarted(world: &dyn World) {
    let (one, two) = pair(world);
    two.node.close();
    one.events.wait_disconnected(two.id);
    let refused = one.node.send(two.id, numbered(0, 0));
    assert_eq!(refused, Err(SendRefused::NotConnected));
    let two = start(world, 2, 2);
    two.node.learn(one.node.member());
    one.events.wait_connected(two.id, 2);
    two.events.wait_connected(one.id, 1);
    send(&one, two.id, &numbered(0, 1));
    send(&two, one.id, &numbered(0, 2));
    assert_eq!(two.events.wait_messages(one.id, 1), [numbered(0, 1)]);
    assert_eq!(one.events.wait_messages(two.id, 1), [numbered(0, 2)]);
    let story = [
        Told::Connected(two.id, 1),
        Told::Disconnected(two.id),
        Told::Connected(two.id, 2),
    ];
    assert_eq!(one.events.story(two.id), story);
}

pub(crate) fn sends_nothing_to_strangers(world: &dyn World) {
    let (one, two) = pair(world);
    let stranger = NodeId(9);
    let refused = one.node.send(stranger, numbered(0, 0));
    assert_eq!(refused, Err(SendRefused::UnknownPeer));
    // Nobody is there.
    one.node.learn(Member {
        node: stranger,
        address: "127.0.0.1:9".to_owned(),
    });
    let refused = one.node.send(stranger, numbered(0, 0));
    assert_eq!(refused, Err(SendRefused::NotConnected));
    send(&one, two.id, &numbered(0, 0));
    two.events.wait_messages(one.id, 1);
}

pub(crate) fn connects_once_when_both_learn_at_once(world: &dyn World) {
    for round in 1..=10 {
        let (one, two) = (start(world, 1, round), start(world, 2, round));
        let (of_one, of_two) = (one.node.member(), two.node.member());
        std::thread::scope(|scope| {
            scope.spawn(|| one.node.learn(of_two));
            scope.spawn(|| two.node.learn(of_one));
        });
        one.events.wait_connected(two.id, round);
        two.events.wait_connected(one.id, round);
        for number in 0..100 {
            send(&one, two.id, &numbered(0, number));
            send(&two, one.id, &numbered(0, number));
        }
        one.events.wait_messages(two.id, 100);
        two.events.wait_messages(one.id, 100);
        assert_eq!(one.events.story(two.id), [Told::Connected(two.id, round)]);
        assert_eq!(two.events.story(one.id), [Told::Connected(one.id, round)]);
        one.node.close();
        two.node.close();
    }
}

pub(crate) fn joins_many_peers(world: &dyn World) {
    const NODES: u32 = 6;
    const EACH: u64 = 300;
    let nodes: Vec<_> = (1..=NODES).map(|id| start(world, id, 1)).collect();
    for one in &nodes {
        for other in &nodes {
            one.node.learn(other.node.member());
        }
    }
    let pairs = || {
        let all = |one| nodes.iter().map(move |other| (one, other));
        nodes
            .iter()
            .flat_map(all)
            .filter(|(one, other): &(&Started, &Started)| one.id != other.id)
    };
    for (one, other) in pairs() {
        one.events.wait_connected(other.id, 1);
    }
    std::thread::scope(|scope| {
        for one in &nodes {
            let nodes = &nodes;
            scope.spawn(move || {
                for number in 0..EACH {
                    for other in nodes.iter().filter(|other| other.id != one.id) {
                        send(one, other.id, &numbered(0, number));
                    }
                }
            });
        }
    });
    for (one, other) in pairs() {
        let messages = one
            .events
            .wait_messages(other.id, usize::try_from(EACH).unwrap());
        let order: Vec<_> = messages
            .iter()
            .map(|message| number_of(message).1)
            .collect();
        assert_eq!(order, Vec::from_iter(0..EACH));
    }
}

pub(crate) fn a_handler_that_blocks_holds_up_its_peer_alone(world: &dyn World) {
    // More batches than a transport might take for proof that a handler is quick.
    const QUICK: usize = 40;
    let nodes: Vec<_> = (1..=5).map(|id| start(world, id, 1)).collect();
    let [one, two, three, four, five] = &nodes[..] else {
        unreachable!("there are five")
    };
    for other in [two, three, four, five] {
        one.node.learn(other.node.member());
        one.events.wait_connected(other.id, 1);
        other.events.wait_connected(one.id, 1);
    }
    for other in [two, three] {
        for number in 0..QUICK {
            send(other, one.id, &numbered(0, number as u64));
            one.events.wait_messages(other.id, number + 1);
        }
        one.events.block(other.id);
        send(other, one.id, &numbered(0, 0));
        one.events.wait_blocked(other.id);
    }
    for number in 0..500 {
        send(four, one.id, &numbered(0, number));
        send(five, one.id, &numbered(0, number));
        send(one, five.id, &numbered(0, number));
    }
    one.events.wait_messages(four.id, 500);
    one.events.wait_messages(five.id, 500);
    five.events.wait_messages(one.id, 500);
    for other in [two, three] {
        assert_eq!(one.events.messages(other.id).len(), QUICK);
        one.events.unblock(other.id);
        one.events.wait_messages(other.id, QUICK + 1);
    }
}

pub(crate) fn sends_what_waits_before_it_closes(world: &dyn World) {
    const COUNT: u64 = 5_000;
    let (one, two) = pair(world);
    for number in 0..COUNT {
        send(&one, two.id, &numbered(0, number));
    }
    send(&one, two.id, &PeerMessage::Leaving);
    one.node.close();
    let refused = one.node.send(two.id, numbered(0, 0));
    assert_eq!(refused, Err(SendRefused::NotConnected));
    two.events.wait_disconnected(one.id);
    one.events.wait_disconnected(two.id);
    let messages = two.events.messages(one.id);
    assert_eq!(messages.len(), usize::try_from(COUNT + 1).unwrap());
    assert_eq!(messages.last(), Some(&PeerMessage::Leaving));
    // Once more does no harm.
    one.node.close();
}

/// Makes a test of each part of the suite; `$world` is an expression for a fresh world.
macro_rules! transport_suite {
    ($world:expr) => {
        transport_suite!($world,
            keeps_the_order_of_each_thread,
            delivers_at_most_once_what_is_outside_any_stream,
            says_how_peers_are_reached,
            hands_over_in_batches,
            refuses_what_a_full_queue_has_no_room_for,
            refuses_a_message_that_never_fits,
            carries_bulk_next_to_small_messages,
            tells_of_a_connection_once,
            connects_again_to_a_peer_that_restarted,
            sends_nothing_to_strangers,
            connects_once_when_both_learn_at_once,
            joins_many_peers,
            a_handler_that_blocks_holds_up_its_peer_alone,
            sends_what_waits_before_it_closes,
        );
    };
    ($world:expr, $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                crate::suite::$name(&$world);
            }
        )+
    };
}
pub(crate) use transport_suite;
