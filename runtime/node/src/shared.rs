//! What all threads of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use phoenix_core::control::{ControlError, DeadLetter, LetterId, LogLine, Response};
use phoenix_core::{
    AgentId, DeadReason, Digest, Envelope, Epoch, Incarnation, Level, Member, Millis, NodeId,
    PeerMessage, SendRefused, Transport,
};
use phoenix_host::Host;
use phoenix_store::spill::SpillSpace;
use phoenix_store::{DeadLetters, KindStore, LogRing};

use crate::clients::Clients;
use crate::clock;
use crate::config::NodeConfig;
use crate::counters::{Counters, Tally, count};
use crate::deaths::Deaths;
use crate::directory::DirectoryAccess;
use crate::fetch::Fetches;
use crate::flow::Flows;
use crate::journal::Journals;
use crate::kinds::Kinds;
use crate::peers::Controls;
use crate::readers::Readers;
use crate::seat::Seat;
use crate::sleepers::Sleepers;
use crate::witness::Step;
use crate::worker::Event;

/// A peer as this node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) connected: bool,
    pub(crate) boot: Option<u64>,
    pub(crate) leaving: bool,
}

impl Peer {
    /// A peer nothing is known of yet.
    pub(crate) fn unknown() -> Self {
        Self {
            address: String::new(),
            connected: false,
            boot: None,
            leaving: false,
        }
    }
}

/// Keeps the members for the next start.
pub(crate) type MemberKeeper = Box<dyn Fn(Vec<Member>) + Send + Sync>;

/// Makes a join token that may be used for so long.
pub(crate) type TokenIssuer = Box<dyn Fn(Millis) -> Result<String, String> + Send + Sync>;

/// What operators have given the cluster, as this node has it.
pub(crate) struct Deployed {
    pub(crate) kinds: Kinds,
    /// Kinds on disk; on the node that holds the directory only.
    pub(crate) kind_store: Option<KindStore>,
    pub(crate) flows: Flows,
}

/// One node's state, minus its agents.
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) boot: u64,
    pub(crate) config: NodeConfig,
    pub(crate) started: Millis,
    pub(crate) host: Host,
    pub(crate) kinds: Kinds,
    pub(crate) seats: Vec<Arc<Seat>>,
    pub(crate) transport: RwLock<Option<Arc<dyn Transport>>>,
    pub(crate) directory: DirectoryAccess,
    pub(crate) peers: RwLock<HashMap<NodeId, Peer>>,
    pub(crate) clients: Clients,
    pub(crate) fetches: Fetches,
    pub(crate) controls: Controls,
    /// Kinds on disk; on the node that holds the directory only.
    pub(crate) kind_store: Option<KindStore>,
    /// Where the transport listens; empty without one.
    pub(crate) address: RwLock<String>,
    /// What can hand out join tokens, on the node that holds the authority.
    pub(crate) tokens: RwLock<Option<TokenIssuer>>,
    keeper: RwLock<Option<MemberKeeper>>,
    pub(crate) shutdown_wanted: AtomicBool,
    pub(crate) logs: Mutex<LogRing>,
    pub(crate) dead: Mutex<DeadLetters>,
    pub(crate) counters: Counters,
    /// What spilled messages of all workers may take on disk.
    pub(crate) spill_space: Arc<SpillSpace>,
    /// Durable agents' turns and snapshots.
    pub(crate) journals: Journals,
    /// Read what sleeping agents are made of.
    pub(crate) readers: Readers,
    /// What sleeping agents take, and may.
    pub(crate) sleepers: Sleepers,
    pub(crate) draining: AtomicBool,
    pub(crate) deaths: Deaths,
    pub(crate) flows: Flows,
    /// This life of the node was declared dead.
    pub(crate) fenced: AtomicBool,
    pub(crate) resident: AtomicU64,
    pub(crate) asleep: AtomicU64,
    incarnations: AtomicU64,
}

impl Shared {
    /// Lets the witness see a step, if there is one.
    #[inline]
    pub(crate) fn witness(&self, agent: &AgentId, step: Step) {
        if let Some(witness) = &self.config.witness {
            witness.stepping(agent, step);
        }
    }

    /// The node has stopped: drops what came too late for that. Whoever is to be told
    /// of its end holds this state, which would never go.
    pub(crate) fn let_go(&self) {
        for seat in &self.seats {
            seat.clear();
        }
        self.directory.close();
        self.readers.close();
        self.journals.close();
        self.controls.close();
    }

    pub(crate) fn new(
        node: NodeId,
        boot: u64,
        config: NodeConfig,
        host: Host,
        deployed: Deployed,
        directory: DirectoryAccess,
    ) -> Self {
        let Deployed {
            kinds,
            kind_store,
            flows,
        } = deployed;
        let seats: Vec<_> = (0..config.worker_count())
            .map(|index| Arc::new(Seat::new(index)))
            .collect();
        let journals = Journals::new(
            config.data_dir.join("journal"),
            config.journal.clone(),
            seats.len(),
        );
        let sleepers = Sleepers::new(seats.len(), config.memory_budget());
        Self {
            node,
            boot,
            started: clock::now_ms(),
            host,
            kinds,
            seats,
            transport: RwLock::new(None),
            directory,
            peers: RwLock::default(),
            clients: Clients::new(boot),
            fetches: Fetches::default(),
            controls: Controls::new(boot),
            kind_store,
            address: RwLock::default(),
            tokens: RwLock::new(None),
            keeper: RwLock::new(None),
            shutdown_wanted: AtomicBool::new(false),
            logs: Mutex::new(LogRing::new(config.log_lines)),
            dead: Mutex::new(DeadLetters::new(node, boot, config.dead_letters)),
            counters: Counters::default(),
            spill_space: SpillSpace::new(config.max_spill),
            journals,
            readers: Readers::default(),
            sleepers,
            draining: AtomicBool::new(false),
            deaths: Deaths::default(),
            flows,
            fenced: AtomicBool::new(false),
            resident: AtomicU64::new(0),
            asleep: AtomicU64::new(0),
            incarnations: AtomicU64::new(0),
            config,
        }
    }

    /// The worker an agent of this node belongs to.
    pub(crate) fn worker_of(&self, agent: &AgentId) -> usize {
        let workers = self.seats.len() as u64;
        if workers == 1 {
            return 0;
        }
        usize::try_from(agent.placement_hash() % workers).unwrap_or(0)
    }

    /// The seat of the worker an agent of this node belongs to.
    pub(crate) fn seat_of(&self, agent: &AgentId) -> Option<&Arc<Seat>> {
        self.seats.get(self.worker_of(agent))
    }

    /// Everything that is counted: name and value, sorted by name.
    pub(crate) fn count(&self) -> Vec<(String, u64)> {
        let mut list = self.counters.list();
        list.push(("spill-bytes".to_owned(), self.spill_space.used()));
        list.extend(self.journals.count());
        list.extend(self.sleepers.list());
        list.extend(Tally::sum(self.seats.iter().map(|seat| &seat.tally)));
        list.sort();
        list
    }

    /// Posts an event about `agent` to its worker.
    pub(crate) fn post(&self, agent: &AgentId, event: Event) {
        if let Some(seat) = self.seat_of(agent) {
            seat.post(event);
        }
    }

    /// Hands a message from outside the workers to its agent's worker.
    pub(crate) fn deliver(&self, envelope: Envelope) {
        if let Some(seat) = self.seat_of(envelope.receiver()) {
            let envelopes = vec![Arc::new(envelope)];
            seat.post_from_outside(Event::Deliver {
                from: None,
                envelopes,
            });
        }
    }

    /// The same from a worker's thread, which must not wait.
    pub(crate) fn deliver_from_inside(&self, envelope: Envelope) {
        let agent = envelope.receiver().clone();
        let envelopes = vec![Arc::new(envelope)];
        let event = Event::Deliver {
            from: None,
            envelopes,
        };
        self.post(&agent, event);
    }

    /// Runs something that may take long on a thread of its own.
    pub(crate) fn in_background(&self, name: &str, work: impl FnOnce() + Send + 'static) {
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work);
        if let Err(error) = spawned {
            let text = format!("no thread for {name}: {error}");
            self.log(None, Level::Error, &text);
        }
    }

    /// A component as it was deployed, from this node's disk.
    pub(crate) fn component_bytes(&self, component: &Digest) -> Option<Bytes> {
        let bytes = self.kind_store.as_ref()?.component(component).ok()?;
        Some(bytes.into())
    }

    /// A token with which a node can join.
    pub(crate) fn join_token(&self, valid_for: Millis) -> Result<Response, ControlError> {
        match self.tokens.read().as_ref() {
            Some(issue) => issue(valid_for)
                .map(Response::JoinToken)
                .map_err(ControlError::Internal),
            None => Err(ControlError::Conflict(format!(
                "{} holds no authority: ask {}, the cluster's first node",
                self.node,
                self.directory.node()
            ))),
        }
    }

    /// Sends to a peer from a background thread, waiting while its queue is full.
    pub(crate) fn send_patiently(
        &self,
        to: NodeId,
        message: &PeerMessage,
    ) -> Result<(), SendRefused> {
        /// Pauses while the queue is full, and how many at most: half a minute.
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
        const PAUSES: u32 = 6_000;
        for _ in 0..PAUSES {
            match self.send(to, message.clone()) {
                Err(SendRefused::Full) => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
        Err(SendRefused::Full)
    }

    /// Sends to a peer; what is not taken is counted.
    pub(crate) fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        let transport = self.transport.read();
        let sent = match transport.as_ref() {
            _ if self.is_fenced() => Err(SendRefused::NotConnected),
            Some(transport) => transport.send(to, message),
            None => Err(SendRefused::UnknownPeer),
        };
        if sent.is_err() {
            count(&self.counters.unsent);
        }
        sent
    }

    /// Sends to every connected peer.
    pub(crate) fn broadcast(&self, message: &PeerMessage) {
        let peers: Vec<NodeId> = self.connected();
        for peer in peers {
            // A peer that cannot be reached now is told when it connects.
            let _ = self.send(peer, message.clone());
        }
    }

    /// The peers that are connected.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        let peers = self.peers.read();
        let mut connected: Vec<_> = peers
            .iter()
            .filter(|(_, peer)| peer.connected)
            .map(|(node, _)| *node)
            .collect();
        connected.sort_unstable();
        connected
    }

    /// The peers that are connected and not about to stop.
    pub(crate) fn staying(&self) -> Vec<NodeId> {
        let peers = self.peers.read();
        let mut staying: Vec<_> = peers
            .iter()
            .filter(|(_, peer)| peer.connected && !peer.leaving)
            .map(|(node, _)| *node)
            .collect();
        staying.sort_unstable();
        staying
    }

    /// The nodes of the cluster that have an address, this one included.
    pub(crate) fn members(&self) -> Vec<Member> {
        let peers = self.peers.read();
        let own = Member {
            node: self.node,
            address: self.address.read().clone(),
        };
        let mut members: Vec<Member> = peers
            .iter()
            .map(|(node, peer)| Member {
                node: *node,
                address: peer.address.clone(),
            })
            .chain([own])
            .filter(|member| !member.address.is_empty())
            .collect();
        members.sort_by_key(|member| member.node);
        members
    }

    /// Learns of a node of the cluster.
    pub(crate) fn learn(&self, member: Member) {
        if member.node == self.node {
            return;
        }
        {
            let mut peers = self.peers.write();
            let peer = peers.entry(member.node).or_insert_with(Peer::unknown);
            peer.address.clone_from(&member.address);
        }
        if let Some(transport) = self.transport.read().as_ref() {
            transport.learn(member);
        }
        if let Some(keep) = self.keeper.read().as_ref() {
            keep(self.members());
        }
    }

    /// Lets members be kept for the next start, those that are known already first.
    pub(crate) fn remember_members(&self, keep: MemberKeeper) {
        keep(self.members());
        *self.keeper.write() = Some(keep);
    }

    /// Tells every connected node who is in the cluster.
    pub(crate) fn announce_members(&self) {
        if self.directory.node() == self.node {
            self.broadcast(&PeerMessage::Members(self.members()));
        }
    }

    /// Whether a peer is connected.
    pub(crate) fn is_connected(&self, node: NodeId) -> bool {
        self.peers.read().get(&node).is_some_and(|p| p.connected)
    }

    /// A new life's number, greater than all before it.
    pub(crate) fn incarnation(&self, epoch: Epoch) -> Incarnation {
        Incarnation {
            generation: epoch.generation,
            boot: self.boot,
            count: self.incarnations.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Whether the node is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Writes a line to the log.
    pub(crate) fn log(&self, agent: Option<&AgentId>, level: Level, text: &str) {
        let line = LogLine {
            number: 0,
            at: clock::now_ms(),
            level,
            agent: agent.cloned(),
            text: phoenix_host::escape(text).into(),
        };
        self.logs.lock().push(line);
    }

    /// Keeps a message that ended without being applied.
    pub(crate) fn bury(&self, envelope: &Arc<Envelope>, reason: &DeadReason, attempts: u32) {
        count(&self.counters.dead_letters);
        self.dead.lock().push(DeadLetter {
            id: LetterId {
                node: self.node,
                boot: self.boot,
                number: 0,
            },
            at: clock::now_ms(),
            reason: reason.code().into(),
            detail: reason.detail().into(),
            attempts,
            envelope: envelope.clone(),
        });
    }
}
