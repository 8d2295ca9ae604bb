//! Publishing an event.

use std::borrow::Cow;

use phoenix_wit::{ContentType, Payload};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{BadRequest, EventAttributes, MAX_DEPTH, attribute, check_text, method};
use crate::topics::TopicName;

/// Most bytes of an event's data: with what is said about it, it fits the largest message
/// of a usual kind.
pub const MAX_EVENT_DATA: usize = 960 << 10;
/// Longest type of an event, bytes.
pub const MAX_EVENT_TYPE: usize = 256;
/// Longest key of an event, bytes.
pub const MAX_EVENT_KEY: usize = 256;

/// How data is to be read, as messages of an owner call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// There is none.
    #[default]
    None,
    /// MessagePack.
    MessagePack,
    /// JSON.
    Json,
    /// Bytes whose meaning only publishers and subscribers know.
    Binary,
}

impl From<ContentType> for Format {
    fn from(content_type: ContentType) -> Self {
        match content_type {
            ContentType::None => Self::None,
            ContentType::MessagePack => Self::MessagePack,
            ContentType::Json => Self::Json,
            ContentType::Binary => Self::Binary,
        }
    }
}

impl From<Format> for ContentType {
    fn from(format: Format) -> Self {
        match format {
            Format::None => Self::None,
            Format::MessagePack => Self::MessagePack,
            Format::Json => Self::Json,
            Format::Binary => Self::Binary,
        }
    }
}

/// Publishes an event.
///
/// In MessagePack `format` says how the bytes of `data` are to be read, MessagePack if it
/// is not there. In JSON `data` is any value, and `format` is `json` if it is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The data: well-formed, if it is JSON or MessagePack.
    pub data: Payload<'a>,
    /// What kind of event it is, as `order.created` (`type`).
    pub event_type: Option<Cow<'a, str>>,
    /// What it is about: a consistent hash may go by it.
    pub key: Option<Cow<'a, str>>,
    /// What filters may look at besides the data.
    pub attributes: EventAttributes,
    /// Whether the topic keeps it, in place of the last one, for those that subscribe
    /// later. Without data it only ends that.
    pub retain: bool,
    /// Milliseconds from its publication after which it is of no use to a subscriber.
    pub ttl_ms: Option<u64>,
}

/// The map, with data in its own form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "D: Deserialize<'de>"))]
struct Fields<'a, D> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(default)]
    data: Option<D>,
    #[serde(
        default,
        rename = "type",
        borrow,
        skip_serializing_if = "Option::is_none"
    )]
    event_type: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "EventAttributes::is_empty")]
    attributes: EventAttributes,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

impl<'a> Publish<'a> {
    /// An event without anything but its data.
    pub fn new(topic: &'a TopicName, data: Payload<'a>) -> Self {
        Self {
            topic: topic.as_str().into(),
            data,
            event_type: None,
            key: None,
            attributes: EventAttributes::new(),
            retain: false,
            ttl_ms: None,
        }
    }

    /// Reads it, checks it, and gives its topic too.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn decode(payload: Payload<'a>) -> Result<(Self, TopicName), BadRequest> {
        let bad = |why: &dyn std::fmt::Display| BadRequest::unreadable(method::PUBLISH, why);
        let read = match payload.content_type {
            ContentType::MessagePack => {
                let fields: Fields<'_, &serde_bytes::Bytes> =
                    super::unpack(payload.bytes).map_err(|why| bad(&why))?;
                let bytes: &[u8] = fields.data.map_or(&[], |data| data);
                let usual = if fields.data.is_some() {
                    Format::MessagePack
                } else {
                    Format::None
                };
                let format = fields.format.unwrap_or(usual);
                check_data(format, bytes)?;
                fields.with(format, bytes)
            }
            ContentType::Json => {
                let fields: Fields<'_, &RawValue> =
                    serde_json::from_slice(payload.bytes).map_err(|error| bad(&error))?;
                let bytes: &[u8] = fields.data.map_or(&[], |data| data.get().as_bytes());
                let there = if fields.data.is_some() {
                    Format::Json
                } else {
                    Format::None
                };
                if fields.format.is_some_and(|format| format != there) {
                    let why = "in a JSON message it is `json`, or `none` where there is no data: \
                               send other data in a MessagePack message";
                    return Err(BadRequest::field("format", why));
                }
                check_json_depth(bytes)?;
                fields.with(there, bytes)
            }
            ContentType::None | ContentType::Binary => {
                return Err(bad(
                    &"send a map as MessagePack or JSON, such as {\"topic\":\"a.b\",\"data\":1}",
                ));
            }
        };
        let topic = read.check()?;
        Ok((read, topic))
    }

    /// Checks each field, and gives the topic. Data is not looked into.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn check(&self) -> Result<TopicName, BadRequest> {
        let why = |why| BadRequest::Topic {
            field: "topic",
            why,
        };
        let topic = TopicName::new(&self.topic).map_err(why)?;
        let bytes = self.data.bytes.len();
        if bytes > MAX_EVENT_DATA {
            let why = format!("{bytes} bytes: it may have {MAX_EVENT_DATA}");
            return Err(BadRequest::field("data", why));
        }
        if let Some(event_type) = &self.event_type {
            check_text("type", event_type, MAX_EVENT_TYPE)?;
        }
        if let Some(key) = &self.key {
            check_text("key", key, MAX_EVENT_KEY)?;
        }
        attribute::check(&self.attributes)?;
        if let Some(ttl) = self.ttl_ms {
            super::check_range("ttl_ms", ttl, 1, super::LogBounds::MAX_AGE_MS)?;
        }
        Ok(topic)
    }

    /// Appends it as a MessagePack map.
    pub fn write(&self, out: &mut Vec<u8>) {
        let has_data = self.data.content_type != ContentType::None;
        let fields = Fields {
            topic: Cow::Borrowed(&*self.topic),
            format: Some(self.data.content_type.into()),
            data: has_data.then(|| serde_bytes::Bytes::new(self.data.bytes)),
            event_type: self.event_type.as_deref().map(Cow::Borrowed),
            key: self.key.as_deref().map(Cow::Borrowed),
            attributes: self.attributes.clone(),
            retain: self.retain,
            ttl_ms: self.ttl_ms,
        };
        // Writing to a vector does not fail.
        let _ = rmp_serde::encode::write_named(out, &fields);
    }
}

impl<'a, D> Fields<'a, D> {
    fn with(self, format: Format, bytes: &'a [u8]) -> Publish<'a> {
        Publish {
            topic: self.topic,
            data: Payload {
                content_type: format.into(),
                bytes,
            },
            event_type: self.event_type,
            key: self.key,
            attributes: self.attributes,
            retain: self.retain,
            ttl_ms: self.ttl_ms,
        }
    }
}

/// Whether data is what its format says. It is put into events as it is: what is not well
/// formed could say it is from somebody else.
fn check_data(format: Format, data: &[u8]) -> Result<(), BadRequest> {
    let wrong = |what: &str, why: &dyn std::fmt::Display| {
        let why = format!("it is no {what}: {why}; say `format` if it is something else");
        Err(BadRequest::field("data", why))
    };
    match format {
        Format::None if data.is_empty() => Ok(()),
        Format::None => wrong("`none`", &format_args!("there are {} bytes", data.len())),
        Format::Binary => Ok(()),
        Format::Json => match serde_json::from_slice::<IgnoredAny>(data) {
            Ok(_) => check_json_depth(data),
            Err(error) => wrong("JSON", &error),
        },
        Format::MessagePack => match super::unpack::<IgnoredAny>(data) {
            Ok(_) => Ok(()),
            Err(why) => wrong("MessagePack", &why),
        },
    }
}

/// Whether well-formed JSON is no deeper than [`MAX_DEPTH`]: what only looks whether it is
/// well-formed does not count.
fn check_json_depth(data: &[u8]) -> Result<(), BadRequest> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in data {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let why = format!("it is deeper than {MAX_DEPTH} lists and maps");
            return Err(BadRequest::field("data", why));
        }
    }
    Ok(())
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its topic.
    pub topic: String,
    /// The owner's life: in another one events are numbered anew.
    pub epoch: u64,
    /// Its number among those of the space, from 1.
    pub number: u64,
    /// Its offset in the topic's log, from 1, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Subscriptions whose pattern its topic matches.
    pub matched: u64,
}
