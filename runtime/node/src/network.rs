//! How a node reaches others: over QUIC, within the process, or not at all.

use std::sync::Arc;

use phoenix_core::{NodeId, TransportEvents};
use phoenix_net::memory::{MemoryNetwork, MemoryTransport};

use crate::config::NodeConfig;
use crate::shared::Shared;
use crate::start::{StartError, attach};

/// Which network a node is on.
pub enum Network {
    /// None: it is a cluster of its own.
    Alone,
    /// QUIC, as the configuration says.
    Quic,
    /// A network within the process, as this node.
    Memory(Arc<MemoryNetwork>, NodeId),
}

/// A node's place on its network, before it is connected.
pub(crate) enum Place {
    Alone,
    Memory(Arc<MemoryNetwork>, NodeId),
}

/// A connected transport, to be closed.
pub(crate) enum Wire {
    Memory(Arc<MemoryTransport>),
}

impl Network {
    /// The network a configuration asks for.
    pub(crate) fn of(config: &NodeConfig) -> Self {
        match config.listen {
            Some(_) => Self::Quic,
            None => Self::Alone,
        }
    }

    /// Finds the node's number, joining the cluster if it must.
    pub(crate) fn place(self, _config: &NodeConfig) -> Result<Place, StartError> {
        Ok(match self {
            Self::Alone => Place::Alone,
            Self::Memory(network, node) => Place::Memory(network, node),
            Self::Quic => return Err(StartError::Listen("no QUIC yet".to_owned())),
        })
    }
}

impl Place {
    /// The node's number.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Self::Alone => NodeId(1),
            Self::Memory(_, node) => *node,
        }
    }

    /// Connects.
    pub(crate) fn connect(
        self,
        boot: u64,
        events: Arc<dyn TransportEvents>,
        shared: &Arc<Shared>,
    ) -> Result<Option<Wire>, StartError> {
        match self {
            Self::Alone => Ok(None),
            Self::Memory(network, node) => {
                let transport = network.join(node, boot, events);
                let address = transport.member().address;
                attach(shared, transport.clone(), address);
                Ok(Some(Wire::Memory(transport)))
            }
        }
    }
}

impl Wire {
    /// Leaves the network.
    pub(crate) fn close(self) {
        match self {
            Self::Memory(transport) => transport.close(),
        }
    }
}
