//! Checking and compiling, within bounds of time and memory.
//!
//! wasmtime promises nothing about the time and memory that compiling takes: a
//! small component can keep Cranelift busy for very long. A thread cannot be
//! stopped, so the bound that holds is a process: where one is configured
//! ([`crate::AdmissionLimits::compiler`]) it checks, instruments and compiles,
//! limits its own memory and is killed when its time is up; so many run at a
//! time and no more. Without one, the caller checks and instruments, and a
//! thread compiles and is left behind when its time is up; until it ends
//! nothing else is compiled, so at most one core is lost to it.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wasmtime::Engine;

use crate::config::{AdmissionLimits, CompilerProgram, HostConfig};
use crate::error::AdmitError;
use crate::prepare::{self, Prepared};
use crate::worker::{self, Job};

/// Bytes kept of what a compiler process says on standard error.
const COMPLAINT: u64 = 4_096;

/// What a process says that gets no more memory: Rust's allocator, the system.
const NO_MEMORY: [&str; 3] = [
    "memory allocation of",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
];

/// What is compiled with.
pub(crate) struct Compiler {
    program: Option<CompilerProgram>,
    baseline_cpu: bool,
    limit: Duration,
    memory_bytes: u64,
    /// Who may be at it: processes, or one thread, perhaps one that was left behind.
    gate: Arc<Gate>,
}

impl Compiler {
    pub(crate) fn new(config: &HostConfig) -> Self {
        let AdmissionLimits {
            compile_ms,
            compile_memory_bytes,
            compilers,
            ref compiler,
            ..
        } = config.admission;
        Self {
            program: compiler.clone(),
            baseline_cpu: config.baseline_cpu,
            limit: Duration::from_millis(compile_ms),
            memory_bytes: compile_memory_bytes,
            gate: Gate::new(if compiler.is_some() { compilers } else { 1 }),
        }
    }

    /// Checks and instruments a component.
    pub(crate) fn prepare(&self, bytes: &[u8], movable: bool) -> Result<Prepared, AdmitError> {
        let Some(program) = &self.program else {
            return Ok(prepare::prepare(bytes, movable)?);
        };
        let job = Job::Prepare { movable };
        let answer = self.in_process(program, job, bytes.to_vec())?;
        worker::prepared(&answer, bytes)
    }

    /// Compiles an instrumented component to code for `engine`.
    pub(crate) fn compile(&self, engine: &Engine, bytes: Vec<u8>) -> Result<Vec<u8>, AdmitError> {
        let Some(program) = &self.program else {
            let engine = engine.clone();
            return self.in_thread(move || engine.precompile_component(&bytes));
        };
        let job = Job::Compile {
            baseline_cpu: self.baseline_cpu,
        };
        worker::compiled(self.in_process(program, job, bytes)?)
    }

    fn too_long(&self) -> AdmitError {
        AdmitError::CompileTime {
            limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn enter(&self) -> Result<Pass, AdmitError> {
        self.gate.enter(self.limit).ok_or(AdmitError::CompilerBusy)
    }

    fn in_thread(
        &self,
        work: impl FnOnce() -> wasmtime::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Vec<u8>, AdmitError> {
        let pass = self.enter()?;
        let (send, receive) = mpsc::channel();
        std::thread::Builder::new()
            .name("compile".to_owned())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(work));
                drop(pass);
                // Nobody listens any more if it took too long.
                let _ = send.send(result);
            })
            .map_err(|error| {
                AdmitError::Host(format!("cannot start a thread to compile on: {error}"))
            })?;
        match receive.recv_timeout(self.limit) {
            Ok(Ok(result)) => result.map_err(|error| AdmitError::Compile(format!("{error:#}"))),
            Ok(Err(panic)) => Err(AdmitError::CompilerCrashed(worker::panic_text(&*panic))),
            Err(RecvTimeoutError::Timeout) => Err(self.too_long()),
            Err(RecvTimeoutError::Disconnected) => Err(AdmitError::CompilerCrashed(
                "its thread ended without a word".to_owned(),
            )),
        }
    }

    /// Has a process of its own do it, and gives its answer.
    fn in_process(
        &self,
        program: &CompilerProgram,
        job: Job,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, AdmitError> {
        let _pass = self.enter()?;
        let host = |what: &str, error: &dyn std::fmt::Display| {
            AdmitError::Host(format!(
                "{what} the compiler {}: {error}",
                program.program.display()
            ))
        };
        let mut child = Command::new(&program.program)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| host("cannot start", &error))?;
        let Some((answer, complaint)) = converse(&mut child, job.header(self.memory_bytes), bytes)
        else {
            return Err(host("cannot talk to", &"it has no pipes"));
        };
        let answer = answer.recv_timeout(self.limit);
        if answer.is_err() {
            // It may have ended by itself in the meantime; either way it is gone now.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| host("lost", &error))?;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(host("cannot read from", &error)),
            Err(_) => return Err(self.too_long()),
        };
        if status.success() {
            return Ok(answer);
        }
        // Its end is closed, so this is there at once.
        Err(self.crash(status, &complaint.recv().unwrap_or_default()))
    }

    /// Why a process ended as it should not.
    fn crash(&self, status: ExitStatus, complaint: &str) -> AdmitError {
        let short = NO_MEMORY.iter().any(|words| complaint.contains(words));
        // The kernel kills those that the machine has no memory for.
        if short || status.signal() == Some(libc::SIGKILL) {
            return AdmitError::CompileMemory {
                limit: self.memory_bytes,
            };
        }
        let complaint = complaint.trim();
        AdmitError::CompilerCrashed(if complaint.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {}", crate::log::escape(complaint))
        })
    }
}

type Answered = std::io::Result<Vec<u8>>;

/// Gives the process its work, and says where its answer and what it says on
/// standard error will come. Threads do it, since all three at once may be full.
fn converse(
    child: &mut Child,
    header: impl AsRef<[u8]> + Send + 'static,
    bytes: Vec<u8>,
) -> Option<(mpsc::Receiver<Answered>, mpsc::Receiver<String>)> {
    let mut input = child.stdin.take()?;
    let mut output = child.stdout.take()?;
    let mut errors = child.stderr.take()?;
    std::thread::spawn(move || {
        // A child that died is seen when its output is read.
        let _ = input
            .write_all(header.as_ref())
            .and_then(|()| input.write_all(&bytes));
    });
    let (send, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = Vec::new();
        let read = output.read_to_end(&mut answer).map(|_| answer);
        let _ = send.send(read);
    });
    let (send, complaint) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // The rest is read too, so that it is not held up.
        let _ = (&mut errors).take(COMPLAINT).read_to_end(&mut text);
        let _ = std::io::copy(&mut errors, &mut std::io::sink());
        let _ = send.send(String::from_utf8_lossy(&text).into_owned());
    });
    Some((answer, complaint))
}

/// Lets so many in at a time.
struct Gate {
    free: Mutex<u32>,
    left: Condvar,
}

impl Gate {
    fn new(places: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Mutex::new(places),
            left: Condvar::new(),
        })
    }

    /// Waits for a place, no longer than this.
    fn enter(self: &Arc<Self>, limit: Duration) -> Option<Pass> {
        let until = Instant::now() + limit;
        let mut free = self.free.lock();
        while *free == 0 {
            if self.left.wait_until(&mut free, until).timed_out() && *free == 0 {
                return None;
            }
        }
        *free -= 1;
        Some(Pass(Arc::clone(self)))
    }
}

/// A place behind a [`Gate`], given back when dropped.
struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(script: Option<&str>) -> Compiler {
        let mut config = HostConfig::default();
        config.admission.compiler = script.map(|script| CompilerProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
        });
        Compiler::new(&config)
    }

    fn prepare(script: &str) -> AdmitError {
        compiler(Some(script)).prepare(b"", true).unwrap_err()
    }

    #[test]
    #[allow(clippy::panic, reason = "what it is about")]
    fn a_panic_is_told_and_the_next_is_compiled() {
        let compiler = compiler(None);
        let error = compiler.in_thread(|| panic!("no such block")).unwrap_err();
        assert!(matches!(error, AdmitError::CompilerCrashed(_)), "{error}");
        assert!(error.to_string().contains("no such block"), "{error}");
        assert_eq!(compiler.in_thread(|| Ok(vec![1])).unwrap(), [1]);
    }

    #[test]
    fn a_crash_is_not_taken_for_a_lack_of_memory() {
        for script in ["kill -SEGV $$", "exit 3", "echo oh >&2; kill -ABRT $$"] {
            let error = prepare(script);
            assert!(matches!(error, AdmitError::CompilerCrashed(_)), "{error}");
        }
        assert!(prepare("echo oh >&2; exit 3").to_string().contains("oh"));
        for script in [
            "echo memory allocation of 16 bytes failed >&2; kill -ABRT $$",
            "kill -KILL $$",
        ] {
            let error = prepare(script);
            assert!(matches!(error, AdmitError::CompileMemory { .. }), "{error}");
        }
        let silent = prepare("exit 0");
        assert!(matches!(silent, AdmitError::CompilerCrashed(_)), "{silent}");
    }

    #[test]
    fn so_many_are_let_in_and_no_more() {
        let gate = Gate::new(2);
        let first = gate.enter(Duration::ZERO).unwrap();
        let second = gate.enter(Duration::ZERO).unwrap();
        assert!(gate.enter(Duration::ZERO).is_none());
        drop(first);
        let third = gate.enter(Duration::ZERO).unwrap();
        assert!(gate.enter(Duration::ZERO).is_none());
        // One that waits comes in when one leaves.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(Duration::from_secs(60)).is_some());
            drop((second, third));
            assert!(waiting.join().unwrap());
        });
    }
}
