//! The network within a process.

use std::sync::Arc;

use phoenix_core::{Member, NodeId, PeerMessage, SendRefused, Transport};
use phoenix_net::memory::MemoryLimits;
use phoenix_net::{MemoryNetwork, MemoryTransport};

use crate::recorder::Recorder;
use crate::suite::{Node, World, transport_suite};

struct Memory(MemoryNetwork);

struct MemoryNode(Arc<MemoryTransport>);

impl World for Memory {
    fn start(&self, node: NodeId, boot: u64, events: Arc<Recorder>) -> Arc<dyn Node> {
        Arc::new(MemoryNode(self.0.join(node, boot, events)))
    }
}

impl Transport for MemoryNode {
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused> {
        self.0.send(to, message)
    }

    fn learn(&self, member: Member) {
        self.0.learn(member);
    }
}

impl Node for MemoryNode {
    fn member(&self) -> Member {
        self.0.member()
    }

    fn close(&self) {
        self.0.close();
    }
}

fn threaded() -> Memory {
    Memory(MemoryNetwork::threaded(1, MemoryLimits::default()))
}

transport_suite!(threaded());
