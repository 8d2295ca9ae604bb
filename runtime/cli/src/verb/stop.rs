//! `phoenix stop`

use phoenix_core::AgentId;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// The agent to end, as kind/key; its memory is gone
    #[arg(value_parser = args::agent, required_unless_present = "this_node")]
    agent: Option<AgentId>,
    /// Stop the node instead: its agents move to other nodes first; without one they end with it
    #[arg(long, conflicts_with = "agent")]
    this_node: bool,
}

pub(crate) async fn run(args: &StopArgs, node: &mut Session) -> Result<Exit, CliError> {
    let Some(agent) = &args.agent else {
        node.client.shutdown().await?;
        return said(node, "stopping", "the node is stopping");
    };
    if let Err(error) = node.client.stop(agent).await {
        return Err(advice::about_agent(error, agent, node).await);
    }
    said(node, "stopped", &format!("{agent} is stopped"))
}

fn said(node: &mut Session, field: &str, text: &str) -> Result<Exit, CliError> {
    if node.json {
        node.out.json(&serde_json::json!({ field: true }))?;
    } else {
        node.out.line(text)?;
    }
    Ok(Exit::Ok)
}
