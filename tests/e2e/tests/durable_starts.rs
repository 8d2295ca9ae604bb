//! What a node that starts again makes of the durable agents in its journal.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually, json, message, node_id};
use phoenix_core::control::{AgentStatus, ClientMessage, Request, Response, Verdict};
use phoenix_core::{KindPolicy, Millis, Reply};

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    }
}

fn add(agent: &str, by: u64, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&by.to_string()),
        ..message(agent, "add", (), sequence)
    }
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

/// The same as soon as the agent can be had: a node that has just started may not have
/// its kind yet.
fn total_when_there(client: &Client, agent: &str) -> u64 {
    let mut total = 0;
    eventually("the agent answers", || {
        match client.ask_json(agent, "total", "") {
            Reply::Ok(payload) => {
                total = serde_json::from_slice(&payload.bytes).unwrap();
                true
            }
            Reply::Unavailable(_) => false,
            other => panic!("{other:?}"),
        }
    });
    total
}

#[test]
fn agents_that_began_anew_elsewhere_are_never_had_again() {
    let mut cluster = Cluster::new(3, 100);
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    let client = cluster.client(1);
    for agent in ["typed/a", "typed/b"] {
        client.spawn(agent, 2);
        let sent = client.send(vec![add(agent, 5, 1)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    cluster.kill(2);
    eventually("the others notice", || {
        [1, 3].map(|n| cluster.node(n).connected().len()) == [1, 1]
    });
    let node = node_id(2);
    let declared = client.request(Request::DeclareDead { node }).unwrap();
    assert!(matches!(declared, Response::DeclaredDead { .. }));
    assert_eq!(total(&client, "typed/a"), 0, "a new life elsewhere");
    let home = cluster.places("typed/a");
    assert!(home != [2], "{home:?}");

    cluster.start(2);
    cluster.wait_connected();
    eventually("its copy is given up", || cluster.places("typed/a") == home);
    let second = cluster.client(2);
    assert_eq!(total_when_there(&second, "typed/a"), 0);
    assert_eq!(
        total_when_there(&client, "typed/b"),
        5,
        "it never lived elsewhere"
    );
    assert_eq!(cluster.places("typed/b"), [2]);
    // Nor when the other life is over, whatever becomes of the node.
    let agent = "typed/a".parse().unwrap();
    client.request(Request::Stop { agent }).unwrap();
    cluster.kill(2);
    cluster.start(2);
    cluster.wait_connected();
    assert_eq!(total_when_there(&cluster.client(2), "typed/a"), 0);
}

#[test]
fn agents_are_restored_with_their_node_where_that_is_wanted() {
    let mut cluster = Cluster::tuned(1, 101, |config| config.restore_eagerly = true);
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    let client = cluster.client(1);
    let count = 200;
    for number in 0..count {
        let agent = format!("typed/{number}");
        let sent = client.send(vec![add(&agent, number + 1, 1)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    eventually("all are restored, unasked", || {
        client.counter("restored") == count
    });
    let agents = client.agents();
    assert_eq!(agents.len() as u64, count);
    let awake = |status| status != AgentStatus::Quarantined;
    assert!(agents.iter().all(|it| awake(it.status)), "{agents:?}");
    assert_eq!(total(&client, "typed/7"), 8);
    assert_eq!(client.counter("restored"), count);
}

/// What is wanted of a stored agent is done when it is restored.
#[test]
fn a_stored_agent_is_shown_and_stopped_as_any_other() {
    let mut cluster = Cluster::new(1, 102);
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    let client = cluster.client(1);
    for agent in ["typed/a", "typed/b"] {
        assert_eq!(client.send(vec![add(agent, 5, 1)]), [Verdict::Applied]);
    }
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    let detail = client.inspect("typed/a").unwrap();
    assert_eq!(detail.info.turns, 2, "its init and a message");
    let agent = "typed/b".parse().unwrap();
    client.request(Request::Stop { agent }).unwrap();
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    // It is read once more, for what it has heard.
    eventually("it ends", || {
        let left = client.agents();
        left.iter().map(|it| it.agent.as_str()).eq(["typed/a"])
    });
}
