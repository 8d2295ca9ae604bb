//! The owner as an agent's program.

use std::num::NonZeroU64;

use phoenix_wit::{
    CatchUp, ContentType, Effect, Input, Payload, ReceiverList, Schedule, SendOptions, Turn,
    Verdict,
};

use super::requests::Request;
use super::root::{ENTER, ROOTED};
use super::{ENTER_AGAIN, Out, Owner, PUMP, READS};
use crate::AgentId;
use crate::control::HandlerInfo;
use crate::program::{BuiltIn, Outcome, Program, Turned};
use crate::topics::wire::{KIND, method};

/// The version of what owners do and how they are saved.
const VERSION: u32 = 1;

/// The kind of agents that own topics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Topics;

impl BuiltIn for Topics {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn handlers(&self) -> Vec<HandlerInfo> {
        let names = [
            method::PUBLISH,
            method::SUBSCRIBE,
            method::UNSUBSCRIBE,
            method::DECLARE,
            method::CONFIGURE,
            method::READ,
            method::LIST,
            ENTER,
            ROOTED,
        ];
        let info = |name: &str| HandlerInfo {
            name: name.into(),
            interleave: true,
        };
        names.into_iter().map(info).collect()
    }

    fn begin(&self) -> Box<dyn Program> {
        Box::new(Owner::default())
    }

    fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
        Ok(Box::new(Owner::load(saved)?))
    }
}

impl Program for Owner {
    fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome {
        let now = turn.now / 1_000_000;
        self.begin_turn(out.agent(), now, out.limits().memory_bytes);
        match turn.input {
            Input::Init { .. } => {
                self.enter(out);
                Outcome::DONE
            }
            Input::Message {
                source,
                method,
                payload,
                request,
                ..
            } => self.request(
                Request {
                    number: turn.number,
                    now,
                    source,
                    method,
                    payload,
                    is_asked: request,
                },
                out,
            ),
            Input::Verdict { token, verdict, .. } => {
                self.ended(token, verdict == Verdict::Applied);
                self.pump(now, out);
                Outcome::DONE
            }
            Input::Timer { id: PUMP, .. } => {
                self.is_pump_set = false;
                self.pump(now, out);
                Outcome::DONE
            }
            Input::Reply { ask, reply } => {
                self.root_answered(ask, reply, out);
                Outcome::DONE
            }
            Input::Timer {
                id: ENTER_AGAIN, ..
            } => {
                self.enter_again(out);
                Outcome::DONE
            }
            Input::Timer { id: READS, .. } => {
                self.end_reads(now, out);
                Outcome::DONE
            }
            _ => Outcome::DONE,
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        Owner::save(self, out);
    }

    fn memory_bytes(&self) -> u64 {
        Owner::memory_bytes(self)
    }
}

impl Out for Turned<'_> {
    fn messages_left(&self) -> usize {
        self.effects_left() as usize
    }

    fn bytes_left(&self) -> usize {
        Turned::bytes_left(self)
    }

    fn multicast(
        &mut self,
        to: &[AgentId],
        method: &str,
        payload: Payload<'_>,
        options: &[u8; SendOptions::BYTES],
        token: Option<NonZeroU64>,
    ) {
        let to: ReceiverList = to.iter().map(AgentId::as_str).collect();
        self.effect(&Effect::Multicast {
            to: to.receivers(),
            method,
            message_type: "",
            payload,
            options,
            token,
        });
    }

    fn reply(&mut self, request: u64, content_type: ContentType, bytes: &[u8]) {
        let payload = Payload {
            content_type,
            bytes,
        };
        self.effect(&Effect::Reply {
            request,
            answer: Ok(payload),
        });
    }

    fn ask(
        &mut self,
        ask: u64,
        to: &AgentId,
        method: &str,
        payload: Payload<'_>,
        deadline_ms: u32,
    ) {
        self.effect(&Effect::Ask {
            ask,
            to: to.as_str(),
            method,
            payload,
            deadline_ms,
            waiter: None,
        });
    }

    fn set_timer(&mut self, timer: u64, delay_ms: u64) {
        self.effect(&Effect::SetTimer {
            id: timer,
            schedule: Schedule::Once { delay_ms },
            catch_up: CatchUp::Once,
            method: "",
            payload: Payload::NONE,
        });
    }
}
