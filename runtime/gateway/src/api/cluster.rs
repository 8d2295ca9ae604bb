//! Nodes, logs and counters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Flow;

/// The nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// In order of their numbers.
    pub nodes: Vec<Node>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, as in `node-1`.
    pub node: String,
    /// Where its transport listens.
    pub address: String,
    /// Whether the asked node has a connection to it, or is it.
    pub connected: bool,
    /// Whether it holds the directory.
    pub directory: bool,
    /// Whether it was declared dead and has not started since.
    #[serde(default)]
    pub dead: bool,
    /// How often it had started; absent where not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u64>,
    /// Its version; empty where not connected.
    pub version: String,
    /// Agents in Wasm memory.
    pub resident: u64,
    /// Agents hibernated.
    pub hibernated: u64,
    /// How long it has been up, milliseconds.
    pub uptime_ms: u64,
    /// How the asked node reaches it; absent for the asked node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// The gate at the asked node before what leaves for it; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Flow>,
}

/// How one node reaches another just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// What messages travel over: `quic`, `http2`, or `process` for a node in the
    /// same process; absent where not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What parts of snapshots and components travel over, in the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<String>,
    /// Whether small messages that may be lost travel as QUIC datagrams.
    pub datagrams: bool,
    /// Time to it and back, microseconds, once it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Why it is so, for people; begins with the protocol.
    pub reason: String,
}

/// A node is dead for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredDead {
    /// Its name, as in `node-2`.
    pub node: String,
    /// In which life, by how often it had started: the next one is welcome.
    pub boot: u64,
    /// Agents that it had.
    pub agents: u64,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// What to give as `after` to hear what comes next; absent if nothing was
    /// logged and nothing was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A line of an agent's log, or of its node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counted at the node.
    pub number: u64,
    /// When, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Whose; absent for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What.
    pub text: String,
}

/// A token with which a new node can join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// To be given to `phoenix node --join`.
    pub token: String,
    /// How long it may be used, milliseconds.
    pub valid_for_ms: u64,
}

// A join token is a secret: it stays out of logs.
impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken(valid for {} ms)", self.valid_for_ms)
    }
}

/// What the node has counted since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By name.
    pub counters: BTreeMap<String, u64>,
}

/// That the API answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
}
