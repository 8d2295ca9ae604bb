//! A node as a process.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::process::{Process, phoenix};

pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) data: TempDir,
}

/// Flags of a node that uses no port that anybody chose.
pub(crate) const ANY_PORTS: [&str; 4] = ["--api", "127.0.0.1:0", "--listen", "127.0.0.1:0"];

impl Node {
    /// Starts a node on any ports and waits until it says that it is ready.
    pub(crate) fn start(flags: &[&str]) -> (Self, Value) {
        Self::start_as_it_is(&[&ANY_PORTS, flags].concat())
    }

    /// The same with its default ports, unless `flags` has others.
    pub(crate) fn start_as_it_is(flags: &[&str]) -> (Self, Value) {
        let mut node = Self::begin(flags);
        let line = node.process.out.next();
        let ready = line.and_then(|line| serde_json::from_str(&line).ok());
        let Some(ready) = ready else {
            let said = node.process.err.rest();
            panic!("it is not ready: {}", String::from_utf8_lossy(&said));
        };
        (node, ready)
    }

    /// Starts a node and waits for nothing.
    pub(crate) fn begin(flags: &[&str]) -> Self {
        Self::begin_in(tempdir().unwrap(), flags)
    }

    /// Kills it, and starts another one in its place.
    pub(crate) fn killed_and_started(self, flags: &[&str]) -> Self {
        let Self { process, data } = self;
        // A process is killed when it is let go, and has ended then.
        drop(process);
        let mut node = Self::begin_in(data, &[&ANY_PORTS, flags].concat());
        assert!(node.process.out.next().is_some(), "it is not ready");
        node
    }

    fn begin_in(data: TempDir, flags: &[&str]) -> Self {
        let mut command = phoenix();
        command
            .args(["--json", "--data", data.path().to_str().unwrap(), "node"])
            .args(flags)
            // Where no configuration lies.
            .current_dir(data.path());
        Self {
            process: Process::start(&mut command),
            data,
        }
    }

    /// Two connected nodes, the second one started with `flags` too.
    pub(crate) fn pair(flags: &[&str]) -> (Self, Self) {
        let (first, _) = Self::start(&[]);
        let second = first.joined_by(flags);
        (first, second)
    }

    /// Another node that joins this one's cluster.
    pub(crate) fn joined_by(&self, flags: &[&str]) -> Self {
        let token = self.token();
        let (other, ready) = Self::start(&[&["--join", &token], flags].concat());
        other.await_peer("node-1");
        self.await_peer(ready["node"].as_str().unwrap());
        other
    }

    pub(crate) fn token(&self) -> String {
        self.ask(&["token"])["token"].as_str().unwrap().to_owned()
    }

    /// Waits until it is connected to that node.
    pub(crate) fn await_peer(&self, name: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let connected = |nodes: &Value| {
            let mut nodes = nodes["nodes"].as_array().unwrap().iter();
            nodes.any(|node| node["node"] == name && node["connected"] == true)
        };
        while !connected(&self.ask(&["nodes"])) {
            assert!(Instant::now() < until, "{name} does not connect");
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let data = self.data.path().to_str().unwrap();
        let mut command = phoenix();
        command
            .args(["--json", "--data", data])
            .args(args)
            .current_dir(self.data.path());
        Process::start(&mut command).end()
    }

    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks again while the agent asked for is not to be had: then nothing was done.
    pub(crate) fn ask_until_available(&self, args: &[&str]) -> Value {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let asked = self.run(args);
            if asked.status.success() {
                return serde_json::from_slice(&asked.stdout).unwrap();
            }
            assert_eq!(error(&asked)["code"], "unavailable", "{args:?}");
            assert!(Instant::now() < until, "{args:?} is not to be had");
        }
    }

    /// A new agent on that node, which has counted to `total`.
    pub(crate) fn counter_on(&self, node: &str, agent: &str, total: u32) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let spawned = self.run(&["spawn", agent, "--on", node]);
            if spawned.status.success() {
                break;
            }
            // The other node may still be compiling what was deployed.
            assert_eq!(error(&spawned)["code"], "unavailable");
            assert!(Instant::now() < until, "{agent} does not come to life");
        }
        self.ask(&["call", agent, "add", &total.to_string()]);
        assert_eq!(self.ask(&["inspect", agent])["node"], node);
    }
}

/// The error of a run with `--json`.
pub(crate) fn error(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{text}"));
    error["error"].clone()
}
