//! The side the agent comes to.

mod interface;

use bytes::{Bytes, BytesMut};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand};
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{Epoch, Millis};

use super::MigrationLimits;
use super::timer::{Asking, Link};

pub use interface::{TargetAction, TargetEvent, TargetOutcome, TargetPlan};

/// A part of at least so many bytes lies in a buffer of its own, whatever brought
/// it, and is kept as it is. A smaller one may lie among others in a larger
/// buffer, which it would keep for as long as the agent keeps what it was made from.
const OWN_BUFFER: usize = 32 << 10;

/// Room made at once for parts that are yet to come, bytes.
const AHEAD: usize = 4 << 20;

#[derive(Clone, Debug)]
enum State {
    Preparing {
        since: Millis,
    },
    Collecting {
        total: Option<u64>,
        image: BytesMut,
        since: Millis,
        /// Its epoch, if the directory has given it the agent already.
        epoch: Option<Epoch>,
    },
    Staging {
        /// Set if the source keeps it.
        doomed: Option<String>,
        /// Whether the source is gone: what is staged is then claimed.
        forsaken: bool,
        /// As above.
        epoch: Option<Epoch>,
    },
    /// The copy waits for the move.
    Staged {
        since: Millis,
        resend: Millis,
    },
    Active {
        epoch: Epoch,
        since: Millis,
        resend: Millis,
    },
    Claiming {
        /// Set if the copy is activated.
        epoch: Option<Epoch>,
        asking: Asking,
    },
    Done,
}

/// One migration, as its target sees it.
#[derive(Clone, Debug)]
pub struct TargetMigration {
    plan: TargetPlan,
    limits: MigrationLimits,
    link: Link,
    requests: u32,
    state: State,
}

impl TargetMigration {
    /// Begins, on a `Prepare` of a source that is connected.
    pub fn begin(
        now: Millis,
        plan: TargetPlan,
        limits: MigrationLimits,
    ) -> (Self, Vec<TargetAction>) {
        let machine = Self {
            // The source's boot counter plays no part: in doubt the directory is asked.
            link: Link::new(Some(0), now),
            requests: 0,
            state: State::Preparing { since: now },
            plan,
            limits,
        };
        (machine, vec![TargetAction::Prepare])
    }

    /// What is to come, and where from.
    pub fn plan(&self) -> &TargetPlan {
        &self.plan
    }

    /// Whether nothing is left to do. What still comes is for [`crate::migration::FinishedAttempts`].
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes of the frozen agent held here, waiting to be whole.
    pub fn collected(&self) -> usize {
        match &self.state {
            State::Collecting { image, .. } => image.len(),
            _ => 0,
        }
    }

    /// When to send [`TargetEvent::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.state {
            State::Preparing { since } => Some(*since + self.limits.prepare_within),
            State::Collecting { since, .. } => Some(*since + self.limits.part_within),
            State::Staging { .. } | State::Done => None,
            State::Staged { since, resend } | State::Active { since, resend, .. } => {
                Some(*resend.min(&self.link.gone_at(*since, &self.limits)))
            }
            State::Claiming { asking, .. } => Some(asking.deadline()),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Millis, event: TargetEvent) -> Vec<TargetAction> {
        let mut out = Vec::new();
        match event {
            TargetEvent::Message(message) if message.migration() == self.plan.migration => {
                self.message(now, message, &mut out);
            }
            TargetEvent::Message(_) => {}
            TargetEvent::Connected => {
                self.link.connected(0);
                self.speak(now, &mut out);
            }
            TargetEvent::Disconnected => self.link.disconnected(now),
            TargetEvent::Forsaken => self.forsaken(now, &mut out),
            TargetEvent::Prepared => {
                if let State::Preparing { .. } = self.state {
                    self.state = State::Collecting {
                        total: None,
                        image: BytesMut::new(),
                        since: now,
                        epoch: None,
                    };
                    self.speak(now, &mut out);
                }
            }
            TargetEvent::PrepareFailed(reason) => {
                if let State::Preparing { .. } = self.state {
                    self.refuse(reason, &mut out);
                }
            }
            TargetEvent::StageOk => self.staged(now, &mut out),
            TargetEvent::StageFailed(reason) => {
                if let State::Staging { .. } = self.state {
                    self.refuse(reason, &mut out);
                }
            }
            TargetEvent::Answer { request, answer } => self.answer(now, request, answer, &mut out),
            TargetEvent::Tick => self.tick(now, &mut out),
        }
        out
    }

    fn message(&mut self, now: Millis, message: MigrationMessage, out: &mut Vec<TargetAction>) {
        use MigrationMessage as M;
        match message {
            M::Prepare { .. } => self.speak(now, out),
            M::Ship {
                offset,
                total,
                bytes,
                ..
            } => self.part(now, offset, total, &bytes, out),
            M::Activate { epoch, .. } => self.activate(now, epoch, out),
            M::Released { .. } => {
                let epoch = match &self.state {
                    State::Active { epoch, .. } => Some(*epoch),
                    State::Claiming { epoch, .. } => *epoch,
                    _ => None,
                };
                // Not activated, a copy has nothing to be released to.
                if let Some(epoch) = epoch {
                    self.run(epoch, out);
                }
            }
            M::Cancelled { .. } => match &mut self.state {
                State::Staging { doomed, .. } => *doomed = Some("the source kept it".to_owned()),
                State::Done => {}
                _ => self.drop_copy("the source kept it".to_owned(), out),
            },
            // The source started anew, or forgot.
            M::Unknown { .. } => self.forsaken(now, out),
            M::Ready { .. } | M::Staged { .. } | M::Refused { .. } | M::Activated { .. } => {}
        }
    }

    /// The source has nothing of it any more: what is not whole cannot become so,
    /// what is is claimed.
    fn forsaken(&mut self, now: Millis, out: &mut Vec<TargetAction>) {
        match &mut self.state {
            State::Preparing { .. } | State::Collecting { .. } => {
                self.drop_copy("the source forgot it".to_owned(), out);
            }
            State::Staging { forsaken, .. } => *forsaken = true,
            State::Staged { .. } => self.claim(now, None, out),
            State::Active { epoch, .. } => {
                let epoch = Some(*epoch);
                self.claim(now, epoch, out);
            }
            State::Claiming { .. } | State::Done => {}
        }
    }

    /// Says where it stands, if the source should know.
    fn speak(&mut self, now: Millis, out: &mut Vec<TargetAction>) {
        let migration = self.plan.migration;
        let message = match &mut self.state {
            State::Collecting { .. } => MigrationMessage::Ready { migration },
            State::Staged { resend, .. } => {
                *resend = now + self.limits.resend;
                MigrationMessage::Staged { migration }
            }
            State::Active { resend, .. } => {
                *resend = now + self.limits.resend;
                MigrationMessage::Activated { migration }
            }
            _ => return,
        };
        out.push(TargetAction::Send(message));
    }

    fn part(
        &mut self,
        now: Millis,
        offset: u64,
        length: u64,
        bytes: &Bytes,
        out: &mut Vec<TargetAction>,
    ) {
        let State::Collecting {
            total,
            image,
            since,
            epoch,
        } = &mut self.state
        else {
            return self.speak(now, out);
        };
        let bound = self.limits.image_bytes;
        let have = image.len() as u64;
        let end = offset.saturating_add(bytes.len() as u64);
        let wrong = if length > bound {
            Some(format!("it has {length} bytes, and {bound} are taken"))
        } else if total.is_some_and(|total| total != length) || end > length {
            Some("its parts do not agree on its length".to_owned())
        } else if offset > have || (offset < have && end > have) {
            Some(format!(
                "a part begins at byte {offset} where {have} is next"
            ))
        } else {
            None
        };
        if let Some(reason) = wrong {
            return self.refuse(reason, out);
        }
        *total = Some(length);
        *since = now;
        let alone = have == 0 && bytes.len() as u64 == length && bytes.len() >= OWN_BUFFER;
        if offset == have && !alone {
            let left = usize::try_from(length - have).unwrap_or(usize::MAX);
            if image.capacity() - image.len() < bytes.len() {
                image.reserve(left.min(image.len().max(AHEAD)));
            }
            image.extend_from_slice(bytes);
        }
        if alone || image.len() as u64 == length {
            let bytes = if alone {
                bytes.clone()
            } else {
                std::mem::take(image).freeze()
            };
            self.state = State::Staging {
                doomed: None,
                forsaken: false,
                epoch: *epoch,
            };
            out.push(TargetAction::Stage { bytes });
        }
    }

    fn staged(&mut self, now: Millis, out: &mut Vec<TargetAction>) {
        let State::Staging {
            doomed,
            forsaken,
            epoch,
        } = &mut self.state
        else {
            return;
        };
        if let Some(reason) = doomed.take() {
            return self.drop_copy(reason, out);
        }
        let (forsaken, epoch) = (*forsaken, *epoch);
        // Mostly the directory's word is about to come. If it does not, the source is
        // told; of a durable agent at once, for it waits for that to ask for the move.
        self.state = State::Staged {
            since: now,
            resend: now + self.limits.resend,
        };
        if self.plan.durable && !forsaken {
            self.speak(now, out);
        }
        if let Some(epoch) = epoch {
            self.activate(now, epoch, out);
        }
        if forsaken {
            self.forsaken(now, out);
        }
    }

    /// The directory gave it the agent, whoever says so.
    fn activate(&mut self, now: Millis, epoch: Epoch, out: &mut Vec<TargetAction>) {
        let migration = self.plan.migration;
        match &mut self.state {
            State::Collecting { epoch: known, .. } | State::Staging { epoch: known, .. } => {
                *known = Some(epoch);
            }
            // An answer to a claim made before the move won is worthless from
            // here on: the source may let go any moment.
            State::Staged { .. } | State::Claiming { epoch: None, .. } => {
                out.push(TargetAction::Activate { epoch });
                self.state = State::Active {
                    epoch,
                    since: now,
                    resend: now,
                };
                self.speak(now, out);
            }
            State::Active { .. } => self.speak(now, out),
            State::Claiming { epoch: Some(_), .. } => {
                out.push(TargetAction::Send(MigrationMessage::Activated {
                    migration,
                }));
            }
            State::Preparing { .. } => {
                out.push(TargetAction::Send(MigrationMessage::Unknown { migration }));
            }
            State::Done => {}
        }
    }

    fn answer(
        &mut self,
        now: Millis,
        request: u32,
        answer: DirectoryAnswer,
        out: &mut Vec<TargetAction>,
    ) {
        let State::Claiming { epoch, asking } = &mut self.state else {
            return;
        };
        if asking.request != request {
            return;
        }
        match answer {
            // The second answers no command of a migration's.
            DirectoryAnswer::InDoubt(_) | DirectoryAnswer::Unclaimed(_) => {
                asking.in_doubt(now, &self.limits);
            }
            DirectoryAnswer::Owned(here) if here.owner == self.plan.target => {
                if epoch.is_none() {
                    out.push(TargetAction::Activate { epoch: here.epoch });
                }
                out.push(TargetAction::Send(MigrationMessage::Activated {
                    migration: self.plan.migration,
                }));
                self.run(here.epoch, out);
            }
            DirectoryAnswer::Owned(there) | DirectoryAnswer::Lost(there) => {
                let reason = format!("the source fell silent, and {} has it", there.owner);
                self.drop_copy(reason, out);
            }
        }
    }

    fn tick(&mut self, now: Millis, out: &mut Vec<TargetAction>) {
        match &mut self.state {
            State::Preparing { since } => {
                if now >= *since + self.limits.prepare_within {
                    self.refuse("its component did not come in time".to_owned(), out);
                }
            }
            State::Collecting { since, .. } => {
                if now >= *since + self.limits.part_within {
                    self.refuse("its parts did not come in time".to_owned(), out);
                }
            }
            State::Staged { since, resend } => {
                if now >= self.link.gone_at(*since, &self.limits) {
                    self.claim(now, None, out);
                } else if now >= *resend {
                    self.speak(now, out);
                }
            }
            State::Active {
                epoch,
                since,
                resend,
            } => {
                if now >= self.link.gone_at(*since, &self.limits) {
                    let epoch = Some(*epoch);
                    self.claim(now, epoch, out);
                } else if now >= *resend {
                    self.speak(now, out);
                }
            }
            State::Claiming { asking, .. } => {
                if asking.due(now, &self.limits) {
                    let request = asking.request;
                    out.push(self.submit(request));
                }
            }
            State::Staging { .. } | State::Done => {}
        }
    }

    fn claim(&mut self, now: Millis, epoch: Option<Epoch>, out: &mut Vec<TargetAction>) {
        self.requests = self.requests.wrapping_add(1);
        out.push(self.submit(self.requests));
        self.state = State::Claiming {
            epoch,
            asking: Asking::new(self.requests, now, &self.limits),
        };
    }

    fn submit(&self, request: u32) -> TargetAction {
        TargetAction::Submit {
            request,
            command: DirectoryCommand::Claim {
                agent: self.plan.agent.clone(),
                migration: self.plan.migration,
                by: self.plan.target,
            },
        }
    }

    fn run(&mut self, epoch: Epoch, out: &mut Vec<TargetAction>) {
        self.state = State::Done;
        out.push(TargetAction::Run);
        out.push(TargetAction::Finished(TargetOutcome::Running { epoch }));
    }

    fn refuse(&mut self, reason: String, out: &mut Vec<TargetAction>) {
        out.push(TargetAction::Send(MigrationMessage::Refused {
            migration: self.plan.migration,
            reason: reason.clone(),
        }));
        self.drop_copy(reason, out);
    }

    /// Ends without the agent, and without the copy if there is one.
    fn drop_copy(&mut self, reason: String, out: &mut Vec<TargetAction>) {
        let copied = !matches!(
            self.state,
            State::Preparing { .. } | State::Collecting { .. }
        );
        self.state = State::Done;
        if copied {
            out.push(TargetAction::Drop);
        }
        out.push(TargetAction::Finished(TargetOutcome::Dropped { reason }));
    }
}
