//! Durable agents move: whichever node is killed, and started again with its journal.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

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
    let cluster = Cluster::new(nodes, seed);
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
