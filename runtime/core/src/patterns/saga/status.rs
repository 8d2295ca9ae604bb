//! What a saga says of itself.

use phoenix_wit::ContentType;
use serde::{Deserialize, Serialize};

use super::declaration::Step;
use super::machine::{Done, Machine, Now, Phase};
use crate::Failure;
use crate::patterns::held::as_json;
use crate::patterns::request::written;
use crate::program::Outcome;

/// How a saga stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `new`, `doing`, `undoing`, `stuck`, `committed` or `compensated`.
    pub state: String,
    /// Why steps are undone, or cannot be.
    pub failed: Option<Failed>,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
    /// Tries after the first.
    pub retries: u64,
    /// Answers that came when they were given up.
    pub late: u64,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The step.
    pub step: String,
    /// Why.
    pub error: String,
}

/// How a step stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// `waiting`, `doing`, `done`, `failed`, `unsure`, `undoing`, `undone`, or `kept` if it
    /// was done and nothing undoes it.
    pub state: String,
    /// What it answered, if that has a form that JSON has.
    pub answer: serde_json::Value,
}

impl Machine {
    pub(super) fn report(&self) -> Report {
        let state = &self.state;
        let name = match state.phase {
            Phase::New => "new",
            Phase::Doing => "doing",
            Phase::Undoing => "undoing",
            Phase::Stuck => "stuck",
            Phase::Committed => "committed",
            Phase::Compensated => "compensated",
        };
        let steps = self.plan.as_ref().map(|plan| plan.steps.iter());
        let steps = steps.into_iter().flatten().enumerate();
        Report {
            state: name.to_owned(),
            failed: state.failed.as_ref().map(|failed| Failed {
                step: failed.step.clone(),
                error: failed.why.clone(),
            }),
            steps: steps
                .map(|(number, step)| self.step(number, step))
                .collect(),
            retries: state.retries,
            late: state.late,
        }
    }

    fn step(&self, number: usize, step: &Step) -> StepReport {
        let state = &self.state;
        let back = !matches!(state.phase, Phase::Doing | Phase::Committed);
        let is_at = number == state.at && state.now != Now::Next;
        let (name, answer) = match state.steps.get(number) {
            Some(Done::Yes(_) | Done::Maybe) if is_at && back => ("undoing", None),
            Some(Done::Yes(answer)) if back && step.undo.is_none() => ("kept", Some(answer)),
            Some(Done::Yes(answer)) => ("done", Some(answer)),
            Some(Done::Maybe) => ("unsure", None),
            Some(Done::Undone) => ("undone", None),
            _ if is_at && !back => ("doing", None),
            _ if state.failed.as_ref().is_some_and(|of| of.step == step.id) => ("failed", None),
            _ => ("waiting", None),
        };
        StepReport {
            id: step.id.clone(),
            state: name.to_owned(),
            answer: answer
                .map(|answer| as_json(answer.as_wit()))
                .unwrap_or_default(),
        }
    }

    /// What who waits is told, once there is something to tell.
    pub(super) fn ending(&self, form: ContentType) -> Option<Outcome> {
        let (code, what) = match self.state.phase {
            Phase::New | Phase::Doing | Phase::Undoing => return None,
            Phase::Committed => {
                let payload = written(form, &self.report());
                return Some(match payload {
                    Ok(payload) => Outcome::Ok(payload),
                    Err(why) => Outcome::failed("unwritable", why),
                });
            }
            Phase::Compensated => ("compensated", "all that was done is undone"),
            Phase::Stuck => ("stuck", "it is not undone"),
        };
        let why = match &self.state.failed {
            Some(failed) => format!("step `{}` failed: {}; {what}", failed.step, failed.why),
            None => what.to_owned(),
        };
        Some(Outcome::Failed(Failure {
            code: code.into(),
            message: why.into(),
            details: written(form, &self.report()).unwrap_or_default(),
        }))
    }
}
