//! Agents that wait for an answer sleep and move like any other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Cluster, eventually, read};
use phoenix_core::control::Response;
use phoenix_core::{KindPolicy, Millis, Reply};

fn relays(nodes: usize, seed: u64) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let policy = KindPolicy {
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("relay", phoenix_support::guest("relay"), policy);
    cluster
}

#[test]
fn an_answer_finds_an_agent_that_slept_and_moved() {
    let cluster = relays(2, 3);
    let client = cluster.client(1);
    const AGENTS: usize = 24;
    let calls: Vec<_> = (0..AGENTS)
        .map(|n| {
            let (agent, other) = (format!("relay/asker-{n}"), format!("relay/other-{n}"));
            client.begin_call(&agent, "ask_until_told", (other, n as u64))
        })
        .collect();
    for n in 0..AGENTS {
        let (agent, other) = (format!("relay/asker-{n}"), format!("relay/other-{n}"));
        for waits in [&agent, &other] {
            eventually("it waits, and its question is asked", || {
                let detail = client.inspect(waits);
                detail.is_ok_and(|detail| detail.pending == 1 && detail.outbox == 0)
            });
        }
        let away = |agent: &str| {
            let home = client.inspect(agent).unwrap().info.node.0 as usize;
            client.migrate(agent, 3 - home).map(drop).unwrap();
        };
        match n % 4 {
            0 => away(&agent),
            1 => client.hibernate(&agent).map(drop).unwrap(),
            2 => {
                client.hibernate(&agent).unwrap();
                away(&agent);
                client.hibernate(&agent).unwrap();
            }
            // Whoever is asked sleeps and moves as well.
            _ => {
                client.hibernate(&other).unwrap();
                away(&other);
            }
        }
    }
    for (n, call) in calls.into_iter().enumerate() {
        client.call::<()>(&format!("relay/other-{n}"), "tell", n as u64);
        match call.recv_timeout(e2e::PATIENCE).unwrap().unwrap() {
            Response::Called(Reply::Ok(payload)) => assert_eq!(read::<u64>(&payload), n as u64),
            other => panic!("asker {n}: {other:?}"),
        }
    }
}

#[test]
fn asks_pass_through_many_agents_and_nodes() {
    let cluster = relays(3, 4);
    let client = cluster.client(2);
    let hops: Vec<String> = (0..20).map(|n| format!("relay/hop-{n}")).collect();
    let answer: u64 = client.call("relay/first", "relay", (&hops, 100u64));
    assert_eq!(answer, 121);
    let nodes: std::collections::BTreeSet<_> =
        client.agents().iter().map(|agent| agent.node).collect();
    assert!(nodes.len() > 1, "agents are spread over the nodes");
}

#[test]
fn an_ask_nobody_answers_runs_into_its_deadline() {
    let cluster = relays(1, 5);
    let client = cluster.client(1);
    assert_eq!(client.call::<u64>("relay/a", "after", (30u64, 9u64)), 9);
    let Reply::Failed(failure) =
        client.ask("relay/a", "relay", (vec!["nokind/x".to_owned()], 1u64))
    else {
        panic!("nobody is there");
    };
    assert!(failure.message.contains("no-such-kind"), "{failure:?}");
}
