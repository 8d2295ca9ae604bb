//! Topics: a kind's declared subscriptions, on one node and two, over restarts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually};
use phoenix_core::topics::wire::{Events, Listing, Published};
use phoenix_core::{KindPolicy, Millis, Reply};
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

/// Agents of the SDK that publish and hear.
fn heralds(nodes: usize) -> (Cluster, Client) {
    let cluster = Cluster::new(nodes, 5);
    let policy = KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("herald", phoenix_support::guest("herald"), policy);
    let client = cluster.client(1);
    (cluster, client)
}

/// What an agent heard: number, topic and data of each.
fn heard(client: &Client, agent: &str) -> Vec<(u64, String, u64)> {
    client.call_json(agent, "heard", "")
}

fn done(reply: &Reply) {
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
}

#[test]
fn agents_hear_what_agents_publish_once_and_in_one_order() {
    let (_cluster, client) = heralds(2);
    for (agent, node) in [("herald/a", 1), ("herald/b", 2), ("herald/c", 2)] {
        client.spawn(agent, node);
    }
    done(&client.ask_json("herald/b", "listen", r#"["news.*", ""]"#));
    done(&client.ask_json("herald/c", "listen", r#"["news.>", "data > 105"]"#));
    eventually("they are subscribed", || {
        let listing: Listing = client.call_json("topic/news", "list", "{}");
        listing.subscriptions == 2
    });
    // One that sleeps is woken.
    client.hibernate("herald/b").unwrap();
    for round in 0..5 {
        for (agent, from) in [("herald/a", 100), ("herald/b", 200)] {
            let told = format!(r#"["news.{}", {}, 10]"#, &agent[7..], from + 10 * round);
            done(&client.ask_json(agent, "tell", &told));
        }
        let to = if round % 2 == 0 { 1 } else { 2 };
        client.migrate("herald/c", to).unwrap();
    }
    eventually("all is heard", || {
        heard(&client, "herald/b").len() == 100 && heard(&client, "herald/c").len() == 94
    });
    let all = heard(&client, "herald/b");
    let numbers: Vec<u64> = all.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
    for (topic, from) in [("news.a", 100), ("news.b", 200)] {
        let of: Vec<u64> = all
            .iter()
            .filter(|it| it.1 == topic)
            .map(|it| it.2)
            .collect();
        assert_eq!(
            of,
            (from..from + 50).collect::<Vec<u64>>(),
            "as it was published"
        );
    }
    let some: Vec<_> = all.into_iter().filter(|it| it.2 > 105).collect();
    assert_eq!(heard(&client, "herald/c"), some);

    done(&client.ask_json("herald/b", "turn_away", r#""news.*""#));
    eventually("it is subscribed no more", || {
        let listing: Listing = client.call_json("topic/news", "list", "{}");
        listing.subscriptions == 1
    });
    done(&client.ask_json("herald/a", "tell_all", r#"["news.a", 500]"#));
    eventually("the other one hears", || {
        heard(&client, "herald/c").len() == 95
    });
    assert_eq!(heard(&client, "herald/b").len(), 100);
    // The topic keeps it for who comes later.
    done(&client.ask_json("herald/b", "listen", r#"["news.*", ""]"#));
    eventually("what was kept is heard", || {
        heard(&client, "herald/b").last() == Some(&(101, "news.a".to_owned(), 500))
    });
}

#[test]
fn what_cannot_be_subscribed_to_or_published_is_said_where_it_is_wrong() {
    let (_cluster, client) = heralds(1);
    for (method, argument, expected) in [
        ("listen", r#"["news.>.a", ""]"#, "field `pattern`: "),
        ("listen", r#"["news", "data >"]"#, "field `filter`: "),
        ("tell", r#"["news.*", 1, 1]"#, "field `topic`: "),
    ] {
        let Reply::Bounced(why) = client.ask_json("herald/a", method, argument) else {
            panic!("{argument} can be");
        };
        assert!(why.contains(expected), "{why} has no {expected}");
    }
    assert_eq!(heard(&client, "herald/a"), []);
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
