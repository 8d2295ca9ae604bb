//! Subscriptions that a kind has for its agents.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::wire::{MAX_DECLARED, Subscribe, owner_of_pattern};
use super::{Filter, Template};
use crate::AgentId;

/// Most bytes of a kind's subscriptions, as they are written.
pub const MAX_DECLARED_BYTES: usize = 48 << 10;

/// Subscriptions that a kind has for its agents, at most [`MAX_DECLARED`].
///
/// They are written as a JSON list of maps with the fields of [`Subscribe`], each with
/// `to`: `[{"pattern": "logs.line", "to": "visitor/{data.ip}", "method": "visit"}]`.
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct KindSubscriptions(Option<Arc<Checked>>);

struct Checked {
    /// As they are written: the same subscriptions in the same order are the same text.
    text: String,
    list: Vec<(AgentId, Subscribe)>,
}

/// A text that does not say a kind's subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSubscriptions {
    /// It is no list of them.
    #[error("it is no list of subscriptions: {0}")]
    Form(String),
    /// There are too many, or they are too long.
    #[error("there are {found} {what} of them: there may be {most}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// One of them cannot be.
    #[error("subscription {nth}: {why}")]
    One {
        /// Which, from 1.
        nth: usize,
        /// What is wrong, where, and what is accepted.
        why: String,
    },
}

impl BadSubscriptions {
    /// What may be written.
    pub const FORM: &str = "a list such as [{\"pattern\": \"logs.line\", \"to\": \
                            \"visitor/{data.ip}\", \"method\": \"visit\"}]";
}

impl KindSubscriptions {
    /// Checks them.
    ///
    /// # Errors
    ///
    /// Which of them cannot be, its field, and what is accepted.
    pub fn new(list: Vec<Subscribe>) -> Result<Self, BadSubscriptions> {
        let too_many = |what, found, most| BadSubscriptions::TooMany { what, found, most };
        if list.len() > MAX_DECLARED {
            return Err(too_many("", list.len(), MAX_DECLARED));
        }
        if list.is_empty() {
            return Ok(Self::default());
        }
        let text = serde_json::to_string(&list)
            .map_err(|error| BadSubscriptions::Form(error.to_string()))?;
        if text.len() > MAX_DECLARED_BYTES {
            return Err(too_many("bytes", text.len(), MAX_DECLARED_BYTES));
        }
        let mut names: BTreeMap<(AgentId, String), usize> = BTreeMap::new();
        let mut checked = Vec::with_capacity(list.len());
        for (nth, subscription) in (1..).zip(list) {
            let bad = |why: String| BadSubscriptions::One { nth, why };
            let pattern = subscription.check().map_err(|why| bad(why.to_string()))?;
            check_expressions(&subscription).map_err(bad)?;
            let owner = owner_of_pattern(&pattern);
            let name = (owner.clone(), subscription.name());
            if let Some(other) = names.insert(name, nth) {
                let name = subscription.name();
                let why = format!("field `name`: `{name}` is the name of subscription {other}");
                return Err(bad(why));
            }
            checked.push((owner, subscription));
        }
        let list = checked;
        Ok(Self(Some(Arc::new(Checked { text, list }))))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each, with whom it is declared to.
    pub fn iter(&self) -> impl Iterator<Item = &(AgentId, Subscribe)> {
        self.0.iter().flat_map(|checked| &checked.list)
    }

    /// As they are written; empty if there are none.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |checked| &checked.text)
    }
}

/// Whether its filter and its template are such.
fn check_expressions(subscription: &Subscribe) -> Result<(), String> {
    let Some(to) = &subscription.to else {
        let why = "field `to`: it says whom the events go to: write an agent, or a template \
                   such as visitor/{data.ip}";
        return Err(why.to_owned());
    };
    if to.contains('{') {
        Template::new(to).map_err(|bad| format!("field `to`: {bad}"))?;
    }
    if let Some(filter) = &subscription.filter {
        Filter::new(filter).map_err(|bad| format!("field `filter`: {bad}"))?;
    }
    Ok(())
}

impl PartialEq for KindSubscriptions {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for KindSubscriptions {}

impl fmt::Debug for KindSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KindSubscriptions")
            .field(&self.as_str())
            .finish()
    }
}

impl FromStr for KindSubscriptions {
    type Err = BadSubscriptions;
    fn from_str(text: &str) -> Result<Self, BadSubscriptions> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let list = serde_json::from_str(text)
            .map_err(|error| BadSubscriptions::Form(error.to_string()))?;
        Self::new(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_back_as_they_are_written() {
        let text = r#"[{"pattern": "logs.line", "to": "visitor/{data.ip}", "method": "visit"},
            {"to": "alerts/main", "pattern": "*.errors", "replay": "last 5"}]"#;
        let read: KindSubscriptions = text.parse().unwrap();
        let owners: Vec<_> = read.iter().map(|(owner, _)| owner.as_str()).collect();
        assert_eq!(owners, ["topic/logs", "topic/.root"]);
        let again: KindSubscriptions = read.as_str().parse().unwrap();
        assert_eq!(again, read);
        assert_eq!(again.iter().next(), read.iter().next());
        for none in ["", "[]"] {
            let none: KindSubscriptions = none.parse().unwrap();
            assert!(none.is_empty());
            assert_eq!((none.as_str(), none.iter().count()), ("", 0));
            assert_ne!(none, read);
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let one = r#"{"pattern": "a", "to": "b/c"}"#;
        for (text, said) in [
            ("{}".to_owned(), "no list of subscriptions"),
            (format!("[{one}, 7]"), "no list of subscriptions"),
            (
                r#"[{"pattern": "a..b", "to": "b/c"}]"#.to_owned(),
                "at byte 2",
            ),
            (
                format!(r#"[{one}, {{"pattern": "a.b"}}]"#),
                "subscription 2: field `to`",
            ),
            (
                r#"[{"pattern": "a", "to": "nobody"}]"#.to_owned(),
                "field `to`",
            ),
            (
                r#"[{"pattern": "a", "to": "b/{"}]"#.to_owned(),
                "field `to`",
            ),
            (
                r#"[{"pattern": "a", "to": "b/c", "filter": "data.n +"}]"#.to_owned(),
                "field `filter`",
            ),
            (format!("[{one}, {one}]"), "the name of subscription 1"),
            (format!("[{}]", [one; 257].join(",")), "257"),
        ] {
            let error = text.parse::<KindSubscriptions>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
