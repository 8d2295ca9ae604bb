//! `phoenix nodes`

use phoenix_core::NodeId;
use phoenix_gateway::units::show_millis;

use super::advice;
use super::flow::show;
use crate::args;
use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::session::Session;

/// Arguments of `phoenix nodes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a verb it lists them.")]
pub(crate) struct NodesArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the nodes
    List,
    /// Say that a node which nobody can reach is dead: its agents begin anew elsewhere
    #[command(
        after_help = "Only you can know. What the node's agents held in memory is given up. If \
                      it lives after all, it goes on until it hears of this, and then ends itself; \
                      started again, it joins anew."
    )]
    DeclareDead(DeclareDeadArgs),
}

#[derive(Debug, clap::Args)]
struct DeclareDeadArgs {
    /// Which node
    #[arg(value_parser = args::node)]
    node: NodeId,
    /// Yes, it is dead, and what its agents held is given up
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(args: &NodesArgs, node: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        None | Some(Verb::List) => list(node).await,
        Some(Verb::DeclareDead(args)) => declare_dead(args, node).await,
    }
}

async fn declare_dead(args: &DeclareDeadArgs, node: &mut Session) -> Result<Exit, CliError> {
    let dead = args.node;
    if !args.yes {
        let error = CliError::usage(format!(
            "{dead} may only be cut off: its agents would run twice"
        ));
        return Err(error.help(
            "see that it is down and stays so, and add --yes; what its agents held is given up",
        ));
    }
    let declared = match node.client.declare_dead(dead).await {
        Ok(declared) => declared,
        Err(error) => return Err(advice::about_node(error, dead, node).await),
    };
    if node.json {
        node.out.json(&declared)?;
        return Ok(Exit::Ok);
    }
    let line = match declared.agents {
        0 => format!("{dead} is dead; no agents were known to live there"),
        1 => format!("{dead} is dead; its agent begins anew elsewhere when it is next looked for"),
        many => format!(
            "{dead} is dead; its {many} agents begin anew elsewhere when they are next looked for"
        ),
    };
    node.out.line(&line)?;
    Ok(Exit::Ok)
}

async fn list(node: &mut Session) -> Result<Exit, CliError> {
    let list = node.client.nodes().await?;
    if node.json {
        node.out.json(&list)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "NODE",
        "ADDRESS",
        "CONNECTED",
        "ROLE",
        ">RESIDENT",
        ">HIBERNATED",
        ">BOOT",
        ">UP",
        "VERSION",
        "VIA",
    ]);
    for node in &list.nodes {
        let connected = match (node.connected, node.dead) {
            (true, _) => "yes",
            (false, false) => "no",
            (false, true) => "declared dead",
        };
        let role = if node.directory { "directory" } else { "-" };
        // Whole seconds are exact enough for a person.
        let up = show_millis(node.uptime_ms / 1_000 * 1_000);
        table.row([
            node.node.as_str(),
            &node.address,
            connected,
            role,
            &node.resident.to_string(),
            &node.hibernated.to_string(),
            &node
                .boot
                .map_or_else(|| "-".to_owned(), |boot| boot.to_string()),
            if node.connected { &up } else { "-" },
            &node.version,
            node.path.as_ref().map_or("-", |path| &path.reason),
        ]);
    }
    let mut gates = Table::new(&["GATE", "AT", "STATE"]);
    for gate in list.nodes.iter().filter_map(|node| node.gate.as_ref()) {
        gates.row([gate.target.as_str(), &gate.node, &show::state(gate)]);
    }
    node.out.table(&table, "no nodes")?;
    if !gates.is_empty() {
        node.out.line("")?;
        node.out.table(&gates, "")?;
    }
    Ok(Exit::Ok)
}
