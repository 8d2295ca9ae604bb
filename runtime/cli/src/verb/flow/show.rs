//! `phoenix flow list`, and gates wherever they are shown.

use phoenix_core::NodeId;
use phoenix_core::flow::FlowTarget;
use phoenix_gateway::api::{Breaker, Fill, Flow, Gate};

use crate::error::{CliError, Exit};
use crate::output::Table;
use crate::session::Session;

pub(super) async fn list(
    target: Option<&FlowTarget>,
    at: Option<NodeId>,
    node: &mut Session,
) -> Result<Exit, CliError> {
    let list = node.client.flows(target, at).await?;
    if node.json {
        node.out.json(&list)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "TARGET", "NODE", "LIMITS", "STATE", ">PASSED", ">DELAYED", ">REFUSED", ">FAILED",
    ]);
    for flow in &list.flows {
        let counted = |names: &[&str]| {
            let counters = flow.gate.as_ref().map(|gate| &gate.counters);
            let found = names
                .iter()
                .filter_map(|name| counters?.get(*name))
                .sum::<u64>();
            found.to_string()
        };
        table.row([
            flow.target.as_str(),
            &flow.node,
            &limits(flow),
            &state(flow),
            &counted(&["admitted"]),
            &counted(&["delayed"]),
            &counted(&REFUSED),
            &counted(&["failed"]),
        ]);
    }
    node.out
        .table(&table, "no gates: `phoenix flow set` makes one")?;
    Ok(Exit::Ok)
}

const REFUSED: [&str; 4] = [
    "refused-breaker",
    "refused-large",
    "refused-full",
    "refused-late",
];

/// Which limiters a policy has.
fn limits(flow: &Flow) -> String {
    let mut limiters: Vec<&str> = flow
        .policy
        .0
        .keys()
        .filter_map(|name| name.split('.').next())
        .collect();
    limiters.dedup();
    let deployed = if flow.deployed { " (deployed)" } else { "" };
    format!("{}{deployed}", limiters.join(", "))
}

/// How a gate stands, in a few words.
pub(crate) fn state(flow: &Flow) -> String {
    let Some(gate) = &flow.gate else {
        return "nothing has come to it".to_owned();
    };
    let Gate {
        rate,
        window,
        shared,
        breaker,
        running,
        concurrent,
        waiting,
        ..
    } = gate;
    let mut parts = Vec::new();
    parts.extend(breaker.as_ref().map(breaker_state));
    parts.extend(rate.as_ref().map(|fill| left("rate", fill)));
    parts.extend(window.as_ref().map(|fill| left("window", fill)));
    if let Some(share) = shared {
        let asked = if share.asked { ", asks for more" } else { "" };
        parts.push(format!("{}: {} left{asked}", share.name, share.left));
    }
    let of = concurrent.map(|most| format!(" of {most}"));
    parts.push(format!("{running}{} under way", of.unwrap_or_default()));
    if *waiting > 0 {
        parts.push(format!("{waiting} wait"));
    }
    parts.join("; ")
}

fn breaker_state(breaker: &Breaker) -> String {
    let Breaker { state, cause, .. } = breaker;
    match state.as_str() {
        "closed" => format!(
            "breaker closed ({} ok, {} failed)",
            breaker.ok, breaker.failed
        ),
        _ => format!("breaker {state}: {cause}"),
    }
}

fn left(name: &str, fill: &Fill) -> String {
    let unit = if fill.unit == "bytes" { " bytes" } else { "" };
    format!("{name} {} of {}{unit} left", fill.left, fill.of)
}

/// The rows about a gate in what is shown about something else.
pub(crate) fn rows(flow: &Flow) -> Vec<(String, String)> {
    let mut rows = vec![(format!("gate {}", flow.target), state(flow))];
    let Some(gate) = &flow.gate else { return rows };
    if let Some(last) = &gate.last_failure {
        let text = match last.text.as_str() {
            "" => last.code.clone(),
            text => format!("{}: {}", last.code, text.lines().next().unwrap_or_default()),
        };
        rows.push(("  last failure".to_owned(), text));
    }
    for (name, value) in gate.counters.iter().filter(|(_, value)| **value > 0) {
        rows.push((format!("  {name}"), value.to_string()));
    }
    rows
}
