//! Looking for a better way to a peer than the one its session has.
//!
//! Over HTTP/2, QUIC is tried again and again, and joins the session when it
//! works. Over QUIC, two things are watched: whether it has fallen silent, which
//! HTTP/2 then proves or disproves; and whether much bulk goes far, for which
//! HTTP/2 joins.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Protocol;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::backoff::Backoff;
use super::dial::dial;
use super::hello::{Close, Wish};
use super::outbound::Class;
use super::path::in_words;
use super::peer::{Established, Peer};
use super::session::TaskEnd;
use crate::quic::QuicLink;
use crate::select::{Carrier, Consistency, Reliability, Traffic};

/// How often it is looked whether much bulk goes.
const LOOK: Duration = Duration::from_millis(100);

/// Bulk that rests for so many looks has come to an end.
const REST: u32 = 10;

/// How many looks make up the silence that counts.
const LOOKS: u32 = 8;

/// What carries a session.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) quic: Option<QuicLink>,
    pub(super) http2: bool,
}

/// Offers what is better to the session of that number, for as long as it lasts.
pub(super) async fn keep(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    session: u64,
    mut views: watch::Receiver<View>,
) -> TaskEnd {
    loop {
        let view = views.borrow_and_update().clone();
        let better = better(&shared, &peer, session, &view);
        tokio::select! {
            changed = views.changed() => if changed.is_err() {
                return TaskEnd::Lost;
            },
            established = better => {
                peer.offer(established);
                // The session has it in no time, or has its reasons.
                tokio::select! {
                    changed = views.changed() => if changed.is_err() {
                        return TaskEnd::Lost;
                    },
                    () = sleep(shared.limits.backoff_most) => {}
                }
            }
        }
    }
}

/// Waits for a connection that makes the session better.
async fn better(shared: &Arc<Shared>, peer: &Arc<Peer>, session: u64, view: &View) -> Established {
    let protocols = shared.protocols;
    match &view.quic {
        None if protocols.quic => probe(shared, peer, session).await,
        Some(quic) if protocols.http2 => tokio::select! {
            established = doubt(shared, peer, session, quic) => established,
            established = relieve(shared, peer, session, quic), if !view.http2 => established,
        },
        _ => std::future::pending().await,
    }
}

/// Tries QUIC until it works.
async fn probe(shared: &Arc<Shared>, peer: &Arc<Peer>, session: u64) -> Established {
    loop {
        let wait = peer.quic().next_probe(Instant::now());
        sleep(wait).await;
        let Some(address) = peer.address() else {
            continue;
        };
        match dial(
            shared,
            peer,
            &address,
            Protocol::Quic,
            Wish::Join { session },
        )
        .await
        {
            Ok(established) => return established,
            Err(error) => {
                tracing::debug!(peer = %peer.node, address, %error, "QUIC does not work yet");
            }
        }
    }
}

/// Watches QUIC. When it is silent, a connection over HTTP/2 shows whether the
/// peer is there, and takes its place if QUIC is silent still.
async fn doubt(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    session: u64,
    quic: &QuicLink,
) -> Established {
    let limits = &shared.limits;
    // A path on which nothing is sent is silent for as long as that.
    let silence = limits.quic_silence.max(limits.keep_alive * 2);
    let mut backoff = Backoff::new(limits.backoff_first, limits.backoff_most);
    let mut heard = quic.heard();
    let began = Instant::now();
    let mut since = began;
    loop {
        sleep(silence / LOOKS).await;
        let now = quic.heard();
        if now != heard {
            heard = now;
            since = Instant::now();
            backoff.reset();
            continue;
        }
        let silent = since.elapsed();
        let Some(address) = peer.address().filter(|_| silent >= silence) else {
            continue;
        };
        let wish = Wish::Replace { session };
        match dial(shared, peer, &address, Protocol::Http2, wish).await {
            Ok(established) if quic.heard() == heard => {
                let why = format!("QUIC fell silent for {}", in_words(since.elapsed()));
                let mut notes = peer.quic();
                notes.fell_silent(Instant::now(), began.elapsed(), why);
                return established;
            }
            Ok(established) => established.link.close(&Close::Duplicate),
            Err(error) => {
                tracing::debug!(peer = %peer.node, address, %error, "the peer is silent");
                sleep(backoff.failed()).await;
            }
        }
    }
}

/// Waits until more bulk goes than a little that the table wants on HTTP/2.
async fn relieve(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    session: u64,
    quic: &QuicLink,
) -> Established {
    let limits = &shared.limits;
    let mut backoff = Backoff::new(limits.backoff_first, limits.backoff_most);
    // Bytes when bulk began after a rest, when it last went on, and looks since.
    let (mut first, mut last, mut looks) = (0, 0, 0);
    loop {
        sleep(LOOK).await;
        let (queued, _) = peer.queue(Class::Bulk).moved();
        if queued != last {
            (last, looks) = (queued, 0);
        } else if looks < REST {
            looks += 1;
        } else {
            first = queued;
        }
        peer.set_distance(quic.distance());
        let traffic = Traffic {
            distance: peer.distance(),
            size: Class::Bulk.size(),
            consistency: Consistency::Strong,
            reliability: Reliability::AtLeastOnce,
        };
        let much = queued - first >= limits.bulk_from as u64;
        let wanted = traffic.carrier(|_| true) == Some(Carrier::Http2Stream);
        let Some(address) = peer.address().filter(|_| much && wanted) else {
            continue;
        };
        let wish = Wish::Join { session };
        match dial(shared, peer, &address, Protocol::Http2, wish).await {
            Ok(established) => return established,
            Err(error) => {
                tracing::debug!(peer = %peer.node, address, %error, "no HTTP/2 for bulk");
                sleep(backoff.failed()).await;
            }
        }
    }
}
