//! A connection to a peer, of either protocol, as a session uses it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::{NodeId, Protocol};

use super::hello::Close;
use super::outbound::Class;
use crate::http2::{Http2Link, Http2Receiving, Http2Sending};
use crate::identity::ClusterId;
use crate::quic::{self, QuicLink};
use crate::select::Distance;
use crate::tls;

/// The connection is gone, or the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub(crate) struct Lost;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    /// This side closed it.
    #[error("{0}")]
    Here(String),
    /// The other side closed it and said so.
    #[error("{0}")]
    There(String),
    /// Nothing came for too long.
    #[error("nothing came in time")]
    Silent,
    /// One side did not accept the other's certificate.
    #[error("{0}")]
    Refused(String),
    /// It broke.
    #[error("{0}")]
    Broken(String),
}

/// A connection. Clones are the same one; it is closed when the last is dropped.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Quic(QuicLink),
    Http2(Http2Link),
}

/// Where the two sides introduce themselves: a stream both ways, the first one.
#[derive(Debug)]
pub(crate) enum Intro {
    Quic(quinn::SendStream, quinn::RecvStream),
    Http2(Http2Link, Http2Receiving),
}

/// Where a class's bytes go, from the beginning of a segment to its end.
#[derive(Debug)]
pub(crate) enum Sending {
    Quic(quinn::SendStream),
    Http2(Http2Sending),
}

/// Where they come from.
#[derive(Debug)]
pub(crate) enum Receiving {
    Quic(quinn::RecvStream),
    Http2(Http2Receiving),
}

impl Link {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Quic(_) => Protocol::Quic,
            Self::Http2(_) => Protocol::Http2,
        }
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        match self {
            Self::Quic(link) => link.connection().remote_address(),
            Self::Http2(link) => link.remote_address(),
        }
    }

    /// Time to the peer and back, once measured.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Quic(link) => Some(link.connection().rtt()),
            Self::Http2(link) => link.round_trip(),
        }
    }

    /// How far away the peer is.
    pub(crate) fn distance(&self) -> Distance {
        match self {
            Self::Quic(link) => link.distance(),
            Self::Http2(link) => {
                let loopback = quic::is_loopback(link.remote_address());
                Distance::of(loopback, link.round_trip())
            }
        }
    }

    /// Whether TLS was shown a certificate.
    pub(crate) fn has_certificate(&self) -> bool {
        match self {
            Self::Quic(link) => link.connection().peer_identity().is_some(),
            Self::Http2(link) => !link.certificates().is_empty(),
        }
    }

    /// Whether the certificate is that of `node`.
    pub(crate) fn is_node(&self, node: NodeId, cluster: ClusterId) -> bool {
        match self {
            Self::Quic(link) => tls::is_node(&link.certificates(), node, cluster),
            Self::Http2(link) => tls::is_node(link.certificates(), node, cluster),
        }
    }

    /// It is a peer's: from now on it may have as much under way as one may.
    pub(crate) fn trust(&self) {
        match self {
            Self::Quic(link) => quic::trust(link.connection()),
            Self::Http2(link) => link.trust(),
        }
    }

    /// Nothing more is to be introduced.
    pub(crate) fn begin(&self, intro: Intro) {
        if let Intro::Http2(link, receiving) = intro {
            link.begin(receiving);
        }
    }

    /// Closes it and says why.
    pub(crate) fn close(&self, close: &Close) {
        match self {
            Self::Quic(link) => {
                let code = u32::from(close.code()).into();
                link.connection().close(code, close.to_string().as_bytes());
            }
            Self::Http2(link) => link.close(close),
        }
    }

    /// Why it ended, if it did.
    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Self::Quic(link) => link.connection().close_reason().map(End::from),
            Self::Http2(link) => link.end(),
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> End {
        match self {
            Self::Quic(link) => link.connection().closed().await.into(),
            Self::Http2(link) => link.ended().await,
        }
    }

    /// Begins to send a class's bytes over this link. On HTTP/2 that is possible
    /// once for each class.
    pub(crate) async fn open(&self, class: Class) -> Result<Sending, Lost> {
        match self {
            Self::Quic(link) => link.open(class).await.map(Sending::Quic),
            Self::Http2(link) => link.open(class).map(Sending::Http2),
        }
    }

    /// Whether `open` may succeed.
    pub(crate) fn may_open(&self, class: Class) -> bool {
        match self {
            Self::Quic(_) => true,
            Self::Http2(link) => link.may_open(class),
        }
    }

    /// The next stream on which the peer sends. Can be cancelled without loss.
    pub(crate) async fn accept(&self) -> Result<Receiving, Lost> {
        match self {
            Self::Quic(link) => {
                let accepted = link.connection().accept_uni().await;
                accepted.map(Receiving::Quic).map_err(|_| Lost)
            }
            Self::Http2(link) => link.accept().await.map(Receiving::Http2),
        }
    }

    /// Nothing of ours will be sent over this link that is not under way.
    pub(crate) fn leave(&self) {
        if let Self::Http2(link) = self {
            link.leave();
        }
    }

    /// Whether both sides have all that the other sent and send nothing more.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Quic(_) => false,
            Self::Http2(link) => link.is_complete(),
        }
    }

    /// Waits until it is.
    pub(crate) async fn completed(&self) {
        match self {
            Self::Quic(_) => std::future::pending().await,
            Self::Http2(link) => link.completed().await,
        }
    }
}

impl Intro {
    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        match self {
            Self::Quic(send, _) => send.write_chunk(bytes).await.map_err(|_| Lost),
            Self::Http2(link, _) => link.say(bytes),
        }
    }

    /// Waits for the next thing that the other side says, unless that is why it
    /// closes: over HTTP/2 that comes in its place.
    pub(crate) async fn listen(&mut self) -> Result<(), Lost> {
        match self {
            Self::Quic(..) => Ok(()),
            Self::Http2(link, receive) => link.listen(receive).await,
        }
    }

    pub(crate) async fn receive<const N: usize>(&mut self) -> Result<[u8; N], Lost> {
        let mut bytes = [0; N];
        self.receive_into(&mut bytes).await?;
        Ok(bytes)
    }

    pub(crate) async fn receive_into(&mut self, bytes: &mut [u8]) -> Result<(), Lost> {
        match self {
            Self::Quic(_, receive) => receive.read_exact(bytes).await.map_err(|_| Lost),
            Self::Http2(_, receive) => receive.read_exact(bytes).await,
        }
    }
}

impl Sending {
    /// Sends all of `chunks`, as fast as the peer takes them.
    pub(crate) async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), Lost> {
        match self {
            Self::Quic(stream) => stream.write_all_chunks(chunks).await.map_err(|_| Lost),
            Self::Http2(stream) => stream.write(chunks).await,
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish(&mut self) -> Result<(), Lost> {
        match self {
            Self::Quic(stream) => stream.finish().map_err(|_| Lost),
            Self::Http2(stream) => stream.finish(),
        }
    }

    /// Waits until the peer has everything.
    pub(crate) async fn delivered(self) -> Result<(), Lost> {
        match self {
            Self::Quic(stream) => stream.stopped().await.map(drop).map_err(|_| Lost),
            Self::Http2(stream) => stream.delivered().await,
        }
    }
}

impl Receiving {
    pub(crate) async fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), Lost> {
        match self {
            Self::Quic(stream) => stream.read_exact(bytes).await.map_err(|_| Lost),
            Self::Http2(stream) => stream.read_exact(bytes).await,
        }
    }

    /// Reads what is there into `chunks` and says how many it took; waits while
    /// nothing is. `None` at the end. What was read before counts as worked off.
    pub(crate) async fn read(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, Lost> {
        match self {
            Self::Quic(stream) => stream.read_chunks(chunks).await.map_err(|_| Lost),
            Self::Http2(stream) => stream.read(chunks).await,
        }
    }
}
