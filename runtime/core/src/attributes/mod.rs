//! What a message says about itself beside its payload, as CloudEvents 1.0 has
//! it (<https://github.com/cloudevents/spec>).
//!
//! Most messages say nothing that does not follow from their envelope: the id
//! from sender, receiver and sequence, the source from the sender, the subject
//! from the receiver, the type from receiver and handler. An [`Envelope`] then
//! has no attributes, and [`CloudEvent::of`] derives all of them. What cannot be
//! derived, because a client said it or a trace is followed, is in
//! [`Attributes`], behind one pointer.
//!
//! ```text
//!  outside ──▶ CloudEvent ──▶ ClientEvent ──▶ Envelope ──▶ CloudEvent ──▶ tools
//!            EventBuilder     checks and       with its        view        peers
//!             checks form    names what is    attributes
//!                             malformed
//! ```
//!
//! **Invariant**: what is in an [`Attributes`] has passed [`Attributes::set`];
//! every way in, from a client, a peer or a snapshot, goes through it.

mod client;
mod event;
mod http;
mod port;
mod text;
mod timestamp;
mod trace;
mod value;
mod view;

pub mod names;

use std::sync::Arc;

pub use client::{ClientEvent, Target};
pub use event::{CloudEvent, EventBuilder, SPEC_VERSION};
pub use port::{BadEvent, ContentMode, EventCodec, Format};
pub use text::MAX_NAME;
pub use timestamp::Timestamp;
pub use trace::{MAX_TRACE_STATE, TraceParent};
pub use value::{BadAttribute, Extensions, Value};
pub use view::Nonce;

use crate::taxonomy::{Consistency, Guarantee, MessageType, Ordering, Overrides, ROOT};
use crate::{Envelope, Lane, Millis};

/// Longest text of one attribute that comes from outside, bytes.
pub const MAX_TEXT: usize = 2_048;

/// Most extensions of one event, those of the host among them.
pub const MAX_EXTENSIONS: usize = 64;

/// Most custom extensions of one message.
pub const MAX_CUSTOM: usize = 24;

/// Bytes of one message's custom extensions, names and values together.
pub const MAX_CUSTOM_BYTES: usize = 8 << 10;

/// What a message says about itself that does not follow from its envelope.
/// All of it is optional; two are equal if they say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    id: Option<Arc<str>>,
    source: Option<Arc<str>>,
    message_type: Option<Arc<str>>,
    subject: Option<Arc<str>>,
    time: Option<Timestamp>,
    content_type: Option<Arc<str>>,
    schema: Option<Arc<str>>,
    trace_parent: Option<TraceParent>,
    trace_state: Option<Arc<str>>,
    causation: Option<Arc<str>>,
    correlation: Option<Arc<str>>,
    overrides: Overrides,
    partition_key: Option<Arc<str>>,
    deadline: Option<Millis>,
    custom: Extensions,
}

impl Attributes {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of a message that says its type, and no more. A type may be anybody's; one
    /// that begins with `phoenix` has the form of ours.
    ///
    /// # Errors
    ///
    /// It is not of that form, or no text.
    pub fn of_type(message_type: &str) -> Result<Self, BadAttribute> {
        let root = message_type.split('.').next();
        if root == Some(ROOT) && MessageType::check(message_type).is_err() {
            return Err(BadAttribute::wrong(
                names::TYPE,
                &message_type,
                "phoenix.{domain}.{entity}.{action}, as in phoenix.data.order.placed, perhaps with a qualifier more, each of 1 to 64 of a-z, 0-9, - and _, or a type that does not begin with phoenix",
            ));
        }
        let mut attributes = Self::new();
        attributes.set(names::TYPE, &Value::text(message_type))?;
        Ok(attributes)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For an envelope: `None` if nothing is said.
    pub fn shared(self) -> Option<Arc<Self>> {
        (!self.is_empty()).then(|| Arc::new(self))
    }

    /// Sets the attribute of that name, once checked. A name that neither
    /// CloudEvents nor Phoenix defines is a custom extension.
    ///
    /// # Errors
    ///
    /// Names the attribute, its value and the accepted form; nothing is set then.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), BadAttribute> {
        let read = Reading { name, value };
        match name {
            names::ID => self.id = Some(read.text()?),
            names::SOURCE => {
                self.source = Some(read.formed(text::is_uri_reference, "a URI-reference")?);
            }
            names::TYPE => self.message_type = Some(read.text()?),
            names::SUBJECT => self.subject = Some(read.text()?),
            names::TIME => self.time = Some(read.timestamp()?),
            names::DATA_CONTENT_TYPE => {
                self.content_type =
                    Some(read.formed(text::is_media_type, "a media type, as in application/json")?);
            }
            names::DATA_SCHEMA => {
                self.schema = Some(read.formed(text::is_uri, "a URI with its scheme")?);
            }
            names::TRACE_PARENT => {
                self.trace_parent = Some(read.parsed(
                    TraceParent::parse,
                    "00-<32 hexadecimal digits>-<16>-<2> as W3C Trace Context has it, neither number all zeros",
                )?);
            }
            names::TRACE_STATE => {
                self.trace_state = Some(read.formed(
                    trace::is_trace_state,
                    "up to 32 members key=value with commas between them, each key once, at most 512 bytes",
                )?);
            }
            names::CAUSATION_ID => self.causation = Some(read.text()?),
            names::CORRELATION_ID => self.correlation = Some(read.text()?),
            names::PRIORITY => {
                self.overrides.priority = Some(read.parsed(Lane::of_word, Lane::ACCEPTED)?);
            }
            names::DELIVERY => {
                let delivery = read.parsed(Guarantee::of_word, Guarantee::ACCEPTED)?;
                self.overrides.delivery = Some(delivery);
            }
            names::CONSISTENCY => {
                let consistency = read.parsed(Consistency::of_word, Consistency::ACCEPTED)?;
                self.overrides.consistency = Some(consistency);
            }
            names::ORDERING => {
                let ordering = read.parsed(Ordering::of_word, Ordering::ACCEPTED)?;
                self.overrides.ordering = Some(ordering);
            }
            names::PARTITION_KEY => self.partition_key = Some(read.text()?),
            names::DEADLINE => self.deadline = Some(read.instant()?),
            _ => self.set_custom(&read)?,
        }
        Ok(())
    }

    /// Sets an attribute that is a text, if there is one.
    fn set_text(&mut self, name: &str, text: Option<&Arc<str>>) -> Result<(), BadAttribute> {
        match text {
            Some(text) => self.set(name, &Value::Text(text.clone())),
            None => Ok(()),
        }
    }

    fn set_custom(&mut self, read: &Reading<'_>) -> Result<(), BadAttribute> {
        let Reading { name, value } = read;
        if name.starts_with(names::HOST_PREFIX) || OF_ENVELOPES.contains(name) {
            return Err(read.wrong("left out: it stands in the envelope, and is the host's to say"));
        }
        if value.size() > MAX_TEXT {
            return Err(read.wrong(TEXT_BOUND));
        }
        let bytes = self.custom_bytes() + name.len() + value.size();
        if self.custom.len() == MAX_CUSTOM || bytes > MAX_CUSTOM_BYTES {
            return Err(read.wrong(
                "one of at most 24 custom extensions with 8,192 bytes of names and values together",
            ));
        }
        self.custom.insert(name, (*value).clone())
    }

    /// Checks what no attribute shows by itself.
    ///
    /// # Errors
    ///
    /// There is a `tracestate` without the `traceparent` it belongs to.
    pub fn check(&self) -> Result<(), BadAttribute> {
        match &self.trace_state {
            Some(_) if self.trace_parent.is_none() => Err(BadAttribute::missing(
                names::TRACE_PARENT,
                "there where a tracestate is",
            )),
            _ => Ok(()),
        }
    }

    /// All that is set, name and value as [`Attributes::set`] takes them: for
    /// formats that keep attributes by name.
    pub fn fields(&self) -> Vec<(&str, Value)> {
        let mut fields: Vec<(&str, Value)> = Vec::new();
        let mut put = |name, value: Option<Value>| {
            fields.extend(value.map(|value| (name, value)));
        };
        let text = |text: &Option<Arc<str>>| text.clone().map(Value::Text);
        let word = |word: Option<&'static str>| word.map(Value::text);
        let instant = |at: Option<Millis>| at.and_then(Timestamp::from_millis).map(written);
        put(names::ID, text(&self.id));
        put(names::SOURCE, text(&self.source));
        put(names::TYPE, text(&self.message_type));
        put(names::SUBJECT, text(&self.subject));
        put(names::TIME, self.time.map(written));
        put(names::DATA_CONTENT_TYPE, text(&self.content_type));
        put(names::DATA_SCHEMA, text(&self.schema));
        put(names::TRACE_PARENT, self.trace_parent.map(written));
        put(names::TRACE_STATE, text(&self.trace_state));
        put(names::CAUSATION_ID, text(&self.causation));
        put(names::CORRELATION_ID, text(&self.correlation));
        put(
            names::PRIORITY,
            word(self.overrides.priority.map(Lane::as_str)),
        );
        put(
            names::DELIVERY,
            word(self.overrides.delivery.map(Guarantee::as_str)),
        );
        put(
            names::CONSISTENCY,
            word(self.overrides.consistency.map(Consistency::as_str)),
        );
        put(
            names::ORDERING,
            word(self.overrides.ordering.map(Ordering::as_str)),
        );
        put(names::PARTITION_KEY, text(&self.partition_key));
        put(names::DEADLINE, instant(self.deadline));
        fields.extend(
            self.custom
                .iter()
                .map(|(name, value)| (name, value.clone())),
        );
        fields
    }

    /// Bytes it counts for in a mailbox or outbox.
    pub fn size(&self) -> usize {
        let texts = [
            &self.id,
            &self.source,
            &self.message_type,
            &self.subject,
            &self.content_type,
            &self.schema,
            &self.trace_state,
            &self.causation,
            &self.correlation,
            &self.partition_key,
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + texts + self.custom_bytes()
    }

    fn custom_bytes(&self) -> usize {
        self.custom
            .iter()
            .map(|(name, value)| name.len() + value.size())
            .sum()
    }

    /// The id that an event from outside came with.
    pub fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    /// The source that an event from outside came with. It is believed of
    /// clients only: an agent's source is its id, whatever is said here.
    pub fn source(&self) -> Option<&Arc<str>> {
        self.source.as_ref()
    }

    /// The type, if it is not the one that follows from receiver and handler.
    pub fn message_type(&self) -> Option<&Arc<str>> {
        self.message_type.as_ref()
    }

    /// What it is about, if that is not the receiver.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// When it happened, if anybody says so.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The payload's media type, if it is not that of its content type.
    pub fn content_type(&self) -> Option<&Arc<str>> {
        self.content_type.as_ref()
    }

    /// Where the payload's shape is described.
    pub fn schema(&self) -> Option<&Arc<str>> {
        self.schema.as_ref()
    }

    /// Where it stands in a trace.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.trace_parent
    }

    /// What tracing systems add to that.
    pub fn trace_state(&self) -> Option<&Arc<str>> {
        self.trace_state.as_ref()
    }

    /// The id of the event that caused it.
    pub fn causation(&self) -> Option<&Arc<str>> {
        self.causation.as_ref()
    }

    /// What it shares with all events of one undertaking.
    pub fn correlation(&self) -> Option<&Arc<str>> {
        self.correlation.as_ref()
    }

    /// How it wants to be treated otherwise than its type and kind have it.
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// What decides which member of a group gets it.
    pub fn partition_key(&self) -> Option<&Arc<str>> {
        self.partition_key.as_ref()
    }

    /// When whoever waits for what comes of it gives up, since 1970-01-01 UTC.
    pub fn deadline(&self) -> Option<Millis> {
        self.deadline
    }

    /// Extensions that neither CloudEvents nor Phoenix defines.
    pub fn custom(&self) -> &Extensions {
        &self.custom
    }

    /// Sets how it wants to be treated.
    pub fn set_overrides(&mut self, overrides: Overrides) {
        self.overrides = overrides;
    }

    /// Sets when whoever waits gives up; later than the year 9999 is never.
    pub fn set_deadline(&mut self, at: Option<Millis>) {
        self.deadline = at.filter(|at| Timestamp::from_millis(*at).is_some());
    }

    /// Sets where it stands in a trace.
    pub fn set_trace_parent(&mut self, trace_parent: Option<TraceParent>) {
        self.trace_parent = trace_parent;
        if trace_parent.is_none() {
            self.trace_state = None;
        }
    }

    /// What a message sent because of `cause` says: the same trace, in which
    /// `span` is the turn that sends it, the same undertaking, and its cause.
    /// Nothing, if `cause` says nothing of the kind.
    pub fn caused_by(cause: &Envelope, span: u64) -> Self {
        let Some(said) = cause.attributes() else {
            return Self::default();
        };
        let follows = said.correlation.is_some() || said.causation.is_some();
        Self {
            trace_parent: said.trace_parent.map(|parent| parent.child(span)),
            trace_state: said.trace_state.clone(),
            correlation: said.correlation.clone(),
            // A message without an id of its own cannot be named as a cause.
            causation: follows.then(|| cause.event_id()).flatten(),
            ..Self::default()
        }
    }

    /// The same, and of its causes what `cause` says, as [`Attributes::caused_by`] made
    /// it.
    #[must_use]
    pub fn following(&self, cause: &Self) -> Self {
        Self {
            trace_parent: cause.trace_parent,
            trace_state: cause.trace_state.clone(),
            correlation: cause.correlation.clone(),
            causation: cause.causation.clone(),
            ..self.clone()
        }
    }
}

/// Attributes that stand in the envelope itself.
const OF_ENVELOPES: [&str; 6] = [
    names::SPEC_VERSION,
    names::SEQUENCE,
    names::METHOD,
    names::EXPIRY_TIME,
    names::EXPIRY_REPORT,
    names::REDIRECTED_FROM,
];

/// What a text may be.
const TEXT: &str = "text of 1 to 2,048 bytes without control characters";
const TEXT_BOUND: &str = "text of at most 2,048 bytes";
const _: () = assert!(MAX_TEXT == 2_048 && MAX_CUSTOM == 24 && MAX_CUSTOM_BYTES == 8_192);

/// A value as its text.
fn written(value: impl std::fmt::Display) -> Value {
    Value::text(value.to_string())
}

/// An attribute that is being read.
struct Reading<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Reading<'_> {
    fn wrong(&self, accepted: &'static str) -> BadAttribute {
        BadAttribute::wrong(self.name, self.value, accepted)
    }

    fn text(&self) -> Result<Arc<str>, BadAttribute> {
        self.formed(|_| true, TEXT)
    }

    fn formed(
        &self,
        is_well_formed: impl Fn(&str) -> bool,
        accepted: &'static str,
    ) -> Result<Arc<str>, BadAttribute> {
        match self.value.as_text() {
            Some(text) if text.len() > MAX_TEXT => Err(self.wrong(TEXT_BOUND)),
            Some(text) if text::is_text(text) && is_well_formed(text) => Ok(text.clone()),
            _ => Err(self.wrong(accepted)),
        }
    }

    fn parsed<T>(
        &self,
        parse: impl Fn(&str) -> Option<T>,
        accepted: &'static str,
    ) -> Result<T, BadAttribute> {
        let text = self.value.as_text();
        text.and_then(|text| parse(text))
            .ok_or_else(|| self.wrong(accepted))
    }

    fn timestamp(&self) -> Result<Timestamp, BadAttribute> {
        self.parsed(Timestamp::parse, "a time, as in 2018-04-05T17:31:00Z")
    }

    fn instant(&self) -> Result<Millis, BadAttribute> {
        self.timestamp()?
            .millis()
            .ok_or_else(|| self.wrong("a time of 1970 or later"))
    }
}

#[cfg(test)]
mod tests;
