//! Request and reply between two resident agents of one node.

use std::time::Instant;

use phoenix_support::guest;

use super::{NEVER, each};
use crate::measure::{Pair, Row};
use crate::ours::Ours;
use crate::peers::bare::{self, Bare};

/// Round trips a sample.
const TRIPS: u32 = 50_000;

pub(super) fn row() -> Row {
    Row {
        name: "request_reply",
        what: "a request and its reply between two resident agents of one node",
        unit: "ns",
        peer_name: "two bare framed calls, one of each component",
        bar: 2.0,
        aim: 1.3,
        max_rounds: u32::MAX,
        open: || {
            let node = Ours::alone()?;
            node.deploy("ping", guest("ping"), NEVER)?;
            let bare = Bare::new(guest("ping"))?;
            let mut left = bare.instance("ping/a")?;
            let mut right = bare.instance("ping/b")?;
            let order = rmp_serde::to_vec(&("ping/b", TRIPS))?;
            Ok(Pair {
                ours: Box::new(move || {
                    let begun = Instant::now();
                    let right: u32 = node.call("ping/a", "rally", &("ping/b", TRIPS))?;
                    let span = begun.elapsed();
                    anyhow::ensure!(right == TRIPS, "{right} of {TRIPS} replies were right");
                    Ok(each(span, TRIPS))
                }),
                peer: Ok(Box::new(move || {
                    let begun = Instant::now();
                    bare::converse(&mut left, &mut right, "rally", &order)?;
                    Ok(each(begun.elapsed(), TRIPS))
                })),
            })
        },
    }
}
