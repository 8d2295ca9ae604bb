//! How long an agent is frozen while it moves between two nodes over QUIC, by
//! the memory it has changed, which no compression makes smaller. Measured at the
//! source, from the freeze until it heard that the target owns the agent: the
//! target's first turn is one message's way later.

use std::cell::Cell;
use std::rc::Rc;

use phoenix_support::guest;

use super::{NEVER, each_micros};
use crate::measure::{Pair, Row};
use crate::ours::Ours;
use crate::peers::quic::Quic;

/// Moves a sample.
const MOVES: u32 = 4;

pub(super) fn row_4k() -> Row {
    row("migration_pause_4k", "4 KiB", || open(4 << 10))
}

pub(super) fn row_64k() -> Row {
    row("migration_pause_64k", "64 KiB", || open(64 << 10))
}

pub(super) fn row_4m() -> Row {
    row("migration_pause_4m", "4 MiB", || open(4 << 20))
}

/// Bar and aim are meant for 64 KiB; the other sizes are held to the same.
fn row(name: &'static str, size: &'static str, open: fn() -> anyhow::Result<Pair>) -> Row {
    Row {
        name,
        what: match size {
            "4 KiB" => "the pause of an agent that moves with 4 KiB of changed memory",
            "64 KiB" => "the pause of an agent that moves with 64 KiB of changed memory",
            _ => "the pause of an agent that moves with 4 MiB of changed memory",
        },
        unit: "µs",
        peer_name: "bare QUIC transfer of the bytes shipped, and a bare instantiate and call",
        bar: 3.0,
        aim: 1.5,
        max_rounds: u32::MAX,
        open,
    }
}

fn open(size: u32) -> anyhow::Result<Pair> {
    let nodes = Ours::pair()?;
    let [first, second] = &nodes;
    first.deploy("blob", guest("blob"), NEVER)?;
    // On the node that has the kind for sure; the other fetches it with the first move.
    first.spawn("blob/a")?;
    let _: u64 = first.call("blob/a", "fill", &(size, 1))?;
    let mut places = [second.id(), first.id()].into_iter().cycle();
    let mut peer = Quic::new(guest("blob"), "ping")?;
    let shipped = Rc::new(Cell::new(u64::from(size)));
    let bytes = shipped.clone();
    Ok(Pair {
        ours: Box::new(move || {
            let [first, _] = &nodes;
            let mut paused = std::time::Duration::ZERO;
            for to in places.by_ref().take(MOVES as usize) {
                let (pause, count) = first.migrate("blob/a", to)?;
                paused += pause;
                shipped.set(count);
                let _: u64 = first.call("blob/a", "ping", &())?;
            }
            Ok(each_micros(paused, MOVES))
        }),
        peer: Ok(Box::new(move || {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..MOVES {
                spent += peer.transfer(usize::try_from(bytes.get())?)?;
            }
            Ok(each_micros(spent, MOVES))
        })),
    })
}
