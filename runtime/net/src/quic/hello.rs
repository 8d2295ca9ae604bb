//! How two nodes introduce themselves: the first thing on a new connection.
//!
//! The dialer opens a stream and says hello, the acceptor answers with its own,
//! and the one with the lower number decides that the connection stands by one
//! more byte, or closes it. So both agree on one connection, whoever dialled.
//!
//! A hello is `PHXN`, the version of the protocol (two bytes, little-endian, and
//! all that a node of another version reads), a length of two bytes and so many
//! bytes: cluster, node, boot, address, software.

use bytes::Bytes;
use phoenix_core::NodeId;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};

use crate::identity::ClusterId;
use crate::wire::codec::{Wire, record};
use crate::wire::{Input, Malformed, Output, VERSION};

const MAGIC: [u8; 4] = *b"PHXN";
/// Longest hello behind its length, bytes.
const MAX_HELLO: u16 = 2_048;
/// What decides that a connection stands.
pub(super) const GO: u8 = 1;

/// Why a connection is closed, as its code on the wire and in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Close {
    #[error("the node is closing")]
    Closing,
    #[error("another connection between the nodes has taken this one's place")]
    Superseded,
    #[error("there is a connection between the nodes already")]
    Duplicate,
    #[error(
        "version mismatch: this node speaks protocol {VERSION}, the other {0}; run the same version of Phoenix on all nodes"
    )]
    Version(u16),
    #[error("this is no Phoenix node")]
    NotPhoenix,
    #[error("this node is of another cluster")]
    Cluster,
    #[error("the certificate is not that of {0}")]
    Certificate(NodeId),
    #[error(
        "{node} has started {seen} times, this connection is of its start {found}: a copy of its data directory is running, or an old process still is"
    )]
    StaleBoot { node: NodeId, seen: u64, found: u64 },
    #[error("malformed: {0}")]
    Malformed(Malformed),
    #[error("no certificate")]
    NoCertificate,
    #[error("this node knows as many peers as it may")]
    TooManyPeers,
    #[error("this node does not hold the cluster's authority")]
    NoAuthority,
    #[error("a stream that should not be there")]
    Stream,
    #[error("the node failed")]
    Failed,
}

impl Close {
    pub(super) fn code(&self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Closing => 0,
            Self::Superseded => 1,
            Self::Duplicate => 2,
            Self::Version(_) => 3,
            Self::NotPhoenix => 4,
            Self::Cluster => 5,
            Self::Certificate(_) => 6,
            Self::StaleBoot { .. } => 7,
            Self::Malformed(_) => 8,
            Self::NoCertificate => 9,
            Self::TooManyPeers => 10,
            Self::NoAuthority => 11,
            Self::Stream => 12,
            Self::Failed => 13,
        })
    }

    /// Closes `connection` for this reason.
    pub(super) fn close(&self, connection: &quinn::Connection) {
        connection.close(self.code(), self.to_string().as_bytes());
    }
}

/// Why a connection ended, fit to be shown: the other side may have said anything.
pub(crate) fn shown(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            let shown = reason.chars().take(300).flat_map(char::escape_debug);
            shown.collect()
        }
        other => other.to_string(),
    }
}

/// Who a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) cluster: Bytes,
    pub(super) node: NodeId,
    pub(super) boot: u64,
    /// Where it listens; empty if it does not know how others reach it.
    pub(super) address: String,
    pub(super) software: String,
}

record!(Hello {
    cluster,
    node,
    boot,
    address,
    software
});

/// Why no hello came.
#[derive(Debug)]
pub(super) enum NoHello {
    /// The connection broke, or the other side closed it.
    Lost,
    /// What came is refused.
    Refused(Close),
}

impl Hello {
    pub(super) fn is_of(&self, cluster: ClusterId) -> bool {
        *self.cluster == cluster.0
    }

    fn encode(&self, version: u16) -> Vec<u8> {
        let mut out = Output::new();
        self.put(&mut out);
        let body = out.into_bytes();
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    pub(super) async fn send(&self, stream: &mut SendStream) -> Result<(), NoHello> {
        stream
            .write_all(&self.encode(VERSION))
            .await
            .map_err(|_| NoHello::Lost)
    }

    pub(super) async fn receive(stream: &mut RecvStream) -> Result<Self, NoHello> {
        let lost = |_| NoHello::Lost;
        let refused = |close| Err(NoHello::Refused(close));
        let mut magic = [0; 4];
        stream.read_exact(&mut magic).await.map_err(lost)?;
        if magic != MAGIC {
            return refused(Close::NotPhoenix);
        }
        let mut version = [0; 2];
        stream.read_exact(&mut version).await.map_err(lost)?;
        let version = u16::from_le_bytes(version);
        if version != VERSION {
            return refused(Close::Version(version));
        }
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.map_err(lost)?;
        let length = u16::from_le_bytes(length);
        if length > MAX_HELLO {
            return refused(Close::Malformed(Malformed::Range("the length of a hello")));
        }
        let mut body = vec![0; usize::from(length)];
        stream.read_exact(&mut body).await.map_err(lost)?;
        let mut input = Input::new(body.into());
        Self::get(&mut input).or_else(|malformed| refused(Close::Malformed(malformed)))
    }
}
