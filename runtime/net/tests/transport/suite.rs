//! What every transport must do. `transport_suite!` makes tests of it.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, Lane, Member, MigrationId, Millis, NodeId, Payload,
    PeerMessage, SendRefused, Sender, Sequence, Transport,
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

/// The `number`th message of `thread`.
pub(crate) fn numbered(thread: u64, number: u64) -> PeerMessage {
    let agent = AgentId::new(&format!("counter/{thread}")).unwrap();
    match number % 3 {
        0 => PeerMessage::Deliver(vec![Arc::new(Envelope {
            from: Sender::System,
            to: agent,
            sequence: Some(Sequence {
                lane: Lane::Normal,
                number,
                base: 0,
                give_up: Millis(thread),
            }),
            body: Body::Message {
                method: "add".into(),
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: Bytes::from(vec![1; usize::try_from(number % 600).unwrap()]),
                },
                ask: None,
            },
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
        PeerMessage::Deliver(envelopes) => {
            (&envelopes[0].to, envelopes[0].sequence.unwrap().number)
        }
        PeerMessage::Marker { agent, marker, .. } | PeerMessage::MarkerSeen { agent, marker } => {
            (agent, *marker)
        }
        other => panic!("{other:?} was not sent"),
    };
    (agent.key().parse().unwrap(), number)
}

/// Sends, and tries again while the queue is full.
pub(crate) fn send(from: &Started, to: NodeId, message: &PeerMessage) {
    while let Err(refused) = from.node.send(to, message.clone()) {
        assert_eq!(refused, SendRefused::Full);
        std::thread::yield_now();
    }
}

fn ship(offset: u64, size: usize) -> PeerMessage {
    PeerMessage::Migration(MigrationMessage::Ship {
        migration: MigrationId(7),
        offset,
        total: 1 << 40,
        bytes: Bytes::from(vec![u8::try_from(offset % 251).unwrap(); size]),
    })
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

/// Makes a test of each part of the suite; `$world` is an expression for a fresh world.
macro_rules! transport_suite {
    ($world:expr) => {
        transport_suite!($world,
            keeps_the_order_of_each_thread,
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
