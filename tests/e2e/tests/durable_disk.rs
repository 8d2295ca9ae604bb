//! Durable agents on a disk that is slow, full or broken.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../../../runtime/store/tests/journal/volume.rs"]
#[allow(dead_code, reason = "the journal's own tests use the rest of it")]
mod volume;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{Client, Cluster, PATIENCE, eventually, json, message};
use parking_lot::Mutex;
use phoenix_core::control::{ClientMessage, ControlError, Request, Response, Verdict};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::{ClientId, KindPolicy, Millis, Overflow, Payload, Reply};
use phoenix_node::JournalDisk;
use phoenix_store::journal::Options;
use volume::FaultyVolume;

/// Bytes of a journal's file: so few that a test fills some.
const FILE_BYTES: u64 = 64 << 10;

type Answer = Receiver<Result<Response, ControlError>>;

fn durable() -> KindPolicy {
    KindPolicy {
        durable: true,
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Millis(u64::try_from(since.as_millis()).unwrap())
}

/// The disk of a node's journal; a node that is started again has what is there then.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<FaultyVolume>>);

impl Disk {
    fn volume(&self) -> FaultyVolume {
        self.0.lock().clone()
    }

    /// From now on there is room for no other file, or there is again.
    fn fill(&self, is_full: bool) {
        let volume = self.volume();
        volume.set_capacity(is_full.then(|| volume.taken()));
    }

    /// A good disk with what was synced, and nothing else.
    fn replace(&self) {
        let mut volume = self.0.lock();
        *volume = volume.after_power_loss(|_| 0);
    }
}

/// A node on such a disk, with a durable kind and one that is not.
fn node(seed: u64, policy: KindPolicy) -> (Cluster, Disk) {
    let disk = Disk::default();
    let given = disk.clone();
    let cluster = Cluster::tuned(1, seed, move |config| {
        let mut options = Options::new(Arc::new(now));
        options.file_bytes = FILE_BYTES;
        config.journal = Some(JournalDisk {
            volume: Arc::new(given.volume()),
            options,
        });
    });
    cluster.deploy("typed", phoenix_support::guest("typed"), policy);
    let ephemeral = KindPolicy::default();
    cluster.deploy("plain", phoenix_support::guest("typed"), ephemeral);
    (cluster, disk)
}

/// A message that adds one, and takes some room.
fn add(agent: &str, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json(&format!("1{}", " ".repeat(4_096))),
        ..message(agent, "add", (), sequence)
    }
}

fn begin_send(client: &Client, message: ClientMessage) -> Answer {
    client.begin(Request::Send {
        client: ClientId::new("test").unwrap(),
        messages: vec![message],
        timeout: Millis(120_000),
    })
}

fn verdict(answer: &Answer) -> Verdict {
    match answer.recv_timeout(PATIENCE).unwrap().unwrap() {
        Response::Sent(verdicts) => verdicts[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn total(client: &Client, agent: &str) -> u64 {
    client.call_json(agent, "total", "")
}

fn stop(agent: &str) -> Request {
    Request::Stop {
        agent: agent.parse().unwrap(),
    }
}

fn reset(agent: &str) -> Request {
    Request::Reset {
        agent: agent.parse().unwrap(),
        config: Payload::default(),
        force: true,
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let (cluster, disk) = node(90, durable());
    let client = cluster.client(1);
    for agent in ["typed/a", "typed/b", "typed/c"] {
        assert_eq!(client.send(vec![add(agent, 1)]), [Verdict::Applied]);
    }
    let volume = disk.volume();
    let stalled = volume.stall.lock();
    let sent = begin_send(&client, add("typed/a", 2));
    let stopped = client.begin(stop("typed/b"));
    let renewed = client.begin(reset("typed/c"));
    let spawned = client.begin(Request::Spawn {
        agent: "typed/d".parse().unwrap(),
        config: Payload::default(),
        on: None,
    });
    // All of it has come about, and nobody may know.
    eventually(
        "the message is applied",
        || matches!(client.inspect("typed/a"), Ok(detail) if detail.info.turns == 3),
    );
    eventually("it has ended", || client.inspect("typed/b").is_err());
    eventually(
        "it has begun anew",
        || matches!(client.inspect("typed/c"), Ok(detail) if detail.info.turns == 1),
    );
    eventually(
        "it has begun",
        || matches!(client.inspect("typed/d"), Ok(detail) if detail.info.turns == 1),
    );
    for answer in [&sent, &stopped, &renewed, &spawned] {
        assert!(matches!(answer.try_recv(), Err(TryRecvError::Empty)));
    }
    drop(stalled);
    assert_eq!(verdict(&sent), Verdict::Applied);
    for answer in [&stopped, &renewed, &spawned] {
        answer.recv_timeout(PATIENCE).unwrap().unwrap();
    }
}

/// Sends to an agent until its node's disk is full. Says how many were applied, and gives
/// the one that waits for room, with its number.
fn fill_up(client: &Client, disk: &Disk, agent: &str) -> (u64, Answer) {
    assert_eq!(
        verdict(&begin_send(client, add(agent, 1))),
        Verdict::Applied
    );
    disk.fill(true);
    for number in 2..1_000 {
        let sent = begin_send(client, add(agent, number));
        let mut answer = None;
        eventually("it is applied, or waits for room", || {
            answer = answer.take().or_else(|| sent.try_recv().ok());
            answer.is_some() || client.logs().iter().any(|it| it.contains("no room"))
        });
        match answer {
            Some(Ok(Response::Sent(verdicts))) => assert_eq!(verdicts, [Verdict::Applied]),
            Some(other) => panic!("{other:?}"),
            None => return (number - 1, sent),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_holds_durable_agents_up_and_they_go_on_when_there_is_room() {
    let (mut cluster, disk) = node(91, durable());
    let client = cluster.client(1);
    let (applied, waits) = fill_up(&client, &disk, "typed/a");
    assert!(applied > 3, "{applied}");
    // What comes now is refused, and says why.
    for agent in ["typed/a", "typed/new"] {
        let Verdict::Refused { reason, .. } =
            verdict(&begin_send(&client, add(agent, applied + 2)))
        else {
            panic!("{agent} took a message");
        };
        assert!(reason.contains("journal-full"), "{reason}");
        let reply = client.ask_json(agent, "total", "");
        let Reply::Unavailable(why) = &reply else {
            panic!("{reply:?}");
        };
        assert!(why.contains("no room"), "{why}");
    }
    for request in [stop("typed/a"), reset("typed/a")] {
        let refused = client.request(request).unwrap_err();
        let ControlError::Unavailable(why) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("the journal has no room"), "{why}");
    }
    // Others have no need of the disk.
    assert_eq!(client.send(vec![add("plain/a", 1)]), [Verdict::Applied]);
    assert!(matches!(waits.try_recv(), Err(TryRecvError::Empty)));
    disk.fill(false);
    assert_eq!(verdict(&waits), Verdict::Applied);
    eventually("it takes messages again", || {
        verdict(&begin_send(&client, add("typed/a", applied + 2))) == Verdict::Applied
    });
    assert_eq!(total(&client, "typed/a"), applied + 2);
    cluster.kill(1);
    cluster.start(1);
    assert_eq!(total(&cluster.client(1), "typed/a"), applied + 2);
}

#[test]
fn what_was_acknowledged_is_there_after_a_node_ends_on_a_full_disk() {
    let (mut cluster, disk) = node(92, durable());
    let client = cluster.client(1);
    let (applied, waits) = fill_up(&client, &disk, "typed/a");
    cluster.kill(1);
    drop(waits);
    disk.replace();
    disk.fill(true);
    // It can be started where there is no room, and read.
    cluster.start(1);
    let client = cluster.client(1);
    let detail = client.inspect("typed/a");
    assert!(detail.is_ok(), "{detail:?}");
    disk.fill(false);
    eventually("what had no end is applied, once", || {
        verdict(&begin_send(&client, add("typed/a", applied + 1))) == Verdict::Applied
    });
    assert_eq!(total(&client, "typed/a"), applied + 1);
}

/// The first durable agent finds no room for a journal.
#[test]
fn a_journal_is_begun_when_there_is_room_for_it() {
    let (cluster, disk) = node(96, durable());
    let client = cluster.client(1);
    disk.fill(true);
    for _ in 0..2 {
        let sent = verdict(&begin_send(&client, add("typed/a", 1)));
        assert!(
            matches!(&sent, Verdict::Refused { reason, .. } if reason.contains("journal-full")),
            "{sent:?}"
        );
    }
    assert_eq!(client.send(vec![add("plain/a", 1)]), [Verdict::Applied]);
    disk.fill(false);
    let sent = verdict(&begin_send(&client, add("typed/a", 1)));
    assert_eq!(sent, Verdict::Applied);
    assert_eq!(total(&client, "typed/a"), 1);
}

/// A mailbox whose overflow makes entries takes nothing while they would have no room.
#[test]
fn overflow_makes_no_entries_on_a_full_disk() {
    let policy = KindPolicy {
        mailbox_messages: 4,
        overflow: Overflow::DropNewest,
        ..durable()
    };
    let (cluster, disk) = node(93, policy);
    let client = cluster.client(1);
    let (applied, _waits) = fill_up(&client, &disk, "typed/a");
    for number in 0..50 {
        let sent = begin_send(&client, add("typed/a", applied + 2 + number));
        assert!(matches!(verdict(&sent), Verdict::Refused { .. }));
    }
    let dead = client.dead_letters(phoenix_core::control::LetterFilter::default());
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn a_node_whose_disk_fails_says_so_and_acknowledges_nothing_more() {
    let (mut cluster, disk) = node(94, durable());
    let client = cluster.client(1);
    for number in 1..=3 {
        let sent = begin_send(&client, add("typed/a", number));
        assert_eq!(verdict(&sent), Verdict::Applied);
    }
    disk.volume().fail_syncs_after(0);
    let sent = begin_send(&client, add("typed/a", 4));
    eventually("its journal has failed", || {
        cluster.node(1).journal_failure().is_some()
    });
    let why = cluster.node(1).journal_failure().unwrap();
    for word in ["sync", ".journal", "has to stop"] {
        assert!(why.contains(word), "{word}: {why}");
    }
    let stopping = client.begin(stop("typed/a"));
    assert!(!matches!(stopping.recv_timeout(PATIENCE), Ok(Ok(_))));
    assert!(matches!(sent.try_recv(), Err(TryRecvError::Empty)));
    cluster.kill(1);
    assert!(!matches!(
        sent.recv_timeout(PATIENCE),
        Ok(Ok(Response::Sent(verdicts))) if verdicts == [Verdict::Applied]
    ));
    disk.replace();
    cluster.start(1);
    let client = cluster.client(1);
    let sent = begin_send(&client, add("typed/a", 4));
    assert_eq!(verdict(&sent), Verdict::Applied);
    assert_eq!(total(&client, "typed/a"), 4);
}

/// One agent that is never idle: what its journal takes follows from its state, not from
/// how much it has done.
#[test]
fn the_journal_of_a_busy_agent_stays_small() {
    let policy = KindPolicy {
        snapshot_every: SnapshotEvery {
            turns: 100,
            bytes: 1 << 20,
        },
        ..durable()
    };
    let (mut cluster, _) = node(95, policy);
    let client = cluster.client(1);
    let rounds = 40;
    let each = 100;
    let mut most = 0;
    for round in 0..rounds {
        let from = round * each;
        let messages = (1..=each).map(|n| add("typed/a", from + n)).collect();
        let verdicts = client.send(messages);
        assert!(verdicts.iter().all(|it| *it == Verdict::Applied));
        most = most.max(client.counter("journal-bytes"));
    }
    // 16 MiB of messages alone were written, and as much again in answers and inputs.
    assert!(most < 6 << 20, "{most} bytes of files");
    eventually("little of that is needed", || {
        client.counter("journal-live-bytes") < 2 << 20
    });
    assert!(client.counter("snapshots") >= rounds / 2);
    cluster.kill(1);
    cluster.start(1);
    assert_eq!(total(&cluster.client(1), "typed/a"), rounds * each);
}
