//! An event as filters, templates and transformations see it.

use std::borrow::Cow;
use std::cell::OnceCell;

use phoenix_wit::ContentType;

use super::TopicName;
use super::value::{BadData, Key, Map, Value};
use crate::Millis;

/// An event while its subscriptions are looked at. Its data is read when it is first
/// asked for and then kept, however many look.
#[derive(Debug)]
pub struct EventView<'a> {
    pub(super) topic: Value<'a>,
    pub(super) publisher: Value<'a>,
    pub(super) message_type: Value<'a>,
    pub(super) key: Value<'a>,
    pub(super) time: Value<'a>,
    pub(super) number: Value<'a>,
    pub(super) attributes: Value<'a>,
    content_type: ContentType,
    bytes: &'a [u8],
    data: OnceCell<Result<Value<'a>, BadData>>,
}

impl<'a> EventView<'a> {
    /// An event of a topic: who published it (an agent's id or `client/ID`), when the
    /// owner took it, and its data.
    pub fn new(
        topic: &'a TopicName,
        publisher: &'a str,
        time: Millis,
        content_type: ContentType,
        data: &'a [u8],
    ) -> Self {
        Self {
            topic: text(topic.as_str()),
            publisher: text(publisher),
            message_type: Value::Null,
            key: Value::Null,
            time: whole(time.0),
            number: Value::Null,
            attributes: Value::Map(Map::default()),
            content_type,
            bytes: data,
            data: OnceCell::new(),
        }
    }

    /// The same event, of that type.
    #[must_use]
    pub fn with_type(mut self, message_type: Option<&'a str>) -> Self {
        self.message_type = message_type.map(text).unwrap_or_default();
        self
    }

    /// The same, with that key.
    #[must_use]
    pub fn with_key(mut self, key: Option<&'a str>) -> Self {
        self.key = key.map(text).unwrap_or_default();
        self
    }

    /// The same, as the owner numbered it.
    #[must_use]
    pub fn with_number(mut self, number: u64) -> Self {
        self.number = whole(number);
        self
    }

    /// The same, with those attributes.
    #[must_use]
    pub fn with_attributes(
        mut self,
        attributes: impl IntoIterator<Item = (&'a str, Value<'a>)>,
    ) -> Self {
        let entries = attributes.into_iter();
        let entries = entries.map(|(name, value)| (Key::Text(Cow::Borrowed(name)), value));
        self.attributes = Value::Map(Map::new(entries.collect()));
        self
    }

    /// What its data says.
    ///
    /// # Errors
    ///
    /// It is malformed, or has no fields.
    pub fn data(&self) -> Result<&Value<'a>, &BadData> {
        let read = || Value::read(self.content_type, self.bytes);
        self.data.get_or_init(read).as_ref()
    }

    /// Its data as it was published.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What its data is.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Whether its data has been read.
    #[cfg(test)]
    pub(super) fn is_read(&self) -> bool {
        self.data.get().is_some()
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

/// As numbers of data are.
fn whole(number: u64) -> Value<'static> {
    i64::try_from(number).map_or(Value::Uint(number), Value::Int)
}
