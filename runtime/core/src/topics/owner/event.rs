//! An event as its owner keeps it.

use phoenix_wit::Payload;
use smol_str::SmolStr;

use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};
use crate::topics::TopicName;
use crate::topics::wire::{Attribute, EventAttributes, EventHead, Mark, ReadData, ReadEvent};

/// What one costs beside its texts and data, bytes.
const OVERHEAD: u64 = 192;

/// An event as its owner keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) topic: TopicName,
    pub(super) publisher: SmolStr,
    /// From 1, among those of the space.
    pub(super) number: u64,
    /// From 1, in the topic's log; 0 if it has none.
    pub(super) offset: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) time: u64,
    /// From then on it is of no use; 0 for never.
    pub(super) expires: u64,
    pub(super) event_type: Option<SmolStr>,
    pub(super) key: Option<SmolStr>,
    pub(super) attributes: EventAttributes,
    pub(super) data: crate::Payload,
}

impl Event {
    /// Bytes it counts for.
    pub(super) fn bytes(&self) -> u64 {
        let text = |text: &Option<SmolStr>| text.as_ref().map_or(0, SmolStr::len);
        let attributes = self.attributes.iter().map(|(name, value)| {
            let value = match value {
                Attribute::Text(text) => text.len(),
                _ => size_of::<u64>(),
            };
            64 + name.len() + value
        });
        let bytes = self.topic.as_str().len()
            + self.publisher.len()
            + text(&self.event_type)
            + text(&self.key)
            + attributes.sum::<usize>()
            + self.data.bytes.len();
        OVERHEAD + bytes as u64
    }

    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }

    pub(super) fn payload(&self) -> Payload<'_> {
        self.data.as_wit()
    }

    pub(super) fn head(&self, epoch: u64, mark: Mark) -> EventHead<'_> {
        EventHead {
            topic: self.topic.as_str(),
            publisher: &self.publisher,
            epoch,
            number: self.number,
            offset: self.log_offset(),
            time: self.time,
            event_type: self.event_type.as_deref(),
            key: self.key.as_deref(),
            attributes: Some(&self.attributes),
            mark: (!mark.is_empty()).then_some(mark),
        }
    }

    pub(super) fn log_offset(&self) -> Option<u64> {
        (self.offset != 0).then_some(self.offset)
    }

    /// As a reader gets it who is answered in a content type.
    pub(super) fn as_read(&self, answer: phoenix_wit::ContentType) -> ReadEvent {
        let (format, data) = ReadData::of(self.payload(), answer);
        ReadEvent {
            topic: self.topic.as_str().to_owned(),
            publisher: self.publisher.to_string(),
            number: self.number,
            offset: self.log_offset(),
            time: self.time,
            event_type: self.event_type.as_ref().map(ToString::to_string),
            key: self.key.as_ref().map(ToString::to_string),
            attributes: self.attributes.clone(),
            format,
            data,
        }
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.text(self.topic.as_str());
        out.text(&self.publisher);
        out.number(self.number);
        out.number(self.offset);
        out.number(self.time);
        out.number(self.expires);
        for text in [&self.event_type, &self.key] {
            out.text(text.as_deref().unwrap_or_default());
        }
        out.number(self.attributes.len() as u64);
        for (name, value) in &self.attributes {
            out.text(name);
            match value {
                Attribute::Bool(value) => out.u8(u8::from(*value)),
                Attribute::Int(value) => {
                    out.u8(2);
                    out.0.extend_from_slice(&value.to_le_bytes());
                }
                Attribute::Float(value) => {
                    out.u8(3);
                    out.0.extend_from_slice(&value.to_bits().to_le_bytes());
                }
                Attribute::Text(text) => {
                    out.u8(4);
                    out.text(text);
                }
            }
        }
        out.payload(&self.data);
    }

    pub(super) fn load(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let bad = SnapshotError::Invalid;
        let topic = TopicName::new(from.text("topic")?).map_err(|_| bad("topic"))?;
        let publisher = from.text("publisher")?.into();
        let number = from.number("event's number")?;
        let offset = from.number("event's offset")?;
        let time = from.number("event's time")?;
        let expires = from.number("event's expiry")?;
        // Neither may be empty.
        let mut text = |what| {
            let text = from.text(what)?;
            Ok::<_, SnapshotError>((!text.is_empty()).then(|| SmolStr::from(text)))
        };
        let (event_type, key) = (text("event's type")?, text("event's key")?);
        let mut attributes = EventAttributes::new();
        for _ in 0..from.count(2, "attributes")? {
            let name = from.text("attribute")?.to_owned();
            let value = match from.u8("attribute")? {
                0 => Attribute::Bool(false),
                1 => Attribute::Bool(true),
                2 => Attribute::Int(i64::from_le_bytes(from.array("attribute")?)),
                3 => Attribute::Float(f64::from_bits(u64::from_le_bytes(from.array("attribute")?))),
                4 => Attribute::Text(from.text("attribute")?.to_owned()),
                _ => return Err(bad("attribute")),
            };
            if attributes
                .last_key_value()
                .is_some_and(|(last, _)| *last >= name)
            {
                return Err(bad("attributes"));
            }
            attributes.insert(name, value);
        }
        Ok(Self {
            topic,
            publisher,
            number,
            offset,
            time,
            expires,
            event_type,
            key,
            attributes,
            data: from.payload()?,
        })
    }
}
