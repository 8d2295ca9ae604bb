//! The formats events are written in for peers, tools and the HTTP API, and how
//! one is agreed on.
//!
//! Each is a codec of core's [`CloudEvent`]: what one writes, every other could
//! have, so an event is the same in all. `json` is the JSON format of
//! CloudEvents with its batches, `protobuf` its Protocol Buffers schema, and
//! `message_pack` a map of attributes by name, which CloudEvents does not define.
//!
//! **Invariant**: what is read is anybody's. Lengths are held against the bytes
//! that are there, counts and nesting against bounds, before anything is
//! allocated; attributes pass core's builder, which names what is malformed.

mod json;
mod message_pack;
mod negotiate;
mod protobuf;

use bytes::Bytes;
pub use negotiate::{Compression, Form, Offer, Preference, Preferences, Purpose};
pub use phoenix_core::attributes::{BadEvent, CloudEvent, EventCodec, Format};

/// Bounds of events that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Bytes of an event or a batch. Default 16 MiB.
    pub bytes: usize,
    /// Events in a batch. Default 10,000.
    pub events: usize,
    /// How deep JSON nests, the event and the batch counted in. Default 64.
    pub nesting: usize,
}

impl EventLimits {
    /// The default of [`EventLimits::nesting`].
    pub const NESTING: usize = 64;
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            events: 10_000,
            nesting: Self::NESTING,
        }
    }
}

/// One event as bytes.
pub fn encode(format: Format, event: &CloudEvent) -> Bytes {
    match format {
        Format::MessagePack => message_pack::encode(event),
        Format::Protobuf => protobuf::encode(event),
        Format::Json => json::encode(event),
    }
}

/// A batch as bytes.
pub fn encode_batch(format: Format, events: &[CloudEvent]) -> Bytes {
    match format {
        Format::MessagePack => message_pack::encode_batch(events),
        Format::Protobuf => protobuf::encode_batch(events),
        Format::Json => json::encode_batch(events),
    }
}

/// Reads one event.
///
/// # Errors
///
/// The bytes are not of the format, break a bound, or an attribute is malformed.
pub fn decode(format: Format, bytes: Bytes, limits: &EventLimits) -> Result<CloudEvent, BadEvent> {
    check_bytes(&bytes, limits)?;
    match format {
        Format::MessagePack => message_pack::decode(&bytes),
        Format::Protobuf => protobuf::decode(bytes),
        Format::Json => json::decode(&bytes, limits),
    }
}

/// Reads a batch.
///
/// # Errors
///
/// As of [`decode`]; all of a batch is good, or none of it is read.
pub fn decode_batch(
    format: Format,
    bytes: Bytes,
    limits: &EventLimits,
) -> Result<Vec<CloudEvent>, BadEvent> {
    check_bytes(&bytes, limits)?;
    match format {
        Format::MessagePack => message_pack::decode_batch(&bytes, limits),
        Format::Protobuf => protobuf::decode_batch(bytes, limits),
        Format::Json => json::decode_batch(&bytes, limits),
    }
}

fn check_bytes(bytes: &Bytes, limits: &EventLimits) -> Result<(), BadEvent> {
    if bytes.len() > limits.bytes {
        return Err(BadEvent::TooMuch {
            what: "bytes",
            found: bytes.len(),
            bound: limits.bytes,
        });
    }
    Ok(())
}

fn check_events(found: usize, limits: &EventLimits) -> Result<(), BadEvent> {
    if found > limits.events {
        return Err(BadEvent::TooMuch {
            what: "events in a batch",
            found,
            bound: limits.events,
        });
    }
    Ok(())
}

/// All formats behind core's port, under the same bounds.
#[derive(Clone, Debug, Default)]
pub struct Codecs {
    limits: EventLimits,
}

impl Codecs {
    /// Reads under these bounds.
    pub fn new(limits: EventLimits) -> Self {
        Self { limits }
    }
}

impl EventCodec for Codecs {
    fn encode(&self, format: Format, event: &CloudEvent) -> Bytes {
        encode(format, event)
    }

    fn encode_batch(&self, format: Format, events: &[CloudEvent]) -> Bytes {
        encode_batch(format, events)
    }

    fn decode(&self, format: Format, bytes: Bytes) -> Result<CloudEvent, BadEvent> {
        decode(format, bytes, &self.limits)
    }

    fn decode_batch(&self, format: Format, bytes: Bytes) -> Result<Vec<CloudEvent>, BadEvent> {
        decode_batch(format, bytes, &self.limits)
    }
}
