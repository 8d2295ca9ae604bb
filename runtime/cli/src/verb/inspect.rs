//! `phoenix inspect`

use phoenix_core::AgentId;
use phoenix_gateway::api::AgentDetail;
use phoenix_gateway::units::show_size;

use super::advice;
use crate::args;
use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::session::Session;

/// Arguments of `phoenix inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The agent, as kind/key
    #[arg(value_parser = args::agent)]
    agent: AgentId,
}

pub(crate) async fn run(args: &InspectArgs, node: &mut Session) -> Result<Exit, CliError> {
    let detail = match node.client.inspect(&args.agent).await {
        Ok(detail) => detail,
        Err(error) => return Err(advice::about_agent(error, &args.agent, node).await),
    };
    if node.json {
        node.out.json(&detail)?;
    } else {
        node.out.table(&table(&detail), "")?;
    }
    Ok(Exit::Ok)
}

fn table(detail: &AgentDetail) -> Table {
    let agent = &detail.agent;
    let incarnation = detail.incarnation;
    let mut rows = vec![
        ("agent", agent.agent.clone()),
        ("node", agent.node.clone()),
        ("status", agent.status.as_str().to_owned()),
        ("component", detail.component.clone()),
        (
            "incarnation",
            format!(
                "{}.{}.{}",
                incarnation.generation, incarnation.boot, incarnation.count
            ),
        ),
        ("generation", detail.generation.to_string()),
        ("turns", agent.turns.to_string()),
        ("size", show_size(agent.bytes)),
        ("mailbox", agent.mailbox.to_string()),
        ("pending handlers", detail.pending.to_string()),
        ("open asks", detail.open_asks.to_string()),
        ("outbox", detail.outbox.to_string()),
        ("timers", detail.timers.to_string()),
        (
            "streams",
            format!("{} in, {} out", detail.streams_in, detail.streams_out),
        ),
        ("traps", detail.traps.to_string()),
        (
            "movable",
            match &detail.unmovable {
                None => "yes".to_owned(),
                Some(why) => format!("no: {why}"),
            },
        ),
    ];
    if let Some(trap) = &detail.last_trap {
        rows.push(("last trap", trap.clone()));
    }
    let mut table = Table::plain();
    for (name, value) in rows {
        table.row([name, &value]);
    }
    for (name, value) in &detail.counters {
        table.row([name, &value.to_string()]);
    }
    table
}
