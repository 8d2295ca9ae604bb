//! `phoenix node`

mod run;
mod signals;

use std::process::ExitCode;

use phoenix_gateway::suggest::did_you_mean;

use crate::args::{self, Global};
use crate::config::{Config, Surroundings, keys};
use crate::error::CliError;
use crate::output::remark;

/// What a node starts this program with to have a component compiled.
pub(crate) const COMPILE_VERB: &str = "compile-worker";

/// Arguments of `phoenix node`.
///
/// Each is a key of the configuration; the others are set with `--set`. They
/// are checked together with the file and the environment, by one table.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Configuration comes from the file, then PHOENIX_… variables, then flags; \
                        the last one wins. The first SIGTERM or SIGINT moves agents to other nodes, \
                        then stops the node, and with it agents that could not move; a second one \
                        ends it at once."
)]
pub(crate) struct NodeArgs {
    /// Where to listen for other nodes; `none` to stay alone
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The address other nodes are told, if it is another one
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where the HTTP API listens, on loopback
    #[arg(long, value_name = "ADDR")]
    api: Option<String>,
    /// Join a cluster with a token that `phoenix token` printed there; needed once
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// Threads that run agents [default: one a core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// How long stopping may take
    #[arg(long, value_name = "SPAN")]
    drain_timeout: Option<String>,
    /// What to log to standard error: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How to log: human or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any key of the configuration
    #[arg(long, value_name = "KEY=VALUE", value_parser = args::setting)]
    set: Vec<(String, String)>,
}

/// Runs a node until a signal or an operator stops it.
pub(crate) fn run(args: &NodeArgs, global: &Global) -> Result<ExitCode, CliError> {
    if global.node_api.is_some() {
        return Err(
            CliError::usage("--node-api says where another node's API is")
                .help("use `--api ADDR` to say where this node's API listens"),
        );
    }
    let surroundings = Surroundings::of_process(global.config.as_deref())?;
    for (name, near) in surroundings.unknown_variables() {
        if let Some(near) = near {
            remark(&format!(
                "{name} means nothing to phoenix: did you mean {near}?"
            ));
        }
    }
    let flags = args.flags(global.data()?)?;
    let config = Config::load(&surroundings, &flags)?;
    run::run(config, global.json)
}

impl NodeArgs {
    /// The flags that were given, as keys and values.
    fn flags(&self, data: Option<&str>) -> Result<Vec<(&'static str, String)>, CliError> {
        let mut flags = Vec::new();
        for (name, value) in &self.set {
            let key = keys::named(name).ok_or_else(|| {
                let names = || keys::KEYS.iter().map(|key| key.name);
                CliError::usage(format!("--set {name}: there is no such key")).help(
                    did_you_mean(name, names()).unwrap_or_else(|| {
                        format!("the keys are {}", names().collect::<Vec<_>>().join(", "))
                    }),
                )
            })?;
            flags.push((key.name, value.clone()));
        }
        let given = [
            ("data", data),
            ("listen", self.listen.as_deref()),
            ("advertise", self.advertise.as_deref()),
            ("api", self.api.as_deref()),
            ("join", self.join.as_deref()),
            ("workers", self.workers.as_deref()),
            ("drain-timeout", self.drain_timeout.as_deref()),
            ("log", self.log.as_deref()),
            ("log-format", self.log_format.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?.to_owned())));
        flags.extend(given.collect::<Vec<_>>());
        Ok(flags)
    }
}
