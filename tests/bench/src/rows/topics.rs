//! What it costs to find an event's subscriptions, and to ask each whether it wants it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::topics::{
    EventView, Filter, Outcome, TopicIndex, TopicName, TopicPattern, Value,
};
use phoenix_core::{ContentType, Millis};

use super::each;
use crate::measure::{Pair, Row, Side};
use crate::memory;

/// Events in one sample of filters.
const EVENTS: u32 = 2_000;
/// Subscriptions that a topic is looked for among.
const SUBSCRIPTIONS: u32 = 1_000_000;
/// Topics in one sample.
const TOPICS: u32 = 20_000;
/// What looking for one of a hundred may take at most, microseconds.
const BUDGET_MICROS: f64 = 20.0;

const FILTER: &str = "data.level == 'error' && data.status >= 500 && \
                      (attributes.host in ['web-1', 'web-2'] || data.path.startsWith('/pay'))";
const DATA: &str = r#"{"ip":"203.0.113.7","level":"error","status":503,"path":"/pay/card","ms":12.5,"user":{"id":"u-77","plan":"free"},"tags":["a","b"]}"#;

/// A filter over an event whose data nobody has read yet, beside the crate `cel`.
pub(super) fn filter() -> Row {
    Row {
        name: "filter",
        what: "one filter's verdict on one event of 130 bytes of JSON, reading them included",
        unit: "ns",
        peer_name: "the crate cel, the same filter and event",
        bar: 1.0,
        aim: 0.5,
        max_rounds: 100,
        open: || {
            Ok(Pair {
                ours: Box::new(Filters {
                    filter: Filter::new(FILTER)?,
                    topic: TopicName::new("logs.web")?,
                    again: f64::MAX,
                }),
                peer: Ok(Box::new(their_filters()?)),
            })
        },
    }
}

struct Filters {
    filter: Filter,
    topic: TopicName,
    /// The fastest of further filters of an event, ns.
    again: f64,
}

impl Filters {
    fn test(&self, event: &EventView<'_>) -> anyhow::Result<()> {
        let outcome = black_box(self.filter.test(black_box(event)));
        anyhow::ensure!(outcome == Outcome::Matches, "{outcome:?}");
        Ok(())
    }

    fn event(&self) -> EventView<'_> {
        let (json, data) = (ContentType::Json, black_box(DATA.as_bytes()));
        let host = [("host", Value::Text("web-3".into()))];
        EventView::new(&self.topic, "client/bench", Millis(1), json, data).with_attributes(host)
    }
}

impl Side for Filters {
    fn sample(&mut self) -> anyhow::Result<f64> {
        let began = Instant::now();
        for _ in 0..EVENTS {
            self.test(&self.event())?;
        }
        let first = each(began.elapsed(), EVENTS);
        let event = self.event();
        self.test(&event)?;
        let began = Instant::now();
        for _ in 0..EVENTS {
            self.test(&event)?;
        }
        self.again = self.again.min(each(began.elapsed(), EVENTS));
        Ok(first)
    }

    fn details(&self) -> Vec<String> {
        vec![format!(
            "each further filter of an event {:.0} ns at best",
            self.again
        )]
    }
}

fn their_filters() -> anyhow::Result<impl FnMut() -> anyhow::Result<f64>> {
    let program = cel::Program::compile(FILTER).map_err(|error| anyhow::anyhow!("{error}"))?;
    let theirs =
        |json: serde_json::Value| cel::to_value(json).map_err(|error| anyhow::anyhow!("{error}"));
    let attributes = theirs(serde_json::json!({ "host": "web-3" }))?;
    // Its functions are looked up in here; an event's variables are in a scope of it.
    let functions = cel::Context::default();
    Ok(move || {
        let began = Instant::now();
        for _ in 0..EVENTS {
            let data = serde_json::from_str(black_box(DATA))?;
            let mut context = functions.new_inner_scope();
            context.add_variable_from_value("data", theirs(data)?);
            context.add_variable_from_value("attributes", attributes.clone());
            let verdict = program.execute(&context);
            anyhow::ensure!(verdict == Ok(cel::Value::Bool(true)), "{verdict:?}");
        }
        Ok(each(began.elapsed(), EVENTS))
    })
}

/// Finding the subscriptions of a topic that was not looked for lately.
pub(super) fn topic_match_1m() -> Row {
    Row {
        name: "topic_match_1m",
        what: "the slowest of a hundred topics looked for among 1,000,000 subscriptions",
        unit: "µs",
        peer_name: "what it may take",
        bar: 1.0,
        aim: 0.25,
        max_rounds: 20,
        open: || {
            Ok(Pair {
                ours: Box::new(Matching::new()?),
                peer: Ok(Box::new(|| Ok(BUDGET_MICROS))),
            })
        },
    }
}

struct Matching {
    index: TopicIndex<u32>,
    bytes: f64,
    seed: u64,
    /// How long each took.
    spans: Vec<Duration>,
    found: u64,
}

impl Matching {
    fn new() -> anyhow::Result<Self> {
        let id = std::process::id();
        let before = memory::resident(id)?;
        let mut index = TopicIndex::new();
        let mut random = 1;
        for subscription in 0..SUBSCRIPTIONS {
            index.insert(&pattern(&mut random)?, subscription);
        }
        let bytes = memory::each(before, memory::resident(id)?, SUBSCRIPTIONS);
        Ok(Self {
            index,
            bytes,
            seed: 7,
            spans: Vec::new(),
            found: 0,
        })
    }

    fn at(&self, percent: usize) -> f64 {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        let at = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
        spans.get(at).map_or(0.0, |it| it.as_secs_f64() * 1e6)
    }
}

impl Side for Matching {
    fn sample(&mut self) -> anyhow::Result<f64> {
        let first = self.spans.len();
        for _ in 0..TOPICS {
            let topic = topic(&mut self.seed)?;
            let began = Instant::now();
            let found = black_box(self.index.find(black_box(&topic)));
            self.spans.push(began.elapsed());
            self.found += found.len() as u64;
        }
        let mut sample = self.spans.get(first..).unwrap_or_default().to_vec();
        sample.sort_unstable();
        let slow = sample.get(sample.len() * 99 / 100).context("no topics")?;
        Ok(slow.as_secs_f64() * 1e6)
    }

    fn outcome(&self) -> Option<f64> {
        Some(self.at(99))
    }

    fn details(&self) -> Vec<String> {
        vec![format!(
            "{} topics of {} subscriptions each on average: median {:.2} µs, 99% {:.2} µs; {:.0} bytes a subscription",
            self.spans.len(),
            self.found / self.spans.len().max(1) as u64,
            self.at(50),
            self.at(99),
            self.bytes,
        )]
    }
}

/// A few dozen spaces, each with regions, devices in the thousands and what they measure.
fn tokens(random: &mut u64) -> [String; 4] {
    [
        format!("space{}", below(random, 40)),
        format!("region{}", below(random, 50)),
        format!("device{}", below(random, 5_000)),
        format!("metric{}", below(random, 20)),
    ]
}

fn topic(random: &mut u64) -> anyhow::Result<TopicName> {
    Ok(TopicName::new(&tokens(random).join("."))?)
}

/// Half of them without a wildcard, a third with one `*` or two, the rest with a `>`.
fn pattern(random: &mut u64) -> anyhow::Result<TopicPattern> {
    let [space, region, device, metric] = tokens(random);
    let text = match below(random, 24) {
        0..12 => format!("{space}.{region}.{device}.{metric}"),
        12..15 => format!("{space}.{region}.{device}.*"),
        15..18 => format!("{space}.*.{device}.{metric}"),
        18..20 => format!("*.{region}.{device}.*"),
        20..23 => format!("{space}.{region}.{device}.>"),
        _ => format!("*.*.{device}.>"),
    };
    Ok(TopicPattern::new(&text)?)
}

/// A number below `bound` (xorshift).
fn below(random: &mut u64, bound: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    (*random >> 16) % bound
}
