//! A saga as bytes.

use std::sync::Arc;

use super::machine::{Done, Machine, Now, Phase, State};
use super::{Declaration, MAX_ANSWER, MAX_INPUT, MAX_WAITING};
use crate::patterns::saved;

impl Machine {
    pub(super) fn save_to(&self, out: &mut Vec<u8>) {
        saved::write(&self.state, out);
    }

    pub(super) fn load(bytes: &[u8]) -> Result<Self, String> {
        let state: State = saved::read(bytes)?;
        let plan = match &state.declared {
            None => None,
            Some(declared) => {
                let declared: Declaration =
                    serde_json::from_str(declared).map_err(|why| why.to_string())?;
                let plan = declared.plan().map_err(|bad| bad.to_string())?;
                Some(Arc::new(plan))
            }
        };
        let machine = Self { state, plan };
        machine.check()?;
        Ok(machine)
    }

    /// Whether a saga can stand so.
    fn check(&self) -> Result<(), String> {
        let state = &self.state;
        let steps = self.plan.as_ref().map_or(0, |plan| plan.steps.len());
        if state.steps.len() != steps || state.at > steps {
            return Err(format!("it is at step {} of {steps}", state.at));
        }
        if (state.phase == Phase::New) != self.plan.is_none() {
            return Err("it has begun if and only if it is declared".to_owned());
        }
        if let Now::Asked { ask, .. } = state.now
            && ask >= state.next_ask
        {
            return Err(format!("ask {ask} is not one of its asks"));
        }
        let answers = state.steps.iter().map(|step| match step {
            Done::Yes(answer) => answer.len(),
            _ => 0,
        });
        if answers.max().unwrap_or(0) > MAX_ANSWER || state.input.len() > MAX_INPUT {
            return Err("an answer or the input is too large".to_owned());
        }
        let (waiting, most) = (state.waiting.len(), MAX_WAITING);
        if waiting > most {
            return Err(format!("{waiting} wait for it, {most} at most"));
        }
        Ok(())
    }
}
