//! What is said to the owner of topics, and what it says.
//!
//! The first token of a topic is its *space*. All topics of a space have one owner, the
//! agent `topic/SPACE`, which puts their events in one order. Patterns whose first token is
//! a wildcard belong to the root, `topic/.root`, which keeps them for all owners.
//!
//! | method | carries | answer, if it is asked for |
//! |---|---|---|
//! | `publish` | [`Publish`] | [`Published`] |
//! | `subscribe` | [`Subscribe`] | [`Subscribed`] |
//! | `unsubscribe` | [`Unsubscribe`] | [`Unsubscribed`] |
//! | `declare` | [`Declare`] | [`Declared`] |
//! | `configure` | [`Configure`] | none |
//! | `read` | [`Read`] | [`Events`] |
//! | `list` | [`List`] | [`Listing`] |
//! | `subscriptions` | [`ListSubscriptions`] | [`Subscriptions`] |
//!
//! Each is a map by the fields' names, as MessagePack or JSON: the answer is in the same.
//! Unknown fields are refused, and so is whatever is beyond a bound, by name.

mod attribute;
mod event;
mod publish;
mod subscriptions;
mod terms;
#[cfg(test)]
mod tests;

use phoenix_wit::{ContentType, Payload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BadTopic, MAX_TOPIC, TopicName, TopicPattern, TransformOptions};
use crate::id::shown;
use crate::{AgentId, BadAgentId};

pub use attribute::{Attribute, EventAttributes, MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES};
pub use event::{EventHead, Gap, Mark, ReadData, ReadEvent, Received};
pub use publish::{Format, MAX_EVENT_DATA, MAX_EVENT_KEY, MAX_EVENT_TYPE, Publish, Published};
pub use subscriptions::{
    ListSubscriptions, ListedSubscription, MAX_LISTED_SUBSCRIPTIONS, SubscriptionCounts,
    Subscriptions,
};
pub use terms::{Form, Overflow, Reliability, Replay, Strategy};

/// The kind of owners.
pub const KIND: &str = "topic";
/// The key of the root: no token, and so no space.
pub const ROOT: &str = ".root";

/// Longest name of a subscription, bytes.
pub const MAX_SUBSCRIPTION_NAME: usize = 2 * MAX_TOPIC;
/// Longest handler's name, bytes.
pub const MAX_METHOD: usize = 128;
/// Longest filter, bytes.
pub const MAX_FILTER: usize = 4_096;
/// Longest `to`, bytes.
pub const MAX_TO: usize = 512;
/// Longest name of a queue group, bytes.
pub const MAX_GROUP_NAME: usize = 128;
/// Most messages of a subscription that may be under way.
pub const MAX_IN_FLIGHT: u32 = 65_536;
/// How many may be if a subscription does not say.
pub const DEFAULT_IN_FLIGHT: u32 = 256;
/// Heaviest member of a queue group.
pub const MAX_WEIGHT: u32 = 1_000;
/// Most subscriptions of one kind.
pub const MAX_DECLARED: usize = 256;
/// Most events of one `read`.
pub const MAX_READ: u32 = 1_000;
/// Longest wait of one `read`.
pub const MAX_READ_WAIT_MS: u64 = 60_000;
/// Most topics of one `list`.
pub const MAX_LISTED: u32 = 1_000;
/// Deepest data of an event, lists and maps within each other: as deep as JSON may be for
/// its parser.
pub const MAX_DEPTH: usize = 127;

/// The space of a topic: its first token.
pub fn space_of(topic: &TopicName) -> &str {
    topic.tokens().next().unwrap_or_default()
}

/// Whom events of a topic are published to.
pub fn owner_of_topic(topic: &TopicName) -> AgentId {
    owner(space_of(topic))
}

/// Whom subscriptions to a pattern are sent to: the owner of its space, or the root if it
/// begins with a wildcard.
pub fn owner_of_pattern(pattern: &TopicPattern) -> AgentId {
    owner(space_of_pattern(pattern).unwrap_or(ROOT))
}

/// The owner of patterns that begin with a wildcard.
pub fn root() -> AgentId {
    owner(ROOT)
}

/// The one space that a pattern's topics are in; `None` if it begins with a wildcard.
pub fn space_of_pattern(pattern: &TopicPattern) -> Option<&str> {
    let first = pattern.tokens().next().unwrap_or_default();
    (first != super::pattern::ANY && first != super::pattern::REST).then_some(first)
}

fn owner(key: &str) -> AgentId {
    AgentId::new(&format!("{KIND}/{key}"))
        .unwrap_or_else(|_| unreachable!("a token, or the root's key, is the key of an agent"))
}

/// The methods of an owner.
pub mod method {
    /// Publish an event.
    pub const PUBLISH: &str = "publish";
    /// Begin a subscription, or go on with it on other terms.
    pub const SUBSCRIBE: &str = "subscribe";
    /// End a subscription.
    pub const UNSUBSCRIBE: &str = "unsubscribe";
    /// Set the subscriptions that a kind has for its agents.
    pub const DECLARE: &str = "declare";
    /// Say what is kept of topics.
    pub const CONFIGURE: &str = "configure";
    /// Read recent events.
    pub const READ: &str = "read";
    /// List topics.
    pub const LIST: &str = "list";
    /// List subscriptions.
    pub const SUBSCRIPTIONS: &str = "subscriptions";
    /// What a subscriber is called by if its subscription does not say.
    pub const ON_EVENT: &str = "on_event";
}

/// A message that an owner does not take. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It cannot be read.
    #[error("`{method}` cannot be read: {why}")]
    Unreadable {
        /// The method.
        method: &'static str,
        /// What is wrong, where, and what is accepted.
        why: String,
    },
    /// A field cannot be.
    #[error("field `{field}`: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong, and what is accepted.
        why: String,
    },
    /// A field is no topic, or no pattern.
    #[error("field `{field}`: {why}")]
    Topic {
        /// Which.
        field: &'static str,
        /// What is wrong, where, and what is accepted.
        why: BadTopic,
    },
}

impl BadRequest {
    /// A stable word for all of them.
    pub const CODE: &str = "bad-request";

    pub(super) fn field(field: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Field { field, why }
    }

    fn unreadable(method: &'static str, why: &dyn std::fmt::Display) -> Self {
        // Long enough for the list of fields that are accepted.
        let why = why.to_string().chars().take(600).collect();
        Self::Unreadable { method, why }
    }
}

/// Reads MessagePack: one value, at most [`MAX_DEPTH`] deep, and nothing after it.
pub(super) fn unpack<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let mut packed = rmp_serde::Deserializer::from_read_ref(bytes);
    // What it is to be below.
    packed.set_max_depth(MAX_DEPTH + 1);
    let value = T::deserialize(&mut packed).map_err(|error| error.to_string())?;
    // Of the reader only the whole is to be had: there is no marker to read at its end.
    match <()>::deserialize(&mut packed) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err("more bytes follow its value".to_owned()),
    }
}

/// Reads a map of fields.
pub(super) fn read<T: DeserializeOwned>(
    method: &'static str,
    payload: Payload<'_>,
) -> Result<T, BadRequest> {
    match payload.content_type {
        ContentType::MessagePack => {
            unpack(payload.bytes).map_err(|why| BadRequest::unreadable(method, &why))
        }
        ContentType::Json => serde_json::from_slice(payload.bytes)
            .map_err(|error| BadRequest::unreadable(method, &error)),
        // As if it were an empty map: so `list` can be called with nothing.
        ContentType::None => {
            serde_json::from_slice(b"{}").map_err(|error| BadRequest::unreadable(method, &error))
        }
        ContentType::Binary => Err(BadRequest::unreadable(
            method,
            &"it is bytes without a form: send a map as MessagePack or JSON",
        )),
    }
}

/// Writes a map of fields in the form that the question had.
pub fn encode<T: Serialize>(as_asked: ContentType, value: &T) -> (ContentType, Vec<u8>) {
    if as_asked == ContentType::Json {
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        return (ContentType::Json, bytes);
    }
    let bytes = rmp_serde::to_vec_named(value).unwrap_or_default();
    (ContentType::MessagePack, bytes)
}

/// A text of 1 to `most` bytes without control characters.
pub(super) fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), BadRequest> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        let why = format!(
            "`{}` is {} bytes: it must be 1 to {most} bytes without control characters",
            shown(text),
            text.len()
        );
        return Err(BadRequest::field(field, why));
    }
    Ok(())
}

/// A number in a range, both ends included.
pub(super) fn check_range(
    field: &'static str,
    found: u64,
    least: u64,
    most: u64,
) -> Result<(), BadRequest> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let why = format!("{found}: it must be {least} to {most}");
    Err(BadRequest::field(field, why))
}

/// Begins a subscription. One of the same subscriber and name goes on under the new terms:
/// from where it is if the pattern is the same and no `replay` is asked for.
///
/// An agent subscribes itself. Clients and the node subscribe an agent, or agents whose ids
/// a template takes from the event, by `to`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Which topics: all of one space, or of all spaces if it begins with a wildcard.
    #[serde(default)]
    pub pattern: String,
    /// The subscription's name among its subscriber's; if there is none, the pattern, or
    /// with `to` the pattern, a space and `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The handler that gets the events; [`method::ON_EVENT`] if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// An expression over attributes and data: only events of which it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The queue group: of the members of one, that is of those with the same pattern and
    /// group, each event goes to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How the group's member is chosen; round robin if none says. The last member that
    /// says so decides for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// This member's part in a weighted group, 1 to [`MAX_WEIGHT`]; 1 if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// How hard to try; as the receiving kind has it if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Reliability>,
    /// What becomes of events that find `in_flight` under way; `block` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Most messages without a verdict, 1 to [`MAX_IN_FLIGHT`]; [`DEFAULT_IN_FLIGHT`] if
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Where in the log it begins; `new` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What the handler gets; if there is none, `event`, or `data` where `to` is a
    /// template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// What is done with the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformOptions>,
    /// Whom the events go to: `kind/key`, or a template such as `visitor/{data.ip}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Subscribe {
    /// A subscription to a pattern, on the usual terms.
    pub fn to_pattern(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            ..Self::default()
        }
    }

    /// Reads it, and checks each field by itself.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<Self, BadRequest> {
        let read: Self = read(method::SUBSCRIBE, payload)?;
        read.check()?;
        Ok(read)
    }

    /// Checks each field by itself, and gives the pattern. Whether a filter or a template
    /// is one, its owner says.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn check(&self) -> Result<TopicPattern, BadRequest> {
        let why = |why| BadRequest::Topic {
            field: "pattern",
            why,
        };
        let pattern = TopicPattern::new(&self.pattern).map_err(why)?;
        let texts = [
            ("name", &self.name, MAX_SUBSCRIPTION_NAME),
            ("method", &self.method, MAX_METHOD),
            ("filter", &self.filter, MAX_FILTER),
            ("group", &self.group, MAX_GROUP_NAME),
            ("to", &self.to, MAX_TO),
        ];
        for (field, text, most) in texts {
            // A filter may be of several lines.
            match text {
                Some(text) if field == "filter" && text.len() <= most && !text.is_empty() => {}
                Some(text) => check_text(field, text, most)?,
                None => {}
            }
        }
        if let Some(weight) = self.weight {
            check_range("weight", weight.into(), 1, MAX_WEIGHT.into())?;
        }
        if let Some(in_flight) = self.in_flight {
            check_range("in_flight", in_flight.into(), 1, MAX_IN_FLIGHT.into())?;
        }
        if self.group.is_none() && (self.strategy.is_some() || self.weight.is_some()) {
            let why = "a strategy and a weight are a queue group's: give `group` too";
            return Err(BadRequest::field("group", why));
        }
        if self.delivery == Some(Reliability::AtMostOnce)
            && (self.overflow.is_some() || self.in_flight.is_some() || self.group.is_some())
        {
            let why = "at-most-once has no verdicts, and so neither `overflow`, `in_flight` nor \
                       `group`: choose at-least-once or exactly-once";
            return Err(BadRequest::field("delivery", why));
        }
        if matches!(self.replay, Some(Replay::From(_))) && pattern.only().is_none() {
            let why = format!(
                "an offset is one topic's, and `{pattern}` has wildcards: use `all`, `last N` or \
                 `since MILLIS`"
            );
            return Err(BadRequest::field("replay", why));
        }
        if let Some(to) = &self.to
            && !to.contains(['{', '}'])
        {
            let why = |bad: BadAgentId| BadRequest::field("to", bad.to_string());
            AgentId::check(to).map_err(why)?;
        }
        Ok(pattern)
    }

    /// The subscription's name among its subscriber's.
    pub fn name(&self) -> String {
        match (&self.name, &self.to) {
            (Some(name), _) => name.clone(),
            (None, None) => self.pattern.clone(),
            (None, Some(to)) => format!("{} {to}", self.pattern),
        }
    }
}

/// What became of a [`Subscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The subscription's name.
    pub name: String,
    /// The owner's life: events of another one are numbered anew. None from the root: each
    /// space has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The number of the first event that it may get. None from the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// Ends a subscription: nothing is sent for it any more. What is under way comes still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// Its name, which is its pattern if it was given none.
    pub name: String,
}

impl Unsubscribe {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<Self, BadRequest> {
        let read: Self = read(method::UNSUBSCRIBE, payload)?;
        check_text("name", &read.name, MAX_SUBSCRIPTION_NAME)?;
        Ok(read)
    }
}

/// What became of an [`Unsubscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribed {
    /// Whether there was such a subscription.
    pub was: bool,
}

/// Sets the subscriptions that a kind has for its agents: those of the same names go on,
/// those that are not among them end. From clients and the node only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declare {
    /// The kind.
    pub kind: String,
    /// Greater with each deployment: of a lower one than is known nothing is done.
    pub version: u64,
    /// All of them that are this owner's, each with `to`, at most [`MAX_DECLARED`].
    pub subscriptions: Vec<Subscribe>,
}

impl Declare {
    /// Reads it, and checks each field by itself.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<Self, BadRequest> {
        let read: Self = read(method::DECLARE, payload)?;
        crate::KindName::new(&read.kind)
            .map_err(|bad| BadRequest::field("kind", bad.to_string()))?;
        let count = read.subscriptions.len() as u64;
        check_range("subscriptions", count, 0, MAX_DECLARED as u64)?;
        for subscription in &read.subscriptions {
            subscription.check()?;
            if subscription.to.is_none() {
                let why = "a declared subscription says whom its events go to: write an agent \
                           or a template such as visitor/{data.ip}";
                return Err(BadRequest::field("to", why));
            }
        }
        Ok(read)
    }
}

/// What became of a [`Declare`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Subscriptions that began or changed.
    pub set: u64,
    /// Subscriptions that ended.
    pub ended: u64,
}

/// Says what is kept of topics. Of all that fit a topic the last one counts; one of the
/// same pattern takes the other's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// Which topics of the space.
    pub pattern: String,
    /// What their logs keep; no log if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogBounds>,
    /// Whether each keeps its last event for those that subscribe later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
}

/// What a topic's log keeps. Each event goes when the first of the bounds is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogBounds {
    /// How long, milliseconds; for ever if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Events; [`LogBounds::DEFAULT_COUNT`] if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Bytes; [`LogBounds::DEFAULT_BYTES`] if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl LogBounds {
    /// Events of a log that does not say.
    pub const DEFAULT_COUNT: u64 = 10_000;
    /// Bytes of a log that does not say.
    pub const DEFAULT_BYTES: u64 = 4 << 20;
    /// Most events of a log.
    pub const MAX_COUNT: u64 = 1_000_000;
    /// Most bytes of a log.
    pub const MAX_BYTES: u64 = 256 << 20;
    /// Longest age of an event: a hundred years.
    pub const MAX_AGE_MS: u64 = 100 * 365 * 86_400_000;

    pub(super) fn check(&self) -> Result<(), BadRequest> {
        for (field, value, most) in [
            ("log.age_ms", self.age_ms, Self::MAX_AGE_MS),
            ("log.count", self.count, Self::MAX_COUNT),
            ("log.bytes", self.bytes, Self::MAX_BYTES),
        ] {
            if let Some(value) = value {
                check_range(field, value, 1, most)?;
            }
        }
        Ok(())
    }
}

impl Configure {
    /// Reads it, and gives the pattern too.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<(Self, TopicPattern), BadRequest> {
        let read: Self = read(method::CONFIGURE, payload)?;
        let why = |why| BadRequest::Topic {
            field: "pattern",
            why,
        };
        let pattern = TopicPattern::new(&read.pattern).map_err(why)?;
        if let Some(log) = &read.log {
            log.check()?;
        }
        Ok((read, pattern))
    }
}

/// Reads recent events, or waits for some: what is there is answered at once.
///
/// Events of logged topics can be read as long as the log has them, others for a short
/// while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Which topics of the space.
    pub pattern: String,
    /// Those above this number; only those that are published from now on if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The epoch that `after` is of: in another one it counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Most of them, 1 to [`MAX_READ`].
    #[serde(default = "Read::usual_max")]
    pub max: u32,
    /// How long to wait if there is none, milliseconds, to [`MAX_READ_WAIT_MS`]. Whoever
    /// asks waits as long, and a second more.
    #[serde(default)]
    pub wait_ms: u64,
}

impl Read {
    fn usual_max() -> u32 {
        100
    }

    /// Reads it, and gives the pattern too.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<(Self, TopicPattern), BadRequest> {
        let read: Self = read(method::READ, payload)?;
        let why = |why| BadRequest::Topic {
            field: "pattern",
            why,
        };
        let pattern = TopicPattern::new(&read.pattern).map_err(why)?;
        check_range("max", read.max.into(), 1, MAX_READ.into())?;
        check_range("wait_ms", read.wait_ms, 0, MAX_READ_WAIT_MS)?;
        Ok((read, pattern))
    }
}

/// What a [`Read`] is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// The owner's life.
    pub epoch: u64,
    /// The `after` of the read that follows on this one.
    pub next: u64,
    /// Numbers among which events are missing that the owner has no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// The events, in order.
    pub events: Vec<ReadEvent>,
}

/// Lists the topics of a space of which something is kept; from the root, the spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Those after this one; from the first if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl List {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'_>) -> Result<Self, BadRequest> {
        let read: Self = read(method::LIST, payload)?;
        if let Some(after) = &read.after {
            check_text("after", after, MAX_TOPIC)?;
        }
        Ok(read)
    }
}

/// What a [`List`] is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The space; `.root` of the root.
    pub space: String,
    /// The owner's life.
    pub epoch: u64,
    /// The number of the last event, 0 if there was none.
    pub number: u64,
    /// Subscriptions, those to patterns that begin with a wildcard included.
    pub subscriptions: u64,
    /// Those of them that are behind: in a log, or with `in_flight` messages under way.
    pub behind: u64,
    /// Topics of which something is kept, in order, at most [`MAX_LISTED`].
    pub topics: Vec<ListedTopic>,
    /// Of the root: the spaces it knows, in order, at most [`MAX_LISTED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<String>,
    /// Whether there are more.
    pub more: bool,
    /// What became of events, counted since the owner's life began.
    pub counts: Counts,
}

/// What became of events, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages to subscribers.
    pub sent: u64,
    /// Of those, messages that were not applied, as far as is known.
    pub not_applied: u64,
    /// Events that a filter could not judge: it failed, or cost too much.
    pub filter_failed: u64,
    /// Events that had no receiver: a template found nothing in them, or no agent's id.
    pub no_receiver: u64,
    /// Events that a transformation could not change.
    pub transform_failed: u64,
    /// Events dropped as their subscription's overflow policy has it.
    pub dropped: u64,
    /// Events that a subscription, or a read, came too late for.
    pub missed: u64,
    /// Events sent again, to another member of a queue group.
    pub redelivered: u64,
    /// Events that no member of a queue group took.
    pub given_up: u64,
}

/// A topic of which something is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTopic {
    /// Its name.
    pub topic: String,
    /// Bounds of its log, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogBounds>,
    /// The offset of the oldest event there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The offset that the next event gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Events in the log.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether its last event is kept for those that subscribe later.
    pub retained: bool,
}
