//! Where values are found: the file, the environment, the command line.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use phoenix_gateway::suggest::{nearest, shown};

use super::error::ConfigError;
use super::keys::{KEYS, Key, named};
use super::toml_file;

/// The file that is read if no other is named and it is there.
const DEFAULT_FILE: &str = "phoenix.toml";
/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Variables that mean something else than a key.
const OTHER_VARIABLES: [&str; 1] = ["PHOENIX_CONFIG"];

/// What a configuration is read from, the command line aside.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The configuration file, if there is one.
    pub file: Option<ConfigFile>,
    /// Variables of the environment that begin with `PHOENIX_`.
    pub environment: Vec<(String, String)>,
}

/// A configuration file that has been read.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its name, as it was given.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file.
    File {
        /// Its name.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Where in its text.
        span: Range<usize>,
        /// Its text.
        text: String,
    },
    /// In a variable of the environment.
    Variable(String),
    /// On the command line.
    Flag(&'static str),
}

/// A value and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The value; `None` if it is none of the things a value can be.
    pub(super) text: Option<String>,
    /// The value as it is shown.
    pub(super) shown: String,
    /// Where it stands.
    pub(super) origin: Origin,
}

impl Surroundings {
    /// What this process was started with: `config`, or the file that
    /// `PHOENIX_CONFIG` names, or `phoenix.toml`, and the environment.
    pub fn of_process(config: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = Self::variables(std::env::vars_os())?;
        let from_variable = environment
            .iter()
            .find(|(name, _)| name == "PHOENIX_CONFIG")
            .map(|(_, path)| PathBuf::from(path));
        let chosen = config.map(Path::to_owned).or(from_variable);
        let file = match chosen {
            Some(path) => Some(read(path)?),
            None if Path::new(DEFAULT_FILE).is_file() => Some(read(DEFAULT_FILE.into())?),
            None => None,
        };
        Ok(Self { file, environment })
    }

    /// The variables of an environment that begin with `PHOENIX_`, in order.
    pub fn variables(
        all: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<(String, String)>, ConfigError> {
        let mut found = Vec::new();
        for (name, value) in all {
            let Some(name) = name.to_str().filter(|name| name.starts_with("PHOENIX_")) else {
                continue;
            };
            let value = value
                .into_string()
                .map_err(|_| ConfigError::of_variable(name, "its value is not UTF-8"))?;
            found.push((name.to_owned(), value));
        }
        found.sort();
        Ok(found)
    }

    /// Variables that look like keys and are none, each with the one that may
    /// have been meant. They are no error: other programs may use the prefix.
    pub fn unknown_variables(&self) -> Vec<(String, Option<String>)> {
        let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        self.environment
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !variables.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()))
            .map(|name| {
                let near = nearest(name, variables.iter().map(String::as_str));
                (name.clone(), near.map(ToOwned::to_owned))
            })
            .collect()
    }
}

fn read(path: PathBuf) -> Result<ConfigFile, ConfigError> {
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MAX_FILE => Err(ConfigError::of_file(
            &path,
            "it is over 1 MiB, which no configuration is",
        )),
        Ok(_) => Ok(ConfigFile { path, text }),
        Err(error) => Err(ConfigError::of_file(&path, &error.to_string())),
    }
}

/// What is set, each key once, from the last source that names it.
pub(super) fn gather(
    surroundings: &Surroundings,
    flags: &[(&'static str, String)],
) -> Result<Vec<(&'static Key, Found)>, ConfigError> {
    let mut all: Vec<(&'static Key, Found)> = Vec::new();
    if let Some(file) = &surroundings.file {
        all.extend(of_file(file)?);
    }
    for (name, value) in &surroundings.environment {
        if let Some(key) = KEYS.iter().find(|key| key.variable() == *name) {
            all.push((key, Found::new(key, value, Origin::Variable(name.clone()))));
        }
    }
    for (name, value) in flags {
        if let Some(key) = named(name) {
            all.push((key, Found::new(key, value, Origin::Flag(name))));
        }
    }
    let mut found: Vec<(&'static Key, Found)> = Vec::new();
    for (key, value) in all {
        found.retain(|(other, _)| other.name != key.name);
        found.push((key, value));
    }
    Ok(found)
}

fn of_file(file: &ConfigFile) -> Result<Vec<(&'static Key, Found)>, ConfigError> {
    let entries =
        toml_file::entries(&file.text).map_err(|error| ConfigError::malformed(file, &error))?;
    entries
        .into_iter()
        .map(|entry| {
            let origin = |span: &Range<usize>| Origin::File {
                path: file.path.clone(),
                line: entry.line,
                span: span.clone(),
                text: file.text.clone(),
            };
            let Some(key) = named(&entry.key) else {
                return Err(ConfigError::unknown_key(
                    &entry.key,
                    origin(&entry.key_span),
                ));
            };
            let found = Found {
                shown: key.show(&entry.found),
                origin: origin(&entry.value_span),
                text: entry.text,
            };
            Ok((key, found))
        })
        .collect()
}

impl Found {
    fn new(key: &Key, text: &str, origin: Origin) -> Self {
        Self {
            text: Some(text.to_owned()),
            shown: key.show(&format!("`{}`", shown(text))),
            origin,
        }
    }
}

impl Key {
    /// A value as messages may show it.
    fn show(&self, found: &str) -> String {
        if self.secret {
            "a secret that is not shown".to_owned()
        } else {
            found.to_owned()
        }
    }
}
