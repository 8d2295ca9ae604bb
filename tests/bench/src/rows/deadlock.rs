//! Agents that come to wait for each other in a circle: from the request that begins
//! it to the end of the youngest ask, handed on through all of them. The asks follow
//! each other within microseconds, so this is the time since the last of them, and a
//! little more.

use std::time::Instant;

use anyhow::{Context as _, bail};
use phoenix_core::Reply;
use phoenix_core::control::Response;
use phoenix_support::guest;

use super::{NEVER, each_micros};
use crate::measure::{Pair, Row};
use crate::ours::Ours;

/// Circles a sample.
const CIRCLES: u32 = 8;
/// The promise, milliseconds.
const WITHIN: f64 = 100.0;

pub(super) fn two() -> Row {
    row(
        "deadlock_two",
        "until two agents of one node that ask each other are told so",
        || {
            let node = Ours::alone()?;
            node.deploy("relay", guest("relay"), NEVER)?;
            Ok(pair(vec![node], &["relay/b", "relay/a"]))
        },
    )
}

pub(super) fn three() -> Row {
    row(
        "deadlock_three",
        "until three agents on two nodes that ask each other over QUIC are told so",
        || {
            let nodes = Ours::pair()?;
            let [first, second] = &nodes;
            first.deploy("relay", guest("relay"), NEVER)?;
            for agent in ["relay/a", "relay/b", "relay/c"] {
                first.spawn(agent)?;
            }
            first.migrate("relay/b", second.id())?;
            Ok(pair(nodes.into(), &["relay/b", "relay/c", "relay/a"]))
        },
    )
}

fn row(name: &'static str, what: &'static str, open: fn() -> anyhow::Result<Pair>) -> Row {
    Row {
        name,
        what,
        unit: "ms",
        peer_name: "the promise",
        bar: 1.0,
        aim: 0.3,
        max_rounds: u32::MAX,
        open,
    }
}

/// Each of `hops` is asked by the one before, and the first by `relay/a`.
fn pair(nodes: Vec<Ours>, hops: &'static [&'static str]) -> Pair {
    Pair {
        ours: Box::new(move || {
            let first = nodes.first().context("there is a node")?;
            let begun = Instant::now();
            for _ in 0..CIRCLES {
                let ended = first.request(first.calling("relay/a", "hold", &(hops, 0_u64))?)?;
                match ended {
                    Response::Called(Reply::Failed(failure)) if &*failure.code == "deadlock" => {}
                    other => bail!("the circle ended as {other:?}"),
                }
            }
            Ok(each_micros(begun.elapsed(), CIRCLES) / 1e3)
        }),
        peer: Ok(Box::new(|| Ok(WITHIN))),
    }
}
