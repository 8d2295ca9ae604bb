//! Names that are a crate's and a kind's at once.

use super::{SCAFFOLD_NAME_MAX, ScaffoldError};

/// Names that a crate cannot have, or a kind of agents.
const TAKEN: [&str; 10] = [
    "alloc",
    "client",
    "core",
    "phoenix",
    "phoenix-sdk",
    "phoenix_sdk",
    "proc-macro",
    "proc_macro",
    "std",
    "sys",
];

/// What `cargo new` refuses too. Text, as no line of a table is worth a look.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else \
    enum extern false final fn for gen if impl in let loop macro match mod move mut override priv \
    pub ref return self static struct super test trait true try type typeof union unsafe unsized \
    use virtual where while yield";

pub(super) fn check_name(name: &str) -> Result<(), ScaffoldError> {
    let refuse = |why: &str| {
        // Shown in an error, so no more of it than fits a line.
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        Err(ScaffoldError::Name {
            name: shown,
            why: why.to_owned(),
            instead: instead_of(name),
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > SCAFFOLD_NAME_MAX {
        return refuse("it is longer than 64 bytes");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return refuse("it must begin with a letter from a to z");
    }
    if !name.bytes().all(is_name_byte) {
        return refuse("it may have only a-z, 0-9, - and _");
    }
    if name.ends_with(['-', '_']) {
        return refuse("it must end with a letter or a digit");
    }
    if KEYWORDS.split(' ').any(|keyword| keyword == name) {
        return refuse("it is a keyword of Rust");
    }
    if TAKEN.contains(&name) {
        return refuse("the name is taken");
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

/// A good name near a bad one: `MyAgent` gives `my-agent`.
fn instead_of(name: &str) -> Option<String> {
    let mut better = String::new();
    let mut after_small = false;
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            if character.is_ascii_uppercase() && after_small {
                better.push('-');
            }
            better.push(character.to_ascii_lowercase());
        } else if !better.is_empty() && !better.ends_with('-') {
            better.push('-');
        }
        after_small = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    let better: String = better
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .chars()
        .take(SCAFFOLD_NAME_MAX)
        .collect();
    let better = better.trim_end_matches('-').to_owned();
    (better != name && !better.is_empty() && check_name(&better).is_ok()).then_some(better)
}

/// The struct of the agent `order-book`: `OrderBook`.
pub(super) fn type_name(name: &str) -> String {
    let mut ty = String::new();
    for word in name.split(['-', '_']) {
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            ty.push(first.to_ascii_uppercase());
            ty.push_str(characters.as_str());
        }
    }
    // These the crate uses under their own names.
    const USED: [&str; 14] = [
        "AgentError",
        "Ask",
        "AskError",
        "BTreeMap",
        "Context",
        "Default",
        "Duration",
        "Failure",
        "Level",
        "Ok",
        "Request",
        "State",
        "String",
        "Timestamp",
    ];
    if USED.contains(&ty.as_str()) {
        ty.push_str("Agent");
    }
    ty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_become_types() {
        for (name, ty) in [
            ("counter", "Counter"),
            ("order-book", "OrderBook"),
            ("a_1", "A1"),
            ("context", "ContextAgent"),
        ] {
            check_name(name).unwrap();
            assert_eq!(type_name(name), ty);
        }
    }

    #[test]
    fn bad_names_are_explained_and_mended() {
        let cases = [
            ("", "empty", None),
            ("MyAgent", "begin with", Some("my-agent")),
            ("1st", "begin with", Some("st")),
            ("über", "begin with", Some("ber")),
            ("order book", "only a-z", Some("order-book")),
            ("../escape", "begin with", Some("escape")),
            ("a/b", "only a-z", Some("a-b")),
            ("match", "keyword", None),
            ("sys", "taken", None),
            ("phoenix", "taken", None),
            ("phoenix-sdk", "taken", None),
            ("book-", "end with", Some("book")),
            ("book_", "end with", Some("book")),
            ("std", "taken", None),
        ];
        for (name, says, better) in cases {
            match check_name(name).unwrap_err() {
                ScaffoldError::Name { why, instead, .. } => {
                    assert!(why.contains(says), "{name}: {why}");
                    assert_eq!(instead.as_deref(), better, "{name}");
                }
                other => panic!("{other}"),
            }
        }
        assert!(check_name(&"a".repeat(64)).is_ok());
        assert!(check_name(&"a".repeat(65)).is_err());
    }
}
