//! Durable agents: what a turn costs that is on disk before it is answered, and how
//! long one takes to go on after its node has ended.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::{KindPolicy, Millis};
use phoenix_support::agent;
use tempfile::TempDir;

use super::{NEVER, each_micros};
use crate::measure::{Pair, Row, Side};
use crate::ours::Ours;
use crate::peers::bare::Bare;
use crate::peers::redis::Redis;

/// Turns a sample, of all agents together.
const TURNS: u32 = 10_000;
/// Syncs a sample.
const SYNCS: u32 = 2_000;
/// Turns that are run again.
const AGAIN: u32 = 1_000;
/// Agents that are restored in a sample.
const RESTORED: u32 = 4;
/// Agents that are restored before the node is started anew.
const AGENTS: u32 = 40;

/// Turns of one agent.
pub(super) fn turns_1() -> Row {
    against_redis("durable_turns_1", open::<1>)
}

/// Turns of eight agents at once.
pub(super) fn turns_8() -> Row {
    against_redis("durable_turns_8", open::<8>)
}

/// Turns of 64 agents at once.
pub(super) fn turns_64() -> Row {
    against_redis("durable_turns_64", open::<64>)
}

fn against_redis(name: &'static str, open: fn() -> anyhow::Result<Pair>) -> Row {
    Row {
        name,
        what: "of the whole one turn takes, of so many durable counters that are each asked \
               again when they have answered",
        unit: "µs",
        peer_name: "INCR of as many keys by as many clients in Redis, appendfsync always",
        bar: 1.0,
        aim: 0.2,
        max_rounds: u32::MAX,
        open,
    }
}

fn open<const AT_ONCE: u32>() -> anyhow::Result<Pair> {
    let node = counters(SnapshotEvery::default())?;
    Ok(Pair {
        ours: Box::new(move || {
            let span = add_in_loops(&node, 0..AT_ONCE, TURNS / AT_ONCE)?;
            Ok(each_micros(span, TURNS / AT_ONCE * AT_ONCE))
        }),
        peer: Redis::start().map(|redis| -> Box<dyn Side> {
            Box::new(move || Ok(each_micros(redis.increment(AT_ONCE, TURNS)?, 1)))
        }),
    })
}

pub(super) fn against_fsync() -> Row {
    Row {
        name: "durable_vs_fsync",
        what: "a turn of one durable counter, from the request to the answer",
        unit: "µs",
        peer_name: "writing 512 bytes to a file that has room for them, and fdatasync",
        bar: 2.0,
        aim: 1.3,
        max_rounds: u32::MAX,
        open: || {
            let node = counters(SnapshotEvery::default())?;
            let disk = Synced::begin()?;
            Ok(Pair {
                ours: Box::new(move || Ok(each_micros(add_in_loops(&node, 0..1, SYNCS)?, SYNCS))),
                peer: Ok(Box::new(move || Ok(each_micros(disk.sync(SYNCS)?, SYNCS)))),
            })
        },
    }
}

pub(super) fn recovery_1000() -> Row {
    Row {
        name: "recovery_1000",
        what: "from the request to a durable counter with 1,000 turns after its snapshot, \
               in a node that was started anew, to its answer",
        unit: "µs",
        peer_name: "bare pooled instantiate and 1,000 calls",
        bar: 4.0,
        aim: 2.0,
        max_rounds: u32::MAX,
        open: || {
            let mut node = Some(with_turns_to_run_again()?);
            let mut next = 0;
            let bare = Bare::new(agent("counter"))?;
            let one = rmp_serde::to_vec(&1_u64)?;
            Ok(Pair {
                ours: Box::new(move || {
                    let running = node.take().context("the node did not start anew")?;
                    let begun = Instant::now();
                    for n in next..next + RESTORED {
                        let total: u64 = running.call(&format!("counter/{n}"), "total", &())?;
                        anyhow::ensure!(total == u64::from(AGAIN) + 1, "the total is {total}");
                    }
                    let span = begun.elapsed();
                    next = (next + RESTORED) % AGENTS;
                    node = Some(match next {
                        0 => running.killed_and_started()?,
                        _ => running,
                    });
                    Ok(each_micros(span, RESTORED))
                }),
                peer: Ok(Box::new(move || {
                    let begun = Instant::now();
                    for _ in 0..RESTORED {
                        let mut instance = bare.instance("counter/a")?;
                        for _ in 0..AGAIN {
                            instance.call("add", &one)?;
                        }
                    }
                    Ok(each_micros(begun.elapsed(), RESTORED))
                })),
            })
        },
    }
}

/// A node with durable counters.
fn counters(snapshot_every: SnapshotEvery) -> anyhow::Result<Ours> {
    let node = Ours::alone()?;
    let policy = KindPolicy {
        durable: true,
        snapshot_every,
        idle_after: Millis(u64::try_from(NEVER.as_millis())?),
        ..KindPolicy::default()
    };
    node.deploy_under("counter", agent("counter"), policy)?;
    Ok(node)
}

/// A node that was killed and started anew, with counters of which each has a snapshot
/// of its first turn and 1,000 more turns.
fn with_turns_to_run_again() -> anyhow::Result<Ours> {
    let node = counters(SnapshotEvery {
        turns: 1_000_000,
        bytes: 1 << 30,
    })?;
    add_in_loops(&node, 0..AGENTS, 1)?;
    for n in 0..AGENTS {
        node.hibernate(&format!("counter/{n}"))?;
    }
    add_in_loops(&node, 0..AGENTS, AGAIN)?;
    node.killed_and_started()
}

/// Asks each of these counters to add 1 so many times, all of them at once.
fn add_in_loops(node: &Ours, which: std::ops::Range<u32>, times: u32) -> anyhow::Result<Duration> {
    let adds = which.map(|n| node.calling(&format!("counter/{n}"), "add", &1_u64));
    let adds = adds.collect::<anyhow::Result<Vec<_>>>()?;
    let begun = Instant::now();
    node.in_loops(adds, times)?;
    Ok(begun.elapsed())
}

/// A file with room for what is written to it.
struct Synced {
    file: File,
    _dir: TempDir,
}

impl Synced {
    fn begin() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = File::create_new(dir.path().join("file"))?;
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            u64::from(SYNCS) * 512,
        )?;
        file.sync_all()?;
        Ok(Self { file, _dir: dir })
    }

    fn sync(&self, count: u32) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for n in 0..count {
            self.file.write_all_at(&[7; 512], u64::from(n) * 512)?;
            self.file.sync_data()?;
        }
        Ok(begun.elapsed())
    }
}
