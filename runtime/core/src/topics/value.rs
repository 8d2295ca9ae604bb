//! What an event's data and attributes say: one shape for JSON and MessagePack.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use phoenix_wit::ContentType;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Deepest data that is looked into: lists and maps within each other.
pub const MAX_DATA_DEPTH: usize = 64;
/// Most values of data that is looked into, those within lists and maps together.
pub const MAX_DATA_VALUES: u32 = 65_536;

/// A value. Texts and bytes that stand in the data as they are are borrowed from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// None.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is no less than zero: one of data only if it is beyond an
    /// [`Value::Int`], so that equal numbers are equal whoever wrote them.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes, which JSON does not have.
    Bytes(Cow<'a, [u8]>),
    /// Values in order.
    List(Vec<Value<'a>>),
    /// Values by key.
    Map(Map<'a>),
}

/// A key of a [`Map`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Text; the only one that JSON has.
    Text(Cow<'a, str>),
}

/// Values by key, in order of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map<'a>(Vec<(Key<'a>, Value<'a>)>);

/// Why data cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadData {
    /// Its content type has no fields.
    #[error("the data is bytes without a form: publish it as JSON or MessagePack")]
    Opaque,
    /// It is not what its content type says.
    #[error("the data is no good {form}: {why}")]
    Malformed {
        /// What it was to be.
        form: &'static str,
        /// What is wrong, and where.
        why: String,
    },
}

impl<'a> Value<'a> {
    /// Reads data: JSON, MessagePack, or none, which is null. At most
    /// [`MAX_DATA_DEPTH`] deep and [`MAX_DATA_VALUES`] values; of keys that are there
    /// twice the last one counts.
    ///
    /// # Errors
    ///
    /// It has no fields or is malformed; nothing has been kept of it.
    pub fn read(content_type: ContentType, data: &'a [u8]) -> Result<Self, BadData> {
        let left = Cell::new(MAX_DATA_VALUES);
        let seed = Reading {
            left: &left,
            depth: 0,
        };
        match content_type {
            ContentType::None => Ok(Self::Null),
            ContentType::Binary => Err(BadData::Opaque),
            ContentType::Json => {
                let mut json = serde_json::Deserializer::from_slice(data);
                let read = seed.deserialize(&mut json);
                read.and_then(|value| json.end().map(|()| value))
                    .map_err(|error| BadData::malformed("JSON", &error))
            }
            ContentType::MessagePack => {
                let mut packed = rmp_serde::Deserializer::from_read_ref(data);
                let value = seed
                    .deserialize(&mut packed)
                    .map_err(|error| BadData::malformed("MessagePack", &error))?;
                // What is left cannot be asked for: reading on has to find the end.
                match bool::deserialize(&mut packed) {
                    Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
                    _ => Err(BadData::malformed("MessagePack", &"more follows its value")),
                }
            }
        }
    }

    /// Writes it as data. Maps are written in order of their keys: equal values are equal
    /// bytes.
    ///
    /// # Errors
    ///
    /// The content type does not have it: JSON has neither bytes nor numbers that are not
    /// finite, nor keys that are no text; binary data is bytes, and no data is null.
    pub fn write(&self, content_type: ContentType) -> Result<Vec<u8>, Unwritable> {
        match (content_type, self) {
            (ContentType::None, Self::Null) => Ok(Vec::new()),
            (ContentType::Binary, Self::Bytes(bytes)) => Ok(bytes.to_vec()),
            (ContentType::MessagePack, _) => rmp_serde::to_vec(self).map_err(Unwritable::of),
            (ContentType::Json, _) => {
                self.check_json()?;
                serde_json::to_vec(self).map_err(Unwritable::of)
            }
            _ => Err(Unwritable(format!(
                "{} is no data of that content type: choose json or messagepack",
                self.kind()
            ))),
        }
    }

    /// Copies what is borrowed.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(it) => Value::Bool(it),
            Self::Int(it) => Value::Int(it),
            Self::Uint(it) => Value::Uint(it),
            Self::Double(it) => Value::Double(it),
            Self::Text(it) => Value::Text(it.into_owned().into()),
            Self::Bytes(it) => Value::Bytes(it.into_owned().into()),
            Self::List(it) => Value::List(it.into_iter().map(Value::into_owned).collect()),
            Self::Map(Map(it)) => {
                let owned =
                    |(key, value): (Key<'a>, Value<'a>)| (key.into_owned(), value.into_owned());
                Value::Map(Map(it.into_iter().map(owned).collect()))
            }
        }
    }

    /// The name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Uint(_) => "a uint",
            Self::Double(_) => "a double",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    fn check_json(&self) -> Result<(), Unwritable> {
        let is_wrong = match self {
            Self::Bytes(_) => true,
            Self::Double(it) => !it.is_finite(),
            Self::List(list) => return list.iter().try_for_each(Self::check_json),
            Self::Map(map) => {
                return map.iter().try_for_each(|(key, value)| match key {
                    Key::Text(_) => value.check_json(),
                    _ => Err(Unwritable("JSON has no keys but texts".into())),
                });
            }
            _ => false,
        };
        match (is_wrong, self) {
            (false, _) => Ok(()),
            (true, Self::Double(it)) => Err(Unwritable(format!("JSON has no number {it}"))),
            (true, _) => Err(Unwritable(format!("JSON does not have {}", self.kind()))),
        }
    }
}

/// A value that a content type does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unwritable(String);

impl Unwritable {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl BadData {
    fn malformed(form: &'static str, why: &dyn fmt::Display) -> Self {
        let why = crate::id::shown(&why.to_string());
        Self::Malformed { form, why }
    }
}

impl<'a> Map<'a> {
    /// Of keys that are there twice, the last one counts.
    pub fn new(mut entries: Vec<(Key<'a>, Value<'a>)>) -> Self {
        let in_order = |pair: &[(Key<'a>, Value<'a>)]| match pair {
            [(one, _), (other, _)] => one < other,
            _ => true,
        };
        if !entries.windows(2).all(in_order) {
            // Of equal ones, those that came last are first.
            entries.reverse();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.dedup_by(|(one, _), (other, _)| one == other);
        }
        Self(entries)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key<'a>, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The value of that key.
    pub fn get(&self, key: &Key<'_>) -> Option<&Value<'a>> {
        let at = self.0.binary_search_by(|(it, _)| it.cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value of that field.
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        let at = self.find(name).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn field_mut(&mut self, name: &str) -> Option<&mut Value<'a>> {
        let at = self.find(name).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Sets a field.
    pub fn set(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        match self.find(&name) {
            Ok(at) => {
                if let Some((_, place)) = self.0.get_mut(at) {
                    *place = value;
                }
            }
            Err(at) => self.0.insert(at, (Key::Text(name), value)),
        }
    }

    /// Takes a field out.
    pub fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.find(name).ok()?;
        Some(self.0.remove(at).1)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| match it {
            Key::Text(text) => text.as_ref().cmp(name),
            _ => std::cmp::Ordering::Less,
        })
    }

    /// The keys, as values.
    pub(super) fn into_keys(self) -> impl Iterator<Item = Value<'a>> {
        self.0.into_iter().map(|(key, _)| key.into_value())
    }
}

impl<'a> Key<'a> {
    /// A value as a key; `None` if it can be none.
    pub fn of(value: Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(it) => Self::Bool(it),
            Value::Int(it) => Self::Int(it.into()),
            Value::Uint(it) => Self::Int(it.into()),
            Value::Text(it) => Self::Text(it),
            _ => return None,
        })
    }

    pub(super) fn into_value(self) -> Value<'a> {
        match self {
            Self::Bool(it) => Value::Bool(it),
            Self::Int(it) => i64::try_from(it)
                .map(Value::Int)
                .or_else(|_| u64::try_from(it).map(Value::Uint))
                .unwrap_or_default(),
            Self::Text(it) => Value::Text(it),
        }
    }

    fn into_owned(self) -> Key<'static> {
        match self {
            Self::Bool(it) => Key::Bool(it),
            Self::Int(it) => Key::Int(it),
            Self::Text(it) => Key::Text(it.into_owned().into()),
        }
    }
}

/// What is being read: how many values more it may have, and how deep it is by now.
#[derive(Clone, Copy)]
struct Reading<'c> {
    left: &'c Cell<u32>,
    depth: usize,
}

impl Reading<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DATA_DEPTH {
            return Err(E::custom(format_args!(
                "it is deeper than {MAX_DATA_DEPTH}"
            )));
        }
        let depth = self.depth + 1;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value<'de>, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            let why = format_args!("it has more than {MAX_DATA_VALUES} values");
            return Err(de::Error::custom(why));
        };
        self.left.set(left);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a bool, a number, a text, bytes, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(it))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(it).map_or(Value::Uint(it), Value::Int))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value<'de>, E> {
        Ok(Value::Double(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(it.to_owned().into()))
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(it.into()))
    }

    fn visit_bytes<E>(self, it: &[u8]) -> Result<Value<'de>, E> {
        Ok(Value::Bytes(it.to_owned().into()))
    }

    fn visit_borrowed_bytes<E>(self, it: &'de [u8]) -> Result<Value<'de>, E> {
        Ok(Value::Bytes(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        // Nothing is reserved on a number's word.
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut entries = Vec::new();
        while let Some(key) = from.next_key_seed(inner)? {
            let kind = key.kind();
            let Some(key) = Key::of(key) else {
                return Err(de::Error::custom(format_args!(
                    "{kind} is a key: keys are texts, whole numbers and bools"
                )));
            };
            entries.push((key, from.next_value_seed(inner)?));
        }
        Ok(Value::Map(Map::new(entries)))
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(it) => to.serialize_bool(*it),
            Self::Int(it) => to.serialize_i64(*it),
            Self::Uint(it) => to.serialize_u64(*it),
            Self::Double(it) => to.serialize_f64(*it),
            Self::Text(it) => to.serialize_str(it),
            Self::Bytes(it) => to.serialize_bytes(it),
            Self::List(list) => {
                let mut seq = to.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Self::Map(map) => {
                let mut entries = to.serialize_map(Some(map.len()))?;
                for (key, value) in map.iter() {
                    entries.serialize_entry(key, value)?;
                }
                entries.end()
            }
        }
    }
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(it) => to.serialize_bool(*it),
            Self::Int(it) => match i64::try_from(*it) {
                Ok(it) => to.serialize_i64(it),
                Err(_) => to.serialize_u64(u64::try_from(*it).unwrap_or_default()),
            },
            Self::Text(it) => to.serialize_str(it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Value<'_>, BadData> {
        Value::read(ContentType::Json, text.as_bytes())
    }

    #[test]
    fn both_forms_say_the_same_and_are_written_in_order() {
        let text = r#"{"b":[1,-2,3.5,18446744073709551615],"a":{"x":null,"y":"\u00fc"},"c":true}"#;
        let value = json(text).unwrap();
        let packed = value.write(ContentType::MessagePack).unwrap();
        let again = Value::read(ContentType::MessagePack, &packed).unwrap();
        assert_eq!(value, again);
        let written = again.write(ContentType::Json).unwrap();
        let expected = r#"{"a":{"x":null,"y":"ü"},"b":[1,-2,3.5,18446744073709551615],"c":true}"#;
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn of_two_equal_keys_the_last_counts() {
        assert_eq!(json(r#"{"b":1,"a":2,"b":3}"#), json(r#"{"a":2,"b":3}"#));
    }

    #[test]
    fn data_is_bounded_in_depth_and_values() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(json(&deep(MAX_DATA_DEPTH)).is_ok());
        let error = json(&deep(MAX_DATA_DEPTH + 1)).unwrap_err().to_string();
        assert!(error.contains("deeper than 64"), "{error}");
        // The same, a hundred thousand levels in MessagePack.
        let error = Value::read(ContentType::MessagePack, &[0x91; 100_000]).unwrap_err();
        assert!(error.to_string().contains("deeper than 64"), "{error}");
        // A list of 2^32 - 1, by its own word.
        let error = Value::read(ContentType::MessagePack, &[0xdd, 255, 255, 255, 255]);
        assert!(error.is_err());
        let many = format!("[{}0]", "0,".repeat(MAX_DATA_VALUES as usize));
        let error = json(&many).unwrap_err().to_string();
        assert!(error.contains("more than 65536 values"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told_why() {
        for (content_type, data, part) in [
            (ContentType::Json, &b"{"[..], "no good JSON: EOF"),
            (ContentType::Json, b"1 2", "trailing characters"),
            (ContentType::MessagePack, &[0xc1], "no good MessagePack"),
            (ContentType::MessagePack, &[1, 2], "more follows"),
            (ContentType::MessagePack, &[0x81, 0xc0, 1], "null is a key"),
            (ContentType::Binary, b"{}", "bytes without a form"),
        ] {
            let error = Value::read(content_type, data).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(Value::read(ContentType::None, b""), Ok(Value::Null));
        let number_key = Map::new(vec![(Key::Int(1), Value::Null)]);
        for (value, part) in [
            (Value::Bytes(b"a"[..].into()), "JSON does not have bytes"),
            (Value::Double(f64::NAN), "no number NaN"),
            (Value::Map(number_key), "no keys but texts"),
        ] {
            let error = value.write(ContentType::Json).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Value::Int(1).write(ContentType::Binary).is_err());
    }
}
