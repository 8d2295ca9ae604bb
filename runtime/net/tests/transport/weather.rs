//! What every transport must do on a bad network. `weather_suite!` makes tests of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phoenix_core::migration::MigrationMessage;
use phoenix_core::{NodeId, PeerMessage, SendRefused};

use crate::recorder::{Recorder, Told};
use crate::suite::{Started, eventually, number_of, number_of_one_way, numbered, one_way, ship};

/// What is wrong with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Some of what is sent is lost.
    Loss,
    /// Some overtakes other.
    Reordering,
    /// Some comes twice.
    Duplication,
    /// All of it takes its time.
    Delay,
    /// Nothing gets through.
    Partition,
}

/// A network between two nodes, fair at first.
pub(crate) trait Network {
    /// Sets what is wrong with it.
    fn set(&self, trouble: Option<Trouble>);

    /// Whether the transport makes good what the network loses.
    fn is_repaired(&self) -> bool;
}

/// Nodes 1 and 2, connected over a network.
pub(crate) struct Scene {
    pub(crate) one: Started,
    pub(crate) two: Started,
    pub(crate) network: Box<dyn Network>,
}

/// A transport, and a network of its own.
pub(crate) trait Climate {
    /// Two nodes that are to get into this trouble.
    fn scene(&self, trouble: Trouble) -> Scene;
}

/// The thread whose messages only show that messages get through.
const FENCE: u64 = 99;
const THREADS: u64 = 3;
const EACH: u64 = 500;
const PARTS: u64 = 6;
const ONE_WAYS: u64 = 300;

/// Sends unless that is refused for want of a connection; whether it was sent.
fn offer(from: &Started, to: NodeId, message: &PeerMessage) -> bool {
    loop {
        match from.node.send(to, message.clone()) {
            Ok(()) => return true,
            Err(SendRefused::Full) => std::thread::yield_now(),
            Err(SendRefused::NotConnected) => {
                std::thread::yield_now();
                return false;
            }
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// Sends until something gets through.
pub(crate) fn wait_for_passage(from: &Started, to: &Started) {
    let mut number = 0;
    let came = |events: &Recorder| {
        let messages = events.messages(from.id);
        let mut ordered = messages.iter().filter_map(ordered_number);
        ordered.any(|(thread, _)| thread == FENCE)
    };
    eventually("a message to get through", || {
        offer(from, to.id, &numbered(FENCE, number));
        number += 1;
        came(&to.events)
    });
}

fn ordered_number(message: &PeerMessage) -> Option<(u64, u64)> {
    let is_other = matches!(message, PeerMessage::Migration(_));
    (!is_other && number_of_one_way(message).is_none()).then(|| number_of(message))
}

fn part_of(message: &PeerMessage) -> Option<u64> {
    match message {
        PeerMessage::Migration(MigrationMessage::Ship { offset, .. }) => Some(*offset),
        _ => None,
    }
}

/// Checks the port's promise on all that `events` was told of `from`; returns how
/// often it was connected.
pub(crate) fn check_order(events: &Recorder, from: NodeId) -> usize {
    let mut sessions = 0;
    let mut connected = false;
    let mut last = BTreeMap::new();
    let mut last_part = None;
    let mut one_ways = BTreeSet::new();
    for told in events.told() {
        match told {
            Told::Connected(peer, _) if peer == from => {
                assert!(!connected, "connected twice");
                connected = true;
                sessions += 1;
                last.clear();
                last_part = None;
            }
            Told::Disconnected(peer) if peer == from => {
                assert!(connected, "disconnected twice");
                connected = false;
            }
            Told::Received(peer, messages) if peer == from => {
                assert!(connected, "messages without a connection");
                for message in &messages {
                    if let Some(number) = number_of_one_way(message) {
                        assert!(one_ways.insert(number), "one-way message {number} twice");
                    } else if let Some(part) = part_of(message) {
                        assert!(last_part < Some(part), "part {part} after {last_part:?}");
                        last_part = Some(part);
                    } else {
                        let (thread, number) = number_of(message);
                        let before = last.insert(thread, number);
                        assert!(
                            before < Some(number),
                            "{number} of thread {thread} after {before:?}"
                        );
                    }
                }
            }
            _ => {}
        }
    }
    sessions
}

pub(crate) fn keeps_its_promise(climate: &dyn Climate, trouble: Trouble) {
    let Scene { one, two, network } = climate.scene(trouble);
    network.set(Some(trouble));
    let (there, back) = ((&one, two.id), (&two, one.id));
    std::thread::scope(|scope| {
        for (from, to) in [there, back] {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for number in 0..EACH {
                        offer(from, to, &numbered(thread, number));
                    }
                });
            }
            scope.spawn(move || {
                for part in 0..PARTS {
                    offer(from, to, &ship(part, 60 << 10));
                }
            });
            scope.spawn(move || {
                for number in 0..ONE_WAYS {
                    offer(from, to, &one_way(number, 40));
                }
            });
        }
    });
    network.set(None);
    wait_for_passage(&one, &two);
    wait_for_passage(&two, &one);
    for (at, from) in [(&one, two.id), (&two, one.id)] {
        let sessions = check_order(&at.events, from);
        if sessions == 1 && network.is_repaired() {
            // All that was sent before the fence on the same stream has come.
            let all = |of: &dyn Fn(&PeerMessage) -> bool| {
                let messages = at.events.messages(from);
                messages.iter().filter(|one| of(one)).count() as u64
            };
            let ordered =
                |one: &PeerMessage| ordered_number(one).is_some_and(|(thread, _)| thread != FENCE);
            assert_eq!(all(&ordered), THREADS * EACH, "{trouble:?}");
            eventually("the bulk", || all(&|one| part_of(one).is_some()) == PARTS);
        }
    }
}

pub(crate) fn survives_loss(climate: &dyn Climate) {
    keeps_its_promise(climate, Trouble::Loss);
}

pub(crate) fn survives_reordering(climate: &dyn Climate) {
    keeps_its_promise(climate, Trouble::Reordering);
}

pub(crate) fn survives_duplication(climate: &dyn Climate) {
    keeps_its_promise(climate, Trouble::Duplication);
}

pub(crate) fn survives_delay(climate: &dyn Climate) {
    keeps_its_promise(climate, Trouble::Delay);
}

pub(crate) fn tells_of_a_partition_and_connects_again(climate: &dyn Climate) {
    let Scene { one, two, network } = climate.scene(Trouble::Partition);
    for round in 1..=2 {
        network.set(Some(Trouble::Partition));
        let disconnected = |at: &Started, from: NodeId| {
            let events: Arc<Recorder> = Arc::clone(&at.events);
            eventually("both to be disconnected", || {
                let story = events.story(from);
                story.len() >= 2 * round && story.last() == Some(&Told::Disconnected(from))
            });
        };
        disconnected(&one, two.id);
        disconnected(&two, one.id);
        let refused = one.node.send(two.id, numbered(0, 0));
        assert_eq!(refused, Err(SendRefused::NotConnected));
        network.set(None);
        let connected = |at: &Started, from: NodeId| {
            eventually("both to be connected again", || {
                at.events.story(from).last() == Some(&Told::Connected(from, 1))
            });
        };
        connected(&one, two.id);
        connected(&two, one.id);
    }
    wait_for_passage(&one, &two);
    wait_for_passage(&two, &one);
    assert!(check_order(&one.events, two.id) >= 3);
    assert!(check_order(&two.events, one.id) >= 3);
}

/// Makes a test of each part of the suite; `$climate` is an expression for one.
macro_rules! weather_suite {
    ($climate:expr) => {
        weather_suite!($climate,
            survives_loss,
            survives_reordering,
            survives_duplication,
            survives_delay,
            tells_of_a_partition_and_connects_again,
        );
    };
    ($climate:expr, $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                crate::weather::$name(&$climate);
            }
        )+
    };
}
pub(crate) use weather_suite;
