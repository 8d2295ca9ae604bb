//! How small a sleeping agent is: all of its snapshot, beside the pages of its
//! memory that differ from a fresh agent's, as they are.

use phoenix_core::{KindPolicy, Millis};
use phoenix_host::image::{ImageLimits, decode};
use phoenix_host::{Host, HostConfig};
use phoenix_support::agent;
use phoenix_wit::{FrameWriter, Input, Payload, Turn};

use super::NEVER;
use crate::measure::{Pair, Row};
use crate::ours::Ours;

/// Bytes of the pages that changes are found by.
const PAGE: u32 = 4_096;
/// What the counter has counted.
const TOTAL: u64 = 7;

pub(super) fn row() -> Row {
    Row {
        name: "snapshot_bytes",
        what: "the snapshot of a counter that has counted, all of it",
        unit: "bytes",
        peer_name: "the pages of its memory that have changed, raw",
        // An agent's memory has to shrink to a hundredth for this, because its
        // streams, its name and the seal are in the snapshot too.
        bar: 0.1,
        aim: 0.05,
        max_rounds: 1,
        open: || {
            let node = Ours::alone()?;
            node.deploy("counter", agent("counter"), NEVER)?;
            Ok(Pair {
                ours: Box::new(move || {
                    let _: u64 = node.call("counter/a", "add", &TOTAL)?;
                    Ok(f64::from(u32::try_from(node.hibernate("counter/a")?)?))
                }),
                peer: Ok(Box::new(|| Ok(f64::from(changed_pages()? * PAGE)))),
            })
        },
    }
}

/// Pages that the same agent has changed after the same turns.
fn changed_pages() -> anyhow::Result<u32> {
    let policy = KindPolicy {
        idle_after: Millis::NEVER,
        ..KindPolicy::default()
    };
    let host = Host::start(HostConfig {
        max_resident: Some(2),
        max_memory_bytes: policy.memory_bytes,
        ..HostConfig::default()
    })?;
    let mut instance = host
        .admit(agent("counter"), &policy)?
        .instantiate(&policy)?;
    let mut frame = FrameWriter::new(Vec::new(), "counter/a", 1);
    let add = rmp_serde::to_vec(&TOTAL)?;
    let inputs = [
        Input::Init {
            config: Payload::NONE,
        },
        Input::Message {
            source: "client/bench",
            method: "add",
            payload: Payload::message_pack(&add),
            request: true,
            deadline: 0,
        },
    ];
    for (number, input) in (0..).zip(inputs) {
        frame.push(&Turn {
            number,
            now: 1,
            input,
        });
    }
    instance.turns(&frame.finish(), None)?;
    let mut image = Vec::new();
    instance.snapshot(&mut image)?;
    let limits = ImageLimits {
        memory_bytes: policy.memory_bytes,
        globals: usize::MAX,
    };
    Ok(decode(&image, &limits)?.runs.iter().map(|run| run.1).sum())
}
