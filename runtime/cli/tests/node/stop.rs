//! Nodes that are told to stop, and what becomes of their agents and clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Node, error};

#[test]
fn agents_of_a_node_that_stops_live_on_at_its_peer() {
    let (first, mut second) = Node::pair(&[]);
    first.ask(&["deploy", "--sample", "counter"]);
    let agents: Vec<_> = (1..=8).map(|n| (format!("counter/{n}"), n)).collect();
    for (agent, n) in &agents {
        first.counter_on("node-2", agent, *n);
    }
    first.ask(&["hibernate", "counter/1"]);
    second.process.signal(Signal::TERM);
    assert!(second.process.status().success());
    let said = second.process.err.said();
    assert!(!said.contains("end with the node"), "{said}");
    for (agent, n) in &agents {
        assert_eq!(first.ask(&["call", agent, "total"])["answer"], *n);
        assert_eq!(first.ask(&["inspect", agent])["node"], "node-1");
    }
}

#[test]
fn an_agent_that_one_peer_does_not_take_goes_to_another() {
    let (first, mut second) = Node::pair(&["--set", "migration-timeout=500ms"]);
    let third = first.joined_by(&[]);
    second.await_peer("node-3");
    first.ask(&["deploy", "--sample", "counter"]);
    let agents: Vec<_> = (1..=8).map(|n| (format!("counter/{n}"), n)).collect();
    for (agent, n) in &agents {
        first.counter_on("node-2", agent, *n);
    }
    // From now on it takes nothing, and its connections hold for a while.
    third.process.signal(Signal::STOP);
    second.process.signal(Signal::TERM);
    assert!(second.process.status().success());
    let said = second.process.err.said();
    assert!(!said.contains("end with the node"), "{said}");
    // What has just lost its source may be in doubt for a moment.
    for (agent, n) in &agents {
        let total = first.ask_until_available(&["call", agent, "total"]);
        assert_eq!(total["answer"], *n);
    }
}

#[test]
fn a_client_that_waits_is_told_and_agents_left_behind_are_named() {
    let (first, mut second) = Node::pair(&["--drain-timeout", "1s"]);
    first.ask(&["deploy", "--sample", "counter"]);
    first.counter_on("node-1", "counter/far", 1);
    first.counter_on("node-2", "counter/near", 1);
    // Now it knows where that agent is.
    second.ask(&["call", "counter/far", "total"]);
    first.process.signal(Signal::STOP);
    let mut client = Client::of(&second);
    client.begin_call("counter/far", "total");
    second.process.signal(Signal::TERM);
    let answer = client.answer();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("\"code\":\"unknown\""), "{answer}");
    assert!(answer.contains("the node is stopping"), "{answer}");
    assert!(second.process.status().success());
    let said = second.process.err.said();
    assert!(said.contains("end with the node"), "{said}");
    assert!(said.contains("counter/near"), "{said}");
    first.process.signal(Signal::CONT);
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    let (first, mut second) = Node::pair(&["--drain-timeout", "1h"]);
    first.ask(&["deploy", "--sample", "counter"]);
    first.counter_on("node-2", "counter/near", 1);
    // Nobody takes the agent: stopping in order would take an hour.
    first.process.signal(Signal::STOP);
    second.process.signal(Signal::TERM);
    second.process.err.until("stopping");
    second.process.signal(Signal::TERM);
    assert_eq!(second.process.status().code(), Some(1));
    first.process.signal(Signal::CONT);
}

#[test]
fn a_signal_ends_a_node_that_is_starting() {
    let (first, _) = Node::start(&[]);
    let token = first.token();
    // It answers nobody: whoever joins waits.
    first.process.signal(Signal::STOP);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut second = Node::begin(&["--api", "127.0.0.1:0", "--join", &token]);
        second.process.err.until("starting");
        second.process.signal(signal);
        let output = second.process.end();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = error(&output)["message"].as_str().unwrap().to_owned();
        assert!(message.contains(name), "{message}");
    }
    let mut second = Node::begin(&["--api", "127.0.0.1:0", "--join", &token]);
    second.process.err.until("starting");
    second.process.signal(Signal::TERM);
    second.process.err.until("the start is given up");
    second.process.signal(Signal::TERM);
    assert_eq!(second.process.status().code(), Some(1));
    first.process.signal(Signal::CONT);
}

/// A client whose request is known to have arrived.
struct Client {
    stream: TcpStream,
    host: String,
    token: String,
}

impl Client {
    fn of(node: &Node) -> Self {
        let read = |name| std::fs::read_to_string(node.data.path().join(name)).unwrap();
        let (host, token) = (read("api.address"), read("api.token"));
        let stream = TcpStream::connect(host.trim()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            stream,
            host: host.trim().to_owned(),
            token: token.trim().to_owned(),
        }
    }

    /// Asks an agent, and returns when a handler of the API reads the request.
    fn begin_call(&mut self, agent: &str, method: &str) {
        let head = format!(
            "POST /v1/agents/{agent}/call/{method}?timeout=1h HTTP/1.1\r\nhost: {}\r\n\
             authorization: Bearer {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: 4\r\nexpect: 100-continue\r\n\r\n",
            self.host, self.token
        );
        self.stream.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; 25];
        self.stream.read_exact(&mut go_on).unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100"));
        self.stream.write_all(b"null").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
