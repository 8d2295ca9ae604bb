//! Nodes joined by QUIC with mutual TLS.
//!
//! A pair of nodes has one connection, whoever dialled it, and on it two
//! streams each way: one for everything whose order the port promises, one for
//! bulk. A message is encoded on the thread that sends it and queued; a task
//! writes all that waits at once, and QUIC fills packets from that. Nothing
//! waits for a timer: an idle connection sends at once, a busy one batches by
//! itself. What comes in is decoded and handed over by the task that reads it.
//!
//! Start with [`QuicTransport`], then `peer` (the task that keeps one peer
//! connected) and `link` (one connection at work).

mod accept;
mod admit;
mod attempts;
mod backoff;
mod config;
mod dial;
mod hello;
mod inbound;
mod link;
mod outbound;
mod peer;
mod socket;
mod stats;
mod tls;
mod tuning;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use phoenix_core::{Member, NodeId, PeerMessage, SendRefused, Transport, TransportEvents};
use quinn::{Connection, Endpoint, TokioRuntime};
use rustc_hash::FxHashMap;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::sync::{mpsc, watch};

use crate::identity::{Authority, Fingerprint, Identity, is_address};
use crate::wire::{self, Output};
pub(crate) use attempts::{Failed, first_that_works};
pub use config::{OnMember, QuicConfig, QuicLimits};
use hello::{Close, Hello};
use outbound::Class;
use peer::Peer;
use stats::Counter;
pub use stats::{PeerStats, TransportStats};
pub(crate) use tls::Stranger;
pub use tls::TlsError;

/// Threads of a transport's own runtime, beside those whose handlers block.
const THREADS: usize = 2;

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
}

/// A node's end of its connections with other nodes.
pub struct QuicTransport {
    shared: Arc<Shared>,
    own_runtime: Option<Runtime>,
    /// Ends when no task holds a sender.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
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
    limits: QuicLimits,
    events: Arc<dyn TransportEvents>,
    authority: Option<Arc<Authority>>,
    on_member: Option<OnMember>,
    endpoint: Endpoint,
    configs: Configs,
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

/// QUIC's configurations, for loopback and for elsewhere.
struct Configs {
    client: [quinn::ClientConfig; 2],
    server: [Arc<quinn::ServerConfig>; 2],
}

impl Configs {
    fn new(identity: &Identity, limits: &QuicLimits) -> Result<Self, TlsError> {
        let (client, server) = (tls::client(identity)?, tls::server(identity)?);
        let places = [true, false];
        Ok(Self {
            client: places.map(|loopback| {
                let mut config = quinn::ClientConfig::new(client.clone());
                config.transport_config(Arc::new(tuning::transport(limits, loopback)));
                config
            }),
            server: places.map(|loopback| {
                let mut config = quinn::ServerConfig::with_crypto(server.clone());
                config.transport_config(Arc::new(tuning::for_strangers(limits, loopback)));
                Arc::new(config)
            }),
        })
    }

    fn pick<T>([loopback, elsewhere]: &[T; 2], address: SocketAddr) -> &T {
        if is_loopback(address) {
            loopback
        } else {
            elsewhere
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// For [`crate::identity::join`]: how to connect to the authority with this fingerprint.
pub(crate) fn joiner_config(
    expected: Fingerprint,
    found: Arc<Mutex<Option<Stranger>>>,
) -> Result<quinn::ClientConfig, TlsError> {
    let mut config = quinn::ClientConfig::new(tls::joiner(expected, found)?);
    config.transport_config(Arc::new(tuning::transport(&QuicLimits::default(), false)));
    Ok(config)
}

impl QuicTransport {
    /// [`QuicTransport::open`] and [`QuicTransport::start`] in one.
    pub fn bind(
        config: QuicConfig,
        events: Arc<dyn TransportEvents>,
    ) -> Result<Arc<Self>, BindError> {
        let transport = Self::open(config, events)?;
        transport.start();
        Ok(transport)
    }

    /// Listens. Nobody is connected, and nothing told to `events`, before
    /// [`QuicTransport::start`]: an owner whose handlers send can first put the
    /// transport where they find it.
    pub fn open(
        config: QuicConfig,
        events: Arc<dyn TransportEvents>,
    ) -> Result<Arc<Self>, BindError> {
        let (own_runtime, runtime) = match config.runtime {
            Some(handle) => (None, handle),
            None => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(THREADS)
                    // Each of a peer's streams may have a handler that blocks.
                    .max_blocking_threads(config.limits.peers * 2 + SPARE_THREADS)
                    .thread_name("phoenix-net")
                    .enable_all()
                    .build()
                    .map_err(BindError::Runtime)?;
                let handle = runtime.handle().clone();
                (Some(runtime), handle)
            }
        };
        let configs = Configs::new(&config.identity, &config.limits)?;
        let _context = runtime.enter();
        let (endpoint, address) = listen(config.listen, &config.identity, &configs)?;
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
            limits: config.limits,
            events,
            authority: config.authority,
            on_member: config.on_member,
            endpoint,
            configs,
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
            started: Once::new(),
            address,
        }))
    }

    /// Takes connections, and connects to the members that the identity knows.
    /// Starting twice does no harm.
    pub fn start(&self) {
        self.started.call_once(|| {
            let accepting = accept::accept(Arc::clone(&self.shared));
            self.shared.runtime.spawn(accepting);
            for member in self.shared.identity.members() {
                self.learn(member);
            }
        });
    }

    /// Where it listens.
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
            Close::Closing.close_endpoint(&shared.endpoint);
            let _ = tokio::time::timeout(FAREWELL, shared.endpoint.wait_idle()).await;
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

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.start_closing();
        if self.ended.lock().is_some() {
            Close::Closing.close_endpoint(&self.shared.endpoint);
        }
        if let Some(runtime) = self.own_runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Close {
    fn close_endpoint(&self, endpoint: &Endpoint) {
        endpoint.close(self.code(), self.to_string().as_bytes());
    }
}

thread_local! {
    /// Where a thread encodes before it takes a queue's lock.
    static SCRATCH: RefCell<Output> = RefCell::new(Output::new());
}

impl Transport for QuicTransport {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        let peers = self.shared.peers.read();
        let peer = Arc::clone(peers.get(&to).ok_or(SendRefused::UnknownPeer)?);
        drop(peers);
        let queue = peer.queue(Class::of(&message));
        // What would be refused is not worth encoding.
        queue.check()?;
        let bound = self.shared.limits.frame_bytes;
        let bytes = SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            wire::encode(&message, bound, scratch).map_err(|_| SendRefused::TooLarge)?;
            let bytes = scratch.len();
            queue.push(scratch).map(|()| bytes)
        })?;
        peer.counters.sent_messages.add(1);
        peer.counters.sent_bytes.add(bytes);
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

    fn hello(&self) -> Hello {
        Hello {
            cluster: bytes::Bytes::copy_from_slice(&self.identity.cluster().0),
            node: self.identity.node(),
            boot: self.boot,
            address: self.advertised.clone(),
            software: self.software.clone(),
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
    fn refuse(&self, connection: &Connection, close: &Close) {
        if *close != Close::Duplicate {
            self.refused.add(1);
            let address = connection.remote_address();
            tracing::warn!(%address, reason = %close, "connection refused");
        }
        close.close(connection);
    }

    fn client_config(&self, address: SocketAddr) -> quinn::ClientConfig {
        Configs::pick(&self.configs.client, address).clone()
    }

    fn server_config(&self, address: SocketAddr) -> Arc<quinn::ServerConfig> {
        Arc::clone(Configs::pick(&self.configs.server, address))
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
        let task = peer::supervise(Arc::clone(self), Arc::clone(&peer), offers);
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

/// Opens the socket with buffers large enough for bursts.
fn listen(
    address: SocketAddr,
    identity: &Identity,
    configs: &Configs,
) -> Result<(Endpoint, SocketAddr), BindError> {
    let open = || {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        // The system may give less; that costs speed and nothing else.
        let _ = socket.set_recv_buffer_size(tuning::SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(tuning::SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let [server, _] = &configs.server;
        let endpoint = Endpoint::new_with_abstract_socket(
            tuning::endpoint(identity),
            Some((**server).clone()),
            Arc::new(socket::Socket::new(socket.into())?),
            Arc::new(TokioRuntime),
        )?;
        let bound = endpoint.local_addr()?;
        Ok((endpoint, bound))
    };
    open().map_err(|source| BindError::Listen { address, source })
}

/// How long [`QuicTransport::close`] blocks at most, given the limits.
pub fn longest_close(limits: &QuicLimits) -> Duration {
    limits.close_timeout * 4
}
