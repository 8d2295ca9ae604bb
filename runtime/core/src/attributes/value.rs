//! Attributes of any name, and the error for one that is malformed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::text::{MAX_NAME, is_name, is_string};
use super::{MAX_EXTENSIONS, names};
use crate::id::shown;

/// An attribute's value. Of CloudEvents' seven types those that JSON cannot tell
/// from a String (Binary, URI, URI-reference, Timestamp) are their text here, so
/// that an event is the same in every format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A number of 32 bits.
    Integer(i32),
    /// Text without control characters.
    Text(Arc<str>),
}

impl Value {
    /// A text as a value; whether it may be one is seen where it is set.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Boolean(_) => 1,
            Self::Integer(_) => 4,
            Self::Text(text) => text.len(),
        }
    }
}

/// The canonical text.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A malformed attribute. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAttribute {
    /// Its name, clipped.
    pub name: Box<str>,
    /// What it is, escaped and clipped; `None` if it is missing.
    pub found: Option<Box<str>>,
    /// What it must be.
    pub accepted: Cow<'static, str>,
}

impl BadAttribute {
    /// The attribute is there and wrong.
    pub fn wrong(
        name: &str,
        found: &dyn fmt::Display,
        accepted: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: shown(name).into(),
            found: Some(shown(&found.to_string()).into()),
            accepted: accepted.into(),
        }
    }

    /// The attribute is not there.
    pub fn missing(name: &str, accepted: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: shown(name).into(),
            found: None,
            accepted: accepted.into(),
        }
    }
}

impl fmt::Display for BadAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            found,
            accepted,
        } = self;
        match found {
            Some(found) => write!(f, "attribute `{name}` is `{found}`: it must be {accepted}"),
            None => write!(f, "attribute `{name}` is missing: it must be {accepted}"),
        }
    }
}

impl std::error::Error for BadAttribute {}

/// Attributes that CloudEvents does not define itself, in order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<(Cow<'static, str>, Value)>);

impl Extensions {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.find(name).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// All, in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Adds one.
    ///
    /// # Errors
    ///
    /// The name is no attribute's or is there already, the text has control
    /// characters, or there are [`MAX_EXTENSIONS`] already.
    pub fn insert(&mut self, name: &str, value: Value) -> Result<(), BadAttribute> {
        if !is_name(name) {
            return Err(BadAttribute::wrong(
                name,
                &value,
                format!("named by 1 to {MAX_NAME} of a-z and 0-9, and not `data`"),
            ));
        }
        if let Value::Text(text) = &value
            && !is_string(text)
        {
            return Err(BadAttribute::wrong(
                name,
                &value,
                "text without control characters",
            ));
        }
        if self.len() == MAX_EXTENSIONS {
            return Err(BadAttribute::wrong(
                name,
                &value,
                format!("one of at most {MAX_EXTENSIONS} extensions"),
            ));
        }
        match self.find(name) {
            Ok(_) => Err(BadAttribute::wrong(name, &value, "there once")),
            Err(at) => {
                self.0.insert(at, (names::interned(name), value));
                Ok(())
            }
        }
    }

    /// Adds one of ours, whose name is a good one that is not there, and whose
    /// text is escaped where it may need to be.
    pub(super) fn put(&mut self, name: &'static str, value: Value) {
        if let Err(at) = self.find(name) {
            self.0.insert(at, (Cow::Borrowed(name), value));
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(other, _)| other.as_ref().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_sorted_bounded_and_named_once() {
        let mut extensions = Extensions::new();
        for name in ["b", "c", "a"] {
            extensions.insert(name, Value::Integer(1)).unwrap();
        }
        let names: Vec<&str> = extensions.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(extensions.get("b"), Some(&Value::Integer(1)));
        assert_eq!(extensions.get("d"), None);
        let again = extensions.insert("b", Value::Boolean(true)).unwrap_err();
        assert_eq!(
            again.to_string(),
            "attribute `b` is `true`: it must be there once"
        );
        for at in 3..MAX_EXTENSIONS {
            extensions
                .insert(&format!("x{at}"), Value::text(""))
                .unwrap();
        }
        extensions.insert("one2many", Value::text("")).unwrap_err();
    }

    #[test]
    fn a_bad_attribute_is_named_with_its_value_and_what_it_must_be() {
        let mut extensions = Extensions::new();
        let error = extensions
            .insert("some\nName", Value::text("v"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "attribute `some\\nName` is `v`: it must be named by 1 to 64 of a-z and 0-9, and not `data`"
        );
        let long = "\u{7}".repeat(1_000);
        let error = extensions.insert("note", Value::text(long)).unwrap_err();
        assert_eq!(&*error.name, "note");
        assert!(error.found.unwrap().len() <= 80 * 6, "clipped");
        assert_eq!(error.accepted, "text without control characters");
    }
}
