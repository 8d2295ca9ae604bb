//! Topics: a kind's declared subscriptions, on one node and two, over restarts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually};
use phoenix_core::topics::wire::{Events, Listing, Published};
use phoenix_core::{KindPolicy, Millis};
use serde_json::json;

/// Agents that add up the data of events, each those of its key.
fn adding(subscriptions: &str) -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        subscriptions: subscriptions.parse().unwrap(),
        ..KindPolicy::default()
    }
}

const ADD: &str = r#"[{"pattern": "sums.>", "to": "typed/{key}", "method": "add"}]"#;

fn deploy(cluster: &Cluster, subscriptions: &str) {
    cluster.deploy(
        "typed",
        phoenix_support::guest("typed"),
        adding(subscriptions),
    );
}

fn publish(client: &Client, topic: &str, key: &str, data: u64) -> Published {
    let event = json!({ "topic": topic, "key": key, "data": data });
    let space = topic.split('.').next().unwrap();
    client.call_json(&format!("topic/{space}"), "publish", &event.to_string())
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

#[test]
fn a_kinds_subscriptions_are_there_when_it_is_deployed() {
    let cluster = Cluster::new(2, 1);
    deploy(&cluster, ADD);
    for node in [1, 2] {
        let client = cluster.client(node);
        for number in 1..=10 {
            let published = publish(&client, "sums.here", "a", number);
            assert_eq!(published.matched, 1);
            publish(&client, "sums.there", "b", 1);
        }
    }
    let client = cluster.client(2);
    eventually("all is added", || {
        total(&client, "typed/a") == 110 && total(&client, "typed/b") == 20
    });
    // Deployed anew without, it gets no more.
    deploy(&cluster, "");
    assert_eq!(publish(&client, "sums.here", "a", 1_000).matched, 0);
    let listing: Listing = client.call_json("topic/sums", "list", "{}");
    assert_eq!((listing.number, listing.subscriptions), (41, 0));
    assert_eq!(total(&client, "typed/a"), 110);
}

#[test]
fn what_was_published_and_subscribed_outlives_its_node() {
    let mut cluster = Cluster::powered(1, 2, |_| {});
    deploy(&cluster, ADD);
    let mut expected = 0;
    let mut epoch = None;
    for round in 0..3 {
        let client = cluster.client(1);
        for number in 1..=20 {
            let published = publish(&client, "sums.x", "a", number);
            assert_eq!(published.number, round * 20 + number);
            // It is the same life, in which events are numbered on.
            assert_eq!(*epoch.get_or_insert(published.epoch), published.epoch);
            expected += number;
        }
        cluster.kill(1);
        cluster.start(1);
        let client = cluster.client(1);
        eventually("all is added", || total(&client, "typed/a") == expected);
    }
}

#[test]
fn recent_events_are_read_and_waited_for() {
    let cluster = Cluster::new(1, 3);
    let client = cluster.client(1);
    let kept = json!({ "pattern": "news.>", "log": { "count": 3 } });
    client.ask_json("topic/news", "configure", &kept.to_string());
    for number in 1..=5 {
        publish(&client, "news.a", "k", number);
    }
    let read = json!({ "pattern": "news.*", "after": 0 }).to_string();
    let events: Events = client.call_json("topic/news", "read", &read);
    let numbers: Vec<_> = events.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers[numbers.len() - 3..], [3, 4, 5]);
    let after = json!({
        "pattern": "news.*", "after": events.next, "epoch": events.epoch, "wait_ms": 30_000,
    });
    let waits = client.begin_call_json("topic/news", "read", &after.to_string());
    eventually("it is asked", || {
        !client.inspect("topic/news").unwrap().requests.is_empty()
    });
    publish(&client, "news.b", "k", 6);
    let answered = waits.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    let text = format!("{answered:?}");
    assert!(text.contains("news.b"), "{text}");
}

#[test]
fn the_names_of_what_is_part_of_the_node_are_reserved() {
    let cluster = Cluster::new(1, 4);
    let client = cluster.client(1);
    for kind in ["topic", "pipeline", "saga"] {
        let refused = client.deploy(kind, b"any", KindPolicy::default());
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("is part of the node"), "{error}");
    }
}
