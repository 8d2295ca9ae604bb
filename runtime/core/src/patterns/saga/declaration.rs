//! What a saga is declared to do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::MAX_STEPS;
use crate::patterns::declaration::{BadDeclaration, MAX_TIMEOUT, Place, Retry, Tries};

/// What a saga is to do, as people and agents write it. [`check`](Self::check) says
/// whether it can.
///
/// In TOML, where names may have `-` for `_`:
///
/// ```toml
/// timeout-ms = 60_000
///
/// [[step]]
/// id = "reserve"
/// to = "stock/main"
/// method = "reserve"
/// undo = { method = "release" }
///
/// [[step]]
/// id = "pay"
/// to = "bank/alice"
/// method = "withdraw"
/// input = 70
/// form = "plain"
/// retry = { attempts = 3 }
/// undo = { method = "deposit", form = "plain" }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The steps, in their order: 1 to [`MAX_STEPS`].
    #[serde(rename = "steps", alias = "step")]
    pub steps: Vec<StepDeclaration>,
    /// How long the steps may take together before they are undone, milliseconds; for ever
    /// if nothing is said. What is undone takes as long as it takes.
    #[serde(default, alias = "timeout-ms")]
    pub timeout_ms: Option<u64>,
}

/// What one step is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDeclaration {
    /// What it is known by, once in a saga.
    pub id: String,
    /// The agent, `kind/key`.
    pub to: String,
    /// The handler that does it.
    pub method: String,
    /// What it is done with; what the saga was started with, if nothing is said.
    #[serde(default)]
    pub input: Option<serde_json::Value>,
    /// How the handler is given that.
    #[serde(default)]
    pub form: Form,
    /// How long an answer is waited for, milliseconds: up to an hour, 5,000 if nothing is
    /// said.
    #[serde(default, alias = "timeout-ms")]
    pub timeout_ms: Option<u32>,
    /// When it is tried again; never if nothing is said.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Whether to try again what may have been done although no answer came; it is if
    /// nothing is said, for a participant can tell by the step's id.
    #[serde(default)]
    pub repeatable: Option<bool>,
    /// What undoes it; nothing if nothing is said.
    #[serde(default)]
    pub undo: Option<UndoDeclaration>,
}

/// What undoes a step: its compensation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoDeclaration {
    /// The agent; the step's own if nothing is said.
    #[serde(default)]
    pub to: Option<String>,
    /// The handler.
    pub method: String,
    /// How the handler is given what the step was done with and what it answered.
    #[serde(default)]
    pub form: Form,
    /// How long an answer is waited for, as of a step.
    #[serde(default, alias = "timeout-ms")]
    pub timeout_ms: Option<u32>,
    /// When it is tried again; 20 tries if nothing is said, `exponential:100ms..60s`.
    #[serde(default)]
    pub retry: Option<Retry>,
}

/// How a handler is given its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A map: `id`, which is the saga's and the step's together, `input`, and for what
    /// undoes it `answer`, which is null if none is known.
    #[default]
    Step,
    /// The input alone; for what undoes it the step's answer, or if there is none its input.
    Plain,
}

/// A checked declaration.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Nanoseconds.
    pub(super) timeout: Option<u64>,
}

/// A checked step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) id: String,
    pub(super) input: Option<serde_json::Value>,
    pub(super) act: Action,
    pub(super) repeatable: bool,
    pub(super) undo: Option<Action>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) to: String,
    pub(super) method: String,
    pub(super) form: Form,
    pub(super) timeout_ms: u32,
    pub(super) tries: Tries,
}

impl Declaration {
    /// Checks every step and every bound.
    ///
    /// # Errors
    /// The first thing that is wrong, where, and what is accepted there.
    pub fn check(&self) -> Result<(), BadDeclaration> {
        self.plan().map(|_| ())
    }

    pub(super) fn plan(&self) -> Result<Plan, BadDeclaration> {
        let whole = Place {
            what: "saga",
            number: 0,
            name: "",
        };
        whole.range("steps", self.steps.len() as u64, 1, MAX_STEPS as u64)?;
        if let Some(timeout) = self.timeout_ms {
            whole.range("timeout_ms", timeout, 1, 24 * MAX_TIMEOUT.0)?;
        }
        let mut ids = BTreeSet::new();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (number, step) in (1..).zip(&self.steps) {
            let place = Place {
                what: "step",
                number,
                name: &step.id,
            };
            steps.push(step.checked(&place)?);
            if !ids.insert(&*step.id) {
                return Err(place.bad("id", "another step has it already"));
            }
        }
        Ok(Plan {
            steps,
            timeout: self.timeout_ms.map(|ms| ms.saturating_mul(1_000_000)),
        })
    }
}

impl StepDeclaration {
    /// A step that nothing undoes, and of which nothing else is said.
    pub fn new(id: impl Into<String>, to: impl Into<String>, method: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            to: to.into(),
            method: method.into(),
            input: None,
            form: Form::default(),
            timeout_ms: None,
            retry: None,
            repeatable: None,
            undo: None,
        }
    }

    fn checked(&self, place: &Place<'_>) -> Result<Step, BadDeclaration> {
        place.check_name("id")?;
        place.agent("to", &self.to)?;
        place.check_method("method", &self.method)?;
        Ok(Step {
            id: self.id.clone(),
            input: self.input.clone(),
            act: Action {
                to: self.to.clone(),
                method: self.method.clone(),
                form: self.form,
                timeout_ms: place.timeout("timeout_ms", self.timeout_ms)?,
                tries: Tries::of(self.retry.as_ref(), "retry", place)?,
            },
            repeatable: self.repeatable.unwrap_or(true),
            undo: match &self.undo {
                Some(undo) => Some(undo.checked(&self.to, place)?),
                None => None,
            },
        })
    }
}

impl UndoDeclaration {
    fn checked(&self, of: &str, place: &Place<'_>) -> Result<Action, BadDeclaration> {
        let to = self.to.as_deref().unwrap_or(of);
        place.agent("undo.to", to)?;
        place.check_method("undo.method", &self.method)?;
        Ok(Action {
            to: to.to_owned(),
            method: self.method.clone(),
            form: self.form,
            timeout_ms: place.timeout("undo.timeout_ms", self.timeout_ms)?,
            tries: match &self.retry {
                Some(retry) => Tries::of(Some(retry), "undo.retry", place)?,
                None => Tries::OFTEN,
            },
        })
    }
}
