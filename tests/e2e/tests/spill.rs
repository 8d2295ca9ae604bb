//! Mailboxes that are full and spill: what waits on disk keeps its order, through
//! moves and starts of its node, and a disk that is full or damaged has a name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::Receiver;

use e2e::{Client, Cluster, eventually};
use phoenix_core::control::{ControlError, LetterFilter, Request, Response};
use phoenix_core::{KindPolicy, Overflow, Reply};
use serde::Deserialize;

/// Messages the slow agent's mailbox has room for.
const ROOM: u64 = 16;
/// Who is slow.
const SLOW: &str = "laggard/slow";
/// Who sends, and who sends once and forgets.
const SENDER: &str = "laggard/sender";
const SPRAYER: &str = "laggard/sprayer";

/// As the agent has it.
#[derive(Debug, Deserialize)]
struct Report {
    heard: u64,
    first: BTreeMap<String, u64>,
    last: BTreeMap<String, u64>,
    missing: u64,
    repeated: u64,
}

fn policy() -> KindPolicy {
    KindPolicy {
        overflow: Overflow::Spill,
        mailbox_messages: u32::try_from(ROOM).unwrap(),
        ..KindPolicy::default()
    }
}

fn deploy(cluster: &Cluster) {
    cluster.deploy("laggard", phoenix_support::guest("laggard"), policy());
    let relay = phoenix_support::guest("relay");
    cluster.deploy("relay", relay, KindPolicy::default());
}

/// Stops the slow agent's ears until `relay/gate` is told.
fn hold(client: &Client) -> Receiver<Result<Response, ControlError>> {
    let held = client.begin_call(SLOW, "hold", ("relay/gate", 1));
    eventually(
        "it holds",
        || matches!(client.inspect(SLOW), Ok(detail) if detail.pending == 1),
    );
    held
}

fn let_go(client: &Client) {
    client.call::<()>("relay/gate", "tell", 1);
}

fn spilled(client: &Client) -> u64 {
    let lanes = client.inspect(SLOW).unwrap().mailbox.lanes;
    lanes.iter().map(|lane| lane.spilled).sum()
}

/// Lets one send `count` reliable messages and then another as many of the other
/// sort, and waits until what has no room is on disk.
fn fill(client: &Client, count: u64) {
    client.call::<()>(SENDER, "burst", (SLOW, count, 100));
    eventually("it is all on disk", || spilled(client) == count - ROOM);
    client.call::<()>(SPRAYER, "spray", (SLOW, count, 100));
    eventually("it is all on disk", || spilled(client) == 2 * count - ROOM);
}

/// Waits until the slow agent has heard `count`. Its mailbox may have no room for
/// the question.
fn after(client: &Client, count: u64) -> Report {
    let mut report = None;
    eventually("everything is heard", || {
        if let Reply::Ok(payload) = client.ask(SLOW, "report", ()) {
            report = Some(e2e::read::<Report>(&payload));
        }
        report.as_ref().is_some_and(|it| it.heard >= count)
    });
    report.unwrap()
}

/// Waits until the slow agent has heard `count`, and everything is as it was.
fn heard(client: &Client, count: u64) -> Report {
    let report = after(client, count);
    let counts = (report.heard, report.missing, report.repeated);
    assert_eq!(counts, (count, 0, 0), "{report:?}");
    assert_eq!(spilled(client), 0);
    report
}

/// What each of the two sent first and last, as it was heard.
fn ends(report: &Report, sender: &str) -> (u64, u64) {
    (report.first[sender], report.last[sender])
}

#[test]
fn what_has_no_room_waits_on_disk_in_order() {
    let cluster = Cluster::new(1, 60);
    deploy(&cluster);
    let client = cluster.client(1);
    let held = hold(&client);
    fill(&client, 500);
    let detail = client.inspect(SLOW).unwrap();
    let normal = detail.mailbox.lanes[1];
    assert_eq!((normal.messages, normal.spilled), (ROOM, 984));
    assert!(normal.spilled_bytes > 984 * 100, "{normal:?}");
    assert!(detail.mailbox.holding, "its senders are told");
    let count = |name: &str| {
        let counters = client.inspect(SLOW).unwrap().counters;
        counters.iter().find(|(it, _)| it == name).unwrap().1
    };
    assert_eq!(count("spilled"), 984);
    assert_eq!(client.counter("spilled"), 984);
    assert!(client.counter("spill-bytes") > 984 * 100);
    let_go(&client);
    held.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    let report = heard(&client, 1_000);
    assert_eq!(ends(&report, SENDER), (1, 500));
    assert_eq!(ends(&report, SPRAYER), (1, 500));
    assert_eq!(client.counter("spill-bytes"), 0);
    assert_eq!(client.counter("spill-lost"), 0);
    let detail = client.inspect(SLOW).unwrap();
    assert!(!detail.mailbox.holding && detail.outbox_held == 0);
    assert_eq!(
        client.inspect(SENDER).unwrap().outbox,
        0,
        "all have verdicts"
    );
}

/// Everybody's memory is gone, and the mailbox with it; the disk is there.
#[test]
fn what_is_on_disk_is_heard_after_the_node_was_killed() {
    let mut cluster = Cluster::new(1, 61);
    deploy(&cluster);
    let client = cluster.client(1);
    drop(hold(&client));
    fill(&client, 300);
    drop(client);
    cluster.kill(1);
    cluster.start(1);
    let client = cluster.client(1);
    let report = heard(&client, 600 - ROOM);
    assert_eq!(
        ends(&report, SENDER),
        (ROOM + 1, 300),
        "in order, without a gap"
    );
    assert_eq!(ends(&report, SPRAYER), (1, 300));
    assert_eq!(client.counter("spill-bytes"), 0);
    assert_eq!(client.counter("spill-lost"), 0);
}

/// What the mailbox held is with its sender still, who begins before what is on disk.
#[test]
fn a_sender_elsewhere_loses_nothing_when_the_receivers_node_is_killed() {
    let mut cluster = Cluster::new(2, 62);
    deploy(&cluster);
    let client = cluster.client(1);
    client.spawn(SENDER, 1);
    client.spawn(SPRAYER, 2);
    client.spawn("relay/gate", 1);
    client.spawn(SLOW, 2);
    drop(hold(&client));
    fill(&client, 300);
    cluster.kill(2);
    cluster.start(2);
    cluster.wait_connected();
    let report = heard(&client, 600);
    assert_eq!(ends(&report, SENDER), (1, 300));
    assert_eq!(ends(&report, SPRAYER), (1, 300));
    eventually("all have verdicts", || {
        client.inspect(SENDER).unwrap().outbox == 0
    });
    assert_eq!(client.dead_letters(LetterFilter::default()), []);
}

#[test]
fn what_is_on_disk_follows_an_agent_that_moves() {
    let cluster = Cluster::new(2, 63);
    deploy(&cluster);
    let client = cluster.client(1);
    for agent in [SENDER, SPRAYER, SLOW, "relay/gate"] {
        client.spawn(agent, 1);
    }
    let held = hold(&client);
    client.call::<()>(SENDER, "burst", (SLOW, 500, 100));
    eventually("it is all on disk", || spilled(&client) == 500 - ROOM);
    client.migrate(SLOW, 2).unwrap();
    // What comes meanwhile is heard in its turn.
    client.call::<()>(SENDER, "burst", (SLOW, 100, 100));
    let there = cluster.client(2);
    eventually("it is all there", || client.counter("spill-bytes") == 0);
    eventually("it has come", || spilled(&there) > 400);
    let_go(&client);
    held.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    let report = heard(&client, 600);
    assert_eq!(ends(&report, SENDER), (1, 600));
    assert!(client.counter("spill-forwarded") > 0);
    eventually("all have verdicts", || {
        client.inspect(SENDER).unwrap().outbox == 0
    });
}

/// It goes, and comes back before everything it had spilled has gone after it.
#[test]
fn an_agent_that_comes_back_finds_what_is_left_of_it() {
    let cluster = Cluster::new(2, 64);
    deploy(&cluster);
    let client = cluster.client(1);
    for agent in [SENDER, SLOW, "relay/gate"] {
        client.spawn(agent, 1);
    }
    let held = hold(&client);
    client.call::<()>(SENDER, "burst", (SLOW, 900, 100));
    eventually("it is all on disk", || spilled(&client) == 900 - ROOM);
    client.migrate(SLOW, 2).unwrap();
    client.migrate(SLOW, 1).unwrap();
    let_go(&client);
    held.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    let report = heard(&client, 900);
    assert_eq!(ends(&report, SENDER), (1, 900));
    eventually("all have verdicts", || {
        client.inspect(SENDER).unwrap().outbox == 0
    });
}

/// What the disk has no room for is a dead letter, and its sender told so.
#[test]
fn a_full_disk_has_an_end_for_every_message() {
    let cluster = Cluster::tuned(1, 65, |config| config.max_spill = 64 << 10);
    deploy(&cluster);
    let client = cluster.client(1);
    let held = hold(&client);
    client.call::<()>(SENDER, "burst", (SLOW, 200, 1_000));
    let of_overflow = || LetterFilter {
        reason: Some("overflow".into()),
        ..LetterFilter::default()
    };
    eventually("every message has its place", || {
        let dead = client.dead_letters(of_overflow()).len() as u64;
        spilled(&client) + dead + ROOM == 200
    });
    let dead = client.dead_letters(of_overflow()).len() as u64;
    assert!((100..184).contains(&dead), "{dead}");
    assert!(client.counter("spill-bytes") <= 64 << 10);
    assert_eq!(client.counter("spill-lost"), dead);
    let logs = client.logs();
    let said = logs.iter().filter(|it| it.contains("keeps 65536 bytes"));
    assert_eq!(said.count(), 1, "once: {logs:?}");
    let_go(&client);
    held.recv_timeout(e2e::PATIENCE).unwrap().unwrap();
    let report = after(&client, 200 - dead);
    assert_eq!((report.heard, report.repeated), (200 - dead, 0));
    eventually("all have verdicts", || {
        client.inspect(SENDER).unwrap().outbox == 0
    });
    // There is room again.
    client.call::<()>(SENDER, "burst", (SLOW, 1, 1_000));
    assert_eq!(after(&client, 201 - dead).heard, 201 - dead);
}

#[test]
fn damage_has_a_name_and_costs_what_is_behind_it() {
    let mut cluster = Cluster::new(1, 66);
    deploy(&cluster);
    let client = cluster.client(1);
    drop(hold(&client));
    client.call::<()>(SENDER, "burst", (SLOW, 100, 100));
    eventually("it is all on disk", || spilled(&client) == 100 - ROOM);
    drop(client);
    cluster.kill(1);
    let directory = cluster.data_dir(1).join("spill");
    let mut segments = fs::read_dir(&directory).unwrap();
    let path = segments.next().unwrap().unwrap().path();
    assert!(segments.next().is_none());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    cluster.start(1);
    let client = cluster.client(1);
    let name = path.file_name().unwrap().to_str().unwrap();
    let mut said = Vec::new();
    eventually("it is said", || {
        said = client.logs();
        said.iter().any(|it| it.contains(name) && it.contains(SLOW))
    });
    eventually("what is in front is heard", || {
        client.counter("spill-bytes") == 0
    });
    let report = after(&client, 1);
    assert!((20..64).contains(&report.heard), "{report:?}");
    let (first, last) = ends(&report, SENDER);
    assert_eq!((first, last), (ROOM + 1, ROOM + report.heard));
    assert_eq!((report.missing, report.repeated), (0, 0));
    assert_eq!(client.counter("spill-lost"), 1);
}

#[test]
fn what_an_agent_that_ends_has_on_disk_is_dead_letters() {
    let cluster = Cluster::new(1, 67);
    deploy(&cluster);
    let client = cluster.client(1);
    drop(hold(&client));
    client.call::<()>(SENDER, "burst", (SLOW, 100, 100));
    eventually("it is all on disk", || spilled(&client) == 100 - ROOM);
    let agent = SLOW.parse().unwrap();
    client.request(Request::Stop { agent }).unwrap();
    // Whoever it asked may answer: that is a letter too, and no matter here.
    let stopped = || LetterFilter {
        reason: Some("stopped".into()),
        ..LetterFilter::default()
    };
    eventually("every message has its verdict", || {
        client.dead_letters(stopped()).len() == 100
    });
    assert_eq!(client.counter("spill-bytes"), 0);
    eventually("all have verdicts", || {
        client.inspect(SENDER).unwrap().outbox == 0
    });
}
