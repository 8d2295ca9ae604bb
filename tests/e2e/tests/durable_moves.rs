//! Durable agents move: whichever node is killed, and started again with its journal.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use e2e::steps::Step;
use e2e::storm::{Storm, Victim, run};
use e2e::{Client, Cluster, eventually, json, message};
use phoenix_core::control::{ClientMessage, Verdict};
use phoenix_core::{KindPolicy, Millis, Reply};

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(3_600_000),
        give_up_after: Millis(3_600_000),
        ..KindPolicy::default()
    }
}

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let cluster = Cluster::powered(nodes, seed, |_| {});
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    cluster
}

fn add(agent: &str, by: u64, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&by.to_string()),
        ..message(agent, "add", (), sequence)
    }
}

/// Adds `by`, with this number in the client's stream, until it is applied: now, or
/// before.
fn apply(client: &Client, agent: &str, by: u64, sequence: u64) {
    eventually("it is applied", || {
        match &client.send(vec![add(agent, by, sequence)])[..] {
            [Verdict::Applied] => true,
            // Whoever is just starting takes nothing yet.
            [Verdict::Refused { .. }] => false,
            other => panic!("{agent}: {sequence}: {other:?}"),
        }
    });
}

/// The agent's total, as soon as it can be asked.
fn total(client: &Client, agent: &str) -> u64 {
    let mut total = None;
    eventually("it answers", || match client.ask_json(agent, "total", "") {
        Reply::Ok(payload) => {
            total = Some(serde_json::from_slice(&payload.bytes).unwrap());
            true
        }
        Reply::Unavailable(_) => false,
        other => panic!("{agent}: {other:?}"),
    });
    total.unwrap()
}

fn restart(cluster: &mut Cluster, node: usize) {
    cluster.kill(node);
    cluster.start(node);
    cluster.wait_connected();
}

/// Waits until one node alone has the agent, and says which.
fn home(cluster: &Cluster, agent: &str) -> usize {
    let mut at = 0;
    eventually("one node has it", || match cluster.places(agent)[..] {
        [one] => {
            at = one;
            true
        }
        _ => false,
    });
    at
}

#[test]
fn an_agent_moves_back_and_forth_and_outlives_each_of_its_nodes() {
    let mut cluster = cluster(3, 70);
    let client = cluster.client(1);
    client.spawn("typed/a", 2);
    let mut expected = 0;
    for round in 1..=6 {
        apply(&cluster.client(1), "typed/a", round, round);
        expected += round;
        let to = if round % 2 == 1 { 3 } else { 2 };
        cluster.client(1).migrate("typed/a", to).unwrap();
        assert_eq!(home(&cluster, "typed/a"), to);
        // Before and after it has done anything where it came to.
        if round % 3 == 0 {
            restart(&mut cluster, to);
        }
        // What was applied where it came from is known where it is.
        apply(&cluster.client(1), "typed/a", round, round);
        assert_eq!(total(&cluster.client(1), "typed/a"), expected);
        for node in [to, 5 - to] {
            restart(&mut cluster, node);
            assert_eq!(total(&cluster.client(1), "typed/a"), expected);
        }
        assert_eq!(home(&cluster, "typed/a"), to, "nothing is left behind");
    }
}

/// Senders, receivers, moves and hibernations, all durable, without a node's death.
fn calm(seed: u64) -> Storm {
    Storm {
        seed,
        messages: 100_000,
        moves: 1_000,
        sleeps: 1_000,
        kills: None,
        waiting: false,
        durable: true,
    }
}

/// A part of it, small enough for every run of the tests.
fn short(storm: Storm) -> Storm {
    Storm {
        messages: 8_000,
        moves: 80,
        sleeps: 80,
        ..storm
    }
}

#[test]
fn replies_arrive_while_agents_move_and_half_of_them_wait() {
    run(short(Storm {
        waiting: true,
        ..calm(71)
    }));
}

#[test]
fn messages_flow_while_sources_of_moves_lose_power() {
    run(short(Storm {
        kills: Some((Victim::Source, 4)),
        ..calm(72)
    }));
}

#[test]
fn messages_flow_while_targets_of_moves_lose_power() {
    run(short(Storm {
        kills: Some((Victim::Target, 4)),
        ..calm(73)
    }));
}

#[test]
fn messages_flow_while_both_nodes_of_moves_lose_power() {
    run(short(Storm {
        kills: Some((Victim::Both, 4)),
        ..calm(74)
    }));
}

#[test]
#[ignore = "a long run: CONTRIBUTING.md says how"]
fn messages_flow_and_nodes_lose_power_at_each_step() {
    let given = std::env::var("PHOENIX_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    for victim in [Victim::Source, Victim::Target, Victim::Both] {
        run(Storm {
            kills: Some((victim, Step::ALL.len() as u64)),
            ..calm(seed)
        });
    }
}

/// Durable agents of a node that stops: awake, asleep, and not loaded since it began.
fn drained(policy: &str, drain_durable: bool, seed: u64) -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::powered(3, seed, move |config| {
        config.drain_durable = drain_durable;
    });
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    let names: Vec<String> = (0..6).map(|n| format!("typed/{policy}-{n}")).collect();
    for name in &names {
        cluster.client(1).spawn(name, 2);
        apply(&cluster.client(1), name, 5, 1);
    }
    restart(&mut cluster, 2);
    for (n, name) in names.iter().enumerate().skip(2) {
        assert_eq!(total(&cluster.client(1), name), 5);
        if n % 2 == 0 {
            cluster.client(1).hibernate(name).unwrap();
        }
    }
    let drained = cluster.node(2).drain(Duration::from_secs(30));
    assert_eq!((drained.lost, drained.named), (0, Vec::new()));
    (cluster, names)
}

#[test]
fn durable_agents_wait_for_their_node_when_it_stops() {
    let (mut cluster, names) = drained("wait", false, 75);
    for name in &names {
        assert_eq!(cluster.places(name), [2], "{name}");
    }
    restart(&mut cluster, 2);
    for name in &names {
        assert_eq!(total(&cluster.client(1), name), 5, "{name}");
        assert_eq!(cluster.places(name), [2], "{name}");
    }
}

#[test]
fn durable_agents_leave_a_node_that_is_not_to_come_back() {
    let (mut cluster, names) = drained("leave", true, 76);
    assert!(cluster.client(2).agents().len() >= names.len());
    for name in &names {
        let at = home(&cluster, name);
        assert_ne!(at, 2, "{name}");
    }
    cluster.kill(2);
    for name in &names {
        apply(&cluster.client(1), name, 5, 1);
        assert_eq!(total(&cluster.client(1), name), 5, "{name}");
    }
}
