//! What is said to a pattern's agent, and what it answers.

use phoenix_wit::{ContentType, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::program::Outcome;
use crate::{Payload as Owned, id::shown};

/// Longest text of an error that is kept or passed on, characters.
const MAX_WHY: usize = 300;

/// Reads what a message carries: MessagePack or JSON; a map without entries if nothing.
pub(super) fn read<T: DeserializeOwned>(payload: Payload<'_>) -> Result<T, Outcome> {
    let read = match payload.content_type {
        ContentType::MessagePack => {
            rmp_serde::from_slice(payload.bytes).map_err(|why| why.to_string())
        }
        ContentType::Json => serde_json::from_slice(payload.bytes).map_err(|why| why.to_string()),
        ContentType::None => serde_json::from_str("{}").map_err(|why| why.to_string()),
        ContentType::Binary => Err("bytes without a form: send JSON or MessagePack".to_owned()),
    };
    read.map_err(|why| Outcome::failed("bad-payload", clipped(&why)))
}

/// An answer: in JSON to who spoke JSON, else in MessagePack, a map by the fields' names.
pub(super) fn answer<T: Serialize>(asked: Payload<'_>, answer: &T) -> Outcome {
    match written(asked.content_type, answer) {
        Ok(payload) => Outcome::Ok(payload),
        Err(why) => Outcome::failed("unwritable", clipped(&why)),
    }
}

/// A value as a payload: in JSON if `like` is JSON, else in MessagePack.
pub(super) fn written<T: Serialize>(like: ContentType, value: &T) -> Result<Owned, String> {
    let (content_type, bytes) = if like == ContentType::Json {
        let bytes = serde_json::to_vec(value).map_err(|why| why.to_string())?;
        (ContentType::Json, bytes)
    } else {
        let bytes = rmp_serde::to_vec_named(value).map_err(|why| why.to_string())?;
        (ContentType::MessagePack, bytes)
    };
    Ok(Owned {
        content_type,
        bytes: bytes.into(),
    })
}

/// An unknown method, and which there are.
pub(super) fn unknown(method: &str, known: &[(&str, bool)]) -> Outcome {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let text = format!(
        "there is no handler `{}`; there are {}",
        shown(method),
        names.join(", ")
    );
    Outcome::failed("unknown-method", text)
}

/// A text as it is kept: cut to 300 characters.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(MAX_WHY).collect()
}
