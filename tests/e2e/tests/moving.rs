//! Agents move and sleep while messages flow: nothing is lost, repeated or reordered.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e2e::{Client, Cluster, eventually};
use phoenix_core::{KindPolicy, Millis};
use serde::Deserialize;

/// What a `sequence` agent says it heard.
#[derive(Debug, Deserialize)]
struct Report {
    heard: u64,
    last: BTreeMap<String, u64>,
    missing: u64,
    repeated: u64,
    deviations: Vec<(String, u64, u64)>,
    sent: u64,
}

fn sequences(nodes: usize, seed: u64) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let policy = KindPolicy {
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    };
    let component = phoenix_support::guest("sequence");
    cluster.deploy("sequence", component, policy);
    cluster
}

/// Moves and hibernates agents at random until told to stop.
struct Restless<'a> {
    agents: &'a [String],
    nodes: usize,
    stop: AtomicBool,
    moves: AtomicU64,
    sleeps: AtomicU64,
}

impl<'a> Restless<'a> {
    fn new(agents: &'a [String], nodes: usize) -> Self {
        Self {
            agents,
            nodes,
            stop: AtomicBool::new(false),
            moves: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
        }
    }

    fn migrate(&self, client: &Client, mut random: u64) {
        while !self.stop.load(Ordering::Relaxed) {
            random = next(random);
            let agent = &self.agents[(random >> 33) as usize % self.agents.len()];
            let to = 1 + (random >> 20) as usize % self.nodes;
            // An agent that is there already, or on its way, is no failure.
            if client.migrate(agent, to).is_ok() {
                self.moves.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn hibernate(&self, client: &Client, mut random: u64) {
        while !self.stop.load(Ordering::Relaxed) {
            random = next(random);
            let agent = &self.agents[(random >> 33) as usize % self.agents.len()];
            if client.hibernate(agent).is_ok() {
                self.sleeps.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn reached(&self, moves: u64, sleeps: u64) -> bool {
        self.moves.load(Ordering::Relaxed) >= moves && self.sleeps.load(Ordering::Relaxed) >= sleeps
    }
}

fn next(random: u64) -> u64 {
    random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

#[test]
fn one_agent_moves_there_and_back() {
    let cluster = sequences(2, 1);
    let client = cluster.client(1);
    let _: Report = client.call("sequence/a", "report", ());
    let home = client.inspect("sequence/a").unwrap().info.node.0 as usize;
    let away = 3 - home;
    let incarnation = client.inspect("sequence/a").unwrap().incarnation;
    for round in 0..10 {
        let to = if round % 2 == 0 { away } else { home };
        client.call::<()>("sequence/a", "item", round + 1);
        client.migrate("sequence/a", to).unwrap();
        let detail = client.inspect("sequence/a").unwrap();
        assert_eq!(detail.info.node.0 as usize, to);
        assert_eq!(detail.incarnation, incarnation, "the same life");
        let report: Report = client.call("sequence/a", "report", ());
        assert_eq!(report.heard, round + 1);
    }
    let error = client.migrate("sequence/a", home).unwrap_err();
    assert!(error.to_string().contains("lives on"), "{error}");
}

#[test]
fn two_hundred_thousand_messages_through_a_thousand_moves_and_sleeps() {
    const SENDERS: u64 = 8;
    const RECEIVERS: usize = 64;
    const EACH: u64 = 392;
    const A_TURN: u64 = 14;
    let cluster = sequences(2, 2);
    let client = cluster.client(1);
    let receivers: Vec<String> = (0..RECEIVERS).map(|n| format!("sequence/to-{n}")).collect();
    let restless = Restless::new(&receivers, 2);
    let total = SENDERS * RECEIVERS as u64 * EACH;
    assert!(total >= 200_000);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (restless, client) = (&restless, cluster.client(1));
            scope.spawn(move || restless.migrate(&client, 100 + seed));
        }
        let (sleepy, drowsy) = (&restless, cluster.client(2));
        scope.spawn(move || sleepy.hibernate(&drowsy, 300));
        for sender in 0..SENDERS {
            let receivers = &receivers;
            let client = cluster.client(1 + sender as usize % 2);
            scope.spawn(move || {
                let from = format!("sequence/from-{sender}");
                for turn in 0..EACH / A_TURN {
                    let first = turn * A_TURN + 1;
                    client.call::<()>(&from, "burst", (receivers, first, A_TURN));
                }
            });
        }
        eventually("a thousand moves and sleeps, and all is heard", || {
            let heard: u64 = receivers
                .iter()
                .map(|agent| client.call::<Report>(agent, "report", ()).heard)
                .sum();
            heard >= total && restless.reached(1_000, 1_000)
        });
        restless.stop.store(true, Ordering::Relaxed);
    });
    for agent in &receivers {
        let report: Report = client.call(agent, "report", ());
        assert_eq!(
            (report.heard, report.missing, report.repeated),
            (SENDERS * EACH, 0, 0),
            "{agent}: {:?}",
            report.deviations
        );
        assert_eq!(report.last.len() as u64, SENDERS);
        assert!(report.last.values().all(|last| *last == EACH));
        assert_eq!(report.sent, 0);
    }
}
