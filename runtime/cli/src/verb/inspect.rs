//! `phoenix inspect`

use std::time::{Duration, SystemTime};

use phoenix_core::AgentId;
use phoenix_gateway::api::{AgentDetail, MailboxLane, OpenAsk, OpenRequest, Timer};
use phoenix_gateway::units::show_size;

use super::logs::stamp;
use super::{advice, flow};
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

/// What waits, and what its senders are told.
fn mailbox(detail: &AgentDetail) -> String {
    let told = match (detail.holding, detail.held) {
        (false, _) => String::new(),
        (true, held) => format!(", past its high mark: {held} streams are told to hold"),
    };
    format!("{}{told}", detail.agent.mailbox)
}

fn waiting(lane: &MailboxLane) -> String {
    let memory = format!("{}, {}", lane.messages, show_size(lane.bytes));
    match lane.spilled {
        0 => memory,
        spilled => format!(
            "{memory}, and {spilled} spilled, {}",
            show_size(lane.spilled_bytes)
        ),
    }
}

/// When a timer comes due, what it calls, and when it comes due again.
fn timer(timer: &Timer) -> String {
    let due = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(timer.due_ms));
    let due = due.map_or_else(|| timer.due_ms.to_string(), stamp);
    let Timer {
        timer,
        method,
        schedule,
        catch_up,
        ..
    } = timer;
    match catch_up.as_str() {
        "once" => format!("{due} {method}, {schedule} (timer {timer})"),
        _ => format!("{due} {method}, {schedule}, catch-up {catch_up} (timer {timer})"),
    }
}

fn outbox(detail: &AgentDetail) -> String {
    let held = match detail.outbox_held {
        0 => String::new(),
        held => format!(", {held} streams wait for credit"),
    };
    format!(
        "{}, {}{held}",
        detail.outbox,
        show_size(detail.outbox_bytes)
    )
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
        ("turns", agent.turns.unwrap_or(0).to_string()),
        ("memory", show_size(agent.bytes)),
        ("disk", show_size(agent.disk_bytes)),
        ("mailbox", mailbox(detail)),
        ("pending handlers", detail.pending.to_string()),
        ("open asks", detail.open_asks.to_string()),
        ("outbox", outbox(detail)),
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
        if name == "pending handlers" {
            for OpenRequest { handler, from, .. } in &detail.requests {
                let who = format!("{from} waits for turn {handler}");
                table.row(["  asked by", who.as_str()]);
            }
        }
        if name == "open asks" {
            for OpenAsk { to, handler, .. } in &detail.asks {
                let who = match handler {
                    Some(handler) => format!("{to}, which turn {handler} waits for"),
                    None => to.clone(),
                };
                table.row(["  asks", who.as_str()]);
            }
        }
        if name == "timers" {
            for due in &detail.next_timers {
                table.row(["  due", timer(due).as_str()]);
            }
        }
        if name == "mailbox" {
            for lane in &detail.lanes {
                table.row([&format!("  {}", lane.lane.as_str()), &waiting(lane)]);
            }
        }
    }
    for (name, value) in detail.gates.iter().flat_map(flow::show::rows) {
        table.row([&name, &value]);
    }
    for (name, value) in &detail.counters {
        table.row([name, &value.to_string()]);
    }
    table
}
