//! Running turns: begin, commit, faults, and the actions that follow.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{BadAnswer, Batch, Failed};
use phoenix_core::{DeadReason, Epoch, KindPolicy, Level, Millis, Nanos, NodeId, PeerMessage};
use phoenix_host::{Answer, Fault, FaultKind, GuestLine};

use crate::counters::{count, count_by};
use crate::witness::Committed;
use crate::worker::Worker;
use crate::worker::job::{Ended, Job, Seating};
use crate::worker::slot::Slot;

/// How long an agent waits for room for its memory before it tries again.
const NO_ROOM_RETRY: Millis = Millis(5);
/// Room a frame is given at least, bytes.
const LEAST_ROOM: usize = 64;
/// Longest text of a fault that is kept.
const MAX_FAULT: usize = 8_192;
/// Turns of a batch, and bytes of its answer, up to which a commit takes no longer
/// than it is worth to look at the clock for.
const CHEAP_TURNS: u32 = 8;
const CHEAP_ANSWER: usize = 1_024;
/// What a turn usually takes, in nanoseconds, and how many there are of them in a
/// batch that is run on another's thread.
const MAX_BRIEF_TURN: u32 = 100_000;
const MAX_BRIEF_TURNS: u32 = 16;
/// How long an agent's turns are not run there once one took too long.
const NOT_BRIEF_FOR: Millis = Millis(10_000);

impl Worker {
    /// Takes an agent's next batch and what it needs to run.
    pub(super) fn begin(&mut self, slot: u32) -> Option<Job> {
        let now = self.now;
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return None;
        };
        awake.queued = false;
        if !awake.runnable(now.millis()) {
            return None;
        }
        let is_durable = awake.durable.is_some();
        if awake.agent.spilled() > 0 {
            self.refill(slot);
        }
        if is_durable && !self.may_append(slot) {
            return None;
        }
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return None;
        };
        let awake = &mut **awake;
        let mut room = std::mem::take(&mut self.frame);
        room.clear();
        room.reserve(awake.frame_room.max(LEAST_ROOM));
        let kind = &*awake.kind;
        let turns = self.schedule.turns(&awake.share);
        let shorter = (turns < kind.policy.batch_messages).then(|| KindPolicy {
            batch_messages: turns,
            ..(*kind.policy).clone()
        });
        let policy = shorter.as_ref().unwrap_or(&kind.policy);
        let batch = awake.agent.begin(now, policy, kind, &mut self.room, room)?;
        if batch.turns() == 0 {
            // Everything was skipped: the commit needs no guest.
            self.commit_answer(slot, batch, None);
            self.was_costly = true;
            self.settle(slot, now, 0);
            self.queue_again(slot);
            self.arm(slot);
            return None;
        }
        awake.running = true;
        awake.frame_room = batch.frame.len();
        let seating = std::mem::take(&mut awake.seating);
        Some(Job {
            slot,
            tenant: awake.tenant,
            kind: matches!(seating, Seating::Rebuild(_)).then(|| awake.kind.clone()),
            seating,
            batch,
            ended: None,
            proved: 0,
            slice: awake.kind.policy.turn_slice,
            deadline: awake.kind.policy.turn_deadline,
            now,
        })
    }

    /// Runs a job on a thread that is needed elsewhere, for so long at most. What takes
    /// longer is undone and waits for the worker's driver, as does what may.
    pub(crate) fn run_briefly(&mut self, mut job: Job, most: Millis) {
        let slot = job.slot;
        let now = self.now.millis();
        let is_brief = self.awake(slot).is_some_and(|awake| {
            awake.visits_from <= now && awake.share.usual_turn() <= MAX_BRIEF_TURN
        });
        if !is_brief || job.batch.turns() > MAX_BRIEF_TURNS || !job.seating.is_live() {
            return self.not_now(job);
        }
        let deadline = job.deadline;
        job.deadline = deadline.min(most);
        job.run();
        match &job.ended {
            Some(Ended::Faulted(fault))
                if fault.kind == FaultKind::Deadline && job.deadline < deadline =>
            {
                if let Some(awake) = self.awake_mut(slot) {
                    awake.visits_from = now + NOT_BRIEF_FOR;
                }
                count(&self.shared.counters.brief_batches_undone);
                self.lose_memory(slot);
                self.not_now(job);
            }
            _ => {
                count(&self.shared.counters.brief_batches);
                self.finish(job);
            }
        }
    }

    /// Puts a job back that did not run, or whose turns are undone.
    fn not_now(&mut self, job: Job) {
        let Some(awake) = self.awake_mut(job.slot) else {
            return;
        };
        awake.running = false;
        // Of what was undone there is none any more, and the agent has its past instead.
        if !matches!(job.seating, Seating::Away) {
            awake.seating = job.seating;
        }
        awake.agent.put_back(job.batch);
        self.queue(job.slot);
    }

    /// Takes a job's end.
    pub(crate) fn finish(&mut self, job: Job) {
        let began = job.now;
        self.read_clock();
        self.schedule.pass(self.now, true);
        self.end_turn(job, began);
    }

    /// Takes the end of a job that was relieved: it had its slice of the worker.
    pub(super) fn finish_late(&mut self, job: Job) {
        let slice = job.slice.nanos().0;
        self.end_turn(job, Nanos(self.now.0.saturating_sub(slice)));
    }

    /// Takes a job's end; the worker was its since `began`.
    fn end_turn(&mut self, job: Job, began: Nanos) {
        let Job {
            slot,
            tenant,
            seating,
            batch,
            ended,
            proved,
            now: begun,
            ..
        } = job;
        count_by(&self.shared.counters.hashes_proved, proved);
        let spent = self.now.0.saturating_sub(begun.0);
        let turns = batch.turns();
        let now = self.now.millis();
        let Some(awake) = self.awake_mut(slot).filter(|awake| awake.tenant == tenant) else {
            return;
        };
        awake.last_active = now;
        debug_assert!(!awake.seating.is_live(), "a job takes the memory with it");
        awake.seating = seating;
        self.list_resident(slot);
        self.was_costly |= turns > CHEAP_TURNS;
        match ended {
            Some(Ended::Answered(answer)) => {
                self.was_costly |= answer.frame.len() > CHEAP_ANSWER || !answer.log.is_empty();
                self.answered(slot, batch, answer, spent);
            }
            Some(Ended::Faulted(fault)) => {
                self.guest_log(slot, &fault.log, fault.log_cut);
                self.faulted(slot, batch, &fault_text(&fault));
            }
            Some(Ended::NoRoom) => self.no_room(slot, batch),
            Some(Ended::Unrecoverable(why)) => self.quarantine(slot, batch, &why),
            None => self.faulted(slot, batch, "it did not run"),
        }
        if self.awake(slot).is_some_and(|awake| awake.tenant == tenant) {
            self.settle(slot, began, turns);
            self.queue_again(slot);
        }
        self.after(slot);
    }

    /// Charges an agent for the worker's time since `began`, and lets it run again.
    fn settle(&mut self, slot: u32, began: Nanos, turns: u32) {
        if std::mem::take(&mut self.was_costly) {
            // What it sends is encoded at its expense.
            self.flush();
            self.read_clock();
            self.schedule.pass(self.now, true);
        }
        let cost = self.now.0.saturating_sub(began.0);
        if let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) {
            awake.running = false;
            self.schedule.charge(&mut awake.share, cost, turns);
        }
    }

    /// What every batch ends with: sleepers, moves, the next batch.
    pub(super) fn after(&mut self, slot: u32) {
        let Some(awake) = self.awake(slot) else {
            return;
        };
        if awake.agent.stopped().is_some() || awake.freeze_wanted {
            self.end_if_stopped(slot);
            self.freeze_if_wanted(slot);
        }
        self.queue(slot);
        let draining = self.draining.is_some();
        let now = self.now.millis();
        let Some(awake) = self.awake(slot) else {
            return;
        };
        let early = awake.agent.next_wake() < awake.armed || awake.backoff_until > now;
        if draining || !awake.sleepers.is_empty() {
            self.rest(slot);
        }
        if early {
            self.arm(slot);
        }
    }

    fn answered(&mut self, slot: u32, batch: Batch, answer: Answer, spent: u64) {
        if !answer.log.is_empty() || answer.log_cut > 0 {
            self.guest_log(slot, &answer.log, answer.log_cut);
        }
        if let Some((batch, bad)) = self.commit_answer(slot, batch, Some((answer.frame, spent))) {
            if !bad.is_fault(batch.turns()) {
                // The guest's memory has gone ahead of what is committed.
                self.lose_memory(slot);
                if let Some(awake) = self.awake_mut(slot) {
                    awake.agent.split(batch);
                }
                return;
            }
            self.faulted(slot, batch, &bad.to_string());
        }
    }

    /// Writes what the guest printed to its log.
    fn guest_log(&self, slot: u32, lines: &[GuestLine], cut: u64) {
        if cut > 0 {
            count_by(&self.shared.counters.log_cut, cut);
        }
        if let Some(awake) = self.awake(slot) {
            for line in lines {
                self.shared
                    .log(Some(awake.agent.id()), line.level, &line.text);
            }
        }
    }

    /// Commits a batch with the guest's answer and the nanoseconds it took, and
    /// performs what follows. On an error nothing has changed.
    fn commit_answer(
        &mut self,
        slot: u32,
        batch: Batch,
        answer: Option<(Bytes, u64)>,
    ) -> Option<(Batch, BadAnswer)> {
        let (answer, spent) = answer.unwrap_or_default();
        let (turn, turns) = (batch.first_turn(), u64::from(batch.turns()));
        let mut batch = batch;
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return None;
        };
        // A durable agent's record takes the frame: of that it has a copy to come back by.
        let frame = match awake.durable {
            Some(_) => batch.frame.clone(),
            None => std::mem::take(&mut batch.frame),
        };
        let committed = awake.agent.commit(
            batch,
            &answer,
            &awake.kind.policy,
            &mut self.room,
            &mut self.actions,
        );
        if let Err(undone) = committed {
            let (mut batch, bad) = *undone;
            batch.frame = frame;
            return Some((batch, bad));
        }
        let is_gated = awake.gated.is_some();
        if let Some(witness) = &self.shared.config.witness {
            witness.committed(&Committed {
                agent: awake.agent.id(),
                incarnation: awake.agent.incarnation(),
                epoch: Epoch {
                    generation: awake.generation,
                    term: self.shared.boot,
                },
                node: self.shared.node,
                turn,
                turns,
                verdicts: &self.actions.acknowledge,
            });
        }
        let mut is_snapshot_due = false;
        if turns > 0 {
            if let Some(seat) = self.shared.seats.get(self.index) {
                seat.tally.add(turns);
            }
            self.frame = awake.rollback.push(frame, spent);
            let bound = awake.kind.policy.rollback_bytes as usize;
            is_snapshot_due = awake.rollback.may_try() && Self::is_snapshot_due(awake);
            if awake.rollback.is_due(bound) || is_snapshot_due {
                self.checkpoint(slot);
            } else if self.shared.config.hash_every_batch {
                self.note_memory(slot);
            }
        }
        if is_gated {
            self.settle_gates(slot);
        }
        self.perform(slot);
        if is_snapshot_due {
            self.store_checkpoint(slot);
        }
        None
    }

    /// Undoes a batch whose guest faulted.
    fn faulted(&mut self, slot: u32, batch: Batch, why: &str) {
        self.lose_memory(slot);
        count(&self.shared.counters.faults);
        let now = self.now.millis();
        let why: Arc<str> = why
            .get(..why.floor_char_boundary(MAX_FAULT))
            .unwrap_or("")
            .into();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let id = awake.agent.id().clone();
        let turn = batch.first_turn();
        let turns = batch.turns();
        awake.traps += 1;
        awake.last_trap = Some(why.clone());
        let failed = awake
            .agent
            .fail(batch, &why, &awake.kind.policy, &mut self.actions);
        match failed {
            Failed::Retry(after) => awake.backoff_until = now + after,
            Failed::Dropped => awake.backoff_until = Millis(0),
            Failed::InitFailed | Failed::Stuck => {}
        }
        self.settle_gates(slot);
        let text = format!(
            "turns {turn} to {} undone: {why}",
            turn + u64::from(turns) - 1
        );
        self.shared.log(Some(&id), Level::Error, &text);
        self.perform(slot);
        match failed {
            Failed::InitFailed => self.end(slot, &DeadReason::InitFailed(why)),
            Failed::Stuck => self.set_quarantined(slot, why),
            Failed::Retry(_) | Failed::Dropped => {}
        }
    }

    /// There is no room for the agent's memory: make some, and try again.
    fn no_room(&mut self, slot: u32, batch: Batch) {
        self.was_costly = true;
        if let Some(awake) = self.awake_mut(slot) {
            awake.agent.put_back(batch);
        }
        if !self.evict(slot) {
            let retry = self.now.millis() + NO_ROOM_RETRY;
            if let Some(awake) = self.awake_mut(slot) {
                awake.backoff_until = retry;
            }
            self.ask_for_room();
        }
    }

    /// The agent cannot be brought back: keep it as it is, and say so.
    fn quarantine(&mut self, slot: u32, batch: Batch, why: &str) {
        if let Some(awake) = self.awake_mut(slot) {
            awake.agent.put_back(batch);
        }
        self.set_quarantined(slot, why.into());
    }

    fn set_quarantined(&mut self, slot: u32, why: Arc<str>) {
        self.was_costly = true;
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        awake.quarantined = Some(why.clone());
        let id = awake.agent.id().clone();
        let reason = DeadReason::Quarantined(why.clone());
        awake.agent.abandon(&reason, &mut self.actions);
        self.settle_gates(slot);
        self.abandon_spilled(slot, &reason);
        self.shared
            .log(Some(&id), Level::Error, &format!("quarantined: {why}"));
        self.perform(slot);
    }

    /// Gives up the instance: memory is made again from the checkpoint.
    fn lose_memory(&mut self, slot: u32) {
        self.was_costly = true;
        if let Some(awake) = self.awake_mut(slot) {
            awake.seating = awake.rollback.seating();
        }
    }

    /// Does what an agent wants done; what a durable one does, once the journal has it.
    pub(super) fn perform(&mut self, slot: u32) {
        if self.is_durable(slot) {
            self.keep(slot);
        } else {
            self.perform_now(slot);
        }
    }

    /// Does what an agent wants done, whether or not the journal has it.
    pub(super) fn perform_now(&mut self, slot: u32) {
        if self.actions.is_empty() {
            return;
        }
        // Most have messages and verdicts only, and those may bring more of both.
        let mut acknowledge = std::mem::take(&mut self.actions.acknowledge);
        let mut send = std::mem::take(&mut self.actions.send);
        if !self.actions.is_empty() {
            self.tell(slot);
        }
        for acknowledgement in acknowledge.drain(..) {
            self.acknowledged(acknowledgement, 0);
        }
        self.deliver_all(send.drain(..), None);
        if self.actions.is_empty() {
            // Their room serves again.
            self.actions.acknowledge = acknowledge;
            self.actions.send = send;
        } else {
            self.perform(slot);
        }
    }

    /// Does what neither agents nor nodes hear of.
    fn tell(&mut self, slot: u32) {
        let mut actions = std::mem::take(&mut self.actions);
        let id = self.awake(slot).map(|awake| awake.agent.id().clone());
        for (level, text) in actions.log.drain(..) {
            self.shared.log(id.as_ref(), level, &text);
        }
        for envelope in actions.spill.drain(..) {
            self.write_spilled(slot, &envelope);
        }
        for notice in actions.notices.drain(..) {
            self.shared.hand_notice(notice, 0);
        }
        for (envelope, reason, attempts) in actions.dead.drain(..) {
            self.shared.bury(&envelope, &reason, attempts);
        }
        for (node, ask, reply) in actions.answer.drain(..) {
            self.answer_client(node, ask, reply);
        }
        // What failed to be spilled may have put something into the fresh one.
        if self.actions.is_empty() {
            self.actions = actions;
        }
    }

    pub(super) fn answer_client(&self, node: NodeId, ask: u64, reply: phoenix_core::Reply) {
        if node == self.shared.node {
            self.shared.clients.answered(ask, reply, node);
        } else {
            // A client that is not told in time takes the outcome for unknown.
            let _ = self.shared.send(node, PeerMessage::Answer { ask, reply });
        }
    }

    /// Ends an agent that stopped itself, once its last effects have their verdicts.
    pub(super) fn end_if_stopped(&mut self, slot: u32) {
        let Some(awake) = self.awake(slot) else {
            return;
        };
        let Some(why) = awake.agent.stopped().cloned() else {
            return;
        };
        if awake.agent.begun() && awake.agent.unacknowledged() > 0 {
            return;
        }
        if awake.running || awake.frozen {
            return;
        }
        if awake.reset.is_some() {
            self.renew(slot);
            return;
        }
        let reason = if awake.agent.begun() {
            self.shared.log(
                Some(awake.agent.id()),
                Level::Info,
                &format!("stopped: {why}"),
            );
            DeadReason::Stopped
        } else {
            DeadReason::InitFailed(why)
        };
        self.end(slot, &reason);
    }

    /// Takes an agent out of the world.
    pub(super) fn end(&mut self, slot: u32, reason: &DeadReason) {
        self.was_costly = true;
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        awake.agent.abandon(reason, &mut self.actions);
        let id = awake.agent.id().clone();
        let generation = awake.generation;
        let moving = awake.moving.take();
        self.settle_gates(slot);
        self.abandon_spilled(slot, reason);
        if *reason != DeadReason::Stopped || !self.leave_legacy(slot, &id) {
            self.end_log(slot, reason);
            self.perform(slot);
            self.remove(slot, &id);
            self.forget(id.clone(), generation);
        }
        count(&self.shared.counters.stopped);
        if let Some(migration) = moving {
            self.departure_ended(migration, &id);
        }
    }
}

fn fault_text(fault: &Fault) -> String {
    if fault.backtrace.is_empty() {
        fault.message.clone()
    } else {
        format!("{}\n{}", fault.message, fault.backtrace)
    }
}
