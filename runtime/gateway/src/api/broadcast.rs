//! One message to many agents, and what they answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AgentFailure, ContentType, Payload};

/// A broadcast in MessagePack, a map of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broadcast<'a> {
    /// Whom it is for, `kind/key` each.
    #[serde(borrow)]
    pub agents: Vec<Cow<'a, str>>,
    /// Which handler.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// How to read `payload`.
    #[serde(default)]
    pub content_type: ContentType,
    /// The payload's bytes, itself in the format `content_type` names.
    #[serde(default, borrow, with = "serde_bytes")]
    pub payload: Cow<'a, [u8]>,
    /// As in [`Message::lane`](super::Message::lane).
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Cow<'a, str>>,
    /// As in [`Message::ttl`](super::Message::ttl).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// As in [`Message::message_type`](super::Message::message_type).
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_type: Option<Cow<'a, str>>,
}

/// A broadcast in JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonBroadcast<'a> {
    /// As in [`Broadcast::agents`].
    #[serde(borrow)]
    pub agents: Vec<Cow<'a, str>>,
    /// As in [`Broadcast::method`].
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The payload, any JSON value; absent if there is none.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
    /// As in [`Broadcast::lane`].
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Cow<'a, str>>,
    /// As in [`Broadcast::ttl`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// As in [`Broadcast::message_type`].
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_type: Option<Cow<'a, str>>,
}

/// What came of a broadcast whose answers were waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// One an agent, in the order they were given.
    pub answers: Vec<AgentAnswer>,
    /// Whether each of them has answered, with a value or with an error of its own.
    pub complete: bool,
}

/// What one agent answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAnswer {
    /// Which.
    pub agent: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How asking one agent ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It answered.
    Ok {
        /// What. Of an answer that has no room beside the others only its size is told.
        payload: Payload,
    },
    /// Its handler answered with an error.
    Failed {
        /// Which.
        failure: AgentFailure,
    },
    /// The message never reached it.
    Bounced {
        /// Why.
        reason: String,
    },
    /// The answer would have had to wait for the asker.
    Deadlock,
    /// Not possible just now; nothing was done.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Nothing was heard in time. It may have acted, or may yet.
    Unknown,
}
