//! How two nodes introduce themselves: the first thing on a new connection.
//!
//! The dialler says hello, the acceptor answers with its own, and the one with
//! the lower number gives a verdict: the connection carries a new session, or
//! joins the one that stands, or is closed. So both agree on one session,
//! whoever dialled, and over whatever.
//!
//! A hello is `PHXN`, the version of the protocol (two bytes, little-endian, and
//! all that a node of another version reads), a length of two bytes and so many
//! bytes: cluster, node, boot, address, software, wish, and which forms and compressions
//! of frames it reads. A verdict is a byte and
//! the session's number in eight, little-endian.

use bytes::Bytes;
use phoenix_core::NodeId;

use super::link::{Intro, Lost};
use crate::formats::Offer;
use crate::identity::ClusterId;
use crate::wire::codec::{Wire, choice, record};
use crate::wire::{Input, Malformed, Output, VERSION};

const MAGIC: [u8; 4] = *b"PHXN";
/// Longest hello behind its length, bytes.
const MAX_HELLO: u16 = 2_048;

/// Why a connection is closed, as its code on the wire and in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Close {
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
    #[error("the session that the connection was to join is over")]
    Session,
    #[error("nothing needs the connection any more")]
    Unused,
    #[error("the session is over")]
    SessionLost,
}

impl Close {
    pub(crate) fn code(&self) -> u16 {
        match self {
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
            Self::Session => 14,
            Self::Unused => 15,
            Self::SessionLost => 16,
        }
    }
}

/// A text from the other side, fit to be shown: it may have said anything.
pub(crate) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.chars().take(300).flat_map(char::escape_debug);
    shown.collect()
}

/// What the dialler wants of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A session, as it has none.
    Fresh,
    /// To join the session that stands.
    Join {
        /// Which.
        session: u64,
    },
    /// A new session in place of this one, which it takes for dead.
    Replace {
        /// Which.
        session: u64,
    },
}

choice!(Wish as "a wish" {
    0 => Fresh,
    1 => Join { session },
    2 => Replace { session },
});

/// What the node with the lower number decides about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It carries a new session of this number.
    New(u64),
    /// It joins the session of this number.
    Join(u64),
}

impl Verdict {
    const NEW: u8 = 1;
    const JOIN: u8 = 2;

    pub(super) fn session(self) -> u64 {
        let (Self::New(session) | Self::Join(session)) = self;
        session
    }

    pub(super) async fn send(self, intro: &mut Intro) -> Result<(), Lost> {
        let (tag, session) = match self {
            Self::New(session) => (Self::NEW, session),
            Self::Join(session) => (Self::JOIN, session),
        };
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&session.to_le_bytes());
        intro.send(bytes.into()).await
    }

    pub(super) async fn receive(intro: &mut Intro) -> Result<Self, NoHello> {
        intro.listen().await?;
        let [tag] = intro.receive().await?;
        let session = u64::from_le_bytes(intro.receive().await?);
        match tag {
            Self::NEW => Ok(Self::New(session)),
            Self::JOIN => Ok(Self::Join(session)),
            found => Err(NoHello::Refused(Close::Malformed(Malformed::Unknown {
                what: "a verdict",
                found: found.into(),
            }))),
        }
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
    /// What it wants, if it dialled.
    pub(super) wish: Wish,
    /// What frames it reads.
    pub(super) offer: Offer,
}

record!(Hello {
    cluster,
    node,
    boot,
    address,
    software,
    wish,
    offer
});

/// Why no hello came.
#[derive(Debug)]
pub(super) enum NoHello {
    /// The connection broke, or the other side closed it.
    Lost,
    /// What came is refused.
    Refused(Close),
}

impl From<Lost> for NoHello {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
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

    pub(super) async fn send(&self, intro: &mut Intro) -> Result<(), Lost> {
        intro.send(self.encode(VERSION).into()).await
    }

    pub(super) async fn receive(intro: &mut Intro) -> Result<Self, NoHello> {
        let refused = |close| Err(NoHello::Refused(close));
        intro.listen().await?;
        if intro.receive().await? != MAGIC {
            return refused(Close::NotPhoenix);
        }
        let version = u16::from_le_bytes(intro.receive().await?);
        if version != VERSION {
            return refused(Close::Version(version));
        }
        let length = u16::from_le_bytes(intro.receive().await?);
        if length > MAX_HELLO {
            return refused(Close::Malformed(Malformed::Range("the length of a hello")));
        }
        let mut body = vec![0; usize::from(length)];
        intro.receive_into(&mut body).await?;
        let mut input = Input::new(body.into());
        Self::get(&mut input).or_else(|malformed| refused(Close::Malformed(malformed)))
    }
}
