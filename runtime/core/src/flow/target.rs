//! What a policy can be attached to.

use std::fmt;
use std::str::FromStr;

use crate::id::shown;
use crate::topics::{BadTopic, TopicName};
use crate::{AgentId, BadAgentId, KindName, NodeId};

/// What a policy is attached to, written `agent:KIND/KEY`, `kind:NAME`,
/// `topic:SPACE` or `node:NODE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowTarget {
    /// What one agent is sent.
    Agent(AgentId),
    /// What agents of a kind are sent, on each node.
    Kind(KindName),
    /// What is published to a topic.
    Topic(TopicName),
    /// What leaves for a node.
    Node(NodeId),
}

/// Which sort of target, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowScope {
    /// One agent.
    Agent,
    /// A kind.
    Kind,
    /// A topic.
    Topic,
    /// A node.
    Node,
}

/// A text that names nothing a policy can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFlowTarget {
    /// It is of another form.
    #[error("`{0}` is nothing a gate stands before: it must be {FORM}")]
    Form(String),
    /// The agent or the kind cannot be.
    #[error("{0}")]
    Agent(#[from] BadAgentId),
    /// The topic cannot be.
    #[error("{0}")]
    Topic(#[from] BadTopic),
    /// The node cannot be.
    #[error("{0}")]
    Node(String),
}

const FORM: &str = "agent:KIND/KEY, kind:NAME, topic:SPACE or node:NODE, as in agent:counter/alice, kind:counter, topic:orders or node:node-2";

impl FlowTarget {
    /// What may be written.
    pub const FORM: &str = FORM;

    /// Which sort it is.
    pub fn scope(&self) -> FlowScope {
        match self {
            Self::Agent(_) => FlowScope::Agent,
            Self::Kind(_) => FlowScope::Kind,
            Self::Topic(_) => FlowScope::Topic,
            Self::Node(_) => FlowScope::Node,
        }
    }
}

impl FlowScope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kind => "kind",
            Self::Topic => "topic",
            Self::Node => "node",
        }
    }
}

impl fmt::Display for FlowTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scope().as_str())?;
        match self {
            Self::Agent(agent) => agent.fmt(f),
            Self::Kind(kind) => kind.fmt(f),
            Self::Topic(topic) => topic.fmt(f),
            Self::Node(node) => node.fmt(f),
        }
    }
}

impl FromStr for FlowTarget {
    type Err = BadFlowTarget;
    fn from_str(text: &str) -> Result<Self, BadFlowTarget> {
        let form = || BadFlowTarget::Form(shown(text));
        let (scope, name) = text.split_once(':').ok_or_else(form)?;
        Ok(match scope {
            "agent" => Self::Agent(AgentId::new(name)?),
            "kind" => Self::Kind(KindName::new(name)?),
            "topic" => Self::Topic(TopicName::new(name)?),
            "node" => Self::Node(name.parse().map_err(BadFlowTarget::Node)?),
            _ => return Err(form()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back_as_it_is_written() {
        for text in [
            "agent:counter/alice",
            "agent:visitor/2001:db8::1",
            "kind:counter",
            "topic:orders.eu.created",
            "node:node-2",
        ] {
            assert_eq!(text.parse::<FlowTarget>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_told_what_is_one() {
        for (text, part) in [
            ("counter", "agent:KIND/KEY"),
            ("", "agent:KIND/KEY"),
            ("agents:counter/a", "agent:KIND/KEY"),
            ("agent:counter", "counter"),
            ("kind:Counter", "Counter"),
            ("topic:orders.*", "orders.eu"),
            ("topic:a..b", "orders.eu"),
            ("topic:", "orders.eu"),
            ("node:nine", "nine"),
        ] {
            let error = text.parse::<FlowTarget>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
