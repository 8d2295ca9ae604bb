//! QUIC with its datagrams.

use std::time::Duration;

use phoenix_core::NodeId;
use phoenix_net::DatagramStats;

use crate::net::{DATAGRAMS, Net, Outdoors, QUIC, lenient};
use crate::proxy::Weather;
use crate::recorder::Recorder;
use crate::suite::transport_suite;
use crate::suite::{Started, eventually, number_of_one_way, one_way, pair, send, start};
use crate::weather::{check_order, weather_suite};

transport_suite!(Net::new(DATAGRAMS));
weather_suite!(Outdoors(DATAGRAMS));

/// About datagrams at `at`, of which there is one peer.
fn stats(net: &Net, at: &Started) -> DatagramStats {
    net.stats(at.id).peers[0].datagrams
}

/// Sends one more until one has come.
fn fence(one: &Started, two: &Started) {
    const FENCE: u64 = 1 << 40;
    let mut number = FENCE;
    eventually("a datagram to get through", || {
        send(one, two.id, &one_way(number, 10));
        number += 1;
        let messages = two.events.messages(one.id);
        let mut numbers = messages.iter().filter_map(number_of_one_way);
        numbers.any(|number| number >= FENCE)
    });
}

/// Waits until every datagram sent has an end: it came, came late, or is missing.
fn wait_for_the_books(net: &Net, one: &Started, two: &Started) -> DatagramStats {
    eventually("the books to balance", || {
        let (sent, there) = (stats(net, one).sent, stats(net, two));
        there.received + there.late + there.missing == sent
    });
    stats(net, two)
}

#[test]
fn small_messages_outside_any_stream_travel_as_datagrams() {
    const COUNT: u64 = 200;
    let net = Net::new(DATAGRAMS);
    let (one, two) = pair(&net);
    eventually("datagrams to be agreed on", || {
        one.node.paths()[0].datagrams
    });
    for number in 0..COUNT {
        send(&one, two.id, &one_way(number, 100));
    }
    fence(&one, &two);
    let there = wait_for_the_books(&net, &one, &two);
    assert!(there.received > 0, "{there:?}");
    assert_eq!(there.late, 0, "nothing reorders on loopback");
    // A message of two packets takes a stream: as a datagram it would be dropped.
    send(&one, two.id, &one_way(COUNT, 40_000));
    eventually("the large one", || {
        let messages = two.events.messages(one.id);
        messages.contains(&one_way(COUNT, 40_000))
    });
    assert_eq!(stats(&net, &one).outgrown, 0);
}

#[test]
fn a_peer_without_datagrams_gets_streams() {
    for own in [DATAGRAMS, QUIC] {
        let net = Net::new(own);
        let other = if own == QUIC { DATAGRAMS } else { QUIC };
        let one = start(&net, 1, 1);
        let events = Recorder::new();
        let node = net.launch_with(other, NodeId(2), events.clone());
        let id = NodeId(2);
        let two = Started { id, node, events };
        one.node.learn(two.node.member());
        one.events.wait_connected(two.id, 1);
        two.events.wait_connected(one.id, 1);
        for number in 0..100 {
            send(&one, two.id, &one_way(number, 10));
            send(&two, one.id, &one_way(number, 10));
        }
        two.events.wait_messages(one.id, 100);
        one.events.wait_messages(two.id, 100);
        assert!(!one.node.paths()[0].datagrams);
        assert_eq!(stats(&net, &one), DatagramStats::default());
        assert_eq!(stats(&net, &two), DatagramStats::default());
    }
}

#[test]
fn what_the_network_loses_is_missing_and_what_it_reorders_is_late() {
    let net = Net::with(DATAGRAMS, lenient());
    let (one, two, wire) = net.apart(13);
    one.node.learn(wire.member());
    // What is sent before that takes a stream.
    eventually("datagrams", || {
        one.node.paths().iter().any(|path| path.datagrams)
    });
    wire.udp.set(Weather {
        lost_per_mille: 50,
        doubled_per_mille: 100,
        delay: Duration::from_millis(5),
        ..Weather::default()
    });
    let mut number = 0;
    eventually("both to have happened", || {
        // One by one, so that each has a datagram of its own.
        send(&one, two.id, &one_way(number, 100));
        number += 1;
        let there = stats(&net, &two);
        there.missing > 3 && there.late > 3
    });
    wire.udp.set(Weather::default());
    fence(&one, &two);
    let there = wait_for_the_books(&net, &one, &two);
    assert!(there.received > 0, "{there:?}");
    let messages = two.events.messages(one.id);
    let numbers: Vec<_> = messages.iter().filter_map(number_of_one_way).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "in order, and once each"
    );
    assert_eq!(check_order(&two.events, one.id), 1);
}

#[test]
fn what_a_held_up_handler_has_no_room_for_is_missing() {
    let net = Net::new(DATAGRAMS);
    let (one, two) = pair(&net);
    two.events.block(one.id);
    send(&one, two.id, &one_way(0, 10));
    two.events.wait_blocked(one.id);
    // More than either buffer holds; a full queue only means that QUIC sends first.
    for number in 1..=1_000 {
        send(&one, two.id, &one_way(number, 10_000));
    }
    two.events.unblock(one.id);
    fence(&one, &two);
    let there = wait_for_the_books(&net, &one, &two);
    assert!(there.missing > 0, "{there:?}");
    check_order(&two.events, one.id);
}
