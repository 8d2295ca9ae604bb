//! Patterns of names of topics.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::TopicName;
use super::name::{self, BadTopic, What};
use crate::id::shown;

/// One token, whichever.
pub(super) const ANY: &str = "*";
/// The rest, one token at least.
pub(super) const REST: &str = ">";

/// A pattern of topics: a name of which tokens may be `*`, any one token, and the last
/// `>`, one or more tokens. As long and as deep as a name may be. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Checks `text` and makes it a pattern.
    pub fn new(text: &str) -> Result<Self, BadTopic> {
        name::check(text, What::Pattern, |token| token == ANY || token == REST)?;
        let tokens = text.split('.');
        let starts = tokens.scan(0, |at, token| {
            let start = *at;
            *at += token.len() + 1;
            Some((start, token))
        });
        let mut rests = starts.filter(|(_, token)| *token == REST);
        if let Some((at, _)) = rests.next()
            && at + REST.len() < text.len()
        {
            let text = shown(text);
            return Err(BadTopic::RestInside { text, at });
        }
        Ok(Self(text.into()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, one at least.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The one topic it matches, if it has no wildcard.
    pub fn only(&self) -> Option<TopicName> {
        TopicName::new(&self.0).ok()
    }

    /// Whether it matches a topic.
    pub fn matches(&self, topic: &TopicName) -> bool {
        let mut names = topic.tokens();
        for token in self.tokens() {
            match (token, names.next()) {
                (REST, Some(_)) => return true,
                (ANY, Some(_)) => {}
                (token, Some(name)) if token == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl From<TopicName> for TopicPattern {
    fn from(topic: TopicName) -> Self {
        Self(topic.as_str().into())
    }
}

impl FromStr for TopicPattern {
    type Err = BadTopic;

    fn from_str(text: &str) -> Result<Self, BadTopic> {
        Self::new(text)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, matched, others) in [
            ("a.b", vec!["a.b"], vec!["a", "a.c", "a.b.c"]),
            ("a.*", vec!["a.b", "a.c"], vec!["a", "a.b.c", "b.a"]),
            ("*", vec!["a"], vec!["a.b"]),
            ("a.>", vec!["a.b", "a.b.c"], vec!["a", "b.a"]),
            (">", vec!["a", "a.b.c"], vec![]),
            (
                "*.b.>",
                vec!["a.b.c", "x.b.c.d"],
                vec!["a.b", "b.b", "a.c.b"],
            ),
        ] {
            let pattern = TopicPattern::new(pattern).unwrap();
            let is_match = |name: &&str| pattern.matches(&TopicName::new(name).unwrap());
            assert!(matched.iter().all(is_match), "{pattern}");
            assert!(!others.iter().any(is_match), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_where_and_what_is_one() {
        for (text, part) in [
            ("", "orders.*.created"),
            ("a..b", "at byte 2, `` is no token"),
            ("a.**", "at byte 2, `**` is no token"),
            ("a.b*", "at byte 2, `b*` is no token"),
            ("a.>.b", "at byte 2, `>` stands for the rest"),
            (">.>", "at byte 0, `>` stands for the rest"),
        ] {
            let error = TopicPattern::new(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_million_levels_are_refused_for_their_length() {
        let text = vec![ANY; 1_000_000].join(".");
        let error = TopicPattern::new(&text).unwrap_err();
        assert!(matches!(
            error,
            BadTopic::Long {
                bytes: 1_999_999,
                ..
            }
        ));
        let error = TopicPattern::new(&vec![ANY; 33].join(".")).unwrap_err();
        assert!(error.to_string().contains("33 tokens"), "{error}");
    }
}
