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

fn subscription(name: &str, more: &Value) -> Value {
    let mut it = json!({
        "name": name, "pattern": "orders.>", "subscriber": "counter/a", "method": "on_event",
        "form": "event", "overflow": "block", "in_flight": 2, "max_in_flight": 256, "behind": 0,
        "counts": {
            "sent": 3, "filtered": 0, "filter_failed": 0, "filter_cut_off": 0, "no_receiver": 0,
            "transform_failed": 0, "dropped": 0, "missed": 0, "not_applied": 0, "redelivered": 0,
            "given_up": 0,
        },
    });
    for (field, value) in more.as_object().unwrap() {
        match value {
            Value::Object(counts) => {
                for (name, count) in counts {
                    it[field][name] = count.clone();
                }
            }
            _ => it[field] = value.clone(),
        }
    }
    it
}

#[test]
fn subscriptions_are_shown_with_how_far_they_are() {
    let node = Node::start();
    let first = subscription("mine", &json!({}));
    let second = subscription(
        "b",
        &json!({
            "to": "v/{data.ip}", "filter": "data.n > 1", "group": "g", "strategy": "round-robin",
            "weight": 2, "delivery": "at-least-once", "overflow": "drop-newest", "behind": 17,
            "at_most": true, "counts": {"filtered": 4, "filter_failed": 1, "dropped": 5},
        }),
    );
    let pages = [
        json!({"space": "orders", "epoch": 1, "number": 9, "subscriptions": [first], "next": 8}),
        json!({"space": "orders", "epoch": 1, "number": 9, "subscriptions": [second]}),
    ];
    let said = pages.clone();
    node.control.script(move |request| {
        let Request::Call { agent, payload, .. } = request else {
            return None;
        };
        assert_eq!(agent.as_str(), "topic/orders");
        let question = wire::ListSubscriptions::decode(payload.as_wit()).unwrap();
        let page = match question.after {
            None => &said[0],
            Some(8) => &said[1],
            other => panic!("{other:?}"),
        };
        Some(Ok(Response::Called(Reply::Ok(Payload {
            content_type: ContentType::Json,
            bytes: page.to_string().into_bytes().into(),
        }))))
    });
    let words = ["topics", "subscriptions", "orders", "--all"];
    let terms = "group g, round-robin, weight 2, at-least-once, drop-newest, if data.n > 1";
    let blank = " ".repeat(terms.len() - "TERMS".len());
    assert_eq!(
        node.run(&words).out,
        format!(
            "NAME  PATTERN   TO           TERMS{blank}  IN FLIGHT  BEHIND  SENT  FILTERED  OTHERWISE\n\
             mine  orders.>  counter/a    -    {blank}      2/256       0     3         0  -\n\
             b     orders.>  v/{{data.ip}}  {terms}      2/256    <=17     3         4  \
             filter failed 1, dropped 5\n"
        )
    );
    let said = node.run(&["topics", "subscriptions", "orders", "--json"]);
    assert_eq!(said.json(), pages[0]);
    let ended = node.run(&["topics", "subscriptions", "orders", "--limit", "1"]);
    assert_eq!(ended.out.lines().count(), 2, "{ended:?}");
    assert!(ended.err.contains("--after 8"), "{ended:?}");
    let ended = node.run(&["topics", "subscriptions", "orders", "--after", "8"]);
    assert!(
        ended.out.contains("\nb  ") && ended.err.is_empty(),
        "{ended:?}"
    );
}
