//! Events of topics, published from all nodes while their subscribers sleep and move.
//!
//! `PHOENIX_EVENTS` says how many events; CONTRIBUTING.md has the long run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use e2e::{Client, Cluster, Random, Restless, StopOnPanic, eventually, json, message};
use phoenix_core::control::{ClientMessage, Verdict};
use phoenix_core::{KindPolicy, Millis, Reply};
use serde::{Deserialize, Serialize};

/// Nodes, each with a publisher.
const NODES: usize = 3;
/// Subscribers that are moved and put to sleep.
const RESTLESS: usize = 12;
/// Members of the queue group.
const MEMBERS: usize = 4;
/// Events of a publisher in one request.
const BATCH: u64 = 50;
/// The topics; of the last one there is a log.
const TOPICS: [&str; 3] = ["storm.a", "storm.b", "storm.kept"];

/// What a `listener` says it heard.
#[derive(Debug, Default, Deserialize)]
struct Heard {
    heard: u64,
    replayed: u64,
    of: BTreeMap<String, (u64, u64, u64)>,
    disordered: u64,
    seams: u64,
    epochs: u64,
    gaps: u64,
    redelivered: u64,
}

impl Heard {
    fn of(client: &Client, agent: &str) -> Self {
        client.call(agent, "report", ())
    }

    /// Checks that the events came in order, and nothing else.
    fn is_in_order(&self, agent: &str) {
        let odd = self.disordered + self.seams + self.epochs + self.gaps;
        assert_eq!(odd, 0, "{agent}: {self:?}");
    }

    /// Checks that it is these events of each publisher, in order.
    fn is(&self, agent: &str, publishers: &[String], numbers: impl Fn(u64) -> bool, each: u64) {
        self.is_in_order(agent);
        let mut expected = (0, 0_u64, 0_u64);
        for n in (1..=each).filter(|n| numbers(*n)) {
            expected.0 += 1;
            expected.1 = expected.1.wrapping_add(n);
            expected.2 = expected.2.wrapping_add(n.wrapping_mul(n));
        }
        for publisher in publishers {
            let found = self.of.get(publisher).copied().unwrap_or_default();
            assert_eq!(found, expected, "{agent}, of {publisher}: {self:?}");
        }
        assert_eq!(self.heard, expected.0 * publishers.len() as u64, "{agent}");
    }
}

#[derive(Serialize)]
struct Subscribe<'a> {
    pattern: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    filter: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    replay: &'a str,
    delivery: &'a str,
}

impl Default for Subscribe<'_> {
    fn default() -> Self {
        Self {
            pattern: "",
            to: "",
            filter: "",
            group: "",
            replay: "",
            delivery: "exactly-once",
        }
    }
}

/// Asks the owner of a space, and again while it cannot answer.
fn ask(client: &Client, owner: &str, method: &str, argument: &impl Serialize) {
    let argument = serde_json::to_string(argument).unwrap();
    let mut last = String::new();
    eventually("the owner answers", || {
        match client.ask_json(owner, method, &argument) {
            Reply::Ok(_) => true,
            Reply::Failed(failure) => panic!("{method} {argument}: {failure:?}"),
            other => {
                last = format!("{other:?}");
                false
            }
        }
    });
}

fn subscribe(client: &Client, owner: &str, terms: &Subscribe<'_>) {
    ask(client, owner, "subscribe", terms);
}

/// The topic of a publisher's event, so that each topic gets a third.
fn topic_of(n: u64) -> &'static str {
    TOPICS[usize::try_from(n % 3).unwrap()]
}

fn event(n: u64) -> ClientMessage {
    let topic = topic_of(n);
    ClientMessage {
        payload: json(&format!(
            r#"{{"topic": "{topic}", "data": {{"n": {n}}}, "attributes": {{"third": {}}}}}"#,
            n % 3
        )),
        ..message("topic/storm", "publish", (), n)
    }
}

/// Publishes all of a publisher's events, each once, however often it has to be sent.
fn publish(client: &Client, each: u64, published: &AtomicU64, restless: &Restless) {
    let _guard = StopOnPanic(&restless.stop);
    let mut next = 1;
    while next <= each && !restless.stopped() {
        let batch = (next..=each.min(next + BATCH - 1)).map(event).collect();
        for verdict in client.send(batch) {
            match verdict {
                Verdict::Applied => {
                    next += 1;
                    published.fetch_add(1, Ordering::Relaxed);
                }
                Verdict::Refused { .. } | Verdict::Unknown => break,
                Verdict::Dead { .. } => panic!("{verdict:?}"),
            }
        }
    }
}

#[test]
fn each_subscription_gets_each_event_once_and_in_order() {
    let events = std::env::var("PHOENIX_EVENTS").map_or(6_000, |text| text.parse().unwrap());
    let each = u64::div_ceil(events, NODES as u64);
    let cluster = Cluster::tuned(NODES, 500, |_| {});
    let policy = KindPolicy {
        durable: true,
        idle_after: Millis(3_600_000),
        give_up_after: Millis(3_600_000),
        ..KindPolicy::default()
    };
    cluster.deploy("listener", phoenix_support::guest("listener"), policy);
    let client = cluster.client(1);
    let publishers: Vec<String> = (1..=NODES).map(|n| format!("client/from-{n}")).collect();
    let kept = r#"{"pattern": "storm.kept", "log": {"count": 1000000, "bytes": 200000000}}"#;
    let kept: serde_json::Value = serde_json::from_str(kept).unwrap();
    ask(&client, "topic/storm", "configure", &kept);

    let name = |n: usize| format!("listener/{n}");
    for n in 0..RESTLESS {
        let to = &name(n);
        let terms = Subscribe {
            to,
            ..Subscribe::default()
        };
        match n % 4 {
            0 => subscribe(
                &client,
                "topic/storm",
                &Subscribe {
                    pattern: "storm.>",
                    ..terms
                },
            ),
            1 => {
                let filter = "data.n % 7 == 3 && attributes.third != 0";
                let terms = Subscribe {
                    pattern: "storm.*",
                    filter,
                    ..terms
                };
                subscribe(&client, "topic/storm", &terms);
            }
            2 => subscribe(
                &client,
                "topic/storm",
                &Subscribe {
                    pattern: "storm.a",
                    ..terms
                },
            ),
            _ => subscribe(
                &client,
                "topic/.root",
                &Subscribe {
                    pattern: "*.b",
                    ..terms
                },
            ),
        }
    }
    let members: Vec<String> = (0..MEMBERS)
        .map(|n| format!("listener/member-{n}"))
        .collect();
    for to in &members {
        let terms = Subscribe {
            pattern: "storm.b",
            to,
            group: "team",
            ..Subscribe::default()
        };
        subscribe(&client, "topic/storm", &terms);
    }
    // One that sleeps all the while until the one event that it wants.
    let rare = "listener/rare";
    let filter = format!("data.n == {}", each / 2 / 3 * 3 + 1);
    let terms = Subscribe {
        pattern: "storm.>",
        to: rare,
        filter: &filter,
        ..Subscribe::default()
    };
    subscribe(&client, "topic/storm", &terms);
    assert_eq!(Heard::of(&client, rare).heard, 0);
    eventually("it sleeps", || client.hibernate(rare).is_ok());

    let mut moved: Vec<String> = (0..RESTLESS).map(name).collect();
    moved.extend(members.iter().cloned());
    // The owner moves and sleeps as well.
    moved.push("topic/storm".to_owned());
    let restless = Restless::new(moved, &[1, 2, 3]);
    let published = AtomicU64::new(0);
    let late = "listener/late";
    std::thread::scope(|scope| {
        let _guard = StopOnPanic(&restless.stop);
        for stream in 0..2 {
            let client = cluster.client(1);
            scope.spawn({
                let restless = &restless;
                move || restless.migrate(&client, Random::new(500, stream))
            });
            let client = cluster.client(2);
            scope.spawn({
                let restless = &restless;
                move || restless.hibernate(&client, Random::new(500, 10 + stream))
            });
        }
        let publishing: Vec<_> = (1..=NODES)
            .map(|node| {
                let client = cluster.client(node).named(&format!("from-{node}"));
                let (published, restless) = (&published, &restless);
                scope.spawn(move || publish(&client, each, published, restless))
            })
            .collect();
        eventually("half of it is published", || {
            published.load(Ordering::Relaxed) >= each * NODES as u64 / 2
        });
        let terms = Subscribe {
            pattern: "storm.kept",
            to: late,
            replay: "all",
            ..Subscribe::default()
        };
        subscribe(&client, "topic/storm", &terms);
        for thread in publishing {
            thread.join().unwrap();
        }
        restless.stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(published.load(Ordering::Relaxed), each * NODES as u64);
    println!("{} moves while {} events", restless.moves(), each * 3);

    let count = |wanted: &dyn Fn(u64) -> bool| (1..=each).filter(|n| wanted(*n)).count() as u64 * 3;
    let all = |_: u64| true;
    let some = |n: u64| n % 7 == 3 && !n.is_multiple_of(3);
    let of = |third: u64| move |n: u64| n % 3 == third;
    for n in 0..RESTLESS {
        let agent = &name(n);
        let wanted: Box<dyn Fn(u64) -> bool> = match n % 4 {
            0 => Box::new(all),
            1 => Box::new(some),
            2 => Box::new(of(0)),
            _ => Box::new(of(1)),
        };
        eventually(&format!("{agent} has heard all"), || {
            Heard::of(&client, agent).heard >= count(&wanted)
        });
        Heard::of(&client, agent).is(agent, &publishers, wanted, each);
    }
    // History and then what is live, with no seam.
    eventually("history is heard", || {
        Heard::of(&client, late).heard >= count(&of(2))
    });
    let heard = Heard::of(&client, late);
    heard.is(late, &publishers, of(2), each);
    assert!(
        0 < heard.replayed && heard.replayed < heard.heard,
        "{heard:?}"
    );
    eventually("who slept was woken", || {
        Heard::of(&client, rare).heard >= 3
    });
    assert_eq!(Heard::of(&client, rare).heard, 3, "one of each publisher");
    // A queue group's members have each event once, all together.
    let total = || -> u64 { members.iter().map(|it| Heard::of(&client, it).heard).sum() };
    eventually("the members have heard all", || total() >= count(&of(1)));
    let (mut sum, mut redelivered) = (0, 0);
    for member in &members {
        let heard = Heard::of(&client, member);
        redelivered += heard.redelivered;
        sum += heard.of.values().map(|of| of.1).sum::<u64>();
    }
    let expected: u64 = (1..=each).filter(|n| n % 3 == 1).sum::<u64>() * 3;
    assert_eq!(
        (total(), sum),
        (count(&of(1)), expected),
        "redelivered: {redelivered}"
    );
}
