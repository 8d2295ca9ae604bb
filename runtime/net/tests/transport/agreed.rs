//! What nodes agree on about their frames: form and compression.

use std::sync::Arc;

use phoenix_core::{NodeId, PeerMessage, Transport};
use phoenix_net::formats::{Compression, Form, Format, Offer, Preference, Preferences};
use phoenix_net::{PeerTransport, TransportConfig};

use crate::joining::Cluster;
use crate::net::{ALL, quick};
use crate::recorder::Recorder;
use crate::suite::{large, ship};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const COUNT: u64 = 50;
/// Of a payload, so large that a frame with one alone is compressed.
const SIZE: usize = 8 << 10;

fn start(
    cluster: &Cluster,
    node: NodeId,
    change: impl FnOnce(&mut TransportConfig),
) -> (Arc<PeerTransport>, Arc<Recorder>) {
    let events = Recorder::new();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = TransportConfig::new(listen, cluster.identity(node), 1);
    config.protocols = ALL;
    config.limits = quick();
    change(&mut config);
    let transport = PeerTransport::bind(config, events.clone()).unwrap();
    (transport, events)
}

/// Bytes that go to a peer that offers `offer` from a node with these preferences,
/// and what that peer is handed.
fn sent(preferences: &Preferences, offer: Offer, message: impl Fn(u64) -> PeerMessage) -> u64 {
    let cluster = Cluster::new();
    let (one, at_one) = start(&cluster, ONE, |config| {
        // A machine that is busy may seem far away.
        (config.near, config.preferences) = (preferences.clone(), preferences.clone());
    });
    let (two, at_two) = start(&cluster, TWO, |config| config.offer = offer);
    one.learn(two.member());
    at_one.wait_connected(TWO, 1);
    for number in 0..COUNT {
        one.send(TWO, message(number)).unwrap();
    }
    let received = at_two.wait_messages(ONE, usize::try_from(COUNT).unwrap());
    assert_eq!(received, Vec::from_iter((0..COUNT).map(&message)));
    one.stats().peers[0].sent_bytes
}

fn preferring(form: Form, compression: Compression) -> Preferences {
    let preference = Preference {
        forms: vec![form],
        compressions: vec![compression],
    };
    Preferences {
        messages: preference.clone(),
        bulk: preference,
        ..Preferences::near()
    }
}

#[test]
fn messages_take_the_form_and_compression_that_were_agreed() {
    let payload = COUNT * SIZE as u64;
    for form in Form::ALL {
        for compression in Compression::ALL {
            let near = preferring(form, compression);
            let bytes = sent(&near, Offer::all(), |number| large(number, SIZE));
            let is_less = bytes < payload / 4;
            assert_eq!(
                is_less,
                compression != Compression::None,
                "{form:?}, {compression:?}: {bytes} bytes"
            );
        }
    }
}

#[test]
fn bulk_is_compressed_too() {
    let near = preferring(Form::Compact, Compression::Zstd);
    let bytes = sent(&near, Offer::all(), |number| ship(number, SIZE));
    assert!(bytes < COUNT * SIZE as u64 / 4, "{bytes} bytes");
}

#[test]
fn what_the_peer_does_not_read_is_not_written() {
    // As text they would take a third more.
    let near = preferring(Form::Events(Format::Json), Compression::Lz4);
    let least = Offer::of(&[], &[]);
    let bytes = sent(&near, least, |number| large(number, SIZE));
    let payload = COUNT * SIZE as u64;
    assert!(
        (payload..payload * 11 / 10).contains(&bytes),
        "{bytes} bytes"
    );
}
