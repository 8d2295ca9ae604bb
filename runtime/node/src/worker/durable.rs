//! Durable agents: what they commit goes to the journal before anything of it leaves.
//!
//! ```text
//!   commit, fail, offer … ──▶ keep ──▶ AgentLog::append
//!                              │
//!                              └▶ Gate::hold ──▶ (durable) ──▶ release_held ──▶ perform
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use phoenix_core::agent::{Agent, Held};
use phoenix_core::control::{ControlError, Done, Response};
use phoenix_core::journal::record::{self, Says};
use phoenix_core::journal::{AgentLog, CommitNumber, Gate, Journal, Refused};
use phoenix_core::{
    AgentId, DeadReason, Digest, Epoch, Level, Millis, Overflow, Refusal, snapshot,
};

use crate::counters::count;
use crate::kinds::Kind;
use crate::witness::Step;
use crate::worker::Worker;
use crate::worker::copies::{Asked, Settling};
use crate::worker::job::Seating;
use crate::worker::slot::{Awake, Slot};

/// Agents that wait for the journal and are let go on in one step.
const FED_AT_ONCE: usize = 64;

/// What a worker keeps of its durable agents, beside them.
#[derive(Default)]
pub(super) struct Durables {
    /// The journal, from the first durable agent on.
    pub(super) journal: Option<Arc<dyn Journal>>,
    /// What waits until the journal has what led to it.
    gate: Gate<Waiting>,
    /// Agents whose next batch waits until the journal takes more: slot and tenant.
    starved: VecDeque<(u32, u64)>,
    /// Logs of agents that have ended, as long as the journal may not know it.
    pub(super) ended: HashMap<AgentId, AgentLog>,
    /// Agents that stand still until it has all they committed.
    pub(super) settling: Settling,
    /// Requests about agents that are to be restored first.
    pub(super) asked: Asked,
}

/// What waits for the journal.
enum Waiting {
    /// What an agent wants done.
    Actions(Held),
    /// Somebody who is told that it is so for good.
    Word(Word),
}

/// Is called when what led to it is durable, or with why nobody knows whether it is.
type Word = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// What a durable agent has that others have not.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) log: AgentLog,
    /// What its memory hashes to after the batch that is to be appended next, if a
    /// checkpoint was taken then.
    pub(crate) memory: Option<Digest>,
}

impl Durable {
    pub(crate) fn new(log: AgentLog) -> Box<Self> {
        Box::new(Self { log, memory: None })
    }
}

impl Durables {
    /// Whether something waits for the journal.
    pub(super) fn is_holding(&self) -> bool {
        !self.gate.is_empty()
    }

    /// Whether the journal is known to have all up to this number, and what waited for
    /// it has left.
    pub(super) fn has_reached(&self, number: CommitNumber) -> bool {
        self.gate.has_reached(number)
    }

    /// Agents that need not wait any more for the journal to have what they committed.
    pub(super) fn take_settled(&mut self) -> Vec<AgentId> {
        let gate = &self.gate;
        let settled = self.settling.extract_if(.., |it| gate.has_reached(it.0));
        settled.map(|(_, agent)| agent).collect()
    }

    /// Nothing that waits for the journal is done any more: whoever waits for word is told
    /// why nobody knows.
    pub(super) fn condemn(&mut self, why: &str) {
        for waiting in self.gate.condemn() {
            if let Waiting::Word(word) = waiting {
                word(Err(why));
            }
        }
    }

    /// Whether there ever was a durable agent here.
    pub(super) fn is_used(&self) -> bool {
        self.journal.is_some()
    }
}

impl Worker {
    /// The journal, opened if it is not yet.
    pub(super) fn journal(&mut self) -> Result<Arc<dyn Journal>, String> {
        if let Some(journal) = &self.durables.journal {
            return Ok(journal.clone());
        }
        let journal = self.shared.open_journal()?;
        self.durables.journal = Some(journal.clone());
        Ok(journal)
    }

    /// Whether agents of the kind can begin a life here: durable ones need the journal.
    pub(super) fn has_journal_for(&mut self, kind: &Kind) -> bool {
        if !kind.policy.durable {
            return true;
        }
        match self.journal() {
            Ok(_) => true,
            Err(why) => {
                let text = format!(
                    "agents of the kind {} are durable, and cannot begin: {why}",
                    kind.info.kind
                );
                self.shared.log(None, Level::Error, &text);
                false
            }
        }
    }

    /// Whether agents of a durable kind cannot begin a life because the disk is full.
    pub(super) fn lacks_room(&mut self, kind: &Kind) -> bool {
        // One that is not open yet may have found room since it was tried last.
        if self.durables.journal.is_none() {
            self.has_journal_for(kind);
        }
        self.shared.journals.is_full()
    }

    /// Lets an agent that begins a life keep a log, if it is durable.
    pub(super) fn begin_log(&mut self, awake: &mut Awake) {
        let (journal, ended) = (&self.durables.journal, &mut self.durables.ended);
        begin_log(journal.as_deref(), ended, awake);
    }

    /// Whether a batch may begin whose record the journal has to take. One that may not
    /// goes on when it may.
    pub(super) fn may_append(&mut self, slot: u32) -> bool {
        if self.has_room() {
            return true;
        }
        if let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) {
            awake.starved = true;
            self.durables.starved.push_back((slot, awake.tenant));
        }
        false
    }

    /// Whether the journal takes what durable agents may begin with now.
    fn has_room(&self) -> bool {
        let Some(journal) = self.durables.journal.as_ref() else {
            return false;
        };
        !self.durables.gate.is_full() && journal.room().is_ok()
    }

    /// Lets agents go on that wait for the journal. Says whether any does.
    fn feed_starved(&mut self) -> bool {
        let mut fed = false;
        for _ in 0..FED_AT_ONCE {
            if self.durables.starved.is_empty() || !self.has_room() {
                break;
            }
            let Some((slot, tenant)) = self.durables.starved.pop_front() else {
                break;
            };
            if let Some(awake) = self.awake_mut(slot)
                && awake.tenant == tenant
            {
                awake.starved = false;
                self.queue(slot);
                fed = true;
            }
        }
        fed
    }

    /// Why a durable agent takes no messages now, if so: the journal has no room for what
    /// comes of them. One that would only wait in the mailbox may, while the disk is busy.
    pub(super) fn refuses(&self, awake: &Awake) -> Option<Refusal> {
        awake.durable.as_ref()?;
        if self.shared.journals.is_full() {
            return Some(Refusal::JournalFull);
        }
        // Each message that finds the mailbox full makes an entry.
        let notes_overflow = !matches!(
            awake.kind.policy.overflow,
            Overflow::Reject | Overflow::Spill
        );
        (notes_overflow && !self.has_room()).then_some(Refusal::Busy)
    }

    /// Whether the slot's agent is durable.
    #[inline]
    pub(super) fn is_durable(&self, slot: u32) -> bool {
        self.durables.is_used() && self.awake(slot).is_some_and(|it| it.durable.is_some())
    }

    /// Whether the slot's agent goes on when its node is started again.
    pub(super) fn outlives_node(&self, slot: u32) -> bool {
        match self.slots.get(slot as usize) {
            Some(Slot::Awake(awake)) => awake.durable.is_some(),
            Some(Slot::Asleep(asleep)) => asleep.log.is_some(),
            Some(Slot::Stored(_)) => true,
            None => false,
        }
    }

    /// Has the journal keep what a durable agent committed, and does what the agent
    /// wants done: what depends on that when the journal has it.
    pub(super) fn keep(&mut self, slot: u32) {
        let Some((agent, number)) = self.append(slot, false) else {
            return;
        };
        self.hold(slot, agent, number);
    }

    /// Appends what an agent noted; `all` of it, or only what cannot wait. Says what its
    /// actions have to wait for.
    pub(super) fn append(&mut self, slot: u32, all: bool) -> Option<(AgentId, CommitNumber)> {
        let journal = self.durables.journal.as_deref()?;
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return None;
        };
        let epoch = Epoch {
            generation: awake.generation,
            term: self.shared.boot,
        };
        let awake = &mut **awake;
        let durable = awake.durable.as_mut()?;
        if let Err(refused) = append(journal, &mut awake.agent, durable, epoch, all) {
            // It is committed, and cannot be undone any more: nobody may hear of it.
            let id = awake.agent.id();
            let why =
                format!("a turn of {id} is committed, and the journal cannot have it: {refused}");
            self.shared.journal_failed(&why);
        }
        let id = awake.agent.id().clone();
        Some((id, durable.log.number()))
    }

    /// Does what an agent wants done as soon as `number` is durable, and at once what
    /// need not wait for it.
    pub(super) fn hold(&mut self, slot: u32, agent: AgentId, number: CommitNumber) {
        if self.actions.is_empty() {
            return;
        }
        let mut actions = std::mem::take(&mut self.actions);
        if self.shared.journals.failure().is_some() {
            return;
        }
        self.actions = actions.take_free();
        let back = if actions.is_empty() {
            None
        } else {
            let held = Waiting::Actions(Held { agent, actions });
            self.durables.gate.hold(number, held)
        };
        self.perform_now(slot);
        if let Some(Waiting::Actions(held)) = back {
            self.shared.witness(&held.agent, Step::HandOut);
            self.actions = held.actions;
            self.perform_now(slot);
        }
    }

    /// Answers an operator when all is durable that the agent's log has by now.
    pub(super) fn answer_durably(&mut self, agent: &AgentId, done: Done) {
        let slot = self.table.get(agent).copied().unwrap_or(u32::MAX);
        let awake = self.awake(slot).and_then(|awake| awake.durable.as_ref());
        let log = awake
            .map(|durable| &durable.log)
            .or_else(|| self.durables.ended.get(agent))
            .or_else(|| Some(&self.legacies.get(agent)?.durable.as_ref()?.log));
        let Some(number) = log.map(AgentLog::number) else {
            return done(Ok(Response::Done));
        };
        let word = move |kept: Result<(), &str>| {
            done(match kept {
                Ok(()) => Ok(Response::Done),
                Err(why) => Err(ControlError::Unknown(why.to_owned())),
            });
        };
        if let Some(why) = self.shared.journals.failure() {
            return word(Err(why));
        }
        let word = Waiting::Word(Box::new(word));
        if let Some(Waiting::Word(word)) = self.durables.gate.hold(number, word) {
            word(Ok(()));
        }
    }

    /// Why an operator may not have a durable agent end or begin anew now.
    pub(super) fn may_note(&self, slot: u32) -> Result<(), ControlError> {
        match &self.durables.journal {
            Some(journal) if self.is_durable(slot) => journal
                .room()
                .map_err(|refused| ControlError::Unavailable(refused.to_string())),
            _ => Ok(()),
        }
    }

    /// Does what was held back and need not be any more. Says whether anything was.
    pub(super) fn release_held(&mut self) -> bool {
        let Durables {
            gate,
            ended,
            starved,
            settling,
            ..
        } = &self.durables;
        let is_idle = gate.is_empty() && ended.is_empty();
        if is_idle && starved.is_empty() && settling.is_empty() {
            return false;
        }
        let Some(journal) = self.durables.journal.clone() else {
            return false;
        };
        if let Some(why) = self.shared.journals.failure() {
            self.durables.condemn(why);
            return false;
        }
        let mut any = false;
        loop {
            // In this order: what becomes durable from here on is told.
            let held = self.durables.gate.len() + self.durables.ended.len();
            self.shared.journals.awaits(self.index, held);
            let through = journal.durable();
            self.durables.gate.reach(through);
            self.durables.ended.retain(|_, log| log.number() > through);
            let Some(first) = self.durables.gate.release() else {
                let is_fed = self.feed_starved();
                return self.freeze_settled() || is_fed || any;
            };
            any = true;
            let mut next = Some(first);
            while let Some(waiting) = next {
                match waiting {
                    Waiting::Actions(Held { agent, actions }) => {
                        let slot = self.table.get(&agent).copied().unwrap_or(u32::MAX);
                        self.shared.witness(&agent, Step::HandOut);
                        self.actions = actions;
                        self.perform_now(slot);
                    }
                    Waiting::Word(word) => word(Ok(())),
                }
                next = self.durables.gate.release();
            }
        }
    }

    /// Has the record of the batch that was just committed say what its memory hashes to.
    pub(super) fn note_memory(&mut self, slot: u32) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if let (Some(durable), Seating::Live(instance)) = (&mut awake.durable, &mut awake.seating) {
            durable.memory = Some(instance.memory_hash());
        }
    }

    /// Whether the durable agent's next batch is to end with a snapshot.
    pub(super) fn is_snapshot_due(awake: &Awake) -> bool {
        let every = &awake.kind.policy.snapshot_every;
        awake
            .durable
            .as_ref()
            .is_some_and(|it| it.log.is_due(every))
    }

    /// Hands the journal a snapshot of an agent whose memory was just taken.
    pub(super) fn store_checkpoint(&mut self, slot: u32) {
        let Some(awake) = self.awake(slot) else {
            return;
        };
        if !awake.rollback.past.frames.is_empty() {
            // No checkpoint could be taken: it is tried again with another batch.
            return;
        }
        let image = awake.rollback.past.image.clone().unwrap_or_default();
        self.store_snapshot(slot, &image);
    }

    /// Hands the journal a snapshot of an agent with this memory, which is left in
    /// `scratch`. If the journal has no room for it just now, its entries are enough.
    pub(super) fn store_snapshot(&mut self, slot: u32, image: &[u8]) {
        if self.append(slot, true).is_none() {
            return;
        }
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let awake = &mut **awake;
        let (Some(journal), Some(durable)) = (&self.durables.journal, &mut awake.durable) else {
            return;
        };
        let component = awake.kind.info.component;
        snapshot::encode(&awake.agent, &component, image, &mut self.scratch);
        if !durable.log.is_behind() {
            return;
        }
        self.shared.witness(awake.agent.id(), Step::Snapshot);
        let wake = awake.agent.next_wake_recovered();
        let bytes = match durable.log.save_streams(&**journal, &mut awake.agent) {
            // Where the journal takes no entry now, a snapshot of all may give it room.
            Ok(None) | Err(_) => Bytes::copy_from_slice(&self.scratch),
            Ok(beside) => {
                let mut bytes = Vec::new();
                snapshot::encode_beside(&awake.agent, &component, image, beside, &mut bytes);
                // What goes to sleep knows what of its streams is kept.
                snapshot::encode(&awake.agent, &component, image, &mut self.scratch);
                bytes.into()
            }
        };
        let stored = durable.log.store(&**journal, wake, bytes, Box::new(|_| ()));
        if stored.is_ok() {
            count(&self.shared.counters.snapshots);
            durable.log.condense_streams(&**journal, &awake.agent);
            awake.agent.keep_log(&awake.kind.terms);
        }
    }

    /// Ends the log of an agent that ends: what it still wants done waits for that.
    pub(super) fn end_log(&mut self, slot: u32, reason: &DeadReason) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(durable) = awake.durable.take() else {
            return;
        };
        let id = awake.agent.id().clone();
        let number = self.close_log(&id, durable.log, reason.code());
        self.hold(slot, id, number);
    }

    /// Has the journal know that the agent's log ends here, and why. Says when it does.
    pub(super) fn close_log(&mut self, id: &AgentId, mut log: AgentLog, why: &str) -> CommitNumber {
        if let Some(journal) = &self.durables.journal
            && let Err(refused) = log.end(&**journal, Bytes::copy_from_slice(why.as_bytes()))
        {
            let why = format!("{id} has ended, and the journal cannot have it: {refused}");
            self.shared.journal_failed(&why);
        }
        let number = log.number();
        self.durables.ended.insert(id.clone(), log);
        number
    }

    /// Lets the log of an agent that has begun anew go on, with its new life: what its
    /// streams have heard outlives the old one. A log that cannot be read has none of
    /// that; it ends, and so does that of one whose kind is durable no more.
    pub(super) fn renew_log(&mut self, slot: u32) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let kind = awake.kind.clone();
        if let Some(durable) = &mut awake.durable
            && kind.policy.durable
            && awake.agent.is_durable()
        {
            awake.agent.keep_log(&kind.terms);
            // What came before is not needed with the first snapshot.
            durable.log.make_due();
            return;
        }
        self.end_log(slot, &DeadReason::Reset);
        if !self.has_journal_for(&kind) {
            return;
        }
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let (journal, ended) = (&self.durables.journal, &mut self.durables.ended);
        begin_log(journal.as_deref(), ended, awake);
    }
}

/// Begins the log of an agent's life, if it is durable, where that of the last one ended.
fn begin_log(
    journal: Option<&dyn Journal>,
    ended: &mut HashMap<AgentId, AgentLog>,
    awake: &mut Awake,
) {
    let Some(journal) = journal.filter(|_| awake.kind.policy.durable) else {
        return;
    };
    let log = next_log(journal, ended, awake.agent.id());
    awake.agent.keep_log(&awake.kind.terms);
    awake.durable = Some(Durable::new(log));
}

/// The log of an agent that is to begin a life or to arrive: it goes on where that of
/// the last one ended.
pub(super) fn next_log(
    journal: &dyn Journal,
    ended: &mut HashMap<AgentId, AgentLog>,
    id: &AgentId,
) -> AgentLog {
    ended
        .remove(id)
        .unwrap_or_else(|| match journal.standing(id) {
            Some(standing) => AgentLog::resume(id.clone(), &standing, 0),
            None => AgentLog::new(id.clone()),
        })
}

/// Appends what `agent` noted to its log.
fn append(
    journal: &dyn Journal,
    agent: &mut Agent,
    durable: &mut Durable,
    epoch: Epoch,
    all: bool,
) -> Result<(), Refused> {
    let mut records = agent.take_records(epoch, all).into_iter().peekable();
    while let Some(mut record) = records.next() {
        let mut turns = 0;
        if let Says::Turns(batch) = &mut record.says {
            turns = batch.count();
            batch.memory = durable.memory.take();
        }
        let mut body = Vec::new();
        record::encode(&record, &mut body);
        // The agent has gone on to the last of them: whoever has only those before it
        // finds out when it is to be woken.
        let is_last = records.peek().is_none();
        let wake = if is_last {
            agent.next_wake_recovered()
        } else {
            Millis(0)
        };
        durable.log.append(journal, turns, wake, body.into())?;
    }
    Ok(())
}
