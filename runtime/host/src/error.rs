//! What can go wrong, an enum per operation.

use phoenix_core::Digest;

use crate::image::ImageError;
use crate::log::GuestLine;

/// Why the host did not start. Nothing was changed but, perhaps, the cache directory made.
#[derive(Debug, thiserror::Error)]
pub enum HostStartError {
    /// A value of the configuration does not fit.
    #[error("{field} is {found}: it must be {accepted}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        accepted: String,
    },
    /// The cache directory cannot be used.
    #[error("cannot use {path} as the cache of compiled components: {reason}")]
    Cache {
        /// Which directory or file.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// wasmtime refused.
    #[error("cannot set up the Wasm engine for {max_resident} resident agents: {reason}")]
    Engine {
        /// What was asked for.
        max_resident: u32,
        /// Why not.
        reason: String,
    },
}

/// Why a component was not admitted. Nothing was kept of it.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// More bytes than the limit.
    #[error("the component has {found} bytes, and {limit} are admitted")]
    TooLarge {
        /// Its bytes.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Not WebAssembly at all.
    #[error("not WebAssembly: it begins with {found}, where a component begins with \\0asm")]
    NotWasm {
        /// Its first bytes, escaped.
        found: String,
    },
    /// A core module.
    #[error(
        "a core module, not a component: build for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// It ends too early.
    #[error("the component is truncated: it ends at byte {at} where more must follow: {reason}")]
    Truncated {
        /// Where it ends.
        at: u64,
        /// What was being read.
        reason: String,
    },
    /// It is no valid component.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It exports neither world.
    #[error(
        "it exports neither `turns: func(frame: list<u8>) -> list<u8>` (world agent-framed) nor \
         `phoenix:agent/handler` with `init` and `handle` (world agent); {problem}its exports are: {found}"
    )]
    World {
        /// What there is instead.
        found: String,
        /// What is wrong with the one that comes close; empty or a sentence.
        problem: String,
    },
    /// It imports what agents do not get.
    #[error("it imports `{name}`, which agents do not get: there are phoenix:agent and WASI 0.2")]
    Import {
        /// What it imports.
        name: String,
    },
    /// It cannot be made movable.
    #[error("{0}; deploy with movable = false to pin its agents to one node")]
    Refused(String),
    /// It has more items of a sort than are admitted.
    #[error("it has {found} or more {what}, and {limit} are admitted")]
    TooMany {
        /// Of what.
        what: String,
        /// How many were found before counting ended.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// It needs more than its kind's policy, or the node, gives.
    #[error("it needs {needed} {what}, and {limit} are given{advice}")]
    Needs {
        /// What of.
        what: &'static str,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        limit: u64,
        /// What to do, or nothing.
        advice: String,
    },
    /// Checking or compiling it took too long.
    #[error("compiling it took more than {limit_ms} ms")]
    CompileTime {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// Compiling it took too much memory.
    #[error("compiling it took more than {limit} bytes of memory")]
    CompileMemory {
        /// The limit, bytes.
        limit: u64,
    },
    /// Other components are being compiled, as many as may be at a time; nothing was tried.
    #[error("the compiler is busy with other components; try again later")]
    CompilerBusy,
    /// The compiler ended in a way it should not; a fault of its own.
    #[error("the compiler crashed: {0}")]
    CompilerCrashed(String),
    /// The compiler refused it.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// An agent of it could not be begun, or trapped when asked to describe itself.
    #[error("a first agent of it failed while it {step}: {message}")]
    FirstRun {
        /// In what.
        step: &'static str,
        /// How.
        message: String,
        /// Where in the guest.
        backtrace: String,
    },
    /// Its description of itself cannot be read.
    #[error("it does not describe itself as agents do: {0}")]
    Description(String),
    /// Every place for an agent is taken, so a first one could not be tried.
    #[error("every place for an agent is taken; nothing was tried")]
    Full,
    /// The node is at fault.
    #[error("{0}")]
    Host(String),
}

/// Why an instance could not be begun. No state was touched.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Every place for an agent is taken.
    #[error("every place for an agent is taken ({limit}): one must hibernate first")]
    Full {
        /// How many there are.
        limit: u32,
    },
    /// The machine is so busy that beginning took very long. Another try may do.
    #[error(
        "beginning took more than {limit:?}, though it has ended before: the node is overloaded"
    )]
    Late {
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// Its beginning trapped.
    #[error(transparent)]
    Fault(Box<Fault>),
}

/// Why a snapshot could not be restored. The image is untouched, no instance remains.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Every place for an agent is taken.
    #[error("every place for an agent is taken ({limit}): one must hibernate first")]
    Full {
        /// How many there are.
        limit: u32,
    },
    /// The component cannot be restored into.
    #[error("the component is not movable: {0}")]
    Unmovable(String),
    /// The image cannot be read.
    #[error("the snapshot's image is damaged: {0}")]
    Image(#[from] ImageError),
    /// The image was taken over another base.
    #[error(
        "the snapshot was taken over base {found} and this node's is {expected}: \
         component, instrumentation or engine differ"
    )]
    Base {
        /// What the image says, hexadecimal.
        found: String,
        /// What the component has here.
        expected: String,
    },
    /// It needs more memory than the policy gives.
    #[error("the snapshot has {needed} bytes of memory, and the kind's policy gives {limit}")]
    Memory {
        /// What it needs.
        needed: u64,
        /// What it may have.
        limit: u64,
    },
    /// The machine is so busy that beginning took very long. Another try may do.
    #[error(
        "beginning took more than {limit:?}, though it has ended before: the node is overloaded"
    )]
    Late {
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// The new instance trapped.
    #[error(transparent)]
    Fault(Box<Fault>),
}

impl From<InstanceError> for RestoreError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::Full { limit } => Self::Full { limit },
            InstanceError::Late { limit } => Self::Late { limit },
            InstanceError::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// Whether the host, not the guest, is the reason that this failed: it has no
/// room for what the guest may have. Another time it may have.
pub(crate) fn is_full(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<GrowFailed>()
}

/// Whether this failed because the time was up.
pub(crate) fn is_late(error: &wasmtime::Error) -> bool {
    classify(error).0 == FaultKind::Deadline
}

/// Why a snapshot could not be taken. The instance is unharmed unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefused {
    /// The component is not instrumented.
    #[error("the component is not movable: {0}")]
    Unmovable(String),
    /// The guest holds something of this host.
    #[error("the agent holds {0}, which cannot be put into a snapshot")]
    Held(String),
    /// The agent must be made anew to go on as its image's restores do, and there is no room or no time to.
    #[error("the node is too busy to make the agent anew beside itself: try again later")]
    Full,
    /// An earlier call failed; the instance must be dropped.
    #[error("the instance has failed before and must be dropped")]
    Failed,
    /// The snapshot's own calls failed; the instance must be dropped.
    #[error("reading the agent's memory failed, the instance must be dropped: {0}")]
    Host(String),
}

/// How a batch failed. The instance must be dropped.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// What kind of failure it is.
    pub kind: FaultKind,
    /// What happened, in a sentence.
    pub message: String,
    /// Where in the guest, innermost first; may be empty.
    pub backtrace: String,
    /// What the guest printed in the batch before, as a panic's message.
    pub log: Vec<GuestLine>,
    /// Bytes of it that were cut.
    pub log_cut: u64,
}

/// What kind of failure a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped.
    Trap,
    /// The guest ran longer than its deadline.
    Deadline,
    /// The host had no memory for the guest's growth.
    Memory,
    /// The guest's answer is no answer frame, or larger than it may be.
    BadAnswer,
    /// The guest used up a bound other than time and memory.
    Limit,
    /// The guest wanted to wait.
    Blocked,
    /// The guest called `exit`.
    Exit,
    /// The frame given to the host is no input frame, or the host is at fault.
    Host,
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::BadAnswer => "bad-answer",
            Self::Limit => "limit",
            Self::Blocked => "blocked",
            Self::Exit => "exit",
            Self::Host => "host",
        })
    }
}

/// The guest called `exit`.
#[derive(Debug, thiserror::Error)]
#[error(
    "the agent called exit with status {0}: an agent ends by the effect `stop`, or by answering"
)]
pub(crate) struct GuestExit(pub(crate) u8);

/// The guest wanted to wait.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} would wait, and a turn never waits: set a timer and go on when it fires, \
     or ask another agent and go on with its answer"
)]
pub(crate) struct WouldBlock(pub(crate) &'static str);

/// The guest used up a bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestLimit {
    #[error("the agent holds more than {0} pollables")]
    Pollables(usize),
    #[error("the agent drew more than {0} random bytes in one batch")]
    Random(u64),
    #[error("the turn has more than {0} effects (turn-effects)")]
    Effects(u32),
    #[error("the agent leaves more than {0} requests open")]
    Open(usize),
    #[error("the answer is larger than {0} bytes (answer-bytes)")]
    Answer(u32),
}

/// The guest answered what nobody asks.
#[derive(Debug, thiserror::Error)]
#[error("there is no open request {0}: a request is answered once, by its number")]
pub(crate) struct NoRequest(pub(crate) u64);

/// The guest wants to hear of messages by a token with which it cannot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadToken {
    /// It is the number that stands for none.
    #[error("token 0: tokens are numbers from 1; without one nothing is told")]
    Zero,
    /// The messages are sent once and forgotten.
    #[error(
        "token {0} for messages that are sent at-most-once: nothing is heard of such; send \
         them exactly-once, or without a token"
    )]
    Unheard(u64),
}

/// The host could not grow a guest's memory.
#[derive(Debug, thiserror::Error)]
#[error("the node could not give the agent more memory: {0}")]
pub(crate) struct GrowFailed(pub(crate) String);

/// A short form of a base hash, as images carry it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

impl Fault {
    /// Reads what wasmtime says of a failed call.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        let (kind, message) = classify(error);
        let backtrace = error
            .downcast_ref::<wasmtime::WasmBacktrace>()
            .map(ToString::to_string)
            .unwrap_or_default();
        Self {
            kind,
            message,
            backtrace,
            log: Vec::new(),
            log_cut: 0,
        }
    }

    /// A fault that is not the guest's.
    pub(crate) fn host(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Host,
            message: message.into(),
            backtrace: String::new(),
            log: Vec::new(),
            log_cut: 0,
        }
    }
}

fn classify(error: &wasmtime::Error) -> (FaultKind, String) {
    if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
        return match trap {
            wasmtime::Trap::Interrupt => (
                FaultKind::Deadline,
                "the batch ran longer than its deadline".to_owned(),
            ),
            other => (FaultKind::Trap, other.to_string()),
        };
    }
    if let Some(exit) = error.downcast_ref::<GuestExit>() {
        return (FaultKind::Exit, exit.to_string());
    }
    if let Some(block) = error.downcast_ref::<WouldBlock>() {
        return (FaultKind::Blocked, block.to_string());
    }
    if let Some(limit) = error.downcast_ref::<GuestLimit>() {
        return (FaultKind::Limit, limit.to_string());
    }
    if let Some(grow) = error.downcast_ref::<GrowFailed>() {
        return (FaultKind::Memory, grow.to_string());
    }
    let message = error.root_cause().to_string();
    if message.contains("hostcalls has been exhausted") {
        return (
            FaultKind::Limit,
            "the agent gave the host more bytes in one call than it may (answer-bytes)".to_owned(),
        );
    }
    (FaultKind::Trap, message)
}

/// The first half of a digest, as images carry it.
pub(crate) fn short(digest: &Digest) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(digest.0) {
        *to = from;
    }
    out
}

#[cfg(test)]
mod tests {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};

    use super::is_full;
    use crate::HostConfig;

    #[test]
    fn an_exhausted_pool_is_no_fault_of_the_guest() {
        let engine = Engine::new(&crate::engine::settings(&HostConfig::default(), 1).unwrap());
        let engine = engine.unwrap();
        let text = "(component (core module $m (memory 1)) (core instance (instantiate $m)))";
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let linker: Linker<()> = Linker::new(&engine);
        let begin = |store: &mut Store<()>| {
            store.set_epoch_deadline(1);
            linker.instantiate(store, &component)
        };
        let (mut first, mut second) = (Store::new(&engine, ()), Store::new(&engine, ()));
        begin(&mut first).unwrap();
        assert!(is_full(&begin(&mut second).err().unwrap()));
        drop(first);
        begin(&mut Store::new(&engine, ())).unwrap();
        let trap = "(component (core module $m (func $f unreachable) (start $f))
            (core instance (instantiate $m)))";
        let trap = Component::new(&engine, wat::parse_str(trap).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        assert!(!is_full(
            &linker.instantiate(&mut store, &trap).err().unwrap()
        ));
    }
}
