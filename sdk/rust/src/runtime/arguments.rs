//! Reading a handler's arguments from a payload.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use phoenix_wit::{ContentType, Payload};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, de};

use crate::payload::NIL;

/// Whether a payload is what a handler without arguments gets: nothing, `nil`,
/// or an empty list or map.
#[inline]
pub(crate) fn is_empty(payload: Payload<'_>) -> bool {
    match payload.content_type {
        ContentType::None => true,
        ContentType::MessagePack => matches!(payload.bytes, [] | [NIL | 0x80 | 0x90]),
        ContentType::Json => {
            let text = payload.bytes.trim_ascii();
            let inner = match text {
                [b'[', inner @ .., b']'] | [b'{', inner @ .., b'}'] => inner,
                b"null" => &[],
                other => other,
            };
            inner.trim_ascii().is_empty()
        }
        ContentType::Binary => payload.bytes.is_empty(),
    }
}

/// A text that borrows from the payload where it can: JSON with escapes cannot.
#[derive(Debug, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// Reads a map whose only entry is an argument's name and the argument.
pub(crate) struct Named<T> {
    name: &'static str,
    value: PhantomData<T>,
}

impl<T> Named<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The argument, or `None` if the payload is no such map.
    #[cold]
    pub(crate) fn read<'f>(self, payload: Payload<'f>) -> Option<T>
    where
        T: Deserialize<'f>,
    {
        match payload.content_type {
            ContentType::MessagePack => {
                let mut from = rmp_serde::Deserializer::from_read_ref(payload.bytes);
                self.deserialize(&mut from).ok()
            }
            ContentType::Json => {
                let mut from = serde_json::Deserializer::from_slice(payload.bytes);
                let value = self.deserialize(&mut from).ok()?;
                from.end().ok().map(|()| value)
            }
            ContentType::None | ContentType::Binary => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Named<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Named<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with `{}`", self.name)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let key: Option<Text<'de>> = map.next_key()?;
        if key.is_none_or(|key| key.0 != self.name) {
            return Err(M::Error::missing_field(self.name));
        }
        let value = map.next_value()?;
        match map.next_key::<de::IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(M::Error::custom("more than the one argument")),
        }
    }
}
