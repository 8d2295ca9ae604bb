//! The WASI 0.2 that agents get: synchronous, frozen in time, and never waiting.
//!
//! Command line, streams, clocks and random numbers are implemented here over
//! [`WasiState`]; files and sockets exist so that ordinary components link, and
//! every function of theirs answers that access is denied ([`denied`]).
//!
//! **Invariant**: nothing here blocks the thread, reads a real clock or takes
//! real randomness. No epoch interrupts a host call, and a turn is a pure
//! function.

mod cli;
mod clocks;
pub(crate) mod denied;
mod io;
mod random;

pub(crate) use random::generator;

use wasmtime::component::{HasSelf, Linker};

use crate::log::GuestLog;
use crate::state::State;

/// The generated traits and types.
#[allow(
    missing_docs,
    reason = "generated from WIT, whose comments it carries over only in part"
)]
#[allow(clippy::all, reason = "generated")]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "phoenix:host/wasi",
        imports: { default: trappable },
        with: {
            "wasi:io/error.error": crate::wasi::marks::IoError,
            "wasi:io/poll.pollable": crate::wasi::marks::Pollable,
            "wasi:io/streams.input-stream": crate::wasi::marks::InputStream,
            "wasi:io/streams.output-stream": crate::wasi::marks::OutputStream,
            "wasi:cli/terminal-input.terminal-input": crate::wasi::marks::Terminal,
            "wasi:cli/terminal-output.terminal-output": crate::wasi::marks::Terminal,
        },
    });
}

pub(crate) use marks::{InputStream, IoError, OutputStream, Pollable, Terminal};

/// Types that tell handles apart. Public for the generated code, which the crate does not show.
#[allow(unreachable_pub, reason = "the generated code re-exports them")]
mod marks {
    /// Marks handles of errors; no stream has any.
    pub struct IoError;
    /// Marks handles of something to wait for. See [`super::Handles`].
    pub struct Pollable;
    /// Marks handles of the standard input, always at its end.
    pub struct InputStream;
    /// Marks handles of the standard output and error.
    pub struct OutputStream;
    /// Marks handles of terminals; there are none.
    pub struct Terminal;
}

/// What a handle of the standard output stands for.
pub(crate) const STDOUT: u32 = 1;
/// What a handle of the standard error stands for.
pub(crate) const STDERR: u32 = 2;

/// Random bytes one batch may draw; more traps.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// What one instance's WASI knows.
pub(crate) struct WasiState {
    /// Nanoseconds since 1970-01-01 UTC, both clocks, fixed for the batch.
    pub(crate) now: u64,
    /// The agent's seed.
    pub(crate) seed: u64,
    /// The number of the batch's first turn.
    pub(crate) turn: u64,
    /// The batch's random numbers, made when the first is drawn.
    generator: Option<blake3::OutputReader>,
    random_left: u64,
    /// What the guest holds.
    pub(crate) handles: Handles,
    /// Where stdout and stderr go.
    pub(crate) log: GuestLog,
}

impl WasiState {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            seed: 0,
            turn: 0,
            generator: None,
            random_left: MAX_RANDOM_BYTES,
            handles: Handles::default(),
            log: GuestLog::default(),
        }
    }

    /// Sets what the coming batch sees.
    #[inline]
    pub(crate) fn begin(&mut self, seed: u64, turn: u64, now: u64) {
        self.seed = seed;
        self.turn = turn;
        self.now = now;
        self.generator = None;
        self.random_left = MAX_RANDOM_BYTES;
    }
}

/// Things to wait for that one agent may hold at a time; more traps.
const MAX_POLLABLES: usize = 1_024;

/// The host-side resources a guest holds.
///
/// The standard streams are not among them: every instance takes its handles of
/// those in the same order when it begins and keeps them (see
/// `instrument::stdio`), so they tie it to nothing.
#[derive(Default)]
pub(crate) struct Handles {
    /// When each is ready, nanoseconds since 1970-01-01 UTC; `None` is a free place.
    pollables: Vec<Option<u64>>,
    live: usize,
    /// Whether two were held at the same time since the instance began. Then
    /// the order in which handle numbers come back may differ from that of a
    /// fresh instance, and numbers end up in guest memory.
    pub(crate) tangled: bool,
}

impl Handles {
    fn push(&mut self, ready_at: u64) -> wasmtime::Result<u32> {
        self.live += 1;
        self.tangled |= self.live > 1;
        let place = match self.pollables.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                if self.pollables.len() == MAX_POLLABLES {
                    return Err(crate::error::GuestLimit::Pollables(MAX_POLLABLES).into());
                }
                self.pollables.push(None);
                self.pollables.len() - 1
            }
        };
        if let Some(slot) = self.pollables.get_mut(place) {
            *slot = Some(ready_at);
        }
        Ok(u32::try_from(place)?)
    }

    fn ready_at(&self, place: u32) -> wasmtime::Result<u64> {
        self.pollables
            .get(place as usize)
            .copied()
            .flatten()
            .ok_or_else(|| wasmtime::format_err!("the pollable {place} is gone"))
    }

    fn remove(&mut self, place: u32) {
        if let Some(slot) = self.pollables.get_mut(place as usize)
            && slot.take().is_some()
        {
            self.live -= 1;
        }
    }

    /// Names what is held, if anything is.
    pub(crate) fn held(&self) -> Option<String> {
        (self.live > 0).then(|| format!("{} pollable(s) of wasi:io/poll", self.live))
    }
}

/// Adds what is implemented here.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::Wasi::add_to_linker::<State, HasSelf<WasiState>>(linker, |state| &mut state.wasi)
}
