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
    Shipping {
        image: Bytes,
        sent: usize,
        not_before: Millis,
        since: Millis,
        give_up: Millis,
    },
    Asking {
        purpose: Purpose,
        asking: Asking,
    },
    Activating {
        epoch: Epoch,
        since: Millis,
        resend: Millis,
    },
    Done,
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
            State::Shipping {
                not_before,
                since,
                give_up,
                ..
            } => {
                let gone = self.link.gone_at(*since, &self.limits);
                Some(*give_up.min(not_before).min(&gone))
            }
            State::Asking { asking, .. } => Some(asking.deadline()),
            State::Activating { since, resend, .. } => {
                Some(*resend.min(&self.link.gone_at(*since, &self.limits)))
            }
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
            SourceEvent::Frozen(image) => self.frozen(now, image, &mut out),
            SourceEvent::FreezeFailed(reason) => {
                if let State::Freezing { .. } = self.state {
                    self.stay_unfrozen(reason, &mut out);
                }
            }
            SourceEvent::NotSent { offset } => {
                if let State::Shipping {
                    sent, not_before, ..
                } = &mut self.state
                {
                    *sent = (*sent).min(usize::try_from(offset).unwrap_or(usize::MAX));
                    *not_before = now + self.limits.part_pause;
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
            (State::Shipping { .. }, M::Staged { .. }) => self.ask(now, Purpose::Move, out),
            (State::Shipping { .. }, M::Refused { reason, .. }) => {
                let reason = format!("{} refused it: {reason}", self.plan.target);
                self.ask(now, Purpose::Abort { reason }, out);
            }
            (State::Shipping { .. }, M::Unknown { .. }) => {
                let reason = format!("{} forgot that it comes", self.plan.target);
                self.ask(now, Purpose::Abort { reason }, out);
            }
            (State::Activating { epoch, .. }, M::Activated { .. }) => {
                let epoch = *epoch;
                self.release(now, epoch, out);
            }
            // The target has its copy and missed the activation.
            (State::Activating { epoch, .. }, M::Staged { .. }) => {
                let epoch = *epoch;
                out.push(self.activate(epoch));
            }
            // Whether the target has a copy that lives, the directory decides.
            (State::Activating { .. }, M::Unknown { .. } | M::Refused { .. }) => {
                let reason = format!("{} lost its copy", self.plan.target);
                self.ask(now, Purpose::Reclaim { reason }, out);
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
            State::Shipping { .. }
            | State::Asking {
                purpose: Purpose::Move,
                ..
            } if anew => self.ask(now, Purpose::Abort { reason }, out),
            State::Shipping {
                sent, not_before, ..
            } => {
                *sent = 0;
                *not_before = now;
                self.ship(now, out);
            }
            State::Activating { epoch, resend, .. } => {
                *resend = now + self.limits.resend;
                let epoch = *epoch;
                out.push(self.activate(epoch));
            }
            _ => {}
        }
    }

    fn frozen(&mut self, now: Millis, image: Bytes, out: &mut Vec<SourceAction>) {
        let State::Freezing { doomed } = &mut self.state else {
            return;
        };
        let mut doomed = doomed.take();
        if image.len() as u64 > self.limits.image_bytes {
            doomed = Some(format!(
                "the frozen agent has {} bytes, and {} may be shipped",
                image.len(),
                self.limits.image_bytes
            ));
        }
        if let Some(reason) = doomed {
            self.ask(now, Purpose::Abort { reason }, out);
            return;
        }
        self.state = State::Shipping {
            image,
            sent: 0,
            not_before: now,
            since: now,
            give_up: now + self.limits.stage_within,
        };
        self.ship(now, out);
    }

    /// Sends the next parts. When all are sent, the last one again from time to
    /// time: the target answers it by where it stands.
    fn ship(&mut self, now: Millis, out: &mut Vec<SourceAction>) {
        let migration = self.plan.migration;
        let limits = &self.limits;
        let State::Shipping {
            image,
            sent,
            not_before,
            ..
        } = &mut self.state
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
        let State::Asking { purpose, asking } = &mut self.state else {
            return;
        };
        if asking.request != request {
            return;
        }
        let purpose = purpose.clone();
        let (won, owner) = match answer {
            DirectoryAnswer::InDoubt(_) => return asking.in_doubt(now, &self.limits),
            DirectoryAnswer::Owned(owner) => (true, owner),
            DirectoryAnswer::Lost(owner) => (false, owner),
        };
        match purpose {
            Purpose::Settle => self.state = State::Done,
            Purpose::Move if won && owner.owner == self.plan.target => {
                self.start_activating(now, owner.epoch, out);
            }
            // Still its own, under the same generation: the target gave up, or the
            // agent was stopped. The abort tells which.
            Purpose::Move if owner == self.plan.here(owner.epoch.term) => {
                let reason = format!("{} gave up waiting", self.plan.target);
                self.ask(now, Purpose::Abort { reason }, out);
            }
            Purpose::Move => self.stay_or_drop("the move lost".to_owned(), owner, out),
            Purpose::Abort { .. } if !won && owner.owner == self.plan.target => {
                self.start_activating(now, owner.epoch, out);
            }
            Purpose::Reclaim { .. } if !won && owner.owner == self.plan.target => {
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

    fn start_activating(&mut self, now: Millis, epoch: Epoch, out: &mut Vec<SourceAction>) {
        self.state = State::Activating {
            epoch,
            since: now,
            resend: now + self.limits.resend,
        };
        out.push(self.activate(epoch));
    }

    /// The target's copy lives: this one goes.
    fn release(&mut self, now: Millis, epoch: Epoch, out: &mut Vec<SourceAction>) {
        let owner = Ownership {
            owner: self.plan.target,
            epoch,
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
            State::Shipping { .. }
            | State::Asking {
                purpose: Purpose::Move,
                ..
            } => self.ask(now, Purpose::Abort { reason }, out),
            State::Asking { .. } | State::Activating { .. } | State::Done => {}
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
            State::Shipping { since, give_up, .. } => {
                if now >= *give_up || now >= self.link.gone_at(*since, &self.limits) {
                    let reason = format!("{} did not take it in time", self.plan.target);
                    self.ask(now, Purpose::Abort { reason }, out);
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
            State::Activating {
                epoch,
                since,
                resend,
            } => {
                if now >= self.link.gone_at(*since, &self.limits) {
                    let reason = format!("{} fell silent", self.plan.target);
                    self.ask(now, Purpose::Reclaim { reason }, out);
                } else if now >= *resend {
                    *resend = now + self.limits.resend;
                    let epoch = *epoch;
                    out.push(self.activate(epoch));
                }
            }
            State::Freezing { .. } | State::Done => {}
        }
    }

    fn ask(&mut self, now: Millis, purpose: Purpose, out: &mut Vec<SourceAction>) {
        self.requests = self.requests.wrapping_add(1);
        out.push(SourceAction::Submit {
            request: self.requests,
            command: self.plan.command(&purpose),
        });
        self.state = State::Asking {
            purpose,
            asking: Asking::new(self.requests, now, &self.limits),
        };
    }

    fn prepare(&self) -> SourceAction {
        SourceAction::Send(MigrationMessage::Prepare {
            migration: self.plan.migration,
            agent: self.plan.agent.clone(),
            component: self.plan.component,
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

impl SourcePlan {
    /// The ownership under which the source begins.
    fn here(&self, term: u64) -> Ownership {
        Ownership {
            owner: self.source,
            epoch: Epoch {
                generation: self.generation,
                term,
            },
        }
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
