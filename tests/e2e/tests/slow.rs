//! A slow agent on one node, fed by a fast one on another: however long that goes on,
//! neither node keeps more than its configuration allows, the fast one is held soon,
//! and nothing is lost. Memory is that of the process, so this file has one test that
//! runs with the others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::time::{Duration, Instant};

use e2e::{Client, PATIENCE, eventually, node_id};
use phoenix_core::control::{AgentDetail, LetterFilter, Request, Response};
use phoenix_core::{KindPolicy, Millis, Overflow, Reply};
use phoenix_node::{Node, NodeConfig};
use serde::Deserialize;

/// Bytes of padding in a message.
const SIZE: u64 = 4_000;
/// Messages the fast agent sends in a turn.
const A_TURN: u64 = 100;
/// How much more memory a message may keep alive than it counts for.
const PINNED: u64 = 4;
/// What a process takes beside: its allocator's slack, threads, pages of code that
/// are touched for the first time.
const SLACK: u64 = 24 << 20;
/// How soon whoever sends too fast is to be held.
const HELD_WITHIN: Duration = Duration::from_millis(100);

/// As the agents have it.
#[derive(Debug, Default, Deserialize)]
struct Report {
    heard: u64,
    missing: u64,
    repeated: u64,
    sent: u64,
    bounced: u64,
}

/// Small bounds, so that a run of seconds would go far beyond them.
fn policy(overflow: Overflow) -> KindPolicy {
    KindPolicy {
        overflow,
        mailbox_messages: 400,
        mailbox_bytes: 1 << 20,
        spill_bytes: 4 << 20,
        turn_effects: 200,
        answer_bytes: 1 << 20,
        outbox_messages: 500,
        outbox_bytes: 2 << 20,
        rollback_bytes: 256 << 10,
        memory_bytes: 4 << 20,
        give_up_after: Millis(3_600_000),
        ..KindPolicy::default()
    }
}

/// Bytes by which both nodes together may grow under that policy, which is that of
/// both agents.
fn bound(policy: &KindPolicy) -> u64 {
    let an_agent = policy.memory_bytes
        // Frames since the checkpoint, the checkpoint, and the one that is being taken.
        + u64::from(policy.rollback_bytes)
        + 2 * policy.memory_bytes
        + u64::from(policy.batch_bytes)
        + u64::from(policy.answer_bytes);
    let sender = PINNED * policy.outbox_bytes;
    let receiver = PINNED * policy.mailbox_bytes;
    // On their way is no more than is kept, which may be sent once more.
    let under_way = 2 * policy.outbox_bytes;
    2 * an_agent + sender + receiver + under_way + SLACK
}

/// Memory of this process, bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Two nodes on loopback, over QUIC.
struct Pair {
    nodes: [Node; 2],
    _dirs: [tempfile::TempDir; 2],
}

impl Pair {
    fn start() -> Self {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let start = |dir: &tempfile::TempDir, join| {
            Node::start(NodeConfig {
                workers: Some(1),
                max_resident: Some(100),
                join,
                ..NodeConfig::on_loopback(dir.path())
            })
            .unwrap()
        };
        let [first, second] = &dirs;
        let first = start(first, None);
        let valid_for = Millis(60_000);
        let token = match Client::of(&first).request(Request::JoinToken { valid_for }) {
            Ok(Response::JoinToken(token)) => token,
            other => panic!("{other:?}"),
        };
        let nodes = [first, start(second, Some(token))];
        eventually("the nodes are connected", || {
            nodes.iter().all(|node| !node.connected().is_empty())
        });
        Self { nodes, _dirs: dirs }
    }

    fn clients(&self) -> [Client; 2] {
        self.nodes.each_ref().map(Client::of)
    }
}

/// What was seen while it went on.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes by which the process grew at most.
    grown: u64,
    /// Messages and bytes in the slow agent's mailbox, and bytes of it on disk, at most.
    mailbox: (u64, u64),
    spilled: u64,
    /// Bytes in the fast one's outbox at most.
    outbox: u64,
    /// From the first message to the first time the fast agent was seen to be held.
    held_after: Option<Duration>,
    /// From the time the slow one's mailbox was seen to be past its high mark.
    held_within: Option<Duration>,
    looked: u64,
}

impl Seen {
    fn look(&mut self, fast: &AgentDetail, slow: &AgentDetail, before: u64) {
        self.looked += 1;
        self.grown = self.grown.max(resident().saturating_sub(before));
        let lanes = &slow.mailbox.lanes;
        let messages = lanes.iter().map(|it| it.messages).sum();
        let bytes = lanes.iter().map(|it| it.bytes).sum();
        self.mailbox = (self.mailbox.0.max(messages), self.mailbox.1.max(bytes));
        let spilled = lanes.iter().map(|it| it.spilled_bytes).sum();
        self.spilled = self.spilled.max(spilled);
        self.outbox = self.outbox.max(fast.outbox_bytes);
    }

    /// Nothing grew beyond what the policy says.
    fn assert_within(&self, policy: &KindPolicy) {
        let one = SIZE + 200;
        // A lane that has nothing in memory but something on disk gets one message.
        let over = if policy.overflow == Overflow::Spill {
            3
        } else {
            0
        };
        assert!(
            self.mailbox.0 <= u64::from(policy.mailbox_messages) + over,
            "{self:?}"
        );
        assert!(
            self.mailbox.1 <= policy.mailbox_bytes + over * one,
            "{self:?}"
        );
        assert!(self.spilled <= policy.spill_bytes, "{self:?}");
        // A turn begins as long as the outbox is not full.
        let turn = u64::from(policy.turn_effects) * one;
        assert!(self.outbox <= policy.outbox_bytes + turn, "{self:?}");
        let bound = bound(policy);
        assert!(self.grown <= bound, "{} MiB allowed: {self:?}", bound >> 20);
    }
}

/// Feeds the slow agent until `count` messages are sent, or for so long, and until it
/// has heard them all.
fn feed(pair: &Pair, kind: &str, overflow: Overflow, count: u64, span: Duration) -> Seen {
    let policy = policy(overflow);
    let [first, second] = pair.clients();
    let component = phoenix_support::guest("laggard");
    first.deploy(kind, component, policy.clone()).unwrap();
    eventually("both nodes have the kind", || {
        second.kinds().iter().any(|it| it == kind)
    });
    let (fast, slow) = (format!("{kind}/fast"), format!("{kind}/slow"));
    first.spawn(&fast, 1);
    first.spawn(&slow, 2);
    second.call::<()>(&slow, "slow", 20_000);
    // Everything has been touched once before memory is looked at.
    first.call::<()>(&fast, "burst", (&slow, A_TURN, SIZE));
    let report = || -> Report {
        match second.ask(&slow, "report", ()) {
            Reply::Ok(payload) => e2e::read(&payload),
            _ => Report::default(),
        }
    };
    eventually("the first are heard", || report().heard == A_TURN);
    let (before, begun) = (resident(), Instant::now());
    first.call::<()>(&fast, "feed", (&slow, count, A_TURN, SIZE));
    let mut seen = Seen::default();
    let mut high = None;
    let sent = || first.inspect(&fast).unwrap();
    let mut is_ended = count < u64::MAX;
    let until = begun + span + PATIENCE;
    loop {
        let (it, other) = (sent(), second.inspect(&slow).unwrap());
        if other.mailbox.holding {
            high.get_or_insert_with(Instant::now);
        }
        if it.outbox_held > 0 && seen.held_after.is_none() {
            seen.held_after = Some(begun.elapsed());
            seen.held_within = Some(high.map_or(Duration::ZERO, |high| high.elapsed()));
        }
        seen.look(&it, &other, before);
        if !is_ended && begun.elapsed() >= span {
            is_ended = true;
            // Its own mailbox has room: it is told, and sends no more.
            first.call::<()>(&fast, "enough", ());
        }
        if is_ended && it.outbox == 0 && it.info.mailbox == 0 {
            break;
        }
        assert!(Instant::now() < until, "it never ends: {seen:?}");
    }
    let all: Report = first.call(&fast, "report", ());
    eventually("everything is heard", || report().heard == all.sent);
    let heard = report();
    assert_eq!((heard.missing, heard.repeated, all.bounced), (0, 0, 0));
    assert_eq!(first.dead_letters(LetterFilter::default()), []);
    assert_eq!(first.inspect(&slow).unwrap().info.node, node_id(2));
    seen.assert_within(&policy);
    let took = begun.elapsed();
    println!(
        "{kind}: {} messages, {} MiB, in {took:.1?}, {} a second; grown by {} KiB, {} KiB \
         allowed; mailbox at most {} messages, {} KiB, and {} KiB spilled; outbox at most {} KiB; \
         held {:?} after the first message, {:?} after the mailbox was seen past its high mark; \
         {} looks",
        all.sent,
        (all.sent * SIZE) >> 20,
        all.sent * 1_000 / u64::try_from(took.as_millis()).unwrap().max(1),
        seen.grown >> 10,
        bound(&policy) >> 10,
        seen.mailbox.0,
        seen.mailbox.1 >> 10,
        seen.spilled >> 10,
        seen.outbox >> 10,
        seen.held_after,
        seen.held_within,
        seen.looked,
    );
    seen
}

/// Twice what both nodes may keep goes through, under each policy.
#[test]
fn a_fast_sender_is_held_and_neither_node_grows() {
    let pair = Pair::start();
    let count = 2 * bound(&policy(Overflow::Reject)) / SIZE;
    let credit = feed(&pair, "credit", Overflow::Reject, count, Duration::ZERO);
    assert!(credit.held_after.is_some(), "{credit:?}");
    let spill = feed(&pair, "spill", Overflow::Spill, count, Duration::ZERO);
    assert!(spill.held_after.is_some(), "{spill:?}");
}

/// The same for a minute each, with the time in which the sender is held.
#[test]
#[ignore = "takes more than a minute, and a quiet machine"]
fn a_minute_changes_nothing() {
    let pair = Pair::start();
    for (kind, overflow) in [("credit", Overflow::Reject), ("spill", Overflow::Spill)] {
        let seen = feed(&pair, kind, overflow, u64::MAX, Duration::from_secs(60));
        let held = seen.held_after.unwrap();
        assert!(held <= HELD_WITHIN, "held after {held:?}");
    }
}
