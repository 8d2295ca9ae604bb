//! Payloads that a program keeps in its state.

use phoenix_wit::{ContentType, Payload};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, and how to read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(serialize_with = "number_of", deserialize_with = "of_number")]
    content_type: ContentType,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Held {
    pub(super) fn new(content_type: ContentType, bytes: Vec<u8>) -> Self {
        Self {
            content_type,
            bytes,
        }
    }

    pub(super) fn of(payload: Payload<'_>) -> Self {
        Self::new(payload.content_type, payload.bytes.to_vec())
    }

    pub(super) fn as_wit(&self) -> Payload<'_> {
        Payload {
            content_type: self.content_type,
            bytes: &self.bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Whether a payload says nothing: there is none, or it is the nil of its content type.
pub(super) fn says_nothing(payload: Payload<'_>) -> bool {
    match payload.content_type {
        ContentType::None => true,
        ContentType::MessagePack => payload.bytes == [0xc0],
        ContentType::Json => payload.bytes == b"null",
        ContentType::Binary => false,
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a field by reference"
)]
fn number_of<S: Serializer>(content_type: &ContentType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*content_type as u8)
}

fn of_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ContentType, D::Error> {
    Ok(match u8::deserialize(deserializer)? {
        0 => ContentType::None,
        1 => ContentType::MessagePack,
        2 => ContentType::Json,
        3 => ContentType::Binary,
        other => {
            let text = format!("{other} is no content type: 0 to 3");
            return Err(serde::de::Error::custom(text));
        }
    })
}
