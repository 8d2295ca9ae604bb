//! What can be written on the command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser};
use phoenix_core::topics::{TopicName, TopicPattern};
use phoenix_core::{AgentId, KindName, NodeId};

use crate::error::CliError;
use crate::verb::Verb;

/// Run agents: small stateful programs compiled to WebAssembly.
///
/// `phoenix node` starts a node; the other verbs operate running ones. Agents
/// are addressed as kind/key, as in counter/alice.
#[derive(Debug, Parser)]
#[command(
    name = "phoenix",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit status: 0 done, 1 failed, 2 wrong arguments or configuration, \
                        3 no node to ask, 4 unknown whether it was done, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Where the node is, and how to answer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The node's data directory [default: `data` of the configuration, or phoenix-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The configuration file [default: phoenix.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the node's API listens [default: what the node wrote into its data directory]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) node_api: Option<SocketAddr>,
    /// Answer in JSON, on one line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// `--data` as the text that a value of the configuration is.
    pub(crate) fn data(&self) -> Result<Option<&str>, CliError> {
        let Some(dir) = &self.data else {
            return Ok(None);
        };
        dir.to_str().map(Some).ok_or_else(|| {
            CliError::usage(format!("--data is {}: it must be UTF-8", dir.display()))
                .help("choose a directory whose name is plain text")
        })
    }
}

/// Reads a command line, whose first argument is the program's name.
///
/// The error is clap's own: it holds help and versions too, and renders itself.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args)
}

/// The command with everything it takes, for completions and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// An agent's id.
pub(crate) fn agent(text: &str) -> Result<AgentId, String> {
    AgentId::new(text).map_err(|error| error.to_string())
}

/// A kind's name.
pub(crate) fn kind(text: &str) -> Result<KindName, String> {
    KindName::new(text).map_err(|error| error.to_string())
}

/// A node's name or number.
pub(crate) fn node(text: &str) -> Result<NodeId, String> {
    text.parse()
}

/// A topic's name.
pub(crate) fn topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).map_err(|error| error.to_string())
}

/// A pattern of topics' names.
pub(crate) fn pattern(text: &str) -> Result<TopicPattern, String> {
    TopicPattern::new(text).map_err(|error| error.to_string())
}

/// A span of time above zero.
pub(crate) fn span(text: &str) -> Result<std::time::Duration, String> {
    use phoenix_gateway::units::{DURATION_FORM, parse_duration};
    parse_duration(text)
        .filter(|span| !span.is_zero())
        .ok_or_else(|| format!("it must be {DURATION_FORM}"))
}

/// `key=value`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }
}
