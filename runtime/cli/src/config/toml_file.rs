//! TOML files of plain keys and values, with the place of each.

use std::ops::Range;

use phoenix_gateway::suggest::shown;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key; the keys of tables it stands in come before it, with dots.
    pub key: String,
    /// Its value as text; `None` for one that is no text, number or yes-or-no.
    pub text: Option<String>,
    /// The value as it is shown in messages.
    pub found: String,
    /// The line of the key, from 1.
    pub line: usize,
    /// Where the key stands in the text, bytes.
    pub key_span: Range<usize>,
    /// Where the value stands in the text, bytes.
    pub value_span: Range<usize>,
}

/// A text that is no TOML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadToml {
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// Where in the text, bytes.
    pub span: Range<usize>,
}

/// The entries of `text`, in the order of their keys.
pub fn entries(text: &str) -> Result<Vec<Entry>, BadToml> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        BadToml {
            message: error.message().to_owned(),
            line: line_of(text, span.start),
            span,
        }
    })?;
    let mut entries = Vec::new();
    flatten(text, "", table.get_ref(), &mut entries);
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(entries)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            // An empty table is an entry of its own, so that it is not overlooked.
            if !inner.is_empty() {
                flatten(text, &format!("{name}."), inner, entries);
                continue;
            }
        }
        let (read, found) = describe(value.get_ref());
        entries.push(Entry {
            key: name,
            text: read,
            found,
            line: line_of(text, key.span().start),
            key_span: key.span(),
            value_span: value.span(),
        });
    }
}

fn describe(value: &DeValue<'_>) -> (Option<String>, String) {
    let plain = |text: String| {
        let found = format!("`{}`", shown(&text));
        (Some(text), found)
    };
    match value {
        DeValue::String(text) => plain(text.to_string()),
        DeValue::Boolean(flag) => plain(flag.to_string()),
        // Numbers in another base are no number here.
        DeValue::Integer(number) if number.radix() == 10 => plain(number.as_str().to_owned()),
        DeValue::Integer(number) => plain(format!("a number in base {}", number.radix())),
        DeValue::Float(number) => plain(number.as_str().to_owned()),
        DeValue::Datetime(_) => (None, "a date".to_owned()),
        DeValue::Array(_) => (None, "a list".to_owned()),
        DeValue::Table(_) => (None, "a table".to_owned()),
    }
}

/// The line in which the byte at `offset` stands, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_know_their_place() {
        let text = "# a comment\nworkers = 4\n\n[net]\nlisten = \"a:1\"\nodd = [1]\n";
        let entries = entries(text).unwrap();
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.text.as_deref(), entry.line))
            .collect();
        assert_eq!(
            seen,
            [
                ("workers", Some("4"), 2),
                ("net.listen", Some("a:1"), 5),
                ("net.odd", None, 6)
            ]
        );
        assert_eq!(&text[entries[0].value_span.clone()], "4");
    }

    #[test]
    fn broken_text_names_its_line() {
        let error = entries("a = 1\nb = \n").unwrap_err();
        assert_eq!(error.line, 2);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z\\[\\]{}=\"'#.,0-9 \n\\\\-]{0,200}") {
            let _ = entries(&text);
        }
    }
}
