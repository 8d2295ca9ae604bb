//! The side that has the agent.

mod interface;

use bytes::Bytes;
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{Epoch, Millis};

use super::MigrationLimits;
use super::timer::{Asking, Link};

pub use interface::{SourceAction, SourceEvent, SourceOutcome, SourcePlan};

/// Why the directory is asked.
#[derive(Clone, Debug)]
enum Purpose {
    Move,
    Abort { reason: String },
    Reclaim { reason: String },
    Settle,
}

#[derive(Clone, Debug)]
enum State {
    Preparing {
        give_up: Millis,
        resend: Millis,
    },
    Freezing {
        doomed: Option<String>,
    },
    /// The agent stands still. The directory moves it while it is shipped.
    Moving(Moving),
    Asking {
        purpose: Purpose,
        asking: Asking,
    },
    Done,
}

/// A move under way. It ends with the target's activation.
#[derive(Clone, Debug)]
struct Moving {
    /// The move, until the directory has answered. Of a durable agent it is not asked
    /// for before the target is staged.
    asking: Option<Asking>,
    /// The target's epoch, once the directory has given it the agent.
    epoch: Option<Epoch>,
    /// All of the agent, once the driver has taken it.
    image: Option<Bytes>,
    sent: usize,
    not_before: Millis,
    /// Whether the target said that it has its copy.
    staged: bool,
    /// Since when the next step is the target's.
    since: Millis,
    /// When it must have its copy.
    give_up: Millis,
}

/// One migration, as its source sees it.
#[derive(Clone, Debug)]
pub struct SourceMigration {
    plan: SourcePlan,
    limits: MigrationLimits,
    link: Link,
    /// The target's boot counter when it was ready: only that life of it has a copy.
    ready: Option<u64>,
    requests: u32,
    state: State,
}

impl SourceMigration {
    /// Begins: the target is asked whether the agent can come. `boot` is the
    /// target's boot counter, if it is connected.
    pub fn begin(
        now: Millis,
        plan: SourcePlan,
        boot: Option<u64>,
        limits: MigrationLimits,
    ) -> (Self, Vec<SourceAction>) {
        let machine = Self {
            link: Link::new(boot, now),
            ready: None,
            requests: 0,
            state: State::Preparing {
                give_up: now + limits.prepare_within,
                resend: now + limits.resend,
            },
            plan,
            limits,
        };
        let actions = vec![machine.prepare()];
        (machine, actions)
    }

    /// What is moved, and where.
    pub fn plan(&self) -> &SourcePlan {
        &self.plan
    }

    /// Whether nothing is left to do. What still comes is for [`crate::migration::FinishedAttempts`].
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether its outcome is known, though the directory may still be told of it.
    pub fn is_decided(&self) -> bool {
        matches!(
            self.state,
            State::Done
                | State::Asking {
                    purpose: Purpose::Settle,
                    ..
                }
        )
    }

    /// When to send [`SourceEvent::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.state {
            State::Preparing { give_up, resend } => Some(*give_up.min(resend)),
            State::Freezing { .. } | State::Done => None,
            State::Moving(moving) => Some(moving.deadline(&self.link, &self.limits)),
            State::Asking { asking, .. } => Some(asking.deadline()),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Millis, event: SourceEvent) -> Vec<SourceAction> {
        let mut out = Vec::new();
        match event {
            SourceEvent::Message(message) if message.migration() == self.plan.migration => {
                self.message(now, message, &mut out);
            }
            SourceEvent::Message(_) => {}
            SourceEvent::Connected { boot } => {
                self.link.connected(boot);
                self.connected(now, boot, &mut out);
            }
            SourceEvent::Disconnected => self.link.disconnected(now),
            SourceEvent::Still => self.still(now, &mut out),
            SourceEvent::Frozen(image) => self.frozen(now, image, &mut out),
            SourceEvent::FreezeFailed(reason) => match self.state {
                State::Freezing { .. } => self.stay_unfrozen(reason, &mut out),
                State::Moving(_) => self.take_back(now, reason, &mut out),
                _ => {}
            },
            SourceEvent::NotSent { offset } => {
                if let State::Moving(moving) = &mut self.state {
                    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                    moving.sent = moving.sent.min(offset);
                    moving.not_before = now + self.limits.part_pause;
                }
            }
            SourceEvent::Answer { request, answer } => self.answer(now, request, answer, &mut out),
            SourceEvent::Cancel(reason) => self.cancel(now, reason, &mut out),
            SourceEvent::Tick => self.tick(now, &mut out),
        }
        out
    }

    fn message(&mut self, now: Millis, message: MigrationMessage, out: &mut Vec<SourceAction>) {
        use MigrationMessage as M;
        match (&mut self.state, message) {
            (State::Preparing { .. }, M::Ready { .. }) => {
                self.ready = self.link.boot();
                self.state = State::Freezing { doomed: None };
                out.push(SourceAction::Freeze);
            }
            (State::Preparing { .. }, M::Refused { reason, .. }) => {
                self.stay_unfrozen(format!("{} refused it: {reason}", self.plan.target), out);
            }
            (State::Freezing { doomed }, M::Refused { reason, .. }) => {
                *doomed = Some(format!("{} refused it: {reason}", self.plan.target));
            }
            (State::Freezing { doomed }, M::Unknown { .. }) => {
                *doomed = Some(format!("{} forgot that it comes", self.plan.target));
            }
            (State::Moving(moving), M::Staged { .. }) => {
                moving.staged = true;
                // It has not heard of the move, or not yet.
                if let Some(epoch) = moving.epoch {
                    out.push(self.activate(epoch));
                } else if moving.asking.is_none() {
                    self.ask_to_move(now, out);
                }
            }
            // It was told of the move by the directory, whose word to this node is
            // then still on its way. An abort loses to such a move.
            (
                State::Moving(_)
                | State::Asking {
                    purpose: Purpose::Abort { .. },
                    ..
                },
                M::Activated { .. },
            ) => {
                let epoch = self.moved_epoch();
                self.release(now, epoch, out);
            }
            (State::Moving(_), M::Refused { reason, .. }) => {
                let reason = format!("{} refused it: {reason}", self.plan.target);
                self.take_back(now, reason, out);
            }
            (State::Moving(_), M::Unknown { .. }) => {
                let reason = format!("{} has no copy of it", self.plan.target);
                self.take_back(now, reason, out);
            }
            (
                State::Asking {
                    purpose: Purpose::Settle,
                    ..
                },
                M::Activated { .. },
            ) => out.push(self.released()),
            _ => {}
        }
    }

    fn connected(&mut self, now: Millis, boot: u64, out: &mut Vec<SourceAction>) {
        let anew = self.ready != Some(boot);
        let reason = format!("{} started anew", self.plan.target);
        match &mut self.state {
            State::Preparing { resend, .. } => {
                *resend = now + self.limits.resend;
                out.push(self.prepare());
            }
            State::Freezing { doomed } if anew => *doomed = Some(reason),
            State::Moving(_) if anew => self.take_back(now, reason, out),
            State::Moving(moving) => {
                moving.sent = 0;
                moving.not_before = now;
                self.ship(now, out);
            }
            _ => {}
        }
    }

    /// No turn runs any more: the directory can be asked. It syncs while the
    /// agent's memory is read, shipped and restored. A durable agent's copy has to be
    /// in its target's journal before.
    fn still(&mut self, now: Millis, out: &mut Vec<SourceAction>) {
        let State::Freezing { doomed } = &mut self.state else {
            return;
        };
        if let Some(reason) = doomed.take() {
            return self.ask(now, Purpose::Abort { reason }, out);
        }
        self.state = State::Moving(Moving {
            asking: None,
            epoch: None,
            image: None,
            sent: 0,
            not_before: now,
            staged: false,
            since: now,
            give_up: now + self.limits.stage_within,
        });
        if !self.plan.durable {
            self.ask_to_move(now, out);
        }
    }

    fn ask_to_move(&mut self, now: Millis, out: &mut Vec<SourceAction>) {
        let asking = self.submit(now, &Purpose::Move, out);
        if let State::Moving(moving) = &mut self.state {
            moving.asking = Some(asking);
        }
    }

    fn frozen(&mut self, now: Millis, image: Bytes, out: &mut Vec<SourceAction>) {
        let State::Moving(moving) = &mut self.state else {
            return;
        };
        if image.len() as u64 > self.limits.image_bytes {
            let reason = format!(
                "the frozen agent has {} bytes, and {} may be shipped",
                image.len(),
                self.limits.image_bytes
            );
            return self.take_back(now, reason, out);
        }
        moving.image = Some(image);
        self.ship(now, out);
    }

    /// Sends the next parts. When all are sent, the last one again from time to
    /// time: the target answers it by where it stands.
    fn ship(&mut self, now: Millis, out: &mut Vec<SourceAction>) {
        let migration = self.plan.migration;
        let limits = &self.limits;
        let State::Moving(Moving {
            image: Some(image),
            sent,
            not_before,
            ..
        }) = &mut self.state
        else {
            return;
        };
        if now < *not_before {
            return;
        }
        let step = limits.part_bytes.max(1);
        if *sent >= image.len() {
            *sent = image.len().saturating_sub(1) / step * step;
        }
        for _ in 0..limits.burst_parts.max(1) {
            let end = sent.saturating_add(step).min(image.len());
            out.push(SourceAction::Send(MigrationMessage::Ship {
                migration,
                offset: *sent as u64,
                total: image.len() as u64,
                bytes: image.slice(*sent..end),
            }));
            *sent = end;
            if end == image.len() {
                *not_before = now + limits.resend;
                break;
            }
        }
    }

    fn answer(
        &mut self,
        now: Millis,
        request: u32,
        answer: DirectoryAnswer,
        out: &mut Vec<SourceAction>,
    ) {
        let (purpose, asking) = match &mut self.state {
            State::Asking { purpose, asking } => (purpose.clone(), asking),
            State::Moving(Moving {
                asking: Some(asking),
                ..
            }) => (Purpose::Move, asking),
            _ => return,
        };
        if asking.request != request {
            return;
        }
        let (won, owner) = match answer {
            // The second answers no command of a migration's.
            DirectoryAnswer::InDoubt(_) | DirectoryAnswer::Unclaimed(_) => {
                return asking.in_doubt(now, &self.limits);
            }
            DirectoryAnswer::Owned(owner) => (true, owner),
            DirectoryAnswer::Lost(owner) => (false, owner),
        };
        let at_target = owner.owner == self.plan.target;
        match purpose {
            Purpose::Settle => self.state = State::Done,
            Purpose::Move if won && at_target => self.moved(now, owner.epoch, out),
            // Still its own, under the same generation: the target gave up, or the
            // agent was stopped. The abort tells which.
            Purpose::Move if self.plan.is_here(&owner) => {
                let reason = format!("{} gave up waiting", self.plan.target);
                self.ask(now, Purpose::Abort { reason }, out);
            }
            Purpose::Move => self.stay_or_drop("the move lost".to_owned(), owner, out),
            // It had moved. Whether the target's copy lives the directory knows.
            Purpose::Abort { reason } if !won && at_target => {
                self.ask(now, Purpose::Reclaim { reason }, out);
            }
            Purpose::Reclaim { .. } if !won && at_target => {
                self.release(now, owner.epoch, out);
            }
            Purpose::Abort { reason } | Purpose::Reclaim { reason } if won => {
                self.stay(reason, owner, out);
            }
            Purpose::Abort { reason } | Purpose::Reclaim { reason } => {
                self.stay_or_drop(reason, owner, out);
            }
        }
    }

    /// The directory gave the agent to the target, and told it so.
    fn moved(&mut self, now: Millis, epoch: Epoch, out: &mut Vec<SourceAction>) {
        let State::Moving(moving) = &mut self.state else {
            return;
        };
        moving.asking = None;
        moving.epoch = Some(epoch);
        moving.since = now;
        // It waits since it was staged: it may have missed that.
        if moving.staged {
            out.push(self.activate(epoch));
        }
    }

    /// The epoch of the target's, if the move has won.
    fn moved_epoch(&self) -> Epoch {
        let known = match &self.state {
            State::Moving(moving) => moving.epoch,
            _ => None,
        };
        known.unwrap_or(Epoch {
            generation: self.plan.generation.saturating_add(1),
            term: self.ready.unwrap_or_default(),
        })
    }

    /// Ends a move that is under way, if the directory lets it.
    fn take_back(&mut self, now: Millis, reason: String, out: &mut Vec<SourceAction>) {
        let won = matches!(&self.state, State::Moving(moving) if moving.epoch.is_some());
        let purpose = if won {
            Purpose::Reclaim { reason }
        } else {
            Purpose::Abort { reason }
        };
        self.ask(now, purpose, out);
    }

    /// The target's copy lives: this one goes.
    fn release(&mut self, now: Millis, epoch: Epoch, out: &mut Vec<SourceAction>) {
        let owner = Ownership {
            owner: self.plan.target,
            epoch,
            // Nothing is restored by this.
            life: 0,
        };
        out.push(SourceAction::Release { owner });
        out.push(self.released());
        out.push(SourceAction::Finished(SourceOutcome::Moved { epoch }));
        self.ask(now, Purpose::Settle, out);
    }

    fn stay_unfrozen(&mut self, reason: String, out: &mut Vec<SourceAction>) {
        self.state = State::Done;
        out.push(self.cancelled());
        out.push(SourceAction::Finished(SourceOutcome::Stayed {
            epoch: None,
            reason,
        }));
    }

    fn stay(&mut self, reason: String, owner: Ownership, out: &mut Vec<SourceAction>) {
        if owner.owner != self.plan.source {
            return self.stay_or_drop(reason, owner, out);
        }
        self.state = State::Done;
        let epoch = owner.epoch;
        out.push(SourceAction::Unfreeze { epoch });
        out.push(self.cancelled());
        out.push(SourceAction::Finished(SourceOutcome::Stayed {
            epoch: Some(epoch),
            reason,
        }));
    }

    /// A command lost. The agent is this node's only if the directory says so
    /// under a later generation than the one it was to leave.
    fn stay_or_drop(&mut self, reason: String, owner: Ownership, out: &mut Vec<SourceAction>) {
        let mine = owner.owner == self.plan.source;
        if mine && owner.epoch.generation > self.plan.generation {
            return self.stay(reason, owner, out);
        }
        self.state = State::Done;
        out.push(SourceAction::Release { owner });
        out.push(SourceAction::Finished(SourceOutcome::Gone { owner }));
    }

    fn cancel(&mut self, now: Millis, reason: String, out: &mut Vec<SourceAction>) {
        match &mut self.state {
            State::Preparing { .. } => self.stay_unfrozen(reason, out),
            State::Freezing { doomed } => *doomed = Some(reason),
            State::Moving(moving) if moving.epoch.is_none() => self.take_back(now, reason, out),
            State::Moving(_) | State::Asking { .. } | State::Done => {}
        }
    }

    fn tick(&mut self, now: Millis, out: &mut Vec<SourceAction>) {
        match &mut self.state {
            State::Preparing { give_up, resend } => {
                if now >= *give_up {
                    let reason = format!(
                        "{} was not ready within {}",
                        self.plan.target, self.limits.prepare_within
                    );
                    self.stay_unfrozen(reason, out);
                } else if now >= *resend {
                    *resend = now + self.limits.resend;
                    out.push(self.prepare());
                }
            }
            State::Moving(moving) => {
                if let Some(asking) = &mut moving.asking
                    && asking.due(now, &self.limits)
                {
                    out.push(SourceAction::Submit {
                        request: asking.request,
                        command: self.plan.command(&Purpose::Move),
                    });
                }
                if now >= moving.gone_at(&self.link, &self.limits) {
                    let reason = format!("{} did not take it in time", self.plan.target);
                    self.take_back(now, reason, out);
                } else {
                    self.ship(now, out);
                }
            }
            State::Asking { purpose, asking } => {
                if asking.due(now, &self.limits) {
                    let (request, command) = (asking.request, self.plan.command(purpose));
                    out.push(SourceAction::Submit { request, command });
                }
            }
            State::Freezing { .. } | State::Done => {}
        }
    }

    fn ask(&mut self, now: Millis, purpose: Purpose, out: &mut Vec<SourceAction>) {
        let asking = self.submit(now, &purpose, out);
        self.state = State::Asking { purpose, asking };
    }

    fn submit(&mut self, now: Millis, purpose: &Purpose, out: &mut Vec<SourceAction>) -> Asking {
        self.requests = self.requests.wrapping_add(1);
        out.push(SourceAction::Submit {
            request: self.requests,
            command: self.plan.command(purpose),
        });
        Asking::new(self.requests, now, &self.limits)
    }

    fn prepare(&self) -> SourceAction {
        SourceAction::Send(MigrationMessage::Prepare {
            migration: self.plan.migration,
            agent: self.plan.agent.clone(),
            component: self.plan.component,
            durable: self.plan.durable,
        })
    }

    fn activate(&self, epoch: Epoch) -> SourceAction {
        SourceAction::Send(MigrationMessage::Activate {
            migration: self.plan.migration,
            epoch,
        })
    }

    fn released(&self) -> SourceAction {
        SourceAction::Send(MigrationMessage::Released {
            migration: self.plan.migration,
        })
    }

    fn cancelled(&self) -> SourceAction {
        SourceAction::Send(MigrationMessage::Cancelled {
            migration: self.plan.migration,
        })
    }
}

impl Moving {
    fn deadline(&self, link: &Link, limits: &MigrationLimits) -> Millis {
        let asking = self
            .asking
            .map_or(Millis::NEVER, |asking| asking.deadline());
        let part = match self.image {
            Some(_) => self.not_before,
            None => Millis::NEVER,
        };
        asking.min(part).min(self.gone_at(link, limits))
    }

    /// When the target counts as gone. Not while it has its copy and waits, as
    /// this node does, for the directory.
    fn gone_at(&self, link: &Link, limits: &MigrationLimits) -> Millis {
        let silent = link.gone_at(self.since, limits);
        match (self.staged, self.epoch) {
            (false, _) => silent.min(self.give_up),
            (true, Some(_)) => silent,
            (true, None) => Millis::NEVER,
        }
    }
}

impl SourcePlan {
    /// Whether that is the ownership under which the source began.
    fn is_here(&self, owner: &Ownership) -> bool {
        owner.owner == self.source && owner.epoch.generation == self.generation
    }

    fn command(&self, purpose: &Purpose) -> DirectoryCommand {
        let agent = self.agent.clone();
        let migration = self.migration;
        match purpose {
            Purpose::Move => DirectoryCommand::Move {
                agent,
                migration,
                generation: self.generation,
                from: self.source,
                to: self.target,
            },
            Purpose::Abort { .. } => DirectoryCommand::Abort {
                agent,
                migration,
                generation: self.generation,
                from: self.source,
            },
            Purpose::Reclaim { .. } => DirectoryCommand::Reclaim {
                agent,
                migration,
                by: self.source,
            },
            Purpose::Settle => DirectoryCommand::Settle { agent, migration },
        }
    }
}
