//! `phoenix ps`

use phoenix_core::{AgentId, KindName, NodeId};
use phoenix_gateway::api::{Agent, AgentPage};
use phoenix_gateway::client::AgentFilter;
use phoenix_gateway::units::show_size;

use crate::args;
use crate::error::{CliError, Exit};
use crate::output::{Table, remark};
use crate::session::Session;

/// Arguments of `phoenix ps`.
#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Agents of this kind only
    #[arg(long, value_name = "NAME", value_parser = args::kind)]
    kind: Option<KindName>,
    /// Agents on this node only
    #[arg(long, value_name = "NODE", value_parser = args::node)]
    node: Option<NodeId>,
    /// Agents whose id comes after this one
    #[arg(long, value_name = "AGENT", value_parser = args::agent)]
    after: Option<AgentId>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

pub(crate) async fn run(args: &PsArgs, node: &mut Session) -> Result<Exit, CliError> {
    /// Agents in one answer when all are listed.
    const PAGE: u32 = 1_000;
    let mut filter = AgentFilter {
        kind: args.kind.clone(),
        node: args.node,
        after: args.after.clone(),
        limit: Some(if args.all { PAGE } else { args.limit }),
    };
    let mut agents = Vec::new();
    let next = loop {
        let page = node.client.agents(&filter).await?;
        agents.extend(page.agents);
        match page.next {
            Some(next) if args.all => {
                let next = AgentId::new(&next).map_err(CliError::failed)?;
                // A node that repeats itself would keep us here for ever.
                if filter.after.as_ref().is_some_and(|after| *after >= next) {
                    return Err(CliError::failed("the node lists agents out of order"));
                }
                filter.after = Some(next);
            }
            next => break next,
        }
    };
    if node.json {
        node.out.json(&AgentPage { agents, next })?;
        return Ok(Exit::Ok);
    }
    node.out.table(&table(&agents), "no agents")?;
    if let Some(next) = next {
        node.out.flush()?;
        remark(&format!("there may be more: use --all, or --after {next}"));
    }
    Ok(Exit::Ok)
}

fn table(agents: &[Agent]) -> Table {
    let mut table = Table::new(&[
        "AGENT", "NODE", "STATUS", ">TURNS", ">MAILBOX", ">MEMORY", ">DISK",
    ]);
    for agent in agents {
        table.row([
            agent.agent.as_str(),
            &agent.node,
            agent.status.as_str(),
            &agent
                .turns
                .map_or_else(|| "-".to_owned(), |it| it.to_string()),
            &agent.mailbox.to_string(),
            &show_size(agent.bytes),
            &show_size(agent.disk_bytes),
        ]);
    }
    table
}
