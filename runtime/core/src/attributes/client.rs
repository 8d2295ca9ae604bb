//! A client's event as what its send needs.

use std::sync::Arc;

use super::view::{action, differing, expiry, message_type, no_method, number, unescaped};
use super::{Attributes, BadAttribute, CloudEvent, Value, names};
use crate::control::ClientMessage;
use crate::{AgentId, ClientOptions, Expiry, Millis};

/// What an event is sent to, where something else than the event says so, as
/// the path of a request does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Which agent; otherwise the event's `subject` is its id.
    pub agent: Option<AgentId>,
    /// Which handler; otherwise the extension `method`, or the action of the
    /// event's type, is its name.
    pub method: Option<Arc<str>>,
}

/// A client's event, checked: a message to an agent and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// The message. Its sequence is the event's extension `sequence`.
    pub message: ClientMessage,
    /// For the envelope. Id and source are always in it: together they name the
    /// event, whoever sends it and however often.
    pub attributes: Attributes,
    /// When it is of no use any more.
    pub expiry: Option<Expiry>,
}

impl ClientEvent {
    /// Checks an event from outside.
    ///
    /// # Errors
    ///
    /// Names the first attribute that is malformed, too long, or only the host's
    /// to say.
    pub fn new(event: &CloudEvent, target: &Target) -> Result<Self, BadAttribute> {
        let agent = match &target.agent {
            Some(agent) => agent.clone(),
            None => agent(event)?,
        };
        let method = match &target.method {
            Some(method) => method.clone(),
            None => method(event)?,
        };
        let (payload, content_type) = event.payload();
        let attributes = attributes(event, &agent, &method, content_type)?;
        let message = ClientMessage {
            agent,
            method,
            payload,
            sequence: sequence(event)?,
            options: None,
        };
        Ok(Self {
            message,
            attributes,
            expiry: expiry(event)?,
        })
    }

    /// The message with all that the event says of it.
    pub fn into_message(self) -> ClientMessage {
        let options = ClientOptions {
            overrides: *self.attributes.overrides(),
            expiry: self.expiry.map(|expiry| expiry.at),
            report_expired: self.expiry.is_some_and(|expiry| expiry.report),
            attributes: self.attributes.shared(),
            ..ClientOptions::default()
        };
        ClientMessage {
            options: options.boxed(),
            ..self.message
        }
    }

    /// When the client gives up waiting, since 1970-01-01 UTC, if it says so.
    pub fn deadline(&self) -> Option<Millis> {
        self.attributes.deadline()
    }
}

fn agent(event: &CloudEvent) -> Result<AgentId, BadAttribute> {
    let accepted = "the id of the agent it is for, kind/key, as in counter/alice";
    let Some(subject) = &event.subject else {
        return Err(BadAttribute::missing(names::SUBJECT, accepted));
    };
    AgentId::new(subject).map_err(|_| BadAttribute::wrong(names::SUBJECT, subject, accepted))
}

fn method(event: &CloudEvent) -> Result<Arc<str>, BadAttribute> {
    match event.extensions.get(names::METHOD) {
        Some(value) => value
            .as_text()
            .and_then(|text| unescaped(text))
            .ok_or_else(|| {
                BadAttribute::wrong(names::METHOD, value, "a handler's name, percent-encoded")
            }),
        None => match action(&event.event_type) {
            Some(action) => Ok(action.into()),
            None => Err(no_method(&event.event_type)),
        },
    }
}

fn sequence(event: &CloudEvent) -> Result<Option<u64>, BadAttribute> {
    let Some(value) = event.extensions.get(names::SEQUENCE) else {
        return Ok(None);
    };
    let found = match value {
        Value::Text(text) => number(text),
        Value::Integer(found) => u64::try_from(*found).ok(),
        Value::Boolean(_) => None,
    };
    match found.filter(|found| *found > 0) {
        None => Err(BadAttribute::wrong(
            names::SEQUENCE,
            value,
            "the number of the message among those of this client to this agent, from 1",
        )),
        found => Ok(found),
    }
}

fn attributes(
    event: &CloudEvent,
    agent: &AgentId,
    method: &str,
    content_type: Option<Arc<str>>,
) -> Result<Attributes, BadAttribute> {
    let mut attributes = Attributes::new();
    let derived = message_type(agent.kind(), method);
    let subject = differing(event.subject.as_ref(), agent.as_str());
    attributes.set_text(names::ID, Some(&event.id))?;
    attributes.set_text(names::SOURCE, Some(&event.source))?;
    attributes.set_text(names::TYPE, differing(Some(&event.event_type), &derived))?;
    attributes.set_text(names::SUBJECT, subject)?;
    attributes.set_text(names::DATA_CONTENT_TYPE, content_type.as_ref())?;
    attributes.set_text(names::DATA_SCHEMA, event.data_schema.as_ref())?;
    attributes.time = event.time;
    for (name, value) in event.extensions.iter() {
        let of_message = [
            names::SEQUENCE,
            names::METHOD,
            names::EXPIRY_TIME,
            names::EXPIRY_REPORT,
        ];
        if !of_message.contains(&name) {
            attributes.set(name, value)?;
        }
    }
    attributes.check()?;
    Ok(attributes)
}
