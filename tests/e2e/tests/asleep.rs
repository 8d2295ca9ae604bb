//! Sleeping agents in memory and on disk: where they lie, what that costs, and how they
//! wake, one or thousands of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::sync::mpsc;

use e2e::{Client, Cluster, PATIENCE, eventually, json, message};
use phoenix_core::control::{
    AgentInfo, AgentStatus, ClientMessage, ControlError, Request, Response, Verdict,
};
use phoenix_core::{AgentId, KindPolicy, Millis, Payload, Reply};

fn policy(durable: bool) -> KindPolicy {
    KindPolicy {
        durable,
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    }
}

/// A node whose sleeping agents may take so much memory.
fn node(seed: u64, memory: u64, durable: bool) -> Cluster {
    let cluster = Cluster::tuned(1, seed, move |config| {
        config.memory_budget = Some(memory);
        config.max_resident = Some(100);
    });
    cluster.deploy("typed", phoenix_support::guest("typed"), policy(durable));
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

fn info(client: &Client, agent: &str) -> AgentInfo {
    let all = client.agents();
    all.into_iter()
        .find(|it| it.agent.as_str() == agent)
        .unwrap()
}

fn restart(cluster: &mut Cluster) -> Client {
    cluster.kill(1);
    cluster.start(1);
    cluster.client(1)
}

/// Makes agents with a total of their number and one, and puts them to sleep.
fn asleep(client: &Client, count: u64) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("typed/{number}")).collect();
    let messages = names
        .iter()
        .zip(1..)
        .map(|(name, by)| add(name, by, 1))
        .collect();
    let sent = client.send(messages);
    assert!(sent.iter().all(|it| *it == Verdict::Applied));
    let sleeping: Vec<_> = names
        .iter()
        .map(|name| {
            let agent = AgentId::new(name).unwrap();
            client.begin(Request::Hibernate { agent })
        })
        .collect();
    for slept in sleeping {
        slept.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    names
}

#[test]
fn a_durable_agent_leaves_memory_once_the_journal_has_it() {
    let mut cluster = node(80, 0, true);
    let client = cluster.client(1);
    let names = asleep(&client, 20);
    eventually("all are in the journal alone", || {
        client
            .agents()
            .iter()
            .all(|it| it.status == AgentStatus::Stored)
    });
    assert_eq!(client.counter("asleep-memory"), 0);
    assert_eq!(client.counter("asleep-disk"), 0, "the journal has them");
    for it in client.agents() {
        assert_eq!(it.bytes, 0, "{it:?}");
        assert!(it.disk_bytes > 0, "{it:?}");
    }
    for (name, expected) in names.iter().zip(1..) {
        assert_eq!(total(&client, name), expected);
    }
    assert_eq!(client.counter("restored"), 20);
    // What it did since then is not lost by its sleeping once more.
    assert_eq!(
        client.send(vec![add("typed/3", 100, 2)]),
        [Verdict::Applied]
    );
    client.hibernate("typed/3").unwrap();
    eventually("it is stored again", || {
        info(&client, "typed/3").status == AgentStatus::Stored
    });
    assert_eq!(total(&client, "typed/3"), 104);
    let client = restart(&mut cluster);
    assert_eq!(total(&client, "typed/3"), 104);
    assert_eq!(
        client.send(vec![add("typed/3", 100, 2)]),
        [Verdict::Applied]
    );
    assert_eq!(total(&client, "typed/3"), 104, "what was applied is known");
}

#[test]
fn while_there_is_room_agents_sleep_in_memory() {
    let cluster = node(81, 1 << 30, true);
    let client = cluster.client(1);
    asleep(&client, 10);
    for it in client.agents() {
        assert_eq!(it.status, AgentStatus::Hibernated);
        assert!(
            it.bytes > 0 && it.turns == 2,
            "its `init` and one more: {it:?}"
        );
    }
    eventually("the journal has their snapshots as well", || {
        client.agents().iter().all(|it| it.disk_bytes > 0)
    });
    assert_eq!(client.counter("asleep-memory"), 10);
    assert!(client.counter("asleep-memory-bytes") > 0);
    assert_eq!(total(&client, "typed/4"), 5);
    assert_eq!(client.counter("restored"), 0);
}

#[test]
fn an_ephemeral_agent_goes_to_disk_and_comes_back() {
    let mut cluster = node(82, 0, false);
    let client = cluster.client(1);
    let names = asleep(&client, 40);
    eventually("all are on disk", || client.counter("asleep-disk") == 40);
    assert_eq!(client.counter("asleep-memory"), 0);
    for it in client.agents() {
        assert_eq!((it.status, it.bytes), (AgentStatus::Stored, 0), "{it:?}");
        assert!(it.disk_bytes > 0, "{it:?}");
    }
    let directory = cluster.data_dir(1).join("asleep");
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert!(files <= 2, "one file a worker, not {files}");
    for (name, expected) in names.iter().zip(1..) {
        assert_eq!(client.inspect(name).unwrap().info.turns, 2);
        assert_eq!(total(&client, name), expected, "{name}");
        let sent = client.send(vec![add(name, 1_000, 2)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    assert_eq!(client.counter("asleep-disk"), 0);
    assert_eq!(client.counter("asleep-disk-bytes"), 0);
    client.hibernate("typed/7").unwrap();
    eventually("it is on disk again", || client.counter("asleep-disk") == 1);
    assert_eq!(total(&client, "typed/7"), 1_008);
    // They end with their node, as those in memory do.
    client.hibernate("typed/7").unwrap();
    let left = directory.join("left-by-a-run-that-was-killed");
    std::fs::write(&left, b"asleep").unwrap();
    let client = restart(&mut cluster);
    assert!(!left.exists());
    assert_eq!(client.agents().len(), 0);
    assert_eq!(total(&client, "typed/7"), 0, "another life");
}

#[test]
fn a_stored_agent_is_inspected_where_it_is() {
    let mut cluster = node(83, 0, true);
    let client = cluster.client(1);
    for sequence in 1..=3 {
        let sent = client.send(vec![add("typed/a", 5, sequence)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    let mut client = client;
    // Once with entries to be replayed, once with a snapshot.
    for with_snapshot in [false, true] {
        let awake = client.inspect("typed/a").unwrap();
        assert!(awake.info.disk_bytes > 0 && awake.info.bytes > 0);
        if with_snapshot {
            client.hibernate("typed/a").unwrap();
        }
        client = restart(&mut cluster);
        let stored = client.inspect("typed/a").unwrap();
        assert_eq!(stored.info.status, AgentStatus::Stored);
        assert_eq!(stored.info.turns, awake.info.turns);
        assert_eq!(stored.info.bytes, 0);
        assert!(stored.info.disk_bytes > 0);
        assert_eq!(stored.component, awake.component);
        assert_eq!(stored.streams_in, awake.streams_in);
        assert_eq!(client.counter("restored"), 0, "it sleeps on");
        assert_eq!(info(&client, "typed/a").turns, 0, "a list reads nothing");
        assert_eq!(total(&client, "typed/a"), 15);
    }
}

#[test]
fn one_that_was_restored_for_nothing_is_stored_again() {
    let mut cluster = node(84, 1 << 30, true);
    let client = cluster.client(1);
    for sequence in 1..=3 {
        let sent = client.send(vec![add("typed/a", 5, sequence)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    let client = restart(&mut cluster);
    // The request waits until it is awake, and is refused then: nothing is wrong with it.
    let refused = client.request(Request::Reset {
        agent: AgentId::new("typed/a").unwrap(),
        config: Payload::default(),
        force: false,
    });
    assert!(
        matches!(refused, Err(ControlError::Conflict(_))),
        "{refused:?}"
    );
    assert_eq!(client.counter("restored"), 1);
    assert_eq!(info(&client, "typed/a").status, AgentStatus::Resident);
    assert!(client.hibernate("typed/a").unwrap() > 0);
    assert_eq!(info(&client, "typed/a").status, AgentStatus::Stored);
    assert_eq!(client.counter("snapshots"), 0, "nothing was written for it");
    assert_eq!(total(&client, "typed/a"), 15);
    assert_eq!(client.counter("restored"), 2);
}

#[test]
fn requests_wait_for_an_agent_that_is_stored() {
    let mut cluster = node(85, 0, true);
    let client = cluster.client(1);
    assert_eq!(client.send(vec![add("typed/a", 5, 1)]), [Verdict::Applied]);
    let client = restart(&mut cluster);
    let agent = AgentId::new("typed/a").unwrap();
    let stopped = client.request(Request::Stop { agent });
    assert_eq!(stopped, Ok(Response::Done), "it need not be asked twice");
    eventually("it has ended", || client.agents().is_empty());
    assert_eq!(total(&client, "typed/a"), 0, "another life");
}

#[test]
fn timers_wake_agents_from_disk() {
    for durable in [false, true] {
        let cluster = node(86, 0, durable);
        let client = cluster.client(1);
        let reply = client.ask_json("typed/t", "tick", "50");
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
        for _ in 0..3 {
            client.hibernate("typed/t").unwrap();
            let before = client.inspect("typed/t").unwrap().info.turns;
            eventually("it ticks in its sleep", || {
                client.inspect("typed/t").unwrap().info.turns > before
            });
        }
        let had = client.counter("wakes") + client.counter("restored");
        assert!(had >= 3, "{had}");
    }
}

/// Thousands are wanted at once, and one that is awake is answered before the last of them.
fn stampede(seed: u64, memory: u64, durable: bool) {
    const AGENTS: u64 = 2_000;
    let cluster = node(seed, memory, durable);
    let client = cluster.client(1);
    let mut names = asleep(&client, AGENTS);
    if memory == 0 {
        eventually("all are on disk", || {
            client
                .agents()
                .iter()
                .all(|it| it.status == AgentStatus::Stored)
        });
    }
    let resident = "typed/resident".to_owned();
    assert_eq!(total(&client, &resident), 0);
    // It is asked when half of the others are.
    let half = names.len() / 2;
    names.insert(half, resident.clone());
    let (done, ends) = mpsc::channel();
    for name in &names {
        let (done, name) = (done.clone(), name.clone());
        let asked = name.clone();
        client.call_then(&asked, "total", (), move |end| {
            done.send((name, end)).unwrap()
        });
    }
    let mut found = HashMap::new();
    let mut last = None;
    for _ in &names {
        let (name, end) = ends.recv_timeout(PATIENCE).unwrap();
        let Response::Called(Reply::Ok(payload)) = end.unwrap() else {
            panic!("{name} did not answer");
        };
        let text = std::str::from_utf8(&payload.bytes).unwrap();
        found.insert(name.clone(), text.parse::<u64>().unwrap());
        last = Some(name);
    }
    assert_ne!(last, Some(resident.clone()), "it waited for all of them");
    assert_eq!(found.remove(&resident), Some(0));
    for number in 0..AGENTS {
        assert_eq!(found[&format!("typed/{number}")], number + 1);
    }
}

#[test]
fn thousands_wake_from_memory_while_another_answers() {
    stampede(87, 1 << 30, false);
}

#[test]
fn thousands_wake_from_disk_while_another_answers() {
    stampede(88, 0, false);
}

#[test]
fn thousands_are_restored_while_another_answers() {
    stampede(89, 0, true);
}

/// What comes for an agent while it is on its way stays in order, and is applied once.
#[test]
fn what_is_held_for_one_that_wakes_keeps_its_order() {
    for (seed, durable) in [(90, false), (91, true)] {
        let cluster = node(seed, 0, durable);
        let client = cluster.client(1);
        let names = asleep(&client, 200);
        eventually("all are on disk", || {
            client
                .agents()
                .iter()
                .all(|it| it.status == AgentStatus::Stored)
        });
        let mut messages = Vec::new();
        for sequence in 2..=9 {
            messages.extend(names.iter().map(|name| add(name, sequence, sequence)));
        }
        let sent = client.send(messages);
        for (at, verdict) in sent.iter().enumerate() {
            assert_eq!(*verdict, Verdict::Applied, "message {at}");
        }
        for (name, begun) in names.iter().zip(1..) {
            assert_eq!(total(&client, name), begun + (2..=9).sum::<u64>(), "{name}");
        }
    }
}
