//! What is wrong with a configuration.

use std::fmt;
use std::path::Path;

use phoenix_gateway::suggest::{did_you_mean, shown};

use super::keys::{KEYS, Key};
use super::sources::{ConfigFile, Found, Origin};
use super::toml_file::BadToml;
use crate::error::CliError;

/// What is wrong with a configuration: where, what stands there, what may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    message: String,
    help: Option<String>,
    origin: Option<Origin>,
}

impl ConfigError {
    pub(super) fn value(key: &Key, found: &Found, accepted: &str) -> Self {
        let name = key.name;
        let message = match &found.origin {
            Origin::File { path, line, .. } => format!(
                "{}:{line}: `{name}` is {}: it must be {accepted}",
                path.display(),
                found.shown
            ),
            Origin::Variable(variable) => {
                format!("{variable} is {}: `{name}` must be {accepted}", found.shown)
            }
            Origin::Flag(flag) => {
                format!("--{flag} is {}: it must be {accepted}", found.shown)
            }
        };
        Self {
            message,
            help: None,
            // The line would show the secret.
            origin: (!key.secret).then(|| found.origin.clone()),
        }
    }

    pub(super) fn unknown_key(name: &str, origin: Origin) -> Self {
        let place = match &origin {
            Origin::File { path, line, .. } => format!("{}:{line}: ", path.display()),
            Origin::Variable(_) | Origin::Flag(_) => String::new(),
        };
        let names = || KEYS.iter().map(|key| key.name);
        let help = did_you_mean(name, names())
            .unwrap_or_else(|| format!("the keys are {}", names().collect::<Vec<_>>().join(", ")));
        Self {
            message: format!("{place}there is no key `{}`", shown(name)),
            help: Some(help),
            origin: Some(origin),
        }
    }

    pub(super) fn malformed(file: &ConfigFile, error: &BadToml) -> Self {
        Self {
            message: format!("{}:{}: {}", file.path.display(), error.line, error.message),
            help: Some(
                "the file is TOML: `key = \"text\"` or `key = number`, one a line".to_owned(),
            ),
            origin: Some(Origin::File {
                path: file.path.clone(),
                line: error.line,
                span: error.span.clone(),
                text: file.text.clone(),
            }),
        }
    }

    pub(super) fn of_file(path: &Path, reason: &str) -> Self {
        Self {
            message: format!("cannot read the configuration {}: {reason}", path.display()),
            help: None,
            origin: None,
        }
    }

    pub(super) fn of_variable(name: &str, reason: &str) -> Self {
        Self {
            message: format!("{name}: {reason}"),
            help: None,
            origin: Some(Origin::Variable(name.to_owned())),
        }
    }

    pub(super) fn help(mut self, help: &str) -> Self {
        self.help = Some(help.to_owned());
        self
    }

    /// The error as whoever made the mistake sees it, with the line it is in.
    pub fn rendered(&self) -> String {
        CliError::from(self.clone()).rendered(false)
    }

    /// What to do about it, where something can be said.
    pub fn suggestion(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let cli = CliError::usage(&error.message).help_if(error.help);
        match error.origin {
            Some(Origin::File {
                path, span, text, ..
            }) => cli.at(&path.display().to_string(), &text, span),
            _ => cli,
        }
    }
}
