//! Events in MessagePack: a map of attributes by name, and `data` as bytes.
//!
//! It is flat. A value that is an array, a map, an extension or a fraction is
//! refused where it begins, so nothing nests and no length is believed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use phoenix_core::attributes::{
    BadAttribute, BadEvent, CloudEvent, EventBuilder, Format, SPEC_VERSION, Value, names,
};

use super::{EventLimits, check_events};

/// The key of the payload.
const DATA: &str = "data";

/// Most events room is made for before any has been read.
const ROOM_AHEAD: usize = 1 << 10;

pub(super) fn encode(event: &CloudEvent) -> Bytes {
    let mut out = Writer(BytesMut::with_capacity(256));
    out.event(event);
    out.0.freeze()
}

pub(super) fn encode_batch(events: &[CloudEvent]) -> Bytes {
    let mut out = Writer(BytesMut::with_capacity(64 + 256 * events.len()));
    out.head(events.len(), 0x90, 15, [None, Some(0xdc), Some(0xdd)]);
    for event in events {
        out.event(event);
    }
    out.0.freeze()
}

struct Writer(BytesMut);

impl Writer {
    fn event(&mut self, event: &CloudEvent) {
        let texts = [
            (names::SUBJECT, &event.subject),
            (names::DATA_CONTENT_TYPE, &event.data_content_type),
            (names::DATA_SCHEMA, &event.data_schema),
        ];
        let optional = texts.iter().filter(|(_, text)| text.is_some()).count()
            + usize::from(event.time.is_some())
            + usize::from(event.data.is_some());
        let members = 4 + optional + event.extensions.len();
        self.head(members, 0x80, 15, [None, Some(0xde), Some(0xdf)]);
        for (name, text) in [
            (names::SPEC_VERSION, SPEC_VERSION),
            (names::ID, &event.id),
            (names::SOURCE, &event.source),
            (names::TYPE, &event.event_type),
        ] {
            self.text(name);
            self.text(text);
        }
        for (name, text) in texts {
            if let Some(text) = text {
                self.text(name);
                self.text(text);
            }
        }
        if let Some(time) = event.time {
            self.text(names::TIME);
            self.text(&time.to_string());
        }
        for (name, value) in event.extensions.iter() {
            self.text(name);
            match value {
                Value::Boolean(value) => self.0.put_u8(0xc2 + u8::from(*value)),
                Value::Integer(value) => self.integer(*value),
                Value::Text(text) => self.text(text),
            }
        }
        if let Some(data) = &event.data {
            self.text(DATA);
            self.head(data.len(), 0, 0, [Some(0xc4), Some(0xc5), Some(0xc6)]);
            self.0.extend_from_slice(data);
        }
    }

    fn text(&mut self, text: &str) {
        self.head(text.len(), 0xa0, 31, [Some(0xd9), Some(0xda), Some(0xdb)]);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn integer(&mut self, value: i32) {
        if let Ok(small) = i8::try_from(value)
            && small >= -32
        {
            self.0.put_i8(small);
        } else {
            self.0.put_u8(0xd2);
            self.0.put_i32(value);
        }
    }

    /// A length behind the shortest marker that holds it: `fixed` with the length
    /// in it up to `most`, then those with 8, 16 and 32 bits, where there are such.
    fn head(&mut self, length: usize, fixed: u8, most: u8, markers: [Option<u8>; 3]) {
        let [small, medium, large] = markers;
        if let Ok(length) = u8::try_from(length) {
            if fixed != 0 && length <= most {
                return self.0.put_u8(fixed | length);
            }
            if let Some(marker) = small {
                self.0.put_u8(marker);
                return self.0.put_u8(length);
            }
        }
        if let (Ok(length), Some(marker)) = (u16::try_from(length), medium) {
            self.0.put_u8(marker);
            return self.0.put_u16(length);
        }
        // No frame and no body has room for more.
        self.0.put_u8(large.unwrap_or_default());
        self.0.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}

pub(super) fn decode(bytes: &Bytes) -> Result<CloudEvent, BadEvent> {
    let mut input = Reader { bytes, at: 0 };
    let event = input.event()?;
    input.end()?;
    Ok(event)
}

pub(super) fn decode_batch(
    bytes: &Bytes,
    limits: &EventLimits,
) -> Result<Vec<CloudEvent>, BadEvent> {
    let mut input = Reader { bytes, at: 0 };
    let count = match input.byte()? {
        marker @ 0x90..=0x9f => usize::from(marker & 0xf),
        0xdc => input.length(2)?,
        0xdd => input.length(4)?,
        _ => return Err(input.wrong_before("a batch is an array of maps")),
    };
    check_events(count, limits)?;
    let mut events = Vec::with_capacity(count.min(ROOM_AHEAD));
    for index in 0..count {
        events.push(input.event().map_err(|bad| bad.of_batch(index))?);
    }
    input.end()?;
    Ok(events)
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

/// A value of a member.
enum Member {
    Nil,
    Attribute(Value),
    Bytes(Bytes),
}

impl Reader<'_> {
    fn event(&mut self) -> Result<CloudEvent, BadEvent> {
        let members = match self.byte()? {
            marker @ 0x80..=0x8f => usize::from(marker & 0xf),
            0xde => self.length(2)?,
            0xdf => self.length(4)?,
            _ => return Err(self.wrong_before("an event is a map")),
        };
        let mut event = EventBuilder::new();
        let mut has_data = false;
        for _ in 0..members {
            let marker = self.byte()?;
            let Some(length) = self.text_length(marker)? else {
                return Err(self.wrong_before("a name is a text"));
            };
            let name = self.text(length)?;
            let value = self.member(&name)?;
            match value {
                Member::Nil => {}
                Member::Bytes(_) | Member::Attribute(Value::Text(_))
                    if *name == *DATA && has_data =>
                {
                    return Err(BadAttribute::wrong(DATA, &"again", "there once").into());
                }
                Member::Bytes(data) if *name == *DATA => {
                    event.set_data(data);
                    has_data = true;
                }
                Member::Attribute(Value::Text(text)) if *name == *DATA => {
                    event.set_data(Bytes::copy_from_slice(text.as_bytes()));
                    has_data = true;
                }
                Member::Attribute(value) if *name == *DATA => {
                    return Err(BadAttribute::wrong(DATA, &value, "bytes or text").into());
                }
                Member::Attribute(value) => event.set(&name, value)?,
                Member::Bytes(_) => return Err(flat(&name, &"bytes").into()),
            }
        }
        Ok(event.build()?)
    }

    fn member(&mut self, name: &str) -> Result<Member, BadEvent> {
        let marker = self.byte()?;
        if let Some(length) = self.text_length(marker)? {
            return Ok(Member::Attribute(Value::Text(self.text(length)?)));
        }
        let integer = match marker {
            0xc0 => return Ok(Member::Nil),
            0xc2 | 0xc3 => return Ok(Member::Attribute(Value::Boolean(marker == 0xc3))),
            0xc4 => return self.data(1),
            0xc5 => return self.data(2),
            0xc6 => return self.data(4),
            0x00..=0x7f => i64::from(marker),
            0xe0..=0xff => i64::from(marker.cast_signed()),
            0xcc => i64::from(self.number::<1>()?[0]),
            0xcd => i64::from(u16::from_be_bytes(self.number()?)),
            0xce => i64::from(u32::from_be_bytes(self.number()?)),
            0xcf => i64::try_from(u64::from_be_bytes(self.number()?)).unwrap_or(i64::MAX),
            0xd0 => i64::from(i8::from_be_bytes(self.number()?)),
            0xd1 => i64::from(i16::from_be_bytes(self.number()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.number()?)),
            0xd3 => i64::from_be_bytes(self.number()?),
            0xca | 0xcb => return Err(flat(name, &"a fraction").into()),
            0x80..=0x8f | 0xde | 0xdf => return Err(flat(name, &"a map").into()),
            0x90..=0x9f | 0xdc | 0xdd => return Err(flat(name, &"an array").into()),
            _ => return Err(flat(name, &"an extension").into()),
        };
        match i32::try_from(integer) {
            Ok(value) => Ok(Member::Attribute(Value::Integer(value))),
            Err(_) => Err(BadAttribute::wrong(name, &integer, "a number of 32 bits").into()),
        }
    }

    fn data(&mut self, width: usize) -> Result<Member, BadEvent> {
        let length = self.length(width)?;
        let bytes = self.bytes.slice_ref(self.slice(length)?);
        Ok(Member::Bytes(bytes))
    }

    /// The length of the text that `marker` begins, if it begins one.
    fn text_length(&mut self, marker: u8) -> Result<Option<usize>, BadEvent> {
        Ok(Some(match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return Ok(None),
        }))
    }

    fn text(&mut self, length: usize) -> Result<Arc<str>, BadEvent> {
        let at = self.at;
        match std::str::from_utf8(self.slice(length)?) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(wrong(at, "a text is not UTF-8")),
        }
    }

    fn length(&mut self, width: usize) -> Result<usize, BadEvent> {
        let bytes = self.slice(width)?;
        Ok(bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], BadEvent> {
        let at = self.at;
        self.slice(N)?.try_into().map_err(|_| wrong(at, ENDS))
    }

    fn byte(&mut self) -> Result<u8, BadEvent> {
        let [byte] = self.number()?;
        Ok(byte)
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], BadEvent> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let slice = rest.get(..length).ok_or_else(|| wrong(self.at, ENDS))?;
        self.at += length;
        Ok(slice)
    }

    fn end(&self) -> Result<(), BadEvent> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(wrong(self.at, "bytes follow its end"))
        }
    }

    /// What was read last is wrong.
    fn wrong_before(&self, what: &'static str) -> BadEvent {
        wrong(self.at.saturating_sub(1), what)
    }
}

const ENDS: &str = "it ends within a value";

fn wrong(at: usize, what: &'static str) -> BadEvent {
    BadEvent::Syntax {
        format: Format::MessagePack,
        what: what.into(),
        at: Some(at),
    }
}

/// An attribute is no single value.
fn flat(name: &str, found: &'static &'static str) -> BadAttribute {
    BadAttribute::wrong(name, found, "a text, a whole number, true or false")
}
