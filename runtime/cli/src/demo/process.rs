//! A node as a process of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::lifeline;
use crate::output::escape::escape_lines;

/// What every node is started with: ports of the system's choice, on loopback
/// only, and no long farewell, for nothing it holds is needed afterwards.
const ARGUMENTS: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--api",
    "127.0.0.1:0",
    "--drain-timeout",
    "1s",
];

/// How long a node may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether it does.
const START_INTERVAL: Duration = Duration::from_millis(20);

/// How long a node may take to drain after SIGTERM; then it gets a second one,
/// which ends it at once, and after [`KILL_AFTER`] it is killed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// See [`DRAIN_PATIENCE`].
const KILL_AFTER: Duration = Duration::from_secs(2);

/// How much of a dead node's error output is shown, bytes.
const TAIL: u64 = 2_000;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    /// It could not be started.
    #[error("node {number} cannot be started")]
    Start {
        /// Counted from 1.
        number: usize,
        /// What the operating system says.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("node {number} has ended ({status}); its last words:\n{tail}")]
    Died {
        /// Counted from 1.
        number: usize,
        /// How.
        status: ExitStatus,
        /// The end of its error output.
        tail: String,
    },
    /// It runs and does not answer.
    #[error(
        "node {number} does not answer after {} seconds; its last words:\n{tail}",
        START_PATIENCE.as_secs()
    )]
    Silent {
        /// Counted from 1.
        number: usize,
        /// The end of its error output.
        tail: String,
    },
}

/// A running node. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    number: usize,
    child: Child,
    /// Ends the node when it is closed. Apart, since waiting for a child closes its input.
    _lifeline: Option<ChildStdin>,
    directory: PathBuf,
    output: PathBuf,
}

impl Process {
    /// Starts `program node …` with its data in `directory/node-NUMBER`. It
    /// joins with `token` if there is one. What it says comes after what an earlier one
    /// of that number said.
    pub(super) fn start(
        program: &Path,
        directory: &Path,
        number: usize,
        token: Option<&str>,
    ) -> Result<Self, ProcessError> {
        let start = |source| ProcessError::Start { number, source };
        let output = directory.join(format!("node-{number}.log"));
        let errors = File::options().create(true).append(true).open(&output);
        let errors = errors.map_err(start)?;
        let directory = directory.join(format!("node-{number}"));
        std::fs::create_dir_all(&directory).map_err(start)?;
        let mut command = Command::new(program);
        command
            .args(lifeline::ARGUMENTS)
            .arg("node")
            .arg("--data")
            .arg(&directory)
            .args(ARGUMENTS)
            // What the user has set for nodes of their own is not for these.
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors)
            // An interrupt from the terminal is for the demo, which then ends its nodes in order.
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PHOENIX_") {
                command.env_remove(name);
            }
        }
        if let Some(token) = token {
            // Not as an argument, which every user of the machine may read.
            command.env("PHOENIX_JOIN", token);
        }
        let mut child = command.spawn().map_err(start)?;
        Ok(Self {
            number,
            _lifeline: child.stdin.take(),
            child,
            directory,
            output,
        })
    }

    /// Waits until `ready` answers, asking it again and again.
    pub(super) async fn ready<T>(
        &mut self,
        ready: impl AsyncFn(&Path) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let since = Instant::now();
        while since.elapsed() < START_PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.died(status));
            }
            if let Some(answer) = ready(&self.directory).await {
                return Ok(answer);
            }
            sleep(START_INTERVAL).await;
        }
        Err(ProcessError::Silent {
            number: self.number,
            tail: self.tail(),
        })
    }

    /// Waits until it ends by itself, which it should not.
    pub(super) async fn end(&mut self) -> ProcessError {
        match self.child.wait().await {
            Ok(status) => self.died(status),
            Err(source) => ProcessError::Start {
                number: self.number,
                source,
            },
        }
    }

    /// Kills it, which it does not hear of, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), ProcessError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.died(status));
        }
        let number = self.number;
        let killed = self.child.kill().await;
        killed.map_err(|source| ProcessError::Start { number, source })
    }

    /// Asks it to stop, and sees to it.
    pub(super) async fn stop(&mut self) {
        for patience in [DRAIN_PATIENCE, KILL_AFTER] {
            self.signal();
            if timeout(patience, self.child.wait()).await.is_ok() {
                return;
            }
        }
        // It is gone already, or it is killed: either way nothing is left to do.
        let _ = self.child.kill().await;
    }

    fn signal(&self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // A failure means that it has ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn died(&self, status: ExitStatus) -> ProcessError {
        ProcessError::Died {
            number: self.number,
            status,
            tail: self.tail(),
        }
    }

    fn tail(&self) -> String {
        match tail(&self.output) {
            Ok(text) if text.trim().is_empty() => "(none)".into(),
            Ok(text) => text,
            Err(error) => format!("({} cannot be read: {error})", self.output.display()),
        }
    }
}

/// The last whole lines of a file, at most [`TAIL`] bytes.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match text.split_once('\n') {
        Some((_, rest)) if skipped > 0 => rest,
        _ => &text,
    };
    Ok(escape_lines(whole.trim_end()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a shell that stands in for `phoenix`: it takes `demo` for the name
    /// of a script in its directory. (A script run by itself may be busy: a
    /// process that another test forks holds it open for a moment.)
    fn start(directory: &Path, number: usize, script: &str, token: Option<&str>) -> Process {
        let data = directory.join(format!("node-{number}"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("demo"), script).unwrap();
        Process::start(Path::new("/bin/sh"), directory, number, token).unwrap()
    }

    async fn lines(path: &Path) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(path.join("ready")).ok()?;
        text.ends_with("end\n")
            .then(|| text.lines().map(ToOwned::to_owned).collect())
    }

    #[tokio::test]
    async fn a_node_gets_its_arguments_and_ends_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"printf '%s\n' "$@" "$PHOENIX_JOIN" end > ready; exec sleep 600"#;
        let mut node = start(directory.path(), 1, script, Some("a-token"));
        let seen = node.ready(lines).await.unwrap();
        let data = directory.path().join("node-1");
        let first = ["--as-node", "--", "node", "--data", data.to_str().unwrap()];
        assert_eq!(seen[..5], first);
        assert_eq!(seen[seen.len() - 2..], ["a-token", "end"]);
        assert_eq!(node.directory, data);
        node.stop().await;
        assert!(node.child.try_wait().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_node_that_ends_early_is_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let script = "seq 1 2000 >&2; echo the port is taken >&2; exit 3";
        let mut node = start(directory.path(), 2, script, None);
        let error = node.ready(lines).await.unwrap_err().to_string();
        assert!(
            error.contains("node 2") && error.contains("exit status: 3"),
            "{error}"
        );
        assert!(
            error.ends_with("\n1999\n2000\nthe port is taken"),
            "{error}"
        );
        assert!(error.len() < 2_200, "only the end of it");
    }

    #[tokio::test]
    async fn a_dropped_node_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let script =
            r#"trap '' TERM; echo $$ > pid; echo end > ready; while :; do sleep 600; done"#;
        let mut node = start(directory.path(), 1, script, None);
        node.ready(lines).await.unwrap();
        let pid = std::fs::read_to_string(node.directory.join("pid")).unwrap();
        drop(node);
        let since = Instant::now();
        // A killed process is a zombie until it is reaped, and then gone.
        while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            assert!(since.elapsed() < Duration::from_secs(30), "it lives on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_node_keeps_its_lifeline_while_it_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let script = "cat > heard; echo end > ready; exec sleep 600";
        let mut node = start(directory.path(), 1, script, None);
        assert!(timeout(Duration::ZERO, node.end()).await.is_err());
        assert!(!node.directory.join("ready").exists());
        node._lifeline = None;
        assert_eq!(node.ready(lines).await.unwrap(), ["end"]);
        node.stop().await;
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let error = Process::start(&directory.path().join("none"), directory.path(), 1, None);
        assert!(matches!(error, Err(ProcessError::Start { number: 1, .. })));
    }
}
