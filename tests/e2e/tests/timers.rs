//! Timers through a node: they fire, wake, move, and end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Instant;

use e2e::{Client, Cluster, eventually};
use phoenix_core::control::{AgentStatus, Response};
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
    let waiting = client.begin_call_json("typed/b", "later", &PERIOD.to_string());
    // It may have fired already: then it sleeps for nothing.
    client.hibernate("typed/b").unwrap();
    let ended = waiting.recv_timeout(e2e::PATIENCE).unwrap();
    let Ok(Response::Called(Reply::Ok(total))) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(*total.bytes, *b"0");
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

#[test]
fn a_cron_schedule_is_shown_and_a_bad_one_says_what_is_wrong() {
    let cluster = typed(1, 44);
    let client = cluster.client(1);
    let reply = client.ask_json("typed/a", "tick-by", "\"30 4 * * mon-fri\"");
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    let detail = client.inspect("typed/a").unwrap();
    let [timer] = &detail.next_timers[..] else {
        panic!("{detail:?}");
    };
    assert_eq!((&*timer.method, timer.timer), ("tick", u64::MAX));
    assert_eq!(timer.schedule, "cron 30 4 * * mon-fri");
    assert_eq!(timer.catch_up, "skip after 60000 ms");
    let day = 24 * 60 * 60 * 1_000;
    assert_eq!(timer.due.0 % day, (4 * 60 + 30) * 60 * 1_000);
    let reply = client.ask_json("typed/a", "tick-by", "\"61 4 * * *\"");
    assert!(!matches!(reply, Reply::Ok(_)), "{reply:?}");
    let trap = client.inspect("typed/a").unwrap().last_trap.unwrap();
    assert!(trap.contains("`61` is no minute"), "{trap}");
    let detail = client.inspect("typed/a").unwrap();
    assert_eq!(detail.next_timers.len(), 1, "the timer stands as it was");
}

/// Every due time that passes while the node is down is made up for, and none twice.
#[test]
fn what_fell_due_while_the_node_was_down_is_caught_up_with() {
    let mut cluster = Cluster::new(1, 45);
    let policy = KindPolicy {
        durable: true,
        ..KindPolicy::default()
    };
    cluster.deploy("typed", phoenix_support::guest("typed"), policy);
    let client = cluster.client(1);
    let ticks = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap() / PERIOD;
    let begun = Instant::now();
    let reply = client.ask_json("typed/all", "tick-all", &PERIOD.to_string());
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    let set = Instant::now();
    tick(&client, "typed/once");
    cluster.kill(1);
    let killed = ticks(begun) + 1;
    eventually("twenty are due meanwhile", || ticks(begun) >= killed + 20);
    cluster.start(1);
    let client = cluster.client(1);
    let missed = ticks(set);
    eventually("all of them are made up for", || {
        total(&client, "typed/all") >= missed
    });
    for _ in 0..10 {
        let all = total(&client, "typed/all");
        assert!(all <= ticks(begun) + 1, "{all} and {}", ticks(begun));
    }
    // The other kind made one of them.
    let once = total(&client, "typed/once");
    assert!(once <= ticks(begun) + 1 - 18, "{once} and {}", ticks(begun));
}
