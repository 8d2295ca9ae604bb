//! A pipeline's state, and what moves its messages on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use phoenix_wit::{Effect, Level, Payload, Reply};
use serde::{Deserialize, Serialize};

use super::declaration::{Declaration, OnError, Plan, Stage};
use super::{MAX_DEAD, MAX_DEAD_BYTES};
use crate::patterns::held::{Held, says_nothing};
use crate::patterns::request::clipped;
use crate::patterns::timer::wake_by;
use crate::program::{Outcome, Turned};

/// Bytes of a batch's answer that are left for other turns' outcomes.
const SPARE: usize = 256 << 10;
/// What an effect takes beside its texts and its payload, bytes, at most.
const EFFECT: usize = 64;
/// What a message takes beside its data, bytes, roughly.
const MESSAGE_BYTES: u64 = 256;

/// A pipeline.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) state: State,
    /// The declaration, checked.
    pub(super) plan: Option<Arc<Plan>>,
    /// Bytes of the messages' data.
    pub(super) held: u64,
    /// Something could go on and had no room in this turn.
    pub(super) starved: bool,
}

/// All that is saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) declared: Option<Declaration>,
    /// The oldest first.
    pub(super) messages: VecDeque<Message>,
    pub(super) next_ask: u64,
    pub(super) halted: Option<String>,
    /// When the timer is due that is set, nanoseconds.
    pub(super) timer: Option<u64>,
    pub(super) counts: Counts,
    /// The oldest first.
    pub(super) dead: VecDeque<Dead>,
}

/// What came of messages and tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) done: u64,
    pub(super) skipped: u64,
    pub(super) dead: u64,
    /// Dead letters that made room for newer ones.
    pub(super) dead_dropped: u64,
    /// Stages that a message went on from as it was.
    pub(super) passed: u64,
    pub(super) retries: u64,
    /// Messages that were refused: too large, or there was no declaration.
    pub(super) refused: u64,
    /// Ends of asks that nobody waited for.
    pub(super) late: u64,
}

/// A message on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) source: String,
    pub(super) data: Held,
    /// The stages it has been through, a bit each.
    pub(super) done: u32,
    pub(super) at: At,
}

/// Where a message is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum At {
    /// On its way to the first stage that it has not been through.
    Between,
    /// A stage was asked; `None` if it is not there any more.
    Asked {
        stage: Option<u8>,
        agent: String,
        ask: u64,
        tries: u32,
    },
    /// A stage is to be asked again.
    Again { stage: u8, tries: u32, due: u64 },
    /// The pipeline halted because of it.
    Halted { stage: u8, why: String },
}

/// A message that was put aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dead {
    pub(super) number: u64,
    pub(super) source: String,
    pub(super) stage: String,
    pub(super) why: String,
    pub(super) data: Held,
}

impl Message {
    fn agent(&self, stage: &Stage) -> Result<String, String> {
        stage.to.agent(&self.source, self.data.as_wit())
    }
}

impl At {
    /// The stage that has begun it.
    pub(super) fn stage(&self) -> Option<u8> {
        match self {
            Self::Between => None,
            Self::Asked { stage, .. } => *stage,
            Self::Again { stage, .. } | Self::Halted { stage, .. } => Some(*stage),
        }
    }
}

/// The stage's bit.
pub(super) fn bit(stage: u8) -> u32 {
    1_u32.checked_shl(stage.into()).unwrap_or(0)
}

impl Plan {
    /// The bits of all stages.
    pub(super) fn all(&self) -> u32 {
        let stages = u32::try_from(self.stages.len()).unwrap_or(u32::BITS);
        u32::MAX
            .checked_shr(u32::BITS - stages.min(u32::BITS))
            .unwrap_or(0)
    }
}

impl Machine {
    /// Takes a message, and gives its number.
    pub(super) fn push(&mut self, source: &str, payload: Payload<'_>) -> Result<u64, Outcome> {
        let Some(plan) = &self.plan else {
            self.state.counts.refused += 1;
            let text = "the pipeline has no stages yet: send it `define` first";
            return Err(Outcome::failed("undefined", text));
        };
        if payload.bytes.len() > plan.max_message {
            self.state.counts.refused += 1;
            let text = format!(
                "the message has {} bytes, and {} is the most (max_message)",
                payload.bytes.len(),
                plan.max_message
            );
            return Err(Outcome::failed("too-large", text));
        }
        self.state.counts.taken += 1;
        let number = self.state.counts.taken;
        self.held += payload.bytes.len() as u64;
        self.state.messages.push_back(Message {
            number,
            source: source.to_owned(),
            data: Held::of(payload),
            done: 0,
            at: At::Between,
        });
        Ok(number)
    }

    /// Whether no message is taken now.
    pub(super) fn is_full(&self) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| self.state.messages.len() >= plan.in_flight)
    }

    /// Begins nothing more until it is resumed; what was asked is waited for.
    pub(super) fn halt(&mut self, reason: Option<String>) {
        if self.state.halted.is_none() {
            let reason = reason.unwrap_or_else(|| "somebody halted it".to_owned());
            self.state.halted = Some(clipped(&reason));
        }
    }

    /// Goes on. Messages it halted at are tried anew, or left out.
    pub(super) fn resume(&mut self, skip: bool) {
        self.state.halted = None;
        for index in (0..self.state.messages.len()).rev() {
            let Some(message) = self.state.messages.get_mut(index) else {
                continue;
            };
            let At::Halted { stage, .. } = message.at else {
                continue;
            };
            if skip {
                self.state.counts.skipped += 1;
                self.remove(index);
            } else {
                message.at = At::Again {
                    stage,
                    tries: 0,
                    due: 0,
                };
            }
        }
    }

    /// An ask has ended.
    pub(super) fn reply(&mut self, ask: u64, reply: Reply<'_>, now: u64, out: &mut Turned<'_>) {
        let asked =
            |message: &Message| matches!(&message.at, At::Asked { ask: of, .. } if *of == ask);
        let found = self.state.messages.iter().position(asked);
        let (Some(index), Some(plan)) = (found, self.plan.clone()) else {
            self.state.counts.late += 1;
            return;
        };
        let Some(message) = self.state.messages.get_mut(index) else {
            return;
        };
        let at = std::mem::replace(&mut message.at, At::Between);
        let At::Asked { stage, tries, .. } = at else {
            return;
        };
        let (why, unsure) = match reply {
            Reply::Ok(data) if data.bytes.len() > plan.max_message => {
                let bytes = data.bytes.len();
                let text = format!("its answer has {bytes} bytes, more than max_message");
                // To ask again would bring the same.
                return self.failed(index, stage, None, &text, out);
            }
            Reply::Ok(data) => {
                if !says_nothing(data) {
                    self.held = self.held.saturating_sub(message.data.len() as u64);
                    message.data = Held::of(data);
                    self.held += message.data.len() as u64;
                }
                if let Some(stage) = stage {
                    message.done |= bit(stage);
                }
                return;
            }
            Reply::Failed(failure) => (format!("{}: {}", failure.code, failure.message), false),
            Reply::Timeout => ("no answer in time".to_owned(), true),
            Reply::Abandoned => ("its answer was given up".to_owned(), true),
            Reply::Deadlock => ("it waits for this pipeline itself".to_owned(), true),
            Reply::Bounced(why) => (format!("not delivered: {why}"), true),
            Reply::Unavailable(why) => (format!("unavailable: {why}"), false),
        };
        let again = stage.and_then(|stage| plan.stages.get(usize::from(stage)));
        let again = again.filter(|stage| stage.repeatable || !unsure);
        let due = again.and_then(|stage| stage.tries.next(tries, now));
        let again = due.map(|due| (tries, due));
        self.failed(index, stage, again, &why, out);
    }

    /// A try failed: there is another one, or the stage's strategy says what becomes of the
    /// message.
    fn failed(
        &mut self,
        index: usize,
        stage: Option<u8>,
        again: Option<(u32, u64)>,
        why: &str,
        out: &mut Turned<'_>,
    ) {
        let (Some(stage), Some(plan)) = (stage, self.plan.clone()) else {
            // The stage is gone, and so the message goes on as it was.
            return;
        };
        let (Some(of), Some(message)) = (
            plan.stages.get(usize::from(stage)),
            self.state.messages.get_mut(index),
        ) else {
            return;
        };
        if let Some((tries, due)) = again {
            self.state.counts.retries += 1;
            message.at = At::Again { stage, tries, due };
            return;
        }
        let why = clipped(why);
        let number = message.number;
        let text = |what: &str| format!("message {number} failed at `{}`, {what}: {why}", of.name);
        match of.on_error {
            OnError::Skip => {
                log(out, Level::Warn, &text("and is left out"));
                self.state.counts.skipped += 1;
                self.remove(index);
            }
            OnError::Pass => {
                log(out, Level::Warn, &text("and goes on as it was"));
                self.state.counts.passed += 1;
                message.done |= bit(stage);
            }
            OnError::DeadLetter => {
                log(out, Level::Warn, &text("and is put aside"));
                self.state.counts.dead += 1;
                if let Some(message) = self.remove(index) {
                    self.put_aside(message, &of.name, why);
                }
            }
            OnError::Halt => {
                let text = text("and the pipeline halts");
                log(out, Level::Error, &text);
                message.at = At::Halted { stage, why };
                self.state.halted.get_or_insert_with(|| clipped(&text));
            }
        }
    }

    fn remove(&mut self, index: usize) -> Option<Message> {
        let message = self.state.messages.remove(index)?;
        self.held = self.held.saturating_sub(message.data.len() as u64);
        Some(message)
    }

    fn put_aside(&mut self, message: Message, stage: &str, why: String) {
        let dead = &mut self.state.dead;
        dead.push_back(Dead {
            number: message.number,
            source: message.source,
            stage: stage.to_owned(),
            why,
            data: message.data,
        });
        let mut bytes: usize = dead.iter().map(|dead| dead.data.len()).sum();
        while dead.len() > MAX_DEAD || bytes > MAX_DEAD_BYTES {
            let Some(dropped) = dead.pop_front() else {
                break;
            };
            bytes -= dropped.data.len();
            self.state.counts.dead_dropped += 1;
        }
    }

    pub(super) fn timer_fired(&mut self) {
        self.state.timer = None;
    }

    /// Moves on whatever can, and sets the timer for the rest.
    pub(super) fn go_on(&mut self, now: u64, out: &mut Turned<'_>) {
        self.starved = false;
        if let Some(plan) = self.plan.clone() {
            self.let_out(&plan);
            while self.state.halted.is_none() {
                let Err(nobody) = self.begin(&plan, now, out) else {
                    break;
                };
                self.failed(nobody.index, Some(nobody.stage), None, &nobody.why, out);
                self.let_out(&plan);
            }
        }
        self.set_timer(now, out);
    }

    /// Those that have been through all stages.
    fn let_out(&mut self, plan: &Plan) {
        let all = plan.all();
        let mut index = 0;
        while let Some(message) = self.state.messages.get(index) {
            if message.done == all && matches!(message.at, At::Between) {
                self.remove(index);
                self.state.counts.done += 1;
            } else {
                index += 1;
            }
        }
    }

    /// Asks for whatever may be asked now, the oldest messages first.
    ///
    /// A message begins a stage when all that are older have begun it. Of each stage,
    /// `blocked` says whether one has not.
    fn begin(&mut self, plan: &Plan, now: u64, out: &mut Turned<'_>) -> Result<(), Nobody> {
        let all = plan.all();
        let mut blocked = 0_u32;
        let mut busy = vec![0_u32; plan.stages.len()];
        let mut agents = self.asked();
        let mut next_ask = self.state.next_ask;
        for (index, message) in self.state.messages.iter_mut().enumerate() {
            if blocked == all {
                break;
            }
            let begun = match &message.at {
                At::Between => next(message, plan, blocked, &busy, &agents),
                At::Again {
                    stage, tries, due, ..
                } if *due <= now => again(message, plan, (*stage, *tries), &agents),
                _ => Ok(None),
            };
            let begun = match begun {
                Ok(begun) => begun,
                Err((stage, why)) => {
                    self.state.next_ask = next_ask;
                    return Err(Nobody { index, stage, why });
                }
            };
            if let Some((number, agent, tries)) = begun
                && let Some(stage) = plan.stages.get(usize::from(number))
            {
                let size = message.data.len() + agent.len() + stage.method.len() + EFFECT;
                if out.effects_left() <= 2 || out.bytes_left() < size + SPARE {
                    self.starved = true;
                    break;
                }
                out.effect(&Effect::Ask {
                    ask: next_ask,
                    to: &agent,
                    method: &stage.method,
                    payload: message.data.as_wit(),
                    deadline_ms: stage.timeout_ms,
                    waiter: None,
                });
                agents.insert((number, agent.clone()));
                message.at = At::Asked {
                    stage: Some(number),
                    agent,
                    ask: next_ask,
                    tries: tries + 1,
                };
                next_ask += 1;
            }
            let at = message.at.stage();
            if let Some(number) = at {
                if let Some(busy) = busy.get_mut(usize::from(number)) {
                    *busy += 1;
                }
                // While it waits to be tried again, its agent is kept free for it.
                if let (At::Again { .. }, Some(stage)) =
                    (&message.at, plan.stages.get(usize::from(number)))
                    && let Ok(agent) = message.agent(stage)
                {
                    agents.insert((number, agent));
                }
            }
            blocked |= all & !message.done & !at.map_or(0, bit);
        }
        self.state.next_ask = next_ask;
        Ok(())
    }

    /// The agents that work on something, by stage.
    fn asked(&self) -> BTreeSet<(u8, String)> {
        let asked = |message: &Message| match &message.at {
            At::Asked {
                stage: Some(stage),
                agent,
                ..
            } => Some((*stage, agent.clone())),
            _ => None,
        };
        self.state.messages.iter().filter_map(asked).collect()
    }

    fn set_timer(&mut self, now: u64, out: &mut Turned<'_>) {
        if self.state.halted.is_some() && !self.starved {
            return;
        }
        let due = |message: &Message| match message.at {
            // One that is due already waits for another to end.
            At::Again { due, .. } => Some(due).filter(|due| *due > now),
            _ => None,
        };
        let next = if self.starved {
            Some(now)
        } else {
            self.state.messages.iter().filter_map(due).min()
        };
        let Some(next) = next else { return };
        wake_by(&mut self.state.timer, next, now, out);
    }

    pub(super) fn bytes(&self) -> u64 {
        let dead: usize = self.state.dead.iter().map(|dead| dead.data.len()).sum();
        let messages = (self.state.messages.len() + self.state.dead.len()) as u64;
        self.held + dead as u64 + MESSAGE_BYTES * messages
    }
}

/// A message that a stage has no agent for.
struct Nobody {
    index: usize,
    stage: u8,
    why: String,
}

/// What a message may begin now: the stage, the agent, how often it was tried. Or the stage
/// that has no agent for it, and why.
type Begun = Result<Option<(u8, String, u32)>, (u8, String)>;

/// Where a message that is between stages may begin.
fn next(
    message: &Message,
    plan: &Plan,
    blocked: u32,
    busy: &[u32],
    agents: &BTreeSet<(u8, String)>,
) -> Begun {
    let number = u8::try_from((!message.done).trailing_zeros()).unwrap_or(u8::MAX);
    let (Some(stage), Some(busy)) = (
        plan.stages.get(usize::from(number)),
        busy.get(usize::from(number)),
    ) else {
        return Ok(None);
    };
    if blocked & bit(number) != 0 || *busy >= stage.parallel {
        return Ok(None);
    }
    again(message, plan, (number, 0), agents)
}

/// The same of one that has begun. Declared anew, the stage may be another agent's.
fn again(
    message: &Message,
    plan: &Plan,
    (number, tries): (u8, u32),
    agents: &BTreeSet<(u8, String)>,
) -> Begun {
    let Some(stage) = plan.stages.get(usize::from(number)) else {
        return Ok(None);
    };
    let agent = message.agent(stage).map_err(|why| (number, why))?;
    let key = (number, agent);
    Ok((!agents.contains(&key)).then_some((number, key.1, tries)))
}

fn log(out: &mut Turned<'_>, level: Level, text: &str) {
    // Whatever else the turn has to say comes first.
    if out.effects_left() > 2 && out.bytes_left() > SPARE {
        out.effect(&Effect::Log { level, text });
    }
}
