//! How outside clients' messages are sent: once under a key or as an event, on the
//! lane that message, kind or type want, and only while they are of use.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use e2e::{Client, Cluster, json, message, pack};
use phoenix_core::attributes::{Attributes, ClientEvent, CloudEvent, Target, Value, names};
use phoenix_core::control::{ClientMessage, LetterFilter, Verdict};
use phoenix_core::taxonomy::{Guarantee, Overrides};
use phoenix_core::{ClientOptions, KindPolicy, Lane, Millis};
use serde::Deserialize;

/// Steps that take an agent longer than a message may wait that is not to be heard.
const LONG: u64 = 10_000_000;

fn cluster(nodes: usize, seed: u64, treatment: Overrides) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let policy = KindPolicy {
        treatment,
        // One message at a time: those behind it wait for their turns.
        batch_messages: 1,
        turn_deadline: Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("counter", phoenix_support::agent("counter"), policy.clone());
    cluster.deploy("laggard", phoenix_support::guest("laggard"), policy);
    cluster
}

/// A message that is numbered only if that is said.
fn add(options: ClientOptions, sequence: Option<u64>) -> ClientMessage {
    ClientMessage {
        payload: json("5"),
        sequence,
        options: options.boxed(),
        ..message("counter/a", "add", (), 1)
    }
}

fn keyed(key: &str) -> ClientOptions {
    ClientOptions {
        key: Some(key.into()),
        ..ClientOptions::default()
    }
}

fn on(lane: Lane) -> ClientOptions {
    ClientOptions {
        overrides: Overrides {
            priority: Some(lane),
            ..Overrides::NONE
        },
        ..ClientOptions::default()
    }
}

fn total(client: &Client) -> u64 {
    client.call("counter/a", "total", ())
}

#[test]
fn a_message_under_a_key_is_applied_once_by_whatever_node_it_comes() {
    let cluster = cluster(2, 81, Overrides::NONE);
    let (one, other) = (cluster.client(1), cluster.client(2));
    for client in [&one, &one, &other] {
        assert_eq!(
            client.send(vec![add(keyed("order 7"), None)]),
            [Verdict::Applied]
        );
    }
    assert_eq!(total(&one), 5);
    assert_eq!(
        one.send(vec![add(keyed("order 8"), None)]),
        [Verdict::Applied]
    );
    assert_eq!(total(&one), 10);
    // Another client's key is another key.
    let stranger = one.named("stranger");
    assert_eq!(
        stranger.send(vec![add(keyed("order 7"), None)]),
        [Verdict::Applied]
    );
    assert_eq!(total(&one), 15);
}

#[test]
fn each_lane_of_a_client_s_has_numbers_of_its_own() {
    let cluster = cluster(1, 82, Overrides::NONE);
    let client = cluster.client(1);
    let sends = [Lane::High, Lane::Normal, Lane::Low, Lane::Bulk];
    let batch = || sends.map(|lane| add(on(lane), Some(1))).to_vec();
    assert_eq!(client.send(batch()), vec![Verdict::Applied; 4]);
    assert_eq!(client.send(batch()), vec![Verdict::Applied; 4], "again");
    assert_eq!(total(&client), 20);
    let early = client.send(vec![add(on(Lane::High), Some(3))]);
    assert!(
        matches!(
            &early[..],
            [Verdict::Refused {
                expected: Some(2),
                ..
            }]
        ),
        "{early:?}"
    );
}

#[test]
fn an_event_is_applied_once_whoever_sends_it() {
    let cluster = cluster(1, 83, Overrides::NONE);
    let client = cluster.client(1);
    let event = |id: &str, delivery: Option<&str>| {
        let mut headers = vec![
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/shop"),
            ("ce-type", "com.shop.order.placed"),
            ("ce-subject", "counter/a"),
            ("ce-method", "add"),
            ("content-type", "application/json"),
        ];
        headers.extend(delivery.map(|delivery| ("ce-delivery", delivery)));
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let event = CloudEvent::from_headers(headers, bytes::Bytes::from_static(b"5")).unwrap();
        let event = ClientEvent::new(&event, &Target::default()).unwrap();
        vec![event.into_message()]
    };
    for sender in [&client, &client.named("other")] {
        assert_eq!(sender.send(event("1", None)), [Verdict::Applied]);
    }
    assert_eq!(total(&client), 5);
    assert_eq!(client.send(event("2", None)), [Verdict::Applied]);
    assert_eq!(total(&client), 10);
    for _ in 0..2 {
        let once = event("1", Some("at-most-once"));
        assert_eq!(client.send(once), [Verdict::Applied]);
    }
    assert_eq!(total(&client), 20, "sent once, it has no name");
}

#[test]
fn what_does_not_go_together_is_refused_whole() {
    let cluster = cluster(1, 84, Overrides::NONE);
    let client = cluster.client(1);
    let wanting = ClientOptions {
        overrides: Overrides {
            delivery: Some(Guarantee::ExactlyOnce),
            ..Overrides::NONE
        },
        ..ClientOptions::default()
    };
    let request = phoenix_core::control::Request::Send {
        client: phoenix_core::ClientId::new("test").unwrap(),
        messages: vec![add(ClientOptions::default(), Some(1)), add(wanting, None)],
        timeout: Millis(10_000),
    };
    let error = client.request(request).unwrap_err().to_string();
    assert!(error.contains("`delivery` is exactly-once"), "{error}");
    assert_eq!(total(&client), 0);
}

#[derive(Deserialize)]
struct Report {
    heard: u64,
    last: std::collections::BTreeMap<String, u64>,
}

/// Numbered or not, a message that outlives its time behind a slow one is not heard.
#[test]
fn a_message_that_outlives_its_time_is_dead_and_kept_if_it_says_so() {
    let cluster = cluster(1, 85, Overrides::NONE);
    let client = cluster.client(1);
    client.call::<()>("laggard/a", "slow", LONG);
    let item = |n: u64, sequence, options: ClientOptions| ClientMessage {
        payload: pack((n, "")),
        sequence,
        options: options.boxed(),
        ..message("laggard/a", "item", (), 1)
    };
    let brief = |report_expired| ClientOptions {
        ttl: Some(Millis(1)),
        report_expired,
        ..ClientOptions::default()
    };
    let verdicts = client.send(vec![
        item(1, Some(1), ClientOptions::default()),
        item(2, Some(2), brief(true)),
        item(3, Some(3), ClientOptions::default()),
        item(4, None, brief(false)),
    ]);
    let expired = Verdict::Dead {
        code: "expired".into(),
        detail: "".into(),
    };
    let expected = [Verdict::Applied, expired.clone(), Verdict::Applied, expired];
    assert_eq!(verdicts, expected);
    let report: Report = client.call("laggard/a", "report", ());
    assert_eq!((report.heard, report.last["client/test"]), (2, 3));
    let letters = client.dead_letters(LetterFilter::default());
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(&*letters[0].reason, "expired");
    assert_eq!(letters[0].envelope.sequence.unwrap().number, 2);
}

/// The lane that each of some messages took, by what became of them.
fn lanes(client: &Client, options: Vec<ClientOptions>) -> Vec<Lane> {
    client.call::<()>("laggard/a", "slow", LONG);
    let item = |n: u64, options: ClientOptions| ClientMessage {
        payload: pack((n, "")),
        sequence: None,
        options: options.boxed(),
        ..message("laggard/a", "item", (), 1)
    };
    // The most urgent of all, and so before all others.
    let mut all = vec![item(1, on(Lane::High))];
    let brief = options.into_iter().map(|options| ClientOptions {
        ttl: Some(Millis(1)),
        report_expired: true,
        ..options
    });
    all.extend(brief.map(|options| item(2, options)));
    client.send(all);
    let letters = client.dead_letters(LetterFilter::default());
    letters.iter().map(|it| it.envelope.stream.lane).collect()
}

fn of_type(message_type: &str) -> ClientOptions {
    let mut attributes = Attributes::new();
    let message_type = Value::text(message_type);
    attributes.set(names::TYPE, &message_type).unwrap();
    ClientOptions {
        attributes: Some(Arc::new(attributes)),
        ..ClientOptions::default()
    }
}

#[test]
fn type_kind_and_message_choose_the_lane_in_that_order() {
    let load = || of_type("phoenix.metric.cpu.load");
    let typed = cluster(1, 86, Overrides::NONE);
    assert_eq!(
        lanes(&typed.client(1), vec![load(), ClientOptions::default()]),
        [Lane::Normal, Lane::Low],
        "in the order of their turns"
    );
    let treatment = Overrides {
        priority: Some(Lane::Bulk),
        ..Overrides::NONE
    };
    let kind = cluster(1, 87, treatment);
    let own = ClientOptions {
        overrides: on(Lane::Normal).overrides,
        ..load()
    };
    assert_eq!(
        lanes(&kind.client(1), vec![load(), own]),
        [Lane::Normal, Lane::Bulk]
    );
}

/// What an agent sends because of an event is part of the same undertaking, on whatever
/// node it ends.
#[test]
fn causes_go_on_from_an_event_to_what_comes_of_it() {
    let cluster = Cluster::new(2, 88);
    let relay = phoenix_support::guest("relay");
    cluster.deploy("relay", relay, KindPolicy::default());
    cluster.client(1).spawn("relay/a", 2);
    let mut attributes = Attributes::new();
    for (name, value) in [
        (names::ID, "A234"),
        (names::SOURCE, "/shop"),
        (names::CORRELATION_ID, "cart 12"),
    ] {
        attributes.set(name, &Value::text(value)).unwrap();
    }
    let options = ClientOptions {
        attributes: Some(Arc::new(attributes)),
        ..ClientOptions::default()
    };
    let client = cluster.client(1);
    let event = ClientMessage {
        payload: pack(("nobody/here", "do", 1_u64)),
        sequence: None,
        options: options.boxed(),
        ..message("relay/a", "ask", (), 1)
    };
    assert_eq!(client.send(vec![event]), [Verdict::Applied]);
    let mut letters = Vec::new();
    e2e::eventually("what it asked of nobody is a dead letter", || {
        letters = client.dead_letters(LetterFilter::default());
        !letters.is_empty()
    });
    let envelope = &letters[0].envelope;
    assert_eq!(envelope.sender().to_string(), "relay/a");
    let said = envelope.attributes().unwrap();
    assert_eq!(said.correlation().map(|it| &**it), Some("cart 12"));
    assert_eq!(said.causation().map(|it| &**it), Some("A234"));
}
