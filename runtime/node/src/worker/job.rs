//! A guest call on its way: everything it needs, so that it can be late.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::agent::Batch;
use phoenix_core::journal::record::Terms;
use phoenix_core::{Digest, KindPolicy, Millis, Nanos};
use phoenix_host::{Answer, Fault, Instance, InstanceError, RestoreError};

use crate::kinds::Kind;
use crate::worker::slot::Past;

/// A batch and the instance to put it to, or what to make one from.
pub(crate) struct Job {
    /// Which agent.
    pub(crate) slot: u32,
    /// Which tenant of the slot, so that a late result finds nobody else.
    pub(crate) tenant: u64,
    pub(crate) seating: Seating,
    /// What its memory is made of, if that is to be done.
    pub(crate) kind: Option<Arc<Kind>>,
    pub(crate) batch: Batch,
    pub(crate) ended: Option<Ended>,
    /// Hashes of its memory that the journal has, and that came out the same when it was
    /// made again.
    pub(crate) proved: u64,
    /// How long it may hold up the worker.
    pub(crate) slice: Millis,
    /// How long the guest may run.
    pub(crate) deadline: Millis,
    /// When it began.
    pub(crate) now: Nanos,
}

/// Where the guest's memory is.
#[derive(Default)]
pub(crate) enum Seating {
    /// Live. In a box, since it is handed on several times a turn.
    Live(Box<Instance>),
    /// To be made from nothing, or from an image, and then brought up to date by
    /// running committed frames again.
    Rebuild(Box<Past>),
    /// With a job, or given up.
    #[default]
    Away,
}

impl Seating {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// What a journal says that came of a batch.
#[derive(Debug)]
pub(crate) struct Proof {
    /// The number of its first turn.
    pub(crate) first: u64,
    /// Whether a checkpoint was taken before it.
    pub(crate) after_checkpoint: bool,
    /// What the guest answered.
    pub(crate) answer: Bytes,
    /// What its memory hashed to after that, if that was noted.
    pub(crate) memory: Option<Digest>,
    /// What it ran under.
    pub(crate) terms: Arc<Terms>,
}

impl Proof {
    /// Runs it again, however long it takes: its answer was acted on then. On a divergence
    /// says in words where it is, and what differs.
    fn run(&self, instance: &mut Instance, frame: &[u8]) -> Result<(), String> {
        self.prepare(instance)?;
        instance.run_under(&self.terms.policy);
        let answer = instance.turns(frame, None).map_err(|fault| {
            format!(
                "divergence at turn {}: it committed by the journal, and faults when it is run \
                 again: {}",
                self.first, fault.message
            )
        })?;
        self.check(instance, &answer.frame)
    }

    /// Takes the checkpoint that was taken before it, if one was: what was dead stack then
    /// is zeroed by that.
    fn prepare(&self, instance: &mut Instance) -> Result<(), String> {
        if !self.after_checkpoint {
            return Ok(());
        }
        let taken = instance.snapshot(&mut Vec::new());
        taken.map_err(|refused| {
            let turn = self.first;
            format!("no checkpoint can be taken again before turn {turn}: {refused}")
        })
    }

    /// Compares what came of it when it was run again.
    fn check(&self, instance: &mut Instance, answer: &[u8]) -> Result<(), String> {
        let diverged = |what: &str, recorded: Digest, found: Digest| {
            let turn = self.first;
            Err(format!(
                "divergence at turn {turn}: {what} hashes to {recorded} in the journal, and to \
                 {found} when it is run again"
            ))
        };
        if self.answer != answer {
            return diverged("the answer", Digest::of(&self.answer), Digest::of(answer));
        }
        let Some(recorded) = self.memory else {
            return Ok(());
        };
        let found = instance.memory_hash();
        if found != recorded {
            return diverged("the memory", recorded, found);
        }
        Ok(())
    }
}

/// How a job ended.
pub(crate) enum Ended {
    /// The guest answered.
    Answered(Answer),
    /// The guest's instance is lost, and the batch undone.
    Faulted(Box<Fault>),
    /// There is no room, or no time, for another instance just now.
    NoRoom,
    /// The memory cannot be made again: the agent cannot go on.
    Unrecoverable(String),
}

impl Job {
    /// Makes the instance live if it is not, and calls the guest.
    pub(crate) fn run(&mut self) {
        let deadline = Duration::from_millis(self.deadline.0);
        let seating = std::mem::take(&mut self.seating);
        let mut instance = match seating {
            Seating::Live(instance) => instance,
            Seating::Rebuild(past) => {
                let made = match &self.kind {
                    Some(kind) => rebuild(kind, &past),
                    None => Err(lost("nobody says what its memory is made of")),
                };
                match made {
                    Ok(instance) => {
                        let proofs = past.proofs.iter();
                        self.proved = proofs.filter(|it| it.memory.is_some()).count() as u64;
                        instance
                    }
                    Err(ended) => {
                        self.seating = Seating::Rebuild(past);
                        self.ended = Some(ended);
                        return;
                    }
                }
            }
            Seating::Away => {
                self.ended = Some(lost("the agent's memory is not at hand"));
                return;
            }
        };
        if self.batch.turns() == 0 {
            self.seating = Seating::Live(instance);
            return;
        }
        match instance.turns(&self.batch.frame, Some(deadline)) {
            Ok(answer) => {
                self.seating = Seating::Live(instance);
                self.ended = Some(Ended::Answered(answer));
            }
            Err(fault) => self.ended = Some(Ended::Faulted(Box::new(fault))),
        }
    }
}

fn lost(why: &str) -> Ended {
    Ended::Unrecoverable(why.to_owned())
}

/// Makes an agent's memory again: from its checkpoint, and the turns committed since.
/// Turns that the journal has run under the limits it has them under.
pub(crate) fn rebuild(kind: &Kind, past: &Past) -> Result<Box<Instance>, Ended> {
    let first = past.proofs.first().map(|proof| &proof.terms.policy);
    let mut instance = begin(kind, first.unwrap_or(&kind.policy), past.image.as_ref())?;
    let mut proofs = past.proofs.iter();
    for frame in past.frames.iter() {
        let Some(proof) = proofs.next() else {
            instance.run_under(&kind.policy);
            instance.turns(frame, None).map_err(|fault| {
                let what = "a committed turn faults when it is run again";
                Ended::Unrecoverable(format!("{what}: {}", fault.message))
            })?;
            continue;
        };
        proof.run(&mut instance, frame).map_err(|why| {
            let component = kind.info.component;
            Ended::Unrecoverable(format!("{why}, by the component {component}"))
        })?;
    }
    instance.run_under(&kind.policy);
    Ok(Box::new(instance))
}

/// An instance with the memory of a checkpoint, or as a life begins.
fn begin(kind: &Kind, policy: &KindPolicy, image: Option<&Bytes>) -> Result<Instance, Ended> {
    let component = &kind.component;
    let Some(image) = image else {
        return component.instantiate(policy).map_err(|error| match error {
            InstanceError::Full { .. } | InstanceError::Late { .. } => Ended::NoRoom,
            other => Ended::Unrecoverable(other.to_string()),
        });
    };
    let restored = match component.restore(policy, image) {
        // It got that when its kind gave more, and keeps it.
        Err(RestoreError::Memory { needed, .. }) => {
            let policy = KindPolicy {
                memory_bytes: needed,
                ..policy.clone()
            };
            component.restore(&policy, image)
        }
        restored => restored,
    };
    restored.map_err(|error| match error {
        RestoreError::Full { .. } | RestoreError::Late { .. } => Ended::NoRoom,
        other => Ended::Unrecoverable(other.to_string()),
    })
}
