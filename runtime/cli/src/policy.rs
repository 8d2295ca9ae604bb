//! A kind's policy as people write it: a TOML file of its fields.

use std::collections::BTreeMap;

use phoenix_gateway::api::{Policy, PolicyValue};
use phoenix_gateway::policy::{self, PolicyError};

use crate::config::toml_file;
use crate::error::CliError;

/// The policy's changes that the file `name` with this `text` asks for. The
/// error is what whoever wrote it sees.
pub fn read(name: &str, text: &str) -> Result<Policy, String> {
    of_text(name, text).map_err(|error| error.rendered(false))
}

/// The same with the error as it is.
pub(crate) fn of_text(name: &str, text: &str) -> Result<Policy, CliError> {
    let entries = toml_file::entries(text).map_err(|error| {
        CliError::usage(format!("{name}:{}: {error}", error.line)).at(
            name,
            text,
            error.span.clone(),
        )
    })?;
    let mut policy = Policy::default();
    let listed = lists(text);
    for entry in entries {
        // A list of tables, which has no text.
        if entry.key == policy::SUBSCRIPTIONS
            && entry.text.is_none()
            && let Some(list) = listed.get(policy::SUBSCRIPTIONS)
        {
            policy::check(&entry.key, list).map_err(|error| {
                CliError::usage(format!("{name}:{}: {error}", entry.line))
                    .help(error.suggestion())
                    .at(name, text, entry.key_span.clone())
            })?;
            policy.0.insert(entry.key, list.clone());
            continue;
        }
        let value = entry.text.as_deref().unwrap_or(&entry.found);
        check(&entry.key, value).map_err(|error| {
            let span = match &error {
                PolicyError::Unknown { .. } => entry.key_span.clone(),
                PolicyError::Value { .. } | PolicyError::Missing { .. } => entry.value_span.clone(),
            };
            CliError::usage(format!("{name}:{}: {error}", entry.line))
                .help(error.suggestion())
                .at(name, text, span)
        })?;
        policy.0.insert(entry.key, PolicyValue::from(value));
    }
    Ok(policy)
}

/// The lists of a file, as JSON has them.
fn lists(text: &str) -> BTreeMap<String, PolicyValue> {
    let table: BTreeMap<String, serde_json::Value> = toml::from_str(text).unwrap_or_default();
    let list = |(name, value)| match value {
        serde_json::Value::Array(list) => Some((name, PolicyValue::List(list))),
        _ => None,
    };
    table.into_iter().filter_map(list).collect()
}

/// Whether a field takes a value, other fields left aside.
pub(crate) fn check(field: &str, value: &str) -> Result<(), PolicyError> {
    policy::check(field, &value.into())
}
