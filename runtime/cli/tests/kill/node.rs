//! One node after the other on the same data directory.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use phoenix_gateway::client::Client;
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use tokio::runtime::Runtime;

use crate::process::{Process, phoenix};

/// Where the node of all lives keeps what it keeps.
pub(crate) struct Lives {
    data: TempDir,
}

/// A node that runs. Dropped, it is killed.
pub(crate) struct Life {
    process: Process,
    pub(crate) client: Client,
    pub(crate) begun: Instant,
}

impl Lives {
    pub(crate) fn new() -> Self {
        Self {
            data: tempdir().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts a node and waits for nothing.
    pub(crate) fn begin(&self) -> Process {
        let mut command = phoenix();
        let data = self.data().to_str().unwrap();
        command
            .args(["--json", "--data", data, "node", "--listen", "none"])
            .args(["--api", "127.0.0.1:0", "--workers", "2", "--log", "warn"])
            .current_dir(self.data());
        Process::start(&mut command)
    }

    /// Starts a node and waits until it says that it is ready.
    pub(crate) fn start(&mut self, runtime: &Runtime, spans: &mut Spans) -> Life {
        let begun = Instant::now();
        let mut process = self.begin();
        let line = process.out.next();
        let ready = line.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        let Some(ready) = ready else {
            let said = process.err.rest();
            panic!("it is not ready: {}", String::from_utf8_lossy(&said));
        };
        spans.ready.push(begun.elapsed());
        let address = ready["api"].as_str().unwrap().parse().unwrap();
        let _entered = runtime.enter();
        let client = Client::of_data_dir(self.data(), Some(address)).unwrap();
        Life {
            process,
            client,
            begun,
        }
    }
}

impl Life {
    /// Kills it; it was alive until then.
    pub(crate) fn kill(mut self) {
        if let Some(status) = self.process.ended() {
            let said = self.process.err.rest();
            panic!(
                "it ended by itself: {status}: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}

/// How long things took.
#[derive(Default)]
pub(crate) struct Spans {
    ready: Vec<Duration>,
    answered: Vec<Duration>,
}

impl Spans {
    /// A node that was begun then has had all its agents answer by now.
    pub(crate) fn answered(&mut self, begun: Instant) {
        self.answered.push(begun.elapsed());
    }

    /// What a start usually takes.
    pub(crate) fn start_micros(&self) -> u64 {
        let usual = quantile(&self.ready, 50);
        u64::try_from(usual.as_micros()).unwrap()
    }
}

fn quantile(spans: &[Duration], percent: usize) -> Duration {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, spans) in [
            ("until ready", &self.ready),
            ("until all agents answer", &self.answered),
        ] {
            let [half, most, all] = [50, 99, 100].map(|it| quantile(spans, it).as_millis());
            write!(f, "{what} {half} ms, 99% {most} ms, at most {all} ms; ")?;
        }
        Ok(())
    }
}
