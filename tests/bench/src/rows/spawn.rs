//! Agents that come to life: one agent asks many that do not live yet, one
//! after the other, and waits for the reply of each.

use std::time::{Duration, Instant};

use phoenix_core::AgentId;
use phoenix_core::control::Request;
use phoenix_support::guest;

use super::{NEVER, each_micros};
use crate::measure::{Pair, Row};
use crate::ours::Ours;
use crate::peers::bare::Bare;

/// Agents a sample.
pub(super) const AGENTS: u32 = 500;

pub(super) fn row() -> Row {
    Row {
        name: "spawn",
        what: "from the ask to an agent that does not live yet to its first reply",
        unit: "µs",
        peer_name: "bare pooled instantiate and one call",
        bar: 1.5,
        aim: 1.1,
        max_rounds: u32::MAX,
        open: || {
            let node = Ours::alone()?;
            node.deploy("ping", guest("ping"), NEVER)?;
            let bare = Bare::new(guest("ping"))?;
            let mut tours = 0;
            Ok(Pair {
                ours: Box::new(move || {
                    tours += 1;
                    let span = tour(&node, tours, tours * AGENTS)?;
                    stop(&node, tours * AGENTS)?;
                    Ok(each_micros(span, AGENTS))
                }),
                peer: Ok(Box::new(move || bare_instances(&bare))),
            })
        },
    }
}

/// Has a fresh agent ask `ping/FROM` and those after it, one after the other.
pub(super) fn tour(node: &Ours, number: u32, from: u32) -> anyhow::Result<Duration> {
    let guide = format!("ping/tour-{number}");
    // The guide itself is awake before the clock starts.
    let _: u64 = node.call(&guide, "ping", &1_u64)?;
    let begun = Instant::now();
    let right: u32 = node.call(&guide, "tour", &("ping", from, AGENTS))?;
    let span = begun.elapsed();
    anyhow::ensure!(right == AGENTS, "{right} of {AGENTS} replies were right");
    Ok(span)
}

fn stop(node: &Ours, from: u32) -> anyhow::Result<()> {
    let stops = (from..from + AGENTS)
        .map(|n| {
            Ok(Request::Stop {
                agent: AgentId::new(&format!("ping/{n}"))?,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    node.requests(stops)
}

/// Microseconds to instantiate and call once. The instances are dropped behind
/// the clock, as ours stay awake behind it.
pub(super) fn bare_instances(bare: &Bare) -> anyhow::Result<f64> {
    let payload = rmp_serde::to_vec(&1_u64)?;
    let mut kept = Vec::new();
    let begun = Instant::now();
    for _ in 0..AGENTS {
        let mut instance = bare.instance("ping/1")?;
        instance.call("ping", &payload)?;
        kept.push(instance);
    }
    let span = begun.elapsed();
    Ok(each_micros(span, AGENTS))
}
