//! Sagas: steps that other agents do, and that are undone in reverse order if one fails.
//!
//! A saga is an agent, `saga/ID`, that is started once with a declaration. It asks one
//! agent after the other to do a step. If all have, it is *committed*. If one cannot, it
//! asks for what undoes those that were done, the last one first, and is *compensated*.
//!
//! ```text
//!   start ─▶ reserve ✓ ─▶ pay ✓ ─▶ ship ✗
//!                                   │
//!   compensated ◀─ release ✓ ◀─ pay back ✓
//! ```
//!
//! | method | carries | answer, if it is asked for |
//! |---|---|---|
//! | `start` | [`Start`] | [`Report`] when it has ended, or a failure with one as details |
//! | `status` | nothing | [`Report`] |
//! | `cancel` | [`Cancel`] | [`Report`] |
//! | `resume` | nothing | [`Report`] |
//!
//! **What was done.** A step that answered was done. One whose handler failed, or that could
//! not be delivered to anybody, was not. Of one without an answer (in time) nobody knows: it
//! may have been done, so it is undone as well, and what undoes it is told no answer.
//!
//! **Once.** Each step has an id, `SAGA/STEP`, which is the same for every try of it and of
//! what undoes it: a participant that keeps the ids of what it has done, and of what it has
//! undone, does nothing twice, and refuses a step that comes after it was undone. The saga
//! itself begins no step again that it has undone, and takes no late answer for one.
//!
//! **Stuck.** What undoes a step is tried 20 times if its `retry` says nothing else. If it
//! fails at last, the saga is *stuck*: it says so, and goes on when it is resumed.

mod declaration;
mod machine;
mod saved;
mod status;
#[cfg(test)]
mod tests;

use phoenix_wit::{Input, Payload, Turn};
use serde::Deserialize;

use self::machine::Machine;
use crate::control::HandlerInfo;
use crate::patterns::request::{answer, read, unknown};
use crate::program::{BuiltIn, Outcome, Program, Turned};

pub use declaration::{Declaration, Form, StepDeclaration, UndoDeclaration};
pub use status::{Failed, Report, StepReport};

/// The kind of sagas.
pub const KIND: &str = "saga";
/// Most steps of one.
pub const MAX_STEPS: usize = 32;
/// Largest answer of a step, bytes. A larger one counts as a failure of a step that was
/// done.
pub const MAX_ANSWER: usize = 64 << 10;
/// Largest input of a saga, or of a step, bytes.
pub const MAX_INPUT: usize = 256 << 10;
/// Most who wait for one to end.
pub const MAX_WAITING: usize = 64;

/// Methods, and whether they interleave: no handler of a saga holds others up.
const METHODS: [(&str, bool); 4] = [
    ("start", false),
    ("status", false),
    ("cancel", false),
    ("resume", false),
];

/// What `start` carries.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// What is to be done.
    pub saga: Declaration,
    /// What the steps are done with that say nothing else.
    #[serde(default)]
    pub input: serde_json::Value,
    /// Whether the answer is to come when the saga has ended, rather than at once.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

/// What `cancel` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Why, for whoever looks at the report.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The built-in kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sagas;

impl BuiltIn for Sagas {
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
        match turn.input {
            Input::Message {
                method,
                payload,
                request,
                ..
            } => {
                let done = self.message(method, payload, turn, request);
                self.go_on(turn.now, out);
                let outcome = match done {
                    Ok(()) => self.answer(turn.number, payload),
                    Err(outcome) => outcome,
                };
                self.tell(out);
                outcome
            }
            Input::Reply { ask, reply } => {
                self.reply(ask, reply, turn.now, out);
                self.go_on(turn.now, out);
                self.tell(out);
                Outcome::DONE
            }
            Input::Timer { .. } => {
                self.timer_fired(turn.now);
                self.go_on(turn.now, out);
                self.tell(out);
                Outcome::DONE
            }
            _ => Outcome::DONE,
        }
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
        method: &str,
        payload: Payload<'_>,
        turn: &Turn<'_>,
        request: bool,
    ) -> Result<(), Outcome> {
        match method {
            "start" => {
                let start = read::<Start>(payload)?;
                let waits = request && start.wait;
                self.start(start, payload.content_type, turn.now)?;
                if waits {
                    self.wait(turn.number, payload.content_type)?;
                }
                Ok(())
            }
            "status" => Ok(()),
            "cancel" => {
                let reason = read::<Cancel>(payload)?.reason;
                self.cancel(&reason.unwrap_or_else(|| "somebody cancelled it".to_owned()));
                Ok(())
            }
            "resume" => {
                self.resume();
                Ok(())
            }
            other => Err(unknown(other, &METHODS)),
        }
    }

    /// The answer to what was taken in the turn of that number: the report, unless who asked
    /// waits for an end that is still to come.
    fn answer(&mut self, number: u64, asked: Payload<'_>) -> Outcome {
        if !self.waits(number) {
            return answer(asked, &self.report());
        }
        match self.ending(asked.content_type) {
            None => Outcome::Pending,
            Some(ending) => {
                self.waits_no_more(number);
                ending
            }
        }
    }
}
