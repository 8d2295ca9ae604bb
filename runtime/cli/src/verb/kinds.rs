//! `phoenix kinds`

use std::process::ExitCode;

use phoenix_gateway::api::World;
use phoenix_gateway::units::show_size;

use super::flow::show;
use crate::error::{CliError, Exit};
use crate::output::{Output, Table};
use crate::samples;
use crate::session::Session;

/// Arguments of `phoenix kinds`.
#[derive(Debug, clap::Args)]
pub(crate) struct KindsArgs {
    /// List the sample agents that come with this program instead
    #[arg(long)]
    pub(crate) samples: bool,
}

pub(crate) async fn run(node: &mut Session) -> Result<Exit, CliError> {
    let list = node.client.kinds().await?;
    if node.json {
        node.out.json(&list)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["KIND", "COMPONENT", ">SIZE", "WORLD", "HANDLERS"]);
    for kind in &list.kinds {
        let handlers: Vec<&str> = kind.handlers.iter().map(|h| h.name.as_str()).collect();
        table.row([
            kind.kind.as_str(),
            kind.component.get(..12).unwrap_or(&kind.component),
            &show_size(kind.component_bytes),
            match kind.world {
                World::Agent => "agent",
                World::AgentFramed => "agent-framed",
            },
            &handlers.join(", "),
        ]);
    }
    let mut gates = Table::new(&["GATE", "NODE", "STATE"]);
    for gate in list.kinds.iter().flat_map(|kind| &kind.gates) {
        gates.row([gate.target.as_str(), &gate.node, &show::state(gate)]);
    }
    node.out
        .table(&table, "no kinds: `phoenix deploy` makes one")?;
    if !gates.is_empty() {
        node.out.line("")?;
        node.out.table(&gates, "")?;
    }
    Ok(Exit::Ok)
}

/// Lists the samples, for which no node is needed.
pub(crate) fn samples(json: bool) -> Result<ExitCode, CliError> {
    let mut out = Output::new();
    if json {
        let samples: Vec<_> = samples::all()
            .iter()
            .map(|(name, component)| {
                serde_json::json!({ "sample": name, "component_bytes": component.len() })
            })
            .collect();
        out.json(&serde_json::json!({ "samples": samples }))?;
    } else {
        let mut table = Table::new(&["SAMPLE", ">SIZE"]);
        for (name, component) in samples::all() {
            table.row([*name, &show_size(component.len() as u64)]);
        }
        out.table(&table, "this program comes without samples")?;
    }
    out.flush()?;
    Ok(Exit::Ok.into())
}
