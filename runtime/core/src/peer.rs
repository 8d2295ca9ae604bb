//! What nodes say to each other, and the port they say it through.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::control::{KindInfo, Request, Response};
use crate::directory::{DirectoryAnswer, DirectoryCommand};
use crate::flow::{AttachedFlows, LeaseAsk, LeaseGrant};
use crate::migration::MigrationMessage;
use crate::{Acknowledgement, AgentId, AskNotice, Digest, Envelope, NodeId, Reply};

/// One message from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Messages for agents of the receiving node, in order.
    Deliver(Vec<Arc<Envelope>>),
    /// The same, passed on by a node their receivers have left. Verdicts go to
    /// `origin` directly, where the messages' senders were.
    Forward {
        /// The node the messages were first sent from.
        origin: NodeId,
        /// The messages, in order.
        envelopes: Vec<Arc<Envelope>>,
    },
    /// What became of messages the receiving node's agents and clients sent.
    Acknowledge(Vec<Acknowledgement>),
    /// The same, passed on by a node the senders have left.
    ForwardVerdicts {
        /// Nodes the oldest of them has come through. Nodes that take each other
        /// for the sender's home must not pass them round for ever.
        hops: u8,
        /// The verdicts.
        acknowledgements: Vec<Acknowledgement>,
    },
    /// A word about an ask, for an agent of the receiving node.
    AskNotice {
        /// Nodes it has come through on its way to the agent. Nodes that take each
        /// other for the agent's home must not pass it round for ever.
        hops: u8,
        /// The word.
        notice: AskNotice,
    },
    /// The answer to an ask of a client of the receiving node.
    Answer {
        /// The ask's number at that node.
        ask: u64,
        /// The answer.
        reply: Reply,
    },
    /// The agent is not here; it went to `to`, under this generation.
    Moved {
        /// Which agent.
        agent: AgentId,
        /// Where it went.
        to: NodeId,
        /// Under which generation.
        generation: u64,
    },
    /// The last thing the sender puts on the old path to `agent`. Whoever owns
    /// the agent answers it, on whatever way it comes, with [`PeerMessage::MarkerSeen`].
    Marker {
        /// Which agent.
        agent: AgentId,
        /// Who switches.
        origin: NodeId,
        /// Which of the origin's switches.
        marker: u64,
    },
    /// The marker has arrived behind everything sent before it.
    MarkerSeen {
        /// Which agent.
        agent: AgentId,
        /// Which switch.
        marker: u64,
    },
    /// A step of a migration.
    Migration(MigrationMessage),
    /// A request to the directory on the receiving node.
    DirectoryAsk {
        /// The sender's number for it.
        id: u64,
        /// The command.
        command: DirectoryCommand,
    },
    /// The directory's answer.
    DirectoryAnswer {
        /// The number of the request.
        id: u64,
        /// The answer.
        answer: DirectoryAnswer,
    },
    /// Please send this component.
    ComponentWanted {
        /// Which.
        component: Digest,
    },
    /// The sender has no such component to send.
    ComponentMissing {
        /// Which.
        component: Digest,
    },
    /// A part of a component as it was deployed, in order, the last one completing it.
    ComponentPart {
        /// Which.
        component: Digest,
        /// Where this part begins.
        offset: u64,
        /// How long the whole is, bytes.
        total: u64,
        /// This part.
        bytes: Bytes,
    },
    /// This kind is deployed in the cluster.
    Kind(KindInfo),
    /// These policies are attached in the cluster, and no others.
    Flows(AttachedFlows),
    /// The sending node wants a slice of a rate that nodes share, whose owner the
    /// receiving one is. One that is lost is sent again; repeated it does no harm.
    LeaseAsk(LeaseAsk),
    /// The owner's answer.
    LeaseGrant(LeaseGrant),
    /// These nodes are in the cluster, and this is where they listen.
    Members(Vec<Member>),
    /// An operator's request that the receiving node is to carry out.
    ControlAsk {
        /// The sender's number for it.
        id: u64,
        /// The request.
        request: Request,
    },
    /// Its end.
    ControlAnswer {
        /// The number of the request.
        id: u64,
        /// The response.
        response: Box<Result<Response, crate::control::ControlError>>,
    },
    /// The lives of that node up to this one are over, by an operator's word. The
    /// node itself, if it hears it, lets go of all it has.
    DeclaredDead {
        /// Which node.
        node: NodeId,
        /// The boot counter of its last life that is over.
        boot: u64,
    },
    /// The sending node is about to stop: do not choose it for anything new.
    Leaving,
}

/// Where a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// `host:port` of its transport.
    pub address: String,
}

/// Why a message could not be handed to the transport. It was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// Nothing is known of that node.
    #[error("the node is unknown")]
    UnknownPeer,
    /// The node is not connected.
    #[error("the node is not connected")]
    NotConnected,
    /// As much as may wait for that node waits already.
    #[error("the queue to the node is full")]
    Full,
    /// It is larger than the transport can carry, now or later.
    #[error("the message is larger than the transport can carry")]
    TooLarge,
}

/// What messages travel to a peer over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Nothing: the peer is in the same process.
    Process,
    /// QUIC over UDP.
    Quic,
    /// HTTP/2 over TLS over TCP.
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Process => "process",
            Self::Quic => "quic",
            Self::Http2 => "http2",
        })
    }
}

/// How a peer is reached just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPath {
    /// Which peer.
    pub node: NodeId,
    /// What everything whose order is promised travels over; `None` where not connected.
    pub protocol: Option<Protocol>,
    /// What parts of snapshots and components travel over.
    pub bulk: Option<Protocol>,
    /// Whether small messages outside any stream travel as datagrams.
    pub datagrams: bool,
    /// Time to it and back, where it was measured.
    pub round_trip: Option<Duration>,
    /// Why it is so, in words for people: `quic`, or `http2: no QUIC handshake
    /// within 1 s, last tried 10 s ago`.
    pub reason: String,
}

/// The port between nodes.
///
/// Messages that one thread sends to one peer arrive in the order they were
/// sent, within a connection, or not at all. A connection that breaks loses
/// what was under way: whoever needs it resends on the next `connected`.
///
/// Some go beside that order. A `Migration::Ship` and `ComponentPart`, being bulk,
/// may be overtaken by the rest. Envelopes of a `Deliver` keep the order of their
/// lane, and acknowledgements and answers theirs: what is more urgent may overtake
/// what is less so, and lists may be split and joined on the way. Nothing of that
/// passes any other message, in either direction. A `Deliver` whose messages are
/// one-way and outside any stream is at most once whatever is done: it may overtake
/// everything or be overtaken, and be lost alone.
pub trait Transport: Send + Sync {
    /// Queues `message` for `to`. Never waits.
    fn send(&self, to: NodeId, message: PeerMessage) -> Result<(), SendRefused>;

    /// Learns where a node is; connects, now or when needed, and keeps reconnecting with backoff.
    fn learn(&self, member: Member);

    /// How each known peer is reached just now, by number.
    fn paths(&self) -> Vec<PeerPath>;
}

/// What the transport tells its node.
pub trait TransportEvents: Send + Sync {
    /// These came from `from`, in this order. Blocking here holds up that peer, and only it.
    fn received(&self, from: NodeId, messages: Vec<PeerMessage>);

    /// The same on a thread that others need too. Does not block, but may use the
    /// thread for a short turn of the receiver's, for a few milliseconds at most, so
    /// that no other has to wake for it. Gives the messages back if taking them may
    /// block, and they must be [`received`](Self::received).
    fn take_in(&self, from: NodeId, messages: Vec<PeerMessage>) -> Result<(), Vec<PeerMessage>> {
        let _ = from;
        Err(messages)
    }

    /// A connection to `peer` stands; `boot` counts how often it had started.
    fn connected(&self, peer: NodeId, boot: u64);

    /// The connection to `peer` is gone.
    fn disconnected(&self, peer: NodeId);
}
