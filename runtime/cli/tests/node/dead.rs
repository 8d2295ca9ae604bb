//! A node that is declared dead.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Node, error};

/// A process that stands still is silent, and dead by an operator's word. When it
/// goes on, it hears so and ends.
#[test]
fn a_node_that_hears_that_it_is_dead_ends_with_status_one() {
    let (first, mut second) = Node::pair(&[]);
    first.ask(&["deploy", "--sample", "counter"]);
    first.counter_on("node-2", "counter/alice", 5);
    let declare = ["nodes", "declare-dead", "node-2", "--yes"];
    let connected = first.run(&declare);
    assert_eq!(error(&connected)["code"], "conflict");
    second.process.signal(Signal::STOP);
    let until = Instant::now() + Duration::from_secs(60);
    let dead = loop {
        let output = first.run(&declare);
        if output.status.success() {
            break output;
        }
        assert_eq!(error(&output)["code"], "conflict", "{output:?}");
        assert!(Instant::now() < until, "it never falls silent");
    };
    let dead: serde_json::Value = serde_json::from_slice(&dead.stdout).unwrap();
    assert_eq!(
        (&dead["node"], &dead["agents"]),
        (&"node-2".into(), &1.into())
    );
    let anew = first.ask(&["call", "counter/alice", "add", "1"]);
    assert_eq!(anew["answer"], 1);
    assert_eq!(first.ask(&["inspect", "counter/alice"])["node"], "node-1");
    second.process.signal(Signal::CONT);
    let ended = second.process.end();
    assert_eq!(ended.status.code(), Some(1));
    let told = error(&ended);
    assert!(told["message"].as_str().unwrap().contains("declared dead"));
    assert!(
        told["suggestion"]
            .as_str()
            .unwrap()
            .contains("start it again")
    );
    assert_eq!(
        first.ask(&["call", "counter/alice", "add", "1"])["answer"],
        2
    );
}
