//! The binary content mode of CloudEvents' HTTP binding: attributes are headers,
//! and the body is the data. Text in, text out; no connection is known here.

use bytes::Bytes;

use super::text::{escape, unescape};
use super::{BadAttribute, CloudEvent, EventBuilder, Value, names};

/// What headers of attributes begin with.
const PREFIX: &str = "ce-";
/// The header of the data's media type.
const CONTENT_TYPE: &str = "content-type";

/// What a header's value may be.
const ACCEPTED: &str =
    "printable ASCII, with everything else percent-encoded, as the CloudEvents HTTP binding has it";

impl CloudEvent {
    /// Whether a request with these headers is an event in binary mode: one
    /// says which version of CloudEvents it speaks.
    pub fn is_in_headers<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
        names
            .into_iter()
            .filter_map(attribute)
            .any(|name| name.eq_ignore_ascii_case(names::SPEC_VERSION))
    }

    /// Reads an event from the headers and the body of a request or response.
    /// Headers of other things are passed over. A body of no bytes is no data,
    /// unless it has a media type.
    ///
    /// # Errors
    ///
    /// Names the first attribute that is malformed or missing.
    pub fn from_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        body: Bytes,
    ) -> Result<Self, BadAttribute> {
        let mut event = EventBuilder::new();
        for (header, value) in headers {
            if header.eq_ignore_ascii_case(CONTENT_TYPE) {
                let value = plain(names::DATA_CONTENT_TYPE, value)?;
                event.set(names::DATA_CONTENT_TYPE, Value::text(value.trim()))?;
            } else if let Some(name) = attribute(header) {
                // Names of headers are the same in either case, those of attributes lower.
                let name = name.to_ascii_lowercase();
                let value = plain(&name, value)?;
                if name == names::DATA_CONTENT_TYPE {
                    let accepted = "in the header content-type";
                    return Err(BadAttribute::wrong(&name, &value, accepted));
                }
                let unescaped = unescape(&unquoted(value.trim()))
                    .map(|text| Value::text(text.as_ref()))
                    .ok_or_else(|| BadAttribute::wrong(&name, &value, ACCEPTED))?;
                event.set(&name, unescaped)?;
            }
        }
        if !body.is_empty() || event.data_content_type().is_some() {
            event.set_data(body);
        }
        event.build()
    }

    /// The headers of the event in binary mode, names in lower case; the body is
    /// its data.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = Vec::with_capacity(8 + self.extensions.len());
        let mut put = |name: &str, value: &dyn std::fmt::Display| {
            let text = value.to_string();
            let value = escape(&text, |c| c.is_ascii_graphic() && c != '"').into_owned();
            headers.push((format!("{PREFIX}{name}"), value));
        };
        put(names::SPEC_VERSION, &super::SPEC_VERSION);
        put(names::ID, &self.id);
        put(names::SOURCE, &self.source);
        put(names::TYPE, &self.event_type);
        if let Some(subject) = &self.subject {
            put(names::SUBJECT, subject);
        }
        if let Some(time) = &self.time {
            put(names::TIME, time);
        }
        if let Some(schema) = &self.data_schema {
            put(names::DATA_SCHEMA, schema);
        }
        for (name, value) in self.extensions.iter() {
            put(name, value);
        }
        if let Some(media_type) = &self.data_content_type {
            headers.push((CONTENT_TYPE.to_owned(), media_type.to_string()));
        }
        headers
    }
}

/// The attribute a header is of.
fn attribute(header: &str) -> Option<&str> {
    let (prefix, name) = header.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(name)
}

fn plain<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, BadAttribute> {
    match std::str::from_utf8(value) {
        Ok(text)
            if text
                .bytes()
                .all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) =>
        {
            Ok(text)
        }
        _ => {
            let shown = String::from_utf8_lossy(value);
            Err(BadAttribute::wrong(name, &shown, ACCEPTED))
        }
    }
}

/// A quoted string without its quotes and backslashes, which the binding's
/// earlier versions had.
fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}
