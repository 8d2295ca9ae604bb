//! What the agent of a history does: all of it follows from its memory and its inputs,
//! and it keeps books of both.

use std::collections::BTreeMap;

use bytes::Bytes;
use phoenix_wit::{
    AnswerWriter, Delivery, Effect, Failure, FrameReader, Input, Outcome, Payload, Reply,
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
    /// How often each timer fired, `None` if it was cancelled.
    pub(super) timers: BTreeMap<u64, Option<u32>>,
    /// How often each effect came back.
    pub(super) bounced: BTreeMap<u64, u32>,
    /// The turn of the handler that waits, its ask, whether somebody waits for it, and
    /// whether that is an agent.
    waiting: Option<(u64, u64, bool, bool)>,
    /// Everything that happened, in order.
    mixed: u64,
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
            after.turn(turn.number, &turn.input, &mut writer)?;
        }
        *self = after;
        Ok(writer.finish().into())
    }

    /// Begins anew, and keeps the books: nothing of the last life comes any more.
    pub(super) fn begin_anew(&mut self) {
        self.waiting = None;
        for fired in self.timers.values_mut().filter(|fired| **fired == Some(0)) {
            *fired = None;
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
        number: u64,
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
                self.act(carried, writer);
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
            Input::Timer { id, .. } => {
                self.mix(*id);
                // One that is cancelled in the batch it is due in comes all the same.
                if let Some(fired) = self.timers.get_mut(id).unwrap() {
                    *fired += 1;
                }
                self.act(SEND, writer);
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

    fn act(&mut self, what: u64, writer: &mut AnswerWriter) {
        if what & SEND != 0 {
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
            let id = self.timers.len() as u64;
            self.timers.insert(id, Some(0));
            writer.effect(&Effect::SetTimer {
                id,
                delay_ms: self.mixed % 50,
                period_ms: 0,
                method: "tick",
                payload: Payload::NONE,
            });
        }
        let last = self.timers.iter().next_back();
        if what & CANCEL != 0
            && let Some((id, Some(0))) = last.map(|(id, fired)| (*id, *fired))
        {
            self.timers.insert(id, None);
            writer.effect(&Effect::CancelTimer { id });
        }
    }

    fn receiver(&mut self) -> &'static str {
        self.mix(3);
        ["peer/a", "peer/b", "peer/c"][(self.mixed % 3) as usize]
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
