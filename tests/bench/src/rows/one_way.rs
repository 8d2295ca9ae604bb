//! One-way messages through a guest handler, one worker: `flood` sends, `sink`
//! counts, and after every few hundred messages asks how many were heard.
//!
//! They are delivered once and in order, but for those of the row that says what
//! that costs.

use std::time::Instant;

use phoenix_support::guest;

use super::{NEVER, each};
use crate::measure::{Pair, Row, Side};
use crate::ours::Ours;
use crate::peers::bare::{self, Bare};
use crate::peers::erlang::Erlang;

/// Messages a sample.
const MESSAGES: u32 = 200_000;
/// Messages one turn sends; a kind's default policy allows 1,000 effects.
const A_TURN: u32 = 900;

pub(super) fn against_erlang() -> Row {
    Row {
        name: "one_way",
        what: "a one-way message from agent to agent, its handler run, on one worker",
        unit: "ns",
        peer_name: "Erlang `!`, one scheduler",
        bar: 3.0,
        aim: 1.0,
        max_rounds: u32::MAX,
        open: || {
            Ok(Pair {
                ours: ours()?,
                peer: Erlang::start().map(|mut erlang| -> Box<dyn Side> {
                    Box::new(move || erlang.run("one_way", MESSAGES))
                }),
            })
        },
    }
}

pub(super) fn against_bare_calls() -> Row {
    Row {
        name: "one_way_bare",
        what: "the same, beside calls of both components with frames and nothing between",
        unit: "ns",
        peer_name: "bare framed calls of both components",
        // What the bar against Erlang allows, three times about 100 ns, over the
        // bare loop's 50 ns.
        bar: 6.0,
        aim: 2.0,
        max_rounds: u32::MAX,
        open: || {
            let (flood, sink) = (Bare::new(guest("flood"))?, Bare::new(guest("sink"))?);
            let mut left = flood.instance("flood/a")?;
            let mut right = sink.instance("sink/a")?;
            let order = rmp_serde::to_vec(&("sink/a", MESSAGES, A_TURN))?;
            Ok(Pair {
                ours: ours()?,
                peer: Ok(Box::new(move || {
                    let begun = Instant::now();
                    bare::converse(&mut left, &mut right, "stream", &order)?;
                    Ok(each(begun.elapsed(), MESSAGES))
                })),
            })
        },
    }
}

/// What it costs that each is applied exactly once: kept until its verdict, numbered,
/// acknowledged.
pub(super) fn exactly_once() -> Row {
    Row {
        name: "exactly_once",
        what: "a one-way message that is applied exactly once, on one worker",
        unit: "ns",
        peer_name: "the same message, at most once",
        // Two thirds of the throughput.
        bar: 1.5,
        aim: 1.2,
        max_rounds: u32::MAX,
        open: || {
            Ok(Pair {
                ours: ours()?,
                peer: Ok(told("shower")?),
            })
        },
    }
}

fn ours() -> anyhow::Result<Box<dyn Side>> {
    told("stream")
}

/// A node whose `flood` is told to send as `method` says.
fn told(method: &'static str) -> anyhow::Result<Box<dyn Side>> {
    let node = Ours::alone()?;
    node.deploy("flood", guest("flood"), NEVER)?;
    node.deploy("sink", guest("sink"), NEVER)?;
    let mut expected = 0;
    Ok(Box::new(move || {
        expected += u64::from(MESSAGES);
        let begun = Instant::now();
        let heard: u64 = node.call("flood/a", method, &("sink/a", MESSAGES, A_TURN))?;
        let span = begun.elapsed();
        anyhow::ensure!(
            heard == expected,
            "{heard} of {expected} messages were heard"
        );
        Ok(each(span, MESSAGES))
    }))
}
