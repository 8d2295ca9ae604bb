//! Payloads as they are shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a payload's bytes are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentType {
    /// There is no payload.
    None,
    /// MessagePack, the default between agents.
    #[default]
    MessagePack,
    /// JSON in UTF-8.
    Json,
    /// Bytes whose meaning only sender and receiver know.
    Binary,
}

impl ContentType {
    /// The media type of bodies of this content type; `None` for no body.
    pub fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::MessagePack => Some(MESSAGE_PACK),
            Self::Json => Some(JSON),
            Self::Binary => Some(BINARY),
        }
    }

    /// The content type of a media type, its parameters left aside.
    pub fn of_media_type(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            JSON => Some(Self::Json),
            MESSAGE_PACK | "application/x-msgpack" | "application/msgpack" => {
                Some(Self::MessagePack)
            }
            BINARY => Some(Self::Binary),
            _ => None,
        }
    }
}

/// JSON's media type.
pub(crate) const JSON: &str = "application/json";
/// MessagePack's media type.
pub(crate) const MESSAGE_PACK: &str = "application/vnd.msgpack";
/// The media type of bytes nobody explains.
pub(crate) const BINARY: &str = "application/octet-stream";
/// The media type of lines of JSON.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// The media type of components.
pub(crate) const WASM: &str = "application/wasm";
/// The media type of problems.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// A payload, shown: as `json` where its bytes can be read as that, as `base64` otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    /// How its bytes are to be read.
    pub content_type: ContentType,
    /// How many there are.
    pub bytes: u64,
    /// Its value, if it is JSON, or MessagePack that has a JSON form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Its bytes, or their beginning if there are too many to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl Eq for Payload {}
