//! A gateway with the pretended node behind it, and the binary to run.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use phoenix_gateway::{Gateway, GatewayConfig, Limits};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fake::FakeControl;
use crate::process::{Process, phoenix};

/// The pretended node with its data directory.
pub(crate) struct Node {
    pub(crate) control: Arc<FakeControl>,
    pub(crate) dir: TempDir,
    gateway: Option<Gateway>,
    runtime: Runtime,
}

impl Node {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let control = FakeControl::new();
        let config = GatewayConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            limits: Limits::default(),
        };
        let gateway = runtime
            .block_on(Gateway::bind(
                config,
                control.clone(),
                phoenix_node::event_codec(),
            ))
            .unwrap();
        Self {
            control,
            dir,
            gateway: Some(gateway),
            runtime,
        }
    }

    /// Ends it; its token stays.
    pub(crate) fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.runtime
                .block_on(gateway.close(std::time::Duration::ZERO));
        }
    }

    /// Runs the binary with this node's data directory.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.fed(args, b"")
    }

    /// The same with something on standard input.
    pub(crate) fn fed(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut all = vec!["--data", self.dir.path().to_str().unwrap()];
        all.extend_from_slice(args);
        run_with(&all, input)
    }

    /// Writes a file beside the node's own and gives its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 0, "{self:?}");
        assert_eq!(self.out.lines().count(), 1, "one line: {self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// The error of a run with `--json`.
    pub(crate) fn error(&self) -> serde_json::Value {
        assert_ne!(self.status, 0, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        let error: serde_json::Value = serde_json::from_str(&self.err).unwrap();
        error["error"].clone()
    }
}

/// Runs the binary.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_with(args, b"")
}

fn run_with(args: &[&str], input: &[u8]) -> Ended {
    ended(Process::fed(phoenix().args(args), input).end())
}

pub(crate) fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}
