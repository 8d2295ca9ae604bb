//! To whom an event goes, taken from the event.

use std::fmt::Write;

use super::expression::{BadExpression, EXPRESSION_BUDGET, Expression, Fault};
use super::value::Value;
use super::view::EventView;
use crate::id::shown;
use crate::{AgentId, BadAgentId, KindName};

/// Longest template, bytes.
pub const MAX_TEMPLATE: usize = 512;
/// Most placeholders of one.
pub const MAX_PLACEHOLDERS: usize = 8;

const ACCEPTED: &str = "write kind/key with fields of the event in braces, as in visitor/{data.ip}";

/// An agent's id with placeholders, as in `visitor/{data.ip}`. Each is an [`Expression`]
/// in braces; `{{` and `}}` are the braces themselves.
///
/// The kind stands in the template: no event chooses it. What a placeholder gives must be
/// a text that is not empty, a whole number or a bool. In it `/`, `%` and control
/// characters are written as in a URL, `%2F`, so that no value can seem to be more parts
/// of the key than one.
#[derive(Clone, Debug)]
pub struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Placeholder(Expression),
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// It is too long.
    #[error("a template of {bytes} bytes: it may have {MAX_TEMPLATE}")]
    Long {
        /// Its bytes.
        bytes: usize,
    },
    /// It has too many placeholders.
    #[error("a template of more than {MAX_PLACEHOLDERS} placeholders")]
    Many,
    /// A brace stands alone.
    #[error("`{text}` is no template: the brace at byte {at} has no other; {ACCEPTED}")]
    Brace {
        /// The template.
        text: String,
        /// Where it stands, bytes from the beginning.
        at: usize,
    },
    /// A placeholder is no expression.
    #[error("`{text}` is no template: in the placeholder at byte {at}: {why}")]
    Placeholder {
        /// The template.
        text: String,
        /// Where its brace stands, bytes from the beginning.
        at: usize,
        /// What is wrong with it.
        why: BadExpression,
    },
    /// What stands before the first `/` is no kind.
    #[error("`{text}` is no template: its kind must stand in it, before a `/`; {ACCEPTED}")]
    Kind {
        /// The template.
        text: String,
    },
    /// Without placeholders it is an agent's id, and not a good one.
    #[error(transparent)]
    Id(#[from] BadAgentId),
}

/// Why an event goes to nobody by a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// A placeholder has no value.
    #[error("`{{{placeholder}}}` has no value: {fault}")]
    NoValue {
        /// The expression.
        placeholder: String,
        /// Why.
        fault: Fault,
    },
    /// A placeholder's value cannot be part of a key.
    #[error(
        "`{{{placeholder}}}` is {found}: a key is made of texts that are not empty, whole numbers and bools"
    )]
    Unfit {
        /// The expression.
        placeholder: String,
        /// What its value is.
        found: &'static str,
    },
    /// The whole is no agent's id.
    #[error(transparent)]
    Id(#[from] BadAgentId),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// Says where it is wrong and what would be accepted.
    pub fn new(text: &str) -> Result<Self, BadTemplate> {
        if text.len() > MAX_TEMPLATE {
            return Err(BadTemplate::Long { bytes: text.len() });
        }
        let parts = parts(text)?;
        let placeholders = parts.iter().filter(|it| matches!(it, Part::Placeholder(_)));
        if placeholders.count() > MAX_PLACEHOLDERS {
            return Err(BadTemplate::Many);
        }
        if let [Part::Text(id)] = parts.as_slice() {
            AgentId::check(id)?;
        }
        let kind = match parts.first() {
            Some(Part::Text(first)) => first.split_once('/').map(|(kind, _)| kind),
            _ => None,
        };
        if !kind.is_some_and(|kind| KindName::new(kind).is_ok()) {
            return Err(BadTemplate::Kind { text: shown(text) });
        }
        let text = text.into();
        Ok(Self { text, parts })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The kind of all agents it gives.
    pub fn kind(&self) -> &str {
        self.text.split_once('/').map_or("", |(kind, _)| kind)
    }

    /// The agent an event goes to.
    ///
    /// # Errors
    ///
    /// It goes to nobody.
    pub fn target(&self, event: &EventView<'_>) -> Result<AgentId, NoTarget> {
        let mut id = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => id.push_str(text),
                Part::Placeholder(expression) => fill(&mut id, expression, event)?,
            }
        }
        Ok(AgentId::new(&id)?)
    }
}

fn fill(id: &mut String, expression: &Expression, event: &EventView<'_>) -> Result<(), NoTarget> {
    let placeholder = || shown(expression.as_str());
    let value = expression.evaluate(event, EXPRESSION_BUDGET);
    let value = value.map_err(|fault| NoTarget::NoValue {
        placeholder: placeholder(),
        fault,
    })?;
    match &value {
        Value::Text(text) if !text.is_empty() => push_escaped(id, text),
        Value::Bool(it) => push(id, it),
        Value::Int(it) => push(id, it),
        Value::Uint(it) => push(id, it),
        other => {
            let found = match other {
                Value::Text(_) => "an empty text",
                other => other.kind(),
            };
            return Err(NoTarget::Unfit {
                placeholder: placeholder(),
                found,
            });
        }
    }
    Ok(())
}

fn push(id: &mut String, value: &dyn std::fmt::Display) {
    // Writing to a text never fails.
    let _ = write!(id, "{value}");
}

fn push_escaped(id: &mut String, text: &str) {
    for character in text.chars() {
        if !matches!(character, '/' | '%') && !character.is_control() {
            id.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            push(id, &format_args!("%{byte:02X}"));
        }
    }
}

fn parts(text: &str) -> Result<Vec<Part>, BadTemplate> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let brace = rest.find(['{', '}']).unwrap_or(rest.len());
        plain.push_str(rest.get(..brace).unwrap_or_default());
        let begin = at + brace;
        let rest = text.get(begin..).unwrap_or_default();
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push_str(rest.get(..1).unwrap_or_default());
            at = begin + 2;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let Some((inner, _)) = inner.split_once('}') else {
                return Err(lonely(text, begin));
            };
            let expression = Expression::new(inner).map_err(|why| BadTemplate::Placeholder {
                text: shown(text),
                at: begin,
                why,
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Placeholder(expression));
            at = begin + inner.len() + 2;
        } else if rest.is_empty() {
            break;
        } else {
            return Err(lonely(text, begin));
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Ok(parts)
}

fn lonely(text: &str, at: usize) -> BadTemplate {
    let text = shown(text);
    BadTemplate::Brace { text, at }
}

#[cfg(test)]
mod tests {
    use phoenix_wit::ContentType;

    use super::*;
    use crate::Millis;
    use crate::topics::TopicName;

    const DATA: &str = r#"{"ip": "10.0.0.1", "n": 7, "path": "/a%b\n", "ü": 1, "empty": "",
        "half": 0.5, "none": null, "list": [], "site": {"name": "shop"}, "ok": true}"#;

    fn target(template: &str) -> Result<String, String> {
        target_of(template, DATA)
    }

    fn target_of(template: &str, data: &str) -> Result<String, String> {
        let template =
            Template::new(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        let topic = TopicName::new("logs.web").unwrap();
        let data = data.as_bytes();
        let event = EventView::new(&topic, "client/a", Millis(1), ContentType::Json, data);
        match template.target(&event) {
            Ok(id) => {
                assert_eq!(id.kind(), template.kind());
                Ok(id.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn placeholders_are_filled_from_the_event() {
        for (template, id) in [
            ("visitor/{data.ip}", "visitor/10.0.0.1"),
            ("alerts/main", "alerts/main"),
            ("site/{data.site.name}-{data.n}", "site/shop-7"),
            ("site/{topic}/{data.ok}", "site/logs.web/true"),
            ("site/{{x}}{data.n}", "site/{x}7"),
            ("site/{publisher}", "site/client%2Fa"),
            ("site/{data.path}", "site/%2Fa%25b%0A"),
            ("site/{has(data.user) ? data.user : 'none'}", "site/none"),
        ] {
            assert_eq!(target(template), Ok(id.into()), "{template}");
        }
    }

    #[test]
    fn a_value_that_is_missing_or_unfit_is_a_target_of_nobody() {
        for (template, why) in [
            (
                "a/{data.nope}",
                "`{data.nope}` has no value: line 1, column 6: there is no field `nope`: ask with `has` whether there is",
            ),
            (
                "a/{data.half}",
                "`{data.half}` is a double: a key is made of texts that are not empty, whole numbers and bools",
            ),
            ("a/{data.none}", "`{data.none}` is null"),
            ("a/{type}", "`{type}` is null"),
            ("a/{data.list}", "`{data.list}` is a list"),
            ("a/x{data.empty}", "`{data.empty}` is an empty text"),
        ] {
            let error = target(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
        let long = format!(r#"{{"ip": "{}"}}"#, "1".repeat(256));
        let error = target_of("a/{data.ip}", &long).unwrap_err();
        let why = "must be 1 to 255 bytes without control characters";
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_is_no_template_is_told_where_and_what_is_one() {
        for (text, part) in [
            (
                "",
                "its kind must stand in it, before a `/`; write kind/key",
            ),
            ("{data.kind}/x", "its kind must stand in it"),
            ("a{data.kind}/x", "its kind must stand in it"),
            ("A/{data.ip}", "its kind must stand in it"),
            ("visitor", "`visitor` is no agent id: write kind/key"),
            ("visitor/", "must be 1 to 255 bytes"),
            (
                "visitor/{data.ip",
                "the brace at byte 8 has no other; write kind/key with fields",
            ),
            ("visitor/data.ip}", "the brace at byte 15 has no other"),
            (
                "visitor/{data.}",
                "in the placeholder at byte 8: line 1, column 6, at `the end`: it ends where the name of a field is missing",
            ),
            (
                "visitor/{ip}",
                "`ip` is no variable: there are topic, publisher",
            ),
        ] {
            let error = Template::new(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = format!("a/{}", "x".repeat(100_000));
        let error = Template::new(&long).unwrap_err().to_string();
        assert_eq!(error, "a template of 100002 bytes: it may have 512");
        let many = format!("a/{}", "{key}".repeat(9));
        assert_eq!(Template::new(&many).unwrap_err(), BadTemplate::Many);
    }
}
