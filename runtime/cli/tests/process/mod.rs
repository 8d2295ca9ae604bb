//! Processes of tests: each has a deadline, and none outlives its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may keep a test waiting. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process with its output, killed when the test is done with it.
pub(crate) struct Process {
    child: Child,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
}

/// What a process writes, read by a thread so that waiting for it has an end.
pub(crate) struct Lines {
    name: &'static str,
    lines: Receiver<Vec<u8>>,
    said: Vec<u8>,
}

impl Process {
    /// Starts it without input.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::fed(command, b"")
    }

    /// Starts it with `input` as its standard input.
    pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut process = Self::writing_to(command, writer.into());
        process.out = Lines::of("standard output", reader);
        let mut stdin = process.child.stdin.take().unwrap();
        // A process that fails early reads nothing.
        let _ = stdin.write_all(input);
        process
    }

    /// Starts it with any standard output, which is not read here.
    pub(crate) fn writing_to(command: &mut Command, stdout: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It would hold our end of its output.
        command.stdout(Stdio::null());
        Self {
            out: Lines::of("nothing", std::io::empty()),
            err: Lines::of("standard error", child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.id(), which);
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end: when it has closed its output, it is over.
    pub(crate) fn end(&mut self) -> Output {
        let stdout = self.out.rest();
        let stderr = self.err.rest();
        Output {
            status: self.child.wait().unwrap(),
            stdout,
            stderr,
        }
    }

    /// How it ended.
    pub(crate) fn status(&mut self) -> ExitStatus {
        self.end().status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(name: &'static str, from: impl Read + Send + 'static) -> Self {
        let (to, lines) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
                if to.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Self {
            name,
            lines,
            said: Vec::new(),
        }
    }

    /// The next line; nothing at the end. It panics if none comes in time.
    pub(crate) fn next(&mut self) -> Option<String> {
        let bytes = self.read(Instant::now() + PATIENCE)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some(text.trim_end_matches('\n').to_owned())
    }

    /// Reads up to a line that has `what` in it. It panics if there is none.
    pub(crate) fn until(&mut self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Some(line) = self.read(until) {
            let line = String::from_utf8_lossy(&line);
            if line.contains(what) {
                return line.trim_end_matches('\n').to_owned();
            }
        }
        panic!(
            "`{what}` is not on {}, which says:\n{}",
            self.name,
            self.said()
        );
    }

    /// All that is still to come, up to its end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        while let Some(line) = self.read(until) {
            rest.extend(line);
        }
        rest
    }

    /// All that was read.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    fn read(&mut self, until: Instant) -> Option<Vec<u8>> {
        let left = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.extend(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no end of {} after:\n{}", self.name, self.said())
            }
        }
    }
}

/// The binary in an environment of its own.
pub(crate) fn phoenix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phoenix"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHOENIX_") {
            command.env_remove(name);
        }
    }
    command
}

/// Sends a process a signal.
pub(crate) fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
