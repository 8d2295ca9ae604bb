//! Batches of messages and what became of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ContentType;

/// A message of a MessagePack batch, which is an array of these as maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<'a> {
    /// Whom it is for, `kind/key`.
    #[serde(borrow)]
    pub agent: Cow<'a, str>,
    /// Which handler.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// How to read `payload`.
    #[serde(default)]
    pub content_type: ContentType,
    /// The payload's bytes, itself in the format `content_type` names.
    #[serde(default, borrow, with = "serde_bytes")]
    pub payload: Cow<'a, [u8]>,
    /// The client's sequence to this agent, from 1 without gaps: a message sent
    /// again under its number is applied once. Without one it is sent at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// A message of an NDJSON batch, which has one of these a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonMessage<'a> {
    /// Whom it is for, `kind/key`.
    #[serde(borrow)]
    pub agent: Cow<'a, str>,
    /// Which handler.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// The payload, any JSON value; absent if there is none.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
    /// As in [`Message::sequence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// What became of each message, in the order they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// One a message.
    pub verdicts: Vec<Verdict>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The receiver's turn is committed.
    Applied,
    /// Closed without being applied; final.
    Dead {
        /// A stable word for the reason.
        code: String,
        /// More.
        detail: String,
    },
    /// Not taken; try again later, under the same number, beginning with `expected`.
    Refused {
        /// The next number the agent will take from this client, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Nothing was heard in time. It may yet be applied.
    Unknown,
}
