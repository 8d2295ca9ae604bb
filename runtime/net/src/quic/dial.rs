//! Connecting to a peer.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ConnectError, Connection, ConnectionError};
use tokio::time::Instant;

use super::Shared;
use super::attempts::{Failed, first_that_works};
use super::hello::{Close, GO, Hello, NoHello, shown};
use super::peer::{Established, Peer};
use crate::identity::node_name;

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the address cannot be resolved: {0}")]
    Resolve(std::io::Error),
    #[error("the name has no address")]
    NoAddress,
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Connection(ConnectionError),
    #[error("the other node refuses: {0}")]
    RefusedThere(String),
    #[error("refused: {0}")]
    RefusedHere(Close),
    #[error("no answer in time")]
    Timeout,
}

impl From<ConnectionError> for DialError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(_) => Self::RefusedThere(shown(&error)),
            ConnectionError::TimedOut => Self::Timeout,
            other => Self::Connection(other),
        }
    }
}

/// Connects to `peer` at `address` and says hello.
pub(super) async fn dial(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: &str,
) -> Result<Established, DialError> {
    let limit = shared.limits.handshake_timeout;
    let deadline = Instant::now() + limit;
    let addresses = tokio::time::timeout(limit, tokio::net::lookup_host(address))
        .await
        .map_err(|_| DialError::Timeout)?
        .map_err(DialError::Resolve)?;
    let attempt = |address| connect(shared, peer, address);
    first_that_works(addresses, deadline, attempt)
        .await
        .map_err(|failed| match failed {
            Failed::NoAddress => DialError::NoAddress,
            Failed::Attempt(error) => error,
            Failed::Silent => DialError::Timeout,
        })
}

async fn connect(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: SocketAddr,
) -> Result<Established, DialError> {
    // TLS checks that the certificate is that of the node we mean to reach.
    let name = node_name(peer.node, shared.identity.cluster());
    let config = shared.client_config(address);
    let connection = shared
        .endpoint
        .connect_with(config, address, &name)?
        .await?;
    let introduced = introduce(shared, peer, &connection).await;
    match introduced {
        Ok(hello) => Ok(Established {
            connection,
            hello,
            undecided: None,
        }),
        Err(NoHello::Refused(close)) => {
            shared.refuse(&connection, &close);
            Err(DialError::RefusedHere(close))
        }
        Err(NoHello::Lost) => Err(connection.closed().await.into()),
    }
}

async fn introduce(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: &Connection,
) -> Result<Hello, NoHello> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| NoHello::Lost)?;
    shared.hello().send(&mut send).await?;
    let hello = Hello::receive(&mut receive).await?;
    if hello.node != peer.node {
        return Err(NoHello::Refused(Close::Certificate(hello.node)));
    }
    shared.check(&hello, peer).map_err(NoHello::Refused)?;
    if shared.identity.node() < peer.node {
        send.write_all(&[GO]).await.map_err(|_| NoHello::Lost)?;
    } else {
        let mut go = [0];
        receive
            .read_exact(&mut go)
            .await
            .map_err(|_| NoHello::Lost)?;
    }
    Ok(hello)
}
