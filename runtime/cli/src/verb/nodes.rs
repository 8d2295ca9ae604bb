//! `phoenix nodes`

use phoenix_gateway::units::show_millis;

use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::session::Session;

/// Arguments of `phoenix nodes`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {}

pub(crate) async fn run(node: &mut Session) -> Result<Exit, CliError> {
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
    ]);
    for node in &list.nodes {
        let connected = if node.connected { "yes" } else { "no" };
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
        ]);
    }
    node.out.table(&table, "no nodes")?;
    Ok(Exit::Ok)
}
