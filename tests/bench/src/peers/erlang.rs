//! Erlang, from Debian's package or any other: a program written beside the
//! bench, compiled when it is needed, and kept running while it is measured.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

/// The program, see there for its commands.
const PROGRAM: &str = include_str!("phoenix_bench.erl");

/// A running Erlang node, not distributed, that obeys commands.
pub(crate) struct Erlang {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    _dir: TempDir,
}

impl Erlang {
    /// Starts it with one scheduler, as ours has one worker. The error says in
    /// a sentence why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        Self::try_start().map_err(|error| {
            format!("Erlang does not run here ({error:#}); install the package erlang-base")
        })
    }

    fn try_start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let source = dir.path().join("phoenix_bench.erl");
        std::fs::write(&source, PROGRAM)?;
        let compiled = Command::new("erlc")
            .arg("-o")
            .args([dir.path(), &source])
            .output()
            .context("cannot start erlc")?;
        anyhow::ensure!(
            compiled.status.success(),
            "erlc: {}",
            String::from_utf8_lossy(&compiled.stdout)
        );
        let mut child = Command::new("erl")
            .args(["-noshell", "+S", "1:1", "+P", "1000000", "-pa"])
            .arg(dir.path())
            .args(["-s", "phoenix_bench", "main"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start erl")?;
        let commands = child.stdin.take().context("erl has no input")?;
        let answers = BufReader::new(child.stdout.take().context("erl has no output")?);
        let mut started = Self {
            child,
            commands,
            answers,
            _dir: dir,
        };
        let ready = started.line()?;
        anyhow::ensure!(ready.starts_with("ready"), "erl said {ready:?}");
        Ok(started)
    }

    /// Runs a command of the program and gives its figure.
    pub(crate) fn run(&mut self, command: &str, number: u32) -> anyhow::Result<f64> {
        writeln!(self.commands, "{command} {number}")?;
        self.commands.flush()?;
        let line = self.line()?;
        line.trim()
            .parse()
            .with_context(|| format!("erl answered {command} with {line:?}"))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line)?;
        anyhow::ensure!(read > 0, "erl ended");
        Ok(line)
    }
}

impl Drop for Erlang {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
