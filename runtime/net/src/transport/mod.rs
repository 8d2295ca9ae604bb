//! Nodes joined across machines: one transport that speaks QUIC and HTTP/2.
//!
//! A pair of nodes has one session at a time, whoever dialled, over one or more
//! connections, and in it two strings of bytes each way: one for everything
//! whose order the port promises, one for bulk. What is sent is queued in lanes
//! of its urgency; a task takes a frame's worth at a time, encodes it as was
//! agreed with the peer, and the connection fills packets from that. Nothing
//! urgent waits for a timer: an idle connection sends at once, a busy one batches
//! by itself; what is not may wait a moment for others to share its frame. What
//! comes in is decoded and handed over by the task that reads it.
//!
//! Which connection carries what is in [`crate::select`]. Where UDP is blocked,
//! a session begins over HTTP/2, and moves to QUIC when that works; a QUIC
//! connection that falls silent gives way to HTTP/2.
//!
//! Start with [`PeerTransport`], then `supervise` (the task that keeps one peer
//! connected) and `session` (a session at work, from link to link).

mod accept;
mod admit;
mod attempts;
mod backoff;
mod config;
mod datagrams;
mod dial;
mod encoded;
mod hello;
mod inbound;
mod introduce;
mod judge;
mod keep;
mod link;
mod listen;
mod lookout;
mod outbound;
mod path;
mod peer;
mod session;
mod stats;
mod supervise;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use phoenix_core::{
    Member, NodeId, PeerMessage, PeerPath, SendRefused, Transport, TransportEvents,
};
use quinn::Endpoint;
use rustc_hash::FxHashMap;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::sync::{mpsc, watch};

use crate::formats::{Offer, Preferences};
use crate::http2::Http2Configs;
use crate::identity::{Authority, Identity, is_address};
use crate::quic::QuicConfigs;
use crate::select::{Carrier, Distance, Size, Traffic};
use crate::tls::TlsError;
use crate::wire::{self, Output, Packing, TooLarge};
pub(crate) use attempts::{Failed, first_that_works};
pub use config::{OnMember, Protocols, TransportConfig, TransportLimits};
use hello::Hello;
use hello::Wish;
pub(crate) use hello::{Close, shown};
pub(crate) use link::{End, Link, Lost};
pub(crate) use outbound::Class;
use outbound::Weighed;
use peer::Peer;
use stats::Counter;
pub use stats::{DatagramStats, PeerStats, TransportStats};

/// Cores for each thread of a transport's own runtime, and most of those threads, beside
/// those whose handlers block. Threads of a runtime wake each other for every message,
/// which costs more than one of them has to do for it: there are several only where
/// cores are idle.
const CORES_PER_THREAD: usize = 4;
const MAX_THREADS: usize = 4;

/// Tasks that read what comes from one peer: one for each class, one for datagrams.
const READERS: usize = Class::ALL.len() + 1;

/// Threads that it has beside those of handlers: resolving names, keeping books.
const SPARE_THREADS: usize = 64;

/// How long closing waits for the last packets to leave. QUIC would go on
/// answering stray packets for three times its time-out; peers that miss the
/// farewell notice by their idle timeout.
const FAREWELL: Duration = Duration::from_millis(100);

/// Why a transport could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start the network's threads: {0}")]
    Runtime(std::io::Error),
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Neither QUIC nor HTTP/2 is to be spoken.
    #[error("a transport speaks QUIC, HTTP/2 or both: both are switched off")]
    NoProtocol,
}

/// A node's end of its connections with other nodes.
pub struct PeerTransport {
    shared: Arc<Shared>,
    own_runtime: Option<Runtime>,
    /// Ends when no task holds a sender.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
    /// Taken by the start.
    listener: Mutex<Option<TcpListener>>,
    started: Once,
    address: SocketAddr,
}

/// What all tasks of a transport share.
struct Shared {
    identity: Identity,
    boot: u64,
    software: String,
    /// Where others reach this node; empty if that is not known.
    advertised: String,
    protocols: Protocols,
    offer: Offer,
    preferences: Preferences,
    near: Preferences,
    limits: TransportLimits,
    events: Arc<dyn TransportEvents>,
    authority: Option<Arc<Authority>>,
    on_member: Option<OnMember>,
    /// `None` where it is not spoken, as the next.
    quic: Option<Arc<QuicSide>>,
    http2: Option<Arc<Http2Side>>,
    runtime: Handle,
    /// Whether the runtime can go on without a thread whose handler blocks.
    may_block: bool,
    peers: RwLock<FxHashMap<NodeId, Arc<Peer>>>,
    closing: watch::Sender<bool>,
    /// Taken when closing.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    refused: Counter,
    malformed: Counter,
}

/// QUIC, as this node speaks it.
struct QuicSide {
    endpoint: Endpoint,
    configs: QuicConfigs,
}

/// HTTP/2, as this node speaks it.
struct Http2Side {
    configs: Http2Configs,
}

impl PeerTransport {
    /// [`PeerTransport::open`] and [`PeerTransport::start`] in one.
    pub fn bind(
        config: TransportConfig,
        events: Arc<dyn TransportEvents>,
    ) -> Result<Arc<Self>, BindError> {
        let transport = Self::open(config, events)?;
        transport.start();
        Ok(transport)
    }

    /// Listens. Nobody is connected, and nothing told to `events`, before
    /// [`PeerTransport::start`]: an owner whose handlers send can first put the
    /// transport where they find it.
    pub fn open(
        config: TransportConfig,
        events: Arc<dyn TransportEvents>,
    ) -> Result<Arc<Self>, BindError> {
        let TransportConfig {
            identity,
            protocols,
            limits,
            ..
        } = &config;
        if !protocols.quic && !protocols.http2 {
            return Err(BindError::NoProtocol);
        }
        let (own_runtime, runtime) = match &config.runtime {
            Some(handle) => (None, handle.clone()),
            None => {
                let runtime = own_runtime(limits)?;
                let handle = runtime.handle().clone();
                (Some(runtime), handle)
            }
        };
        let _context = runtime.enter();
        let unbound = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let sockets = listen::listen(config.listen, *protocols).map_err(unbound)?;
        let address = sockets.address;
        let mut quic = None;
        if let Some(udp) = sockets.udp {
            let configs = QuicConfigs::new(identity, limits, *protocols)?;
            let endpoint = configs.endpoint(identity, udp).map_err(unbound)?;
            quic = Some(Arc::new(QuicSide { endpoint, configs }));
        }
        let (mut http2, mut listener) = (None, None);
        if let Some(tcp) = sockets.tcp {
            let configs = Http2Configs::new(identity, limits)?;
            http2 = Some(Arc::new(Http2Side { configs }));
            listener = Some(TcpListener::from_std(tcp).map_err(unbound)?);
        }
        let advertised = config.advertise.unwrap_or_else(|| {
            if address.ip().is_unspecified() {
                String::new()
            } else {
                address.to_string()
            }
        });
        let (alive, ended) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            boot: config.boot,
            software: config.software,
            advertised,
            protocols: config.protocols,
            offer: config.offer,
            preferences: config.preferences,
            near: config.near,
            limits: config.limits,
            events,
            authority: config.authority,
            on_member: config.on_member,
            quic,
            http2,
            may_block: runtime.runtime_flavor() == RuntimeFlavor::MultiThread,
            runtime: runtime.clone(),
            peers: RwLock::default(),
            closing: watch::Sender::new(false),
            alive: Mutex::new(Some(alive)),
            refused: Counter::default(),
            malformed: Counter::default(),
            identity: config.identity,
        });
        shared.record_self();
        Ok(Arc::new(Self {
            shared,
            own_runtime,
            ended: Mutex::new(Some(ended)),
            listener: Mutex::new(listener),
            started: Once::new(),
            address,
        }))
    }

    /// Takes connections, and connects to the members that the identity knows.
    /// Starting twice does no harm.
    pub fn start(&self) {
        self.started.call_once(|| {
            let shared = &self.shared;
            if let Some(quic) = &shared.quic {
                let accepting = accept::over_quic(shared.clone(), quic.clone());
                shared.runtime.spawn(accepting);
            }
            let listener = self.listener.lock().take();
            if let (Some(http2), Some(listener)) = (&shared.http2, listener) {
                let accepting = accept::over_http2(shared.clone(), http2.clone(), listener);
                shared.runtime.spawn(accepting);
            }
            for member in shared.identity.members() {
                self.learn(member);
            }
        });
    }

    /// Where it listens, for both protocols.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What others learn to reach this node. The address is empty if the node
    /// listens on all addresses and was not told which to advertise.
    pub fn member(&self) -> Member {
        self.shared.member()
    }

    /// What was counted since it was bound.
    pub fn stats(&self) -> TransportStats {
        let mut peers: Vec<PeerStats> = {
            let peers = self.shared.peers.read();
            peers.values().map(|peer| peer.stats()).collect()
        };
        peers.sort_by_key(|peer| peer.node);
        TransportStats {
            peers,
            refused: self.shared.refused.get(),
            malformed: self.shared.malformed.get(),
        }
    }

    /// Sends what waits, for a bounded time, then ends all connections. Blocks
    /// until all is over; `disconnected` has been told for every peer then.
    /// Must not be called from an event handler. Closing twice does no harm.
    pub fn close(&self) {
        let Some(mut ended) = self.ended.lock().take() else {
            return;
        };
        self.shared.start_closing();
        let shared = Arc::clone(&self.shared);
        let limit = shared.limits.close_timeout;
        let (done, wait) = std::sync::mpsc::channel();
        self.shared.runtime.spawn(async move {
            // Each peer's task bounds its own end; a handler that blocks has no bound.
            let _ = tokio::time::timeout(limit * 2, ended.recv()).await;
            if let Some(quic) = &shared.quic {
                quic.close();
                let _ = tokio::time::timeout(FAREWELL, quic.endpoint.wait_idle()).await;
            }
            let _ = done.send(());
        });
        let wait = || {
            let _ = wait.recv_timeout(limit * 4);
        };
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            // A runtime with this thread alone would wait for itself.
            Ok(_) => {}
            Err(_) => wait(),
        }
    }
}

impl Drop for PeerTransport {
    fn drop(&mut self) {
        self.shared.start_closing();
        if self.ended.lock().is_some()
            && let Some(quic) = &self.shared.quic
        {
            quic.close();
        }
        if let Some(runtime) = self.own_runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl QuicSide {
    /// Ends all of its connections.
    fn close(&self) {
        let close = Close::Closing;
        let code = u32::from(close.code()).into();
        self.endpoint.close(code, close.to_string().as_bytes());
    }
}

thread_local! {
    /// Where a thread encodes before it takes a queue's lock.
    static SCRATCH: RefCell<Output> = RefCell::new(Output::new());
}

impl Transport for PeerTransport {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        let peers = self.shared.peers.read();
        let peer = Arc::clone(peers.get(&to).ok_or(SendRefused::UnknownPeer)?);
        drop(peers);
        let traffic = Traffic::of(&message, peer.distance());
        match self.send_datagram(&peer, traffic, &message)? {
            Some(bytes) => peer.counters.sent_bytes.add(bytes),
            None => self.send_frames(&peer, traffic, message)?,
        }
        peer.counters.sent_messages.add(1);
        Ok(())
    }

    fn learn(&self, member: Member) {
        if member.node == self.shared.identity.node() {
            return;
        }
        let Some(peer) = self.shared.peer_or_new(member.node) else {
            tracing::error!(peer = %member.node, bound = self.shared.limits.peers, "too many peers: this one stays unknown");
            return;
        };
        if is_dialable(&member.address) {
            peer.set_address(&member.address);
        }
    }

    fn paths(&self) -> Vec<PeerPath> {
        let peers = self.shared.peers.read();
        let path = |peer: &Arc<Peer>| peer.path(self.shared.protocols);
        let mut paths: Vec<PeerPath> = peers.values().map(path).collect();
        paths.sort_by_key(|path| path.node);
        paths
    }
}

impl PeerTransport {
    /// Queues the message for datagrams, and says how many bytes it takes; `None`
    /// if datagrams are not for it, or not to be had.
    fn send_datagram(
        &self,
        peer: &Peer,
        traffic: Traffic,
        message: &PeerMessage,
    ) -> Result<Option<usize>, SendRefused> {
        let small = Traffic {
            size: Size::Packet,
            ..traffic
        };
        let room = peer.datagram_room();
        let first = small.carrier(|carrier| carrier != Carrier::QuicDatagram || room > 0);
        if traffic.size == Size::Bulk || first != Some(Carrier::QuicDatagram) {
            return Ok(None);
        }
        let queue = peer.datagram_queue();
        // A list is cut into frames of that size; what is larger by itself is not.
        let bound = room.saturating_sub(wire::HEADER);
        let queued = queue.check().and_then(|()| {
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                let too_large = |_: TooLarge| SendRefused::TooLarge;
                wire::encode(message, bound, scratch).map_err(too_large)?;
                let bytes = scratch.len();
                queue.push(scratch).map(|()| bytes)
            })
        });
        match queued {
            Ok(bytes) => Ok(Some(bytes)),
            Err(SendRefused::TooLarge | SendRefused::NotConnected) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Queues the message for the stream of its class.
    fn send_frames(
        &self,
        peer: &Peer,
        traffic: Traffic,
        message: PeerMessage,
    ) -> Result<(), SendRefused> {
        let queue = peer.queue(Class::of(traffic.size));
        // What would be refused is not worth weighing.
        queue.check()?;
        let bound = self.shared.limits.frame_bytes;
        let weighed = Weighed::new(message, bound).map_err(|_| SendRefused::TooLarge)?;
        queue.push(weighed)
    }
}

/// Whether an address names a place: one that is not decided yet has port 0.
fn is_dialable(address: &str) -> bool {
    is_address(address)
        && address
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse() != Ok(0_u16))
}

impl Shared {
    fn member(&self) -> Member {
        Member {
            node: self.identity.node(),
            address: self.advertised.clone(),
        }
    }

    fn hello(&self, wish: Wish) -> Hello {
        Hello {
            cluster: bytes::Bytes::copy_from_slice(&self.identity.cluster().0),
            node: self.identity.node(),
            boot: self.boot,
            address: self.advertised.clone(),
            software: self.software.clone(),
            wish,
            offer: self.offer,
        }
    }

    /// Hands over what came from a peer.
    fn received(&self, from: NodeId, messages: Vec<PeerMessage>) {
        if let Err(messages) = self.events.take_in(from, messages) {
            self.tell(|events| events.received(from, messages));
        }
    }

    /// Calls the owner's handler, which may block: the runtime gives this thread's
    /// work to another one meanwhile. That costs a thread's wake each time and
    /// cannot be spared for handlers that were quick so far. The one thread that
    /// blocks may be the one that would have polled the sockets next.
    fn tell(&self, call: impl FnOnce(&dyn TransportEvents)) {
        if self.may_block {
            tokio::task::block_in_place(|| call(&*self.events));
        } else {
            call(&*self.events);
        }
    }

    /// How frames of a class are written to a peer this far away that reads `theirs`.
    fn packing(&self, class: Class, distance: Distance, theirs: &Offer) -> Packing {
        let preferences = match distance {
            Distance::Process | Distance::Host => &self.near,
            Distance::Near | Distance::Far => &self.preferences,
        };
        preferences.choose(class.purpose(), theirs)
    }

    /// Checks what a hello says beside who it is of.
    fn check(&self, hello: &Hello, peer: &Peer) -> Result<(), Close> {
        if !hello.is_of(self.identity.cluster()) {
            return Err(Close::Cluster);
        }
        peer.accept_boot(hello.boot)
            .map_err(|seen| Close::StaleBoot {
                node: hello.node,
                seen,
                found: hello.boot,
            })
    }

    /// Closes a connection that does not stand yet.
    fn refuse(&self, link: &Link, close: &Close) {
        if *close != Close::Duplicate {
            self.note_refusal(link.remote_address(), close);
        }
        link.close(close);
    }

    fn note_refusal(&self, address: SocketAddr, close: &Close) {
        self.refused.add(1);
        tracing::warn!(%address, reason = %close, "connection refused");
    }

    /// The peer; one that is new gets its task. `None` if there are too many.
    fn peer_or_new(self: &Arc<Self>, node: NodeId) -> Option<Arc<Peer>> {
        if let Some(peer) = self.peers.read().get(&node) {
            return Some(Arc::clone(peer));
        }
        let mut peers = self.peers.write();
        if let Some(peer) = peers.get(&node) {
            return Some(Arc::clone(peer));
        }
        if peers.len() >= self.limits.peers {
            return None;
        }
        let alive = self.alive.lock().clone()?;
        let (peer, offers) = Peer::new(node, &self.limits);
        peers.insert(node, Arc::clone(&peer));
        let task = Box::pin(supervise::supervise(
            Arc::clone(self),
            Arc::clone(&peer),
            offers,
        ));
        self.runtime.spawn(async move {
            task.await;
            drop(alive);
        });
        Some(peer)
    }

    /// A peer says where it listens.
    fn learn_address(self: &Arc<Self>, peer: &Peer, address: &str) {
        if is_dialable(address) && peer.set_address(address) {
            self.member_changed(Member {
                node: peer.node,
                address: address.to_owned(),
            });
        }
    }

    /// A member joined. It is told of before it connects: the others know it when it comes.
    fn joined(self: &Arc<Self>, member: Option<Member>) {
        if let Some(member) = member {
            tracing::info!(node = %member.node, address = member.address, "a node joined");
            self.member_changed(member);
        }
    }

    fn member_changed(self: &Arc<Self>, member: Member) {
        if self.authority.is_some() {
            let (shared, member) = (Arc::clone(self), member.clone());
            self.runtime.spawn_blocking(move || shared.record(&member));
        }
        if let Some(on_member) = &self.on_member {
            on_member(member);
        }
    }

    fn record_self(&self) {
        if is_dialable(&self.advertised) {
            self.record(&self.member());
        }
    }

    fn record(&self, member: &Member) {
        if let Some(authority) = &self.authority
            && let Err(error) = authority.record(member)
        {
            tracing::error!(%error, node = %member.node, "a member's address could not be kept");
        }
    }

    fn start_closing(&self) {
        self.closing.send_replace(true);
        self.alive.lock().take();
    }
}

/// Threads of a transport's own runtime on this machine.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / CORES_PER_THREAD).clamp(1, MAX_THREADS)
}

fn own_runtime(limits: &TransportLimits) -> Result<Runtime, BindError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        // Each of a peer's readers may have a handler that blocks.
        .max_blocking_threads(limits.peers * READERS + SPARE_THREADS)
        .thread_name("phoenix-net")
        .enable_all()
        .build()
        .map_err(BindError::Runtime)
}

/// How long [`PeerTransport::close`] blocks at most, given the limits.
pub fn longest_close(limits: &TransportLimits) -> Duration {
    limits.close_timeout * 4
}
