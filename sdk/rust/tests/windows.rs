//! Windows against plain recomputation, and in an agent.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "the agent here is an example, and a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_sdk::window::{
    Added, BadWindow, Closed, Count, Distinct, MAX_PANES, Max, Min, Outcome, Sum, Windows,
};
use proptest::prelude::*;

/// So few distinct values that they overflow now and then.
type All = (Count, Sum<i64>, Min<i64>, Max<i64>, Distinct<i64, 3>);

#[derive(Clone, Copy, Debug)]
enum Shape {
    Hopping { size: u64, hop: u64 },
    Session { gap: u64 },
}

#[derive(Clone, Debug)]
enum Step {
    Event {
        key: u8,
        at: u64,
        value: i64,
    },
    Advance {
        now: u64,
    },
    /// Saved and loaded again.
    Sleep {
        json: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    shape: Shape,
    lateness: u64,
    by_clock: bool,
    max_open: u64,
}

/// A closed window as plain numbers: end, key, start, and what its events come to.
type Row = (u64, u8, u64, (u64, i64, i64, i64, Option<usize>));

/// Keeps every event it took and works everything out from them each time.
struct Oracle {
    rules: Rules,
    watermark: u64,
    /// Key, time, value, and the watermark it came at.
    events: Vec<(u8, u64, i64, u64)>,
    closed: BTreeSet<(u64, u8, u64)>,
    late: u64,
    refused: u64,
}

impl Oracle {
    /// Every window that has events: end, key, start, indexes of its events. Open ones
    /// and, of hopping windows, closed ones.
    fn windows(&self) -> BTreeMap<(u64, u8, u64), Vec<usize>> {
        let mut windows = BTreeMap::new();
        match self.rules.shape {
            Shape::Hopping { size, hop } => {
                for (index, (key, at, _, came)) in self.events.iter().enumerate() {
                    let starts = (0..=at / hop).map(|number| number * hop);
                    for start in starts.filter(|start| start + size > *at) {
                        // It came too late for those that had closed.
                        if start + size > *came {
                            let of: &mut Vec<_> =
                                windows.entry((start + size, *key, start)).or_default();
                            of.push(index);
                        }
                    }
                }
            }
            Shape::Session { gap } => {
                let keys: BTreeSet<u8> = self.events.iter().map(|event| event.0).collect();
                for key in keys {
                    let mut of: Vec<usize> = (0..self.events.len())
                        .filter(|index| self.events[*index].0 == key)
                        .collect();
                    of.sort_by_key(|index| self.events[*index].1);
                    for session in of.chunk_by(|a, b| self.events[*b].1 - self.events[*a].1 < gap) {
                        let start = self.events[session[0]].1;
                        let end = self.events[session[session.len() - 1]].1 + gap;
                        windows.insert((end, key, start), session.to_vec());
                    }
                }
            }
        }
        windows
    }

    fn open(&self) -> u64 {
        let windows = self.windows();
        windows.keys().filter(|key| key.0 > self.watermark).count() as u64
    }

    fn advance(&mut self, now: u64) -> Vec<Row> {
        self.watermark = self.watermark.max(now.saturating_sub(self.rules.lateness));
        let mut rows = Vec::new();
        let mut done = Vec::new();
        for (window, events) in self.windows() {
            if window.0 <= self.watermark && self.closed.insert(window) {
                let values: Vec<i64> = events.iter().map(|index| self.events[*index].2).collect();
                let distinct: BTreeSet<i64> = values.iter().copied().collect();
                rows.push((
                    window.0,
                    window.1,
                    window.2,
                    (
                        values.len() as u64,
                        values.iter().sum(),
                        *values.iter().min().unwrap(),
                        *values.iter().max().unwrap(),
                        (distinct.len() <= 3).then_some(distinct.len()),
                    ),
                ));
                done.extend(events);
            }
        }
        if let Shape::Session { .. } = self.rules.shape {
            done.sort_unstable();
            for index in done.into_iter().rev() {
                self.events.remove(index);
            }
            self.closed.clear();
        }
        rows
    }

    fn add(&mut self, key: u8, at: u64, value: i64) -> (Outcome, Vec<Row>) {
        let rows = if self.rules.by_clock {
            Vec::new()
        } else {
            self.advance(at)
        };
        let before = self.open();
        self.events.push((key, at, value, self.watermark));
        let index = self.events.len() - 1;
        let windows = self.windows();
        let mut of = windows.iter().filter(|(_, events)| events.contains(&index));
        let outcome = if of.all(|(window, _)| window.0 <= self.watermark) {
            Outcome::Late
        } else if self.open() > self.rules.max_open && self.open() > before {
            Outcome::Full
        } else {
            Outcome::Taken
        };
        if outcome != Outcome::Taken {
            self.events.pop();
        }
        self.late += u64::from(outcome == Outcome::Late);
        self.refused += u64::from(outcome == Outcome::Full);
        (outcome, rows)
    }
}

fn rows(closed: Vec<Closed<All, u8>>) -> Vec<Row> {
    let row = |closed: Closed<All, u8>| {
        let (count, sum, min, max, distinct) = closed.value;
        (
            closed.end.as_nanos(),
            closed.key,
            closed.start.as_nanos(),
            (
                count.get(),
                sum.get().unwrap(),
                *min.get().unwrap(),
                *max.get().unwrap(),
                distinct.exact(),
            ),
        )
    };
    closed.into_iter().map(row).collect()
}

fn made(rules: Rules) -> Windows<All, u8> {
    let nanos = Duration::from_nanos;
    let windows = match rules.shape {
        Shape::Hopping { size, hop } => Windows::sliding(nanos(size), nanos(hop)),
        Shape::Session { gap } => Windows::session(nanos(gap)),
    };
    let windows = windows
        .unwrap()
        .allow_lateness(nanos(rules.lateness))
        .max_open(rules.max_open);
    if rules.by_clock {
        windows.by_clock()
    } else {
        windows
    }
}

fn slept(windows: &Windows<All, u8>, json: bool) -> Windows<All, u8> {
    if json {
        let text = serde_json::to_string(windows).unwrap();
        serde_json::from_str(&text).unwrap()
    } else {
        let bytes = rmp_serde::to_vec(windows).unwrap();
        rmp_serde::from_slice(&bytes).unwrap()
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (1_u64..30).prop_map(|size| Shape::Hopping { size, hop: size }),
        (1_u64..30)
            .prop_flat_map(|size| (Just(size), 1..=size))
            .prop_map(|(size, hop)| Shape::Hopping { size, hop }),
        (1_u64..20).prop_map(|gap| Shape::Session { gap }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Time goes on, and events are around it.
    let step = prop_oneof![
        8 => (0_u8..3, 0_u64..40, -4_i64..5).prop_map(|(key, at, value)| Step::Event { key, at, value }),
        2 => (0_u64..40).prop_map(|now| Step::Advance { now }),
        1 => any::<bool>().prop_map(|json| Step::Sleep { json }),
    ];
    prop::collection::vec((step, 0_u64..8), 1..40).prop_map(|steps| {
        let mut time = 0;
        let shift = |(step, pause): (Step, u64)| {
            time += pause;
            match step {
                Step::Event { key, at, value } => Step::Event {
                    key,
                    at: time + at,
                    value,
                },
                Step::Advance { now } => Step::Advance { now: time + now },
                Step::Sleep { json } => Step::Sleep { json },
            }
        };
        steps.into_iter().map(shift).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn windows_are_what_their_events_come_to(
        shape in shapes(),
        lateness in prop_oneof![Just(0_u64), 1_u64..40],
        by_clock in any::<bool>(),
        max_open in prop_oneof![Just(10_000_u64), 0_u64..12],
        steps in steps(),
    ) {
        let rules = Rules { shape, lateness, by_clock, max_open };
        let mut windows = made(rules);
        let mut oracle = Oracle {
            rules,
            watermark: 0,
            events: Vec::new(),
            closed: BTreeSet::new(),
            late: 0,
            refused: 0,
        };
        for step in steps.into_iter().chain([Step::Advance { now: 100_000 }]) {
            match step {
                Step::Event { key, at, value } => {
                    let Added { outcome, closed } =
                        windows.add_to(key, Timestamp::from_nanos(at), &value);
                    prop_assert_eq!((outcome, rows(closed)), oracle.add(key, at, value));
                }
                Step::Advance { now } => {
                    let closed = windows.advance(Timestamp::from_nanos(now));
                    prop_assert_eq!(rows(closed), oracle.advance(now));
                }
                Step::Sleep { json } => windows = slept(&windows, json),
            }
            prop_assert_eq!(windows.open(), oracle.open());
            prop_assert_eq!((windows.late(), windows.refused()), (oracle.late, oracle.refused));
            let next = windows.next_close().map(Timestamp::as_nanos);
            prop_assert!(next.is_none_or(|next| next > oracle.watermark.saturating_add(lateness)));
        }
        prop_assert_eq!((windows.open(), windows.keys(), windows.next_close()), (0, 0, None));
    }

    #[test]
    fn no_time_and_no_size_is_too_large(
        size in any::<u64>(), parts in 1_u64..50, session in any::<bool>(),
        lateness in any::<u64>(), times in prop::collection::vec(any::<u64>(), 1..20),
        by_clock in any::<bool>(),
    ) {
        let size = size.max(1);
        let shape = if session {
            Shape::Session { gap: size }
        } else {
            let hop = (size / parts).max(1);
            Shape::Hopping { size: hop * (size / hop).min(4_000), hop }
        };
        let mut windows = made(Rules { shape, lateness, by_clock, max_open: 10_000 });
        for time in times {
            for at in [time, u64::MAX - time % 4] {
                let _ = windows.add_to(0, Timestamp::from_nanos(at), &1);
            }
            let _ = windows.advance(Timestamp::from_nanos(time));
        }
        let _ = windows.advance(Timestamp::from_nanos(u64::MAX));
        prop_assert!(windows.open() <= 10_000);
    }
}

#[test]
fn bad_windows_say_what_they_may_be() {
    let second = Duration::from_secs(1);
    let error = Windows::<Count>::tumbling(Duration::ZERO).unwrap_err();
    assert_eq!(error, BadWindow::Zero { what: "size" });
    let error = Windows::<Count>::session(Duration::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a window's gap is zero: it is 1 ns at least"
    );
    let error = Windows::<Count>::sliding(second, 2 * second).unwrap_err();
    assert!(
        error.to_string().contains("the hop is the size at most"),
        "{error}"
    );
    let fine = Duration::from_millis(7);
    let error = Windows::<Count>::sliding(86_400 * second, fine).unwrap_err();
    let failure = Failure::from(error);
    assert_eq!(failure.code(), "bad-window");
    assert!(
        failure.message().contains(&MAX_PANES.to_string()),
        "{error}"
    );
}

#[test]
fn what_was_not_saved_is_not_loaded() {
    let mut windows =
        Windows::<Count, u8>::sliding(Duration::from_nanos(10), Duration::from_nanos(4)).unwrap();
    for at in [11, 30] {
        let _ = windows.add_to(1, Timestamp::from_nanos(at), &());
    }
    let text = serde_json::to_string(&windows).unwrap();
    let keys = r#""keys":[[1,[[30,30,1]]]]"#;
    assert!(text.contains(keys), "{text}");
    for (bad, why) in [
        (r#""keys":[[1,[[31,31,1]]]]"#, "a stretch is none between"),
        (r#""keys":[[1,[[30,32,1]]]]"#, "a stretch is none between"),
        (r#""keys":[[1,[[10,10,1]]]]"#, "in no open window"),
        (
            r#""keys":[[1,[[30,30,1],[30,30,1]]]]"#,
            "not in their order",
        ),
        (r#""keys":[[1,[]]]"#, "no event"),
        (r#""keys":[[1,[[30,30,1]]],[1,[[30,30,1]]]]"#, "twice"),
    ] {
        let error = serde_json::from_str::<Windows<Count, u8>>(&text.replace(keys, bad));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let none = text.replace(r#""hop":4"#, r#""hop":0"#);
    assert!(serde_json::from_str::<Windows<Count, u8>>(&none).is_err());
    let few = text.replace(r#""max_open":10000"#, r#""max_open":1"#);
    assert!(serde_json::from_str::<Windows<Count, u8>>(&few).is_err());
}

/// Counts the pages of visits and logs each visit that has ended.
pub struct Visits {
    pages: Windows<(Count, Distinct<String>), String>,
}

#[agent]
impl Visits {
    #[init]
    fn new() -> Result<Self, BadWindow> {
        let pages = Windows::session(Duration::from_secs(60))?;
        Ok(Self { pages })
    }

    fn page(&mut self, ctx: &mut Context, visitor: String, page: String) {
        let added = self.pages.add_to(visitor, ctx.now(), page.as_str());
        self.ended(ctx, added.closed);
    }

    fn sweep(&mut self, ctx: &mut Context) {
        let closed = self.pages.advance(ctx.now());
        self.ended(ctx, closed);
    }

    #[skip]
    fn ended(&mut self, ctx: &mut Context, closed: Vec<Closed<(Count, Distinct<String>), String>>) {
        for visit in closed {
            let (hits, pages) = visit.value;
            let (hits, pages, key) = (hits.get(), pages.len(), visit.key);
            ctx.info(format_args!("{key}: {hits} hits, {pages} pages"));
        }
        self.pages.arm(ctx, "sweep", VisitsRequests::sweep());
    }
}

#[test]
fn a_timer_closes_what_no_event_does() {
    let mut test = TestContext::<Visits>::new("visits/main");
    let page = |test: &mut TestContext<Visits>, visitor: &str, page: &str| {
        test.send(VisitsRequests::page(visitor.to_owned(), page.to_owned()))
            .unwrap();
    };
    page(&mut test, "ann", "/");
    test.advance(Duration::from_secs(50));
    page(&mut test, "ann", "/");
    page(&mut test, "bob", "/help");
    page(&mut test, "ann", "/help");
    assert_eq!(test.timers().len(), 1, "one timer for all of them");
    test.advance(Duration::from_secs(59));
    assert!(test.take_logs().is_empty(), "ann's visit went on at 50 s");
    test.advance(Duration::from_secs(1));
    let logs: Vec<String> = test.take_logs().into_iter().map(|log| log.text).collect();
    assert_eq!(logs, ["ann: 3 hits, 2 pages", "bob: 1 hits, 1 pages"]);
    assert_eq!(
        test.timers(),
        [],
        "nothing is open, so nothing is to be closed"
    );
}
