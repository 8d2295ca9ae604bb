//! Nodes that become a cluster.

use std::net::{TcpListener, UdpSocket};

use serde_json::Value;

use crate::harness::{Node, error};

fn port(address: &Value) -> u16 {
    let (_, port) = address.as_str().unwrap().rsplit_once(':').unwrap();
    port.parse().unwrap()
}

#[test]
fn a_second_node_joins_and_agents_move_there() {
    let (first, second) = Node::pair(&[]);
    first.ask(&["deploy", "--sample", "counter"]);
    assert_eq!(
        first.ask(&["call", "counter/alice", "add", "5"])["answer"],
        5
    );
    let from = first.ask(&["inspect", "counter/alice"])["node"].clone();
    let to = if from == "node-1" { "node-2" } else { "node-1" };
    let moved = first.ask(&["migrate", "counter/alice", to]);
    assert_eq!((&moved["from"], moved["to"].as_str()), (&from, Some(to)));
    assert_eq!(
        second.ask(&["call", "counter/alice", "add", "1"])["answer"],
        6
    );
}

/// What the README says: a token and a directory are all that it takes.
#[test]
fn the_second_node_of_a_machine_needs_no_ports() {
    let (first, one) = Node::start_as_it_is(&[]);
    let token = first.ask(&["token"]);
    assert_eq!(token["this_machine_only"], true);
    assert_eq!(token["address"], one["address"]);
    let (second, two) = Node::start_as_it_is(&["--join", token["token"].as_str().unwrap()]);
    assert_eq!(two["node"], "node-2");
    assert_ne!(port(&one["address"]), port(&two["address"]));
    assert_ne!(port(&one["api"]), port(&two["api"]));
    // The defaults are another node's, this test's or not.
    let missed = serde_json::json!(["127.0.0.1:7400", "127.0.0.1:7401"]);
    assert_eq!(two["instead_of"], missed);
    first.await_peer("node-2");
    second.await_peer("node-1");
    // Where the others look for it, it is next time.
    let kept = std::fs::read_to_string(second.data.path().join("listen.port")).unwrap();
    assert_eq!(kept.trim(), port(&two["address"]).to_string());
}

#[test]
fn a_token_says_whom_it_is_for() {
    let (local, _) = Node::start(&[]);
    let output = local.run(&["token"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("--listen 0.0.0.0:7401 --advertise HOST:7401"),
        "{said}"
    );
    let (open, _) = Node::start_as_it_is(&[
        "--api",
        "127.0.0.1:0",
        "--listen",
        "0.0.0.0:0",
        "--advertise",
        "node.example:7401",
    ]);
    let output = open.run(&["token"]);
    assert!(output.stderr.is_empty(), "{output:?}");
    let token: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(token["this_machine_only"], false);
    assert_eq!(token["address"], "node.example:7401");
}

#[test]
fn a_port_that_was_chosen_is_not_exchanged_for_another() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut node = Node::begin(&["--api", "127.0.0.1:0", "--listen", &address]);
    let output = node.process.end();
    assert_eq!(output.status.code(), Some(1));
    let error_of = error(&output);
    assert!(error_of["message"].as_str().unwrap().contains(&address));
    let suggestion = error_of["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("--listen"), "{suggestion}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut node = Node::begin(&["--listen", "127.0.0.1:0", "--api", &address]);
    let output = node.process.end();
    assert_eq!(output.status.code(), Some(1));
    let error_of = error(&output);
    assert!(error_of["message"].as_str().unwrap().contains(&address));
    let suggestion = error_of["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("--api"), "{suggestion}");
}
