//! Timers through a node: they fire, wake, move, and end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Instant;

use e2e::{Client, Cluster, eventually};
use phoenix_core::control::AgentStatus;
use phoenix_core::{KindPolicy, Millis, Reply};

/// Milliseconds between two ticks.
const PERIOD: u64 = 20;

fn typed(nodes: usize, seed: u64) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let policy = KindPolicy {
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("typed", phoenix_support::guest("typed"), policy);
    cluster
}

/// Sets the agent's periodic timer.
fn tick(client: &Client, agent: &str) {
    let reply = client.ask_json(agent, "tick", &PERIOD.to_string());
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

#[test]
fn a_timer_fires_once_or_each_period() {
    let cluster = typed(1, 40);
    let client = cluster.client(1);
    assert_eq!(client.call_json::<u64>("typed/once", "add", "3"), 3);
    // Answered by the timer's turn.
    assert_eq!(client.call_json::<u64>("typed/once", "later", "30"), 3);
    assert_eq!(client.inspect("typed/once").unwrap().timers, 0);
    tick(&client, "typed/often");
    eventually("it ticks on", || total(&client, "typed/often") > 5);
    assert_eq!(client.inspect("typed/often").unwrap().timers, 1);
}

#[test]
fn a_timer_wakes_a_sleeper() {
    let cluster = typed(1, 41);
    let client = cluster.client(1);
    tick(&client, "typed/a");
    for round in 1..=5 {
        client.hibernate("typed/a").unwrap();
        assert!(client.counter("hibernations") >= round);
        // To look at it does not wake it, and nobody else speaks to it.
        let asleep = client.inspect("typed/a").unwrap().info.turns;
        eventually("it ticks in its sleep", || {
            client.inspect("typed/a").unwrap().info.turns > asleep
        });
        assert!(client.counter("wakes") >= round);
    }
    assert_eq!(total(&client, "typed/b"), 0);
    let waiting = client.begin_call("typed/b", "later", PERIOD);
    // It may have fired already: then it sleeps for nothing.
    client.hibernate("typed/b").unwrap();
    assert!(waiting.recv_timeout(e2e::PATIENCE).unwrap().is_ok());
}

/// The timer goes with the agent, and each due time fires once, here or there.
#[test]
fn a_timer_moves_with_its_agent() {
    let cluster = typed(2, 42);
    let client = cluster.client(1);
    client.spawn("typed/a", 1);
    let begun = Instant::now();
    tick(&client, "typed/a");
    for round in 0..10 {
        let before = total(&client, "typed/a");
        client.migrate("typed/a", 2 - round % 2).unwrap();
        eventually("it ticks where it is now", || {
            total(&client, "typed/a") > before + 1
        });
        let ticks = total(&client, "typed/a");
        let due = begun.elapsed().as_millis() / u128::from(PERIOD) + 1;
        assert!(
            u128::from(ticks) <= due,
            "{ticks} ticks, and {due} were due"
        );
    }
    assert_eq!(client.inspect("typed/a").unwrap().timers, 1);
}

#[test]
fn a_cancelled_timer_is_silent_awake_asleep_and_elsewhere() {
    let cluster = typed(2, 43);
    let client = cluster.client(1);
    client.spawn("typed/a", 1);
    tick(&client, "typed/a");
    eventually("it ticks", || total(&client, "typed/a") > 1);
    client.migrate("typed/a", 2).unwrap();
    let reply = client.ask_json("typed/a", "untick", "");
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    let stands = total(&client, "typed/a");
    assert_eq!(client.inspect("typed/a").unwrap().timers, 0);
    client.migrate("typed/a", 1).unwrap();
    client.hibernate("typed/a").unwrap();
    // Others of the same period tick meanwhile.
    tick(&client, "typed/clock");
    eventually("five periods are over", || {
        total(&client, "typed/clock") >= 5
    });
    let detail = client.inspect("typed/a").unwrap();
    assert_eq!(detail.info.status, AgentStatus::Hibernated);
    assert_eq!(total(&client, "typed/a"), stands);
}
