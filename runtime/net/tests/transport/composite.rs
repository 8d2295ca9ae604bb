//! QUIC and HTTP/2 together, and the way from the one to the other and back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use phoenix_core::{NodeId, PeerPath, Protocol, SendRefused};
use phoenix_net::TransportLimits;

use crate::net::{ALL, HTTP2, Net, Outdoors, QUIC, Wire};
use crate::proxy::Weather;
use crate::recorder::Told;
use crate::suite::{
    Started, eventually, number_of, numbered, pair, send, ship, start, transport_suite,
};
use crate::tcp_proxy::TcpWeather;
use crate::weather::{check_order, wait_for_passage, weather_suite};

transport_suite!(Net::new(ALL));
weather_suite!(Outdoors(ALL));

/// What the waits are for, with UDP blocked: then something gets through.
const BOUND: Duration = Duration::from_secs(5);

/// The defaults, but for how long it takes to look whether QUIC works again.
fn limits() -> TransportLimits {
    TransportLimits {
        probe_most: Duration::from_secs(1),
        distrust: Duration::from_millis(500),
        bulk_idle: Duration::from_secs(1),
        ..TransportLimits::default()
    }
}

fn path(from: &Started, to: NodeId) -> PeerPath {
    let mut paths = from.node.paths().into_iter();
    paths.find(|path| path.node == to).unwrap()
}

fn wait_for(from: &Started, to: NodeId, protocol: Protocol) {
    eventually(&format!("{protocol} to {to}"), || {
        path(from, to).protocol == Some(protocol)
    });
}

/// Sends until something has gone through, which may take [`BOUND`] from `began`.
/// Each time in one session is to be another `thread`'s, as each begins anew.
fn talks_in_time(one: &Started, two: &Started, thread: u64, began: Instant) {
    let before = two.events.messages(one.id).len();
    let mut number = 0;
    eventually("something to get through", || {
        match one.node.send(two.id, numbered(thread, number)) {
            Ok(()) => number += 1,
            // What was sent before the silence was noticed may fill the queue.
            Err(SendRefused::NotConnected | SendRefused::Full) => {}
            Err(refused) => panic!("{refused}"),
        }
        two.events.messages(one.id).len() > before
    });
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
}

/// Sends both ways without rest while `meanwhile` runs; everything arrives, in order.
fn without_a_gap(one: &Started, two: &Started, meanwhile: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for ((from, to), count) in [(one, two), (two, one)].into_iter().zip(&counts) {
            let ended = &ended;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    send(from, to.id, &numbered(1, number));
                    if number % 64 == 0 {
                        send(from, to.id, &ship(number, 30 << 10));
                    }
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        }
        meanwhile();
        ended.store(true, Ordering::Relaxed);
    });
    for ((from, to), count) in [(one, two), (two, one)].into_iter().zip(&counts) {
        let count = count.load(Ordering::Relaxed);
        let of_thread = || {
            let messages = to.events.messages(from.id).into_iter();
            let small = messages
                .filter(|message| !matches!(message, phoenix_core::PeerMessage::Migration(_)));
            let mine = small.map(|message| number_of(&message));
            let mine = mine.filter(|(thread, _)| *thread == 1);
            Vec::from_iter(mine.map(|(_, number)| number))
        };
        eventually("everything to arrive", || of_thread().len() as u64 == count);
        assert!(of_thread() == Vec::from_iter(0..count), "in order");
    }
}

/// Two nodes that speak everything, with UDP blocked between them from the beginning.
fn blocked() -> (Started, Started, Wire) {
    let (one, two, wire) = Net::with(ALL, limits()).apart(3);
    wire.block_udp(true);
    let began = Instant::now();
    one.node.learn(wire.member());
    talks_in_time(&one, &two, 50, began);
    (one, two, wire)
}

#[test]
fn where_udp_is_blocked_they_talk_over_http2_and_go_back_to_quic_when_it_opens() {
    let (one, two, wire) = blocked();
    let over = path(&one, two.id);
    assert_eq!(
        (over.protocol, over.bulk, over.datagrams),
        (Some(Protocol::Http2), Some(Protocol::Http2), false)
    );
    let why = "http2: no QUIC handshake within ";
    assert!(over.reason.starts_with(why), "{}", over.reason);
    assert!(over.reason.contains("last tried"), "{}", over.reason);
    assert_eq!(path(&two, one.id).protocol, Some(Protocol::Http2));
    without_a_gap(&one, &two, || {
        wire.block_udp(false);
        wait_for(&one, two.id, Protocol::Quic);
        wait_for(&two, one.id, Protocol::Quic);
    });
    assert!(path(&one, two.id).datagrams);
    // Nobody was told of the switch.
    assert_eq!(one.events.story(two.id), [Told::Connected(two.id, 1)]);
    assert_eq!(two.events.story(one.id), [Told::Connected(one.id, 1)]);
    // What is not needed any more goes.
    eventually("HTTP/2 to be left", || path(&one, two.id).reason == "quic");
}

#[test]
fn when_udp_is_blocked_under_way_they_talk_over_http2_and_go_back_too() {
    let (one, two, wire) = Net::with(ALL, limits()).apart(5);
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    two.events.wait_connected(one.id, 1);
    wait_for(&one, two.id, Protocol::Quic);
    // What still goes over HTTP/2 when UDP is blocked again may come at once.
    for thread in [50, 51] {
        wire.block_udp(true);
        talks_in_time(&one, &two, thread, Instant::now());
        wait_for(&one, two.id, Protocol::Http2);
        wait_for(&two, one.id, Protocol::Http2);
        let reason = path(&one, two.id).reason;
        assert!(reason.starts_with("http2: "), "{reason}");
        wire.block_udp(false);
        wait_for(&one, two.id, Protocol::Quic);
        wait_for(&two, one.id, Protocol::Quic);
    }
    wait_for_passage(&two, &one);
    // Twice what was under way was lost, and both were told.
    assert_eq!(check_order(&two.events, one.id), 3);
    assert_eq!(check_order(&one.events, two.id), 3);
}

#[test]
fn messages_do_not_come_out_of_order_when_udp_comes_and_goes() {
    let (one, two, wire) = Net::with(ALL, limits()).apart(9);
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    two.events.wait_connected(one.id, 1);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (from, to) in [(&one, &two), (&two, &one)] {
            let ended = &ended;
            scope.spawn(move || {
                let mut number = 0;
                while !ended.load(Ordering::Relaxed) {
                    // While nothing is connected or has room, it goes on with the next one.
                    let _ = from.node.send(to.id, numbered(0, number));
                    number += 1;
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        for protocol in [Protocol::Http2, Protocol::Quic, Protocol::Http2] {
            wire.block_udp(protocol == Protocol::Http2);
            wait_for(&one, two.id, protocol);
            wait_for(&two, one.id, protocol);
        }
        ended.store(true, Ordering::Relaxed);
    });
    wait_for_passage(&one, &two);
    wait_for_passage(&two, &one);
    check_order(&one.events, two.id);
    check_order(&two.events, one.id);
}

#[test]
fn a_path_that_carries_tcp_badly_is_left_to_quic() {
    let (one, two, wire) = Net::with(ALL, limits()).apart(3);
    wire.tcp.set(TcpWeather {
        stalled: true,
        ..TcpWeather::default()
    });
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    two.events.wait_connected(one.id, 1);
    wait_for_passage(&one, &two);
    assert_eq!(path(&one, two.id).reason, "quic");
    // Nothing was tried that was not needed.
    assert_eq!(wire.tcp.taken(), 0);
}

#[test]
fn quic_that_is_slow_to_answer_is_not_taken_for_silent() {
    let (one, two, wire) = Net::with(ALL, limits()).apart(3);
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    wire.udp.set(Weather {
        least: Duration::from_millis(100),
        delay: Duration::from_millis(200),
        ..Weather::default()
    });
    for number in 0..8 {
        send(&one, two.id, &numbered(0, number));
        two.events
            .wait_messages(one.id, usize::try_from(number).unwrap() + 1);
    }
    assert_eq!(one.events.story(two.id), [Told::Connected(two.id, 1)]);
    assert_eq!(path(&one, two.id).protocol, Some(Protocol::Quic));
}

#[test]
fn bulk_that_goes_far_takes_http2_while_there_is_much_of_it() {
    const PARTS: u64 = 12;
    const PART: usize = 512 << 10;
    let limits = TransportLimits {
        bulk_from: 1 << 20,
        ..limits()
    };
    let (one, two, wire) = Net::with(ALL, limits).apart(3);
    let far = Duration::from_millis(10);
    wire.udp.set(Weather {
        least: far,
        ..Weather::default()
    });
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    wait_for(&one, two.id, Protocol::Quic);
    for part in 0..PARTS {
        send(&one, two.id, &ship(part, PART));
        send(&one, two.id, &numbered(0, part));
    }
    eventually("HTTP/2 for bulk", || {
        path(&one, two.id).bulk == Some(Protocol::Http2)
    });
    let over = path(&one, two.id);
    assert_eq!(over.protocol, Some(Protocol::Quic));
    assert!(
        over.reason.starts_with("quic, and http2 for bulk"),
        "{over:?}"
    );
    let count = usize::try_from(2 * PARTS).unwrap();
    two.events.wait_messages(one.id, count);
    // With nothing more to carry, it goes.
    eventually("bulk to come back", || {
        path(&one, two.id).bulk == Some(Protocol::Quic)
    });
    for part in PARTS..2 * PARTS {
        send(&one, two.id, &ship(part, PART));
    }
    two.events
        .wait_messages(one.id, count + usize::try_from(PARTS).unwrap());
    assert_eq!(check_order(&two.events, one.id), 1, "and nobody was told");
}

#[test]
fn http2_that_dies_while_it_carries_bulk_ends_the_session() {
    let limits = TransportLimits {
        bulk_from: 1 << 20,
        ..limits()
    };
    let (one, two, wire) = Net::with(ALL, limits).apart(3);
    wire.udp.set(Weather {
        least: Duration::from_millis(10),
        ..Weather::default()
    });
    one.node.learn(wire.member());
    one.events.wait_connected(two.id, 1);
    two.events.wait_connected(one.id, 1);
    for part in 0..8 {
        send(&one, two.id, &ship(part, 512 << 10));
    }
    eventually("HTTP/2 for bulk", || {
        path(&one, two.id).bulk == Some(Protocol::Http2)
    });
    wire.tcp.cut();
    one.events.wait_disconnected(two.id);
    two.events.wait_disconnected(one.id);
    wait_for_passage(&one, &two);
    assert_eq!(check_order(&two.events, one.id), 2);
}

#[test]
fn nodes_that_share_one_protocol_use_it() {
    for (other, protocol) in [(QUIC, Protocol::Quic), (HTTP2, Protocol::Http2)] {
        for dialler in [1, 2] {
            let world = Net::with(ALL, limits());
            let one = start(&world, 1, 1);
            let two = {
                let events = crate::recorder::Recorder::new();
                let transport = world.launch_with(other, NodeId(2), events.clone());
                Started {
                    id: NodeId(2),
                    node: transport,
                    events,
                }
            };
            match dialler {
                1 => one.node.learn(two.node.member()),
                _ => two.node.learn(one.node.member()),
            }
            one.events.wait_connected(two.id, 1);
            two.events.wait_connected(one.id, 1);
            send(&one, two.id, &numbered(0, 0));
            two.events.wait_messages(one.id, 1);
            assert_eq!(path(&one, two.id).protocol, Some(protocol));
            assert_eq!(path(&two, one.id).protocol, Some(protocol));
        }
    }
}

#[test]
fn two_that_dial_each_other_at_once_have_one_session() {
    let world = Net::with(
        ALL,
        TransportLimits {
            // HTTP/2 is as early as QUIC.
            quic_head_start: Duration::ZERO,
            ..limits()
        },
    );
    let (one, two) = pair(&world);
    two.node.learn(one.node.member());
    wait_for(&one, two.id, Protocol::Quic);
    wait_for(&two, one.id, Protocol::Quic);
    send(&one, two.id, &numbered(0, 0));
    two.events.wait_messages(one.id, 1);
    assert_eq!(one.events.story(two.id), [Told::Connected(two.id, 1)]);
    assert_eq!(two.events.story(one.id), [Told::Connected(one.id, 1)]);
}
