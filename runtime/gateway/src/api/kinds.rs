//! Kinds and their policies.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Flow;

/// The kinds there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindList {
    /// In order of their names.
    pub kinds: Vec<Kind>,
}

/// A deployed kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// Its name.
    pub kind: String,
    /// BLAKE3 of the component as it was deployed, 64 hexadecimal digits.
    pub component: String,
    /// The component's size, bytes.
    pub component_bytes: u64,
    /// Which world it exports.
    pub world: World,
    /// Its handlers, where it describes itself.
    pub handlers: Vec<Handler>,
    /// What its agents may use, every field; of flow control those of the limiters
    /// it has.
    pub policy: Policy,
    /// The gates before its agents, one a node; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Flow>,
}

/// The two worlds of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// One typed call a message.
    Agent,
    /// One call a frame of messages.
    AgentFramed,
}

/// A handler, as its agent describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// Its name: the method of a message.
    pub name: String,
    /// Whether it may run while another handler is pending.
    pub interleave: bool,
}

/// A policy, or changes to one: field names in kebab-case, with their values.
/// [`crate::policy`] says which there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy(pub BTreeMap<String, PolicyValue>);

/// A value in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PolicyValue {
    /// Yes or no.
    Flag(bool),
    /// A count, bytes or milliseconds.
    Number(u64),
    /// A word, or a number with its unit, such as `64MiB` or `500ms`.
    Text(String),
    /// The subscriptions: maps.
    List(Vec<serde_json::Value>),
}

impl fmt::Display for PolicyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "`{}`", crate::suggest::shown(text)),
            Self::List(list) => write!(f, "a list of {}", list.len()),
        }
    }
}

impl From<&str> for PolicyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for PolicyValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for PolicyValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
