//! Pipelines: messages that go through stages, each in the order they came.
//!
//! A pipeline is an agent, `pipeline/NAME`. A stage is another agent, or several of a kind,
//! that is asked: what it answers is what the next stage is asked with.
//!
//! ```text
//!   push ─▶ ●5 ─▶ [ parse ●4 ] ─▶ ●3 ─▶ [ price ●2 ] ─▶ [ store ●1 ] ─▶ done
//! ```
//!
//! | method | carries | answer, if it is asked for |
//! |---|---|---|
//! | `define` | [`Declaration`] | [`Status`] |
//! | `push`, `on_event` | a message, as it is | [`Pushed`] |
//! | `status` | nothing | [`Status`] |
//! | `halt` | [`Reason`] | [`Status`] |
//! | `resume` | [`Resume`] | [`Status`] |
//! | `dead_letters` | nothing | [`DeadLetters`] |
//!
//! **Order.** Each stage begins the messages in the order in which they were pushed, and
//! one agent has one of them at a time. So does a stage that tries a message again: what
//! is behind waits.
//!
//! **Once.** A message is at one place at a time, and goes through each stage once; it
//! leaves by the last stage, or is left out, and is counted either way. What a stage is
//! asked is asked once, unless its `retry` says otherwise: a try that had no answer may
//! have been done.
//!
//! **Backpressure.** While as many messages are in the pipeline as may be, no more are
//! taken: they wait in its mailbox, and who sends them is slowed down as by any agent.
//!
//! **Change.** A new declaration counts at once. A message goes on to the first of the new
//! stages that it has not been through; stages are known again by their names. It does not
//! go back for a stage that is inserted before one it has begun. What a stage was asked
//! before is waited for.

mod change;
mod declaration;
mod machine;
mod saved;
mod status;
#[cfg(test)]
mod tests;

use phoenix_wit::{Input, Turn};
use serde::Deserialize;

use self::machine::Machine;
use crate::control::HandlerInfo;
use crate::patterns::request::{answer, read, unknown};
use crate::program::{BuiltIn, Outcome, Program, Turned};

pub use declaration::{Declaration, OnError, StageDeclaration};
pub use status::{DeadLetter, DeadLetters, Pushed, StageStatus, Status};

/// The kind of pipelines.
pub const KIND: &str = "pipeline";
/// Most stages of one.
pub const MAX_STAGES: usize = 32;
/// Most messages in one.
pub const MAX_IN_FLIGHT: u32 = 1_024;
/// Messages in one if nothing is said.
pub const IN_FLIGHT: u32 = 64;
/// Largest message, bytes.
pub const MAX_MESSAGE: u32 = 1 << 20;
/// Largest message if nothing is said, bytes.
pub const MESSAGE: u32 = 256 << 10;
/// Most bytes of messages in one.
pub const MAX_HELD: u64 = 16 << 20;
/// Most messages that one stage works on at once.
pub const MAX_PARALLEL: u32 = 256;
/// Most agents that one stage is spread over.
pub const MAX_SPREAD: u32 = 65_536;
/// Most messages that are kept as dead letters; older ones make room.
pub const MAX_DEAD: usize = 64;
/// Most bytes of them.
pub const MAX_DEAD_BYTES: usize = 4 << 20;

/// Methods, and whether they are put to a pipeline that takes no more messages.
const METHODS: [(&str, bool); 7] = [
    ("push", false),
    ("on_event", false),
    ("define", true),
    ("status", true),
    ("halt", true),
    ("resume", true),
    ("dead_letters", true),
];

/// What `halt` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for whoever looks at the status.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `resume` carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Leaves out the message that the pipeline halted at, rather than trying it again.
    #[serde(default)]
    pub skip: bool,
}

/// The built-in kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pipelines;

impl BuiltIn for Pipelines {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> u32 {
        1
    }

    fn handlers(&self) -> Vec<HandlerInfo> {
        let info = |(name, interleave): (&str, bool)| HandlerInfo {
            name: name.into(),
            interleave,
        };
        METHODS.into_iter().map(info).collect()
    }

    fn begin(&self) -> Box<dyn Program> {
        Box::new(Machine::default())
    }

    fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
        Ok(Box::new(Machine::load(saved)?))
    }
}

impl Program for Machine {
    fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome {
        let outcome = match turn.input {
            Input::Message {
                source,
                method,
                payload,
                ..
            } => self.message(source, method, payload, out),
            Input::Reply { ask, reply } => {
                self.reply(ask, reply, turn.now, out);
                Outcome::DONE
            }
            Input::Timer { .. } => {
                self.timer_fired();
                Outcome::DONE
            }
            _ => Outcome::DONE,
        };
        self.go_on(turn.now, out);
        if self.is_full() {
            out.hold();
        }
        outcome
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.save_to(out);
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes()
    }
}

impl Machine {
    fn message(
        &mut self,
        source: &str,
        method: &str,
        payload: phoenix_wit::Payload<'_>,
        out: &mut Turned<'_>,
    ) -> Outcome {
        let done = match method {
            "push" | "on_event" => match self.push(source, payload) {
                Ok(number) => return answer(payload, &Pushed { number }),
                Err(outcome) => return outcome,
            },
            "define" => {
                read::<Declaration>(payload).and_then(|declared| self.define(declared, out))
            }
            "status" => Ok(()),
            "halt" => read::<Reason>(payload).map(|halt| self.halt(halt.reason)),
            "resume" => read::<Resume>(payload).map(|resume| self.resume(resume.skip)),
            "dead_letters" => return answer(payload, &self.dead_letters()),
            other => return unknown(other, &METHODS),
        };
        match done {
            Ok(()) => answer(payload, &self.status()),
            Err(outcome) => outcome,
        }
    }
}
