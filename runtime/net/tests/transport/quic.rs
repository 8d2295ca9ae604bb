//! QUIC's streams.

use crate::net::{Net, Outdoors, QUIC};
use crate::suite::{pair, send, ship, transport_suite};
use crate::weather::weather_suite;

transport_suite!(Net::new(QUIC));
weather_suite!(Outdoors(QUIC));

#[test]
fn bulk_both_ways_loses_nothing() {
    const PARTS: u64 = 24;
    const PART: usize = 1 << 20;
    let world = Net::new(QUIC);
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
