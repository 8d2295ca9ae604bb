//! The task that keeps one peer connected.

use std::sync::Arc;

use phoenix_core::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::backoff::Backoff;
use super::dial::{DialError, dial_any};
use super::hello::{Close, Verdict};
use super::peer::{Established, Peer};
use super::session::{self, SessionEnd, Theirs};

/// Keeps `peer` connected until the transport closes.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    mut offers: mpsc::Receiver<Established>,
) {
    let limits = &shared.limits;
    let mut backoff = Backoff::new(limits.backoff_first, limits.backoff_most);
    let closing = shared.closing.subscribe();
    let mut next = None;
    loop {
        let mut established = match next.take() {
            Some(established) => established,
            None => tokio::select! {
                biased;
                () = until_closing(closing.clone()) => return,
                established = dial_until_connected(&shared, &peer, &mut backoff) => established,
                Some(offer) = offers.recv() => offer,
            },
        };
        let Some(session) = begin(&mut established).await else {
            continue;
        };
        let began = Instant::now();
        let end = run(&shared, &peer, session, established, &mut offers).await;
        let lasted = began.elapsed() > limits.backoff_most;
        if lasted {
            backoff.reset();
        }
        match end {
            SessionEnd::Closing => return,
            SessionEnd::Replaced(offer) => next = Some(*offer),
            SessionEnd::Lost if lasted => {}
            // What broke at once would do so again and again.
            SessionEnd::Lost => tokio::select! {
                () = until_closing(closing.clone()) => return,
                Some(offer) = offers.recv() => next = Some(offer),
                () = tokio::time::sleep(backoff.failed()) => {}
            },
        }
    }
}

/// Waits until the transport closes.
pub(super) async fn until_closing(mut closing: watch::Receiver<bool>) {
    drop(closing.wait_for(|closing| *closing).await);
}

/// The number of the session that the connection begins, decided here if that is
/// for this node to do. `None` if it does not stand.
async fn begin(established: &mut Established) -> Option<u64> {
    let verdict = match established.verdict {
        Some(verdict) => verdict,
        None => {
            let verdict = Verdict::New(random());
            verdict.send(&mut established.intro).await.ok()?;
            verdict
        }
    };
    if let Verdict::Join(_) = verdict {
        established.link.close(&Close::Session);
    }
    established.link.end().is_none().then(|| verdict.session())
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        // The library's generator does not fail once it is seeded. Sessions of one
        // number would only be mistaken for each other if both ended unnoticed.
        tracing::error!("no random number for a session");
    }
    u64::from_le_bytes(bytes)
}

/// One session from its beginning to its end, with the events for both.
async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    session: u64,
    established: Established,
    offers: &mut mpsc::Receiver<Established>,
) -> SessionEnd {
    let Established {
        link, intro, hello, ..
    } = established;
    let theirs = Theirs {
        boot: hello.boot,
        offer: hello.offer,
    };
    let (node, boot) = (peer.node, hello.boot);
    tracing::info!(peer = %node, boot, protocol = %link.protocol(), address = %link.remote_address(), "connected");
    shared.learn_address(peer, &hello.address);
    link.begin(intro);
    peer.open(boot, hello.software, &link);
    shared.tell(|events| events.connected(node, boot));
    let end = session::run(shared, peer, session, link, theirs, offers).await;
    shared.tell(|events| events.disconnected(node));
    end
}

/// Dials, again and again, whenever it is known where the peer is.
async fn dial_until_connected(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    backoff: &mut Backoff,
) -> Established {
    let mut addresses = peer.addresses();
    let mut last_error = String::new();
    loop {
        let Some(address) = addresses.borrow_and_update().clone() else {
            // The sender is the peer itself: this never fails.
            if addresses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        };
        let error = match Box::pin(dial_any(shared, peer, &address)).await {
            Ok(established) => return established,
            Err(error) => error,
        };
        let wait = backoff.failed();
        peer.set_failure(error.to_string());
        log_failure(peer.node, &address, &error, &mut last_error);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = addresses.changed() => backoff.reset(),
        }
    }
}

/// Says once what is wrong, not at each try.
fn log_failure(node: NodeId, address: &str, error: &DialError, last: &mut String) {
    let text = error.to_string();
    if *last == text {
        tracing::debug!(peer = %node, address, error = text, "cannot connect");
    } else {
        tracing::warn!(peer = %node, address, error = text, "cannot connect; trying on");
        *last = text;
    }
}
