//! `phoenix migrate`

use phoenix_core::{AgentId, NodeId};
use phoenix_gateway::units::show_size;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
    /// The node it moves to, as node-2 or 2
    #[arg(value_name = "NODE", value_parser = args::node)]
    to: NodeId,
}

pub(crate) async fn run(args: &MigrateArgs, node: &mut Session) -> Result<Exit, CliError> {
    let moved = match node.client.migrate(&args.agent, args.to).await {
        Ok(moved) => moved,
        Err(error) => return Err(advice::about_move(error, &args.agent, args.to, node).await),
    };
    if node.json {
        node.out.json(&moved)?;
    } else if moved.from == moved.to {
        node.out
            .line(&format!("{} is on {} already", args.agent, moved.to))?;
    } else {
        node.out.line(&format!(
            "{} moved from {} to {}: {} shipped, {} µs of pause",
            args.agent,
            moved.from,
            moved.to,
            show_size(moved.bytes),
            moved.pause_us
        ))?;
    }
    Ok(Exit::Ok)
}
