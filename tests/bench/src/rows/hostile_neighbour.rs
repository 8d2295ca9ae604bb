//! How long an agent takes to answer while another one on the same worker does
//! wrong again and again, by misdeed. The row is the worst of them.
//!
//! A misdeed begins anew as soon as it has ended, and its agent gets as much of
//! the worker as any: what the neighbour notices of it is to be no more than that.
//! Printed beside: the same with a pause between misdeeds, and an honest agent at
//! full speed for comparison.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::control::{Request, Response};
use phoenix_core::{AgentId, ClientId, ContentType, KindPolicy, Millis, Payload, Reply};
use phoenix_support::{agent, guest, zoo};

use crate::cores::Cores;
use crate::measure::{Pair, Row, Side, median};
use crate::ours::Ours;
use crate::report::significant;

/// The neighbour.
const NEIGHBOUR: &str = "counter/neighbour";
/// How long the neighbour is called in a sample: long enough for a misdeed to be
/// done many times.
const SAMPLE: Duration = Duration::from_millis(200);
/// How long a turn may run before it is stopped: short, so that there are many.
const DEADLINE: Millis = Millis(100);

/// Between the end of a misdeed and its next beginning, where there is a pause.
const PAUSE: Duration = Duration::from_millis(10);
/// An agent that does nothing wrong, as a measure.
const HONEST: (&str, &str, &str) = ("hostile", "total", "");

/// Kind, method and argument of every misdeed; those that are no method see [`Misdeed::request`].
const MISDEEDS: &[(&str, &str, &str)] = &[
    ("hostile", "spin", ""),
    ("hostile", "init-spin", ""),
    ("hostile", "sleep", ""),
    ("hostile", "poll", ""),
    ("hostile", "grow-to-limit", ""),
    ("hostile", "grow-past-limit", ""),
    ("table", "grow", ""),
    ("hostile", "recursion", ""),
    ("hostile", "unreachable", ""),
    ("hostile", "abort", ""),
    ("hostile", "lie-2-gib", ""),
    ("hostile", "lie-effects-length-max", ""),
    ("hostile", "million-effects", ""),
    ("hostile", "send-flood", "hostile/victim"),
    ("hostile", "log-flood", ""),
    ("hostile", "log-escapes", ""),
    ("hostile", "print-flood", ""),
    ("hostile", "forge-source", "hostile/victim"),
    ("files", "open", ""),
    ("sockets", "connect", ""),
    ("hostile", "residue", ""),
];

pub(super) fn row() -> Row {
    Row {
        name: "hostile_neighbour",
        what: "a call of an agent while another one on its worker does wrong, the worst misdeed",
        unit: "µs",
        peer_name: "the same call while nobody does",
        bar: 2.0,
        aim: 1.2,
        max_rounds: 2,
        open: || {
            let (cores, node) = Cores::part(Ours::alone)?;
            deploy(&node)?;
            let usual: Usual = Rc::default();
            Ok(Pair {
                peer: Ok(Box::new(Quiet(usual.clone()))),
                ours: Box::new(Beside {
                    _cores: cores,
                    node,
                    usual,
                    round: 0,
                    found: done().map(|_| Found::default()).collect(),
                }),
            })
        },
    }
}

fn deploy(node: &Ours) -> anyhow::Result<()> {
    let policy = KindPolicy {
        turn_deadline: DEADLINE,
        max_attempts: 1,
        ..KindPolicy::default()
    };
    for kind in ["hostile", "files", "sockets"] {
        node.deploy_under(kind, guest(kind), policy.clone())?;
    }
    let pinned = KindPolicy {
        movable: false,
        ..policy
    };
    node.deploy_under("table", &zoo::odd::table_growth(), pinned)?;
    node.deploy_under("counter", agent("counter"), KindPolicy::default())
}

/// The neighbour's usual median: that taken just before the misdeed that is the worst.
type Usual = Rc<Cell<f64>>;

/// The neighbour while nobody does wrong, measured in turns with [`Beside`].
struct Quiet(Usual);

impl Side for Quiet {
    fn sample(&mut self) -> anyhow::Result<f64> {
        Ok(self.0.get())
    }

    fn outcome(&self) -> Option<f64> {
        Some(self.0.get())
    }
}

/// What is done beside the neighbour, the honest agent last.
fn done() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    MISDEEDS.iter().chain([&HONEST])
}

/// Medians, means and 99th percentiles of some calls, a sample each.
#[derive(Default)]
struct Times {
    medians: Vec<f64>,
    means: Vec<f64>,
    late: Vec<f64>,
}

impl Times {
    fn add(&mut self, calls: &[f64]) {
        #[expect(clippy::cast_precision_loss, reason = "calls of one sample are few")]
        let count = calls.len().max(1) as f64;
        self.medians.push(percentile(calls, 50));
        self.means.push(calls.iter().sum::<f64>() / count);
        self.late.push(percentile(calls, 99));
    }

    fn median(&self) -> f64 {
        median(&mut self.medians.clone())
    }

    fn mean(&self) -> f64 {
        median(&mut self.means.clone())
    }

    fn late(&self) -> f64 {
        median(&mut self.late.clone())
    }
}

/// What was found beside one misdeed.
#[derive(Default)]
struct Found {
    /// The neighbour just before it.
    quiet: Times,
    /// With a pause between misdeeds.
    paused: Times,
    /// Without.
    full: Times,
    /// How often it was done without a pause.
    times: u32,
}

impl Found {
    fn ratio(&self) -> f64 {
        self.full.median() / self.quiet.median().max(f64::MIN_POSITIVE)
    }
}

/// The neighbour beside each misdeed in turn.
struct Beside {
    _cores: Cores,
    node: Ours,
    usual: Usual,
    round: u32,
    /// For each of [`done`].
    found: Vec<Found>,
}

impl Beside {
    /// Calls of the neighbour while another agent does this, and how often that did.
    fn beside(
        &self,
        (kind, method, argument): (&str, &'static str, &'static str),
        pause: Option<Duration>,
    ) -> anyhow::Result<(Vec<f64>, u32)> {
        let speed = if pause.is_some() { "paused" } else { "full" };
        let key = format!("{method}-{}-{speed}", self.round);
        let mut requests = Requests::new(kind, &key, method, argument)?;
        let agent = requests.agent.clone();
        let next = move || requests.next();
        let pest = match pause {
            Some(pause) => self.node.pester(pause, next),
            None => self.node.flood(next),
        };
        let calls = calls(&self.node);
        let times = pest.end()?;
        // One that has ended with its misdeed needs no stop.
        self.node.request(Request::Stop { agent }).ok();
        Ok((calls?, times))
    }
}

impl Side for Beside {
    fn sample(&mut self) -> anyhow::Result<f64> {
        self.round += 1;
        for (at, misdeed) in done().enumerate() {
            let quiet = calls(&self.node)?;
            let (paused, _) = self.beside(*misdeed, Some(PAUSE))?;
            let (full, times) = self.beside(*misdeed, None)?;
            if let Some(found) = self.found.get_mut(at) {
                found.quiet.add(&quiet);
                found.paused.add(&paused);
                found.full.add(&full);
                found.times += times;
            }
        }
        self.outcome().context("there are misdeeds")
    }

    fn outcome(&self) -> Option<f64> {
        let by_ratio = |a: &&Found, b: &&Found| a.ratio().total_cmp(&b.ratio());
        let misdeeds = self.found.iter().take(MISDEEDS.len());
        let worst = misdeeds.max_by(by_ratio)?;
        self.usual.set(worst.quiet.median());
        Some(worst.full.median())
    }

    fn details(&self) -> Vec<String> {
        let line = |((kind, method, _), found): (&(&str, &str, &str), &Found)| {
            let Found {
                quiet,
                paused,
                full,
                times,
            } = found;
            let over = |ours: f64, usual: f64| significant(ours / usual.max(f64::MIN_POSITIVE));
            format!(
                "{:<32} {:>7} µs, {:>5}× the usual (mean {:>5}×, 99 % {:>6} µs), {times} times; \
                 {:>5}× with pauses",
                format!("{kind} {method}"),
                significant(full.median()),
                over(full.median(), quiet.median()),
                over(full.mean(), quiet.mean()),
                significant(full.late()),
                over(paused.median(), quiet.median()),
            )
        };
        done().zip(&self.found).map(line).collect()
    }
}

/// What an agent is told to do, again and again.
struct Requests {
    agent: AgentId,
    client: ClientId,
    method: &'static str,
    argument: &'static str,
    count: u32,
}

impl Requests {
    fn new(
        kind: &str,
        key: &str,
        method: &'static str,
        argument: &'static str,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            agent: AgentId::new(&format!("{kind}/{key}"))?,
            client: ClientId::new("bench").context("not a client's name")?,
            method,
            argument,
            count: 0,
        })
    }

    fn next(&mut self) -> Request {
        self.count += 1;
        match (self.method, self.count % 3) {
            ("init-spin", _) => Request::Spawn {
                agent: self.agent.clone(),
                config: json("spin"),
                on: None,
            },
            ("residue", 1) => self.call("residue-write", "42"),
            // Its slot is free for the next.
            ("residue", 2) => Request::Stop {
                agent: self.agent.clone(),
            },
            ("residue", _) => self.call("residue-seek", "42"),
            (method, _) => self.call(method, self.argument),
        }
    }

    fn call(&self, method: &str, argument: &str) -> Request {
        Request::Call {
            client: self.client.clone(),
            agent: self.agent.clone(),
            method: method.into(),
            payload: json(argument),
            timeout: Millis(60_000),
            options: None,
        }
    }
}

fn json(text: &str) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: format!("{text:?}").into_bytes().into(),
    }
}

/// How long each of some calls of the neighbour took, in microseconds, sorted.
fn calls(node: &Ours) -> anyhow::Result<Vec<f64>> {
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < SAMPLE {
        let asked = Instant::now();
        let call = node.calling(NEIGHBOUR, "add", &1_u64)?;
        let answer = node.request_wide_awake(call)?;
        took.push(asked.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(
            matches!(answer, Response::Called(Reply::Ok(_))),
            "the neighbour answered with {answer:?}"
        );
    }
    took.sort_unstable_by(f64::total_cmp);
    Ok(took)
}

/// The value below which so many of a hundred lie.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or(0.0)
}
