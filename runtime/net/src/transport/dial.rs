//! Connecting to a peer.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use phoenix_core::Protocol;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::attempts::{Failed, first_that_works};
use super::hello::{Close, NoHello, Wish};
use super::introduce;
use super::link::{End, Intro, Link};
use super::path::in_words;
use super::peer::{Established, Peer};
use crate::http2::{self, Http2Error};
use crate::identity::node_name;
use crate::quic::QuicLink;

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the address cannot be resolved: {0}")]
    Resolve(std::io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Http2(#[from] Http2Error),
    #[error("{0}")]
    Connection(End),
    #[error("the other node refuses: {0}")]
    RefusedThere(String),
    #[error("refused: {0}")]
    RefusedHere(Close),
    #[error("no answer in time")]
    Timeout,
    #[error("this node does not speak {0}")]
    Off(Protocol),
    #[error("the transport is closing")]
    Closing,
    #[error("quic: {quic}; http2: {http2}")]
    Both {
        quic: Box<DialError>,
        http2: Box<DialError>,
    },
}

impl From<End> for DialError {
    fn from(end: End) -> Self {
        match end {
            End::There(why) => Self::RefusedThere(why),
            End::Silent => Self::Timeout,
            end => Self::Connection(end),
        }
    }
}

impl DialError {
    /// Whether the network may be the reason, and another protocol the way.
    fn may_be_the_network(&self) -> bool {
        match self {
            Self::Resolve(_)
            | Self::NoAddress
            | Self::RefusedThere(_)
            | Self::RefusedHere(_)
            | Self::Closing
            | Self::Connection(End::Refused(_)) => false,
            Self::Connect(_)
            | Self::Http2(_)
            | Self::Connection(_)
            | Self::Timeout
            | Self::Off(_)
            | Self::Both { .. } => true,
        }
    }
}

/// Connects to `peer` at `address`, by whatever works: by the better protocol,
/// and after its head start by the other one too.
pub(super) async fn dial_any(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: &str,
) -> Result<Established, DialError> {
    let dial = |protocol| dial(shared, peer, address, protocol, Wish::Fresh);
    let head_start = shared.limits.quic_head_start;
    let (first, second) = match (shared.protocols.quic, shared.protocols.http2) {
        (_, false) => return dial(Protocol::Quic).await,
        (false, true) => return dial(Protocol::Http2).await,
        (true, true) if peer.quic().is_distrusted(Instant::now()) => {
            (Protocol::Http2, Protocol::Quic)
        }
        (true, true) => (Protocol::Quic, Protocol::Http2),
    };
    let mut one = pin!(dial(first));
    let early = tokio::select! {
        tried = &mut one => Some(tried),
        () = sleep(head_start) => None,
    };
    let one_failed = match early {
        Some(Err(error)) if error.may_be_the_network() => Some(error),
        Some(tried) => return tried,
        None => None,
    };
    if first == Protocol::Quic && one_failed.is_none() {
        let why = format!("no QUIC handshake within {}", in_words(head_start));
        peer.quic().failed(Instant::now(), why);
    }
    let mut other = pin!(dial(second));
    let both = |one: DialError, other: DialError| {
        let (quic, http2) = match first {
            Protocol::Quic => (one, other),
            _ => (other, one),
        };
        let (quic, http2) = (Box::new(quic), Box::new(http2));
        DialError::Both { quic, http2 }
    };
    if let Some(error) = one_failed {
        return other.await.map_err(|last| both(error, last));
    }
    tokio::select! {
        tried = &mut one => match tried {
            Err(error) if error.may_be_the_network() => other.await.map_err(|last| both(error, last)),
            tried => tried,
        },
        tried = &mut other => match tried {
            Err(error) if error.may_be_the_network() => one.await.map_err(|last| both(last, error)),
            tried => tried,
        },
    }
}

/// Connects to `peer` at `address` over `protocol` and says hello.
pub(super) async fn dial(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: &str,
    protocol: Protocol,
    wish: Wish,
) -> Result<Established, DialError> {
    let limit = shared.limits.handshake_timeout;
    let deadline = Instant::now() + limit;
    let resolved = async {
        let addresses = timeout(limit, tokio::net::lookup_host(address))
            .await
            .map_err(|_| DialError::Timeout)?
            .map_err(DialError::Resolve)?;
        let attempt = |address| connect(shared, peer, address, protocol, wish);
        first_that_works(addresses, deadline, attempt)
            .await
            .map_err(|failed| match failed {
                Failed::NoAddress => DialError::NoAddress,
                Failed::Attempt(error) => error,
                Failed::Silent => DialError::Timeout,
            })
    };
    let dialled = resolved.await;
    match &dialled {
        Err(error) if protocol == Protocol::Quic && error.may_be_the_network() => {
            let why = match error {
                DialError::Timeout => format!("no QUIC handshake within {}", in_words(limit)),
                error => format!("QUIC: {error}"),
            };
            peer.quic().failed(Instant::now(), why);
        }
        _ => {}
    }
    dialled
}

async fn connect(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: SocketAddr,
    protocol: Protocol,
    wish: Wish,
) -> Result<Established, DialError> {
    let (link, intro) = match protocol {
        Protocol::Http2 => connect_http2(shared, peer, address).await?,
        Protocol::Quic | Protocol::Process => connect_quic(shared, peer, address).await?,
    };
    match introduce::dialled(shared, peer, &link, intro, wish).await {
        Ok(established) => Ok(established),
        Err(NoHello::Refused(close)) => {
            shared.refuse(&link, &close);
            Err(DialError::RefusedHere(close))
        }
        Err(NoHello::Lost) => Err(link.ended().await.into()),
    }
}

async fn connect_quic(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: SocketAddr,
) -> Result<(Link, Intro), DialError> {
    let quic = shared.quic.as_ref();
    let quic = quic.ok_or(DialError::Off(Protocol::Quic))?;
    // TLS checks that the certificate is that of the node we mean to reach.
    let name = node_name(peer.node, shared.identity.cluster());
    let config = quic.configs.client(address);
    let connecting = quic.endpoint.connect_with(config, address, &name)?;
    let connection = connecting.await.map_err(End::from)?;
    let (send, receive) = connection.open_bi().await.map_err(End::from)?;
    Ok((
        Link::Quic(QuicLink::new(connection)),
        Intro::Quic(send, receive),
    ))
}

async fn connect_http2(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: SocketAddr,
) -> Result<(Link, Intro), DialError> {
    let http2 = shared.http2.as_ref();
    let http2 = http2.ok_or(DialError::Off(Protocol::Http2))?;
    let alive = shared.alive.lock().clone().ok_or(DialError::Closing)?;
    let name = node_name(peer.node, shared.identity.cluster());
    // A node's name is one that certificates have.
    let name = ServerName::try_from(name).map_err(|_| DialError::NoAddress)?;
    let (link, control) = http2::connect(&http2.configs, address, name, alive).await?;
    Ok((Link::Http2(link.clone()), Intro::Http2(link, control)))
}
