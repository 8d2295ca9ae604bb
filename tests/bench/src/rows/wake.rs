//! Agents that wake from memory: one agent asks many that hibernate, one after
//! the other, and waits for the reply of each.

use phoenix_core::AgentId;
use phoenix_core::control::Request;
use phoenix_support::guest;

use super::spawn::{AGENTS, bare_instances, tour};
use super::{NEVER, each_micros};
use crate::measure::{Pair, Row};
use crate::ours::Ours;
use crate::peers::bare::Bare;

pub(super) fn row() -> Row {
    Row {
        name: "wake",
        what: "from the ask to an agent that hibernates in memory to its first reply",
        unit: "µs",
        peer_name: "bare pooled instantiate and one call",
        bar: 1.5,
        aim: 1.1,
        max_rounds: u32::MAX,
        open: || {
            let node = Ours::alone()?;
            node.deploy("ping", guest("ping"), NEVER)?;
            let bare = Bare::new(guest("ping"))?;
            tour(&node, 0, 0)?;
            let mut tours = 0;
            Ok(Pair {
                ours: Box::new(move || {
                    hibernate(&node)?;
                    tours += 1;
                    Ok(each_micros(tour(&node, tours, 0)?, AGENTS))
                }),
                peer: Ok(Box::new(move || bare_instances(&bare))),
            })
        },
    }
}

fn hibernate(node: &Ours) -> anyhow::Result<()> {
    let all = (0..AGENTS)
        .map(|n| {
            Ok(Request::Hibernate {
                agent: AgentId::new(&format!("ping/{n}"))?,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    node.requests(all)
}
