//! An event as CloudEvents 1.0 has it, in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::{BadAttribute, Extensions, Timestamp, Value, names, text};

/// The version of CloudEvents that is spoken, the attribute `specversion`.
pub const SPEC_VERSION: &str = "1.0";

/// An event with all its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// Which event; unique among those of its source.
    pub id: Arc<str>,
    /// Where it comes from, a URI-reference.
    pub source: Arc<str>,
    /// What kind of event it is.
    pub event_type: Arc<str>,
    /// What it is about.
    pub subject: Option<Arc<str>>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// The media type of `data`.
    pub data_content_type: Option<Arc<str>>,
    /// Where the shape of `data` is described, a URI.
    pub data_schema: Option<Arc<str>>,
    /// All other attributes.
    pub extensions: Extensions,
    /// The payload; no payload is not the same as an empty one.
    pub data: Option<Bytes>,
}

/// An event on its way in: attributes come in any order, each is checked as it
/// comes, and none may come twice.
#[derive(Debug, Default)]
pub struct EventBuilder {
    spec_version: bool,
    id: Option<Arc<str>>,
    source: Option<Arc<str>>,
    event_type: Option<Arc<str>>,
    subject: Option<Arc<str>>,
    time: Option<Timestamp>,
    data_content_type: Option<Arc<str>>,
    data_schema: Option<Arc<str>>,
    extensions: Extensions,
    data: Option<Bytes>,
}

impl EventBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an attribute of any name.
    ///
    /// # Errors
    ///
    /// It is not of the form CloudEvents gives it, or was set before.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), BadAttribute> {
        let wrong =
            |value: &Value, accepted: &'static str| Err(BadAttribute::wrong(name, value, accepted));
        let (slot, is_well_formed, accepted): (_, fn(&str) -> bool, _) = match name {
            names::SPEC_VERSION => {
                if value.as_text().map(AsRef::as_ref) != Some(SPEC_VERSION) {
                    return wrong(&value, "the text 1.0");
                }
                if std::mem::replace(&mut self.spec_version, true) {
                    return wrong(&value, ONCE);
                }
                return Ok(());
            }
            names::TIME => {
                let time = value.as_text().and_then(|text| Timestamp::parse(text));
                return match time {
                    Some(_) if self.time.is_some() => wrong(&value, ONCE),
                    Some(_) => {
                        self.time = time;
                        Ok(())
                    }
                    None => wrong(&value, "a time, as in 2018-04-05T17:31:00Z"),
                };
            }
            names::ID => (&mut self.id, any, TEXT),
            names::SOURCE => (&mut self.source, text::is_uri_reference, "a URI-reference"),
            names::TYPE => (&mut self.event_type, any, TEXT),
            names::SUBJECT => (&mut self.subject, any, TEXT),
            names::DATA_CONTENT_TYPE => (
                &mut self.data_content_type,
                text::is_media_type,
                "a media type, as in application/json",
            ),
            names::DATA_SCHEMA => (&mut self.data_schema, text::is_uri, "a URI with its scheme"),
            _ => return self.extensions.insert(name, value),
        };
        match value {
            Value::Text(text) if slot.is_some() => wrong(&Value::Text(text), ONCE),
            Value::Text(text) if text::is_text(&text) && is_well_formed(&text) => {
                *slot = Some(text);
                Ok(())
            }
            other => wrong(&other, accepted),
        }
    }

    /// Sets the payload.
    pub fn set_data(&mut self, data: Bytes) {
        self.data = Some(data);
    }

    /// The media type that was set.
    pub fn data_content_type(&self) -> Option<&str> {
        self.data_content_type.as_deref()
    }

    /// Whether the media type that was set says JSON.
    pub fn has_json(&self) -> bool {
        self.data_content_type.as_deref().is_some_and(is_json)
    }

    /// The event, if all it must have is there.
    ///
    /// # Errors
    ///
    /// Names the first attribute that is missing.
    pub fn build(self) -> Result<CloudEvent, BadAttribute> {
        if !self.spec_version {
            return Err(BadAttribute::missing(names::SPEC_VERSION, "the text 1.0"));
        }
        let required = |value: Option<Arc<str>>, name, accepted| {
            value.ok_or_else(|| BadAttribute::missing(name, accepted))
        };
        Ok(CloudEvent {
            id: required(self.id, names::ID, TEXT)?,
            source: required(self.source, names::SOURCE, "a URI-reference")?,
            event_type: required(self.event_type, names::TYPE, TEXT)?,
            subject: self.subject,
            time: self.time,
            data_content_type: self.data_content_type,
            data_schema: self.data_schema,
            extensions: self.extensions,
            data: self.data,
        })
    }
}

const TEXT: &str = "text that is not empty and has no control characters";
const ONCE: &str = "there once";

fn any(_: &str) -> bool {
    true
}

/// Whether the media type says JSON: `*/json` or `*/*+json`, whatever its parameters.
pub(super) fn is_json(media_type: &str) -> bool {
    let subtype = essence(media_type).split_once('/').map(|(_, it)| it);
    subtype
        .is_some_and(|it| ends_with_ignoring_case(it, "+json") || it.eq_ignore_ascii_case("json"))
}

/// A media type without its parameters.
pub(super) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    text.len()
        .checked_sub(end.len())
        .and_then(|at| text.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

impl CloudEvent {
    /// Whether its data is JSON by its media type; events without one are not
    /// read so here.
    pub fn has_json(&self) -> bool {
        self.data_content_type.as_deref().is_some_and(is_json)
    }

    /// Whether its data is text by its media type: `text/*`.
    pub fn has_text(&self) -> bool {
        self.data_content_type.as_deref().is_some_and(is_plain_text)
    }
}

/// Whether the media type is `text/*` and not JSON.
pub(super) fn is_plain_text(media_type: &str) -> bool {
    let kind = essence(media_type).split_once('/').map(|(kind, _)| kind);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("text")) && !is_json(media_type)
}
