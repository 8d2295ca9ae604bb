//! What the agent of a history does: all of it follows from its memory and its inputs,
//! and it keeps books of both.

use std::collections::BTreeMap;

use bytes::Bytes;
use phoenix_wit::{
    AnswerWriter, CatchUp, Delivery, Effect, Failure, FrameReader, Input, Outcome, Payload,
    ReceiverList, Reply, Schedule, SendOptions, Verdict,
};

use super::world::Random;

/// What a message tells the guest to do.
pub(super) const SEND: u64 = 1;
pub(super) const ASK: u64 = 1 << 1;
pub(super) const WAIT: u64 = 1 << 2;
pub(super) const TIMER: u64 = 1 << 3;
pub(super) const CANCEL: u64 = 1 << 4;
pub(super) const POISON: u64 = 1 << 5;
/// A client waits for the answer, which it may lose with its connection.
pub(super) const CLIENT: u64 = 1 << 6;
/// Where a message's own number begins, above what it tells the guest to do.
pub(super) const ID: u32 = 8;

/// The guest's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// How often each message was applied.
    pub(super) applied: BTreeMap<u64, u32>,
    /// Everything that was sent but asks, which may run out, by what it carries.
    pub(super) effects: Vec<u64>,
    /// How often each ask ended.
    pub(super) asks: BTreeMap<u64, u32>,
    /// What is known of each timer.
    pub(super) timers: BTreeMap<u64, Timer>,
    /// A timer fired that was cancelled or set anew.
    pub(super) has_overtaken: bool,
    /// How often each effect came back.
    pub(super) bounced: BTreeMap<u64, u32>,
    /// What was sent with a token, which is what it carries, to whom, and what was said of
    /// it; `None` of one that a life sent which is over.
    pub(super) told: BTreeMap<(u64, &'static str), Option<Vec<Told>>>,
    /// The turn of the handler that waits, its ask, whether somebody waits for it, and
    /// whether that is an agent.
    waiting: Option<(u64, u64, bool, bool)>,
    /// Everything that happened, in order.
    mixed: u64,
}

/// What the agent was told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Applied,
    NotApplied,
    Redirected,
}

/// A timer, and what its guest expects of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    /// How often it was set anew.
    life: u64,
    /// The instant it is due first, and the span between due times, zero for none.
    first: u64,
    period: u64,
    pub(super) catch_up: CatchUp,
    /// Due times up to this one are over.
    over: Option<u64>,
    pub(super) fired: u32,
    pub(super) is_cancelled: bool,
    /// Its second firing traps every now and then.
    is_poisoned: bool,
}

const PEERS: [&str; 3] = ["peer/a", "peer/b", "peer/c"];

/// How often a timer fires before it is cancelled.
const MOST_FIRINGS: u32 = 4;

impl Timer {
    /// Takes a firing at `now`: a due time has to have come that is not over.
    fn fire(&mut self, now: u64) {
        let is_due = |instant: &u64| match self.period {
            0 => *instant == self.first,
            period => *instant >= self.first && (instant - self.first).is_multiple_of(period),
        };
        let oldest = match self.catch_up {
            CatchUp::Once | CatchUp::All => 0,
            CatchUp::Skip { late_ms } => now.saturating_sub(late_ms),
        };
        let from = self.over.map_or(self.first, |over| over + 1).max(oldest);
        let due = (from..=now).find(is_due);
        let due = due.unwrap_or_else(|| panic!("it is not due at {now}: {self:?}"));
        self.over = Some(match self.catch_up {
            CatchUp::Once => now,
            CatchUp::All | CatchUp::Skip { .. } => due,
        });
        self.fired += 1;
    }

    /// Whether all is over that may come of it.
    pub(super) fn is_over(&self) -> bool {
        let may_miss = matches!(self.catch_up, CatchUp::Skip { .. }) || self.is_poisoned;
        match self.period {
            _ if self.is_cancelled => true,
            0 => self.fired == 1 || may_miss,
            _ => false,
        }
    }
}

/// A turn trapped.
pub(super) struct Trap;

impl Memory {
    /// Runs a frame; the answer, or nothing of it.
    pub(super) fn run(&mut self, frame: &[u8]) -> Result<Bytes, Trap> {
        let mut after = self.clone();
        let mut writer = AnswerWriter::new(Vec::new());
        let mut frame = FrameReader::new(frame).unwrap();
        while let Some(turn) = frame.next_turn().unwrap() {
            after.mix(turn.number ^ turn.now.rotate_left(17));
            let now = turn.now / 1_000_000;
            after.turn((turn.number, now), &turn.input, &mut writer)?;
        }
        *self = after;
        Ok(writer.finish().into())
    }

    /// Begins anew, and keeps the books: nothing of the last life comes any more.
    pub(super) fn begin_anew(&mut self) {
        self.waiting = None;
        self.told.values_mut().for_each(|told| *told = None);
        for timer in self.timers.values_mut() {
            timer.is_cancelled = true;
        }
    }

    fn mix(&mut self, with: u64) {
        self.mixed = Random(self.mixed ^ with).next();
    }

    fn pending(&self) -> u16 {
        u16::from(self.waiting.is_some())
    }

    fn turn(
        &mut self,
        (number, now): (u64, u64),
        input: &Input<'_>,
        writer: &mut AnswerWriter,
    ) -> Result<(), Trap> {
        match input {
            Input::Init { .. } => {}
            Input::Message {
                payload, request, ..
            } => {
                let carried = carried(payload.bytes);
                if self.waiting.is_some() {
                    writer.outcome(&Outcome::Deferred, 1);
                    return Ok(());
                }
                if carried & POISON != 0 {
                    return Err(Trap);
                }
                self.mix(carried);
                *self.applied.entry(carried >> ID).or_default() += 1;
                self.act(carried, now, writer);
                if carried & WAIT != 0 {
                    let ask = self.ask(writer);
                    let is_kept = *request && carried & CLIENT == 0;
                    self.waiting = Some((number, ask, *request, is_kept));
                    writer.outcome(&Outcome::Pending, 1);
                    return Ok(());
                }
                if *request {
                    let content = self.effect_if(carried & CLIENT == 0).to_le_bytes();
                    writer.outcome(&Outcome::Ok(Payload::message_pack(&content)), 0);
                    return Ok(());
                }
            }
            Input::Reply { ask, reply } => {
                if let Reply::Ok(payload) = reply
                    && carried(payload.bytes) & POISON != 0
                {
                    return Err(Trap);
                }
                self.mix(*ask);
                *self.asks.get_mut(ask).unwrap() += 1;
                if let Some((turn, of, is_asked, is_kept)) = self.waiting
                    && of == *ask
                {
                    self.waiting = None;
                    let content = self.effect_if(is_kept).to_le_bytes();
                    let answer = match reply {
                        Reply::Ok(_) => Ok(Payload::message_pack(&content)),
                        _ => Err(Failure {
                            code: "sorry",
                            message: "",
                            details: Payload::message_pack(&content),
                        }),
                    };
                    if is_asked {
                        let request = turn;
                        writer.effect(&Effect::Reply { request, answer });
                    }
                }
            }
            Input::Timer { id, payload, .. } => {
                let id = *id;
                self.mix(id);
                let mixed = self.mixed;
                let timer = self.timers.get_mut(&id).unwrap();
                if timer.is_cancelled || carried(payload.bytes) != timer.life {
                    // It cannot be committed.
                    self.has_overtaken = true;
                    writer.outcome(&Outcome::Ok(Payload::NONE), self.pending());
                    return Ok(());
                }
                if timer.is_poisoned && timer.fired == 1 && !mixed.is_multiple_of(3) {
                    return Err(Trap);
                }
                timer.fire(now);
                if timer.fired == MOST_FIRINGS {
                    timer.is_cancelled = true;
                    writer.effect(&Effect::CancelTimer { id });
                }
                let cancels = if mixed.is_multiple_of(4) { CANCEL } else { 0 };
                self.act(SEND | cancels, now, writer);
            }
            Input::Verdict { token, to, verdict } => {
                self.mix(*token);
                let to = PEERS.into_iter().find(|peer| peer == to).unwrap();
                let told = self.told.get_mut(&(*token, to)).unwrap().as_mut();
                told.expect("of this life").push(match verdict {
                    Verdict::Applied => Told::Applied,
                    Verdict::NotApplied { .. } => Told::NotApplied,
                    Verdict::Unsure { reason } => {
                        assert_eq!(*reason, "redirected");
                        Told::Redirected
                    }
                });
            }
            Input::Bounced { payload, .. } => {
                let content = carried(payload.bytes);
                self.mix(content);
                *self.bounced.entry(content).or_default() += 1;
            }
            other => panic!("{other:?}"),
        }
        writer.outcome(&Outcome::Ok(Payload::NONE), self.pending());
        Ok(())
    }

    fn act(&mut self, what: u64, now: u64, writer: &mut AnswerWriter) {
        if what & SEND != 0 {
            if self.mixed.is_multiple_of(4) {
                self.multicast(writer);
            }
            for _ in 0..=self.mixed % 3 {
                let to = self.receiver();
                let content = self.effect().to_le_bytes();
                writer.effect(&Effect::Send {
                    to,
                    method: "do",
                    payload: Payload::message_pack(&content),
                    delivery: Delivery::ExactlyOnce,
                });
            }
        }
        if what & ASK != 0 {
            self.ask(writer);
        }
        if what & TIMER != 0 {
            self.set_timer(now, writer);
        }
        if what & CANCEL != 0
            && let Some((id, timer)) = self.timers.iter_mut().next_back()
            && !timer.is_cancelled
        {
            timer.is_cancelled = true;
            writer.effect(&Effect::CancelTimer { id: *id });
        }
    }

    /// Sends something to some of its peers, and wants to hear of it.
    fn multicast(&mut self, writer: &mut AnswerWriter) {
        self.mix(13);
        let (first, content) = (self.mixed as usize % PEERS.len(), self.mixed);
        let to = &PEERS[first..];
        for peer in to {
            self.told.insert((content, peer), Some(Vec::new()));
        }
        let to: ReceiverList = to.iter().collect();
        writer.effect(&Effect::Multicast {
            to: to.receivers(),
            method: "do",
            message_type: "",
            payload: Payload::message_pack(&content.to_le_bytes()),
            options: &SendOptions::default().to_bytes(),
            token: content.try_into().ok(),
        });
    }

    /// Sets a timer, now and then one anew.
    fn set_timer(&mut self, now: u64, writer: &mut AnswerWriter) {
        self.mix(11);
        let mut dice = Random(self.mixed);
        let last = self.timers.iter().next_back();
        let anew = last.filter(|_| dice.below(3) == 0);
        let id = anew.map_or(self.timers.len() as u64, |(id, _)| *id);
        let life = anew.map_or(0, |(_, timer)| timer.life + 1);
        let delay_ms = dice.below(50);
        let period = dice.below(3).min(1) * (1 + dice.below(30));
        let catch_up = match dice.below(3) {
            0 => CatchUp::Once,
            1 => CatchUp::All,
            _ => CatchUp::Skip {
                late_ms: dice.below(60),
            },
        };
        let timer = Timer {
            life,
            first: now + delay_ms,
            period,
            catch_up,
            over: None,
            fired: 0,
            is_cancelled: false,
            is_poisoned: dice.below(4) == 0,
        };
        self.timers.insert(id, timer);
        let schedule = match period {
            0 => Schedule::Once { delay_ms },
            period_ms => Schedule::Every {
                delay_ms,
                period_ms,
            },
        };
        writer.effect(&Effect::SetTimer {
            id,
            schedule,
            catch_up,
            method: "tick",
            payload: Payload::message_pack(&life.to_le_bytes()),
        });
    }

    fn receiver(&mut self) -> &'static str {
        self.mix(3);
        PEERS[(self.mixed % 3) as usize]
    }

    fn ask(&mut self, writer: &mut AnswerWriter) -> u64 {
        let ask = self.asks.len() as u64;
        self.asks.insert(ask, 0);
        let to = self.receiver();
        self.mix(7);
        let content = self.mixed.to_le_bytes();
        writer.effect(&Effect::Ask {
            ask,
            to,
            method: "do",
            payload: Payload::message_pack(&content),
            deadline_ms: 30 + (self.mixed % 100) as u32,
            waiter: None,
        });
        ask
    }

    /// Something that is sent, unlike all else.
    fn effect(&mut self) -> u64 {
        self.mix(5);
        self.effects.push(self.mixed);
        self.mixed
    }

    fn effect_if(&mut self, is_sent: bool) -> u64 {
        if is_sent { self.effect() } else { 0 }
    }
}

/// The number a payload carries.
pub(super) fn carried(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
