//! How long an agent takes to answer while another one on the same worker does
//! wrong again and again, by misdeed. The row is the worst of them.
//!
//! A misdeed begins anew [`PAUSE`] after it has ended: an agent that gets turns
//! without end shares its worker with its neighbours, and takes its share of it
//! whether it does wrong or not. What is left of that share is printed beside:
//! the same at full speed, with an honest agent at full speed as the measure.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::control::Request;
use phoenix_core::{AgentId, ClientId, ContentType, KindPolicy, Millis, Payload};
use phoenix_support::{agent, guest, zoo};

use crate::measure::{Pair, Row, Side, median};
use crate::ours::Ours;
use crate::report::significant;

/// The neighbour.
const NEIGHBOUR: &str = "counter/neighbour";
/// How long the neighbour is called in a sample: long enough for a misdeed to be
/// done many times.
const SAMPLE: Duration = Duration::from_millis(250);
/// How long a turn may run before it is stopped: short, so that there are many.
const DEADLINE: Millis = Millis(100);

/// Between the end of a misdeed and its next beginning.
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
        max_rounds: 5,
        open: || {
            let node = Ours::alone()?;
            deploy(&node)?;
            let usual: Usual = Rc::default();
            Ok(Pair {
                peer: Ok(Box::new(Quiet(usual.clone()))),
                ours: Box::new(Beside {
                    node,
                    usual,
                    round: 0,
                    found: MISDEEDS.iter().map(|_| Found::default()).collect(),
                    at_full_speed: Vec::new(),
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

/// What was found beside one misdeed.
#[derive(Default)]
struct Found {
    /// Medians just before it.
    quiet: Vec<f64>,
    /// Medians meanwhile.
    medians: Vec<f64>,
    /// 99th percentiles meanwhile.
    late: Vec<f64>,
    /// How often it was done.
    times: u32,
}

impl Found {
    fn median(&self) -> f64 {
        median(&mut self.medians.clone())
    }

    fn usual(&self) -> f64 {
        median(&mut self.quiet.clone())
    }

    fn ratio(&self) -> f64 {
        self.median() / self.usual().max(f64::MIN_POSITIVE)
    }
}

/// The neighbour beside each misdeed in turn.
struct Beside {
    node: Ours,
    usual: Usual,
    round: u32,
    found: Vec<Found>,
    /// The same without a pause, the honest agent last: in the first round only.
    at_full_speed: Vec<f64>,
}

impl Beside {
    /// Calls of the neighbour while another agent does this, and how often that did.
    fn beside(
        &self,
        (kind, method, argument): (&str, &'static str, &'static str),
        pause: Duration,
    ) -> anyhow::Result<(Vec<f64>, u32)> {
        let key = format!("{method}-{}-{}", self.round, pause.as_millis());
        let mut requests = Requests::new(kind, &key, method, argument)?;
        let agent = requests.agent.clone();
        let pest = self.node.pester(pause, move || requests.next());
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
        for (at, misdeed) in MISDEEDS.iter().enumerate() {
            let quiet = calls(&self.node)?;
            let (calls, times) = self.beside(*misdeed, PAUSE)?;
            if let Some(found) = self.found.get_mut(at) {
                found.quiet.push(percentile(&quiet, 50));
                found.medians.push(percentile(&calls, 50));
                found.late.push(percentile(&calls, 99));
                found.times += times;
            }
        }
        if self.round == 1 {
            for misdeed in MISDEEDS.iter().chain([&HONEST]) {
                let quiet = percentile(&calls(&self.node)?, 50);
                let (calls, _) = self.beside(*misdeed, Duration::ZERO)?;
                self.at_full_speed.push(percentile(&calls, 50) / quiet);
            }
        }
        self.outcome().context("there are misdeeds")
    }

    fn outcome(&self) -> Option<f64> {
        let by_ratio = |a: &&Found, b: &&Found| a.ratio().total_cmp(&b.ratio());
        let worst = self.found.iter().max_by(by_ratio)?;
        self.usual.set(worst.usual());
        Some(worst.median())
    }

    fn details(&self) -> Vec<String> {
        let line = |((misdeed, found), full_speed): ((&(&str, &str, &str), &Found), &f64)| {
            format!(
                "{:<32} {:>8} µs {:>6}×, 99 % {:>8} µs; {:>6}× at full speed; {} times",
                format!("{} {}", misdeed.0, misdeed.1),
                significant(found.median()),
                significant(found.ratio()),
                significant(median(&mut found.late.clone())),
                significant(*full_speed),
                found.times
            )
        };
        let all = MISDEEDS.iter().zip(&self.found).zip(&self.at_full_speed);
        let mut lines: Vec<String> = all.map(line).collect();
        let honest = self.at_full_speed.last().copied().unwrap_or_default();
        lines.push(format!(
            "beside an honest agent at full speed: {}×",
            significant(honest)
        ));
        lines
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
        let _: u64 = node.call(NEIGHBOUR, "add", &1_u64)?;
        took.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_unstable_by(f64::total_cmp);
    Ok(took)
}

/// The value below which so many of a hundred lie.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or(0.0)
}
