//! What operators ask of a node, and what it answers.
//!
//! The gateway turns HTTP into [`Request`]s; nodes pass those that are about
//! another node's agents on to it. Nothing here says how a request travels.

use std::sync::Arc;

use bytes::Bytes;

use crate::flow::{FlowInfo, FlowPolicy, FlowScope, FlowTarget};
use crate::{
    AgentId, ClientId, ClientOptions, Digest, Incarnation, KindName, KindPolicy, Lane, Level,
    MigrationId, Millis, NodeId, Payload, PeerPath, Reply, ReplyTo, SmolStr,
};

pub use crate::dead_letter::{DeadLetter, LetterFilter, LetterId, Letters, Replayed};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make a component a kind, on every node. Deploying the same again changes nothing.
    Deploy {
        /// The kind's name.
        kind: KindName,
        /// The component, as its build tool made it.
        component: Bytes,
        /// What its agents may use.
        policy: Box<KindPolicy>,
    },
    /// List the kinds.
    Kinds,
    /// Create an agent, on a node of choice if one is given.
    Spawn {
        /// Which agent.
        agent: AgentId,
        /// What its `init` gets.
        config: Payload,
        /// Where it should live.
        on: Option<NodeId>,
    },
    /// Deliver messages; the answer says what became of each, in order.
    Send {
        /// Who sends: agents see `client/ID`.
        client: ClientId,
        /// What.
        messages: Vec<ClientMessage>,
        /// How long to wait for verdicts; those still out are `unknown`.
        timeout: Millis,
    },
    /// Ask an agent.
    Call {
        /// Who asks.
        client: ClientId,
        /// Whom.
        agent: AgentId,
        /// Which handler.
        method: Arc<str>,
        /// With what.
        payload: Payload,
        /// How long to wait.
        timeout: Millis,
        /// How it is sent; names and reliability are of no use to a call.
        options: Option<Box<ClientOptions>>,
    },
    /// List agents.
    Agents {
        /// Of this kind only.
        kind: Option<KindName>,
        /// On this node only; otherwise on all.
        node: Option<NodeId>,
        /// Whose id comes after this one.
        after: Option<AgentId>,
        /// At most so many.
        limit: u32,
    },
    /// All about one agent.
    Inspect {
        /// Which.
        agent: AgentId,
    },
    /// Move an agent.
    Migrate {
        /// Which.
        agent: AgentId,
        /// Where to.
        to: NodeId,
    },
    /// Put an agent to sleep now.
    Hibernate {
        /// Which.
        agent: AgentId,
    },
    /// End an agent. Its memory is gone; what waits for it becomes dead letters.
    Stop {
        /// Which.
        agent: AgentId,
    },
    /// Begin an agent's life anew, from nothing. What waits for it becomes dead
    /// letters; what it sent is delivered first.
    Reset {
        /// Which.
        agent: AgentId,
        /// What its `init` gets.
        config: Payload,
        /// Even if it is not quarantined.
        force: bool,
    },
    /// Read logs, oldest first.
    Logs {
        /// Of this agent only.
        agent: Option<AgentId>,
        /// Of this node only; otherwise the agent's, or the node asked.
        node: Option<NodeId>,
        /// Whose number comes after this one.
        after: Option<u64>,
        /// At most so many.
        limit: u32,
    },
    /// List the nodes.
    Nodes,
    /// Declare a node dead that is connected to no other: its agents begin anew
    /// elsewhere when they are next looked for. If it lives after all, it ends
    /// itself as soon as it hears of it.
    DeclareDead {
        /// Which.
        node: NodeId,
    },
    /// Read dead letters, oldest first.
    DeadLetters {
        /// Which.
        filter: LetterFilter,
        /// At most so many.
        limit: u32,
    },
    /// Read one dead letter.
    DeadLetter {
        /// Which.
        letter: LetterId,
    },
    /// Send dead letters again, oldest first, each as a message of an operator's
    /// that its receiver sees as the original sender's. One that is sent again
    /// twice is applied once.
    ReplayDeadLetters {
        /// Which.
        letters: Letters,
        /// At most so many on each node.
        limit: u32,
        /// How long to wait for what becomes of them.
        timeout: Millis,
    },
    /// Throw dead letters away.
    PurgeDeadLetters {
        /// Which.
        letters: Letters,
    },
    /// Attach a policy, in place of the one that was, on every node.
    SetFlow {
        /// To what.
        target: FlowTarget,
        /// The policy.
        policy: Arc<FlowPolicy>,
    },
    /// Take a policy away that was attached.
    ClearFlow {
        /// From what.
        target: FlowTarget,
    },
    /// List policies, those of kinds too, and the gates they make.
    Flows {
        /// Of this target only.
        target: Option<FlowTarget>,
        /// Of targets of this sort only.
        scope: Option<FlowScope>,
        /// At this node only; otherwise at all.
        node: Option<NodeId>,
    },
    /// A token with which a new node can join.
    JoinToken {
        /// How long it may be used.
        valid_for: Millis,
    },
    /// What the node has counted since it started.
    Counters,
    /// Stop the node: agents are moved away or put to sleep first.
    Shutdown,
}

/// A message from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    /// Whom it is for.
    pub agent: AgentId,
    /// Which handler.
    pub method: Arc<str>,
    /// With what.
    pub payload: Payload,
    /// The client's sequence to this agent on the message's lane, from 1 without
    /// gaps: a message sent again under its number is applied once. Without one, a
    /// key, or the name of an event, it is sent at most once.
    pub sequence: Option<u64>,
    /// How it is sent, where that is not as its type and its receiver's kind have it.
    pub options: Option<Box<ClientOptions>>,
}

/// What became of a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver's turn is committed.
    Applied,
    /// Closed without being applied; final.
    Dead {
        /// A stable word.
        code: Arc<str>,
        /// More.
        detail: Arc<str>,
    },
    /// Not taken; try again later, under the same number, beginning with `expected`.
    Refused {
        /// The next number the agent will take from this client, where that is known.
        expected: Option<u64>,
        /// Why.
        reason: Arc<str>,
    },
    /// Nothing was heard in time. It may yet be applied.
    Unknown,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Done, nothing to say.
    Done,
    /// A kind is deployed.
    Deployed(KindInfo),
    /// The kinds.
    Kinds(Vec<KindInfo>),
    /// The agent lives, and where.
    Spawned {
        /// On which node.
        node: NodeId,
    },
    /// What became of each message.
    Sent(Vec<Verdict>),
    /// The agent's answer.
    Called(Reply),
    /// Agents, in order of their ids.
    Agents(Vec<AgentInfo>),
    /// One agent.
    Agent(Box<AgentDetail>),
    /// The agent moved.
    Migrated {
        /// Which migration.
        migration: MigrationId,
        /// Where from.
        from: NodeId,
        /// Where to.
        to: NodeId,
        /// From the freeze until the target owned it, microseconds.
        pause_us: u64,
        /// Bytes shipped.
        bytes: u64,
    },
    /// The agent sleeps.
    Hibernated {
        /// Bytes it takes now.
        bytes: u64,
    },
    /// The agent has begun anew.
    Reset {
        /// Where it lives.
        node: NodeId,
        /// Its new life.
        incarnation: Incarnation,
        /// Messages that waited for the old one, and are dead letters.
        dead_letters: u64,
    },
    /// Log lines.
    Logs(Vec<LogLine>),
    /// The nodes.
    Nodes(Vec<NodeInfo>),
    /// A node is dead for the others.
    DeclaredDead {
        /// Which.
        node: NodeId,
        /// In which life, by its boot counter: the next one is welcome.
        boot: u64,
        /// Agents that it had.
        agents: u64,
    },
    /// Dead letters.
    DeadLetters {
        /// Oldest first.
        letters: Vec<DeadLetter>,
        /// Whether there are more such.
        more: bool,
    },
    /// One dead letter.
    DeadLetter(Box<DeadLetter>),
    /// What became of each dead letter that was sent again.
    Replayed(Vec<Replayed>),
    /// Dead letters are gone.
    Purged {
        /// How many.
        letters: u64,
    },
    /// Policies and gates, in order of their targets and nodes.
    Flows(Vec<FlowInfo>),
    /// A join token.
    JoinToken(String),
    /// Name and value, sorted by name.
    Counters(Vec<(String, u64)>),
}

/// A deployed kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// Its name.
    pub kind: KindName,
    /// The component as it was deployed.
    pub component: Digest,
    /// Its size, bytes.
    pub component_bytes: u64,
    /// Whether it exports `agent-framed`, not `agent`.
    pub framed: bool,
    /// Its handlers, where it describes itself.
    pub handlers: Vec<HandlerInfo>,
    /// What its agents may use.
    pub policy: Box<KindPolicy>,
}

/// A handler, as its agent describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it may run while another handler is pending.
    pub interleave: bool,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStatus {
    /// In Wasm memory, ready.
    Resident,
    /// A snapshot in the node's memory.
    Hibernated,
    /// Asleep on the node's disk.
    Stored,
    /// Frozen for a migration.
    Moving,
    /// Waiting before it is tried again after a trap.
    BackingOff,
    /// Not to be run again without a reset.
    Quarantined,
}

/// One line about an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentInfo {
    /// Which.
    pub agent: AgentId,
    /// Where.
    pub node: NodeId,
    /// What it is doing.
    pub status: AgentStatus,
    /// Turns committed; 0 in a list for one that is stored, since nothing is read for it.
    pub turns: u64,
    /// Messages waiting.
    pub mailbox: u64,
    /// Bytes of memory it takes: linear memory if resident, the snapshot if hibernated.
    pub bytes: u64,
    /// Bytes of disk that are needed of it: its snapshot and what it did since in the
    /// journal if it is durable, otherwise its snapshot if it is stored.
    pub disk_bytes: u64,
}

/// How an agent's mailbox stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Each lane of messages, the most urgent first.
    pub lanes: Vec<LaneInfo>,
    /// Replies, timers and the like that wait before all messages.
    pub ends: u64,
    /// Whether it has passed its high mark and is not down to the low one since:
    /// whoever sends is told to hold.
    pub holding: bool,
    /// Streams whose senders were told so.
    pub held: u64,
}

/// A timer of an agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerInfo {
    /// The agent's number for it.
    pub timer: u64,
    /// The handler it calls.
    pub method: SmolStr,
    /// When it comes due next.
    pub due: Millis,
    /// When it comes due again, in words: `once`, `every 1000 ms`, `cron 30 4 * * *`.
    pub schedule: SmolStr,
    /// What becomes of due times that passed, in words: `once`, `all`,
    /// `skip after 1000 ms`.
    pub catch_up: SmolStr,
}

/// One lane of an agent's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    /// Which.
    pub lane: Lane,
    /// Messages in memory.
    pub messages: u64,
    /// Bytes of them, as the kind's bounds count.
    pub bytes: u64,
    /// Messages behind them, in the node's area for spilled ones.
    pub spilled: u64,
    /// Bytes of those, likewise.
    pub spilled_bytes: u64,
}

/// An agent's ask without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskInfo {
    /// The agent's number for it.
    pub ask: u64,
    /// Whom it asks.
    pub to: AgentId,
    /// When it asked, since 1970-01-01 UTC.
    pub made: Millis,
    /// When it stops waiting.
    pub deadline: Millis,
    /// The turn that began the handler which only the answer lets go on, where the
    /// agent has said so.
    pub handler: Option<u64>,
}

/// A request that an agent has begun and not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The turn that began its handler.
    pub handler: u64,
    /// Who waits for the answer.
    pub from: ReplyTo,
    /// The asker's number for it.
    pub ask: u64,
    /// When it stops waiting, since 1970-01-01 UTC.
    pub deadline: Millis,
}

/// All about an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDetail {
    /// The short of it.
    pub info: AgentInfo,
    /// Its component.
    pub component: Digest,
    /// Which life of its memory this is.
    pub incarnation: Incarnation,
    /// The generation it is owned under.
    pub generation: u64,
    /// Handlers waiting for an answer.
    pub pending: u64,
    /// Asks without an answer.
    pub open_asks: u64,
    /// Whom it waits for: the first of those asks, at most
    /// [`MAX_WAITS`](crate::agent::MAX_WAITS), in the order of their numbers.
    pub asks: Vec<AskInfo>,
    /// Who waits for it: as many requests that it has begun, the oldest first.
    pub requests: Vec<RequestInfo>,
    /// Its mailbox, and what its senders are told.
    pub mailbox: MailboxInfo,
    /// Effects without a verdict.
    pub outbox: u64,
    /// Bytes of them.
    pub outbox_bytes: u64,
    /// Streams it speaks on and holds: their receivers have given it no credit.
    pub outbox_held: u64,
    /// Timers set.
    pub timers: u64,
    /// The first of them to come due, the soonest first.
    pub next_timers: Vec<TimerInfo>,
    /// Streams it hears from.
    pub streams_in: u64,
    /// Streams it speaks on.
    pub streams_out: u64,
    /// Traps so far in this life.
    pub traps: u64,
    /// What it last trapped with.
    pub last_trap: Option<Arc<str>>,
    /// Why it cannot move, if it cannot.
    pub unmovable: Option<Arc<str>>,
    /// The gates before it, its own and its kind's, as far as there are any.
    pub gates: Vec<FlowInfo>,
    /// Outcomes that were not delivery, by reason.
    pub counters: Vec<(String, u64)>,
}

/// A line of an agent's log, or of its node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counted at the node.
    pub number: u64,
    /// When, since 1970-01-01 UTC.
    pub at: Millis,
    /// How serious.
    pub level: Level,
    /// Whose; `None` is the node's.
    pub agent: Option<AgentId>,
    /// What, control characters escaped.
    pub text: Arc<str>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Which.
    pub node: NodeId,
    /// Where its transport listens.
    pub address: String,
    /// Whether the asked node has a connection to it, or is it.
    pub connected: bool,
    /// Whether it holds the directory.
    pub directory: bool,
    /// Whether it was declared dead and has not started since.
    pub dead: bool,
    /// How often it had started; `None` where not connected.
    pub boot: Option<u64>,
    /// Its version; empty where not connected.
    pub version: String,
    /// Agents in Wasm memory.
    pub resident: u64,
    /// Agents hibernated.
    pub hibernated: u64,
    /// How long it has been up.
    pub uptime: Millis,
    /// How the asked node reaches it; `None` for that node itself.
    pub path: Option<PeerPath>,
    /// The gate at the asked node before what leaves for it.
    pub gate: Option<Box<FlowInfo>>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request itself is wrong; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// What it names is not there; nothing was done.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as things stand; nothing was done.
    #[error("{0}")]
    Conflict(String),
    /// Never proposed, safe to repeat.
    #[error("{0}")]
    Unavailable(String),
    /// It may or may not have been done.
    #[error("{0}")]
    Unknown(String),
    /// The node is at fault.
    #[error("{0}")]
    Internal(String),
}

/// Called once with a request's end.
pub type Done = Box<dyn FnOnce(Result<Response, ControlError>) + Send + 'static>;

/// The port through which operators and clients reach a node.
pub trait Control: Send + Sync {
    /// Carries out `request` and calls `done` once, from any thread. Never waits.
    fn submit(&self, request: Request, done: Done);
}
