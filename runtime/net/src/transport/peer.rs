//! One peer: where it is, what waits for it, and how it is reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use phoenix_core::{NodeId, PeerPath, Protocol};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::config::{Protocols, TransportLimits};
use super::encoded::EncodedQueue;
use super::hello::{Close, Hello, Verdict, Wish};
use super::link::{Intro, Link};
use super::outbound::{Class, Queue};
use super::path::{self, QuicNotes};
use super::stats::{Counters, PeerStats};
use crate::select::Distance;

/// Connections offered that the task has not looked at yet.
const OFFERS: usize = 4;

/// A connection whose other end is known.
pub(super) struct Established {
    pub(super) link: Link,
    pub(super) intro: Intro,
    pub(super) hello: Hello,
    /// What its dialler wants.
    pub(super) wish: Wish,
    /// What the other side has decided; `None` if that is for this node to do.
    pub(super) verdict: Option<Verdict>,
}

pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) counters: Counters,
    queues: [Queue; Class::ALL.len()],
    datagrams: EncodedQueue,
    /// Bytes of frames that a datagram has room for; 0 where there are none.
    datagram_room: AtomicUsize,
    /// A [`Distance`].
    distance: AtomicU8,
    offers: mpsc::Sender<Established>,
    address: watch::Sender<Option<String>>,
    /// The highest boot that it has connected with.
    boot: AtomicU64,
    quic: Mutex<QuicNotes>,
    current: Mutex<Option<Current>>,
    /// Why the last session ended.
    last_end: Mutex<Option<String>>,
    /// Why it is not connected.
    failure: Mutex<Option<String>>,
}

/// The session that stands.
struct Current {
    boot: u64,
    software: String,
    /// What carries each class.
    links: [Option<Link>; Class::ALL.len()],
}

impl Current {
    fn link(&self, class: Class) -> Option<&Link> {
        self.links.get(class as usize).and_then(Option::as_ref)
    }

    fn quic(&self) -> Option<&quinn::Connection> {
        let mut links = self.links.iter().flatten();
        links.find_map(|link| match link {
            Link::Quic(quic) => Some(quic.connection()),
            Link::Http2(_) => None,
        })
    }
}

impl Peer {
    pub(super) fn new(
        node: NodeId,
        limits: &TransportLimits,
    ) -> (Arc<Self>, mpsc::Receiver<Established>) {
        let (offers, receiver) = mpsc::channel(OFFERS);
        let peer = Self {
            node,
            counters: Counters::default(),
            queues: Class::ALL.map(|_| Queue::new(limits)),
            datagrams: EncodedQueue::new(limits),
            datagram_room: AtomicUsize::new(0),
            distance: AtomicU8::new(Distance::Near as u8),
            offers,
            address: watch::Sender::new(None),
            boot: AtomicU64::new(0),
            quic: Mutex::new(QuicNotes::new(limits)),
            current: Mutex::new(None),
            last_end: Mutex::new(None),
            failure: Mutex::new(None),
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

    pub(super) fn datagram_queue(&self) -> &EncodedQueue {
        &self.datagrams
    }

    /// Bytes of frames that a datagram to it has room for; 0 where there are none.
    pub(super) fn datagram_room(&self) -> usize {
        self.datagram_room.load(Ordering::Relaxed)
    }

    /// A connection takes datagrams with so much room.
    pub(super) fn open_datagrams(&self, room: usize) {
        self.datagrams.open();
        self.set_datagram_room(room);
    }

    /// The path's room for datagrams has changed.
    pub(super) fn set_datagram_room(&self, room: usize) {
        self.datagram_room.store(room, Ordering::Relaxed);
    }

    /// How far away it is, as far as is known. Of sending threads nobody measures.
    pub(super) fn distance(&self) -> Distance {
        match self.distance.load(Ordering::Relaxed) {
            number if number == Distance::Host as u8 => Distance::Host,
            number if number == Distance::Far as u8 => Distance::Far,
            _ => Distance::Near,
        }
    }

    pub(super) fn set_distance(&self, distance: Distance) {
        self.distance.store(distance as u8, Ordering::Relaxed);
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

    /// Where it listens, and when that changes.
    pub(super) fn addresses(&self) -> watch::Receiver<Option<String>> {
        self.address.subscribe()
    }

    pub(super) fn address(&self) -> Option<String> {
        self.address.borrow().clone()
    }

    /// Accepts `boot` as its latest, or says which later one it has had.
    pub(super) fn accept_boot(&self, boot: u64) -> Result<(), u64> {
        let seen = self.boot.fetch_max(boot, Ordering::AcqRel);
        if boot < seen { Err(seen) } else { Ok(()) }
    }

    /// Hands a connection to the peer's task.
    pub(super) fn offer(&self, established: Established) {
        if let Err(error) = self.offers.try_send(established) {
            let (mpsc::error::TrySendError::Full(offer) | mpsc::error::TrySendError::Closed(offer)) =
                error;
            offer.link.close(&Close::Duplicate);
        }
    }

    /// What is known of QUIC to it.
    pub(super) fn quic(&self) -> parking_lot::MutexGuard<'_, QuicNotes> {
        self.quic.lock()
    }

    /// Why it is not connected.
    pub(super) fn set_failure(&self, why: String) {
        *self.failure.lock() = Some(why);
    }

    /// Why a session ended.
    pub(super) fn set_last_end(&self, why: String) {
        *self.last_end.lock() = Some(why);
    }

    /// A session begins with this link.
    pub(super) fn open(&self, boot: u64, software: String, link: &Link) {
        self.counters.sessions.add(1);
        *self.failure.lock() = None;
        *self.current.lock() = Some(Current {
            boot,
            software,
            links: Class::ALL.map(|_| Some(link.clone())),
        });
        for class in Class::ALL {
            self.queue(class).open();
        }
    }

    /// These carry the classes now.
    pub(super) fn carried_by(&self, links: [Option<Link>; Class::ALL.len()]) {
        if let Some(current) = &mut *self.current.lock() {
            current.links = links;
        }
    }

    /// Nothing more is taken; what waits is still sent.
    pub(super) fn finish(&self) {
        for class in Class::ALL {
            self.queue(class).finish();
        }
        self.datagrams.finish();
    }

    /// The session is over, and what waited is gone with it.
    pub(super) fn close(&self) {
        self.set_datagram_room(0);
        for class in Class::ALL {
            self.queue(class).close();
        }
        self.datagrams.close();
        let mut current = self.current.lock();
        if let Some(quic) = current.as_ref().and_then(Current::quic) {
            let path = quic.stats().path;
            self.counters.lost_packets.add_all(path.lost_packets);
            self.counters.black_holes.add_all(path.black_holes_detected);
        }
        *current = None;
    }

    pub(super) fn stats(&self) -> PeerStats {
        let current = self.current.lock();
        let current = current.as_ref();
        let counters = &self.counters;
        let path = current
            .and_then(Current::quic)
            .map(|quic| quic.stats().path)
            .unwrap_or_default();
        let link = current.and_then(|current| current.link(Class::Ordered));
        PeerStats {
            node: self.node,
            address: self.address(),
            connected: current.is_some(),
            protocol: link.map(Link::protocol),
            boot: current.map(|current| current.boot),
            software: current
                .map(|current| current.software.clone())
                .unwrap_or_default(),
            rtt: link.and_then(Link::round_trip),
            sessions: counters.sessions.get(),
            connections: counters.connections.get(),
            last_end: self.last_end.lock().clone(),
            lost_packets: counters.lost_packets.get() + path.lost_packets,
            black_holes: counters.black_holes.get() + path.black_holes_detected,
            sent_messages: counters.sent_messages.get(),
            sent_bytes: counters.sent_bytes.get(),
            received_messages: counters.received_messages.get(),
            received_bytes: counters.received_bytes.get(),
            datagrams: counters.datagrams.stats(),
        }
    }

    /// How it is reached just now, and why so.
    pub(super) fn path(&self, protocols: Protocols) -> PeerPath {
        let current = self.current.lock();
        let current = current.as_ref();
        let carries = |class| current.and_then(|current| current.link(class));
        let ordered = carries(Class::Ordered);
        let bulk = carries(Class::Bulk).map(Link::protocol);
        let protocol = ordered.map(Link::protocol);
        let round_trip = ordered.and_then(Link::round_trip);
        let reason = match protocol {
            Some(Protocol::Http2) => path::why_http2(&self.quic.lock(), protocols, Instant::now()),
            Some(_) => path::why_quic(bulk, round_trip),
            None => path::why_nothing(self.failure.lock().as_deref(), self.address().as_deref()),
        };
        PeerPath {
            node: self.node,
            protocol,
            bulk,
            datagrams: self.datagram_room() > 0,
            round_trip,
            reason,
        }
    }
}
