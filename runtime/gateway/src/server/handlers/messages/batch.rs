//! Batches: many messages in one body, in either of two formats.

use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use phoenix_core::control::ClientMessage;
use phoenix_core::{ContentType, Millis, Payload};

use super::how::Said;
use crate::api::{self, JsonMessage, Message, Verdicts};
use crate::convert::core_content_type;
use crate::server::extract;
use crate::server::fault::{Code, Fault};

/// What a batch is written in, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A line of JSON a message; the answer is one JSON object.
    Lines,
    /// An array of maps; the answer is a map.
    MessagePack,
}

impl Format {
    pub(super) fn of(media_type: Option<&str>) -> Result<Self, Fault> {
        let media_type = media_type.unwrap_or("nothing");
        if media_type == api::NDJSON {
            return Ok(Self::Lines);
        }
        if api::ContentType::of_media_type(media_type) == Some(api::ContentType::MessagePack) {
            return Ok(Self::MessagePack);
        }
        let fault = Fault::new(
            Code::UnsupportedType,
            format!("a batch cannot be `{}`", crate::suggest::shown(media_type)),
        );
        Err(fault.suggest(format!(
            "send `content-type: {}` with a JSON object a line, or `{}` with an array",
            api::NDJSON,
            api::MESSAGE_PACK
        )))
    }
}

/// Reads a whole batch; nothing of a batch with a mistake in it is sent.
pub(super) fn read(format: Format, body: &Bytes, most: usize) -> Result<Vec<ClientMessage>, Fault> {
    let mut batch = Batch {
        messages: Vec::new(),
        most,
    };
    match format {
        Format::Lines => read_lines(body, &mut batch)?,
        Format::MessagePack => read_message_pack(body, &mut batch)?,
    }
    Ok(batch.messages)
}

fn read_lines(body: &Bytes, batch: &mut Batch) -> Result<(), Fault> {
    for (line, number) in body.split(|byte| *byte == b'\n').zip(1_usize..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let at = |what: &str| Fault::invalid(format!("line {number}: {what}"));
        let message: JsonMessage<'_> =
            serde_json::from_slice(line).map_err(|error| at(&error.to_string()))?;
        let payload = match message.payload {
            None => Payload::default(),
            Some(value) => Payload {
                content_type: ContentType::Json,
                bytes: value.get().as_bytes().into(),
            },
        };
        let place = Place {
            what: "line",
            number,
        };
        let said = Said {
            key: message.key.as_deref(),
            lane: message.lane.as_deref(),
            delivery: message.delivery.as_deref(),
            ttl: message.ttl.map(Millis),
            report_expired: message.report_expired,
            give_up: message.give_up.map(Millis),
            message_type: message.message_type.as_deref(),
        };
        let to = (&*message.agent, &*message.method);
        batch.push(place, to, payload, message.sequence, &said)?;
    }
    Ok(())
}

fn read_message_pack(body: &Bytes, batch: &mut Batch) -> Result<(), Fault> {
    let invalid = |error: rmp_serde::decode::Error| {
        Fault::invalid(format!("the batch is no array of messages: {error}"))
    };
    let messages: Vec<Message<'_>> = rmp_serde::from_slice(body).map_err(invalid)?;
    for (message, number) in messages.into_iter().zip(1_usize..) {
        let payload = Payload {
            content_type: if message.payload.is_empty() {
                ContentType::None
            } else {
                core_content_type(message.content_type)
            },
            bytes: (*message.payload).into(),
        };
        let place = Place {
            what: "message",
            number,
        };
        let said = Said {
            key: message.key.as_deref(),
            lane: message.lane.as_deref(),
            delivery: message.delivery.as_deref(),
            ttl: message.ttl.map(Millis),
            report_expired: message.report_expired,
            give_up: message.give_up.map(Millis),
            message_type: message.message_type.as_deref(),
        };
        let to = (&*message.agent, &*message.method);
        batch.push(place, to, payload, message.sequence, &said)?;
    }
    Ok(())
}

/// A payload of its own: a slice of the body would keep all of it in memory
/// for as long as the slowest of its messages waits.
struct Batch {
    messages: Vec<ClientMessage>,
    most: usize,
}

/// Where in a batch, for messages.
struct Place {
    what: &'static str,
    number: usize,
}

impl Batch {
    fn push(
        &mut self,
        place: Place,
        (agent, method): (&str, &str),
        payload: Payload,
        number: Option<u64>,
        said: &Said<'_>,
    ) -> Result<(), Fault> {
        if self.messages.len() == self.most {
            let fault = Fault::new(
                Code::TooLarge,
                format!(
                    "the batch has more than {} messages (api-max-batch)",
                    self.most
                ),
            );
            return Err(fault.suggest("send them in several batches"));
        }
        let located = |fault: Fault| fault.located(&format!("{} {}", place.what, place.number));
        let agent = extract::agent(agent).map_err(located)?;
        let method = self.method(method).map_err(located)?;
        let message = ClientMessage {
            agent,
            method,
            payload,
            sequence: sequence(number).map_err(located)?,
            options: said.options().map_err(located)?,
        };
        checked(&message).map_err(located)?;
        self.messages.push(message);
        Ok(())
    }

    /// Neighbours mostly name the same handler and then share its name.
    fn method(&self, name: &str) -> Result<Arc<str>, Fault> {
        match self.messages.last() {
            Some(last) if *last.method == *name => Ok(Arc::clone(&last.method)),
            _ => extract::method(name),
        }
    }
}

/// Whether what a message says of itself goes together.
pub(super) fn checked(message: &ClientMessage) -> Result<(), Fault> {
    message
        .check()
        .map_err(|bad| Fault::invalid(bad.to_string()))
}

/// A client's sequence, which counts from 1.
pub(super) fn sequence(number: Option<u64>) -> Result<Option<u64>, Fault> {
    match number {
        Some(0) => Err(Fault::invalid("a sequence counts from 1, not 0")),
        number => Ok(number),
    }
}

/// The answer, in the batch's own format.
pub(super) fn write(format: Format, verdicts: &Verdicts) -> Result<Response, Fault> {
    let (media_type, body) = match format {
        Format::Lines => (api::JSON, serde_json::to_vec(verdicts).ok()),
        Format::MessagePack => (api::MESSAGE_PACK, rmp_serde::to_vec_named(verdicts).ok()),
    };
    let body = body.ok_or_else(Fault::odd_answer)?;
    Ok(([(header::CONTENT_TYPE, media_type)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let lines = Bytes::from_static(
            b"{\"agent\":\"a/1\",\"method\":\"m\",\"payload\": [1, 2],\"sequence\":1}\n\n\
              {\"agent\":\"a/2\",\"method\":\"m\"}\r\n",
        );
        let packed = rmp_serde::to_vec_named(&[
            Message {
                agent: "a/1".into(),
                method: "m".into(),
                content_type: api::ContentType::Json,
                payload: b"[1, 2]".as_slice().into(),
                sequence: Some(1),
                ..Message::default()
            },
            Message {
                agent: "a/2".into(),
                method: "m".into(),
                content_type: api::ContentType::None,
                payload: b"".as_slice().into(),
                sequence: None,
                ..Message::default()
            },
        ])
        .unwrap();
        let read_lines = read(Format::Lines, &lines, 10).unwrap();
        assert_eq!(read_lines.len(), 2);
        assert_eq!(
            read_lines,
            read(Format::MessagePack, &packed.into(), 10).unwrap()
        );
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        // An array of four thousand million messages, without any of them.
        let body = Bytes::from_static(&[0xdd, 0xff, 0xff, 0xff, 0xff]);
        read(Format::MessagePack, &body, 10).unwrap_err();
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let body = Bytes::from(bytes);
            let _ = read(Format::Lines, &body, 10);
            let _ = read(Format::MessagePack, &body, 10);
        }
    }
}
