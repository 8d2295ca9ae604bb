//! Events in Protocol Buffers: the schema `io.cloudevents.v1`
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/formats/cloudevents.proto>),
//! written down as prost has it, so that no compiler of schemas is needed.
//!
//! A message of two bytes would make a struct of a hundred, and a map entry of
//! four a node of a tree. So fields are counted over the raw bytes first, and
//! a batch is taken apart before its events are read.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use phoenix_core::attributes::{
    BadAttribute, BadEvent, CloudEvent, EventBuilder, Format, MAX_EXTENSIONS, SPEC_VERSION,
    Timestamp, Value, names,
};
use prost::Message as _;

use super::{EventLimits, check_events};

/// `io.cloudevents.v1.CloudEvent`.
#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, tag = "3")]
    spec_version: String,
    #[prost(string, tag = "4")]
    r#type: String,
    #[prost(btree_map = "string, message", tag = "5")]
    attributes: BTreeMap<String, AttributeValue>,
    #[prost(oneof = "Data", tags = "6, 7, 8")]
    data: Option<Data>,
}

/// `io.cloudevents.v1.CloudEvent.data`.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(bytes = "bytes", tag = "6")]
    Binary(Bytes),
    #[prost(string, tag = "7")]
    Text(String),
    #[prost(message, tag = "8")]
    Proto(Any),
}

/// `io.cloudevents.v1.CloudEvent.CloudEventAttributeValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct AttributeValue {
    #[prost(oneof = "Attribute", tags = "1, 2, 3, 4, 5, 6, 7")]
    attribute: Option<Attribute>,
}

/// `io.cloudevents.v1.CloudEvent.CloudEventAttributeValue.attr`.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Attribute {
    #[prost(bool, tag = "1")]
    Boolean(bool),
    #[prost(int32, tag = "2")]
    Integer(i32),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bytes = "bytes", tag = "4")]
    Bytes(Bytes),
    #[prost(string, tag = "5")]
    Uri(String),
    #[prost(string, tag = "6")]
    UriReference(String),
    #[prost(message, tag = "7")]
    Timestamp(Instant),
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
struct Instant {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The number of `attributes` in an event.
const ATTRIBUTES: u64 = 5;
/// The number of `events` in a batch.
const EVENTS: u64 = 1;

/// Most entries of `attributes`: extensions, and what CloudEvents makes optional.
const MAX_ATTRIBUTES: usize = MAX_EXTENSIONS + 4;

/// The media type of a message within a message.
const PROTOBUF: &str = "application/protobuf";

pub(super) fn encode(event: &CloudEvent) -> Bytes {
    written(event).encode_to_vec().into()
}

pub(super) fn encode_batch(events: &[CloudEvent]) -> Bytes {
    let mut out = BytesMut::new();
    for event in events {
        let tag = u32::try_from(EVENTS).unwrap_or_default();
        prost::encoding::message::encode(tag, &written(event), &mut out);
    }
    out.freeze()
}

fn written(event: &CloudEvent) -> Event {
    let mut attributes = BTreeMap::new();
    let mut put = |name: &str, attribute: Option<Attribute>| {
        if attribute.is_some() {
            attributes.insert(name.to_owned(), AttributeValue { attribute });
        }
    };
    let text = |text: &str| Attribute::String(text.to_owned());
    put(names::SUBJECT, event.subject.as_deref().map(text));
    put(
        names::TIME,
        event.time.map(|time| {
            Attribute::Timestamp(Instant {
                seconds: time.seconds(),
                nanos: i32::try_from(time.nanos()).unwrap_or_default(),
            })
        }),
    );
    let content_type = event.data_content_type.as_deref();
    put(names::DATA_CONTENT_TYPE, content_type.map(text));
    let schema = event.data_schema.as_ref();
    put(
        names::DATA_SCHEMA,
        schema.map(|uri| Attribute::Uri(uri.to_string())),
    );
    for (name, value) in event.extensions.iter() {
        put(
            name,
            Some(match value {
                Value::Boolean(value) => Attribute::Boolean(*value),
                Value::Integer(value) => Attribute::Integer(*value),
                Value::Text(value) => text(value),
            }),
        );
    }
    Event {
        id: event.id.to_string(),
        source: event.source.to_string(),
        spec_version: SPEC_VERSION.to_owned(),
        r#type: event.event_type.to_string(),
        attributes,
        data: event.data.as_ref().map(|data| data_of(event, data)),
    }
}

/// What is text by its media type is written as text.
fn data_of(event: &CloudEvent, data: &Bytes) -> Data {
    if (event.has_text() || event.has_json())
        && let Ok(text) = std::str::from_utf8(data)
    {
        return Data::Text(text.to_owned());
    }
    Data::Binary(data.clone())
}

pub(super) fn decode(bytes: Bytes) -> Result<CloudEvent, BadEvent> {
    let mut attributes = 0;
    let mut fields = Fields::new(&bytes);
    while let Some(field) = fields.next()? {
        attributes += usize::from(field.number == ATTRIBUTES);
    }
    if attributes > MAX_ATTRIBUTES {
        return Err(BadEvent::TooMuch {
            what: "attributes",
            found: attributes,
            bound: MAX_ATTRIBUTES,
        });
    }
    let event = Event::decode(bytes).map_err(|error| BadEvent::Syntax {
        format: Format::Protobuf,
        what: error.to_string().into(),
        at: None,
    })?;
    read(event)
}

pub(super) fn decode_batch(
    bytes: Bytes,
    limits: &EventLimits,
) -> Result<Vec<CloudEvent>, BadEvent> {
    let mut count = 0;
    let mut fields = Fields::new(&bytes);
    while let Some(field) = fields.next()? {
        count += usize::from(field.number == EVENTS);
    }
    check_events(count, limits)?;
    let mut events = Vec::new();
    let mut fields = Fields::new(&bytes);
    while let Some(field) = fields.next()? {
        if field.number != EVENTS {
            continue;
        }
        let event = match field.content {
            Some(content) => decode(bytes.slice_ref(content)),
            None => Err(wrong(fields.at(), "an event is a message")),
        };
        events.push(event.map_err(|bad| bad.of_batch(events.len()))?);
    }
    Ok(events)
}

fn read(read: Event) -> Result<CloudEvent, BadEvent> {
    let mut event = EventBuilder::new();
    for (name, text) in [
        (names::SPEC_VERSION, read.spec_version),
        (names::ID, read.id),
        (names::SOURCE, read.source),
        (names::TYPE, read.r#type),
    ] {
        // An empty text and none are the same in this format.
        if !text.is_empty() {
            event.set(name, Value::text(text))?;
        }
    }
    let (mut has_type, mut has_schema) = (false, false);
    for (name, value) in read.attributes {
        has_type |= name == names::DATA_CONTENT_TYPE;
        has_schema |= name == names::DATA_SCHEMA;
        if let Some(value) = value.attribute {
            event.set(&name, attribute(&name, value)?)?;
        }
    }
    match read.data {
        None => {}
        Some(Data::Binary(data)) => event.set_data(data),
        Some(Data::Text(text)) => event.set_data(text.into()),
        Some(Data::Proto(Any { type_url, value })) => {
            if !has_type {
                event.set(names::DATA_CONTENT_TYPE, Value::text(PROTOBUF))?;
            }
            // Type URLs are usually written without their scheme.
            if !has_schema && !type_url.is_empty() {
                let uri = if type_url.contains("://") {
                    type_url
                } else {
                    format!("https://{type_url}")
                };
                event.set(names::DATA_SCHEMA, Value::text(uri))?;
            }
            event.set_data(value);
        }
    }
    Ok(event.build()?)
}

fn attribute(name: &str, value: Attribute) -> Result<Value, BadAttribute> {
    Ok(match value {
        Attribute::Boolean(value) => Value::Boolean(value),
        Attribute::Integer(value) => Value::Integer(value),
        Attribute::String(text) | Attribute::Uri(text) | Attribute::UriReference(text) => {
            Value::text(text)
        }
        Attribute::Bytes(bytes) => Value::text(BASE64.encode(&bytes)),
        Attribute::Timestamp(Instant { seconds, nanos }) => {
            let at = u32::try_from(nanos).ok();
            let at = at.and_then(|nanos| Timestamp::new(seconds, nanos));
            let Some(at) = at else {
                return Err(BadAttribute::wrong(
                    name,
                    &format_args!("{seconds} s and {nanos} ns"),
                    "a time from the year 1 to 9999, its nanoseconds below 1,000,000,000",
                ));
            };
            Value::text(at.to_string())
        }
    })
}

/// A message's fields, without what is in them.
struct Fields<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

struct Field<'a> {
    number: u64,
    /// The bytes of a text, a byte string or a message.
    content: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn new(whole: &'a [u8]) -> Self {
        Self { whole, rest: whole }
    }

    fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, BadEvent> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let content = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => self.skip(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Some(self.skip(length)?)
            }
            5 => self.skip(4).map(|_| None)?,
            // Groups nest, and nothing has had any since version 2.
            _ => return Err(wrong(self.at(), "a field has no type of version 3")),
        };
        Ok(Some(Field {
            number: key >> 3,
            content,
        }))
    }

    fn skip(&mut self, length: usize) -> Result<&'a [u8], BadEvent> {
        let at = self.at();
        let (skipped, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| wrong(at, "it ends within a field"))?;
        self.rest = rest;
        Ok(skipped)
    }

    fn varint(&mut self) -> Result<u64, BadEvent> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.skip(1)?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(wrong(self.at(), "a number is longer than 64 bits"))
    }
}

fn wrong(at: usize, what: &'static str) -> BadEvent {
    BadEvent::Syntax {
        format: Format::Protobuf,
        what: what.into(),
        at: Some(at),
    }
}
