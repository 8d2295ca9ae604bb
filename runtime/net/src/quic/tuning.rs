//! QUIC's parameters, and why they are what they are.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{
    Connection, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, TransportConfig, VarInt,
};

use crate::identity::Identity;
use crate::transport::TransportLimits;

/// Bytes of one stream under way on loopback: a snapshot of several MiB fits
/// without waiting for the receiver to make room.
const LOOPBACK_STREAM_WINDOW: u32 = 8 << 20;

/// The same elsewhere. A queue on the way that overflows drops every other
/// packet, and a receiver that has more than [`GAPS`] gaps in one stream ends
/// the connection: so many must not fit.
const STREAM_WINDOW: u32 = 2 << 20;

/// Most gaps in a stream that the library keeps together.
const GAPS: u32 = 1_024;

/// Bytes of a stream that the smallest full packet has room for, at least: 1,200
/// less the headers of packet and frame, and the seal.
const LEAST_FILL: u32 = 1_100;

const _: () = assert!(STREAM_WINDOW / (2 * LEAST_FILL) < GAPS);

/// Streams a peer may open towards us: one ordered, one bulk.
pub(super) const STREAMS: u32 = 2;

/// Bytes of a connection under way. More than the streams together, so that a
/// bulk transfer never keeps the ordered stream from writing.
const fn connection_window(loopback: bool) -> u32 {
    stream_window(loopback) * (STREAMS + 1)
}

const fn stream_window(loopback: bool) -> u32 {
    if loopback {
        LOOPBACK_STREAM_WINDOW
    } else {
        STREAM_WINDOW
    }
}

/// Bytes under way from somebody who has not said who it is: a hello, or a
/// request to join, and more than is read of either.
const STRANGER_WINDOW: u32 = 32 << 10;

/// Bytes sent before the first acknowledgement. More than the internet's ten
/// packets, as nodes of a cluster are close; less than a socket's buffer, so
/// that a burst is not lost in it.
const INITIAL_WINDOW: u64 = 128 << 10;

/// The round trip that is assumed before one was measured. The nodes of a
/// cluster are close: a first packet that is lost is sent again after three
/// times this, not after a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Bytes of a UDP payload on loopback, which has packets of 16 KiB or more on
/// every system: the cost of a packet is much the same at any size.
pub(super) const LOOPBACK_MTU: u16 = 16_000;

/// Bytes of a UDP payload that path discovery goes up to elsewhere: Ethernet's
/// jumbo frames of 9,000 less the headers.
pub(super) const MOST_MTU: u16 = 8_952;

/// Bytes of the socket's buffers; the system may give less.
pub(super) const SOCKET_BUFFER: usize = 4 << 20;

/// Bytes of datagrams that wait to be sent, and of such as wait to be read. What
/// waits to be sent is let go by QUIC in no time; what is not read in time makes
/// room for what is newer, and is missed by number.
pub(crate) const DATAGRAM_BUFFER: usize = 1 << 20;

/// A path's transport parameters, for peers that are known once TLS is done.
pub(super) fn transport(
    limits: &TransportLimits,
    loopback: bool,
    datagrams: bool,
) -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(if loopback { LOOPBACK_MTU } else { MOST_MTU });
    config
        .stream_receive_window(stream_window(loopback).into())
        .receive_window(connection_window(loopback).into())
        .send_window(connection_window(loopback).into())
        .max_concurrent_uni_streams(STREAMS.into())
        // The hello, or a joiner's request.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(datagrams.then_some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .congestion_controller_factory(Arc::new(congestion))
        .mtu_discovery_config(Some(discovery))
        .max_idle_timeout(IdleTimeout::try_from(limits.idle_timeout).ok())
        // Both sides do it: a dead peer is noticed by whoever has nothing to send, too.
        .keep_alive_interval(Some(limits.keep_alive));
    if loopback {
        config.initial_mtu(LOOPBACK_MTU);
    }
    config
}

/// The same for whoever connects to us, who may be anybody at first: no streams
/// but the one for the hello, and little room in it.
pub(super) fn for_strangers(
    limits: &TransportLimits,
    loopback: bool,
    datagrams: bool,
) -> TransportConfig {
    let mut config = transport(limits, loopback, datagrams);
    config
        .receive_window(STRANGER_WINDOW.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    config
}

/// It is a peer: from now on it has what [`transport`] gives.
pub(super) fn trust(connection: &Connection, loopback: bool) {
    connection.set_receive_window(connection_window(loopback).into());
    connection.set_max_concurrent_uni_streams(STREAMS.into());
}

/// The endpoint's parameters. Reset tokens come from the node's key: after a
/// restart on the same port it can tell peers at once that their old
/// connections are gone, where they would wait for the idle timeout.
pub(super) fn endpoint(identity: &Identity) -> EndpointConfig {
    use aws_lc_rs::hmac;
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &identity.derived_secret("quic reset"));
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(|| Box::new(RandomIds));
    // Loopback's packets are received too; memory is taken up only as packets come.
    if config.max_udp_payload_size(LOOPBACK_MTU).is_err() {
        tracing::warn!("the largest UDP payload was not accepted; the default stays");
    }
    config
}

/// Bytes of a connection id.
const ID_BYTES: usize = 8;

/// Random connection ids. Quinn's default ones are checked with a key that is
/// lost in a restart, and packets with ids of before are then ignored, not reset.
#[derive(Debug)]
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        if aws_lc_rs::rand::fill(&mut id).is_err() {
            // The library's generator does not fail once it is seeded. Should it
            // do so, ids repeat and the handshake fails.
            tracing::error!("no random connection id");
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
