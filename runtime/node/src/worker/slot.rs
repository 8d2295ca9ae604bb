//! What a worker keeps of each of its agents.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::Agent;
use phoenix_core::{MigrationId, Millis, control};
use phoenix_store::arena;

use crate::kinds::Kind;
use crate::worker::job::Seating;

/// An agent of this worker.
pub(crate) enum Slot {
    /// Awake: its core state is at hand, its memory live or about to be.
    Awake(Box<Awake>),
    /// A snapshot in the arena. Kept small: there are millions of these.
    Asleep(Asleep),
}

/// A hibernated agent.
pub(crate) struct Asleep {
    pub(crate) handle: arena::Handle,
    pub(crate) kind: Arc<Kind>,
    /// The directory's generation it is owned under.
    pub(crate) generation: u64,
    /// When it must be woken, by a timer or a deadline.
    pub(crate) wake_at: Millis,
}

/// An agent that is awake.
pub(crate) struct Awake {
    pub(crate) tenant: u64,
    pub(crate) kind: Arc<Kind>,
    pub(crate) agent: Agent,
    /// The directory's generation it is owned under.
    pub(crate) generation: u64,
    pub(crate) seating: Seating,
    pub(crate) rollback: Rollback,
    /// Whether it stands in the queue of ready agents.
    pub(crate) queued: bool,
    /// Whether a job of it is under way.
    pub(crate) running: bool,
    /// Whether it stands in the list of residents.
    pub(crate) listed: bool,
    pub(crate) last_active: Millis,
    /// When the wake heap has it next.
    pub(crate) armed: Millis,
    /// After a fault: not before this.
    pub(crate) backoff_until: Millis,
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
    /// A move waits for the running turn to end.
    pub(crate) freeze_wanted: bool,
    /// Operators waiting for it to sleep.
    pub(crate) sleepers: Vec<control::Done>,
}

/// What brings memory back after a trap: a checkpoint and the frames since.
#[derive(Default)]
pub(crate) struct Rollback {
    /// The image of the checkpoint; `None` is memory as it is instantiated.
    pub(crate) image: Option<Bytes>,
    pub(crate) frames: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// There is nothing to come back to: a trap ends the agent.
    broken: bool,
}

impl Rollback {
    /// Nothing to come back to.
    pub(crate) fn none() -> Self {
        Self {
            broken: true,
            ..Self::default()
        }
    }

    pub(crate) fn from(image: Option<Bytes>) -> Self {
        Self {
            image,
            ..Self::default()
        }
    }

    /// Keeps a committed frame.
    pub(crate) fn push(&mut self, frame: Vec<u8>) {
        /// What a kept frame costs beside its bytes.
        const OVERHEAD: usize = 64;
        if self.broken {
            return;
        }
        self.bytes += frame.capacity() + OVERHEAD;
        self.frames.push(Bytes::from(frame));
    }

    /// What memory is made from again.
    pub(crate) fn seating(&self) -> Seating {
        if self.broken {
            return Seating::Away;
        }
        Seating::Rebuild {
            image: self.image.clone(),
            frames: self.frames.clone(),
        }
    }
}

impl Awake {
    /// Whether a turn may run now.
    pub(crate) fn runnable(&self, now: Millis) -> bool {
        !self.running
            && self.quarantined.is_none()
            && self.backoff_until <= now
            && !self.frozen
            && self.agent.ready(&*self.kind)
    }

    pub(crate) fn status(&self, now: Millis) -> control::AgentStatus {
        if self.quarantined.is_some() {
            control::AgentStatus::Quarantined
        } else if self.moving.is_some() || self.frozen {
            control::AgentStatus::Moving
        } else if self.backoff_until > now {
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
            Seating::Rebuild { image, .. } => image.as_ref().map_or(0, |image| image.len() as u64),
            Seating::Away => 0,
        }
    }
}
