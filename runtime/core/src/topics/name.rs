//! Names of topics.

use std::fmt;
use std::sync::Arc;

use crate::id::shown;

/// Longest name of a topic, or pattern of names, bytes.
pub const MAX_TOPIC: usize = 255;
/// Most tokens of one.
pub const MAX_TOPIC_TOKENS: usize = 32;

/// A topic by name: 1 to [`MAX_TOPIC`] bytes of 1 to [`MAX_TOPIC_TOKENS`] tokens of
/// `a-z A-Z 0-9 - _` with dots between them. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A text that is no topic's name, or no pattern of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// It is empty.
    #[error("an empty text is no {what}: write tokens with dots between them, as in {}", example(.what))]
    Empty {
        /// What it was to be.
        what: What,
    },
    /// It is too long.
    #[error("a {what} of {bytes} bytes: it may have {MAX_TOPIC}")]
    Long {
        /// What it was to be.
        what: What,
        /// Its bytes.
        bytes: usize,
    },
    /// It has too many tokens.
    #[error("a {what} of {tokens} tokens: it may have {MAX_TOPIC_TOKENS}")]
    Deep {
        /// What it was to be.
        what: What,
        /// Its tokens.
        tokens: usize,
    },
    /// One of its tokens cannot be.
    #[error(
        "`{text}` is no {what}: at byte {at}, `{token}` is no token; {}",
        accepted(.what)
    )]
    Token {
        /// What it was to be.
        what: What,
        /// The text.
        text: String,
        /// The token.
        token: String,
        /// Where it begins, bytes from the beginning of the text.
        at: usize,
    },
    /// `>` is not the last token of a pattern.
    #[error(
        "`{text}` is no pattern of topics: at byte {at}, `>` stands for the rest and must be \
         the last token; use `*` for one token"
    )]
    RestInside {
        /// The text.
        text: String,
        /// Where it stands, bytes from the beginning of the text.
        at: usize,
    },
}

/// What a text was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The name of a topic.
    Name,
    /// A pattern of names.
    Pattern,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "topic's name",
            Self::Pattern => "pattern of topics",
        })
    }
}

fn example(what: &What) -> &'static str {
    match what {
        What::Name => "orders.eu",
        What::Pattern => "orders.*.created or orders.>",
    }
}

fn accepted(what: &What) -> &'static str {
    match what {
        What::Name => "use a-z, A-Z, 0-9, - and _, with dots between tokens, as in orders.eu",
        What::Pattern => {
            "use a-z, A-Z, 0-9, - and _, or `*` for one token and a last `>` for the rest, with \
             dots between tokens, as in orders.*.created"
        }
    }
}

/// Whether these bytes are a token of a name.
fn is_token(token: &str) -> bool {
    let is_taken = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !token.is_empty() && token.bytes().all(is_taken)
}

/// Checks length, number of tokens and each token. Bounds come first: nothing is kept of
/// a text that is refused for one.
pub(super) fn check(text: &str, what: What, is_wild: fn(&str) -> bool) -> Result<(), BadTopic> {
    if text.is_empty() {
        return Err(BadTopic::Empty { what });
    }
    if text.len() > MAX_TOPIC {
        let bytes = text.len();
        return Err(BadTopic::Long { what, bytes });
    }
    let tokens = text.split('.').count();
    if tokens > MAX_TOPIC_TOKENS {
        return Err(BadTopic::Deep { what, tokens });
    }
    let mut at = 0;
    for token in text.split('.') {
        if !is_token(token) && !is_wild(token) {
            return Err(BadTopic::Token {
                what,
                text: shown(text),
                token: shown(token),
                at,
            });
        }
        at += token.len() + 1;
    }
    Ok(())
}

impl TopicName {
    /// Checks `text` and makes it a topic's name.
    pub fn new(text: &str) -> Result<Self, BadTopic> {
        check(text, What::Name, |_| false)?;
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, one at least.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_with_dots_between_them() {
        let deepest = vec!["a"; MAX_TOPIC_TOKENS].join(".");
        let longest = "a".repeat(MAX_TOPIC);
        for text in ["a", "orders.eu.created", "A-1._", &deepest, &longest] {
            assert_eq!(TopicName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_told_where_and_what_is_one() {
        for (text, part) in [
            ("", "orders.eu"),
            (".", "at byte 0, `` is no token"),
            ("a..b", "at byte 2, `` is no token"),
            ("orders.e u", "at byte 7, `e u` is no token"),
            ("orders.*", "at byte 7, `*` is no token"),
            ("orders.>", "at byte 7, `>` is no token"),
            ("grün", "at byte 0"),
        ] {
            let error = TopicName::new(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = vec!["a"; MAX_TOPIC_TOKENS + 1].join(".");
        let error = TopicName::new(&deep).unwrap_err();
        assert!(
            matches!(error, BadTopic::Deep { tokens: 33, .. }),
            "{error}"
        );
        let long = "a".repeat(MAX_TOPIC + 1);
        let error = TopicName::new(&long).unwrap_err();
        assert!(
            matches!(error, BadTopic::Long { bytes: 256, .. }),
            "{error}"
        );
    }
}
