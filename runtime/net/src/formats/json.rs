//! Events in the JSON format of CloudEvents 1.0, one or a batch
//! (<https://github.com/cloudevents/spec/blob/main/cloudevents/formats/json-format.md>).
//!
//! Nesting is counted over the raw bytes before any of them is read. Data that
//! is JSON is written and read as the bytes it is, not as values; data that is
//! not, or that nests too deep or has white space around it, is written in base64.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use phoenix_core::attributes::{
    BadAttribute, BadEvent, CloudEvent, EventBuilder, Format, SPEC_VERSION, Value, names,
};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{EventLimits, check_events};

/// The member of data as a value.
const DATA: &str = "data";
/// The member of data in base64.
const DATA_BASE64: &str = "data_base64";

pub(super) fn encode(event: &CloudEvent) -> Bytes {
    let mut out = Vec::with_capacity(512);
    put_event(event, &mut out);
    out.into()
}

pub(super) fn encode_batch(events: &[CloudEvent]) -> Bytes {
    let mut out = Vec::with_capacity(64 + 512 * events.len());
    out.push(b'[');
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_event(event, &mut out);
    }
    out.push(b']');
    out.into()
}

fn put_event(event: &CloudEvent, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":""#);
    out.extend_from_slice(SPEC_VERSION.as_bytes());
    out.push(b'"');
    put_text(names::ID, Some(&event.id), out);
    put_text(names::SOURCE, Some(&event.source), out);
    put_text(names::TYPE, Some(&event.event_type), out);
    put_text(names::SUBJECT, event.subject.as_deref(), out);
    let time = event.time.map(|time| time.to_string());
    put_text(names::TIME, time.as_deref(), out);
    let content_type = event.data_content_type.as_deref();
    put_text(names::DATA_CONTENT_TYPE, content_type, out);
    put_text(names::DATA_SCHEMA, event.data_schema.as_deref(), out);
    for (name, value) in event.extensions.iter() {
        match value {
            Value::Text(text) => put_text(name, Some(text), out),
            value => {
                put_name(name, out);
                out.extend_from_slice(value.to_string().as_bytes());
            }
        }
    }
    if let Some(data) = &event.data {
        put_data(event, data, out);
    }
    out.push(b'}');
}

fn put_data(event: &CloudEvent, data: &Bytes, out: &mut Vec<u8>) {
    if event.has_json() && is_embeddable(data) {
        put_name(DATA, out);
        out.extend_from_slice(data);
    } else if event.has_text()
        && let Ok(text) = std::str::from_utf8(data)
    {
        put_text(DATA, Some(text), out);
    } else {
        put_name(DATA_BASE64, out);
        out.push(b'"');
        let at = out.len();
        out.resize(at + BASE64.encode_len(data.len()), 0);
        if let Some(room) = out.get_mut(at..) {
            BASE64.encode_mut(data, room);
        }
        out.push(b'"');
    }
}

/// Whether data can be a value in an event, and be read as the same bytes: JSON
/// with nothing around it, which nests no deeper than a batch has room for.
fn is_embeddable(data: &[u8]) -> bool {
    const AROUND: usize = 2;
    check_nesting(data, EventLimits::NESTING - AROUND).is_ok()
        && serde_json::from_slice::<&RawValue>(data).is_ok_and(|raw| raw.get().len() == data.len())
}

/// A member; names have no characters that need escaping.
fn put_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_text(name: &str, text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        return;
    };
    put_name(name, out);
    let at = out.len();
    if serde_json::to_writer(&mut *out, text).is_err() {
        // Writing a text to memory does not fail; half of one must not stay.
        out.truncate(at);
        out.extend_from_slice(b"\"\"");
    }
}

pub(super) fn decode(bytes: &Bytes, limits: &EventLimits) -> Result<CloudEvent, BadEvent> {
    check_nesting(bytes, limits.nesting)?;
    let mut reading = Reading {
        whole: bytes,
        bad: None,
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    EventSeed(&mut reading)
        .deserialize(&mut json)
        .and_then(|event| json.end().map(|()| event))
        .map_err(|error| reading.why(&error))
}

pub(super) fn decode_batch(
    bytes: &Bytes,
    limits: &EventLimits,
) -> Result<Vec<CloudEvent>, BadEvent> {
    check_nesting(bytes, limits.nesting)?;
    let mut reading = Reading {
        whole: bytes,
        bad: None,
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let batch = BatchSeed {
        reading: &mut reading,
        limits,
    };
    batch
        .deserialize(&mut json)
        .and_then(|events| json.end().map(|()| events))
        .map_err(|error| reading.why(&error))
}

/// Holds nesting against its bound, over bytes that may be no JSON at all.
fn check_nesting(bytes: &[u8], bound: usize) -> Result<(), BadEvent> {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut rest),
            _ => {}
        }
        if depth > bound {
            return Err(BadEvent::TooMuch {
                what: "levels of nesting",
                found: depth,
                bound,
            });
        }
    }
    Ok(())
}

/// Goes on to the end of a text that has begun.
fn skip_text<'a>(rest: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// What is being read, and why it could not be: serde's own errors are texts.
struct Reading<'a> {
    whole: &'a Bytes,
    bad: Option<BadEvent>,
}

impl Reading<'_> {
    /// Keeps why, and ends the reading.
    fn refuse<E: serde::de::Error>(&mut self, bad: impl Into<BadEvent>) -> E {
        self.bad = Some(bad.into());
        E::custom("refused")
    }

    fn why(&mut self, error: &serde_json::Error) -> BadEvent {
        self.bad.take().unwrap_or_else(|| BadEvent::Syntax {
            format: Format::Json,
            what: error.to_string().into(),
            at: self.place(error),
        })
    }

    /// The byte that an error's line and column mean.
    fn place(&self, error: &serde_json::Error) -> Option<usize> {
        let before = error.line().checked_sub(1)?;
        let lines = self.whole.split_inclusive(|byte| *byte == b'\n');
        let start: usize = lines.take(before).map(<[u8]>::len).sum();
        Some(start + error.column().saturating_sub(1))
    }
}

struct BatchSeed<'r, 'w> {
    reading: &'r mut Reading<'w>,
    limits: &'r EventLimits,
}

impl<'de> DeserializeSeed<'de> for BatchSeed<'_, '_> {
    type Value = Vec<CloudEvent>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_, '_> {
    type Value = Vec<CloudEvent>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch: an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        loop {
            match array.next_element_seed(EventSeed(self.reading)) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return Ok(events),
                Err(error) => {
                    let bad = self.reading.bad.take();
                    self.reading.bad = bad.map(|bad| bad.of_batch(events.len()));
                    return Err(error);
                }
            }
            if let Err(too_many) = check_events(events.len(), self.limits) {
                return Err(self.reading.refuse(too_many));
            }
        }
    }
}

struct EventSeed<'r, 'w>(&'r mut Reading<'w>);

impl<'de> DeserializeSeed<'de> for EventSeed<'_, '_> {
    type Value = CloudEvent;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<CloudEvent, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_, '_> {
    type Value = CloudEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: an object of attributes by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<CloudEvent, A::Error> {
        let Self(reading) = self;
        let mut event = EventBuilder::new();
        let mut data: Option<&'de RawValue> = None;
        let mut base64: Option<Text<'de>> = None;
        while let Some(Text(name)) = object.next_key()? {
            let name = name.as_ref();
            let has_data = data.is_some() || base64.is_some();
            if has_data && (name == DATA || name == DATA_BASE64) {
                let again = BadAttribute::wrong(name, &"one more", ONE_DATA);
                return Err(reading.refuse(again));
            }
            if name == DATA {
                data = Some(object.next_value()?);
            } else if name == DATA_BASE64 {
                base64 = object.next_value()?;
            } else {
                let value = object.next_value_seed(ScalarSeed {
                    name,
                    reading: &mut *reading,
                })?;
                if let Some(value) = value
                    && let Err(bad) = event.set(name, value)
                {
                    return Err(reading.refuse(bad));
                }
            }
        }
        let data = match (data, base64) {
            (Some(data), _) => value_data(data, &mut event, reading.whole).map(Some),
            (None, Some(Text(text))) => base64_data(&text).map(Some),
            (None, None) => Ok(None),
        };
        let event = data.and_then(|data| {
            if let Some(data) = data {
                event.set_data(data);
            }
            event.build()
        });
        event.map_err(|bad| reading.refuse(bad))
    }
}

const ONE_DATA: &str = "there once, either as data or as data_base64";

/// The bytes of a `data` member: of JSON its text as it stands, else of a text
/// what it says. Without a media type it is JSON, and is said to be from then on.
fn value_data(
    data: &RawValue,
    event: &mut EventBuilder,
    whole: &Bytes,
) -> Result<Bytes, BadAttribute> {
    if event.data_content_type().is_none() {
        event.set(names::DATA_CONTENT_TYPE, Value::text("application/json"))?;
    }
    if event.has_json() {
        return Ok(whole.slice_ref(data.get().as_bytes()));
    }
    let text: Result<String, _> = serde_json::from_str(data.get());
    text.map(Bytes::from).map_err(|_| {
        let accepted = "a text, where datacontenttype says that it is no JSON";
        BadAttribute::wrong(DATA, &data.get(), accepted)
    })
}

fn base64_data(text: &str) -> Result<Bytes, BadAttribute> {
    let bytes = BASE64.decode(text.as_bytes()).map(Bytes::from);
    bytes.map_err(|_| BadAttribute::wrong(DATA_BASE64, &text, "base64 with its padding"))
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An attribute's value, `None` for null.
struct ScalarSeed<'n, 'r, 'w> {
    name: &'n str,
    reading: &'r mut Reading<'w>,
}

impl ScalarSeed<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(self, found: &dyn fmt::Display) -> E {
        let accepted = "a text, a whole number of 32 bits, true or false";
        let bad = BadAttribute::wrong(self.name, found, accepted);
        self.reading.refuse(bad)
    }
}

impl<'de> DeserializeSeed<'de> for ScalarSeed<'_, '_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed<'_, '_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute's value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Boolean(value)))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        match i32::try_from(value) {
            Ok(value) => Ok(Some(Value::Integer(value))),
            Err(_) => Err(self.wrong(&value)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        match i32::try_from(value) {
            Ok(value) => Ok(Some(Value::Integer(value))),
            Err(_) => Err(self.wrong(&value)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Err(self.wrong(&value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.wrong(&"an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.wrong(&"an object"))
    }
}
