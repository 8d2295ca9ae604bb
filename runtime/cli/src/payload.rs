//! The payload argument of `call`, `send` and `spawn`.
//!
//! It is JSON (`5`, `{"by": 5}`), or a word, which is a JSON string by itself
//! (`alice`), or the content of a file (`@order.json`), or of standard input (`-`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use phoenix_gateway::api::ContentType;
use phoenix_gateway::suggest::shown;
use serde::de::IgnoredAny;

use crate::error::CliError;

/// Most that is read from a file or standard input, in bytes. The node's own
/// limit is lower and says so itself.
const MAX_INPUT: u64 = 256 << 20;

/// Bytes and how to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// How to read `bytes`.
    pub content_type: ContentType,
    /// The payload.
    pub bytes: Bytes,
}

/// Why a payload argument makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// It begins like JSON and is none.
    #[error("the payload begins like JSON and is none: {0}")]
    Json(String),
    /// The content type that was asked for needs JSON.
    #[error("{0} holds no JSON: {1}")]
    FileJson(String, String),
}

/// What a payload argument means, as far as that shows without reading anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// This payload.
    Inline(Payload),
    /// What is in the file.
    File(&'a Path),
    /// What comes in on standard input.
    Stdin,
}

/// Reads a payload argument.
pub fn meaning(argument: &str) -> Result<Meaning<'_>, BadPayload> {
    if argument == "-" {
        return Ok(Meaning::Stdin);
    }
    if let Some(path) = argument.strip_prefix('@') {
        return Ok(Meaning::File(Path::new(path)));
    }
    Ok(Meaning::Inline(Payload {
        content_type: ContentType::Json,
        bytes: inline(argument)?.into(),
    }))
}

/// JSON as it is; a bare word as a JSON string.
fn inline(argument: &str) -> Result<String, BadPayload> {
    let error = match serde_json::from_str::<IgnoredAny>(argument) {
        Ok(IgnoredAny) => return Ok(argument.to_owned()),
        Err(error) => error,
    };
    if argument.trim_start().starts_with(['{', '[', '"']) {
        return Err(BadPayload::Json(error.to_string()));
    }
    serde_json::to_string(argument).map_err(|error| BadPayload::Json(error.to_string()))
}

/// What is read from somewhere: JSON if it can be read as that, plain bytes
/// otherwise; nothing is no payload.
pub fn of_bytes(bytes: Vec<u8>) -> Payload {
    let content_type = if bytes.is_empty() {
        ContentType::None
    } else if serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() {
        ContentType::Json
    } else {
        ContentType::Binary
    };
    Payload {
        content_type,
        bytes: bytes.into(),
    }
}

/// How a payload is to be read, where it does not show by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum As {
    /// JSON in UTF-8.
    Json,
    /// MessagePack.
    MessagePack,
    /// Bytes whose meaning only the agent knows.
    Binary,
}

/// The payload an argument stands for; without one there is none.
pub(crate) fn read(argument: Option<&str>, as_what: Option<As>) -> Result<Payload, CliError> {
    let Some(argument) = argument else {
        return Ok(of_bytes(Vec::new()));
    };
    let meaning = meaning(argument).map_err(|error| {
        CliError::usage(error).help(
            "quote it from the shell, as in '{\"by\": 5}'; @FILE reads a file, - standard input",
        )
    })?;
    let (mut payload, name) = match meaning {
        Meaning::Inline(payload) => (payload, "the payload".to_owned()),
        Meaning::File(path) => (from_file(path)?, format!("`{}`", shown(argument))),
        Meaning::Stdin => (
            limited(io::stdin().lock(), "standard input")?,
            "standard input".to_owned(),
        ),
    };
    match as_what {
        None => {}
        Some(As::Json) if payload.content_type == ContentType::Json => {}
        Some(As::Json) => {
            let error = serde_json::from_slice::<IgnoredAny>(&payload.bytes)
                .err()
                .map_or_else(String::new, |error| error.to_string());
            return Err(CliError::usage(BadPayload::FileJson(name, error)));
        }
        Some(As::MessagePack) => payload.content_type = ContentType::MessagePack,
        Some(As::Binary) => payload.content_type = ContentType::Binary,
    }
    Ok(payload)
}

fn from_file(path: &Path) -> Result<Payload, CliError> {
    let file = File::open(path).map_err(|error| {
        CliError::usage(format!("cannot read {}: {error}", path.display()))
            .help("an argument that begins with @ names a file; write '\"@…\"' for a text")
    })?;
    limited(file, &path.display().to_string())
}

fn limited(input: impl Read, name: &str) -> Result<Payload, CliError> {
    let mut bytes = Vec::new();
    input
        .take(MAX_INPUT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::failed(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(CliError::usage(format!(
            "{name} is over {}",
            phoenix_gateway::units::show_size(MAX_INPUT)
        )));
    }
    Ok(of_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(argument: &str) -> String {
        match meaning(argument).unwrap() {
            Meaning::Inline(payload) => String::from_utf8(payload.bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_is_json_and_a_word_is_a_string() {
        assert_eq!(text("5"), "5");
        assert_eq!(text("{\"by\": 5}"), "{\"by\": 5}");
        assert_eq!(text("true"), "true");
        assert_eq!(text("alice"), "\"alice\"");
        assert_eq!(text("192.0.2.7"), "\"192.0.2.7\"");
        assert_eq!(text(""), "\"\"");
        assert_eq!(meaning("@a.json"), Ok(Meaning::File(Path::new("a.json"))));
        assert_eq!(meaning("-"), Ok(Meaning::Stdin));
    }

    #[test]
    fn what_begins_like_json_must_be_json() {
        for bad in ["{by: 5}", "[1,", "\"open"] {
            assert!(matches!(meaning(bad), Err(BadPayload::Json(_))), "{bad}");
        }
    }

    #[test]
    fn files_are_json_or_bytes() {
        assert_eq!(of_bytes(b" [1] ".to_vec()).content_type, ContentType::Json);
        assert_eq!(of_bytes(vec![0xff]).content_type, ContentType::Binary);
        assert_eq!(of_bytes(Vec::new()).content_type, ContentType::None);
    }

    proptest! {
        #[test]
        fn every_inline_payload_is_json(argument: String) {
            if let Ok(Meaning::Inline(payload)) = meaning(&argument) {
                serde_json::from_slice::<serde_json::Value>(&payload.bytes).unwrap();
            }
        }
    }
}
