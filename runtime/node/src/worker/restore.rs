//! Agents that are had again: from the journal, from disk, or from memory.
//!
//! ```text
//!   start, page_out ──▶ Slot::Stored ─┐
//!   page_out ─────────▶ Tier::Disk ───┼▶ want ──▶ wake_some ──▶ was_read ──▶ Slot::Awake
//!   hibernate ────────▶ Tier::Memory ─┘  (wake_queue.rs)   │            ▲
//!                                                     └▶ reader ───┘
//! ```
//!
//! A reader's thread reads an agent's history and replays it; its worker is told, and has
//! the memory made with the agent's next turn.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_cluster::migration::Recalled;
use phoenix_core::agent::{Again, Agent, Recovery};
use phoenix_core::control::ControlError;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::journal::record;
use phoenix_core::journal::streams::{Streams, Unreadable};
use phoenix_core::journal::{AgentLog, History, Journal, ReadError, Standing};
use phoenix_core::{AgentId, Digest, Envelope, Epoch, Level, Millis, Payload, snapshot};
use phoenix_store::disk_arena::{Reading, ReadingError};

use crate::counters::count;
use crate::kinds::{Kind, Known};
use crate::worker::durable::Durable;
use crate::worker::job::{Proof, Seating};
use crate::worker::slot::{Asleep, Awake, Owned, Past, Rollback, Slot, Stored, Tier};
use crate::worker::wake_queue::{Stage, Waiting};
use crate::worker::{Event, Worker};

/// How long one that could not be restored just now waits before that is tried again.
const RESTORE_RETRY: Millis = Millis(1_000);

/// What a reader has read.
pub(crate) enum Read {
    /// A durable agent.
    Stored(Result<Box<ReadBack>, Unrestored>),
    /// A snapshot that is on disk; with what was to be read.
    Asleep(Result<Vec<u8>, ReadingError>, Reading),
}

/// An agent as its journal has it.
pub(crate) struct ReadBack {
    pub(super) recovery: Recovery,
    /// What its memory is made from.
    past: Past,
    /// The component it runs; of a life that began with no terms, whichever its kind has.
    pub(super) component: Option<Digest>,
    log: AgentLog,
}

/// Why an agent is not restored.
pub(crate) enum Unrestored {
    /// It may be later.
    Later(String),
    /// What the journal has of it cannot be made an agent.
    Never(String),
}

/// Agents that are wanted.
impl Worker {
    /// Whether the slot's agent is awake, or is now: one that sleeps in memory wakes at
    /// once if nobody waits for that.
    pub(super) fn is_up(&mut self, slot: u32) -> bool {
        if self.wake_queue.is_wanted(slot) {
            return false;
        }
        match self.slots.get(slot as usize) {
            Some(Slot::Asleep(asleep)) => {
                let is_near = matches!(asleep.tier, Tier::Memory(_));
                if is_near && self.wake_queue.is_idle() && self.has_room_to_wake() {
                    self.wake(slot);
                    return true;
                }
                self.wake_queue.want(slot);
                false
            }
            Some(Slot::Stored(_)) => {
                self.wake_queue.want(slot);
                false
            }
            Some(Slot::Awake(_)) | None => true,
        }
    }

    /// The slot's agent is wanted awake.
    pub(super) fn want(&mut self, slot: u32) {
        // One that is not up now is in the queue.
        let _ = self.is_up(slot);
    }

    /// Holds messages for an agent that is wanted.
    pub(super) fn hold_for(&mut self, slot: u32, run: impl Iterator<Item = Arc<Envelope>>) {
        for envelope in run {
            if let Some(too_many) = self.wake_queue.hold(slot, envelope) {
                self.turn_all_away(std::iter::once(too_many));
            }
        }
    }

    /// Holds a request for an agent that is not awake, until it is.
    pub(super) fn hold_request(&mut self, slot: u32, waiting: Waiting) {
        self.wake_queue.want(slot);
        if let Some((_, _, done)) = self.wake_queue.hold_request(slot, waiting) {
            let text = "too many requests wait for the agent to wake: try again".to_owned();
            done(Err(ControlError::Unavailable(text)));
        }
    }

    /// Wakes those that are wanted, as many as may be on their way at once.
    pub(super) fn wake_some(&mut self) {
        while let Some(slot) = self.wake_queue.first() {
            if !self.has_room_to_wake() || !self.begin_wake(slot) {
                return;
            }
        }
    }

    fn has_room_to_wake(&mut self) -> bool {
        let (slots, now) = (&self.slots, self.now.millis());
        self.wake_queue.has_room(|slot, tenant| {
            let Some(Slot::Awake(awake)) = slots.get(slot as usize) else {
                return false;
            };
            let waits = awake.backoff_until > now && awake.agent.waiting() > 0;
            awake.tenant == tenant
                && !awake.seating.is_live()
                && (awake.queued || awake.running || waits)
        })
    }

    /// Begins to wake the slot's agent. Says whether others may begin after it.
    fn begin_wake(&mut self, slot: u32) -> bool {
        match self.slots.get(slot as usize) {
            Some(Slot::Asleep(asleep)) => match asleep.tier {
                Tier::Memory(_) => {
                    self.wake(slot);
                    self.give_held(slot);
                    true
                }
                Tier::Disk(handle) => match self.reading_of(handle) {
                    Some(reading) => self.begin_reading(slot, reading.length().into(), move || {
                        Read::Asleep(reading.run(), reading)
                    }),
                    None => {
                        self.give_up_wake(slot, "its snapshot is gone");
                        true
                    }
                },
            },
            Some(Slot::Stored(stored)) if stored.owned.is_none() => {
                let agent = stored.agent.clone();
                self.wake_queue.begins(slot, Stage::Asking, 0);
                self.ask_directory(DirectoryCommand::Place {
                    agent,
                    prefer: None,
                });
                true
            }
            Some(Slot::Stored(_)) => self.begin_restore(slot),
            // It was woken for another reason.
            Some(Slot::Awake(_)) => {
                self.give_held(slot);
                true
            }
            None => {
                self.give_up_wake(slot, "it is gone");
                true
            }
        }
    }

    /// Has a stored agent read, which is this node's.
    fn begin_restore(&mut self, slot: u32) -> bool {
        let Some(Slot::Stored(stored)) = self.slots.get(slot as usize) else {
            return true;
        };
        let agent = stored.agent.clone();
        if self.shared.is_draining() && !self.shared.config.drain_durable {
            self.wake_later(slot, "its node is about to stop");
            return true;
        }
        if !matches!(self.shared.kinds.get(agent.kind()), Known::Ready(_)) {
            let why = format!("the kind {} is not here yet", agent.kind());
            self.wake_later(slot, &why);
            return true;
        }
        let Some(journal) = self.durables.journal.clone() else {
            self.wake_later(slot, "no journal is open");
            return true;
        };
        let bytes = journal.standing(&agent).map_or(0, |it| it.bytes);
        self.begin_reading(slot, bytes, move || {
            Read::Stored(read_back(&*journal, &agent).map(Box::new))
        })
    }

    fn begin_reading(
        &mut self,
        slot: u32,
        bytes: u64,
        read: impl FnOnce() -> Read + Send + 'static,
    ) -> bool {
        if !self.wake_queue.may_read(bytes) {
            self.wake_queue.again(slot);
            return false;
        }
        let ticket = self.wake_queue.begins(slot, Stage::Reading, bytes);
        let (Some(ticket), Some(seat)) = (ticket, self.shared.seats.get(self.index)) else {
            return true;
        };
        let seat = seat.clone();
        self.shared.readers.submit(Box::new(move || {
            let read = read();
            seat.post(Event::Read { slot, ticket, read });
        }));
        true
    }

    /// The directory says where an agent is that is wanted.
    pub(super) fn wake_placed(
        &mut self,
        slot: u32,
        agent: &AgentId,
        command: &DirectoryCommand,
        answer: DirectoryAnswer,
    ) {
        match self.whose(agent, command, &answer) {
            Recalled::Restore(ownership) => {
                if let Some(Slot::Stored(stored)) = self.slots.get_mut(slot as usize) {
                    stored.owned = Some(Owned::by(&ownership));
                }
                // One that finds no room begins when there is some.
                let _ = self.begin_restore(slot);
            }
            Recalled::Ask(command) => self.ask_directory(command),
            Recalled::Later => {
                let why = match answer {
                    DirectoryAnswer::InDoubt(why) => why,
                    _ => "nobody can say just now whose its copy is".to_owned(),
                };
                self.wake_later(slot, &why);
            }
            Recalled::End(ownership) => {
                let wanted = self.wake_queue.take(slot);
                self.remove(slot, agent);
                self.end_stored(agent, ownership);
                let epoch = ownership.epoch;
                if !self.shared.deaths.is_over(ownership.owner, epoch.term) {
                    self.shared.hears_of_life(ownership.owner, epoch.term);
                    self.went_to(agent.clone(), ownership.owner, epoch.generation);
                }
                let (held, requests) =
                    wanted.map_or_else(Default::default, |it| (it.held, it.requests));
                for envelope in held {
                    self.deliver_late(envelope);
                }
                for (request, from, done) in requests {
                    self.request(request, from, done);
                }
            }
        }
    }

    /// A reader has read what a sleeping agent is made of.
    pub(super) fn was_read(&mut self, slot: u32, ticket: u64, read: Read) {
        if !self.wake_queue.has_come(slot, ticket) {
            return;
        }
        self.was_costly = true;
        match (read, self.slots.get(slot as usize)) {
            (Read::Stored(read), Some(Slot::Stored(_))) => self.restore(slot, read),
            (
                Read::Asleep(read, reading),
                Some(Slot::Asleep(Asleep {
                    tier: Tier::Disk(handle),
                    ..
                })),
            ) => {
                let present = self.reading_of(*handle);
                if read.is_err() && present.is_some_and(|it| !it.is_same(&reading)) {
                    // It was moved while it was read.
                    self.wake_queue.again(slot);
                    return;
                }
                match read {
                    Err(error @ ReadingError::Disk { .. }) => {
                        self.wake_later(slot, &error.to_string());
                    }
                    read => {
                        let snapshot = read.map(Bytes::from).map_err(|error| error.to_string());
                        self.wake_from(slot, snapshot);
                        self.give_held(slot);
                    }
                }
            }
            // It was woken for another reason meanwhile.
            _ => self.give_held(slot),
        }
    }

    /// Gives an agent that is awake what was held for it.
    fn give_held(&mut self, slot: u32) {
        let Some(wanted) = self.wake_queue.take(slot) else {
            return;
        };
        // One that had stopped may have ended, and what is for its next life begins that.
        self.end_if_stopped(slot);
        if self.awake(slot).is_some() {
            self.offer(slot, wanted.held.into_iter());
        } else {
            for envelope in wanted.held {
                self.deliver_late(envelope);
            }
        }
        for (request, from, done) in wanted.requests {
            self.request(request, from, done);
        }
    }

    /// The slot's agent cannot wake just now: whoever waits is told, and it is tried again.
    fn wake_later(&mut self, slot: u32, why: &str) {
        self.give_up_wake(slot, why);
        self.look_at(slot, self.now.millis() + RESTORE_RETRY);
        self.told_of(slot);
    }

    /// Whoever waited to hear of the slot's agent goes on.
    fn told_of(&mut self, slot: u32) {
        if self.durables.asked.is_empty() && self.movement.verifying.is_empty() {
            return;
        }
        let agent = match self.slots.get(slot as usize) {
            Some(Slot::Stored(stored)) => stored.agent.clone(),
            Some(Slot::Awake(awake)) => awake.agent.id().clone(),
            Some(Slot::Asleep(_)) | None => return,
        };
        self.placed(&agent);
    }

    /// Tells those who wait for the slot's agent that it does not wake now.
    pub(super) fn give_up_wake(&mut self, slot: u32, why: &str) {
        let Some(wanted) = self.wake_queue.take(slot) else {
            return;
        };
        self.turn_all_away(wanted.held.into_iter());
        for (_, _, done) in wanted.requests {
            let text = format!("the agent is not awake yet, because {why}: try again");
            done(Err(ControlError::Unavailable(text)));
        }
    }
}

/// Durable agents of which only the journal knows more.
impl Worker {
    /// Knows of the agents of an earlier run, each with when it has to be woken.
    pub(crate) fn know_all(&mut self, agents: Vec<(AgentId, Millis)>) {
        self.durables.journal = self.shared.journals.get();
        self.table.reserve(agents.len());
        self.slots.reserve(agents.len());
        for (agent, wake_at) in agents {
            self.know(agent, wake_at, None);
        }
        if self.shared.config.restore_eagerly && self.shared.directory.node() == self.shared.node {
            self.look_up_stored();
        }
    }

    /// Knows of a stored agent, without loading it; `owned` is under what it is this
    /// node's, where that is known.
    pub(super) fn know(&mut self, agent: AgentId, wake_at: Millis, owned: Option<Owned>) {
        if self.table.contains_key(&agent) {
            return;
        }
        let stored = Stored {
            agent: agent.clone(),
            owned,
        };
        let slot = u32::try_from(self.slots.insert(Slot::Stored(stored))).unwrap_or(u32::MAX);
        self.recent.forget(&agent);
        self.table.insert(agent, slot);
        self.count_asleep(1);
        self.look_at(slot, wake_at);
    }

    /// Whether the journal has an agent that is to be restored before it is given anything.
    pub(super) fn is_stored(&self, agent: &AgentId) -> bool {
        let Some(journal) = &self.durables.journal else {
            return false;
        };
        let is_here = self.table.contains_key(agent) || self.is_staged(agent);
        let is_over = self.durables.ended.contains_key(agent) || self.legacies.has(agent);
        if is_here || is_over {
            return false;
        }
        journal.standing(agent).is_some_and(|it| !it.has_ended())
    }

    /// Nobody can say just now whether an agent that the journal has may be restored: it is
    /// looked for again.
    pub(super) fn store_again(&mut self, agent: &AgentId) {
        if self.is_stored(agent) {
            let retry = self.now.millis() + RESTORE_RETRY;
            self.know(agent.clone(), retry, None);
        }
    }

    /// An agent that was restored and has had no turn since is what the journal says, so
    /// nothing of it need be kept. Says whether it is stored again.
    pub(super) fn unload(&mut self, slot: u32) -> bool {
        let unturned = |awake: &&Awake| {
            let past = match &awake.seating {
                Seating::Rebuild(past) => past,
                Seating::Live(_) | Seating::Away => return false,
            };
            awake.durable.is_some() && !past.frames.is_empty() && Self::may_rest(awake)
        };
        if self.awake(slot).filter(unturned).is_none() || self.append(slot, true).is_none() {
            return false;
        }
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        let agent = awake.agent.id().clone();
        let (Some(journal), Some(durable)) = (&self.durables.journal, &awake.durable) else {
            return false;
        };
        let standing = journal.standing(&agent);
        let Some(standing) = standing.filter(|it| it.last == durable.log.last()) else {
            // What was appended is not durable yet: it is looked at again soon.
            return false;
        };
        let wake_at = awake.agent.next_wake_exact();
        let owned = Some(Owned::alive(awake.generation));
        self.schedule.end(&awake.share);
        let sleepers = std::mem::take(&mut awake.sleepers);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Slot::Stored(Stored { agent, owned });
        }
        self.count_resident(-1);
        self.count_asleep(1);
        count(&self.shared.counters.hibernations);
        self.look_at(slot, wake_at);
        for done in sleepers {
            let bytes = standing.bytes;
            done(Ok(phoenix_core::control::Response::Hibernated { bytes }));
        }
        true
    }

    /// A stored agent was read: has it again, awake, its memory to be made with its next
    /// turn.
    fn restore(&mut self, slot: u32, read: Result<Box<ReadBack>, Unrestored>) {
        let Some(Slot::Stored(Stored {
            agent,
            owned: Some(Owned { generation, life }),
            ..
        })) = self.slots.get(slot as usize)
        else {
            return self.give_up_wake(slot, "it is not this node's");
        };
        let (agent, generation, life) = (agent.clone(), *generation, *life);
        let restored = read.and_then(|back| {
            let kind = self.kind_running(&agent, back.component);
            Ok((kind.map_err(Unrestored::Later)?, back))
        });
        let mut awake = match restored {
            Ok((_, back)) if !back.recovery.agent().incarnation().counts_since(life) => {
                return self.end_old_life(slot, &agent, generation, back.log);
            }
            Ok((kind, back)) => {
                let ReadBack {
                    recovery,
                    past,
                    log,
                    ..
                } = *back;
                let agent = recovery.resume(self.now.millis());
                let mut rollback = Rollback::default();
                rollback.past = past;
                let mut awake = self.new_awake(agent, kind, generation, rollback);
                awake.agent.keep_log(&awake.kind.terms);
                awake.durable = Some(Durable::new(log));
                count(&self.shared.counters.restored);
                awake
            }
            Err(Unrestored::Later(why)) => {
                let text = format!("it cannot be restored just now: {why}");
                self.shared.log(Some(&agent), Level::Warn, &text);
                return self.wake_later(slot, &why);
            }
            Err(Unrestored::Never(why)) => {
                let Known::Ready(kind) = self.shared.kinds.get(agent.kind()) else {
                    return self.wake_later(slot, "its kind is not here yet");
                };
                self.unrestorable(&agent, kind, generation, why)
            }
        };
        self.inherit(&mut awake);
        self.now_awake(slot, awake);
        self.give_held(slot);
        self.end_if_stopped(slot);
        self.placed(&agent);
    }

    /// What the journal has is of a life that is over: the agent was stopped elsewhere, or
    /// lost with a dead node. Whoever wants it begins it anew.
    fn end_old_life(&mut self, slot: u32, agent: &AgentId, generation: u64, log: AgentLog) {
        let wanted = self.wake_queue.take(slot);
        self.remove(slot, agent);
        self.end_log_of_copy(agent, log);
        let text = "the copy in the journal is dropped: it is of a life that is over";
        self.shared.log(Some(agent), Level::Info, text);
        let (held, requests) = wanted.map_or_else(Default::default, |it| (it.held, it.requests));
        if held.is_empty() {
            self.forget(agent.clone(), generation);
        }
        for envelope in held {
            self.deliver_late(envelope);
        }
        for (request, from, done) in requests {
            self.request(request, from, done);
        }
        self.placed(agent);
    }

    /// In the place of an agent that cannot be restored. It notes nothing: what the
    /// journal has stays as it is, to be looked at, until the agent is stopped or begins
    /// anew.
    fn unrestorable(
        &mut self,
        agent: &AgentId,
        kind: Arc<Kind>,
        generation: u64,
        why: String,
    ) -> Box<Awake> {
        let text = format!("quarantined: {why}");
        self.shared.log(Some(agent), Level::Error, &text);
        let incarnation = self.shared.incarnation(Epoch {
            generation,
            term: self.shared.boot,
        });
        let placeholder = Agent::new(agent.clone(), incarnation, Payload::default());
        let mut awake = self.new_awake(placeholder, kind, generation, Rollback::none());
        awake.quarantined = Some(why.into());
        let journal = self.durables.journal.as_ref();
        let standing = journal.and_then(|it| it.standing(agent));
        awake.durable =
            standing.map(|standing| Durable::new(AgentLog::resume(agent.clone(), &standing, 0)));
        awake
    }

    /// The agent's kind with the component that the agent runs.
    fn kind_running(
        &self,
        agent: &AgentId,
        component: Option<Digest>,
    ) -> Result<Arc<Kind>, String> {
        let name = agent.kind();
        let Some(component) = component else {
            return match self.shared.kinds.get(name) {
                Known::Ready(kind) => Ok(kind),
                Known::Coming | Known::Unknown => Err(format!("the kind {name} is not here yet")),
            };
        };
        if let Some(kind) = self.shared.kinds.with_component(name, &component) {
            return Ok(kind);
        }
        let keeper = self.shared.directory.node();
        let fetched = Box::new(|_: Result<(), String>| ());
        self.shared
            .fetch_component(component, name, keeper, fetched);
        Err(format!("its component {component} is not here yet"))
    }
}

/// Makes an agent of what the journal has of it.
pub(super) fn read_back(journal: &dyn Journal, id: &AgentId) -> Result<ReadBack, Unrestored> {
    let history = journal.read(id).map_err(|error| match error {
        ReadError::Damaged(_) => Unrestored::Never(error.to_string()),
        ReadError::Disk { .. } => Unrestored::Later(error.to_string()),
    })?;
    let never = |why: String| Unrestored::Never(why);
    let Some(History {
        standing,
        snapshot,
        records,
    }) = history
    else {
        return Err(never("the journal has nothing of it any more".to_owned()));
    };
    let unread = |index: usize, error: record::RecordError| {
        let entry = standing.base + 1 + index as u64;
        never(format!("entry {entry} of its log cannot be read: {error}"))
    };
    let mut decoded = Vec::with_capacity(records.len());
    for (index, body) in records.iter().enumerate() {
        let record = record::decode(body).map_err(|error| unread(index, error))?;
        decoded.push(record);
    }
    let mut streams = Streams::default();
    let (mut recovery, image, mut component) = match snapshot {
        Some(bytes) => {
            streams = Streams::read(journal, id, &bytes).map_err(|error| match error {
                Unreadable::Log(ReadError::Disk { .. }) => Unrestored::Later(error.to_string()),
                _ => never(error.to_string()),
            })?;
            let snapshot = snapshot::decode_beside(&bytes, &streams.table)
                .map_err(|error| never(error.to_string()))?;
            let image = (!snapshot.image.is_empty()).then_some(snapshot.image);
            let recovery = Recovery::from_snapshot(snapshot.agent);
            (recovery, image, Some(snapshot.component))
        }
        None => {
            let first = decoded.first();
            let recovery = first.and_then(|first| Recovery::from_first(id, first));
            let why = "no life begins with the first entry of its log";
            let recovery = recovery.ok_or_else(|| never(why.to_owned()))?;
            (recovery, None, None)
        }
    };
    let mut past = Past {
        image,
        ..Past::default()
    };
    let mut proofs = Vec::new();
    let mut turns = 0;
    for record in &decoded {
        let again = recovery
            .replay(record)
            .map_err(|error| never(error.to_string()))?;
        let rerun = match again {
            Again::Nothing => continue,
            Again::Anew => {
                (past, component) = (Past::default(), None);
                proofs.clear();
                continue;
            }
            Again::Turns(rerun) => rerun,
        };
        let Some(terms) = recovery.terms().cloned() else {
            let why = "its log does not say what its turns ran under";
            return Err(never(why.to_owned()));
        };
        if let Some(Proof { terms: before, .. }) = proofs.last()
            && before.component != terms.component
        {
            let (before, after) = (before.component, terms.component);
            let why = format!(
                "its turns from {} on ran in the component {after}, and those before in {before}: one life has one component",
                rerun.first
            );
            return Err(never(why));
        }
        turns += u64::from(rerun.turns);
        past.frames.push(rerun.frame.to_vec());
        proofs.push(Proof {
            first: rerun.first,
            after_checkpoint: rerun.after_checkpoint,
            answer: rerun.answer,
            memory: rerun.memory,
            terms,
        });
    }
    past.proofs = proofs.into();
    let component = recovery.terms().map(|terms| terms.component).or(component);
    Ok(ReadBack {
        recovery,
        past,
        component,
        log: AgentLog::resume(id.clone(), &standing, turns).with_streams(streams),
    })
}

/// Agents that the journal has, by worker, each with when it has to be woken.
pub(crate) fn known(
    journal: &dyn Journal,
    workers: usize,
    worker_of: impl Fn(&AgentId) -> usize,
) -> Vec<Vec<(AgentId, Millis)>> {
    let mut known: Vec<Vec<(AgentId, Millis)>> = Vec::new();
    known.resize_with(workers, Vec::new);
    journal.each(&mut |agent: &AgentId, standing: &Standing| {
        if let Some(of_worker) = known.get_mut(worker_of(agent)) {
            of_worker.push((agent.clone(), standing.wake));
        }
    });
    known
}
