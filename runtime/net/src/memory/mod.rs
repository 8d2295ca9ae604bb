//! Nodes joined within one process, for tests: every fault on demand.
//!
//! A network delivers either by itself, with a thread for each direction of
//! each pair ([`MemoryNetwork::threaded`]), or only when told to, one batch at a
//! time under a virtual clock ([`MemoryNetwork::stepped`]). What is random
//! (which message is dropped, how long one takes, which path goes next) comes
//! from the seed: a stepped network with the same seed and the same calls
//! behaves the same.

mod network;
mod pair;
mod path;
mod random;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use phoenix_core::{
    Member, NodeId, PeerMessage, PeerPath, SendRefused, Transport, TransportEvents,
};

use network::Network;

/// What goes wrong between a pair of nodes. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// One message in so many is lost, and the connection stays. The port
    /// allows it; QUIC does not do it.
    pub drop_one_in: Option<u32>,
    /// One message in so many breaks the connection, and all that is under way is lost.
    pub break_one_in: Option<u32>,
    /// One message in so many arrives a second time, `late_by` at most after the first.
    /// The port allows neither this nor the next: it is for those who send again and
    /// know again, and only messages to agents that belong to a stream, and verdicts,
    /// are treated so.
    pub repeat_one_in: Option<u32>,
    /// One message in so many is late, by `late_by` at most, and overtaken by those
    /// behind it.
    pub late_one_in: Option<u32>,
    /// How late a message that is repeated or overtaken may be.
    pub late_by: Duration,
    /// How long a message takes at least.
    pub delay_least: Duration,
    /// How long a message takes at most.
    pub delay_most: Duration,
}

/// What a network has done to messages since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Messages lost while the connection stayed, those that a filter took included.
    pub lost: u64,
    /// Messages that were to arrive twice.
    pub repeated: u64,
    /// Messages that arrive behind others that were sent after them.
    pub overtaken: u64,
    /// Connections that broke, however that came.
    pub broken: u64,
}

/// Decides, message by message, what is lost: it is told from whom to whom a
/// message goes, as it is sent, and says whether it arrives. It must not call the
/// network.
pub type Filter = Box<dyn FnMut(NodeId, NodeId, &PeerMessage) -> bool + Send>;

/// How much may wait on each direction of each pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Messages. Default 65,536.
    pub messages: usize,
    /// Bytes. Default 64 MiB.
    pub bytes: usize,
    /// Bytes of one message. Default 16 MiB.
    pub message_bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            messages: 65_536,
            bytes: 64 << 20,
            message_bytes: 16 << 20,
        }
    }
}

struct Shared {
    network: Mutex<Network>,
}

/// A network within the process.
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

impl MemoryNetwork {
    /// A network that delivers by itself.
    pub fn threaded(seed: u64, limits: MemoryLimits) -> Self {
        Self::new(seed, limits, true)
    }

    /// A network that delivers when [`MemoryNetwork::step`] is called.
    pub fn stepped(seed: u64, limits: MemoryLimits) -> Self {
        Self::new(seed, limits, false)
    }

    fn new(seed: u64, limits: MemoryLimits, threaded: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                network: Mutex::new(Network::new(seed, limits, threaded)),
            }),
        }
    }

    /// [`MemoryNetwork::open`] and [`MemoryTransport::start`] in one.
    pub fn join(
        &self,
        node: NodeId,
        boot: u64,
        events: Arc<dyn TransportEvents>,
    ) -> Arc<MemoryTransport> {
        let transport = self.open(node, boot, events);
        transport.start();
        transport
    }

    /// Adds a node, as one that has started `boot` times. If it is there
    /// already, that one is killed first. Nobody is connected, and nothing told
    /// to `events`, before [`MemoryTransport::start`].
    pub fn open(
        &self,
        node: NodeId,
        boot: u64,
        events: Arc<dyn TransportEvents>,
    ) -> Arc<MemoryTransport> {
        let life = self.change(|network| network.join(node, boot, events));
        Arc::new(MemoryTransport {
            node,
            life,
            shared: Arc::clone(&self.shared),
        })
    }

    /// The node is gone at once: nothing more leaves it, nothing more reaches it.
    pub fn kill(&self, node: NodeId) {
        self.change(|network| network.kill(node));
    }

    /// Breaks the connection between the two; they connect again.
    pub fn break_connection(&self, one: NodeId, other: NodeId) {
        self.change(|network| network.break_connection(one, other));
    }

    /// Breaks the connection between the two and keeps them apart.
    pub fn partition(&self, one: NodeId, other: NodeId) {
        self.change(|network| network.partition(one, other));
    }

    /// Lets the two connect again.
    pub fn heal(&self, one: NodeId, other: NodeId) {
        self.change(|network| network.heal(one, other));
    }

    /// Sets what goes wrong between the two.
    pub fn set_faults(&self, one: NodeId, other: NodeId, faults: Faults) {
        self.change(|network| network.set_faults(one, other, faults));
    }

    /// Lets `filter` decide which messages are lost, in place of the filter before.
    pub fn set_filter(&self, filter: Option<Filter>) {
        self.change(|network| network.set_filter(filter));
    }

    /// What it has done to messages so far.
    pub fn harm(&self) -> Harm {
        self.shared.network.lock().harm()
    }

    /// Delivers the next batch, the virtual clock going on to it if none is due.
    /// Returns whether there was one. For stepped networks only.
    pub fn step(&self) -> bool {
        let due = self.shared.network.lock().step();
        let Some((from, events, arrived)) = due else {
            return false;
        };
        arrived.tell(from, &*events);
        true
    }

    /// Delivers until nothing is left.
    pub fn run(&self) {
        while self.step() {}
    }

    fn change<T>(&self, change: impl FnOnce(&mut Network) -> T) -> T {
        self.shared.change(change)
    }
}

impl Drop for MemoryNetwork {
    fn drop(&mut self) {
        self.change(Network::end);
    }
}

impl Shared {
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Network) -> T) -> T {
        let mut network = self.network.lock();
        let result = change(&mut network);
        let started = network.take_started();
        drop(network);
        for path in started {
            threads::spawn(self, path);
        }
        result
    }
}

/// A node's end of a [`MemoryNetwork`].
pub struct MemoryTransport {
    node: NodeId,
    life: u64,
    shared: Arc<Shared>,
}

impl MemoryTransport {
    /// What others learn to reach this node.
    pub fn member(&self) -> Member {
        Member {
            node: self.node,
            address: format!("memory:{}", self.node.0),
        }
    }

    /// Connects to the nodes that know this one, or that it knows.
    pub fn start(&self) {
        self.shared
            .change(|network| network.start(self.node, self.life));
    }

    /// Leaves the network. What was sent before still arrives; all connections end.
    pub fn close(&self) {
        self.shared
            .change(|network| network.close(self.node, self.life));
    }
}

impl Transport for MemoryTransport {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        let mut network = self.shared.network.lock();
        network.send(self.node, self.life, to, message)
    }

    fn learn(&self, member: Member) {
        self.shared
            .change(|network| network.learn(self.node, self.life, member.node));
    }

    fn paths(&self) -> Vec<PeerPath> {
        self.shared.network.lock().paths(self.node, self.life)
    }
}
