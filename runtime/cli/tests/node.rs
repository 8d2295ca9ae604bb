//! A real node as a process: started, operated, told to stop.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
    data: tempfile::TempDir,
}

fn phoenix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHOENIX_") {
            command.env_remove(name);
        }
    }
    command
}

impl Node {
    /// Starts a node and waits until it says that it is ready.
    fn start(flags: &[&str]) -> (Self, Value) {
        let data = tempfile::tempdir().unwrap();
        let mut child = phoenix()
            .args([
                "--json",
                "node",
                "--api",
                "127.0.0.1:0",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--log", "error", "--data", data.path().to_str().unwrap()])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut node = Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            data,
        };
        let mut line = String::new();
        node.stdout.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line);
        let ready = ready.unwrap_or_else(|_| panic!("{line}{}", node.last_words()));
        (node, ready)
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }

    fn run(&self, args: &[&str]) -> Output {
        let data = self.data.path().to_str().unwrap();
        phoenix()
            .args(["--json", "--data", data])
            .args(args)
            .output()
            .unwrap()
    }

    fn ask(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn no_address(data: &Path) -> bool {
    !data.join("api.address").exists()
}

#[test]
fn a_node_is_operated_and_ends_on_a_signal() {
    let (mut node, ready) = Node::start(&[]);
    assert_eq!(ready["node"], "node-1");
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
    node.signal(Signal::TERM);
    assert!(node.child.wait().unwrap().success());
    assert!(no_address(node.data.path()));
    assert_eq!(node.run(&["ps"]).status.code(), Some(3));
}

#[test]
fn an_operator_can_stop_a_node() {
    let (mut node, _) = Node::start(&[]);
    node.ask(&["stop", "--this-node"]);
    assert!(node.child.wait().unwrap().success());
}

#[test]
fn a_data_directory_is_for_one_node() {
    let (node, _) = Node::start(&[]);
    let output = node.run(&["node", "--api", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    let suggestion = error["error"]["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("another node"), "{suggestion}");
    // The first one is unharmed.
    node.ask(&["ps"]);
}

#[test]
fn a_second_node_joins_and_agents_move_there() {
    let (first, _) = Node::start(&[]);
    let token = first.ask(&["token"])["token"].as_str().unwrap().to_owned();
    let (second, ready) = Node::start(&["--join", &token]);
    assert_eq!(ready["node"], "node-2");
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
