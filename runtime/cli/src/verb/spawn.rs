//! `phoenix spawn`

use phoenix_core::{AgentId, NodeId};

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix spawn`.
#[derive(Debug, clap::Args)]
pub(crate) struct SpawnArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// What its `init` gets: JSON, a word, @FILE or - for standard input
    #[arg(value_name = "CONFIG", allow_negative_numbers = true)]
    config_payload: Option<String>,
    /// The node it should live on
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    on: Option<NodeId>,
    /// How CONFIG is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

pub(crate) async fn run(args: &SpawnArgs, node: &mut Session) -> Result<Exit, CliError> {
    let config = payload::read(args.config_payload.as_deref(), args.as_what)?;
    let spawned = node
        .client
        .spawn(&args.agent, config.content_type, config.bytes, args.on)
        .await;
    let spawned = match spawned {
        Ok(spawned) => spawned,
        Err(error) => return Err(advice::about_agent(error, &args.agent, node).await),
    };
    if node.json {
        node.out.json(&spawned)?;
    } else {
        node.out
            .line(&format!("{} lives on {}", spawned.agent, spawned.node))?;
    }
    Ok(Exit::Ok)
}
