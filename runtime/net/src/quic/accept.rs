//! Taking connections from peers and joiners.

use std::sync::Arc;

use quinn::{Connection, ConnectionError, Incoming};
use tokio::sync::Semaphore;

use super::admit::admit;
use super::hello::{Close, Hello, NoHello};
use super::peer::Established;
use super::{Shared, is_loopback};
use super::{tls, tuning};
use crate::identity::JOIN_PROTOCOL;

/// Takes connections until the endpoint closes.
pub(super) async fn accept(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes));
    while let Some(incoming) = shared.endpoint.accept().await {
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        // Under load a client must show that its address is its own before it costs more.
        if handshakes.available_permits() < shared.limits.handshakes / 2 && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let limit = shared.limits.handshake_timeout;
            let address = incoming.remote_address();
            if tokio::time::timeout(limit, handshake(&shared, incoming))
                .await
                .is_err()
            {
                tracing::debug!(%address, "a connection was too slow to say who it is");
            }
            drop(permit);
        });
    }
}

async fn handshake(shared: &Arc<Shared>, incoming: Incoming) {
    let address = incoming.remote_address();
    let config = shared.server_config(address);
    let connecting = match incoming.accept_with(config) {
        Ok(connecting) => connecting,
        Err(error) => {
            tracing::debug!(%address, %error, "a connection failed at its start");
            return;
        }
    };
    let connection = match connecting.await {
        Ok(connection) => connection,
        Err(error) if is_refusal(&error) => {
            shared.refused.add(1);
            tracing::warn!(%address, %error, "a connection was refused by TLS");
            return;
        }
        // The other side gave up, most often because it found another connection.
        Err(error) => {
            tracing::debug!(%address, %error, "a connection ended before it stood");
            return;
        }
    };
    // Nothing is spent on a stranger beyond the time limit: dropping this future closes it.
    if tls::protocol(&connection).as_deref() == Some(JOIN_PROTOCOL) {
        admit(shared, connection).await;
        return;
    }
    match introduce(shared, &connection).await {
        Ok(()) => {}
        Err(NoHello::Refused(close)) => shared.refuse(&connection, &close),
        Err(NoHello::Lost) => tracing::debug!(%address, "a connection was lost during its hello"),
    }
}

/// Whether one side did not accept the other's certificate.
fn is_refusal(error: &ConnectionError) -> bool {
    /// QUIC's errors that carry an alert of TLS (RFC 9000, 20.1).
    const CRYPTO: std::ops::Range<u64> = 0x100..0x200;
    match error {
        ConnectionError::TransportError(error) => CRYPTO.contains(&error.code.into()),
        ConnectionError::ConnectionClosed(close) => CRYPTO.contains(&close.error_code.into()),
        _ => false,
    }
}

async fn introduce(shared: &Arc<Shared>, connection: &Connection) -> Result<(), NoHello> {
    let refused = |close| Err(NoHello::Refused(close));
    if connection.peer_identity().is_none() {
        return refused(Close::NoCertificate);
    }
    let lost = |_| NoHello::Lost;
    let (mut send, mut receive) = connection.accept_bi().await.map_err(lost)?;
    let hello = Hello::receive(&mut receive).await?;
    let cluster = shared.identity.cluster();
    let own = shared.identity.node();
    if !hello.is_of(cluster) {
        return refused(Close::Cluster);
    }
    if hello.node == own || !tls::is_node(connection, hello.node, cluster) {
        return refused(Close::Certificate(hello.node));
    }
    let Some(peer) = shared.peer_or_new(hello.node) else {
        return refused(Close::TooManyPeers);
    };
    shared.check(&hello, &peer).map_err(NoHello::Refused)?;
    tuning::trust(connection, is_loopback(connection.remote_address()));
    let undecided = if own < hello.node {
        shared.hello().send(&mut send).await?;
        Some(send)
    } else {
        shared.hello().send(&mut send).await?;
        let mut go = [0];
        receive
            .read_exact(&mut go)
            .await
            .map_err(|_| NoHello::Lost)?;
        None
    };
    peer.offer(Established {
        connection: connection.clone(),
        hello,
        undecided,
    });
    Ok(())
}
