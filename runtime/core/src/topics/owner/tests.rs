mod listing;
mod logs;
mod oracle;
mod program;
mod queues;
mod requests;
mod root;
mod saved;

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use phoenix_wit::{ContentType, Payload, SendOptions};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::requests::Request;
use super::{Out, Owner, PUMP, READS};
use crate::AgentId;
use crate::program::Outcome;
use crate::topics::wire::Received;

/// A message to a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) to: String,
    pub(super) method: String,
    pub(super) content_type: ContentType,
    pub(super) bytes: Vec<u8>,
    pub(super) options: SendOptions,
    pub(super) token: Option<u64>,
}

impl Message {
    pub(super) fn event(&self) -> Received<Value> {
        match self.content_type {
            ContentType::Json => serde_json::from_slice(&self.bytes).unwrap(),
            _ => rmp_serde::from_slice(&self.bytes).unwrap(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        let number = |it: Received<IgnoredAny>| it.number;
        match self.content_type {
            ContentType::Json => number(serde_json::from_slice(&self.bytes).unwrap()),
            _ => number(rmp_serde::from_slice(&self.bytes).unwrap()),
        }
    }
}

/// A turn's effects, within a bound.
#[derive(Debug, Default)]
pub(super) struct Effects {
    messages_left: usize,
    pub(super) messages: Vec<Message>,
    pub(super) replies: Vec<(u64, Vec<u8>)>,
    timers: BTreeMap<u64, u64>,
    multicasts: usize,
    /// To whom, by which method, and with what.
    pub(super) asks: Vec<(u64, String, Vec<u8>)>,
}

impl Out for Effects {
    fn messages_left(&self) -> usize {
        self.messages_left
    }

    fn bytes_left(&self) -> usize {
        64 << 20
    }

    fn multicast(
        &mut self,
        to: &[AgentId],
        method: &str,
        payload: Payload<'_>,
        options: &[u8; SendOptions::BYTES],
        token: Option<NonZeroU64>,
    ) {
        self.multicasts += 1;
        self.messages_left = self.messages_left.checked_sub(to.len()).unwrap();
        for to in to {
            self.messages.push(Message {
                to: to.to_string(),
                method: method.to_owned(),
                content_type: payload.content_type,
                bytes: payload.bytes.to_vec(),
                options: SendOptions::read(options).unwrap(),
                token: token.map(NonZeroU64::get),
            });
        }
    }

    fn reply(&mut self, request: u64, _: ContentType, bytes: &[u8]) {
        self.messages_left = self.messages_left.checked_sub(1).unwrap();
        self.replies.push((request, bytes.to_vec()));
    }

    fn ask(&mut self, ask: u64, to: &AgentId, method: &str, payload: Payload<'_>, _: u32) {
        self.messages_left = self.messages_left.checked_sub(1).unwrap();
        assert_eq!((to.as_str(), method), ("topic/.root", "enter"));
        self.asks
            .push((ask, to.to_string(), payload.bytes.to_vec()));
    }

    fn set_timer(&mut self, timer: u64, delay_ms: u64) {
        self.messages_left = self.messages_left.checked_sub(1).unwrap();
        self.timers.insert(timer, delay_ms);
    }
}

/// An owner and what is around it.
pub(super) struct World {
    agent: &'static str,
    pub(super) asks: Vec<(u64, String, Vec<u8>)>,
    pub(super) owner: Owner,
    pub(super) now: u64,
    pub(super) turn: u64,
    /// Messages that a turn may send.
    pub(super) room: usize,
    pub(super) messages: Vec<Message>,
    pub(super) replies: Vec<(u64, Value)>,
    timers: BTreeMap<u64, u64>,
    /// Messages with a token whose verdict is not told yet.
    pub(super) under_way: Vec<u64>,
    pub(super) multicasts: usize,
    /// Whether it is saved and loaded before each turn.
    pub(super) is_moved: bool,
}

pub(super) const MEMORY: u64 = 64 << 20;

impl World {
    /// The owner of the space `a`, which has entered: the root has nothing.
    pub(super) fn new() -> Self {
        let mut world = Self::of("topic/a");
        world.asks.clear();
        world.owner.root.state = super::root::Entered::Yes;
        world
    }

    /// One that has begun.
    pub(super) fn of(agent: &'static str) -> Self {
        let mut world = Self::unborn(agent);
        world.turn(|owner, _, out| owner.enter(out));
        world.turn = 0;
        world
    }

    fn unborn(agent: &'static str) -> Self {
        Self {
            agent,
            asks: Vec::new(),
            owner: Owner::default(),
            now: 1_000,
            turn: 0,
            room: 1_000,
            messages: Vec::new(),
            replies: Vec::new(),
            timers: BTreeMap::new(),
            under_way: Vec::new(),
            multicasts: 0,
            is_moved: false,
        }
    }

    pub(super) fn turn<T>(&mut self, act: impl FnOnce(&mut Owner, u64, &mut Effects) -> T) -> T {
        if self.is_moved {
            self.save_and_load();
        }
        let mut effects = Effects {
            messages_left: self.room,
            ..Effects::default()
        };
        self.owner.begin_turn(self.agent, self.now, MEMORY);
        let done = act(&mut self.owner, self.now, &mut effects);
        self.turn += 1;
        let tokens = effects.messages.iter().filter_map(|it| it.token);
        self.under_way.extend(tokens);
        self.messages.extend(effects.messages);
        let said = effects.replies.into_iter();
        self.replies
            .extend(said.map(|(of, bytes)| (of, serde_json::from_slice(&bytes).unwrap())));
        self.asks.extend(effects.asks);
        let due = effects.timers.into_iter();
        self.timers
            .extend(due.map(|(timer, delay)| (timer, self.now + delay)));
        self.multicasts += effects.multicasts;
        done
    }

    pub(super) fn put(&mut self, source: &str, method: &str, payload: Payload<'_>) -> Outcome {
        let number = self.turn;
        self.turn(|owner, now, out| {
            let request = Request {
                number,
                now,
                source,
                method,
                payload,
                is_asked: true,
            };
            owner.request(request, out)
        })
    }

    /// What an agent, or a client, is answered.
    pub(super) fn ask(
        &mut self,
        source: &str,
        method: &str,
        fields: &Value,
    ) -> Result<Value, String> {
        let bytes = serde_json::to_vec(fields).unwrap();
        let payload = Payload {
            content_type: ContentType::Json,
            bytes: &bytes,
        };
        match self.put(source, method, payload) {
            Outcome::Ok(answer) if answer.bytes.is_empty() => Ok(Value::Null),
            Outcome::Ok(answer) => Ok(serde_json::from_slice(&answer.bytes).unwrap()),
            Outcome::Failed(failure) => Err(format!("{}: {}", failure.code, failure.message)),
            Outcome::Pending => Err("pending".to_owned()),
            Outcome::Deferred => Err("deferred".to_owned()),
        }
    }

    pub(super) fn publish(&mut self, topic: &str, data: u64) -> Value {
        let fields = json!({"topic": topic, "data": data});
        self.ask("counter/p", "publish", &fields).unwrap()
    }

    pub(super) fn subscribe(&mut self, agent: &str, fields: &Value) -> Value {
        self.ask(agent, "subscribe", fields).unwrap()
    }

    /// Tells the end of the message that is so many among those under way.
    pub(super) fn end(&mut self, at: usize) {
        self.end_as(at, true);
    }

    pub(super) fn end_as(&mut self, at: usize, is_applied: bool) {
        let token = self.under_way.remove(at);
        self.turn(|owner, now, out| {
            owner.ended(token, is_applied);
            owner.pump(now, out);
        });
    }

    /// Fires the timers that are due.
    pub(super) fn tick(&mut self) {
        for (timer, due) in self.timers.clone() {
            if due > self.now {
                continue;
            }
            self.timers.remove(&timer);
            self.turn(|owner, now, out| match timer {
                PUMP => {
                    owner.is_pump_set = false;
                    owner.pump(now, out);
                }
                READS => owner.end_reads(now, out),
                super::ENTER_AGAIN => owner.enter_again(out),
                _ => unreachable!(),
            });
        }
    }

    /// Until nothing is due and nothing under way.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.tick();
            if !self.under_way.is_empty() {
                self.end(0);
            } else if self.timers.values().all(|due| *due > self.now) {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut saved = Vec::new();
        self.owner.save(&mut saved);
        saved
    }

    pub(super) fn save_and_load(&mut self) {
        let saved = self.save();
        self.owner = Owner::load(&saved).unwrap();
        assert_eq!(self.save(), saved, "saved once more it is other bytes");
    }

    /// What one was sent, by number.
    pub(super) fn numbers(&self, to: &str) -> Vec<u64> {
        let own = self.messages.iter().filter(|it| it.to == to);
        own.map(Message::number).collect()
    }
}
