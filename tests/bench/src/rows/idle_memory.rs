//! What a hibernated counter takes: the growth of resident memory of a fresh
//! process, over the agents it grew by. Erlang's is measured the same way.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_support::agent;

use crate::measure::{Pair, Row, Side};
use crate::memory;
use crate::ours::Ours;
use crate::peers::erlang::Erlang;

/// Counters asleep at the end.
const AGENTS: u32 = 100_000;
/// Counters asleep before the first look: what the first few need once is no
/// property of one more.
const BEFORE: u32 = 10_000;
/// Counters awake at a time while they are made.
const AWAKE: u32 = 500;
/// How long the counters may take to fall asleep.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn row() -> Row {
    Row {
        name: "idle_memory",
        what: "resident memory a hibernated counter takes, 100,000 of them, all bookkeeping included",
        unit: "bytes",
        peer_name: "Erlang's hibernated process with the same state",
        bar: 1.0,
        aim: 0.5,
        max_rounds: 1,
        open: || {
            Ok(Pair {
                ours: Box::new(in_a_child),
                peer: Erlang::start().map(|erlang| -> Box<dyn Side> {
                    let mut erlang = erlang;
                    Box::new(move || {
                        erlang.run("idle", BEFORE)?;
                        let before = memory::resident(erlang.id())?;
                        erlang.run("idle", AGENTS)?;
                        Ok(memory::each(before, memory::resident(erlang.id())?, AGENTS))
                    })
                }),
            })
        },
    }
}

/// Runs [`child`] in a fresh process.
fn in_a_child() -> anyhow::Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--idle-child", &AGENTS.to_string()])
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "the child failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    text.trim()
        .parse()
        .with_context(|| format!("the child printed {text:?}"))
}

/// Puts `count` counters to sleep and prints what each takes.
pub(crate) fn child(count: u32) -> anyhow::Result<()> {
    let node = Ours::crowded(AWAKE)?;
    node.deploy("counter", agent("counter"), Duration::from_millis(1))?;
    fall_asleep(&node, 0, BEFORE)?;
    let own = std::process::id();
    let before = memory::resident(own)?;
    fall_asleep(&node, BEFORE, count)?;
    let after = memory::resident(own)?;
    writeln!(std::io::stdout(), "{}", memory::each(before, after, count))?;
    Ok(())
}

/// Makes `count` counters from key `from` on and waits until all sleep.
fn fall_asleep(node: &Ours, from: u32, count: u32) -> anyhow::Result<()> {
    let calls = (from..from + count)
        .map(|n| node.calling(&format!("counter/{n}"), "add", &u64::from(n)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    node.requests(calls)?;
    let until = Instant::now() + PATIENCE;
    while node.hibernated()? < u64::from(from + count) {
        anyhow::ensure!(Instant::now() < until, "some counters do not fall asleep");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
