//! The state of a network: nodes, pairs, and what is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Condvar;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{NodeId, PeerMessage, PeerPath, Protocol, SendRefused, TransportEvents};

use super::pair::{Fate, Pair, Strays};
use super::path::{Arrived, Path};
use super::random::Random;
use super::{Faults, Filter, Harm, MemoryLimits};

/// What a small message counts for, bytes.
const SMALL: usize = 256;

struct Endpoint {
    life: u64,
    boot: u64,
    events: Arc<dyn TransportEvents>,
    /// Still sends and accepts.
    open: bool,
    knows: BTreeSet<NodeId>,
    /// The highest boot it has seen of each node.
    seen: BTreeMap<NodeId, u64>,
    inbound: BTreeMap<NodeId, Path>,
}

/// A path that needs a thread: to whom, in which of its lives, from whom.
#[derive(Clone, Debug)]
pub(super) struct PathKey {
    pub(super) to: NodeId,
    pub(super) life: u64,
    pub(super) from: NodeId,
    /// Notified when there is something to do.
    pub(super) wake: Arc<Condvar>,
}

/// What a path's thread does next.
pub(super) enum Next {
    Tell(Arc<dyn TransportEvents>, Arrived),
    /// Look again: paths were added meanwhile.
    Again,
    WaitUntil(Instant),
    Wait,
    End,
}

pub(super) struct Network {
    seed: u64,
    limits: MemoryLimits,
    threaded: bool,
    ended: bool,
    lives: u64,
    began: Instant,
    /// The virtual clock of a stepped network.
    virtual_now: Duration,
    random: Random,
    endpoints: BTreeMap<NodeId, Endpoint>,
    pairs: BTreeMap<(NodeId, NodeId), Pair>,
    filter: Option<Filter>,
    harm: Harm,
    started: Vec<PathKey>,
}

impl Network {
    pub(super) fn new(seed: u64, limits: MemoryLimits, threaded: bool) -> Self {
        Self {
            seed,
            limits,
            threaded,
            ended: false,
            lives: 0,
            began: Instant::now(),
            virtual_now: Duration::ZERO,
            random: Random::new(seed),
            endpoints: BTreeMap::new(),
            pairs: BTreeMap::new(),
            filter: None,
            harm: Harm::default(),
            started: Vec::new(),
        }
    }

    fn now(&self) -> Duration {
        if self.threaded {
            self.began.elapsed()
        } else {
            self.virtual_now
        }
    }

    fn pair(&mut self, one: NodeId, other: NodeId) -> &mut Pair {
        let (low, high) = (one.min(other), one.max(other));
        let seed = self.seed;
        self.pairs
            .entry((low, high))
            .or_insert_with(|| Pair::new(Random::of_pair(seed, low, high)))
    }

    pub(super) fn join(
        &mut self,
        node: NodeId,
        boot: u64,
        events: Arc<dyn TransportEvents>,
    ) -> u64 {
        self.kill(node);
        self.lives += 1;
        let endpoint = Endpoint {
            life: self.lives,
            boot,
            events,
            open: false,
            knows: BTreeSet::new(),
            seen: BTreeMap::new(),
            inbound: BTreeMap::new(),
        };
        self.endpoints.insert(node, endpoint);
        self.lives
    }

    pub(super) fn start(&mut self, node: NodeId, life: u64) {
        if let Some(endpoint) = self.endpoints.get_mut(&node)
            && endpoint.life == life
        {
            endpoint.open = true;
            self.connect_all();
        }
    }

    pub(super) fn learn(&mut self, node: NodeId, life: u64, other: NodeId) {
        if let Some(endpoint) = self.endpoints.get_mut(&node)
            && endpoint.life == life
            && node != other
        {
            endpoint.knows.insert(other);
            self.connect(node, other);
        }
    }

    fn connect_all(&mut self) {
        let nodes: Vec<NodeId> = self.endpoints.keys().copied().collect();
        for (index, one) in nodes.iter().enumerate() {
            for other in nodes.iter().skip(index + 1) {
                self.connect(*one, *other);
            }
        }
    }

    /// Connects the two if they can and should be.
    fn connect(&mut self, one: NodeId, other: NodeId) {
        let now = self.now();
        let pair = self.pair(one, other);
        if pair.connected || pair.partitioned || pair.not_before > now {
            return;
        }
        let boots = match (self.endpoints.get(&one), self.endpoints.get(&other)) {
            (Some(a), Some(b)) if a.open && b.open => {
                let known = a.knows.contains(&other) || b.knows.contains(&one);
                let stale = a.seen.get(&other).is_some_and(|seen| b.boot < *seen)
                    || b.seen.get(&one).is_some_and(|seen| a.boot < *seen);
                (known && !stale).then_some((a.boot, b.boot))
            }
            _ => None,
        };
        let Some((boot_one, boot_other)) = boots else {
            return;
        };
        self.pair(one, other).connected = true;
        self.arrive(one, other, boot_other, now);
        self.arrive(other, one, boot_one, now);
    }

    /// Tells `to` that it has a connection to `from`.
    fn arrive(&mut self, to: NodeId, from: NodeId, boot: u64, now: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(&to) else {
            return;
        };
        endpoint.seen.insert(from, boot);
        let life = endpoint.life;
        let path = endpoint.inbound.entry(from).or_insert_with(|| {
            let path = Path::default();
            let wake = Arc::clone(&path.wake);
            self.started.push(PathKey {
                to,
                life,
                from,
                wake,
            });
            path
        });
        path.connected(now, boot);
    }

    pub(super) fn send(
        &mut self,
        from: NodeId,
        life: u64,
        to: NodeId,
        message: PeerMessage,
    ) -> Result<(), SendRefused> {
        let Some(sender) = self
            .endpoints
            .get(&from)
            .filter(|sender| sender.life == life && sender.open)
        else {
            return Err(SendRefused::NotConnected);
        };
        if !sender.knows.contains(&to) && !sender.inbound.contains_key(&to) {
            return Err(SendRefused::UnknownPeer);
        }
        let (now, limits) = (self.now(), self.limits);
        if !self.pair(from, to).connected {
            return Err(SendRefused::NotConnected);
        }
        let (bytes, largest) = sizes(&message);
        if largest > limits.message_bytes || bytes > limits.bytes {
            return Err(SendRefused::TooLarge);
        }
        let path = self.path(to, from).ok_or(SendRefused::NotConnected)?;
        if path.messages >= limits.messages || path.bytes + bytes > limits.bytes {
            return Err(SendRefused::Full);
        }
        if let Some(filter) = &mut self.filter
            && !filter(from, to, &message)
        {
            self.harm.lost += 1;
            return Ok(());
        }
        match self.pair(from, to).fate(now) {
            Fate::Lost => self.harm.lost += 1,
            Fate::Breaks => self.break_connection(from, to),
            Fate::Arrives(due) => self.dispatch(from, to, due, message, bytes),
        }
        Ok(())
    }

    /// Puts a message on its path, and once more if it is to be repeated.
    fn dispatch(
        &mut self,
        from: NodeId,
        to: NodeId,
        due: Duration,
        message: PeerMessage,
        bytes: usize,
    ) {
        let strays = may_stray(&message).then(|| self.pair(from, to).strays());
        let Strays { late, again } = strays.unwrap_or_default();
        let Some(path) = self.path(to, from) else {
            return;
        };
        if let Some(by) = again {
            path.late_message(due + by, message.clone(), bytes);
        }
        match late {
            Some(by) => path.late_message(due + by, message, bytes),
            None => path.message(due, message, bytes),
        }
        self.harm.repeated += u64::from(again.is_some());
    }

    pub(super) fn harm(&self) -> Harm {
        let paths = self.endpoints.values().flat_map(|it| it.inbound.values());
        Harm {
            overtaken: self.harm.overtaken + paths.map(|path| path.overtaken).sum::<u64>(),
            ..self.harm
        }
    }

    fn path(&mut self, to: NodeId, from: NodeId) -> Option<&mut Path> {
        self.endpoints.get_mut(&to)?.inbound.get_mut(&from)
    }

    pub(super) fn break_connection(&mut self, one: NodeId, other: NodeId) {
        let now = self.now();
        let pair = self.pair(one, other);
        if !pair.connected {
            return;
        }
        pair.broke(now);
        self.harm.broken += 1;
        for (to, from) in [(one, other), (other, one)] {
            if let Some(path) = self.path(to, from) {
                path.broken(now);
            }
        }
    }

    pub(super) fn partition(&mut self, one: NodeId, other: NodeId) {
        self.break_connection(one, other);
        self.pair(one, other).partitioned = true;
    }

    pub(super) fn heal(&mut self, one: NodeId, other: NodeId) {
        let pair = self.pair(one, other);
        pair.partitioned = false;
        pair.not_before = Duration::ZERO;
        self.connect(one, other);
    }

    pub(super) fn set_faults(&mut self, one: NodeId, other: NodeId, faults: Faults) {
        self.pair(one, other).faults = faults;
    }

    pub(super) fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
    }

    fn peers(&self, node: NodeId) -> Vec<NodeId> {
        self.pairs
            .iter()
            .filter(|(_, pair)| pair.connected)
            .filter_map(|((low, high), _)| match node {
                _ if node == *low => Some(*high),
                _ if node == *high => Some(*low),
                _ => None,
            })
            .collect()
    }

    /// How `node` reaches the others that it knows.
    pub(super) fn paths(&self, node: NodeId, life: u64) -> Vec<PeerPath> {
        let endpoint = self.endpoints.get(&node);
        let Some(endpoint) = endpoint.filter(|endpoint| endpoint.life == life) else {
            return Vec::new();
        };
        let connected = self.peers(node);
        let known: BTreeSet<NodeId> = endpoint
            .inbound
            .keys()
            .chain(&endpoint.knows)
            .copied()
            .collect();
        let path = |peer: NodeId| {
            let protocol = connected.contains(&peer).then_some(Protocol::Process);
            PeerPath {
                node: peer,
                protocol,
                bulk: protocol,
                datagrams: false,
                round_trip: None,
                reason: match protocol {
                    Some(_) => "process: both nodes are in it".to_owned(),
                    None => "not connected".to_owned(),
                },
            }
        };
        known.into_iter().map(path).collect()
    }

    pub(super) fn kill(&mut self, node: NodeId) {
        for peer in self.peers(node) {
            self.break_connection(node, peer);
            self.pair(node, peer).not_before = Duration::ZERO;
        }
        if let Some(endpoint) = self.endpoints.remove(&node) {
            for path in endpoint.inbound.values() {
                self.harm.overtaken += path.overtaken;
                path.wake.notify_all();
            }
        }
    }

    pub(super) fn close(&mut self, node: NodeId, life: u64) {
        if self
            .endpoints
            .get(&node)
            .is_none_or(|endpoint| endpoint.life != life)
        {
            return;
        }
        let now = self.now();
        for peer in self.peers(node) {
            self.pair(node, peer).connected = false;
            if let Some(path) = self.path(peer, node) {
                path.closed(now);
            }
            if let Some(path) = self.path(node, peer) {
                path.broken(now);
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(&node) {
            endpoint.open = false;
        }
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        for path in self
            .endpoints
            .values()
            .flat_map(|endpoint| endpoint.inbound.values())
        {
            path.wake.notify_all();
        }
    }

    pub(super) fn take_started(&mut self) -> Vec<PathKey> {
        let started = std::mem::take(&mut self.started);
        if self.threaded { started } else { Vec::new() }
    }

    /// What the thread of a path does next.
    pub(super) fn next(&mut self, key: &PathKey) -> Next {
        if self.ended {
            return Next::End;
        }
        self.connect(key.to, key.from);
        let now = self.now();
        let again = self.reconnect_at(key.to, key.from);
        let Some(endpoint) = self
            .endpoints
            .get_mut(&key.to)
            .filter(|endpoint| endpoint.life == key.life)
        else {
            return Next::End;
        };
        let Some(path) = endpoint.inbound.get_mut(&key.from) else {
            return Next::End;
        };
        if let Some(arrived) = path.take(now) {
            return Next::Tell(Arc::clone(&endpoint.events), arrived);
        }
        if !self.started.is_empty() {
            return Next::Again;
        }
        match path.due().into_iter().chain(again).min() {
            Some(due) => Next::WaitUntil(self.began + due),
            None => Next::Wait,
        }
    }

    /// When a broken pair is to be connected again.
    fn reconnect_at(&mut self, one: NodeId, other: NodeId) -> Option<Duration> {
        let now = self.now();
        let pair = self.pair(one, other);
        (!pair.connected && !pair.partitioned && pair.not_before > now).then_some(pair.not_before)
    }

    /// Takes the next batch of a stepped network.
    pub(super) fn step(&mut self) -> Option<(NodeId, Arc<dyn TransportEvents>, Arrived)> {
        self.connect_all();
        let mut due: Vec<(Duration, NodeId, NodeId)> = Vec::new();
        for (to, endpoint) in &self.endpoints {
            for (from, path) in &endpoint.inbound {
                due.extend(path.due().map(|at| (at, *to, *from)));
            }
        }
        let first = due.iter().map(|(at, ..)| *at).min();
        let pairs: Vec<(NodeId, NodeId)> = self.pairs.keys().copied().collect();
        let again = pairs
            .into_iter()
            .filter_map(|(one, other)| self.reconnect_at(one, other))
            .min();
        if let Some(again) = again
            && first.is_none_or(|first| again < first)
        {
            self.virtual_now = self.virtual_now.max(again);
            // Those who know each other connect now; for others the wait is over all the same.
            return self.step();
        }
        self.virtual_now = self.virtual_now.max(first?);
        due.retain(|(at, ..)| *at <= self.virtual_now);
        let chosen = self.random.below(due.len() as u64);
        let (_, to, from) = *due.get(usize::try_from(chosen).unwrap_or(0))?;
        let now = self.virtual_now;
        let endpoint = self.endpoints.get_mut(&to)?;
        let arrived = endpoint.inbound.get_mut(&from)?.take(now)?;
        Some((from, Arc::clone(&endpoint.events), arrived))
    }
}

/// Whether a message may be repeated and overtaken though the port forbids both: what
/// it says is known again by its number in a stream.
fn may_stray(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Deliver(envelopes) | PeerMessage::Forward { envelopes, .. } => {
            envelopes.iter().all(|envelope| envelope.sequence.is_some())
        }
        PeerMessage::Acknowledge(_) | PeerMessage::ForwardVerdicts { .. } => true,
        _ => false,
    }
}

/// About how many bytes a message takes, and its largest part that travels in one piece.
fn sizes(message: &PeerMessage) -> (usize, usize) {
    match message {
        PeerMessage::Deliver(envelopes) | PeerMessage::Forward { envelopes, .. } => {
            let sizes = envelopes.iter().map(|envelope| envelope.size());
            (sizes.clone().sum(), sizes.max().unwrap_or(0))
        }
        PeerMessage::Acknowledge(list)
        | PeerMessage::ForwardVerdicts {
            acknowledgements: list,
            ..
        } => (SMALL.saturating_mul(list.len()), SMALL),
        PeerMessage::Migration(MigrationMessage::Ship { bytes, .. })
        | PeerMessage::ComponentPart { bytes, .. } => {
            let size = SMALL + bytes.len();
            (size, size)
        }
        _ => (SMALL, SMALL),
    }
}
