//! Life and sleep: creating agents, checkpoints, hibernation, waking, eviction.

use bytes::Bytes;
use phoenix_core::agent::Agent;
use phoenix_core::directory::Ownership;
use phoenix_core::snapshot;
use phoenix_core::{AgentId, Level, Millis, Payload, control};

use crate::counters::count;
use crate::kinds::Kind;
use crate::worker::durable::Durable;
use crate::worker::job::{Seating, rebuild};
use crate::worker::legacies::Legacy;
use crate::worker::slot::{Asleep, Awake, Rollback, Slot, Tier};
use crate::worker::tiers::Unread;
use crate::worker::{Event, Worker};
use std::sync::Arc;

/// Residents that eviction looks at before it gives up for now.
const EVICTION_TRIES: usize = 64;
/// Residents that are put to sleep at once while memory is short.
const SHRINK_BY: usize = 32;
/// Entries that no longer hold which a list may have, beside as many as hold,
/// before it is cleaned.
const SLACK: usize = 1_024;

/// An agent whose memory is live, on the clock of those that may be put to sleep.
pub(crate) struct Resident {
    slot: u32,
    tenant: u64,
    /// When it was active last, as of the last look at it.
    seen: Millis,
}

impl Worker {
    /// Begins a new life of an agent this node owns.
    pub(super) fn create(
        &mut self,
        id: AgentId,
        kind: Arc<Kind>,
        ownership: Ownership,
        config: Payload,
    ) -> u32 {
        let incarnation = self.shared.incarnation(ownership.epoch);
        let legacy = self.legacies.take(&id);
        count(&self.shared.counters.spawned);
        let generation = ownership.epoch.generation;
        let Some(Legacy {
            mut agent, durable, ..
        }) = legacy
        else {
            let agent = Agent::new(id, incarnation, config);
            let mut awake = self.new_awake(agent, kind, generation, Rollback::default());
            self.begin_log(&mut awake);
            return self.insert_awake(awake);
        };
        agent.renew(incarnation, config, &mut self.actions);
        let mut awake = self.new_awake(agent, kind, generation, Rollback::default());
        let was_durable = durable.is_some();
        awake.durable = durable;
        if !was_durable {
            self.begin_log(&mut awake);
        }
        let slot = self.insert_awake(awake);
        if was_durable {
            self.renew_log(slot);
        }
        self.perform(slot);
        slot
    }

    /// Gives an agent that is awake a slot.
    pub(super) fn insert_awake(&mut self, mut awake: Box<Awake>) -> u32 {
        self.was_costly = true;
        self.inherit(&mut awake);
        let id = awake.agent.id().clone();
        let slot = u32::try_from(self.slots.insert(Slot::Awake(awake))).unwrap_or(u32::MAX);
        self.recent.forget(&id);
        self.table.insert(id, slot);
        self.count_resident(1);
        self.queue(slot);
        self.arm(slot);
        slot
    }

    pub(super) fn new_awake(
        &mut self,
        mut agent: Agent,
        kind: Arc<Kind>,
        generation: u64,
        rollback: Rollback,
    ) -> Box<Awake> {
        agent.retry_by(&kind.policy);
        self.tenants += 1;
        let gated = self.gated(agent.id(), &kind);
        Box::new(Awake {
            tenant: self.tenants,
            gated,
            kind,
            agent,
            durable: None,
            generation,
            seating: rollback.seating(),
            rollback,
            share: self.schedule.begin(),
            queued: false,
            running: false,
            listed: false,
            last_active: self.now.millis(),
            armed: Millis::NEVER,
            backoff_until: Millis(0),
            starved: false,
            visits_from: Millis(0),
            traps: 0,
            last_trap: None,
            quarantined: None,
            unmovable: None,
            moving: None,
            arrived_by: None,
            frame_room: 0,
            frozen: false,
            frozen_since: Millis(0),
            freeze_wanted: false,
            sleepers: Vec::new(),
            reset: None,
        })
    }

    pub(super) fn count_resident(&self, change: i64) {
        use std::sync::atomic::Ordering::Relaxed;
        if change > 0 {
            self.shared.resident.fetch_add(1, Relaxed);
        } else {
            self.shared.resident.fetch_sub(1, Relaxed);
        }
    }

    pub(super) fn count_asleep(&self, change: i64) {
        use std::sync::atomic::Ordering::Relaxed;
        if change > 0 {
            self.shared.asleep.fetch_add(1, Relaxed);
        } else {
            self.shared.asleep.fetch_sub(1, Relaxed);
        }
    }

    /// Takes an agent's memory as the new point to come back to after a trap.
    pub(super) fn checkpoint(&mut self, slot: u32) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Seating::Live(instance) = &mut awake.seating else {
            return;
        };
        self.was_costly = true;
        let mut image = Vec::new();
        match instance.snapshot(&mut image) {
            Ok(()) => {
                if let Some(durable) = &mut awake.durable {
                    durable.memory = Some(instance.memory_hash());
                    awake.agent.note_checkpoint();
                }
                awake.rollback = Rollback::from(Some(image.into()));
                awake.unmovable = None;
                count(&self.shared.counters.checkpoints);
            }
            Err(refused) => {
                let why: Arc<str> = refused.to_string().into();
                let bound = awake.kind.policy.rollback_bytes as usize;
                if awake.rollback.refused(bound) {
                    let text = format!(
                        "no checkpoint can be taken, and until one can a trap will end it: {why}"
                    );
                    self.shared.log(Some(awake.agent.id()), Level::Warn, &text);
                }
                awake.unmovable = Some(why);
            }
        }
    }

    /// Puts an agent to sleep if it may, because it was idle long enough or somebody wants it.
    pub(super) fn rest(&mut self, slot: u32) {
        let now = self.now.millis();
        let wanted = self.drains_to_sleep();
        let Some(awake) = self.awake(slot) else {
            return;
        };
        let idle = awake.last_active + awake.kind.policy.idle_after <= now;
        if (idle || wanted || !awake.sleepers.is_empty()) && !self.unload(slot) {
            self.hibernate(slot);
        }
    }

    /// Whether an agent could sleep now.
    pub(super) fn may_sleep(awake: &Awake) -> bool {
        Self::may_rest(awake)
            && match &awake.seating {
                Seating::Live(_) => true,
                Seating::Rebuild(past) => past.frames.is_empty(),
                Seating::Away => false,
            }
    }

    /// Whether nothing keeps an agent awake but perhaps its memory.
    pub(super) fn may_rest(awake: &Awake) -> bool {
        awake.agent.quiet()
            && awake.kind.policy.movable
            && !awake.running
            && awake.moving.is_none()
            && !awake.frozen
            && awake.quarantined.is_none()
    }

    /// Puts an agent to sleep if it may. Says whether it sleeps.
    pub(super) fn hibernate(&mut self, slot: u32) -> bool {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return true;
        };
        if !Self::may_sleep(awake) {
            return false;
        }
        awake.agent.forget_old_streams(now);
        let image = match Self::image(awake) {
            Ok(image) => image,
            Err(why) => {
                self.refuse_sleep(slot, &why);
                return false;
            }
        };
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        if awake.durable.is_some() {
            // It says all there is to be said before it sleeps.
            self.store_snapshot(slot, &image);
        } else {
            let component = awake.kind.info.component;
            snapshot::encode(&awake.agent, &component, &image, &mut self.scratch);
        }
        let Ok(handle) = self.arena.insert(&self.scratch) else {
            return false;
        };
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        let wake_at = awake.agent.next_wake_exact();
        let asleep = Asleep {
            tier: Tier::Memory(handle),
            kind: awake.kind.clone(),
            generation: awake.generation,
            log: awake.durable.take().map(|durable| Box::new(durable.log)),
        };
        let sleepers = std::mem::take(&mut awake.sleepers);
        self.schedule.end(&awake.share);
        let bytes = self.scratch.len() as u64;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Slot::Asleep(asleep);
        }
        self.fell_asleep(slot, handle);
        self.count_resident(-1);
        self.count_asleep(1);
        count(&self.shared.counters.hibernations);
        self.look_at(slot, wake_at);
        for done in sleepers {
            done(Ok(control::Response::Hibernated { bytes }));
        }
        true
    }

    /// The memory image of an agent that may sleep or move. If it stays awake after all, it
    /// comes back by that after a trap, for taking it has zeroed its dead stack.
    pub(super) fn image(awake: &mut Awake) -> Result<Bytes, Arc<str>> {
        match &mut awake.seating {
            Seating::Live(instance) => {
                let mut image = Vec::new();
                instance
                    .snapshot(&mut image)
                    .map_err(|refused| Arc::from(refused.to_string()))?;
                let image = Bytes::from(image);
                awake.rollback = Rollback::from(Some(image.clone()));
                awake.agent.note_checkpoint();
                Ok(image)
            }
            Seating::Rebuild(past) => {
                if !past.frames.is_empty() {
                    let instance = rebuild(&awake.kind, past)
                        .map_err(|_| Arc::from("its memory cannot be made again just now"))?;
                    awake.seating = Seating::Live(instance);
                    return Self::image(awake);
                }
                Ok(past.image.clone().unwrap_or_default())
            }
            Seating::Away => Err("its memory is not at hand".into()),
        }
    }

    fn refuse_sleep(&mut self, slot: u32, why: &Arc<str>) {
        let now = self.now.millis();
        let Some(awake) = self.awake_mut(slot) else {
            return;
        };
        awake.unmovable = Some(why.clone());
        awake.last_active = now;
        let id = awake.agent.id().clone();
        for done in std::mem::take(&mut awake.sleepers) {
            let text = format!("{id} cannot sleep: {why}");
            done(Err(control::ControlError::Conflict(text)));
        }
    }

    /// Wakes a sleeping agent: its core state at once, its memory with its next turn. One
    /// that is on disk is read here and now; if the disk fails it sleeps on.
    pub(super) fn wake(&mut self, slot: u32) {
        let Some(Slot::Asleep(asleep)) = self.slots.get(slot as usize) else {
            return;
        };
        match self.snapshot_of(asleep.tier) {
            Err(Unread::NotNow(why)) => self.shared.log(None, Level::Error, &why),
            Err(Unread::Lost(why)) => self.wake_from(slot, Err(why)),
            Ok(snapshot) => self.wake_from(slot, Ok(snapshot)),
        }
    }

    /// Wakes a sleeping agent from its snapshot; one that cannot be read any more is
    /// quarantined.
    pub(super) fn wake_from(&mut self, slot: u32, snapshot: Result<Bytes, String>) {
        let Some(Slot::Asleep(asleep)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let log = asleep.log.take();
        self.was_costly = true;
        let (tier, kind, generation) = (asleep.tier, asleep.kind.clone(), asleep.generation);
        self.let_go_of(tier);
        let decoded =
            snapshot.and_then(|bytes| snapshot::decode(&bytes).map_err(|error| error.to_string()));
        let awake = match decoded {
            Ok(snapshot) => {
                let image = (!snapshot.image.is_empty()).then_some(snapshot.image);
                let rollback = Rollback::from(image);
                let mut awake = self.new_awake(snapshot.agent, kind, generation, rollback);
                if let Some(log) = log {
                    awake.agent.keep_log(&awake.kind.terms);
                    awake.agent.note_checkpoint();
                    awake.durable = Some(Durable::new(*log));
                }
                awake
            }
            Err(error) => {
                // Only damage does this: nothing of the agent can be trusted.
                let Some(id) = self.id_of(slot) else {
                    return;
                };
                let incarnation = self.shared.incarnation(phoenix_core::Epoch {
                    generation,
                    term: self.shared.boot,
                });
                let agent = Agent::new(id, incarnation, Payload::default());
                let mut awake = self.new_awake(agent, kind, generation, Rollback::none());
                awake.quarantined = Some(error.into());
                awake
            }
        };
        count(&self.shared.counters.wakes);
        // Whoever woke it wants it awake: it rests when its time comes again.
        self.now_awake(slot, awake);
    }

    /// A sleeping agent is awake now.
    pub(super) fn now_awake(&mut self, slot: u32, awake: Box<Awake>) {
        self.wake_queue.woke(slot, awake.tenant);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Slot::Awake(awake);
        }
        self.count_asleep(-1);
        self.count_resident(1);
        self.pass_time(slot);
    }

    /// Whose slot it is, where that is not at hand: looks through all agents.
    fn id_of(&self, slot: u32) -> Option<AgentId> {
        let mut all = self.table.iter();
        let (id, _) = all.find(|(_, it)| **it == slot)?;
        Some(id.clone())
    }

    /// Puts some of the idlest agents to sleep.
    pub(super) fn shrink(&mut self) {
        for _ in 0..SHRINK_BY {
            if !self.evict_one(u32::MAX, false) {
                break;
            }
        }
    }

    /// Puts one of the idlest agents to sleep that can, other than `but`. Says
    /// whether one could.
    ///
    /// The list is a clock (Corbató, 1968): who was active since it was looked at
    /// last gets another round, unless all were.
    pub(super) fn evict(&mut self, but: u32) -> bool {
        self.evict_one(but, false) || self.evict_one(but, true)
    }

    fn evict_one(&mut self, but: u32, active_too: bool) -> bool {
        for _ in 0..EVICTION_TRIES.min(self.residents.len()) {
            let Some(resident) = self.residents.pop_front() else {
                return false;
            };
            let holds = |awake: &&Awake| {
                awake.tenant == resident.tenant
                    && matches!(awake.seating, Seating::Live(_) | Seating::Away)
            };
            let Some(awake) = self.awake(resident.slot).filter(holds) else {
                continue;
            };
            let last_active = awake.last_active;
            let idle = active_too || last_active <= resident.seen;
            if idle && resident.slot != but && self.hibernate(resident.slot) {
                return true;
            }
            self.residents.push_back(Resident {
                seen: last_active,
                ..resident
            });
        }
        false
    }

    /// There is no room and nobody here to make some: lets the other workers try.
    pub(super) fn ask_for_room(&mut self) {
        let now = self.now.millis();
        if now == self.asked_for_room {
            return;
        }
        self.asked_for_room = now;
        for (index, seat) in self.shared.seats.iter().enumerate() {
            if index != self.index {
                seat.post(Event::MakeRoom);
            }
        }
    }

    /// Notes that an agent's memory is live now.
    pub(super) fn list_resident(&mut self, slot: u32) {
        let Some(awake) = self.awake_mut(slot) else {
            return;
        };
        if awake.listed || !matches!(awake.seating, Seating::Live(_)) {
            return;
        }
        awake.listed = true;
        let resident = Resident {
            slot,
            tenant: awake.tenant,
            seen: awake.last_active,
        };
        if self.residents.len() > 2 * self.residents_kept + SLACK {
            let slots = &self.slots;
            self.residents.retain(|resident| {
                matches!(
                    slots.get(resident.slot as usize),
                    Some(Slot::Awake(awake)) if awake.tenant == resident.tenant
                )
            });
            self.residents_kept = self.residents.len();
        }
        self.residents.push_back(resident);
    }

    /// Frees an agent's slot.
    pub(super) fn remove(&mut self, slot: u32, id: &AgentId) {
        if self.wake_queue.is_wanted(slot) {
            self.give_up_wake(slot, "it left before it was awake");
        }
        self.recent.forget(id);
        self.table.remove(id);
        self.alarms.remove(slot);
        if let Some(gone) = self.slots.try_remove(slot as usize) {
            match gone {
                Slot::Awake(awake) => {
                    self.schedule.end(&awake.share);
                    self.count_resident(-1);
                    for done in awake.sleepers {
                        let text = format!("{id} left before it could sleep");
                        done(Err(control::ControlError::Conflict(text)));
                    }
                    if let Some(reset) = awake.reset {
                        let text = format!("{id} ended before it could begin anew");
                        (reset.done)(Err(control::ControlError::Conflict(text)));
                    }
                }
                Slot::Asleep(asleep) => {
                    self.let_go_of(asleep.tier);
                    self.count_asleep(-1);
                }
                Slot::Stored(_) => self.count_asleep(-1),
            }
        }
    }
}
