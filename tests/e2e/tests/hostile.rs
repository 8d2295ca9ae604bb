//! Whatever an agent does, its own turn is undone and its neighbours answer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use e2e::{Client, Cluster};
use phoenix_core::control::Response;
use phoenix_core::{KindPolicy, Millis, Reply};

/// One node with one worker, so that everybody is everybody's neighbour.
fn cluster() -> Cluster {
    let cluster = Cluster::tuned(1, 7, |config| {
        config.workers = Some(1);
        config.max_resident = Some(50);
    });
    let policy = KindPolicy {
        turn_deadline: Millis(100),
        max_attempts: 2,
        ..KindPolicy::default()
    };
    cluster.deploy("hostile", phoenix_support::guest("hostile"), policy.clone());
    cluster.deploy(
        "counter",
        phoenix_support::agent("counter"),
        KindPolicy::default(),
    );
    cluster
}

/// The median of how long the neighbour takes to answer.
fn usual(client: &Client, times: usize) -> Duration {
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let began = Instant::now();
            client.call::<u64>("counter/neighbour", "add", 1);
            began.elapsed()
        })
        .collect();
    took.sort();
    took[times / 2]
}

#[test]
fn every_misdeed_is_contained() {
    let cluster = cluster();
    let client = cluster.client(1);
    usual(&client, 50);
    let known: Vec<String> = client.call_json("hostile/list", "known", "");
    assert!(known.len() > 40, "{known:?}");
    for misdeed in &known {
        let agent = format!("hostile/{misdeed}");
        assert_eq!(client.call_json::<i64>(&agent, "add", "5"), 5);
        let call = client.begin_call(&agent, misdeed, ());
        let before = client.call::<u64>("counter/neighbour", "total", ());
        client.call::<u64>("counter/neighbour", "add", 1);
        let after = client.call::<u64>("counter/neighbour", "total", ());
        assert_eq!(after, before + 1, "the neighbour goes on during {misdeed}");
        let ended = call
            .recv_timeout(e2e::PATIENCE)
            .unwrap_or_else(|_| panic!("{misdeed} never ends"));
        if misdeed.starts_with("lie-pending") {
            // Who says that it waits is taken at its word, and given nothing.
            continue;
        }
        // Either it did no harm and counted, or it was undone and did not.
        let total = client.call_json::<i64>(&agent, "total", "");
        match ended.unwrap() {
            Response::Called(Reply::Ok(_)) => assert!(
                total == 6,
                "{misdeed} was answered and the count is {total}"
            ),
            Response::Called(Reply::Bounced(why)) => {
                assert!(why.starts_with("trapped"), "{misdeed}: {why}");
                assert_eq!(total, 5, "{misdeed} was undone");
            }
            other => panic!("{misdeed}: {other:?}"),
        }
    }
}

#[test]
fn a_neighbour_of_endless_loops_answers_as_usual() {
    let cluster = cluster();
    let client = cluster.client(1);
    usual(&client, 200);
    let alone = usual(&client, 200);
    let loops: Vec<_> = (0..4)
        .map(|n| client.begin_call(&format!("hostile/spin-{n}"), "spin", ()))
        .collect();
    let beside = usual(&client, 200);
    println!("the neighbour's median: {alone:?} alone, {beside:?} beside endless loops");
    for spinning in loops {
        let ended = spinning.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
        assert!(
            matches!(&ended, Response::Called(Reply::Bounced(why)) if why.contains("deadline")),
            "{ended:?}"
        );
    }
    assert!(client.counter("handovers") > 0, "the queue went to others");
}

#[test]
fn nobody_finds_what_another_left_in_a_reused_slot() {
    let cluster = cluster();
    let client = cluster.client(1);
    for round in 0..10 {
        let writer = format!("hostile/writer-{round}");
        let words: u64 = client.call_json(&writer, "residue-write", "42");
        assert!(words > 0);
        let stop = phoenix_core::control::Request::Stop {
            agent: writer.parse().unwrap(),
        };
        client.request(stop).unwrap();
        let seeker = format!("hostile/seeker-{round}");
        assert_eq!(client.call_json::<u64>(&seeker, "residue-seek", "42"), 0);
    }
}

#[test]
fn an_endless_init_is_a_dead_letter() {
    let cluster = cluster();
    let client = cluster.client(1);
    let spawn = phoenix_core::control::Request::Spawn {
        agent: "hostile/never".parse().unwrap(),
        config: e2e::json("\"spin\""),
        on: None,
    };
    let error = client.request(spawn).unwrap_err();
    assert!(error.to_string().contains("init-failed"), "{error}");
    assert_eq!(
        client.call_json::<i64>("hostile/never", "add", "1"),
        1,
        "a new life"
    );
}
