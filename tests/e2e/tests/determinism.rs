//! What nodes have journalled is run again by nodes with other numbers of workers.
//!
//! Durable agents are told things at random while they are put to sleep and moved about;
//! now and then their nodes are killed. Each batch is in the journal with a hash of the
//! memory after it, and whoever is restored is quarantined at the first that differs.
//! Many more sequences, without nodes around them, are in `runtime/host/tests/sequences`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{Client, Cluster, Random, eventually, json};
use phoenix_core::control::{AgentStatus, ClientMessage, Verdict};
use phoenix_core::journal::{Journal, SnapshotEvery, record};
use phoenix_core::{KindPolicy, Millis, Reply};
use phoenix_store::journal::{DiskJournal, Options, RealVolume};

/// Lives of the nodes, each with other numbers of workers.
const LIVES: usize = 6;
/// How many nodes there are.
const NODES: usize = 2;
/// What is done in each.
const STEPS: usize = 60;

const AGENTS: [&str; 7] = [
    "counter/a",
    "counter/b",
    "visitor/a",
    "visitor/b",
    "visitor/c",
    "medley/a",
    "medley/b",
];

struct Test {
    cluster: Cluster,
    random: Random,
    workers: Arc<AtomicUsize>,
    /// Messages told so far, by agent.
    told: BTreeMap<&'static str, u64>,
    slept: u32,
    moved: u32,
}

#[test]
fn journals_are_replayed_by_any_number_of_workers() {
    let seed = std::env::var("PHOENIX_SEED").map_or(70, |it| it.parse().unwrap());
    println!("PHOENIX_SEED={seed}");
    let workers = Arc::new(AtomicUsize::new(1));
    let tuned = workers.clone();
    let cluster = Cluster::tuned(NODES, seed, move |config| {
        config.workers = Some(tuned.load(Ordering::Relaxed));
        config.hash_every_batch = true;
    });
    let mut test = Test {
        cluster,
        random: Random::new(seed, 1),
        workers,
        told: BTreeMap::new(),
        slept: 0,
        moved: 0,
    };
    test.deploy();
    println!("all kinds are deployed");
    let mut batches = 0;
    for life in 0..LIVES {
        for _ in 0..STEPS {
            test.step();
        }
        println!("life {life} comes to rest");
        let before = test.rest();
        for node in 1..=NODES {
            test.cluster.kill(node);
            batches += test.read_journal(node);
        }
        // Never the same twice in a row.
        test.workers
            .store(1 + (life * 2 + 2) % 5, Ordering::Relaxed);
        for node in 1..=NODES {
            test.cluster.start(node);
        }
        test.cluster.wait_connected();
        println!("life {life} is over");
        let after = test.rest();
        assert_eq!(before, after, "after life {life}");
        let client = test.client();
        for agent in client.agents() {
            let why = client.inspect(agent.agent.as_str());
            assert_ne!(agent.status, AgentStatus::Quarantined, "{why:?}");
        }
        let restored = (1..=NODES).map(|node| test.cluster.client(node).counter("restored"));
        assert!(restored.sum::<u64>() >= AGENTS.len() as u64);
    }
    let Test { slept, moved, .. } = test;
    println!("{batches} batches in journals, {slept} sleeps, {moved} moves");
    assert!(slept > 20 && moved > 10, "{slept} sleeps, {moved} moves");
}

impl Test {
    fn client(&self) -> Client {
        self.cluster.client(1)
    }

    fn deploy(&mut self) {
        for (kind, turns) in [
            ("counter", 1_000_000),
            ("visitor", 40),
            ("site", 1_000_000),
            ("alerts", 30),
            ("medley", 60),
        ] {
            let component = match kind {
                "medley" => phoenix_support::guest(kind),
                _ => phoenix_support::agent(kind),
            };
            let policy = KindPolicy {
                durable: true,
                idle_after: Millis(60_000),
                snapshot_every: SnapshotEvery {
                    turns,
                    ..SnapshotEvery::default()
                },
                // Checkpoints are taken often.
                rollback_bytes: 4 << 10,
                max_attempts: 1,
                ..KindPolicy::default()
            };
            self.cluster.deploy(kind, component, policy);
        }
    }

    fn one_of(&mut self, all: &[&'static str]) -> &'static str {
        all[self.random.below(all.len())]
    }

    fn step(&mut self) {
        let agent = self.one_of(&AGENTS);
        if self.random.below(8) == 0 {
            // One that has something to do stays awake.
            self.slept += u32::from(self.client().hibernate(agent).is_ok());
            return;
        }
        if self.random.below(8) == 0 {
            let to = 1 + self.random.below(NODES);
            // It may be there already.
            self.moved += u32::from(self.client().migrate(agent, to).is_ok());
            return;
        }
        let mut messages = Vec::new();
        for _ in 0..=self.random.below(12) {
            messages.push(self.message(agent));
        }
        let traps = messages.iter().filter(|it| &*it.method == "trap").count();
        let sent = self.client().send(messages);
        let applied = sent.iter().filter(|it| **it == Verdict::Applied).count();
        assert_eq!(applied, sent.len() - traps, "{agent}: {sent:?}");
    }

    fn message(&mut self, agent: &'static str) -> ClientMessage {
        let told = self.told.entry(agent).or_default();
        *told += 1;
        let n = *told;
        let some = self.random.below(1_000);
        let (method, payload) = match agent.split('/').next().unwrap() {
            "counter" => ("add", some.to_string()),
            "visitor" => {
                let status = [200, 304, 404, 500][some % 4];
                let at = n * 100;
                let event =
                    format!(r#"{{"n": {n}, "at": {at}, "status": {status}, "bytes": {some}}}"#);
                ("event", event)
            }
            _ => match some % 9 {
                0 | 1 => (
                    "words",
                    r#"{"text": "a b c d", "to": "counter/c"}"#.to_owned(),
                ),
                2 => ("draw", String::new()),
                3 => ("clocks", String::new()),
                4 => ("sums", (some % 12).to_string()),
                5 => ("grow", (some % 50).to_string()),
                6 => ("trap", r#""before""#.to_owned()),
                _ => ("pad", format!(r#""{some} and some more""#)),
            },
        };
        ClientMessage {
            payload: json(&payload),
            ..e2e::message(agent, method, (), n)
        }
    }

    /// What all agents say of themselves, when all is done.
    fn rest(&self) -> Vec<String> {
        let client = self.client();
        eventually("all have their verdicts", || {
            client.agents().iter().all(|info| {
                let detail = client.inspect(info.agent.as_str());
                detail.is_ok_and(|it| it.outbox == 0 && it.pending == 0)
            })
        });
        let others = ["site/main", "alerts/main"];
        let all = AGENTS.iter().chain(&others);
        let reports = all.map(|agent| {
            let method = match agent.split('/').next().unwrap() {
                "counter" => "total",
                _ => "report",
            };
            let mut report = None;
            // What is unavailable was not proposed, and may be asked again.
            eventually("it says what it has", || {
                match client.ask_json(agent, method, "") {
                    Reply::Ok(payload) => report = Some(payload),
                    Reply::Unavailable(why) => println!("{agent}: {why}"),
                    other => panic!("{agent} {method}: {other:?}"),
                }
                report.is_some()
            });
            String::from_utf8(report.unwrap().bytes.to_vec()).unwrap()
        });
        reports.collect()
    }

    /// Every batch in the journal of the node that was killed has a hash. Gives how many
    /// there are.
    fn read_journal(&self, node: usize) -> u64 {
        let directory = self.cluster.data_dir(node).join("journal");
        if !directory.exists() {
            return 0;
        }
        let volume = RealVolume::open(&directory).unwrap();
        let options = Options::new(Arc::new(|| Millis(0)));
        let (journal, _) = DiskJournal::open(Arc::new(volume), options).unwrap();
        let mut agents = Vec::new();
        journal.each(&mut |agent, _| agents.push(agent.clone()));
        let mut batches = 0;
        for agent in agents {
            let history = journal.read(&agent).unwrap().unwrap();
            for body in &history.records {
                let entry = record::decode(body).unwrap();
                let Some(turns) = entry.turns().filter(|turns| turns.count() > 0) else {
                    continue;
                };
                assert!(turns.memory.is_some(), "{agent}, turn {}", turns.first);
                batches += 1;
            }
        }
        batches
    }
}
