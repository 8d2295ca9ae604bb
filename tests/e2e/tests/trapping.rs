//! A trap undoes its batch and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Cluster, json, message};
use phoenix_core::control::{ClientMessage, Request, Response};
use phoenix_core::{KindPolicy, Reply};

/// The state after a trap is exactly that before it, wherever the last checkpoint was.
#[test]
fn a_thousand_messages_and_a_trap_leave_a_thousand() {
    let cluster = Cluster::new(1, 6);
    let client = cluster.client(1);
    let component = phoenix_support::guest("hostile");
    for (name, rollback_bytes) in [("all", 1 << 20), ("some", 8 << 10), ("each", 0)] {
        let policy = KindPolicy {
            rollback_bytes,
            ..KindPolicy::default()
        };
        let kind = format!("hostile-{name}");
        cluster.deploy(&kind, component, policy);
        let agent = format!("{kind}/a");
        for chunk in 0..10u64 {
            let batch = (1..=100)
                .map(|n| ClientMessage {
                    payload: json("1"),
                    ..message(&agent, "add", (), chunk * 100 + n)
                })
                .collect();
            client.send(batch);
        }
        let Reply::Bounced(why) = client.ask(&agent, "unreachable", ()) else {
            panic!("it traps");
        };
        assert!(why.starts_with("trapped"), "{why}");
        assert_eq!(
            client.call_json::<u64>(&agent, "total", ""),
            1_000,
            "{name}"
        );
    }
    let Response::DeadLetters(letters) = client
        .request(Request::DeadLetters {
            node: None,
            limit: 10,
        })
        .unwrap()
    else {
        panic!("dead letters were asked for");
    };
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| &*letter.reason == "trapped"
        && letter.attempts == 3
        && &*letter.method == "unreachable"));
}
