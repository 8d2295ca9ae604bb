//! Declarations of pipelines and sagas, as TOML files.

use phoenix_core::patterns::{BadDeclaration, pipeline, saga};
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// The pipeline that the file `name` with this `text` declares. The error is what whoever
/// wrote it sees.
pub fn read_pipeline(name: &str, text: &str) -> Result<pipeline::Declaration, String> {
    pipeline_of(name, text).map_err(|error| error.rendered(false))
}

/// The saga that the file `name` with this `text` declares, likewise.
pub fn read_saga(name: &str, text: &str) -> Result<saga::Declaration, String> {
    saga_of(name, text).map_err(|error| error.rendered(false))
}

pub(crate) fn pipeline_of(name: &str, text: &str) -> Result<pipeline::Declaration, CliError> {
    of_text(name, text, pipeline::Declaration::check)
}

pub(crate) fn saga_of(name: &str, text: &str) -> Result<saga::Declaration, CliError> {
    of_text(name, text, saga::Declaration::check)
}

fn of_text<T: DeserializeOwned>(
    name: &str,
    text: &str,
    check: impl Fn(&T) -> Result<(), BadDeclaration>,
) -> Result<T, CliError> {
    let declared: T = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let what = error.message();
        CliError::usage(format!("{name}:{line}: {what}"))
            .help("docs/patterns.md has an example of each field")
            .at(name, text, span)
    })?;
    check(&declared).map_err(|bad| CliError::usage(format!("{name}: {bad}")))?;
    Ok(declared)
}
