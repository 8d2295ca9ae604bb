//! `phoenix hibernate`

use phoenix_core::AgentId;
use phoenix_gateway::units::show_size;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::session::Session;

/// Arguments of `phoenix hibernate`.
#[derive(Debug, clap::Args)]
pub(crate) struct HibernateArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
}

pub(crate) async fn run(args: &HibernateArgs, node: &mut Session) -> Result<Exit, CliError> {
    let asleep = match node.client.hibernate(&args.agent).await {
        Ok(asleep) => asleep,
        Err(error) => return Err(advice::about_agent(error, &args.agent, node).await),
    };
    if node.json {
        node.out.json(&asleep)?;
    } else {
        let size = show_size(asleep.bytes);
        node.out.line(&format!("{} sleeps in {size}", args.agent))?;
    }
    Ok(Exit::Ok)
}
