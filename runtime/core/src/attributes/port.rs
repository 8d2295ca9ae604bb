//! The port to the formats events are written in. The codecs are `net`'s; the
//! gateway, which may not know `net`, reaches them through this.

use std::fmt;

use bytes::Bytes;

use super::event::essence;
use super::{BadAttribute, CloudEvent};

/// A format events are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A MessagePack map of attributes by name, with `data` as bytes.
    MessagePack,
    /// The message `io.cloudevents.v1.CloudEvent` of Protocol Buffers.
    Protobuf,
    /// The JSON format of CloudEvents.
    Json,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::MessagePack, Self::Protobuf, Self::Json];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessagePack => "msgpack",
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }

    /// The format of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// The media type of one event.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::MessagePack => "application/cloudevents+msgpack",
            Self::Protobuf => "application/cloudevents+protobuf",
            Self::Json => "application/cloudevents+json",
        }
    }

    /// The media type of a batch.
    pub const fn batch_media_type(self) -> &'static str {
        match self {
            Self::MessagePack => "application/cloudevents-batch+msgpack",
            Self::Protobuf => "application/cloudevents-batch+protobuf",
            Self::Json => "application/cloudevents-batch+json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a request or response carries events, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentMode {
    /// The body is data; attributes, if it is an event at all, are headers.
    Binary,
    /// The body is one event.
    Structured(Format),
    /// The body is a batch of events.
    Batch(Format),
}

impl ContentMode {
    /// The mode of a `Content-Type`.
    ///
    /// # Errors
    ///
    /// It says events, in a format that is not spoken here.
    pub fn of(content_type: &str) -> Result<Self, BadAttribute> {
        let essence = essence(content_type).to_ascii_lowercase();
        if !essence.starts_with("application/cloudevents") {
            return Ok(Self::Binary);
        }
        let of = |media: fn(Format) -> &'static str| {
            Format::ALL
                .into_iter()
                .find(|format| media(*format) == essence)
        };
        of(Format::media_type)
            .map(Self::Structured)
            .or_else(|| of(Format::batch_media_type).map(Self::Batch))
            .ok_or_else(|| {
                BadAttribute::wrong(
                    "content-type",
                    &content_type,
                    "application/cloudevents or application/cloudevents-batch with +json, +msgpack or +protobuf",
                )
            })
    }
}

/// Why bytes are no event. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// An attribute is malformed.
    #[error("{0}")]
    Attribute(#[from] BadAttribute),
    /// The bytes are not of the format.
    #[error("it is no event in {format}: {what}{}", place(*at))]
    Syntax {
        /// Of which.
        format: Format,
        /// What is wrong.
        what: Box<str>,
        /// Where, counted from 0, if that is known; in Protocol Buffers, within
        /// the event.
        at: Option<usize>,
    },
    /// There is more of something than there may be.
    #[error("{found} {what} are over the bound of {bound}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much there is, as far as was counted.
        found: usize,
        /// How much there may be.
        bound: usize,
    },
    /// An event of a batch is bad.
    #[error("event {index}: {bad}")]
    InBatch {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        bad: Box<BadEvent>,
    },
}

fn place(at: Option<usize>) -> String {
    at.map_or(String::new(), |at| format!(", at byte {at}"))
}

impl BadEvent {
    /// The same, of the event `index` of a batch.
    #[must_use]
    pub fn of_batch(self, index: usize) -> Self {
        Self::InBatch {
            index,
            bad: Box::new(self),
        }
    }
}

/// Writes and reads events. Nothing waits.
pub trait EventCodec: Send + Sync {
    /// One event as bytes.
    fn encode(&self, format: Format, event: &CloudEvent) -> Bytes;

    /// A batch as bytes.
    fn encode_batch(&self, format: Format, events: &[CloudEvent]) -> Bytes;

    /// Reads one event.
    ///
    /// # Errors
    ///
    /// The bytes are not of the format, break a bound, or an attribute is malformed.
    fn decode(&self, format: Format, bytes: Bytes) -> Result<CloudEvent, BadEvent>;

    /// Reads a batch.
    ///
    /// # Errors
    ///
    /// As of [`EventCodec::decode`]; all of a batch is good, or none of it is read.
    fn decode_batch(&self, format: Format, bytes: Bytes) -> Result<Vec<CloudEvent>, BadEvent>;
}
