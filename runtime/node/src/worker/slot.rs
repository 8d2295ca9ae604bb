//! What a worker keeps of each of its agents.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::Agent;
use phoenix_core::directory::Ownership;
use phoenix_core::journal::AgentLog;
use phoenix_core::schedule::Share;
use phoenix_core::{AgentId, MigrationId, Millis, Payload, control};
use phoenix_store::{arena, disk_arena};

use crate::kinds::Kind;
use crate::worker::Gated;
use crate::worker::durable::Durable;
use crate::worker::frames::Frames;
use crate::worker::job::{Proof, Seating};

/// An agent of this worker.
pub(crate) enum Slot {
    /// Awake: its core state is at hand, its memory live or about to be.
    Awake(Box<Awake>),
    /// A snapshot in memory or on disk. Kept small: there are millions of these.
    Asleep(Asleep),
    /// In the journal alone.
    Stored(Stored),
}

/// A durable agent of which only the journal knows more.
pub(crate) struct Stored {
    pub(crate) agent: AgentId,
    /// Under what it is this node's, if that is known; otherwise the directory is asked
    /// first.
    pub(crate) owned: Option<Owned>,
}

/// Under what a stored agent is its node's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned {
    /// The directory's generation it is owned under.
    pub(crate) generation: u64,
    /// Since which one its present life counts.
    pub(crate) life: u64,
}

impl Owned {
    /// As the directory says it.
    pub(crate) fn by(ownership: &Ownership) -> Self {
        Self {
            generation: ownership.epoch.generation,
            life: ownership.life,
        }
    }

    /// Of one that was awake here.
    pub(crate) fn alive(generation: u64) -> Self {
        Self {
            generation,
            life: 0,
        }
    }
}

/// Where the snapshot of a hibernated agent lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tier {
    Memory(arena::Handle),
    Disk(disk_arena::Handle),
}

/// A hibernated agent.
pub(crate) struct Asleep {
    pub(crate) tier: Tier,
    pub(crate) kind: Arc<Kind>,
    /// The directory's generation it is owned under.
    pub(crate) generation: u64,
    /// Where its log ends, if it is durable.
    pub(crate) log: Option<Box<AgentLog>>,
}

/// An agent that is awake.
pub(crate) struct Awake {
    pub(crate) tenant: u64,
    pub(crate) kind: Arc<Kind>,
    pub(crate) agent: Agent,
    /// What it has if it is durable.
    pub(crate) durable: Option<Box<Durable>>,
    /// The gates before it; most agents have none.
    pub(crate) gated: Option<Box<Gated>>,
    /// The directory's generation it is owned under.
    pub(crate) generation: u64,
    pub(crate) seating: Seating,
    pub(crate) rollback: Rollback,
    /// Bytes its last frame took, to make room for the next one once.
    pub(crate) frame_room: usize,
    /// What it has had of the worker's time.
    pub(crate) share: Share,
    /// Whether it stands in the queue of ready agents.
    pub(crate) queued: bool,
    /// Whether a job of it is under way.
    pub(crate) running: bool,
    /// Whether it stands in the list of residents.
    pub(crate) listed: bool,
    pub(crate) last_active: Millis,
    /// When it is looked at next.
    pub(crate) armed: Millis,
    /// After a fault: not before this.
    pub(crate) backoff_until: Millis,
    /// Its next batch waits until the journal takes more.
    pub(crate) starved: bool,
    /// Another's thread is not to be used for its turns before this.
    pub(crate) visits_from: Millis,
    pub(crate) traps: u64,
    pub(crate) last_trap: Option<Arc<str>>,
    pub(crate) quarantined: Option<Arc<str>>,
    /// Why it can neither sleep nor move, as it was last found.
    pub(crate) unmovable: Option<Arc<str>>,
    /// The attempt to move it away, while there is one.
    pub(crate) moving: Option<MigrationId>,
    /// The attempt it came here by, if it came.
    pub(crate) arrived_by: Option<MigrationId>,
    /// No turn runs: it is leaving, or has arrived and is not released yet.
    pub(crate) frozen: bool,
    /// Since when it is.
    pub(crate) frozen_since: Millis,
    /// A move waits for the running turn to end.
    pub(crate) freeze_wanted: bool,
    /// Operators waiting for it to sleep.
    pub(crate) sleepers: Vec<control::Done>,
    /// It is to begin anew, once what it sent has its verdicts.
    pub(crate) reset: Option<Reset>,
}

/// How an agent is to begin anew.
pub(crate) struct Reset {
    /// What its `init` gets.
    pub(crate) config: Payload,
    /// Who waits for it.
    pub(crate) done: control::Done,
}

/// What memory is made from again.
#[derive(Clone, Default)]
pub(crate) struct Past {
    /// The image of a checkpoint; `None` is memory as it is instantiated.
    pub(crate) image: Option<Bytes>,
    /// What was committed since.
    pub(crate) frames: Frames,
    /// What the journal says of the first of them, one by one.
    pub(crate) proofs: Arc<[Proof]>,
}

/// What brings memory back after a trap: a checkpoint and the frames since.
#[derive(Default)]
pub(crate) struct Rollback {
    pub(crate) past: Past,
    /// How long running the frames again takes, by how long they took, nanoseconds.
    spent: u64,
    /// Batches until a checkpoint that was refused is tried again.
    wait: u32,
    /// There is nothing to come back to: a trap ends the agent.
    broken: bool,
}

/// How long a move may hold an agent before it counts as in doubt.
const DOUBT_AFTER: Millis = Millis(2_000);
/// Guest time after which a checkpoint is taken, nanoseconds: coming back after
/// a trap takes about so long at most.
const MAX_REPLAY: u64 = 100_000_000;
/// Batches between tries to take a checkpoint that was refused.
const TRY_AGAIN_AFTER: u32 = 64;
/// How far frames may grow over the kind's bound while no checkpoint can be
/// taken; beyond it they are let go.
const OVERDRAFT: usize = 4;

impl Rollback {
    /// Nothing to come back to.
    pub(crate) fn none() -> Self {
        Self {
            broken: true,
            ..Self::default()
        }
    }

    pub(crate) fn from(image: Option<Bytes>) -> Self {
        let past = Past {
            image,
            ..Past::default()
        };
        Self {
            past,
            ..Self::default()
        }
    }

    /// Keeps a committed frame, which took the guest so many nanoseconds. Gives the
    /// room of `frame` back if that is not kept.
    pub(crate) fn push(&mut self, frame: Vec<u8>, spent: u64) -> Vec<u8> {
        self.wait = self.wait.saturating_sub(1);
        if self.broken {
            return frame;
        }
        self.spent = self.spent.saturating_add(spent);
        self.past.frames.push(frame)
    }

    /// Whether it is time for a checkpoint, given the kind's bound in bytes.
    pub(crate) fn is_due(&self, bound: usize) -> bool {
        self.wait == 0
            && (self.broken || self.past.frames.bytes() > bound || self.spent > MAX_REPLAY)
    }

    /// Whether a checkpoint may be tried now that is wanted for another reason.
    pub(crate) fn may_try(&self) -> bool {
        self.wait == 0
    }

    /// A checkpoint was refused. What there is to come back to stays while it is
    /// not too much; says whether it had to be let go.
    pub(crate) fn refused(&mut self, bound: usize) -> bool {
        self.wait = TRY_AGAIN_AFTER;
        let lost = !self.broken && self.past.frames.bytes() > bound.saturating_mul(OVERDRAFT);
        if lost {
            *self = Self {
                wait: self.wait,
                ..Self::none()
            };
        }
        lost
    }

    /// What memory is made from again.
    pub(crate) fn seating(&self) -> Seating {
        if self.broken {
            return Seating::Away;
        }
        Seating::Rebuild(Box::new(self.past.clone()))
    }
}

impl Awake {
    /// Lets go of all that was its old life's: its agent has a new one.
    pub(crate) fn begin_anew(&mut self, tenant: u64, kind: Arc<Kind>, now: Millis) {
        self.agent.retry_by(&kind.policy);
        self.tenant = tenant;
        self.kind = kind;
        self.rollback = Rollback::default();
        self.seating = self.rollback.seating();
        self.frame_room = 0;
        self.listed = false;
        self.last_active = now;
        self.backoff_until = Millis(0);
        self.starved = false;
        self.traps = 0;
        self.last_trap = None;
        self.quarantined = None;
        self.unmovable = None;
    }

    /// Stands it still.
    pub(crate) fn freeze(&mut self, now: Millis) {
        if !self.frozen {
            self.frozen = true;
            self.frozen_since = now;
        }
    }

    /// Whether it has stood still for so long that its move is in doubt: callers
    /// are told that it is unavailable rather than left to wait.
    pub(crate) fn is_in_doubt(&self, now: Millis) -> bool {
        self.frozen && self.frozen_since + DOUBT_AFTER <= now
    }

    /// Whether a turn may run now.
    pub(crate) fn runnable(&self, now: Millis) -> bool {
        !self.running
            && self.quarantined.is_none()
            && self.backoff_until <= now
            && !self.starved
            && !self.frozen
            && self.agent.ready(&*self.kind)
    }

    pub(crate) fn status(&self, now: Millis) -> control::AgentStatus {
        if self.quarantined.is_some() {
            control::AgentStatus::Quarantined
        } else if self.moving.is_some() || self.frozen {
            control::AgentStatus::Moving
        } else if self.starved || self.backoff_until > now {
            control::AgentStatus::BackingOff
        } else {
            control::AgentStatus::Resident
        }
    }

    /// Why it can neither sleep nor move, if so.
    pub(crate) fn why_unmovable(&self) -> Option<Arc<str>> {
        if !self.kind.policy.movable {
            return Some("its kind is deployed with movable = false".into());
        }
        if let Some(why) = &self.quarantined {
            return Some(format!("it is quarantined: {why}").into());
        }
        match &self.seating {
            Seating::Live(instance) => instance.unmovable().map(Into::into),
            _ => self.unmovable.clone(),
        }
    }

    /// Linear memory it holds, bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match &self.seating {
            Seating::Live(instance) => instance.memory_bytes(),
            Seating::Rebuild(past) => past.image.as_ref().map_or(0, |image| image.len() as u64),
            Seating::Away => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 48, "there are millions of these");
    }
}
