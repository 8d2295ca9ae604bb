//! Topics, as the verbs ask and show them.

use std::sync::atomic::{AtomicUsize, Ordering};

use phoenix_core::control::{Request, Response};
use phoenix_core::topics::wire::{self, Configure, Publish, Subscribe};
use phoenix_core::{ContentType, Payload, Reply};
use serde_json::{Value, json};

use crate::harness::Node;

/// The owner answers with this from now on.
fn answers(node: &Node, value: &Value) {
    let payload = Payload {
        content_type: ContentType::Json,
        bytes: value.to_string().into_bytes().into(),
    };
    node.control.reply(Reply::Ok(payload));
}

fn asked(node: &Node) -> (String, String, Payload) {
    match node.control.last() {
        Request::Call {
            agent,
            method,
            payload,
            ..
        } => (agent.to_string(), method.to_string(), payload),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_is_published() {
    let node = Node::start();
    let published =
        json!({"topic": "orders.eu", "epoch": 1, "number": 12, "offset": 3, "matched": 1});
    answers(&node, &published);
    let words = [
        "publish",
        "orders.eu",
        "{\"total\": 5}",
        "--type",
        "order",
        "--key",
        "7",
        "--attribute",
        "region=eu",
        "--attribute",
        "n=2",
        "--retain",
        "--ttl",
        "1m",
    ];
    let ended = node.run(&words);
    assert_eq!(
        ended.out,
        "orders.eu event 12, offset 3: 1 subscription matches\n"
    );
    let (agent, method, payload) = asked(&node);
    assert_eq!((&*agent, &*method), ("topic/orders", "publish"));
    let (event, _) = Publish::decode(payload.as_wit()).unwrap();
    assert_eq!(event.data.bytes, b"{\"total\": 5}");
    assert_eq!(event.key.as_deref(), Some("7"));
    assert_eq!(event.attributes["n"], wire::Attribute::Int(2));
    assert_eq!((event.retain, event.ttl_ms), (true, Some(60_000)));
    let said = node.run(&["publish", "orders.eu", "5", "--json"]).json();
    assert_eq!(said, published);
}

#[test]
fn what_is_no_topic_is_refused_here() {
    let node = Node::start();
    for (words, said) in [
        (&["publish", "orders..eu", "1"][..], "at byte 7"),
        (&["publish", "orders.*", "1"], "at byte 7"),
        (&["tail", "orders.>.eu"], "must be the last token"),
        (&["tail", "a", "--from", "later"], "since TIME"),
        (&["tail", "a.*", "--from", "from 7"], "wildcards"),
        (&["topics", "set", "a", "--bytes", "many"], "--bytes"),
        (
            &[
                "topics",
                "subscribe",
                "a",
                "--to",
                "b/c",
                "--replay",
                "some",
            ],
            "`last N`",
        ),
    ] {
        let ended = node.run(words);
        assert_eq!(ended.status, 2, "{words:?}: {ended:?}");
        assert!(ended.err.contains(said), "{words:?}: {ended:?}");
    }
    assert_eq!(node.control.count(), 0);
}

/// Pages of events, the last of which is empty.
fn pages(node: &Node, pages: Vec<Vec<Value>>) {
    let at = AtomicUsize::new(0);
    node.control.script(move |_| {
        let at = at.fetch_add(1, Ordering::Relaxed);
        let events = pages.get(at).cloned().unwrap_or_default();
        let text = json!({"epoch": 1, "next": at, "events": events}).to_string();
        Some(Ok(Response::Called(Reply::Ok(Payload {
            content_type: ContentType::Json,
            bytes: text.into_bytes().into(),
        }))))
    });
}

fn event(number: u64) -> Value {
    json!({
        "topic": "orders.eu", "publisher": "client/a", "number": number, "offset": number,
        "time": 1_767_225_600_000_u64 + number, "format": "json", "data": number,
    })
}

#[test]
fn events_are_shown_from_where_it_was_asked() {
    let node = Node::start();
    let all = || vec![vec![event(1), event(2)], vec![event(3)]];
    for (from, numbers) in [
        ("all", &[1, 2, 3][..]),
        ("last 2", &[2, 3]),
        ("from 3", &[3]),
        ("since 2026-01-01T00:00:00.002Z", &[2, 3]),
    ] {
        pages(&node, all());
        let words = ["tail", "orders.eu", "--from", from, "--no-follow", "--json"];
        let ended = node.run(&words);
        let shown: Vec<u64> = ended
            .out
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["number"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(shown, numbers, "{from}: {ended:?}");
    }
    pages(&node, all());
    let ended = node.run(&["tail", "orders.>", "--from", "all", "--limit", "1"]);
    assert_eq!(
        ended.out,
        "2026-01-01T00:00:00.001Z orders.eu #1 offset=1 client/a 1\n"
    );
}

#[test]
fn topics_are_listed_kept_and_subscribed_to() {
    let node = Node::start();
    let listing = json!({
        "space": "orders", "epoch": 1, "number": 12, "subscriptions": 2, "behind": 1,
        "topics": [{
            "topic": "orders.eu", "log": {"count": 1000, "age_ms": 60000}, "first": 1, "next": 4,
            "events": 3, "bytes": 2048, "retained": true,
        }],
        "more": false,
        "counts": {
            "sent": 24, "not_applied": 0, "filter_failed": 1, "no_receiver": 0,
            "transform_failed": 0, "dropped": 0, "missed": 0, "redelivered": 0, "given_up": 0,
        },
    });
    answers(&node, &listing);
    let shown = node.run(&["topics", "show", "orders"]).out;
    assert_eq!(
        shown,
        "12 events, 2 subscriptions, 1 of them behind\n\
         sent 24, filters failed 1\n\
         TOPIC      LOG              FIRST  NEXT  EVENTS  BYTES  RETAINED\n\
         orders.eu  1000 events, 1m      1     4       3   2KiB  yes\n"
    );
    let said = node.run(&["topics", "show", "orders", "--json"]).json();
    assert_eq!(said, listing);

    node.control.reply(Reply::Ok(Payload::default()));
    let words = ["topics", "set", "orders.>", "--count", "10", "--retain"];
    assert_eq!(
        node.run(&words).out,
        "orders.> keeps a log (10 events), the last event\n"
    );
    let (agent, method, payload) = asked(&node);
    assert_eq!((&*agent, &*method), ("topic/orders", "configure"));
    let (kept, _) = Configure::decode(payload.as_wit()).unwrap();
    assert_eq!(kept.log.unwrap().count, Some(10));

    answers(&node, &json!({"name": "logs.line visitor/{data.ip}"}));
    let words = [
        "topics",
        "subscribe",
        "logs.line",
        "--to",
        "visitor/{data.ip}",
        "--method",
        "visit",
        "--replay",
        "last 5",
    ];
    assert_eq!(
        node.run(&words).out,
        "logs.line visitor/{data.ip} is subscribed\n"
    );
    let (agent, method, payload) = asked(&node);
    assert_eq!((&*agent, &*method), ("topic/logs", "subscribe"));
    let said = Subscribe::decode(payload.as_wit()).unwrap();
    assert_eq!(said.method.as_deref(), Some("visit"));

    answers(&node, &json!({"was": false}));
    let words = [
        "topics",
        "unsubscribe",
        "logs.line",
        "--to",
        "visitor/{data.ip}",
    ];
    let ended = node.run(&words);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(
        ended
            .err
            .contains("no subscription `logs.line visitor/{data.ip}`"),
        "{ended:?}"
    );
}
