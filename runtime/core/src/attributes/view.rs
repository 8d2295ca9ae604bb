//! Envelopes as CloudEvents, and back.
//!
//! An event of an envelope says all that the envelope does, so that a peer that
//! is spoken to in events loses nothing. What only hosts may say has names that
//! begin with `phx`. Texts of agents that may hold control characters, which
//! CloudEvents has no place for, are percent-encoded.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;

use super::event::{essence, is_json};
use super::text::{escape, unescape};
use super::{
    Attributes, BadAttribute, CloudEvent, Extensions, OF_ENVELOPES, Timestamp, Value, names,
    written,
};
use crate::taxonomy::{Guarantee, MessageType, is_segment};
use crate::{
    AgentId, Ask, Body, Bounce, ClientId, ContentType, Envelope, Expiry, Extras, Failure,
    Incarnation, Lane, Millis, NodeId, Original, Payload, Reply, ReplyTo, Sender, Sequence,
    StreamKey,
};

/// Makes an id for a message that has none of its own: one sent at most once
/// that asks nothing. The caller counts `serial` within one start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// Which node makes the event.
    pub node: NodeId,
    /// How often it had started.
    pub boot: u64,
    /// Which event it is since then.
    pub serial: u64,
}

/// What ids of such messages begin with.
const ONCE: &str = "once/";

/// Where agents are, in sources.
const AGENTS: &str = "/agents/";
/// Where clients are.
const CLIENTS: &str = "/clients/";
/// The host.
const SYSTEM: &str = "/system";

/// The media type of a content type; `None` for no payload.
pub(super) fn media_type(content_type: ContentType) -> Option<&'static str> {
    match content_type {
        ContentType::None => None,
        ContentType::MessagePack => Some("application/vnd.msgpack"),
        ContentType::Json => Some("application/json"),
        ContentType::Binary => Some("application/octet-stream"),
    }
}

/// The content type of a media type: bytes that nobody explains, if it is none
/// of those an agent can read.
fn content_type(media_type: &str) -> ContentType {
    let essence = essence(media_type).to_ascii_lowercase();
    match essence.as_str() {
        "application/vnd.msgpack" | "application/msgpack" | "application/x-msgpack" => {
            ContentType::MessagePack
        }
        other if other.ends_with("+msgpack") => ContentType::MessagePack,
        other if is_json(other) => ContentType::Json,
        _ => ContentType::Binary,
    }
}

impl CloudEvent {
    /// The event an envelope is.
    pub fn of(envelope: &Envelope, nonce: Nonce) -> Self {
        let said = envelope.attributes();
        let outside = said.filter(|_| matches!(envelope.sender(), Sender::Client(..)));
        let mut extensions = Extensions::new();
        put_sender(envelope, outside, &mut extensions);
        put_delivery(envelope, &mut extensions);
        put_extras(envelope, &mut extensions);
        let payload = put_body(&envelope.body, &mut extensions);
        if let Some(said) = said {
            put_said(said, &mut extensions);
        }
        let id = envelope.event_id().unwrap_or_else(|| {
            let Nonce { node, boot, serial } = nonce;
            format!("{ONCE}{}.{boot}.{serial}", node.0).into()
        });
        let event_type = envelope.event_type();
        if let Body::Message { method, .. } = &envelope.body
            && action(&event_type) != Some(method)
        {
            extensions.put(names::METHOD, escaped(method));
        }
        let receiver = envelope.receiver().as_str();
        let subject = said.and_then(|said| said.subject.clone());
        if subject
            .as_deref()
            .is_some_and(|subject| subject != receiver)
        {
            extensions.put(names::RECEIVER, Value::text(receiver));
        }
        let source = outside.and_then(|said| said.source.clone());
        Self {
            id,
            source: source.unwrap_or_else(|| source_of(envelope.sender()).into()),
            event_type,
            subject: Some(subject.unwrap_or_else(|| receiver.into())),
            time: said.and_then(|said| said.time),
            data_content_type: said
                .and_then(|said| said.content_type.clone())
                .or_else(|| media_type(payload?.content_type).map(Into::into)),
            data_schema: said.and_then(|said| said.schema.clone()),
            extensions,
            data: payload.and_then(data),
        }
    }

    /// The payload, and its media type if that says more than its content type.
    pub(super) fn payload(&self) -> (Payload, Option<Arc<str>>) {
        let given = self.data_content_type.as_ref();
        let content_type = match (given, &self.data) {
            (_, None) => ContentType::None,
            (None, Some(_)) => ContentType::Binary,
            (Some(given), Some(_)) => content_type(given),
        };
        let says_more = given.filter(|given| Some(given.as_ref()) != media_type(content_type));
        let payload = Payload {
            content_type,
            bytes: self.data.clone().unwrap_or_default().into(),
        };
        (payload, says_more.cloned())
    }
}

fn data(payload: &Payload) -> Option<Bytes> {
    let is_none = payload.content_type == ContentType::None && payload.bytes.is_empty();
    (!is_none).then(|| payload.bytes.to_bytes())
}

/// The handler a type names.
pub(super) fn action(event_type: &str) -> Option<&str> {
    MessageType::check(event_type).ok()?;
    event_type.split('.').nth(3)
}

/// The type of a message to a handler of a kind.
pub(super) fn message_type(kind: &str, method: &str) -> String {
    let action = if is_segment(method) {
        method
    } else {
        "message"
    };
    format!("phoenix.agent.{kind}.{action}")
}

fn escaped(text: &str) -> Value {
    Value::text(escape(text, |c| !c.is_control()).as_ref())
}

/// A sender as a URI-reference.
fn source_of(sender: &Sender) -> String {
    match sender {
        Sender::Agent(id, _) => {
            let key = escape(id.key(), |c| {
                c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c)
            });
            format!("{AGENTS}{}/{key}", id.kind())
        }
        Sender::Client(id, _) => format!("{CLIENTS}{}", id.as_str()),
        Sender::System => SYSTEM.to_owned(),
    }
}

fn incarnation(incarnation: &Incarnation) -> String {
    let Incarnation {
        generation,
        boot,
        count,
    } = incarnation;
    format!("{generation}.{boot}.{count}")
}

/// Later than CloudEvents can say is never, and is left out.
fn put_instant(name: &'static str, at: Millis, out: &mut Extensions) {
    if let Some(at) = Timestamp::from_millis(at) {
        out.put(name, written(at));
    }
}

fn put_sender(envelope: &Envelope, outside: Option<&Arc<Attributes>>, out: &mut Extensions) {
    match envelope.sender() {
        Sender::Agent(_, life) => out.put(names::INCARNATION, written(incarnation(life))),
        Sender::Client(_, node) => out.put(names::NODE, written(node)),
        Sender::System => {}
    }
    if outside.is_some_and(|said| said.source.is_some()) {
        out.put(names::SENDER, written(source_of(envelope.sender())));
    }
}

/// How often a message takes effect that says nothing of it.
fn guarantee(sequence: Option<&Sequence>) -> Guarantee {
    match sequence {
        Some(_) => Guarantee::ExactlyOnce,
        None => Guarantee::AtMostOnce,
    }
}

fn put_delivery(envelope: &Envelope, out: &mut Extensions) {
    let delivery = guarantee(envelope.sequence.as_ref());
    let delivery = envelope
        .attributes()
        .and_then(|said| said.overrides.delivery)
        .unwrap_or(delivery);
    out.put(names::DELIVERY, Value::text(delivery.as_str()));
    out.put(names::PRIORITY, Value::text(envelope.stream.lane.as_str()));
    if let Some(sequence) = &envelope.sequence {
        // As CloudEvents' sequence extension asks: texts that sort as the numbers do.
        out.put(
            names::SEQUENCE,
            written(format_args!("{:020}", sequence.number)),
        );
        out.put(names::BASE, written(sequence.base.get()));
        put_instant(names::GIVE_UP, sequence.give_up, out);
    }
}

fn put_extras(envelope: &Envelope, out: &mut Extensions) {
    if let Some(Expiry { at, report }) = envelope.expiry() {
        put_instant(names::EXPIRY_TIME, at, out);
        put_flag(names::EXPIRY_REPORT, report, out);
    }
    if let Some(original) = envelope.original() {
        let Original {
            sender,
            receiver,
            number,
            redirects,
        } = original;
        out.put(names::ORIGINAL, written(speaker(sender)));
        out.put(names::REDIRECTED_FROM, written(receiver));
        if let Some(number) = number {
            out.put(names::ORIGINAL_NUMBER, written(number));
        }
        out.put(names::REDIRECTS, written(redirects));
    }
}

/// What is not so is left out.
fn put_flag(name: &'static str, is_so: bool, out: &mut Extensions) {
    if is_so {
        out.put(name, Value::Boolean(true));
    }
}

/// A sender and which of its lives, or which node it came through.
fn speaker(sender: &Sender) -> String {
    match sender {
        Sender::Agent(id, life) => format!("{}@{id}", incarnation(life)),
        Sender::Client(client, node) => format!("{node}@{}", client.as_str()),
        Sender::System => HOST.to_owned(),
    }
}

fn read_speaker(text: &str) -> Option<Sender> {
    if text == HOST {
        return Some(Sender::System);
    }
    let (of, name) = text.split_once('@')?;
    Some(match read_incarnation(of) {
        Some(life) => Sender::Agent(AgentId::new(name).ok()?, life),
        None => Sender::Client(ClientId::new(name)?, of.parse().ok()?),
    })
}

/// The host, as a speaker.
const HOST: &str = "system";

/// Puts what the body says, and gives back its payload.
fn put_body<'a>(body: &'a Body, out: &mut Extensions) -> Option<&'a Payload> {
    match body {
        Body::Message { payload, ask, .. } => {
            put_ask(ask.as_deref(), out);
            Some(payload)
        }
        Body::Spawn { config, ask } => {
            out.put(names::SPAWN, Value::Boolean(true));
            put_ask(ask.as_deref(), out);
            Some(config)
        }
        Body::Bounce(bounce) => {
            out.put(names::BOUNCED, written(&bounce.to));
            out.put(names::METHOD, escaped(&bounce.method));
            out.put(names::REASON, escaped(&bounce.reason));
            put_flag(names::UNSURE, bounce.unsure, out);
            Some(&bounce.payload)
        }
        Body::Reply { ask, asker, reply } => {
            out.put(names::ASK, written(ask));
            out.put(names::ASKER, written(incarnation(asker)));
            out.put(names::REPLY, Value::text(ending(reply)));
            match reply {
                Reply::Ok(payload) => Some(payload),
                Reply::Failed(failure) => {
                    out.put(names::CODE, escaped(&failure.code));
                    out.put(names::REASON, escaped(&failure.message));
                    Some(&failure.details)
                }
                Reply::Bounced(why) | Reply::Unavailable(why) => {
                    out.put(names::REASON, escaped(why));
                    None
                }
                Reply::TurnedDown(why) => {
                    out.put(names::REASON, escaped(&why.text));
                    None
                }
                Reply::Timeout | Reply::Deadlock => None,
            }
        }
    }
}

fn put_ask(ask: Option<&Ask>, out: &mut Extensions) {
    let Some(Ask {
        id,
        reply_to,
        deadline,
    }) = ask
    else {
        return;
    };
    out.put(names::ASK, written(id));
    out.put(
        names::REPLY_TO,
        written(match reply_to {
            ReplyTo::Agent(id, life) => format!("{}@{id}", incarnation(life)),
            ReplyTo::Client(node) => node.to_string(),
        }),
    );
    put_instant(names::DEADLINE, *deadline, out);
}

/// The word for how an ask ended.
fn ending(reply: &Reply) -> &'static str {
    match reply {
        Reply::Ok(_) => "ok",
        Reply::Failed(_) => "failed",
        Reply::Timeout => "timeout",
        Reply::Bounced(_) => "bounced",
        Reply::Deadlock => "deadlock",
        Reply::Unavailable(_) | Reply::TurnedDown(_) => "unavailable",
    }
}

/// Those of the sender's attributes that are extensions. The envelope's own
/// word on lane, delivery and deadline goes before the sender's.
fn put_said(said: &Attributes, out: &mut Extensions) {
    for (name, value) in said.fields() {
        match names::interned(name) {
            _ if is_core(name) => {}
            Cow::Borrowed(known) => out.put(known, value),
            // Its name and value were checked when it was set, and it is there
            // once. More than fit cannot be: custom ones are counted apart.
            Cow::Owned(custom) => drop(out.insert(&custom, value)),
        }
    }
}

/// Whether CloudEvents itself defines the attribute.
fn is_core(name: &str) -> bool {
    matches!(
        name,
        names::ID
            | names::SOURCE
            | names::TYPE
            | names::SUBJECT
            | names::TIME
            | names::DATA_CONTENT_TYPE
            | names::DATA_SCHEMA
    )
}

impl Envelope {
    /// The event's id, unique among those of its source; `None` for a message
    /// sent at most once that asks nothing, of which each copy is another.
    pub fn event_id(&self) -> Option<Arc<str>> {
        let said = self.attributes().and_then(|said| said.id.clone());
        match self.sender() {
            Sender::Client(..) if said.is_some() => said,
            _ => self.derived_id().map(Into::into),
        }
    }

    fn derived_id(&self) -> Option<String> {
        let to = self.receiver();
        if let Some(Sequence { number, .. }) = &self.sequence {
            let lane = self.stream.lane.as_str();
            return Some(match self.sender() {
                Sender::Agent(_, life) => format!("{}/{lane}/{number}/{to}", incarnation(life)),
                Sender::Client(..) | Sender::System => format!("{lane}/{number}/{to}"),
            });
        }
        match &self.body {
            Body::Message { ask, .. } | Body::Spawn { ask, .. } => {
                let Ask { id, reply_to, .. } = ask.as_deref()?;
                Some(match reply_to {
                    ReplyTo::Agent(asker, life) => {
                        format!("ask/{}/{id}/{asker}", incarnation(life))
                    }
                    ReplyTo::Client(node) => format!("ask/{node}/{id}"),
                })
            }
            Body::Reply { ask, asker, .. } => {
                Some(format!("reply/{}/{ask}/{to}", incarnation(asker)))
            }
            Body::Bounce(_) => None,
        }
    }

    /// The event's type: what the sender says, or what follows from the body and
    /// the receiver.
    pub fn event_type(&self) -> Arc<str> {
        match self.attributes().and_then(|said| said.message_type.clone()) {
            Some(said) => said,
            None => self.derived_type().into(),
        }
    }

    fn derived_type(&self) -> String {
        match &self.body {
            Body::Message { method, .. } => message_type(self.receiver().kind(), method),
            Body::Spawn { .. } => "phoenix.lifecycle.agent.spawn".to_owned(),
            Body::Reply { reply, .. } => format!("phoenix.ask.reply.{}", ending(reply)),
            Body::Bounce(_) => "phoenix.agent.message.bounced".to_owned(),
        }
    }

    /// The envelope that [`CloudEvent::of`] made `event` of. For what another
    /// node says: a client's event becomes a [`super::ClientEvent`].
    ///
    /// # Errors
    ///
    /// Names the first attribute that no envelope gives such a value.
    pub fn from_event(event: &CloudEvent) -> Result<Self, BadAttribute> {
        let said = Said(event);
        let (payload, content_type) = event.payload();
        let sequence = said.sequence()?;
        let mut envelope = Self {
            stream: StreamKey::shared(said.sender()?, said.receiver()?, said.lane()?),
            sequence,
            body: said.body(payload)?,
            extras: None,
        };
        let has_ask = envelope.body.ask().is_some();
        let mut attributes = Attributes::new();
        for (name, value) in event.extensions.iter() {
            let of_envelope = match name {
                names::DELIVERY => {
                    let word = value.as_text().map(AsRef::as_ref);
                    word == Some(guarantee(sequence.as_ref()).as_str())
                }
                names::DEADLINE => has_ask,
                names::PRIORITY => true,
                name => OF_ENVELOPES.contains(&name) || name.starts_with(names::HOST_PREFIX),
            };
            if !of_envelope {
                attributes.set(name, value)?;
            }
        }
        let derived = envelope.derived_type();
        let source = event.extensions.get(names::SENDER).map(|_| &event.source);
        attributes.set_text(names::ID, said.id(&envelope)?)?;
        attributes.set_text(names::SOURCE, source)?;
        attributes.set_text(names::TYPE, differing(Some(&event.event_type), &derived))?;
        let subject = differing(event.subject.as_ref(), envelope.receiver().as_str());
        attributes.set_text(names::SUBJECT, subject)?;
        attributes.set_text(names::DATA_CONTENT_TYPE, content_type.as_ref())?;
        attributes.set_text(names::DATA_SCHEMA, event.data_schema.as_ref())?;
        attributes.time = event.time;
        attributes.check()?;
        let extras = Extras {
            expiry: expiry(event)?,
            original: said.original()?,
            attributes: attributes.shared(),
        };
        envelope.extras = (extras != Extras::default()).then(|| Box::new(extras));
        Ok(envelope)
    }
}

/// `text`, unless it is what follows anyway.
pub(super) fn differing<'a>(text: Option<&'a Arc<str>>, derived: &str) -> Option<&'a Arc<str>> {
    text.filter(|text| ***text != *derived)
}

/// An event that another node made of an envelope.
struct Said<'a>(&'a CloudEvent);

impl Said<'_> {
    fn text(&self, name: &str, accepted: &'static str) -> Result<Option<&str>, BadAttribute> {
        match self.0.extensions.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(BadAttribute::wrong(name, other, accepted)),
        }
    }

    fn optional<T>(
        &self,
        name: &str,
        accepted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, BadAttribute> {
        let Some(text) = self.text(name, accepted)? else {
            return Ok(None);
        };
        match parse(text) {
            None => Err(BadAttribute::wrong(name, &text, accepted)),
            parsed => Ok(parsed),
        }
    }

    fn required<T>(
        &self,
        name: &str,
        accepted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, BadAttribute> {
        self.optional(name, accepted, parse)?
            .ok_or_else(|| BadAttribute::missing(name, accepted))
    }

    fn instant(&self, name: &str) -> Result<Millis, BadAttribute> {
        let at = self.optional(name, "a time of 1970 or later", |text| {
            Timestamp::parse(text)?.millis()
        })?;
        Ok(at.unwrap_or(Millis::NEVER))
    }

    fn unescaped(&self, name: &str) -> Result<Arc<str>, BadAttribute> {
        self.required(name, ENCODED, unescaped)
    }

    fn sender(&self) -> Result<Sender, BadAttribute> {
        // Only a client has a source of its own.
        if let Some(sender) = self.text(names::SENDER, CLIENT)? {
            return self.client(names::SENDER, sender);
        }
        let source = self.0.source.as_ref();
        if source == SYSTEM {
            return Ok(Sender::System);
        }
        let Some(agent) = source.strip_prefix(AGENTS) else {
            return self.client(names::SOURCE, source);
        };
        let id = unescape(agent).and_then(|id| AgentId::new(&id).ok());
        let id = id.ok_or_else(|| BadAttribute::wrong(names::SOURCE, &source, CLIENT))?;
        let life = self.required(names::INCARNATION, LIFE, read_incarnation)?;
        Ok(Sender::Agent(id, life))
    }

    fn client(&self, name: &str, sender: &str) -> Result<Sender, BadAttribute> {
        let client = sender.strip_prefix(CLIENTS).and_then(ClientId::new);
        let client = client.ok_or_else(|| BadAttribute::wrong(name, &sender, CLIENT))?;
        let node = self.required(names::NODE, "a node, as in node-2", |it| it.parse().ok())?;
        Ok(Sender::Client(client, node))
    }

    fn receiver(&self) -> Result<AgentId, BadAttribute> {
        if let Some(receiver) = self.optional(names::RECEIVER, AGENT, agent)? {
            return Ok(receiver);
        }
        let Some(subject) = &self.0.subject else {
            return Err(BadAttribute::missing(names::SUBJECT, AGENT));
        };
        agent(subject).ok_or_else(|| BadAttribute::wrong(names::SUBJECT, subject, AGENT))
    }

    fn sequence(&self) -> Result<Option<Sequence>, BadAttribute> {
        let accepted = "a number from 1, and not below phxbase";
        let Some(found) = self.optional(names::SEQUENCE, accepted, number)? else {
            return Ok(None);
        };
        let sequence = Sequence {
            number: found,
            base: self.required(names::BASE, "a number from 1", |text| {
                NonZeroU64::new(number(text)?)
            })?,
            give_up: self.instant(names::GIVE_UP)?,
        };
        if !sequence.is_valid() {
            return Err(BadAttribute::wrong(names::SEQUENCE, &found, accepted));
        }
        Ok(Some(sequence))
    }

    fn lane(&self) -> Result<Lane, BadAttribute> {
        self.required(
            names::PRIORITY,
            "high, normal, low, bulk or reply",
            |word| {
                if word == Lane::Reply.as_str() {
                    return Some(Lane::Reply);
                }
                Lane::of_word(word)
            },
        )
    }

    fn original(&self) -> Result<Option<Original>, BadAttribute> {
        let accepted = "a sender, as in 1.2.3@kind/key, node-2@client or system";
        let Some(sender) = self.optional(names::ORIGINAL, accepted, read_speaker)? else {
            return Ok(None);
        };
        Ok(Some(Original {
            sender,
            receiver: self.required(names::REDIRECTED_FROM, AGENT, agent)?,
            number: self.optional(names::ORIGINAL_NUMBER, "a number", number)?,
            redirects: self.required(names::REDIRECTS, "a number up to 255", |text| {
                number(text)?.try_into().ok()
            })?,
        }))
    }

    fn ask(&self) -> Result<Option<Ask>, BadAttribute> {
        let Some(id) = self.optional(names::ASK, "a number", number)? else {
            return Ok(None);
        };
        let accepted = "a node, as in node-2, or an asker as in 1.2.3@kind/key";
        Ok(Some(Ask {
            id,
            reply_to: self.required(names::REPLY_TO, accepted, |text| {
                Some(match text.split_once('@') {
                    Some((life, id)) => {
                        ReplyTo::Agent(AgentId::new(id).ok()?, read_incarnation(life)?)
                    }
                    None => ReplyTo::Client(text.parse().ok()?),
                })
            })?,
            deadline: self.instant(names::DEADLINE)?,
        }))
    }

    fn body(&self, payload: Payload) -> Result<Body, BadAttribute> {
        let endings = "ok, failed, timeout, bounced, deadlock or unavailable";
        if let Some(ending) = self.text(names::REPLY, endings)? {
            let reason = || self.unescaped(names::REASON);
            let reply = match ending {
                "ok" => Reply::Ok(payload),
                "failed" => Reply::Failed(Box::new(Failure {
                    code: self.unescaped(names::CODE)?,
                    message: reason()?,
                    details: payload,
                })),
                "timeout" => Reply::Timeout,
                "bounced" => Reply::Bounced(reason()?),
                "deadlock" => Reply::Deadlock,
                "unavailable" => Reply::Unavailable(reason()?),
                other => return Err(BadAttribute::wrong(names::REPLY, &other, endings)),
            };
            return Ok(Body::Reply {
                ask: self.required(names::ASK, "a number", number)?,
                asker: self.required(names::ASKER, LIFE, read_incarnation)?,
                reply,
            });
        }
        if let Some(to) = self.optional(names::BOUNCED, AGENT, agent)? {
            return Ok(Body::Bounce(Box::new(Bounce {
                to,
                method: self.required(names::METHOD, ENCODED, unescaped)?,
                payload,
                reason: self.unescaped(names::REASON)?,
                unsure: flag(self.0, names::UNSURE)?,
            })));
        }
        let ask = self.ask()?.map(Box::new);
        if self.0.extensions.get(names::SPAWN).is_some() {
            return Ok(Body::Spawn {
                config: payload,
                ask,
            });
        }
        let method = match self.0.extensions.get(names::METHOD) {
            Some(_) => self.required(names::METHOD, ENCODED, unescaped)?,
            None => action(&self.0.event_type)
                .ok_or_else(|| no_method(&self.0.event_type))?
                .into(),
        };
        Ok(Body::Message {
            method,
            payload,
            ask,
        })
    }

    /// The id, if it does not follow from the envelope.
    fn id(&self, envelope: &Envelope) -> Result<Option<&Arc<str>>, BadAttribute> {
        let id = &self.0.id;
        let follows = match envelope.derived_id() {
            Some(derived) => **id == *derived,
            None => id.starts_with(ONCE),
        };
        match envelope.sender() {
            _ if follows => Ok(None),
            Sender::Client(..) => Ok(Some(id)),
            Sender::Agent(..) | Sender::System => Err(BadAttribute::wrong(
                names::ID,
                id,
                "the one that follows from sender, receiver and sequence",
            )),
        }
    }
}

/// When an event is of no use any more, if that is said.
pub(super) fn expiry(event: &CloudEvent) -> Result<Option<Expiry>, BadAttribute> {
    let accepted = "a time of 1970 or later, as in 2018-04-05T17:31:00Z";
    let report = flag(event, names::EXPIRY_REPORT)?;
    let Some(value) = event.extensions.get(names::EXPIRY_TIME) else {
        return if report {
            Err(BadAttribute::missing(names::EXPIRY_TIME, accepted))
        } else {
            Ok(None)
        };
    };
    let at = value.as_text().and_then(|text| Timestamp::parse(text));
    let at = at.and_then(|at| at.millis());
    let at = at.ok_or_else(|| BadAttribute::wrong(names::EXPIRY_TIME, value, accepted))?;
    Ok(Some(Expiry { at, report }))
}

/// Whether an event says so. In headers a flag is a text.
fn flag(event: &CloudEvent, name: &str) -> Result<bool, BadAttribute> {
    match event.extensions.get(name) {
        None => Ok(false),
        Some(Value::Boolean(is_so)) => Ok(*is_so),
        Some(value) => match value.as_text().map(AsRef::as_ref) {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(BadAttribute::wrong(name, value, "true or false")),
        },
    }
}

fn agent(text: &str) -> Option<AgentId> {
    AgentId::new(text).ok()
}

const AGENT: &str = "an agent's id, kind/key";
const ENCODED: &str = "percent-encoded text";
const LIFE: &str = "an incarnation, as in 1.2.3";
const CLIENT: &str = "/clients/id, or of an event without phxsender /agents/kind/key or /system";

/// No handler is named.
pub(super) fn no_method(event_type: &str) -> BadAttribute {
    BadAttribute::wrong(
        names::TYPE,
        &event_type,
        "phoenix.{domain}.{entity}.{action} with the handler's name as its action, unless the extension `method` names the handler",
    )
}

pub(super) fn unescaped<T: for<'a> From<&'a str>>(text: &str) -> Option<T> {
    unescape(text).map(|text| text.as_ref().into())
}

/// A number in decimal digits and nothing else.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn read_incarnation(text: &str) -> Option<Incarnation> {
    let mut numbers = text.split('.').map(number);
    let incarnation = Incarnation {
        generation: numbers.next()??,
        boot: numbers.next()??,
        count: numbers.next()??,
    };
    numbers.next().is_none().then_some(incarnation)
}
