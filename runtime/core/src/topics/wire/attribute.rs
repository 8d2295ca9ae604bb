//! What an event says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BadRequest;
use crate::id::shown;

/// Most attributes of an event.
pub const MAX_ATTRIBUTES: usize = 64;
/// Most bytes of them, names and texts together.
pub const MAX_ATTRIBUTES_BYTES: usize = 8_192;
/// Longest name of one, bytes.
const MAX_NAME: usize = 64;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}

/// Attributes by name: 1 to 64 of `a-z A-Z 0-9 _`, beginning with a letter or `_`, as
/// filters write them.
pub type EventAttributes = BTreeMap<String, Attribute>;

/// Checks number, names, values and bytes.
pub(super) fn check(attributes: &EventAttributes) -> Result<(), BadRequest> {
    if attributes.len() > MAX_ATTRIBUTES {
        let why = format!(
            "{} of them: there may be {MAX_ATTRIBUTES}",
            attributes.len()
        );
        return Err(BadRequest::field("attributes", why));
    }
    let mut bytes = 0;
    for (name, value) in attributes {
        let taken = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || name.len() > MAX_NAME || !name.bytes().all(taken) {
            let why = format!(
                "`{}` is no attribute's name: use 1 to {MAX_NAME} of a-z, A-Z, 0-9 and _, \
                 beginning with a letter, as in region",
                shown(name)
            );
            return Err(BadRequest::field("attributes", why));
        }
        bytes += name.len();
        match value {
            Attribute::Float(value) if !value.is_finite() => {
                let why = format!("`{name}` is {value}: a number must be finite");
                return Err(BadRequest::field("attributes", why));
            }
            Attribute::Text(text) => bytes += text.len(),
            _ => bytes += size_of::<u64>(),
        }
    }
    if bytes > MAX_ATTRIBUTES_BYTES {
        let why = format!("{bytes} bytes: there may be {MAX_ATTRIBUTES_BYTES}");
        return Err(BadRequest::field("attributes", why));
    }
    Ok(())
}
