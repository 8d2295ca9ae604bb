//! Taking connections from peers and joiners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::hello::{Close, NoHello};
use super::link::{End, Intro, Link};
use super::supervise::until_closing;
use super::{Http2Side, QuicSide, Shared, admit, introduce};
use crate::http2::{self, Visitor};
use crate::quic::{self, QuicLink};

/// How long a listener rests that the system gives nothing just now.
const REST: Duration = Duration::from_millis(100);

/// Takes QUIC connections until the endpoint closes.
pub(super) async fn over_quic(shared: Arc<Shared>, quic: Arc<QuicSide>) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes));
    while let Some(incoming) = quic.endpoint.accept().await {
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
        let (shared, quic) = (Arc::clone(&shared), Arc::clone(&quic));
        tokio::spawn(async move {
            let address = incoming.remote_address();
            within_time(&shared, address, greet_quic(&shared, &quic, incoming)).await;
            drop(permit);
        });
    }
}

/// Takes TCP connections until the transport closes.
pub(super) async fn over_http2(shared: Arc<Shared>, http2: Arc<Http2Side>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes));
    let closing = shared.closing.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_closing(closing.clone()) => return,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a TCP connection could not be taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        // One that is let go at once comes again.
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            continue;
        };
        let (shared, http2) = (Arc::clone(&shared), Arc::clone(&http2));
        tokio::spawn(async move {
            within_time(&shared, address, greet_http2(&shared, &http2, tcp, address)).await;
            drop(permit);
        });
    }
}

/// Nothing is spent on a stranger beyond a time limit, or once the transport
/// closes: dropping the future closes its connection.
async fn within_time(shared: &Shared, address: SocketAddr, greet: impl Future<Output = ()>) {
    tokio::select! {
        () = greet => {}
        () = tokio::time::sleep(shared.limits.handshake_timeout) => {
            tracing::debug!(%address, "a connection was too slow to say who it is");
        }
        () = until_closing(shared.closing.subscribe()) => {}
    }
}

async fn greet_quic(shared: &Arc<Shared>, quic: &QuicSide, incoming: Incoming) {
    let address = incoming.remote_address();
    let config = quic.configs.server(address);
    let connecting = match incoming.accept_with(config) {
        Ok(connecting) => connecting,
        Err(error) => {
            tracing::debug!(%address, %error, "a connection failed at its start");
            return;
        }
    };
    let connection = match connecting.await.map_err(End::from) {
        Ok(connection) => connection,
        Err(End::Refused(error)) => {
            shared.refused.add(1);
            tracing::warn!(%address, error, "a connection was refused by TLS");
            return;
        }
        // The other side gave up, most often because it found another connection.
        Err(error) => {
            tracing::debug!(%address, %error, "a connection ended before it stood");
            return;
        }
    };
    if quic::is_joiner(&connection) {
        admit::over_quic(shared, connection).await;
        return;
    }
    let link = Link::Quic(QuicLink::new(connection.clone()));
    if !has_certificate(shared, &link) {
        return;
    }
    if let Ok((send, receive)) = connection.accept_bi().await {
        introduce(shared, &link, Intro::Quic(send, receive)).await;
    }
}

async fn greet_http2(shared: &Arc<Shared>, http2: &Http2Side, tcp: TcpStream, address: SocketAddr) {
    let Some(alive) = shared.alive.lock().clone() else {
        return;
    };
    match http2::accept(&http2.configs, tcp, address, alive).await {
        Ok(Visitor::Peer(peer, control)) => {
            let link = Link::Http2(peer.clone());
            if has_certificate(shared, &link) {
                introduce(shared, &link, Intro::Http2(peer, control)).await;
            }
        }
        Ok(Visitor::Joiner(link, asking)) => admit::over_http2(shared, link, asking).await,
        Err(error) if error.is_refusal() => {
            shared.refused.add(1);
            tracing::warn!(%address, %error, "a connection was refused by TLS");
        }
        Err(error) => tracing::debug!(%address, %error, "a connection ended before it stood"),
    }
}

/// Whether a peer has shown a certificate; one that has not is refused.
fn has_certificate(shared: &Shared, link: &Link) -> bool {
    let has = link.has_certificate();
    if !has {
        shared.refuse(link, &Close::NoCertificate);
    }
    has
}

async fn introduce(shared: &Arc<Shared>, link: &Link, intro: Intro) {
    let address = link.remote_address();
    match introduce::accepted(shared, link, intro).await {
        Ok(()) => {}
        Err(NoHello::Refused(close)) => shared.refuse(link, &close),
        Err(NoHello::Lost) => tracing::debug!(%address, "a connection was lost during its hello"),
    }
}
