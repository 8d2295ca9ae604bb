//! Durable agents on their way: their copies in the journals of both nodes.
//!
//! ```text
//!   source                                   target
//!   stand still ──▶ has_settled              prepare_log ──▶ whose is an older copy?
//!     (the journal has all of it) ─ ship ──▶ store_copy ──▶ (the journal has the copy)
//!                                                                     │ staged, moved
//!   end_copy ◀── released ◀───────────── activated ◀──────────────────┘
//!
//!   start ──▶ Slot::Stored ──▶ want ──▶ directory ──▶ whose ──▶ restore, or end
//! ```
//!
//! What decides is in [`phoenix_cluster::migration`].

use std::sync::Arc;

use bytes::Bytes;
use phoenix_cluster::migration::{Recalled, TargetEvent, TargetPlan, recalled};
use phoenix_core::control::{ControlError, Done, Request};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::journal::{AgentLog, CommitNumber, History};
use phoenix_core::{AgentId, Level, MigrationId, Millis, NodeId, snapshot};

use crate::worker::durable::{Durable, next_log};
use crate::worker::slot::{Awake, Slot};
use crate::worker::{Event, Worker};

/// Why the log of a copy ends that is not the agent any more.
const MOVED: &str = "moved";
/// Operators' requests of one worker that wait for agents to be restored, at most.
const MAX_ASKED: usize = 1_024;

/// Agents that stand still until the journal has all they committed, each with the
/// number of that.
pub(super) type Settling = Vec<(CommitNumber, AgentId)>;
/// Requests about agents that are to be restored first, with who passed them on.
pub(super) type Asked = Vec<(AgentId, Request, Option<NodeId>, Done)>;

impl Worker {
    /// Whether the journal has all that the slot's agent committed, and what waited for
    /// that has left. If not, [`Worker::freeze_if_wanted`] is called again when it has.
    pub(super) fn has_settled(&mut self, slot: u32) -> bool {
        if !self.is_durable(slot) {
            return true;
        }
        let Some((agent, number)) = self.append(slot, true) else {
            return true;
        };
        if self.durables.has_reached(number) {
            return true;
        }
        self.durables.settling.retain(|(_, other)| *other != agent);
        self.durables.settling.push((number, agent));
        false
    }

    /// Goes on with agents that stand still and wait for the journal no more. Says
    /// whether there were any.
    pub(super) fn freeze_settled(&mut self) -> bool {
        let settled = self.durables.take_settled();
        for agent in &settled {
            if let Some(slot) = self.table.get(agent).copied() {
                self.freeze_if_wanted(slot);
            }
        }
        !settled.is_empty()
    }

    /// Sees that a durable agent's copy can go into the journal: that there is one, and no
    /// older copy in it that may yet count. Says whether that is so; otherwise the attempt
    /// has failed, or is gone on with by [`Worker::placed`].
    pub(super) fn prepare_log(&mut self, migration: MigrationId, plan: &TargetPlan) -> bool {
        let agent = &plan.agent;
        let slot = self.table.get(agent).copied();
        let is_loaded = slot.is_some_and(|slot| !self.is_stored_slot(slot));
        let failed = match self.journal() {
            Err(why) => Some(why),
            Ok(_) if is_loaded => Some(format!("{agent} lives there already")),
            Ok(journal) => journal.room().err().map(|refused| refused.to_string()),
        };
        if let Some(why) = failed {
            self.target_event(migration, TargetEvent::PrepareFailed(why));
            return false;
        }
        if slot.is_none() && !self.is_stored(agent) {
            return true;
        }
        self.movement.verifying.push((migration, plan.clone()));
        match slot {
            Some(slot) => self.want(slot),
            None if !self.routes.is_placing(agent) => self.ask_place(agent.clone()),
            None => {}
        }
        false
    }

    /// The directory has said where the agent lives: whoever waited for that goes on.
    pub(super) fn placed(&mut self, agent: &AgentId) {
        let slot = self.table.get(agent).copied();
        let is_stored = slot.is_some_and(|slot| self.is_stored_slot(slot));
        // A request waits on for one that is being read.
        let is_kept = is_stored && slot.is_some_and(|slot| !self.wake_queue.is_wanted(slot));
        if !self.durables.asked.is_empty() && !self.routes.is_placing(agent) {
            let asked = &mut self.durables.asked;
            let asked: Asked = asked.extract_if(.., |it| it.0 == *agent).collect();
            for (_, request, from, done) in asked {
                if is_kept {
                    let text = format!("{agent} cannot be restored just now: ask again");
                    done(Err(ControlError::Unavailable(text)));
                } else {
                    self.request(request, from, done);
                }
            }
        }
        // One that is stored still is asked about again in a while.
        if !self.movement.verifying.is_empty() && !is_stored && !self.routes.is_placing(agent) {
            let verifying = &mut self.movement.verifying;
            let verifying: Vec<(MigrationId, TargetPlan)> = verifying
                .extract_if(.., |(_, plan)| plan.agent == *agent)
                .collect();
            for (migration, plan) in verifying {
                self.prepare(migration, &plan);
            }
        }
    }

    /// Keeps a request about a stored agent until that is restored.
    pub(super) fn ask_when_restored(
        &mut self,
        agent: AgentId,
        request: Request,
        from: Option<NodeId>,
        done: Done,
    ) {
        if self.durables.asked.len() >= MAX_ASKED {
            let text = format!("{agent} is being restored from the journal: ask again");
            done(Err(ControlError::Unavailable(text)));
            return;
        }
        self.durables.asked.push((agent, request, from, done));
    }

    /// Has the journal keep the copy that has arrived. When it has, [`Worker::copy_stored`]
    /// is called.
    pub(super) fn store_copy(
        &mut self,
        migration: MigrationId,
        awake: &mut Awake,
        bytes: &Bytes,
    ) -> Result<(), String> {
        let journal = self.journal()?;
        let id = awake.agent.id();
        if self.table.contains_key(id) || self.is_stored(id) {
            return Err(format!("there is a copy of {id} already"));
        }
        let mut log = next_log(&*journal, &mut self.durables.ended, id);
        let (shared, agent) = (Arc::downgrade(&self.shared), id.clone());
        let stored = Box::new(move |result: Result<(), _>| {
            if let Some(shared) = shared.upgrade() {
                let result = result
                    .map_err(|failed: phoenix_core::journal::JournalFailed| failed.to_string());
                shared.post(&agent, Event::CopyStored { migration, result });
            }
        });
        // If the node starts anew before anything more is known of it, whose it is has
        // to be asked at once.
        let wake = Millis(0);
        if let Err(refused) = log.store(&*journal, wake, bytes.clone(), stored) {
            self.durables.ended.insert(id.clone(), log);
            return Err(refused.to_string());
        }
        awake.agent.keep_log(&awake.kind.terms);
        awake.agent.note_checkpoint();
        awake.durable = Some(Durable::new(log));
        Ok(())
    }

    /// The journal has the copy that came by that attempt, or cannot have it.
    pub(super) fn copy_stored(&mut self, migration: MigrationId, result: Result<(), String>) {
        let Some(awake) = self.movement.staged.get_mut(&migration) else {
            return;
        };
        let event = match (result, &mut awake.durable) {
            (Ok(()), Some(durable)) => {
                durable.log.begins_with_snapshot();
                TargetEvent::StageOk
            }
            (Ok(()), None) => TargetEvent::StageFailed("it is not durable".to_owned()),
            (Err(why), _) => TargetEvent::StageFailed(why),
        };
        self.target_event(migration, event);
    }

    /// Whether a copy of the agent is here that is not the agent yet.
    pub(super) fn is_staged(&self, agent: &AgentId) -> bool {
        let mut staged = self.movement.staged.values();
        staged.any(|awake| awake.agent.id() == agent)
    }

    /// The slot's agent is not this copy any more: its log here ends.
    pub(super) fn end_copy(&mut self, slot: u32) {
        if let Some(awake) = self.awake_mut(slot)
            && let Some(durable) = awake.durable.take()
        {
            let agent = awake.agent.id().clone();
            self.end_log_of_copy(&agent, durable.log);
        }
    }

    /// The same for a copy without a slot.
    pub(super) fn end_log_of_copy(&mut self, agent: &AgentId, log: AgentLog) {
        self.close_log(agent, log, MOVED);
    }

    /// The directory answered about an agent that the journal may have a copy of. Gives
    /// the answer back, as it is to be taken; none if more has to be asked first.
    pub(super) fn recalled(
        &mut self,
        agent: &AgentId,
        command: &DirectoryCommand,
        answer: DirectoryAnswer,
    ) -> Option<DirectoryAnswer> {
        if !self.is_stored(agent) {
            return Some(answer);
        }
        match self.whose(agent, command, &answer) {
            Recalled::Restore(_) => Some(answer),
            Recalled::Ask(command) => {
                self.ask_directory(command);
                None
            }
            Recalled::End(owner) => {
                self.end_stored(agent, owner);
                Some(answer)
            }
            Recalled::Later => {
                let why = format!("nobody can say just now whose the copy of {agent} is");
                Some(DirectoryAnswer::InDoubt(why))
            }
        }
    }

    /// Whose the copy in the journal is, now that the directory has answered.
    pub(super) fn whose(
        &self,
        agent: &AgentId,
        command: &DirectoryCommand,
        answer: &DirectoryAnswer,
    ) -> Recalled {
        let own = self.shared.node;
        let is_own = matches!(answer, DirectoryAnswer::Owned(it) if it.owner == own);
        let shipped_by = if is_own { None } else { self.shipped_by(agent) };
        recalled(own, agent, shipped_by, command, answer)
    }

    /// The attempt that brought the copy in the journal, unless a snapshot was taken since.
    fn shipped_by(&self, agent: &AgentId) -> Option<MigrationId> {
        // One that cannot be read can be nobody's.
        let history = self
            .durables
            .journal
            .as_ref()
            .and_then(|it| it.read(agent).ok());
        match history.flatten() {
            Some(History {
                snapshot: Some(bytes),
                ..
            }) => snapshot::peek_attempt(&bytes),
            _ => None,
        }
    }

    pub(super) fn end_stored(&mut self, agent: &AgentId, owner: Ownership) {
        let standing = self
            .durables
            .journal
            .as_ref()
            .and_then(|it| it.standing(agent));
        if let Some(standing) = standing {
            let log = AgentLog::resume(agent.clone(), &standing, 0);
            self.end_log_of_copy(agent, log);
            let text = format!("the copy in the journal is dropped: {} has it", owner.owner);
            self.shared.log(Some(agent), Level::Info, &text);
        }
    }

    /// Whether the slot's agent is in the journal alone.
    pub(super) fn is_stored_slot(&self, slot: u32) -> bool {
        matches!(self.slots.get(slot as usize), Some(Slot::Stored(_)))
    }
}
