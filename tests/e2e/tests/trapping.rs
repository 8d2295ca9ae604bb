//! A trap undoes its batch and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Cluster, json, message};
use phoenix_core::control::{ClientMessage, LetterFilter, Verdict};
use phoenix_core::{Body, KindPolicy, Reply};

/// A kind's name, its component, and a method by which its agents trap.
const KINDS: [(&str, &str, &str); 2] = [
    ("framed", "hostile", "unreachable"),
    ("typed", "hostile-typed", "log-2-gib"),
];

/// The state after a trap is exactly that before it, wherever the last checkpoint
/// was, and that of its neighbours on the same worker too.
#[test]
fn a_thousand_messages_and_a_trap_leave_a_thousand() {
    let cluster = Cluster::tuned(1, 6, |config| config.workers = Some(1));
    let client = cluster.client(1);
    cluster.deploy(
        "counter",
        phoenix_support::agent("counter"),
        KindPolicy::default(),
    );
    let mut trapped = 0;
    for (world, guest, trap) in KINDS {
        let component = phoenix_support::guest(guest);
        for (name, rollback_bytes) in [("all", 1 << 20), ("some", 8 << 10), ("each", 0)] {
            let policy = KindPolicy {
                rollback_bytes,
                ..KindPolicy::default()
            };
            let kind = format!("{world}-{name}");
            cluster.deploy(&kind, component, policy);
            let (agent, sibling) = (format!("{kind}/a"), format!("{kind}/b"));
            let checkpoints = client.counter("checkpoints");
            for chunk in 0..10u64 {
                let batch: Vec<_> = (1..=100)
                    .map(|n| add_one(&agent, chunk * 100 + n))
                    .collect();
                assert_eq!(client.send(batch), vec![Verdict::Applied; 100]);
            }
            let checkpoints = client.counter("checkpoints") - checkpoints;
            assert_eq!(checkpoints > 0, name != "all", "{kind}: {checkpoints}");
            assert_eq!(client.call_json::<u64>(&sibling, "add", "7"), 7);
            client.call::<u64>("counter/neighbour", "add", 1);
            let Reply::Bounced(why) = client.ask(&agent, trap, ()) else {
                panic!("it traps");
            };
            trapped += 1;
            assert!(why.starts_with("trapped"), "{why}");
            let total = |agent: &str| client.call_json::<u64>(agent, "total", "");
            assert_eq!(total(&agent), 1_000, "{kind}");
            assert_eq!(total(&sibling), 7, "{kind}");
            assert_eq!(
                client.call::<u64>("counter/neighbour", "total", ()),
                trapped
            );
            // What was committed stays so: sent again it is not applied again.
            let again = client.send((901..=1_000).map(|n| add_one(&agent, n)).collect());
            assert_eq!(again, vec![Verdict::Applied; 100]);
            assert_eq!(total(&agent), 1_000, "{kind}");
            // And it goes on from there, asleep too.
            client.hibernate(&agent).unwrap();
            assert_eq!(client.call_json::<u64>(&agent, "add", "1"), 1_001, "{kind}");
        }
    }
    let letters = client.dead_letters(LetterFilter::default());
    assert_eq!(letters.len() as u64, trapped);
    let traps = KINDS.map(|(.., trap)| trap);
    assert!(letters.iter().all(|letter| &*letter.reason == "trapped"
        && letter.attempts == 3
        && matches!(&letter.envelope.body, Body::Message { method, .. } if traps.contains(&&**method))));
    assert_eq!(client.counter("faults"), 3 * trapped);
}

fn add_one(agent: &str, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json("1"),
        ..message(agent, "add", (), sequence)
    }
}
