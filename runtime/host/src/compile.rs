//! Compiling, within bounds of time and memory.
//!
//! wasmtime promises nothing about the time and memory that compiling takes: a
//! small component can keep Cranelift busy for very long. A thread cannot be
//! stopped, so the bound that holds is a process: where one is configured
//! ([`crate::AdmissionLimits::compiler`]) it compiles, limits its own memory and
//! is killed when its time is up. Without one, a thread compiles and is left
//! behind when its time is up; until it ends nothing else is compiled, so at
//! most one core is lost to it.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use wasmtime::Engine;

use crate::config::{AdmissionLimits, CompilerProgram, HostConfig};
use crate::error::AdmitError;

/// Bytes of the header a compiler process reads before the component.
const HEADER: usize = 9;

/// What a compiler process says first when it has compiled.
const COMPILED: u8 = 0;

/// What is compiled with.
pub(crate) struct Compiler {
    program: Option<CompilerProgram>,
    baseline_cpu: bool,
    limit: Duration,
    memory_bytes: u64,
    /// Whether a thread is at it, perhaps one that was left behind.
    busy: Arc<AtomicBool>,
}

impl Compiler {
    pub(crate) fn new(config: &HostConfig) -> Self {
        let AdmissionLimits {
            compile_ms,
            compile_memory_bytes,
            ref compiler,
            ..
        } = config.admission;
        Self {
            program: compiler.clone(),
            baseline_cpu: config.baseline_cpu,
            limit: Duration::from_millis(compile_ms),
            memory_bytes: compile_memory_bytes,
            busy: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Compiles an instrumented component to code for `engine`.
    pub(crate) fn compile(&self, engine: &Engine, bytes: Vec<u8>) -> Result<Vec<u8>, AdmitError> {
        match &self.program {
            Some(program) => self.in_process(program, bytes),
            None => self.in_thread(engine.clone(), bytes),
        }
    }

    fn too_long(&self) -> AdmitError {
        AdmitError::CompileTime {
            limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn in_thread(&self, engine: Engine, bytes: Vec<u8>) -> Result<Vec<u8>, AdmitError> {
        // Waiting for one's turn counts towards the limit.
        let begin = std::time::Instant::now();
        while self.busy.swap(true, Ordering::AcqRel) {
            if begin.elapsed() >= self.limit {
                return Err(AdmitError::CompilerBusy);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let busy = Arc::clone(&self.busy);
        let (send, receive) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("compile".to_owned())
            .spawn(move || {
                let result = engine.precompile_component(&bytes);
                busy.store(false, Ordering::Release);
                // Nobody listens any more if it took too long.
                let _ = send.send(result);
            });
        if let Err(error) = thread {
            self.busy.store(false, Ordering::Release);
            return Err(AdmitError::Host(format!(
                "cannot start a thread to compile on: {error}"
            )));
        }
        match receive.recv_timeout(self.limit) {
            Ok(result) => result.map_err(|error| AdmitError::Compile(format!("{error:#}"))),
            Err(_) => Err(self.too_long()),
        }
    }

    fn in_process(&self, program: &CompilerProgram, bytes: Vec<u8>) -> Result<Vec<u8>, AdmitError> {
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
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| host("cannot start", &error))?;
        let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(host("cannot talk to", &"it has no pipes"));
        };
        let mut header = [0; HEADER];
        header[0] = u8::from(self.baseline_cpu);
        header[1..].copy_from_slice(&self.memory_bytes.to_le_bytes());
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            // A child that died is seen when its output is read.
            let _ = input
                .write_all(&header)
                .and_then(|()| input.write_all(&bytes));
        });
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = output.read_to_end(&mut answer).map(|_| answer);
            let _ = send.send(read);
        });
        let answer = receive.recv_timeout(self.limit);
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
        match answer.split_first() {
            Some((&COMPILED, code)) if status.success() => Ok(code.to_vec()),
            Some((_, message)) if status.success() => Err(AdmitError::Compile(
                String::from_utf8_lossy(message).into_owned(),
            )),
            // It ends itself where it gets no more memory.
            _ => Err(AdmitError::CompileMemory {
                limit: self.memory_bytes,
            }),
        }
    }
}

/// What the program of [`CompilerProgram`] does: reads a component from standard
/// input, compiles it within its memory bound, writes the code to standard
/// output. The whole of its `main`, or of one of its verbs.
pub fn compile_worker() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work() -> std::io::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut header = [0; HEADER];
    input.read_exact(&mut header)?;
    let [baseline, memory @ ..] = header;
    limit_memory(u64::from_le_bytes(memory))?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let code =
        crate::engine::bare(baseline != 0).and_then(|engine| engine.precompile_component(&bytes));
    let mut output = std::io::stdout().lock();
    match code {
        Ok(code) => {
            output.write_all(&[COMPILED])?;
            output.write_all(&code)?;
        }
        Err(error) => {
            output.write_all(&[1])?;
            write!(output, "{error:#}")?;
        }
    }
    output.flush()
}

/// Bounds the memory this process may write to. Reserved addresses do not count.
fn limit_memory(bytes: u64) -> std::io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: setrlimit reads the struct it is given, which lives until it
    // returns, and touches nothing else of ours.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
