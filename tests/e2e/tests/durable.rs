//! Durable agents go on where they were after their node was killed.
//!
//! A node that is dropped without a drain has told nobody anything it had not told by
//! then; what its journal has is what is left of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually, json, message};
use phoenix_core::control::{AgentStatus, ClientMessage, Request, Response, Verdict};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::{ClientId, Digest, KindPolicy, Millis, Payload, Reply};

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    }
}

fn counters(seed: u64, policy: KindPolicy) -> Cluster {
    let cluster = Cluster::new(1, seed);
    cluster.deploy("typed", phoenix_support::guest("typed"), policy);
    cluster
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

fn reset(client: &Client, agent: &str) {
    let request = Request::Reset {
        agent: agent.parse().unwrap(),
        config: Payload::default(),
        force: true,
    };
    let done = client.request(request).unwrap();
    assert!(matches!(done, Response::Reset { .. }), "{done:?}");
}

fn stop(client: &Client, agent: &str) {
    let agent = agent.parse().unwrap();
    client.request(Request::Stop { agent }).unwrap();
}

fn lives(client: &Client, agent: &str) -> bool {
    let agents = client.agents();
    agents.iter().any(|it| it.agent.as_str() == agent)
}

/// Lets an agent wait for a timer, and defer all else meanwhile.
fn keep_waiting(client: &Client, agent: &str, millis: u64) {
    drop(client.begin(Request::Call {
        client: ClientId::new("test").unwrap(),
        agent: agent.parse().unwrap(),
        method: "later".into(),
        payload: json(&millis.to_string()),
        timeout: Millis(60_000),
        options: None,
    }));
    eventually(
        "it waits",
        || matches!(client.inspect(agent), Ok(detail) if detail.pending == 1),
    );
}

fn restart(cluster: &mut Cluster) -> Client {
    cluster.kill(1);
    cluster.start(1);
    cluster.client(1)
}

#[test]
fn state_and_dedup_outlive_their_node() {
    let mut cluster = counters(60, durable());
    let mut client = cluster.client(1);
    let mut expected = 0;
    for round in 0..4 {
        for number in 1..=5 {
            let sequence = round * 5 + number;
            let sent = client.send(vec![add("typed/a", sequence, sequence)]);
            assert_eq!(sent, [Verdict::Applied]);
            expected += sequence;
        }
        client = restart(&mut cluster);
        // What was applied is told again, and not applied again.
        let last = round * 5 + 5;
        let sent = client.send(vec![add("typed/a", last, last)]);
        assert_eq!(sent, [Verdict::Applied]);
        assert_eq!(total(&client, "typed/a"), expected, "after start {round}");
        assert_eq!(client.counter("restored"), 1);
    }
}

#[test]
fn a_snapshot_stands_for_what_came_before_it() {
    let every = SnapshotEvery {
        turns: 4,
        ..SnapshotEvery::default()
    };
    let policy = KindPolicy {
        snapshot_every: every,
        ..durable()
    };
    let mut cluster = counters(61, policy);
    let mut client = cluster.client(1);
    for number in 1..=30 {
        let sent = client.send(vec![add("typed/a", 1, number)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    assert!(client.counter("snapshots") >= 5);
    client = restart(&mut cluster);
    assert_eq!(total(&client, "typed/a"), 30);
    // And the snapshot of one that slept.
    client.hibernate("typed/a").unwrap();
    assert_eq!(total(&client, "typed/a"), 30, "woken in the same run");
    client.hibernate("typed/a").unwrap();
    client = restart(&mut cluster);
    assert_eq!(total(&client, "typed/a"), 30);
}

#[test]
fn agents_are_known_and_not_loaded_when_a_node_starts() {
    let mut cluster = counters(62, durable());
    let client = cluster.client(1);
    let names: Vec<String> = (0..20).map(|n| format!("typed/{n}")).collect();
    for name in &names {
        assert_eq!(client.send(vec![add(name, 1, 1)]), [Verdict::Applied]);
    }
    let client = restart(&mut cluster);
    let mut known = client.agents();
    known.sort_by(|a, b| a.agent.cmp(&b.agent));
    assert_eq!(known.len(), names.len());
    assert!(known.iter().all(|it| it.status == AgentStatus::Stored));
    assert_eq!(client.counter("restored"), 0);
    assert_eq!(total(&client, "typed/7"), 1);
    assert_eq!(client.counter("restored"), 1, "the one that was asked");
}

#[test]
fn timers_fire_after_a_start_without_being_asked() {
    let mut cluster = counters(63, durable());
    let client = cluster.client(1);
    let reply = client.ask_json("typed/t", "tick", "20");
    assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
    let client = restart(&mut cluster);
    eventually("its timer has it restored", || {
        client.counter("restored") == 1
    });
    let before = total(&client, "typed/t");
    eventually("it ticks on", || total(&client, "typed/t") > before);
}

/// What was sent and had no verdict is sent again under its old number.
#[test]
fn the_outbox_outlives_its_node() {
    let mut cluster = counters(64, durable());
    let client = cluster.client(1);
    // While it waits for its timer the receiver defers all else.
    keep_waiting(&client, "typed/r", 2_000);
    for _ in 0..20 {
        let sent = client.ask_json("typed/s", "send", "\"typed/r add 1\"");
        assert!(matches!(sent, Reply::Ok(_)), "{sent:?}");
    }
    let client = restart(&mut cluster);
    eventually("all came, each once", || total(&client, "typed/r") == 20);
    eventually(
        "the sender hears of it",
        || matches!(client.inspect("typed/s"), Ok(detail) if detail.outbox == 0),
    );
    assert_eq!(total(&client, "typed/r"), 20);
}

/// An agent keeps the component it began with, also where nothing else is of that any more.
#[test]
fn an_agent_goes_on_with_the_component_it_began_with() {
    let mut cluster = counters(67, durable());
    let client = cluster.client(1);
    assert_eq!(client.send(vec![add("typed/a", 5, 1)]), [Verdict::Applied]);
    let other = phoenix_support::agent("counter");
    cluster.deploy("typed", other, durable());
    let client = restart(&mut cluster);
    eventually(
        "its component is made ready",
        || matches!(client.ask_json("typed/a", "total", ""), Reply::Ok(it) if *it.bytes == *b"5"),
    );
    // Anew it begins with the one its kind has, and keeps that.
    reset(&client, "typed/a");
    let component = |client: &Client| client.inspect("typed/a").unwrap().component;
    assert_eq!(component(&client), Digest::of(other));
    assert_eq!(client.call::<u64>("typed/a", "add", 3), 3);
    let client = restart(&mut cluster);
    assert_eq!(client.call::<u64>("typed/a", "add", 4), 7);
    assert_eq!(component(&client), Digest::of(other));
}

/// A kind that is durable no more: what lives goes on as it began, what begins anew does not.
#[test]
fn an_agent_that_begins_anew_is_what_its_kind_is_by_then() {
    let mut cluster = counters(59, durable());
    let client = cluster.client(1);
    for agent in ["typed/a", "typed/b"] {
        assert_eq!(client.send(vec![add(agent, 5, 1)]), [Verdict::Applied]);
    }
    let ephemeral = KindPolicy::default();
    cluster.deploy("typed", phoenix_support::guest("typed"), ephemeral);
    reset(&client, "typed/a");
    assert_eq!(client.send(vec![add("typed/a", 6, 2)]), [Verdict::Applied]);
    assert_eq!(client.send(vec![add("typed/b", 6, 2)]), [Verdict::Applied]);
    let client = restart(&mut cluster);
    assert!(!lives(&client, "typed/a"));
    assert_eq!(total(&client, "typed/b"), 11);
}

#[test]
fn an_agent_that_has_ended_is_not_had_again() {
    let mut cluster = counters(65, durable());
    let client = cluster.client(1);
    assert_eq!(client.send(vec![add("typed/a", 7, 1)]), [Verdict::Applied]);
    stop(&client, "typed/a");
    assert_eq!(total(&client, "typed/a"), 0, "a new life");
    let client = restart(&mut cluster);
    assert_eq!(total(&client, "typed/a"), 0);
}

/// What has its verdict has it for good, whatever becomes of the state it led to.
#[test]
fn what_was_heard_before_a_reset_is_not_applied_after_it() {
    let mut cluster = counters(68, durable());
    let mut client = cluster.client(1);
    let mut expected = 0;
    for round in 0..3 {
        let first = round * 2 + 1;
        assert_eq!(
            client.send(vec![add("typed/a", 5, first)]),
            [Verdict::Applied]
        );
        assert_eq!(total(&client, "typed/a"), expected + 5);
        reset(&client, "typed/a");
        if round == 1 {
            // Its new life is in a snapshot then.
            client.hibernate("typed/a").unwrap();
        }
        client = restart(&mut cluster);
        let again = client.send(vec![add("typed/a", 5, first)]);
        assert_eq!(again, [Verdict::Applied], "as it was told before");
        assert_eq!(total(&client, "typed/a"), 0, "round {round}");
        let next = client.send(vec![add("typed/a", 7, first + 1)]);
        assert_eq!(next, [Verdict::Applied]);
        client = restart(&mut cluster);
        expected = 7;
        assert_eq!(total(&client, "typed/a"), expected, "round {round}");
    }
}

/// An agent that was told to stop ends when what it sent has its verdicts, also if its node
/// is killed before.
#[test]
fn a_stop_that_was_answered_outlives_the_node() {
    let mut cluster = counters(69, durable());
    let client = cluster.client(1);
    keep_waiting(&client, "typed/r", 1_500);
    let sent = client.ask_json("typed/s", "send", "\"typed/r add 3\"");
    assert!(matches!(sent, Reply::Ok(_)), "{sent:?}");
    stop(&client, "typed/s");
    assert!(lives(&client, "typed/s"), "its message has no verdict yet");
    let client = restart(&mut cluster);
    eventually("it ends unasked", || !lives(&client, "typed/s"));
    assert_eq!(total(&client, "typed/r"), 3);
    let client = restart(&mut cluster);
    assert!(!lives(&client, "typed/s"));
    assert_eq!(total(&client, "typed/s"), 0, "a new life");
}

/// What was applied in a life that stopped of its own will is not applied in the next one,
/// in this run of the node or a later one; what is new begins a life.
#[test]
fn what_was_heard_before_a_stop_is_not_applied_after_it() {
    for policy in [
        durable(),
        KindPolicy {
            durable: false,
            ..durable()
        },
    ] {
        let is_durable = policy.durable;
        let mut cluster = counters(70, policy);
        let mut client = cluster.client(1);
        for round in 0..3 {
            let first = round * 2 + 1;
            assert_eq!(
                client.send(vec![add("typed/a", 5, first)]),
                [Verdict::Applied]
            );
            stop(&client, "typed/a");
            eventually("it ends", || !lives(&client, "typed/a"));
            assert!(client.inspect("typed/a").is_err(), "it has ended");
            if is_durable && round > 0 {
                client = restart(&mut cluster);
            }
            let again = client.send(vec![add("typed/a", 5, first)]);
            assert_eq!(again, [Verdict::Applied], "as it was told before");
            let next = client.send(vec![add("typed/a", 7, first + 1)]);
            assert_eq!(next, [Verdict::Applied]);
            if is_durable {
                client = restart(&mut cluster);
            }
            assert_eq!(total(&client, "typed/a"), 7, "round {round}");
            stop(&client, "typed/a");
        }
    }
}
