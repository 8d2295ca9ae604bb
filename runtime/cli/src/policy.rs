//! A kind's policy as people write it: a TOML file of its fields.

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
    for entry in entries {
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

/// Whether a field takes a value, other fields left aside.
pub(crate) fn check(field: &str, value: &str) -> Result<(), PolicyError> {
    policy::check(field, &value.into())
}
