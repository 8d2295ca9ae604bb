//! What a journal says is what comes of it: turns are run again under what they ran under,
//! and an agent of which something else comes is quarantined, and can begin anew.
//!
//! Journals are changed here as no disk changes them: every check in them is right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use e2e::{Client, Cluster, eventually, json, message};
use phoenix_core::control::{AgentStatus, ClientMessage, Request, Response, Verdict};
use phoenix_core::journal::record::{self, Record, Says, Turns};
use phoenix_core::journal::{AgentLog, Journal};
use phoenix_core::{AgentId, Digest, KindPolicy, Millis, Payload, Reply};
use phoenix_store::DiskJournal;
use phoenix_store::journal::{Options, RealVolume};

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        // A checkpoint, and so a hash of the memory, with every batch.
        rollback_bytes: 0,
        ..KindPolicy::default()
    }
}

fn add(agent: &str, by: u64, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&by.to_string()),
        ..message(agent, "add", (), sequence)
    }
}

fn open(directory: &Path) -> DiskJournal {
    let volume = RealVolume::open(directory).unwrap();
    let options = Options::new(Arc::new(|| Millis(0)));
    DiskJournal::open(Arc::new(volume), options).unwrap().0
}

/// Writes a node's journal anew, with the agent's turns as `change` leaves them; it is
/// shown each batch with its place among them.
fn doctor(directory: &Path, agent: &str, mut change: impl FnMut(usize, &mut Turns)) {
    let agent = AgentId::new(agent).unwrap();
    let journal = open(directory);
    let history = journal.read(&agent).unwrap().unwrap();
    assert!(history.snapshot.is_none(), "its log is whole");
    drop(journal);
    let mut batches = 0;
    let anew = directory.with_extension("anew");
    let journal = open(&anew);
    let mut log = AgentLog::new(agent);
    for body in &history.records {
        let mut record: Record = record::decode(body).unwrap();
        if let Says::Turns(turns) = &mut record.says {
            change(batches, turns);
            batches += 1;
        }
        let mut body = Vec::new();
        record::encode(&record, &mut body);
        log.append(&journal, 1, Millis::NEVER, body.into()).unwrap();
    }
    // Closing it writes what waits.
    drop(journal);
    fs::remove_dir_all(directory).unwrap();
    fs::rename(&anew, directory).unwrap();
}

/// An agent whose node was stopped after five batches.
fn stopped(cluster: &mut Cluster) {
    let client = cluster.client(1);
    for number in 1..=5 {
        let sent = client.send(vec![add("typed/a", number, number)]);
        assert_eq!(sent, [Verdict::Applied]);
    }
    cluster.kill(1);
}

fn counters(seed: u64) -> Cluster {
    let cluster = Cluster::new(1, seed);
    cluster.deploy("typed", phoenix_support::guest("typed"), durable());
    cluster
}

fn journal(cluster: &Cluster) -> std::path::PathBuf {
    cluster.data_dir(1).join("journal")
}

/// Asks an agent of which something else comes, and gives what its node says of it.
fn quarantined(client: &Client) -> String {
    let reply = client.ask_json("typed/a", "total", "");
    assert!(!matches!(reply, Reply::Ok(_)), "{reply:?}");
    let found = client.inspect("typed/a").unwrap();
    assert_eq!(found.info.status, AgentStatus::Quarantined);
    let logs = client.logs();
    let said = logs.iter().find(|line| line.starts_with("quarantined: "));
    said.unwrap_or_else(|| panic!("{logs:?}")).clone()
}

fn begin_anew(client: &Client) {
    let request = Request::Reset {
        agent: "typed/a".parse().unwrap(),
        config: Payload::default(),
        force: false,
    };
    let done = client.request(request).unwrap();
    assert!(matches!(done, Response::Reset { .. }), "{done:?}");
}

#[test]
fn another_memory_than_the_journal_has_is_found() {
    let mut cluster = counters(80);
    stopped(&mut cluster);
    let (mut turn, mut right) = (0, None);
    let wrong = Digest::of(b"another memory");
    doctor(&journal(&cluster), "typed/a", |batch, turns| {
        if batch == 3 {
            turn = turns.first;
            right = turns.memory.replace(wrong);
        }
    });
    let right = right.expect("every batch has a hash");
    cluster.start(1);
    let said = quarantined(&cluster.client(1));
    let component = Digest::of(phoenix_support::guest("typed"));
    for word in [
        format!("divergence at turn {turn}"),
        format!("the memory hashes to {wrong} in the journal"),
        format!("to {right} when it is run again"),
        format!("by the component {component}"),
    ] {
        assert!(said.contains(&word), "{word}: {said}");
    }
    // It is so after another start, until it begins anew.
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    quarantined(&client);
    begin_anew(&client);
    let total: u64 = client.call_json("typed/a", "total", "");
    assert_eq!(total, 0);
    // What the old life heard it has heard for good.
    assert_eq!(client.send(vec![add("typed/a", 5, 5)]), [Verdict::Applied]);
    assert_eq!(client.send(vec![add("typed/a", 6, 6)]), [Verdict::Applied]);
    cluster.kill(1);
    cluster.start(1);
    let total: u64 = cluster.client(1).call_json("typed/a", "total", "");
    assert_eq!(total, 6);
}

#[test]
fn another_answer_than_the_journal_has_is_found() {
    let mut cluster = counters(81);
    stopped(&mut cluster);
    let mut turn = 0;
    doctor(&journal(&cluster), "typed/a", |batch, turns| {
        if batch == 2 {
            // What it was told to add, in the frame alone.
            let mut frame = turns.frame.to_vec();
            let at = frame.iter().rposition(|byte| *byte == b'2').unwrap();
            frame[at] = b'7';
            turns.frame = frame.into();
            turn = turns.first;
        }
    });
    cluster.start(1);
    let said = quarantined(&cluster.client(1));
    assert!(
        said.contains(&format!("divergence at turn {turn}: the answer hashes to")),
        "{said}"
    );
}

/// Turns that committed fault when they are run again, because the journal says that they
/// ran under less than they did: it is believed.
#[test]
fn turns_are_run_again_under_the_limits_the_journal_has() {
    let cluster_of = |seed| {
        let cluster = Cluster::new(1, seed);
        cluster.deploy("blob", phoenix_support::guest("blob"), durable());
        let client = cluster.client(1);
        let _: u64 = client.call("blob/a", "fill", (3 << 20, 7));
        let digest: u64 = client.call("blob/a", "digest", ());
        (cluster, digest)
    };
    let little = KindPolicy {
        memory_bytes: 2 << 20,
        ..durable()
    };
    // Its kind gives less by now: what it has it keeps, and gets no more.
    let (mut cluster, digest) = cluster_of(82);
    cluster.deploy("blob", phoenix_support::guest("blob"), little.clone());
    for _ in 0..2 {
        cluster.kill(1);
        cluster.start(1);
        let client = cluster.client(1);
        let found: u64 = client.call("blob/a", "digest", ());
        assert_eq!(found, digest);
        let more = client.ask("blob/a", "fill", (6 << 20, 8));
        assert!(!matches!(more, Reply::Ok(_)), "{more:?}");
        let found: u64 = client.call("blob/a", "digest", ());
        assert_eq!(found, digest);
        client.hibernate("blob/a").unwrap();
    }
    // Its kind gives as much as it ever did, and the journal says that it had less.
    let (mut cluster, _) = cluster_of(83);
    cluster.kill(1);
    let directory = journal(&cluster);
    let mut turn = None;
    doctor(&directory, "blob/a", |batch, turns| {
        if let Some(terms) = &mut turns.terms {
            terms.policy.memory_bytes = little.memory_bytes;
        }
        if batch == 1 {
            turn = Some(turns.first);
        }
    });
    cluster.start(1);
    let client = cluster.client(1);
    let reply = client.ask("blob/a", "digest", ());
    assert!(!matches!(reply, Reply::Ok(_)), "{reply:?}");
    let turn = turn.unwrap();
    eventually("the divergence is named", || {
        let logs = client.logs();
        let is_it = |line: &String| {
            line.contains(&format!(
                "divergence at turn {turn}: it committed by the journal"
            )) && line.contains("by the component")
        };
        logs.iter().any(is_it)
    });
}
