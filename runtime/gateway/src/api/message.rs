//! Batches of messages and what became of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ContentType;

/// A message of a MessagePack batch, which is an array of these as maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The client's sequence to this agent on this lane, from 1 without gaps: a
    /// message sent again under its number is applied once. With neither this nor
    /// `key` it is sent at most once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Names the message among those of its client to this agent, 1 to 255 bytes:
    /// sent again under its key within an hour, it is applied once.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// `high`, `normal`, `low` or `bulk`; as its type and the agent's kind have it,
    /// if absent.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Cow<'a, str>>,
    /// `exactly-once`, `at-least-once` or `at-most-once`; the first two need
    /// `sequence` or `key`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Cow<'a, str>>,
    /// Milliseconds after which it is of no use and is not put to the agent, at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Whether it is to be a dead letter then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub report_expired: bool,
    /// Milliseconds after which it is given up and refused, at most an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<u64>,
    /// Its type, as in `phoenix.data.order.created`.
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_type: Option<Cow<'a, str>>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A message of an NDJSON batch, which has one of these a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// As in [`Message::key`].
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// As in [`Message::lane`].
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Cow<'a, str>>,
    /// As in [`Message::delivery`].
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Cow<'a, str>>,
    /// As in [`Message::ttl`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// As in [`Message::report_expired`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub report_expired: bool,
    /// As in [`Message::give_up`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<u64>,
    /// As in [`Message::message_type`].
    #[serde(
        default,
        borrow,
        rename = "type",
        skip_serializing_if = "Option::is_none"
    )]
    pub message_type: Option<Cow<'a, str>>,
}

/// Messages were handed over, and nobody waits for what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// How many.
    pub accepted: u64,
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
