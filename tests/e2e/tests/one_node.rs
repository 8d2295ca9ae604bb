//! One node: agents answer, sleep, wake, trap and go on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Cluster, message};
use phoenix_core::control::Verdict;
use phoenix_core::{KindPolicy, Reply};

fn counters() -> Cluster {
    let cluster = Cluster::new(1, 1);
    cluster.deploy(
        "counter",
        phoenix_support::agent("counter"),
        KindPolicy::default(),
    );
    cluster
}

#[test]
fn an_agent_lives_on_its_first_message() {
    let cluster = counters();
    let client = cluster.client(1);
    assert_eq!(client.call::<u64>("counter/a", "add", 5), 5);
    assert_eq!(client.call::<u64>("counter/a", "add", 2), 7);
    assert_eq!(client.call::<u64>("counter/b", "total", ()), 0);
    let agents: Vec<String> = client
        .agents()
        .iter()
        .map(|a| a.agent.to_string())
        .collect();
    assert_eq!(agents, ["counter/a", "counter/b"]);
}

#[test]
fn sleep_changes_nothing() {
    let cluster = counters();
    let client = cluster.client(1);
    for round in 1..=50u64 {
        assert_eq!(client.call::<u64>("counter/a", "add", 1), round);
        let bytes = client.hibernate("counter/a").unwrap();
        assert!(bytes < 936, "{bytes} bytes asleep");
    }
    assert_eq!(client.counter("hibernations"), 50);
}

#[test]
fn a_clients_messages_are_applied_once() {
    let cluster = counters();
    let client = cluster.client(1);
    let batch = || {
        (1..=100)
            .map(|n| message("counter/a", "add", 1, n))
            .collect()
    };
    assert_eq!(client.send(batch()), vec![Verdict::Applied; 100]);
    assert_eq!(client.send(batch()), vec![Verdict::Applied; 100], "again");
    assert_eq!(client.call::<u64>("counter/a", "total", ()), 100);
}

#[test]
fn unknown_names_are_errors_that_help() {
    let cluster = counters();
    let client = cluster.client(1);
    let Reply::Failed(failure) = client.ask("counter/a", "ad", 5) else {
        panic!("there is no such handler");
    };
    assert_eq!(&*failure.code, "unknown-method");
    assert!(failure.message.contains("add"), "{}", failure.message);
    let Reply::Bounced(why) = client.ask("conter/a", "add", 5) else {
        panic!("there is no such kind");
    };
    assert_eq!(&*why, "no-such-kind");
}
