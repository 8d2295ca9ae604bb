//! Payloads that a program keeps in its state.

use phoenix_wit::{ContentType, Payload};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, and how to read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(with = "content_type")]
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

    pub(super) fn content_type(&self) -> ContentType {
        self.content_type
    }

    pub(super) fn says_nothing(&self) -> bool {
        says_nothing(self.as_wit())
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

/// Data as JSON has it; null if it has no form that JSON has.
pub(super) fn as_json(data: Payload<'_>) -> serde_json::Value {
    match data.content_type {
        ContentType::Json => serde_json::from_slice(data.bytes).unwrap_or_default(),
        ContentType::MessagePack => rmp_serde::from_slice(data.bytes).unwrap_or_default(),
        ContentType::None | ContentType::Binary => serde_json::Value::Null,
    }
}

/// What a step of a saga is given: a map of its id, its input, and, for what undoes it, the
/// answer. They are spliced in as they are, where they have the map's form; else they are null.
pub(super) fn map(
    form: ContentType,
    id: &str,
    input: Payload<'_>,
    answer: Option<Payload<'_>>,
) -> Held {
    let json = form == ContentType::Json;
    let nil: &[u8] = if json { b"null" } else { &[0xc0] };
    let spliced = |payload: Payload<'_>| {
        let fits = payload.content_type == form && !payload.bytes.is_empty();
        if fits {
            payload.bytes.to_vec()
        } else {
            nil.to_vec()
        }
    };
    let fields = [("input", Some(input)), ("answer", answer)];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, spliced(value?))));
    let mut bytes = Vec::new();
    if json {
        // A JSON text of a text is always written.
        let id = serde_json::to_string(id).unwrap_or_default();
        bytes.extend_from_slice(format!(r#"{{"id":{id}"#).as_bytes());
        for (name, value) in fields {
            bytes.extend_from_slice(format!(r#","{name}":"#).as_bytes());
            bytes.extend_from_slice(&value);
        }
        bytes.push(b'}');
    } else {
        bytes.push(if answer.is_some() { 0x83 } else { 0x82 });
        for text in ["id", id] {
            push_text(&mut bytes, text);
        }
        for (name, value) in fields {
            push_text(&mut bytes, name);
            bytes.extend_from_slice(&value);
        }
    }
    Held::new(form, bytes)
}

/// A text in MessagePack, of up to 65,535 bytes.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.push(0xda);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(
        text.as_bytes()
            .get(..usize::from(length))
            .unwrap_or_default(),
    );
}

/// A content type as its number.
pub(super) mod content_type {
    use super::{ContentType, Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a field by reference"
    )]
    pub(in crate::patterns) fn serialize<S: Serializer>(
        content_type: &ContentType,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*content_type as u8)
    }

    pub(in crate::patterns) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ContentType, D::Error> {
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
}
