//! The compiler process: what is said to it and by it, and what it does.
//!
//! | to it: bytes | what |
//! |---|---|
//! | 1 | what is wanted: 0 prepare, 1 compile |
//! | 1 | whether to compile for the plainest CPU |
//! | 1 | whether agents are to be movable |
//! | 8 | memory it may have, bytes, little-endian |
//! | … | the component, to the end |
//!
//! | from it: bytes | what |
//! |---|---|
//! | 1 | 0 prepared, 1 compiled, 2 not compiled, 3 panicked |
//! | … | if prepared: length of a [`Said`], 4 bytes, that, and the bytes to compile unless they are those given; else code, or a text |
//!
//! Both ends are one program, so there is no version.

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::error::AdmitError;
use crate::instrument::Plan;
use crate::prepare::{self, PrepareError, Prepared};

/// What is wanted of a compiler process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Prepare { movable: bool },
    Compile { baseline_cpu: bool },
}

const HEADER: usize = 11;

const PREPARED: u8 = 0;
const COMPILED: u8 = 1;
const NOT_COMPILED: u8 = 2;
const PANICKED: u8 = 3;

/// The outcome of preparing.
#[derive(Serialize, Deserialize)]
enum Said {
    Fit {
        plan: Result<SaidPlan, String>,
        framed: bool,
        /// Whether the bytes to compile are those that were given.
        unchanged: bool,
    },
    Unfit(PrepareError),
}

#[derive(Serialize, Deserialize)]
struct SaidPlan {
    globals: usize,
    stack_pointers: Vec<usize>,
}

impl Job {
    pub(crate) fn header(self, memory_bytes: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let [job, baseline, movable, memory @ ..] = &mut header;
        match self {
            Self::Prepare { movable: wanted } => *movable = u8::from(wanted),
            Self::Compile { baseline_cpu } => {
                *job = 1;
                *baseline = u8::from(baseline_cpu);
            }
        }
        *memory = memory_bytes.to_le_bytes();
        header
    }

    fn read([job, baseline, movable, memory @ ..]: [u8; HEADER]) -> (Self, u64) {
        let wanted = match job {
            0 => Self::Prepare {
                movable: movable != 0,
            },
            _ => Self::Compile {
                baseline_cpu: baseline != 0,
            },
        };
        (wanted, u64::from_le_bytes(memory))
    }
}

/// Reads what a process that ended well said of preparing `bytes`.
pub(crate) fn prepared(answer: &[u8], bytes: &[u8]) -> Result<Prepared, AdmitError> {
    let rest = match answer.split_first() {
        Some((&PREPARED, rest)) => rest,
        other => return Err(unsaid(other)),
    };
    let unreadable = || AdmitError::CompilerCrashed("it said what cannot be read".to_owned());
    let (length, rest) = rest.split_first_chunk().ok_or_else(unreadable)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (said, rest) = rest.split_at_checked(length).ok_or_else(unreadable)?;
    match rmp_serde::from_slice(said).map_err(|_| unreadable())? {
        Said::Unfit(error) => Err(error.into()),
        Said::Fit {
            plan,
            framed,
            unchanged,
        } => Ok(Prepared {
            bytes: if unchanged { bytes } else { rest }.to_vec(),
            plan: plan.map(|said| Plan {
                globals: said.globals,
                stack_pointers: said.stack_pointers,
            }),
            framed,
        }),
    }
}

/// Reads what a process that ended well said of compiling.
pub(crate) fn compiled(mut answer: Vec<u8>) -> Result<Vec<u8>, AdmitError> {
    if answer.first() == Some(&COMPILED) {
        answer.remove(0);
        return Ok(answer);
    }
    Err(unsaid(answer.split_first()))
}

/// What an answer means that is not the one wanted.
fn unsaid(answer: Option<(&u8, &[u8])>) -> AdmitError {
    match answer {
        Some((&NOT_COMPILED, text)) => {
            AdmitError::Compile(String::from_utf8_lossy(text).into_owned())
        }
        Some((&PANICKED, text)) => {
            AdmitError::CompilerCrashed(String::from_utf8_lossy(text).into_owned())
        }
        _ => AdmitError::CompilerCrashed("it ended without a word".to_owned()),
    }
}

/// What the program of [`crate::CompilerProgram`] does: reads a component from
/// standard input, checks or compiles it within its memory bound, writes the
/// outcome to standard output. The whole of its `main`, or of one of its verbs.
pub fn compile_worker() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut header = [0; HEADER];
    input.read_exact(&mut header)?;
    let (job, memory_bytes) = Job::read(header);
    limit_memory(memory_bytes)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let answer = catch_unwind(AssertUnwindSafe(|| match job {
        Job::Prepare { movable } => prepare(&bytes, movable),
        Job::Compile { baseline_cpu } => Ok(compile(&bytes, baseline_cpu)),
    }));
    let mut output = io::stdout().lock();
    match answer {
        Ok(answer) => output.write_all(&answer?)?,
        Err(panic) => {
            output.write_all(&[PANICKED])?;
            output.write_all(panic_text(&*panic).as_bytes())?;
        }
    }
    output.flush()
}

fn prepare(bytes: &[u8], movable: bool) -> io::Result<Vec<u8>> {
    let (said, changed) = match prepare::prepare(bytes, movable) {
        Err(error) => (Said::Unfit(error), Vec::new()),
        Ok(prepared) => {
            let unchanged = prepared.bytes == bytes;
            let said = Said::Fit {
                plan: prepared.plan.map(|plan| SaidPlan {
                    globals: plan.globals,
                    stack_pointers: plan.stack_pointers,
                }),
                framed: prepared.framed,
                unchanged,
            };
            let changed = if unchanged {
                Vec::new()
            } else {
                prepared.bytes
            };
            (said, changed)
        }
    };
    let said = rmp_serde::to_vec(&said).map_err(io::Error::other)?;
    let length = u32::try_from(said.len()).map_err(io::Error::other)?;
    let mut answer = vec![PREPARED];
    answer.extend_from_slice(&length.to_le_bytes());
    answer.extend_from_slice(&said);
    answer.extend_from_slice(&changed);
    Ok(answer)
}

fn compile(bytes: &[u8], baseline_cpu: bool) -> Vec<u8> {
    let code =
        crate::engine::bare(baseline_cpu).and_then(|engine| engine.precompile_component(bytes));
    let (tag, rest) = match code {
        Ok(code) => (COMPILED, code),
        Err(error) => (NOT_COMPILED, format!("{error:#}").into_bytes()),
    };
    let mut answer = Vec::with_capacity(rest.len() + 1);
    answer.push(tag);
    answer.extend_from_slice(&rest);
    answer
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

/// Bounds the memory this process may write to. Reserved addresses do not count.
fn limit_memory(bytes: u64) -> io::Result<()> {
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
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_is_written() {
        for job in [
            Job::Prepare { movable: true },
            Job::Prepare { movable: false },
            Job::Compile { baseline_cpu: true },
            Job::Compile {
                baseline_cpu: false,
            },
        ] {
            assert_eq!(Job::read(job.header(7 << 40)), (job, 7 << 40));
        }
    }

    #[test]
    fn what_is_prepared_is_read_as_it_was() {
        let bytes = phoenix_support::zoo::framed();
        for movable in [true, false] {
            let here = prepare::prepare(&bytes, movable).unwrap();
            let there = prepared(&prepare(&bytes, movable).unwrap(), &bytes).unwrap();
            assert_eq!(there.bytes, here.bytes);
            assert_eq!(there.framed, here.framed);
            assert_eq!(format!("{:?}", there.plan), format!("{:?}", here.plan));
        }
        let error = prepared(&prepare(b"no Wasm", true).unwrap(), b"no Wasm").unwrap_err();
        assert!(matches!(error, AdmitError::NotWasm { .. }), "{error}");
    }

    #[test]
    fn an_answer_cut_anywhere_is_a_crash() {
        let bytes = phoenix_support::zoo::framed();
        let answer = prepare(&bytes, false).unwrap();
        for end in 0..answer.len() {
            let error = prepared(answer.get(..end).unwrap(), &bytes).unwrap_err();
            assert!(matches!(error, AdmitError::CompilerCrashed(_)), "{error}");
        }
        let panicked = compiled(b"\x03no such block".to_vec()).unwrap_err();
        assert!(panicked.to_string().contains("no such block"), "{panicked}");
    }
}
