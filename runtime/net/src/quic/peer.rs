//! One peer: where it is, what waits for it, and the task that keeps it connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use phoenix_core::NodeId;
use quinn::{Connection, SendStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::backoff::Backoff;
use super::config::QuicLimits;
use super::dial::{DialError, dial};
use super::hello::{Close, GO, Hello};
use super::link::{self, LinkEnd};
use super::outbound::{Class, Queue};
use super::stats::{Counters, PeerStats};

/// Connections offered by the acceptor that the task has not looked at yet.
const OFFERS: usize = 4;

/// A connection whose other end is known.
pub(super) struct Established {
    pub(super) connection: Connection,
    pub(super) hello: Hello,
    /// Set if this node decides whether it stands, and has not yet: where to say so.
    pub(super) undecided: Option<SendStream>,
}

pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) counters: Counters,
    queues: [Queue; 2],
    offers: mpsc::Sender<Established>,
    address: watch::Sender<Option<String>>,
    /// The highest boot that it has connected with.
    boot: AtomicU64,
    current: Mutex<Option<Current>>,
    last_end: Mutex<Option<String>>,
}

/// The connection that stands.
struct Current {
    connection: Connection,
    boot: u64,
    software: String,
}

impl Peer {
    pub(super) fn new(
        node: NodeId,
        limits: &QuicLimits,
    ) -> (Arc<Self>, mpsc::Receiver<Established>) {
        let (offers, receiver) = mpsc::channel(OFFERS);
        let peer = Self {
            node,
            counters: Counters::default(),
            queues: Class::ALL.map(|_| Queue::new(limits)),
            offers,
            address: watch::Sender::new(None),
            boot: AtomicU64::new(0),
            current: Mutex::new(None),
            last_end: Mutex::new(None),
        };
        (Arc::new(peer), receiver)
    }

    pub(super) fn queue(&self, class: Class) -> &Queue {
        let [ordered, bulk] = &self.queues;
        match class {
            Class::Ordered => ordered,
            Class::Bulk => bulk,
        }
    }

    /// Where it listens now; whether that is news.
    pub(super) fn set_address(&self, address: &str) -> bool {
        self.address.send_if_modified(|known| {
            let news = known.as_deref() != Some(address);
            if news {
                *known = Some(address.to_owned());
            }
            news
        })
    }

    /// Accepts `boot` as its latest, or says which later one it has had.
    pub(super) fn accept_boot(&self, boot: u64) -> Result<(), u64> {
        let seen = self.boot.fetch_max(boot, Ordering::AcqRel);
        if boot < seen { Err(seen) } else { Ok(()) }
    }

    /// Hands an accepted connection to the peer's task.
    pub(super) fn offer(&self, established: Established) {
        if let Err(error) = self.offers.try_send(established) {
            let (mpsc::error::TrySendError::Full(offer) | mpsc::error::TrySendError::Closed(offer)) =
                error;
            Close::Duplicate.close(&offer.connection);
        }
    }

    /// Why a connection that stood ended.
    pub(super) fn set_last_end(&self, why: String) {
        *self.last_end.lock() = Some(why);
    }

    /// The connection that stood is gone.
    fn ended(&self, connection: &Connection) {
        let mut current = self.current.lock();
        let path = connection.stats().path;
        self.counters.lost_packets.add_all(path.lost_packets);
        self.counters.black_holes.add_all(path.black_holes_detected);
        *current = None;
    }

    pub(super) fn stats(&self) -> PeerStats {
        let current = self.current.lock();
        let counters = &self.counters;
        let path = current
            .as_ref()
            .map(|current| current.connection.stats().path)
            .unwrap_or_default();
        PeerStats {
            node: self.node,
            address: self.address.borrow().clone(),
            connected: current.is_some(),
            boot: current.as_ref().map(|current| current.boot),
            software: current
                .as_ref()
                .map(|current| current.software.clone())
                .unwrap_or_default(),
            rtt: current.as_ref().map(|current| current.connection.rtt()),
            connections: counters.connections.get(),
            last_end: self.last_end.lock().clone(),
            lost_packets: counters.lost_packets.get() + path.lost_packets,
            black_holes: counters.black_holes.get() + path.black_holes_detected,
            sent_messages: counters.sent_messages.get(),
            sent_bytes: counters.sent_bytes.get(),
            received_messages: counters.received_messages.get(),
            received_bytes: counters.received_bytes.get(),
        }
    }
}

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
        let established = match next.take() {
            Some(established) => established,
            None => tokio::select! {
                biased;
                () = until_closing(closing.clone()) => return,
                established = dial_until_connected(&shared, &peer, &mut backoff) => established,
                Some(offer) = offers.recv() => offer,
            },
        };
        if !decide(established.undecided, &established.connection).await {
            continue;
        }
        let began = Instant::now();
        let end = run(
            &shared,
            &peer,
            &established.connection,
            established.hello,
            &mut offers,
        )
        .await;
        let lasted = began.elapsed() > limits.backoff_most;
        if lasted {
            backoff.reset();
        }
        match end {
            LinkEnd::Closing => return,
            LinkEnd::Replaced(offer) => next = Some(*offer),
            LinkEnd::Lost if lasted => {}
            // What broke at once would do so again and again.
            LinkEnd::Lost => tokio::select! {
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

/// Lets the connection stand, if it is for this node to decide.
async fn decide(undecided: Option<SendStream>, connection: &Connection) -> bool {
    if let Some(mut stream) = undecided
        && stream.write_all(&[GO]).await.is_err()
    {
        return false;
    }
    connection.close_reason().is_none()
}

/// One connection from its beginning to its end, with the events for both.
async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: &Connection,
    hello: Hello,
    offers: &mut mpsc::Receiver<Established>,
) -> LinkEnd {
    let node = peer.node;
    tracing::info!(peer = %node, boot = hello.boot, address = %connection.remote_address(), "connected");
    peer.counters.connections.add(1);
    shared.learn_address(peer, &hello.address);
    *peer.current.lock() = Some(Current {
        connection: connection.clone(),
        boot: hello.boot,
        software: hello.software,
    });
    for class in Class::ALL {
        peer.queue(class).open();
    }
    shared.tell(|events| events.connected(node, hello.boot));
    let end = link::run(shared, peer, connection, hello.boot, offers).await;
    peer.ended(connection);
    shared.tell(|events| events.disconnected(node));
    end
}

/// Dials, again and again, whenever it is known where the peer is.
async fn dial_until_connected(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    backoff: &mut Backoff,
) -> Established {
    let mut addresses = peer.address.subscribe();
    let mut last_error = String::new();
    loop {
        let Some(address) = addresses.borrow_and_update().clone() else {
            // The sender is the peer itself: this never fails.
            if addresses.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            continue;
        };
        let error = match dial(shared, peer, &address).await {
            Ok(established) => return established,
            Err(error) => error,
        };
        let wait = backoff.failed();
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
