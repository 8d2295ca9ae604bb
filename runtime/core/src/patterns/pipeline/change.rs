//! A declaration that takes the place of another, with messages on their way.

use std::sync::Arc;

use super::declaration::{Declaration, Plan, Target};
use super::machine::{At, Machine, Message, bit};
use crate::patterns::request::clipped;
use crate::program::{Outcome, Turned};

/// What has become of the stages: for each old one its new number.
struct Change {
    /// Where old stages are now; `None` of those that are gone.
    moved: Vec<Option<u8>>,
    /// The bits of stages that were not there.
    inserted: u32,
}

impl Machine {
    /// Goes on by another declaration.
    pub(super) fn define(
        &mut self,
        declared: Declaration,
        out: &Turned<'_>,
    ) -> Result<(), Outcome> {
        let refused = |why: &str| Outcome::failed("bad-pipeline", clipped(why));
        let plan = declared.plan().map_err(|bad| refused(&bad.to_string()))?;
        for (number, stage) in (1..).zip(&plan.stages) {
            if matches!(&stage.to, Target::Agent(agent) if **agent == *out.agent()) {
                let name = &stage.name;
                let why = format!("stage {number} `{name}`, to: a pipeline is no stage of itself");
                return Err(refused(&why));
            }
        }
        if let Some(old) = &self.plan {
            let change = Change::between(old, &plan);
            for message in &mut self.state.messages {
                change.apply(message);
            }
        }
        self.plan = Some(Arc::new(plan));
        self.state.declared = Some(declared);
        Ok(())
    }
}

impl Change {
    fn between(old: &Plan, new: &Plan) -> Self {
        let at = |name: &str| {
            let found = new.stages.iter().position(|stage| *stage.name == *name)?;
            u8::try_from(found).ok()
        };
        let moved: Vec<Option<u8>> = old.stages.iter().map(|stage| at(&stage.name)).collect();
        let kept = moved
            .iter()
            .flatten()
            .fold(0, |bits, stage| bits | bit(*stage));
        Self {
            moved,
            inserted: new.all() & !kept,
        }
    }

    fn moved(&self, stage: u8) -> Option<u8> {
        self.moved.get(usize::from(stage)).copied().flatten()
    }

    fn apply(&self, message: &mut Message) {
        let stages = 0..u8::try_from(self.moved.len()).unwrap_or(u8::MAX);
        let done = stages.filter(|stage| message.done & bit(*stage) != 0);
        message.done = done
            .filter_map(|stage| self.moved(stage))
            .fold(0, |bits, stage| bits | bit(stage));
        match &mut message.at {
            At::Between => {}
            At::Asked { stage, .. } => *stage = stage.and_then(|stage| self.moved(stage)),
            At::Again { stage, .. } | At::Halted { stage, .. } => match self.moved(*stage) {
                Some(moved) => *stage = moved,
                None => message.at = At::Between,
            },
        }
        // It does not go back for what was inserted before a stage that it has begun.
        let begun = message.done | message.at.stage().map_or(0, bit);
        if let Some(last) = begun.checked_ilog2() {
            let before = bit(u8::try_from(last).unwrap_or(u8::MAX)) - 1;
            message.done |= self.inserted & before;
        }
    }
}
