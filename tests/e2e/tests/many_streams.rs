//! Durable agents that hear from very many: what they know of their senders is kept
//! beside their snapshots.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::ops::Range;
use std::sync::Arc;

use e2e::{Client, Cluster, json, message};
use phoenix_core::control::{ClientMessage, Request, Response, Verdict};
use phoenix_core::journal::{Journal, SnapshotEvery, streams};
use phoenix_core::{AgentId, ClientId, KindPolicy, Millis};
use phoenix_store::journal::{DiskJournal, Options, RealVolume};

const HUB: &str = "typed/hub";
const MANY: usize = streams::MANY + 200;

/// Each of these clients sends its message with that number.
fn tell(client: &Client, clients: Range<usize>, sequence: u64) {
    for from in clients.clone().step_by(200) {
        let some = from..(from + 200).min(clients.end);
        let begun = some.map(|number| {
            client.begin(Request::Send {
                client: ClientId::new(&format!("client-{number}")).unwrap(),
                messages: vec![ClientMessage {
                    payload: json("1"),
                    ..message(HUB, "add", (), sequence)
                }],
                timeout: Millis(60_000),
            })
        });
        for told in begun.collect::<Vec<_>>() {
            let Response::Sent(verdicts) = told.recv().unwrap().unwrap() else {
                panic!("it was sent");
            };
            assert_eq!(verdicts, [Verdict::Applied]);
        }
    }
}

#[test]
fn snapshots_do_not_have_them_and_all_are_known_after_a_start() {
    let mut cluster = Cluster::new(1, 90);
    let every = SnapshotEvery {
        turns: 100,
        ..SnapshotEvery::default()
    };
    let policy = KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        snapshot_every: every,
        ..KindPolicy::default()
    };
    cluster.deploy("typed", phoenix_support::guest("typed"), policy);
    let client = cluster.client(1);
    tell(&client, 0..MANY, 1);
    tell(&client, 0..300, 2);
    // Also what is written while it wakes and sleeps.
    for sequence in 3..6 {
        client.hibernate(HUB).unwrap();
        tell(&client, 0..100, sequence);
    }
    for start in 1..=2 {
        cluster.kill(1);
        cluster.start(1);
        let client = cluster.client(1);
        // What was applied is told again, and not applied again.
        tell(&client, 0..100, 5);
        tell(&client, 100..300, 2);
        tell(&client, 300..700, 1);
        let total: u64 = client.call_json(HUB, "total", "");
        assert_eq!(total, MANY as u64 + 600, "start {start}");
    }
    cluster.kill(1);
    let volume = RealVolume::open(&cluster.data_dir(1).join("journal")).unwrap();
    let options = Options::new(Arc::new(|| Millis(0)));
    let (journal, _) = DiskJournal::open(Arc::new(volume), options).unwrap();
    let hub = AgentId::new(HUB).unwrap();
    let snapshot = journal.read(&hub).unwrap().unwrap().snapshot.unwrap();
    let log = streams::log_id(&hub).unwrap();
    let table = journal.read(&log).unwrap().unwrap().snapshot.unwrap();
    assert!(table.len() > 20 * MANY, "{}", table.len());
    assert!(snapshot.len() < table.len() / 10, "{}", snapshot.len());
    journal.each(&mut |agent, _| assert_eq!(*agent, hub));
}
