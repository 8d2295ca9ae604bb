//! How small a sleeping agent is.

use phoenix_support::agent;

use super::NEVER;
use crate::measure::{Pair, Row};
use crate::ours::Ours;

pub(super) fn row() -> Row {
    Row {
        name: "snapshot_bytes",
        what: "the snapshot of a counter that has counted, all of it",
        unit: "bytes",
        peer_name: "the pages its memory has changed, raw",
        // The design sets none.
        bar: 0.1,
        aim: 0.05,
        max_rounds: 1,
        open: || {
            let node = Ours::alone()?;
            node.deploy("counter", agent("counter"), NEVER)?;
            Ok(Pair {
                ours: Box::new(move || {
                    let _: u64 = node.call("counter/a", "add", &7_u64)?;
                    #[expect(clippy::cast_precision_loss, reason = "a snapshot is no petabyte")]
                    Ok(node.hibernate("counter/a")? as f64)
                }),
                peer: Err("not yet".to_owned()),
            })
        },
    }
}
