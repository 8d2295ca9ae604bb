//! What a node keeps on disk for mailboxes that are full.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Node;

/// Messages that are sent, in one turn.
const MESSAGES: u64 = 900;

/// How the slow agent's mailbox stands: messages on disk.
fn spilled(node: &Node) -> u64 {
    node.ask(&["inspect", "laggard/slow"])["lanes"][1]["spilled"]
        .as_u64()
        .unwrap()
}

/// What the slow agent has heard, when it has heard the last message.
fn report(node: &Node) -> Value {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        // Its mailbox may have no room for the question.
        let output = node.run(&["call", "laggard/slow", "report"]);
        if output.status.success() {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            let report = &answer["answer"];
            if report["last"]["laggard/sender"] == MESSAGES {
                return report.clone();
            }
        }
        assert!(Instant::now() < until, "it does not hear all");
    }
}

/// The slow agent's memory and mailbox are gone with the process, and so is whoever
/// sent. What was on disk is heard all the same, in order.
#[test]
fn what_is_spilled_survives_a_kill() {
    let (node, _) = Node::start(&[]);
    let component = node.data.path().join("laggard.wasm");
    fs::write(&component, phoenix_support::guest("laggard")).unwrap();
    let policy = ["--set", "overflow=spill", "--set", "mailbox-messages=16"];
    node.ask(&[&["deploy", component.to_str().unwrap()], policy.as_slice()].concat());
    // Long enough for most to be on disk when the node is killed, wherever that is.
    node.ask(&["call", "laggard/slow", "slow", "5000000"]);
    let burst = format!("[\"laggard/slow\", {MESSAGES}, 100]");
    node.ask(&["call", "laggard/sender", "burst", &burst]);
    let before = spilled(&node);
    assert!(before > 0, "it is too fast");
    let node = node.killed_and_started(&[]);
    let report = report(&node);
    let number = |value: &Value| value.as_u64().unwrap();
    let (first, heard) = (
        number(&report["first"]["laggard/sender"]),
        number(&report["heard"]),
    );
    assert!(first > 1, "what was in memory is gone: {report}");
    assert_eq!(heard, MESSAGES - first + 1, "{report}");
    assert_eq!(
        (&report["missing"], &report["repeated"]),
        (&0.into(), &0.into())
    );
    assert!(heard <= before, "{heard} heard of {before}");
    assert_eq!(spilled(&node), 0);
}
