//! What a pipeline says of itself.

use serde::{Deserialize, Serialize};

use super::declaration::Stage;
use super::machine::{At, Machine, bit};
use crate::patterns::held::as_json;

/// Most bytes of messages in one answer.
const PAGE_BYTES: usize = 256 << 10;

/// What `push` is answered with: the message has been taken, and its stages are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The message's number, counted from 1.
    pub number: u64,
}

/// How a pipeline stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `undefined`, `running` or `halted`.
    pub state: String,
    /// Why it is halted.
    pub reason: Option<String>,
    /// Its stages, in order.
    pub stages: Vec<StageStatus>,
    /// Messages in it.
    pub in_flight: u64,
    /// Messages that may be in it at once.
    pub max_in_flight: u64,
    /// Bytes of the messages in it.
    pub bytes: u64,
    /// Messages it has taken.
    pub taken: u64,
    /// Messages that have been through all stages.
    pub done: u64,
    /// Messages that were left out.
    pub skipped: u64,
    /// Messages that were put aside.
    pub dead: u64,
    /// Of these, how many are kept no more.
    pub dead_dropped: u64,
    /// How often a message went on from a stage that failed, as it was.
    pub passed: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Messages that were not taken: too large, or before there were stages.
    pub refused: u64,
    /// Answers that came when nobody waited for them any more.
    pub late: u64,
}

/// How a stage stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// The agent, its template, or `kind/*` of several.
    pub to: String,
    /// Messages on their way to it next.
    pub waiting: u64,
    /// Messages it works on.
    pub working: u64,
    /// Messages that are to be tried again.
    pub retrying: u64,
    /// Why it failed, if the pipeline halted at it.
    pub error: Option<String>,
}

/// What `dead_letters` is answered with: the oldest ones that are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// The messages.
    pub letters: Vec<DeadLetter>,
    /// How many more there are.
    pub more: u64,
}

/// A message that was put aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    pub number: u64,
    /// Who pushed it.
    pub source: String,
    /// The stage it failed at.
    pub stage: String,
    /// Why.
    pub error: String,
    /// Bytes of its data.
    pub bytes: u64,
    /// Its data as that stage was asked with; null if it has no form that JSON has.
    pub data: serde_json::Value,
}

impl Machine {
    pub(super) fn status(&self) -> Status {
        let (state, counts) = (&self.state, &self.state.counts);
        let plan = self.plan.as_deref();
        let name = match (plan, &state.halted) {
            (None, _) => "undefined",
            (_, None) => "running",
            (_, Some(_)) => "halted",
        };
        Status {
            state: name.to_owned(),
            reason: state.halted.clone(),
            stages: self.stages(),
            in_flight: state.messages.len() as u64,
            max_in_flight: plan.map_or(0, |plan| plan.in_flight as u64),
            bytes: self.held,
            taken: counts.taken,
            done: counts.done,
            skipped: counts.skipped,
            dead: counts.dead,
            dead_dropped: counts.dead_dropped,
            passed: counts.passed,
            retries: counts.retries,
            refused: counts.refused,
            late: counts.late,
        }
    }

    fn stages(&self) -> Vec<StageStatus> {
        let Some(plan) = &self.plan else {
            return Vec::new();
        };
        let stage = |stage: &Stage| StageStatus {
            name: stage.name.as_ref().to_owned(),
            to: stage.to.to_string(),
            waiting: 0,
            working: 0,
            retrying: 0,
            error: None,
        };
        let mut stages: Vec<StageStatus> = plan.stages.iter().map(stage).collect();
        for message in &self.state.messages {
            let next = (0..32).find(|stage| message.done & bit(*stage) == 0);
            let of = match message.at {
                At::Between => next,
                _ => message.at.stage(),
            };
            let of = of.and_then(|stage| stages.get_mut(usize::from(stage)));
            let Some(of) = of else { continue };
            match &message.at {
                At::Between => of.waiting += 1,
                At::Asked { .. } => of.working += 1,
                At::Again { .. } => of.retrying += 1,
                At::Halted { why, .. } => of.error = Some(why.clone()),
            }
        }
        stages
    }

    pub(super) fn dead_letters(&self) -> DeadLetters {
        let mut bytes = 0;
        let dead = self.state.dead.iter();
        let page = dead.take_while(|dead| {
            let first = bytes == 0;
            bytes += dead.data.len();
            first || bytes <= PAGE_BYTES
        });
        let letters: Vec<DeadLetter> = page
            .map(|dead| DeadLetter {
                number: dead.number,
                source: dead.source.clone(),
                stage: dead.stage.clone(),
                error: dead.why.clone(),
                bytes: dead.data.len() as u64,
                data: as_json(dead.data.as_wit()),
            })
            .collect();
        let more = (self.state.dead.len() - letters.len()) as u64;
        DeadLetters { letters, more }
    }
}
