//! CloudEvents as messages: in headers, one as a body, or a batch of them.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use phoenix_core::attributes::{
    BadEvent, ClientEvent, CloudEvent, ContentMode, EventCodec, Target,
};
use phoenix_core::control::ClientMessage;
use phoenix_core::{AgentId, ContentType};

use crate::server::body::{Arrived, header as header_text};
use crate::server::fault::{Code, Fault};

/// What a request carries.
#[derive(Debug)]
pub(super) enum Carried {
    /// No event.
    None,
    /// One.
    One(Box<ClientMessage>),
    /// A batch.
    Many(Vec<ClientMessage>),
}

/// Whether a request carries events.
pub(super) fn is_in(headers: &HeaderMap) -> bool {
    let media_type = header_text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let names = headers.keys().map(|name| name.as_str());
    CloudEvent::is_in_headers(names)
        || !matches!(ContentMode::of(media_type), Ok(ContentMode::Binary))
}

/// Reads the events of a request, all or none of them. They are for `target`, where
/// the path says so, and otherwise for the agents that are their subjects.
pub(super) fn read(
    body: &Arrived,
    codec: &dyn EventCodec,
    target: Option<(&AgentId, &Arc<str>)>,
    most: usize,
) -> Result<Carried, Fault> {
    let media_type = header_text(&body.headers, &header::CONTENT_TYPE).unwrap_or_default();
    let names = body.headers.keys().map(|name| name.as_str());
    let target = Target {
        agent: target.map(|(agent, _)| agent.clone()),
        method: target.map(|(_, method)| method.clone()),
    };
    let mode = ContentMode::of(media_type)
        .map_err(|bad| Fault::new(Code::UnsupportedType, bad.to_string()))?;
    match mode {
        ContentMode::Binary if !CloudEvent::is_in_headers(names) => Ok(Carried::None),
        ContentMode::Binary => {
            let headers = body.headers.iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            let event = CloudEvent::from_headers(headers, body.bytes.clone())
                .map_err(|bad| Fault::invalid(bad.to_string()))?;
            Ok(Carried::One(Box::new(message(&event, &target)?)))
        }
        ContentMode::Structured(format) => {
            let event = codec.decode(format, body.bytes.clone()).map_err(fault)?;
            Ok(Carried::One(Box::new(message(&event, &target)?)))
        }
        ContentMode::Batch(format) => {
            let events = codec
                .decode_batch(format, body.bytes.clone())
                .map_err(fault)?;
            if events.len() > most {
                let fault = Fault::new(
                    Code::TooLarge,
                    format!(
                        "the batch has {} events, more than {most} (api-max-batch)",
                        events.len()
                    ),
                );
                return Err(fault.suggest("send them in several batches"));
            }
            let messages = events.iter().enumerate().map(|(index, event)| {
                message(event, &target).map_err(|fault| fault.located(&format!("event {index}")))
            });
            Ok(Carried::Many(messages.collect::<Result<_, _>>()?))
        }
    }
}

fn message(event: &CloudEvent, target: &Target) -> Result<ClientMessage, Fault> {
    let message = ClientEvent::new(event, target)
        .map_err(|bad| Fault::invalid(bad.to_string()))?
        .into_message();
    super::batch::checked(&message)?;
    if message.payload.content_type == ContentType::Json {
        serde_json::from_slice::<serde::de::IgnoredAny>(&message.payload.bytes)
            .map_err(|error| Fault::invalid(format!("the event's data is no JSON: {error}")))?;
    }
    Ok(message)
}

fn fault(bad: BadEvent) -> Fault {
    match bad {
        BadEvent::TooMuch { .. } => Fault::new(Code::TooLarge, bad.to_string()),
        _ => Fault::invalid(bad.to_string()),
    }
}
