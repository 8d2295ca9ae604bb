//! Agents: the list, one of them, and what operators do to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Flow, Lane};

/// A page of agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPage {
    /// In order of their ids.
    pub agents: Vec<Agent>,
    /// What to give as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One line about an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id, `kind/key`.
    pub agent: String,
    /// The node it lives on, as in `node-1`.
    pub node: String,
    /// What it is doing.
    pub status: AgentStatus,
    /// Turns committed; `null` in a list for one that is stored, since nothing is read
    /// for it.
    pub turns: Option<u64>,
    /// Messages waiting.
    pub mailbox: u64,
    /// Bytes of memory it takes: linear memory if resident, the snapshot if hibernated.
    pub bytes: u64,
    /// Bytes of disk that are needed of it: its snapshot and what it did since if it is
    /// durable, otherwise its snapshot if it is stored.
    pub disk_bytes: u64,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentStatus {
    /// In Wasm memory, ready.
    Resident,
    /// A snapshot in its node's memory.
    Hibernated,
    /// Frozen for a migration.
    Moving,
    /// Waiting before it is tried again after a trap.
    BackingOff,
    /// Not to be run again without a reset.
    Quarantined,
    /// Asleep on its node's disk.
    Stored,
}

impl AgentStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Hibernated => "hibernated",
            Self::Moving => "moving",
            Self::BackingOff => "backing-off",
            Self::Quarantined => "quarantined",
            Self::Stored => "stored",
        }
    }
}

/// All about an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDetail {
    /// The short of it.
    #[serde(flatten)]
    pub agent: Agent,
    /// BLAKE3 of its component, 64 hexadecimal digits.
    pub component: String,
    /// Which life of its memory this is.
    pub incarnation: Incarnation,
    /// The generation it is owned under.
    pub generation: u64,
    /// Handlers waiting for an answer.
    pub pending: u64,
    /// Asks without an answer.
    pub open_asks: u64,
    /// Whom it waits for: the first 100 of those asks, in the order of their numbers.
    #[serde(default)]
    pub asks: Vec<OpenAsk>,
    /// Who waits for it: the first 100 requests that it has begun and not answered.
    #[serde(default)]
    pub requests: Vec<OpenRequest>,
    /// Each lane of messages, the most urgent first.
    pub lanes: Vec<MailboxLane>,
    /// Replies, timers and the like that wait before all messages.
    pub ends: u64,
    /// Whether the mailbox has passed its high mark and is not down to the low one
    /// since: whoever sends is told to hold.
    pub holding: bool,
    /// Streams whose senders were told so.
    pub held: u64,
    /// Effects without a verdict.
    pub outbox: u64,
    /// Bytes of them.
    pub outbox_bytes: u64,
    /// Streams it speaks on and holds: their receivers have given it no credit.
    pub outbox_held: u64,
    /// Timers set.
    pub timers: u64,
    /// The first 100 of them to come due, the soonest first.
    #[serde(default)]
    pub next_timers: Vec<Timer>,
    /// Streams it hears from.
    pub streams_in: u64,
    /// Streams it speaks on.
    pub streams_out: u64,
    /// Traps so far in this life.
    pub traps: u64,
    /// What it last trapped with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trap: Option<String>,
    /// Why it cannot move, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmovable: Option<String>,
    /// The gates before it, its own and its kind's; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Flow>,
    /// Outcomes that were not delivery, by reason.
    pub counters: BTreeMap<String, u64>,
}

/// A timer that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The agent's number for it, up to 2^64; of one with a name a hash of that.
    pub timer: String,
    /// The handler it calls.
    pub method: String,
    /// When it comes due next, milliseconds since 1970-01-01 UTC.
    pub due_ms: u64,
    /// When it comes due again: `once` for never, `every 1000 ms`, or `cron` and a
    /// schedule of five fields in UTC.
    pub schedule: String,
    /// What becomes of due times that passed: `once`, `all`, or `skip after 1000 ms`.
    pub catch_up: String,
}

/// An ask without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAsk {
    /// The agent's number for it.
    pub ask: u64,
    /// Whom it asks.
    pub to: String,
    /// When it asked, milliseconds since 1970-01-01 UTC.
    pub made_ms: u64,
    /// When it stops waiting, likewise.
    pub deadline_ms: u64,
    /// The turn that began the handler which only the answer lets go on, where that
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<u64>,
}

/// A request that the agent has begun and not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The turn that began its handler.
    pub handler: u64,
    /// Who waits: an agent, or a client at that node.
    pub from: String,
    /// The asker's number for it.
    pub ask: u64,
    /// When it stops waiting, milliseconds since 1970-01-01 UTC.
    pub deadline_ms: u64,
}

/// One lane of an agent's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxLane {
    /// Which.
    pub lane: Lane,
    /// Messages in memory.
    pub messages: u64,
    /// Bytes of them, as the kind's bounds count.
    pub bytes: u64,
    /// Messages behind them on disk.
    pub spilled: u64,
    /// Bytes of those, likewise.
    pub spilled_bytes: u64,
}

/// One life of an agent's memory; greater than every earlier one, compared in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The directory's generation of the agent when the memory was made.
    pub generation: u64,
    /// How often the node had started.
    pub boot: u64,
    /// How many memories the node had made since.
    pub count: u64,
}

/// An agent was created, or lived already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Which.
    pub agent: String,
    /// On which node.
    pub node: String,
}

/// An agent has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrated {
    /// Which migration, 32 hexadecimal digits.
    pub migration: String,
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// From the freeze until the target owned it, microseconds.
    pub pause_us: u64,
    /// Bytes shipped.
    pub bytes: u64,
}

/// An agent has begun anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Which.
    pub agent: String,
    /// On which node.
    pub node: String,
    /// Its new life.
    pub incarnation: Incarnation,
    /// Messages that waited for the old one, and are dead letters.
    pub dead_letters: u64,
}

/// An agent sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hibernated {
    /// Bytes it takes now.
    pub bytes: u64,
}
