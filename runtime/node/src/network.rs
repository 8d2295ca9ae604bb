//! How a node reaches others: over QUIC, within the process, or not at all.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use phoenix_core::{NodeId, TransportEvents};
use phoenix_net::formats::Preferences;
use phoenix_net::memory::{MemoryNetwork, MemoryTransport};
use phoenix_net::{Authority, BindError, Identity, JoinToken, PeerTransport, TransportConfig};

use crate::config::NodeConfig;
use crate::listen;
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
    Quic(Box<QuicPlace>),
}

/// What a QUIC transport is bound with.
pub(crate) struct QuicPlace {
    /// Where to listen: the first of these that is free.
    listen: Vec<SocketAddr>,
    /// The data directory, if where it listens is to be kept there.
    keep_port: Option<PathBuf>,
    advertise: Option<String>,
    identity: Identity,
    authority: Option<Arc<Authority>>,
    /// How it writes to other nodes, and how to those on its machine.
    preferences: [Preferences; 2],
}

/// A connected transport, to be closed.
pub(crate) enum Wire {
    Memory(Arc<MemoryTransport>),
    Quic(Arc<PeerTransport>),
}

impl Network {
    /// The network a configuration asks for.
    pub(crate) fn of(config: &NodeConfig) -> Self {
        match config.listen {
            Some(_) => Self::Quic,
            None => Self::Alone,
        }
    }

    /// Finds the node's number, creating or joining a cluster if it must.
    pub(crate) fn place(self, config: &NodeConfig) -> Result<Place, StartError> {
        match self {
            Self::Alone => Ok(Place::Alone),
            Self::Memory(network, node) => Ok(Place::Memory(network, node)),
            Self::Quic => Ok(Place::Quic(Box::new(QuicPlace::find(config)?))),
        }
    }
}

impl QuicPlace {
    fn find(config: &NodeConfig) -> Result<Self, StartError> {
        let listen = config.listen.as_deref().unwrap_or("127.0.0.1:0");
        let address = listen
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .ok_or_else(|| {
                let why = format!("`{listen}` is no host:port, as in 127.0.0.1:7401");
                StartError::Listen(why)
            })?;
        let failed = |error: &dyn std::fmt::Display| StartError::Join(error.to_string());
        let known = Identity::open(&config.data_dir).map_err(|error| failed(&error))?;
        let mut authority = None;
        let (identity, toward) = match (known, &config.join) {
            // A token that was used before may still stand in the configuration.
            (Some(identity), _) => {
                let toward = another(&identity);
                (identity, toward)
            }
            (None, Some(token)) => {
                let token = JoinToken::parse(token).map_err(|error| failed(&error))?;
                let reach = config
                    .advertise
                    .as_deref()
                    .unwrap_or(match config.listen_default {
                        // Not decided yet: the first connection tells it.
                        true => "127.0.0.1:0",
                        false => listen,
                    });
                let identity = phoenix_net::join(&token, &config.data_dir, reach)
                    .map_err(|error| failed(&error))?;
                (identity, Some(token.address))
            }
            (None, None) => {
                let created =
                    Authority::create(&config.data_dir).map_err(|error| failed(&error))?;
                authority = Some(created);
                let identity = Identity::open(&config.data_dir)
                    .map_err(|error| failed(&error))?
                    .ok_or_else(|| failed(&"the new cluster's first node has no identity"))?;
                (identity, None)
            }
        };
        if authority.is_none() {
            authority = Authority::open(&config.data_dir).map_err(|error| failed(&error))?;
        }
        let listen = if config.listen_default {
            // The first node is found at its default until it is told otherwise.
            let toward = toward.filter(|_| authority.is_none());
            listen::candidates(address, &config.data_dir, toward.as_deref())
        } else {
            vec![address]
        };
        Ok(Self {
            listen,
            keep_port: config.listen_default.then(|| config.data_dir.clone()),
            advertise: config.advertise.clone(),
            identity,
            authority: authority.map(Arc::new),
            preferences: config.preferences(),
        })
    }

    fn connect(
        self,
        boot: u64,
        events: Arc<dyn TransportEvents>,
        shared: &Arc<Shared>,
    ) -> Result<Wire, StartError> {
        let transport = self.open(boot, &events, shared)?;
        let own = transport.member().address;
        attach(shared, transport.clone(), own.clone());
        for member in self.identity.members() {
            shared.learn(member);
        }
        let identity = self.identity;
        shared.remember_members(Box::new(move |members| {
            if let Err(error) = identity.set_members(members) {
                tracing::warn!(%error, "the cluster's members could not be kept for the next start");
            }
        }));
        if let Some(authority) = self.authority {
            *shared.tokens.write() = Some(Box::new(move |valid_for| {
                authority
                    .issue_token(&own, Duration::from_millis(valid_for.0))
                    .map(|token| token.to_string())
                    .map_err(|error| error.to_string())
            }));
        }
        // Only now: what is told to the node may make it send.
        transport.start();
        Ok(Wire::Quic(transport))
    }

    /// Listens on the first address that is free.
    fn open(
        &self,
        boot: u64,
        events: &Arc<dyn TransportEvents>,
        shared: &Arc<Shared>,
    ) -> Result<Arc<PeerTransport>, StartError> {
        let mut candidates = self.listen.iter().peekable();
        while let Some(address) = candidates.next() {
            let mut config = TransportConfig::new(*address, self.identity.clone(), boot);
            config.advertise.clone_from(&self.advertise);
            config.authority = self.authority.clone();
            let [preferences, near] = self.preferences.clone();
            (config.preferences, config.near) = (preferences, near);
            let learned = Arc::downgrade(shared);
            config.on_member = Some(Arc::new(move |member| {
                if let Some(shared) = learned.upgrade() {
                    shared.learn(member);
                    shared.announce_members();
                }
            }));
            match PeerTransport::open(config, events.clone()) {
                Ok(transport) => {
                    if let Some(data_dir) = &self.keep_port {
                        listen::remember(data_dir, transport.local_address().port());
                    }
                    return Ok(transport);
                }
                Err(BindError::Listen { source, .. })
                    if source.kind() == ErrorKind::AddrInUse && candidates.peek().is_some() => {}
                Err(error) => return Err(StartError::Listen(error.to_string())),
            }
        }
        Err(StartError::Listen("no address is left to try".to_owned()))
    }
}

/// Where another node of the cluster listens.
fn another(identity: &Identity) -> Option<String> {
    let mut others = identity.members();
    others.retain(|member| member.node != identity.node());
    others.sort_unstable_by_key(|member| member.node);
    others.into_iter().map(|member| member.address).next()
}

impl Place {
    /// The node's number.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Self::Alone => NodeId(1),
            Self::Memory(_, node) => *node,
            Self::Quic(place) => place.identity.node(),
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
                let transport = network.open(node, boot, events);
                let address = transport.member().address;
                attach(shared, transport.clone(), address);
                transport.start();
                Ok(Some(Wire::Memory(transport)))
            }
            Self::Quic(place) => place.connect(boot, events, shared).map(Some),
        }
    }
}

impl Wire {
    /// Leaves the network.
    pub(crate) fn close(self) {
        match self {
            Self::Memory(transport) => transport.close(),
            Self::Quic(transport) => transport.close(),
        }
    }
}
