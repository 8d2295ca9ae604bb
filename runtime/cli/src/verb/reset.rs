//! `phoenix reset`

use phoenix_core::AgentId;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix reset`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The agent loses its memory, its timers and its open asks, and runs `init` \
                  again. What it sent is delivered first; what waits for it becomes dead letters."
)]
pub(crate) struct ResetArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// What its `init` gets: JSON, a word, @FILE or - for standard input
    #[arg(value_name = "CONFIG", allow_negative_numbers = true)]
    config_payload: Option<String>,
    /// Even if the agent is not quarantined: its state is gone
    #[arg(long)]
    force: bool,
    /// How CONFIG is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

pub(crate) async fn run(args: &ResetArgs, node: &mut Session) -> Result<Exit, CliError> {
    let config = payload::read(args.config_payload.as_deref(), args.as_what)?;
    let reset = node
        .client
        .reset(&args.agent, config.content_type, config.bytes, args.force)
        .await;
    let reset = match reset {
        Ok(reset) => reset,
        Err(error) => return Err(advice::about_agent(error, &args.agent, node).await),
    };
    if node.json {
        node.out.json(&reset)?;
        return Ok(Exit::Ok);
    }
    let letters = match reset.dead_letters {
        0 => "nothing waited for it".to_owned(),
        1 => "one message that waited for it is a dead letter".to_owned(),
        many => format!("{many} messages that waited for it are dead letters"),
    };
    let line = format!("{} begins anew on {}: {letters}", reset.agent, reset.node);
    node.out.line(&line)?;
    Ok(Exit::Ok)
}
