//! One node, operated.

use rustix::process::Signal;

use crate::harness::{ANY_PORTS, Node, error};

#[test]
fn a_node_is_operated_and_ends_on_a_signal() {
    let (mut node, ready) = Node::start(&[]);
    assert_eq!(ready["node"], "node-1");
    assert_eq!(ready.get("instead_of"), None, "the ports were chosen");
    node.ask(&["deploy", "--sample", "counter"]);
    assert_eq!(
        node.ask(&["call", "counter/alice", "add", "5"])["answer"],
        5
    );
    assert_eq!(
        node.ask(&["send", "counter/alice", "add", "2"])["verdict"],
        "applied"
    );
    node.ask(&["hibernate", "counter/alice"]);
    let agents = node.ask(&["ps"]);
    assert_eq!(agents["agents"][0]["status"], "hibernated");
    assert_eq!(node.ask(&["call", "counter/alice", "total"])["answer"], 7);
    node.process.signal(Signal::TERM);
    assert!(node.process.status().success());
    // There is nowhere the agent could have gone.
    let said = node.process.err.said();
    assert!(said.contains("agents end with the node"), "{said}");
    assert!(!node.data.path().join("api.address").exists());
    assert_eq!(node.run(&["ps"]).status.code(), Some(3));
}

#[test]
fn an_operator_can_stop_a_node() {
    let (mut node, _) = Node::start(&[]);
    assert_eq!(node.ask(&["stop", "--this-node"])["stopping"], true);
    assert!(node.process.status().success());
}

#[test]
fn a_data_directory_is_for_one_node() {
    let (node, _) = Node::start(&[]);
    let output = node.run(&[&["node"], ANY_PORTS.as_slice()].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = error(&output);
    let message = error["message"].as_str().unwrap();
    let pid = node.process.id().to_string();
    assert!(message.contains("another node") && message.contains(&pid));
    let suggestion = error["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("--data DIR"), "{suggestion}");
    // The first one is unharmed.
    node.ask(&["ps"]);
}
