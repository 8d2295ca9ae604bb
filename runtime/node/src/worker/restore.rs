//! Durable agents of which only the journal knows more: how they are known, and had again.
//!
//! ```text
//!   start ──▶ Slot::Stored ──▶ recall ──▶ directory ──▶ restore ──▶ Recovery ──▶ Slot::Awake
//! ```

use std::sync::Arc;

use phoenix_core::agent::{Again, Agent, Recovery};
use phoenix_core::directory::Ownership;
use phoenix_core::journal::record;
use phoenix_core::journal::{AgentLog, History, Journal, ReadError, Standing};
use phoenix_core::{AgentId, Digest, Envelope, Level, Millis, Payload, snapshot};

use crate::counters::count;
use crate::kinds::{Kind, Known};
use crate::worker::Worker;
use crate::worker::durable::Durable;
use crate::worker::job::Proof;
use crate::worker::slot::{Rollback, Slot, Stored};

/// How long one that could not be restored just now waits before that is tried again.
const RESTORE_RETRY: Millis = Millis(1_000);

/// An agent as its journal has it.
struct Restored {
    agent: Agent,
    kind: Arc<Kind>,
    rollback: Rollback,
    log: AgentLog,
}

/// Why an agent is not restored.
enum Unrestored {
    /// It may be later.
    Later(String),
    /// What the journal has of it cannot be made an agent.
    Never(String),
}

impl Worker {
    /// Knows of the agents of an earlier run, each with when it has to be woken.
    pub(crate) fn know_all(&mut self, agents: Vec<(AgentId, Millis)>) {
        self.durables.journal = self.shared.journals.get();
        for (agent, wake_at) in agents {
            self.know(agent, wake_at);
        }
        if self.shared.config.restore_eagerly && self.shared.directory.node() == self.shared.node {
            self.look_up_stored();
        }
    }

    /// Knows of an agent of an earlier run, without loading it.
    pub(crate) fn know(&mut self, agent: AgentId, wake_at: Millis) {
        if self.table.contains_key(&agent) {
            return;
        }
        let stored = Stored {
            agent: agent.clone(),
        };
        let slot = u32::try_from(self.slots.insert(Slot::Stored(stored))).unwrap_or(u32::MAX);
        self.recent.forget(&agent);
        self.table.insert(agent, slot);
        self.count_asleep(1);
        self.look_at(slot, wake_at);
    }

    /// A stored agent is wanted: asks the directory whether it is still this node's.
    /// What comes meanwhile waits for the answer.
    pub(super) fn recall(&mut self, slot: u32, run: impl Iterator<Item = Arc<Envelope>>) {
        let Some(Slot::Stored(stored)) = self.slots.get(slot as usize) else {
            return;
        };
        let agent = stored.agent.clone();
        self.remove(slot, &agent);
        self.ask_place(agent);
        for envelope in run {
            self.route(envelope, None);
        }
    }

    /// Whether the journal has an agent that is to be restored before it is given anything.
    pub(super) fn is_stored(&self, agent: &AgentId) -> bool {
        let Some(journal) = &self.durables.journal else {
            return false;
        };
        let is_here = self.table.contains_key(agent) || self.is_staged(agent);
        if is_here || self.durables.ended.contains_key(agent) {
            return false;
        }
        journal.standing(agent).is_some_and(|it| !it.has_ended())
    }

    /// Whether the agent is in the journal alone, or nowhere.
    pub(super) fn is_away(&self, agent: &AgentId) -> bool {
        let slot = self
            .table
            .get(agent)
            .and_then(|slot| self.slots.get(*slot as usize));
        matches!(slot, None | Some(Slot::Stored(_)))
    }

    /// Nobody can say just now whether a stored agent may be restored: it is looked
    /// for again.
    pub(super) fn store_again(&mut self, agent: &AgentId) {
        if self.is_stored(agent) {
            let retry = self.now.millis() + RESTORE_RETRY;
            self.know(agent.clone(), retry);
        }
    }

    /// A stored agent is this node's: has it again, awake, its memory to be made with its
    /// next turn.
    pub(super) fn restore(&mut self, agent: &AgentId, ownership: Ownership) {
        self.was_costly = true;
        let generation = ownership.epoch.generation;
        match self.read_back(agent) {
            Ok(Restored {
                agent,
                kind,
                rollback,
                log,
            }) => {
                let mut awake = self.new_awake(agent, kind, generation, rollback);
                awake.agent.keep_log(&awake.kind.terms);
                awake.durable = Some(Durable::new(log));
                let slot = self.insert_awake(awake);
                count(&self.shared.counters.restored);
                self.pass_time(slot);
                self.end_if_stopped(slot);
            }
            Err(Unrestored::Later(why)) => {
                let text = format!("it cannot be restored just now: {why}");
                self.shared.log(Some(agent), Level::Warn, &text);
                self.store_again(agent);
            }
            Err(Unrestored::Never(why)) => {
                let Known::Ready(kind) = self.shared.kinds.get(agent.kind()) else {
                    return self.store_again(agent);
                };
                let text = format!("quarantined: {why}");
                self.shared.log(Some(agent), Level::Error, &text);
                // It notes nothing: what the journal has stays as it is, to be looked at,
                // until the agent is stopped or begins anew.
                let incarnation = self.shared.incarnation(ownership.epoch);
                let placeholder = Agent::new(agent.clone(), incarnation, Payload::default());
                let mut awake = self.new_awake(placeholder, kind, generation, Rollback::none());
                awake.quarantined = Some(why.into());
                let journal = self.durables.journal.as_ref();
                let standing = journal.and_then(|it| it.standing(agent));
                awake.durable = standing
                    .map(|standing| Durable::new(AgentLog::resume(agent.clone(), &standing, 0)));
                self.insert_awake(awake);
            }
        }
    }

    /// Makes an agent of what the journal has of it.
    fn read_back(&mut self, id: &AgentId) -> Result<Restored, Unrestored> {
        let journal = self.durables.journal.clone();
        let journal = journal.ok_or_else(|| Unrestored::Later("no journal is open".to_owned()))?;
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
        let (mut recovery, image, mut component) = match snapshot {
            Some(bytes) => {
                let snapshot =
                    snapshot::decode(&bytes).map_err(|error| never(error.to_string()))?;
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
        let mut rollback = Rollback::from(image);
        let mut proofs = Vec::new();
        let mut turns = 0;
        for record in &decoded {
            let again = recovery
                .replay(record)
                .map_err(|error| never(error.to_string()))?;
            let rerun = match again {
                Again::Nothing => continue,
                Again::Anew => {
                    (rollback, component) = (Rollback::default(), None);
                    proofs.clear();
                    continue;
                }
                Again::Turns(rerun) => rerun,
            };
            let Some(terms) = recovery.terms().cloned() else {
                return Err(never(
                    "its log does not say what its turns ran under".to_owned(),
                ));
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
            rollback.past.frames.push(rerun.frame.to_vec());
            proofs.push(Proof {
                first: rerun.first,
                after_checkpoint: rerun.after_checkpoint,
                answer: rerun.answer,
                memory: rerun.memory,
                terms,
            });
        }
        rollback.past.proofs = proofs.into();
        let component = recovery.terms().map(|terms| terms.component).or(component);
        let kind = self
            .kind_running(id, component)
            .map_err(Unrestored::Later)?;
        let agent = recovery.resume(self.now.millis());
        let log = AgentLog::resume(id.clone(), &standing, turns);
        Ok(Restored {
            agent,
            kind,
            rollback,
            log,
        })
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
