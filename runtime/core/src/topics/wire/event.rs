//! Events, as subscribers and readers get them.

use phoenix_wit::{ContentType, Payload};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{EventAttributes, Format};

/// What a subscriber gets in the form `event`: a map with these fields, in the data's
/// content type, or MessagePack if the data is binary or there is none.
///
/// The data is in it as it was published, `D` being what it is read as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received<D> {
    /// The topic.
    pub topic: String,
    /// Who published it, vouched for by the node: `kind/key` or `client/ID`.
    pub publisher: String,
    /// The owner's life: in another one events are numbered anew, from 1.
    pub epoch: u64,
    /// Its number among the events of the space, from 1.
    pub number: u64,
    /// Its offset in the topic's log, from 1, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was published, milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// What kind of event it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "EventAttributes::is_empty")]
    pub attributes: EventAttributes,
    /// What there is to know of this event's way to this subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The data, if there is some.
    #[serde(
        default = "Option::default",
        skip_serializing_if = "Option::is_none",
        bound(deserialize = "D: Deserialize<'de>")
    )]
    pub data: Option<D>,
}

/// What there is to know of an event's way to a subscriber; fields that are not so are not
/// there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The first since the owner began a life after an earlier one: events of that one are
    /// numbered otherwise, and some may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub epoch: bool,
    /// Events before this one are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// It was kept, and published before the subscription.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retained: bool,
    /// It comes out of the log, and was published before the subscription.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Sent again, after another member of the queue group did not apply it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
}

impl Mark {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Events that are missing: all of the subscription's are among these numbers, of which
/// some may not have been its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
}

/// An event without its data, to be written in the form `event`: see [`Received`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventHead<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Who published it.
    pub publisher: &'a str,
    /// The owner's life.
    pub epoch: u64,
    /// Its number among the events of the space.
    pub number: u64,
    /// Its offset in the topic's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was published, milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// What kind of event it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<&'a str>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// What it says about itself.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub attributes: Option<&'a EventAttributes>,
    /// What there is to know of its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

fn is_none_or_empty(attributes: &Option<&EventAttributes>) -> bool {
    attributes.is_none_or(EventAttributes::is_empty)
}

impl EventHead<'_> {
    /// Writes the form `event`: the data, which is well-formed, goes in as it is.
    pub fn with_data(&self, data: Payload<'_>) -> (ContentType, Vec<u8>) {
        if data.content_type == ContentType::Json {
            let mut json = serde_json::to_vec(self).unwrap_or_default();
            json.pop();
            json.extend_from_slice(b",\"data\":");
            json.extend_from_slice(data.bytes);
            json.push(b'}');
            return (ContentType::Json, json);
        }
        let mut packed = rmp_serde::to_vec_named(self).unwrap_or_default();
        if data.content_type != ContentType::None {
            // A map of fewer than 15 fields has their number in its first byte.
            if let Some(count) = packed.first_mut() {
                *count += 1;
            }
            packed.extend_from_slice(b"\xa4data");
        }
        match data.content_type {
            ContentType::Binary => {
                // Writing to a vector does not fail.
                let bytes = serde_bytes::Bytes::new(data.bytes);
                let _ = rmp_serde::encode::write(&mut packed, bytes);
            }
            _ => packed.extend_from_slice(data.bytes),
        }
        (ContentType::MessagePack, packed)
    }
}

/// An event, as a reader gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadEvent {
    /// The topic.
    pub topic: String,
    /// Who published it.
    pub publisher: String,
    /// Its number among the events of the space.
    pub number: u64,
    /// Its offset in the topic's log, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// When it was published, milliseconds since 1970-01-01 UTC.
    pub time: u64,
    /// What kind of event it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it says about itself.
    #[serde(default, skip_serializing_if = "EventAttributes::is_empty")]
    pub attributes: EventAttributes,
    /// How the data is to be read.
    pub format: Format,
    /// The data.
    pub data: ReadData,
}

/// The data of an event that is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReadData {
    /// In an answer in JSON: its value; of data that JSON cannot say, a text of its bytes
    /// in hexadecimal digits, with `binary` as its format.
    Value(serde_json::Value),
    /// In an answer in MessagePack: its bytes.
    Bytes(ByteBuf),
}

impl ReadData {
    /// The data for an answer of a content type, and the format that says how to read it.
    pub fn of(data: Payload<'_>, answer: ContentType) -> (Format, Self) {
        let format = Format::from(data.content_type);
        if answer != ContentType::Json {
            return (format, Self::Bytes(ByteBuf::from(data.bytes)));
        }
        let value = match format {
            Format::None => Some(serde_json::Value::Null),
            Format::Json => serde_json::from_slice(data.bytes).ok(),
            Format::MessagePack => rmp_serde::from_slice(data.bytes).ok(),
            Format::Binary => None,
        };
        match value {
            Some(value) => (format, Self::Value(value)),
            None => {
                let hex = data.bytes.iter().map(|byte| format!("{byte:02x}"));
                let hex: String = hex.collect();
                (Format::Binary, Self::Value(hex.into()))
            }
        }
    }
}
