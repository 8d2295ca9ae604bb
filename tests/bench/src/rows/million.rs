//! A node with very many counters that sleep: what each takes in memory and on disk, how
//! long they take to be made, how long the node to start again, and how long the last of
//! ten thousand that are wanted at once to answer.
//!
//! All of it comes from one run of a child process for each tier, which the rows of that
//! tier share. `--agents` says how many there are.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::KindPolicy;
use phoenix_core::Millis;
use phoenix_core::control::Response;
use phoenix_support::{agent, guest};
use serde::{Deserialize, Serialize};

use super::spawn::bare_instances;
use crate::measure::{Pair, Row, Side};
use crate::memory;
use crate::ours::Ours;
use crate::peers::bare::Bare;
use crate::peers::erlang::Erlang;

/// Counters asleep at the end, if nothing else is asked for.
pub(crate) const AGENTS: u32 = 1_000_000;
/// Counters that are wanted at once.
const STAMPEDE: u32 = 10_000;
/// One in so many took longer than what is printed.
const PERCENT: usize = 99;
/// Counters awake at a time.
const AWAKE: u32 = 500;
/// Counters asleep before memory is looked at first, one in so many of all: what the
/// first few need once is no property of one more.
const BEFORE: u32 = 100;
/// How long the counters may take to fall asleep.
const PATIENCE: Duration = Duration::from_secs(600);

static COUNT: AtomicU32 = AtomicU32::new(AGENTS);

/// Where counters sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tier {
    /// In memory.
    Memory,
    /// In the journal alone.
    Disk,
}

/// What a child found.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    agents: u32,
    /// Resident memory each takes, bytes.
    memory: f64,
    /// Disk each takes, bytes.
    disk: f64,
    /// From the first to the last that sleeps, seconds.
    made: f64,
    /// From the first of those wanted at once to the answer of the 99th of a hundred, µs.
    wake: f64,
    /// How long the node took to start again, seconds; of those in memory none is left.
    started: Option<f64>,
    /// Resident memory each takes after that.
    memory_again: Option<f64>,
}

/// So many counters from now on.
pub(crate) fn count(agents: u32) {
    COUNT.store(agents, Ordering::Relaxed);
}

pub(super) fn idle_memory() -> Row {
    Row {
        name: "idle_memory_1m",
        what: "resident memory a counter takes that sleeps in memory, 1,000,000 of them, all bookkeeping included",
        unit: "bytes",
        peer_name: "Erlang's hibernated process with the same state",
        bar: 1.0,
        aim: 0.5,
        max_rounds: 1,
        open: || idle(Tier::Memory),
    }
}

pub(super) fn idle_disk() -> Row {
    Row {
        name: "idle_disk_1m",
        what: "resident memory a durable counter takes that sleeps on disk, 1,000,000 of them, all bookkeeping included",
        unit: "bytes",
        peer_name: "Erlang's hibernated process with the same state",
        bar: 1.0,
        aim: 0.5,
        max_rounds: 1,
        open: || idle(Tier::Disk),
    }
}

pub(super) fn wake_memory() -> Row {
    Row {
        name: "wake_memory",
        what: "answer of the 99th of a hundred while 10,000 of 1,000,000 counters wake at once from memory",
        unit: "µs",
        peer_name: "as many bare pooled instantiates with one call each",
        bar: 3.0,
        aim: 1.5,
        max_rounds: 1,
        open: || wake(Tier::Memory),
    }
}

pub(super) fn wake_disk() -> Row {
    Row {
        name: "wake_disk",
        what: "answer of the 99th of a hundred while 10,000 of 1,000,000 durable counters wake at once from disk",
        unit: "µs",
        peer_name: "as many bare pooled instantiates with one call each",
        bar: 6.0,
        aim: 3.0,
        max_rounds: 1,
        open: || wake(Tier::Disk),
    }
}

fn idle(tier: Tier) -> anyhow::Result<Pair> {
    let agents = COUNT.load(Ordering::Relaxed);
    Ok(Pair {
        ours: Box::new(Ran {
            tier,
            figure: |found| found.memory,
        }),
        peer: Erlang::start().map(|erlang| -> Box<dyn Side> {
            let mut erlang = erlang;
            Box::new(move || {
                erlang.run("idle", agents / BEFORE)?;
                let before = memory::resident(erlang.id())?;
                erlang.run("idle", agents)?;
                Ok(memory::each(before, memory::resident(erlang.id())?, agents))
            })
        }),
    })
}

fn wake(tier: Tier) -> anyhow::Result<Pair> {
    let bare = Bare::new(guest("ping"))?;
    Ok(Pair {
        ours: Box::new(Ran {
            tier,
            figure: |found| found.wake,
        }),
        peer: Ok(Box::new(move || {
            // One after the other, as on one worker.
            let rank = rank(COUNT.load(Ordering::Relaxed).min(STAMPEDE) as usize);
            Ok(bare_instances(&bare)? * f64::from(u32::try_from(rank)?))
        })),
    })
}

/// The figures of a tier's child.
struct Ran {
    tier: Tier,
    figure: fn(&Found) -> f64,
}

impl Side for Ran {
    fn sample(&mut self) -> anyhow::Result<f64> {
        Ok((self.figure)(found(self.tier)?))
    }

    fn details(&self) -> Vec<String> {
        let Ok(found) = found(self.tier) else {
            return Vec::new();
        };
        let mut lines = vec![
            format!(
                "{} counters, made in {:.1} s, {:.0} bytes of memory and {:.0} of disk each",
                found.agents, found.made, found.memory, found.disk
            ),
            format!(
                "{:.1} ms to the answer of the {PERCENT}th of a hundred when {} are wanted at once",
                found.wake / 1e3,
                found.agents.min(STAMPEDE)
            ),
        ];
        if let (Some(started), Some(memory)) = (found.started, found.memory_again) {
            lines.push(format!(
                "{started:.2} s to start the node again, {memory:.0} bytes of memory each then"
            ));
        }
        lines
    }
}

/// Runs [`child`] in a fresh process, once.
fn found(tier: Tier) -> anyhow::Result<&'static Found> {
    static MEMORY: OnceLock<Found> = OnceLock::new();
    static DISK: OnceLock<Found> = OnceLock::new();
    let once = match tier {
        Tier::Memory => &MEMORY,
        Tier::Disk => &DISK,
    };
    if let Some(found) = once.get() {
        return Ok(found);
    }
    let name = match tier {
        Tier::Memory => "memory",
        Tier::Disk => "disk",
    };
    let agents = COUNT.load(Ordering::Relaxed).to_string();
    let output = Command::new(std::env::current_exe()?)
        .args(["--million-child", name, "--agents", &agents])
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "the child failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let found = serde_json::from_str(text.trim());
    let found = found.with_context(|| format!("the child printed {text:?}"))?;
    Ok(once.get_or_init(|| found))
}

/// Puts counters to sleep, wakes some, starts the node again, and prints what it found.
pub(crate) fn child(tier: Tier) -> anyhow::Result<()> {
    let agents = COUNT.load(Ordering::Relaxed);
    let own = std::process::id();
    let memory_budget = match tier {
        Tier::Memory => u64::MAX,
        Tier::Disk => 0,
    };
    let node = Ours::crowded_within(AWAKE, memory_budget)?;
    let policy = KindPolicy {
        idle_after: Millis(1),
        durable: tier == Tier::Disk,
        ..KindPolicy::default()
    };
    node.deploy_under("counter", agent("counter"), policy)?;
    let early = agents / BEFORE;
    fall_asleep(&node, tier, 0, early)?;
    let before = memory::resident(own)?;
    let disk_before = node.disk()?;
    let begun = Instant::now();
    fall_asleep(&node, tier, early, agents)?;
    let made = begun.elapsed();
    let memory = memory::each(before, memory::resident(own)?, agents - early);
    let disk = memory::each(disk_before, node.disk()?, agents - early);
    let wake = stampede(&node, agents)?;
    let mut found = Found {
        agents,
        memory,
        disk,
        made: made.as_secs_f64(),
        wake,
        started: None,
        memory_again: None,
    };
    if tier == Tier::Disk {
        fall_asleep(&node, tier, agents, agents)?;
        let dir = node.stop();
        let empty = memory::resident(own)?;
        let begun = Instant::now();
        let node = Ours::crowded_in(dir, AWAKE, memory_budget)?;
        found.started = Some(begun.elapsed().as_secs_f64());
        anyhow::ensure!(node.hibernated()? == u64::from(agents), "some are lost");
        // What the first node had, its allocator may have kept: this is at most what is new.
        let again = memory::resident(own)?;
        found.memory_again = Some(memory::each(empty.min(before), again, agents));
        let total: u64 = node.call("counter/7", "total", &())?;
        anyhow::ensure!(total >= 7, "the counter of 7 has {total}");
    }
    serde_json::to_writer(std::io::stdout(), &found)?;
    Ok(())
}

/// Makes the counters from `from` up to `to`, and waits until all sleep.
fn fall_asleep(node: &Ours, tier: Tier, from: u32, to: u32) -> anyhow::Result<()> {
    for first in (from..to).step_by(10_000) {
        let calls = (first..to.min(first + 10_000))
            .map(|n| node.calling(&format!("counter/{n}"), "add", &u64::from(n)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        node.requests(calls)?;
    }
    let until = Instant::now() + PATIENCE;
    let is_done = || -> anyhow::Result<bool> {
        let all = node.hibernated()? >= u64::from(to);
        Ok(all && (tier == Tier::Memory || node.counter("asleep-memory")? == 0))
    };
    while !is_done()? {
        anyhow::ensure!(Instant::now() < until, "some counters do not fall asleep");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks ten thousand at once; microseconds to the answer of the 99th of a hundred.
fn stampede(node: &Ours, agents: u32) -> anyhow::Result<f64> {
    let count = agents.min(STAMPEDE);
    let apart = agents / count;
    let calls = (0..count)
        .map(|n| node.calling(&format!("counter/{}", n * apart), "total", &()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (send, receive) = mpsc::channel();
    let begun = Instant::now();
    for call in calls {
        node.submit(call, send.clone());
    }
    let mut spans = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let answer = receive.recv_timeout(PATIENCE)??;
        anyhow::ensure!(
            matches!(answer, Response::Called(phoenix_core::Reply::Ok(_))),
            "a counter answered {answer:?}"
        );
        spans.push(begun.elapsed());
    }
    // They came in the order of their ends.
    let span = spans.get(rank(spans.len())).context("nobody was asked")?;
    Ok(span.as_secs_f64() * 1e6)
}

/// Which of so many is the 99th of a hundred, counted from 0.
fn rank(count: usize) -> usize {
    (count * PERCENT / 100).min(count.saturating_sub(1))
}
