//! Frames put to an agent as a node does, read back whole.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "every test file uses its own part of this, and a test fails by panicking"
)]

use phoenix_sdk::__private::Runtime;
use phoenix_sdk::{Agent, ContentType, Failure, Payload};
use phoenix_wit::{AnswerReader, Effect, FrameWriter, Input, Outcome, Reply, Turn};

/// One turn's answer, owned.
#[derive(Debug, PartialEq)]
pub enum Ended {
    Ok(Payload),
    Failed(Failure),
    Pending,
    Deferred,
}

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub ended: Ended,
    pub pending: u16,
    /// Reply effects: request and answer.
    pub replies: Vec<(u64, Result<Payload, Failure>)>,
    /// Ask effects: number and receiver.
    pub asks: Vec<(u64, String)>,
    /// Every effect, printed.
    pub effects: Vec<String>,
}

/// An agent and the number of its next turn.
pub struct Guest<A> {
    pub runtime: Runtime<A>,
    pub turn: u64,
}

impl<A: Agent> Guest<A> {
    pub fn new() -> Self {
        Self {
            runtime: Runtime::new(),
            turn: 0,
        }
    }

    /// Runs all inputs in one frame.
    pub fn batch(&mut self, inputs: &[Input<'_>]) -> Vec<Answer> {
        let mut frame = FrameWriter::new(Vec::new(), "test/one", 7);
        for input in inputs {
            frame.push(&Turn {
                number: self.turn,
                now: 1_000 + self.turn,
                input: *input,
            });
            self.turn += 1;
        }
        let answer = self.runtime.turns(&frame.finish());
        read(&answer, u32::try_from(inputs.len()).unwrap())
    }

    pub fn one(&mut self, input: Input<'_>) -> Answer {
        self.batch(&[input]).remove(0)
    }

    pub fn reply(&mut self, ask: u64, payload: &Payload) -> Answer {
        self.one(Input::Reply {
            ask,
            reply: Reply::Ok(borrowed(payload)),
        })
    }
}

pub fn read(frame: &[u8], turns: u32) -> Vec<Answer> {
    let mut reader = AnswerReader::new(frame, turns).unwrap();
    let mut answers = Vec::new();
    while let Some(mut answer) = reader.next_answer().unwrap() {
        let (mut replies, mut asks, mut effects) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(effect) = answer.effects.next_effect().unwrap() {
            effects.push(format!("{effect:?}"));
            match effect {
                Effect::Reply { request, answer } => {
                    replies.push((request, answer.map(Payload::from).map_err(Failure::from)));
                }
                Effect::Ask { ask, to, .. } => asks.push((ask, to.to_owned())),
                _ => {}
            }
        }
        answers.push(Answer {
            ended: match answer.outcome {
                Outcome::Ok(payload) => Ended::Ok(payload.into()),
                Outcome::Failed(failure) => Ended::Failed(failure.into()),
                Outcome::Pending => Ended::Pending,
                Outcome::Deferred => Ended::Deferred,
            },
            pending: answer.pending,
            replies,
            asks,
            effects,
        });
    }
    answers
}

pub fn borrowed(payload: &Payload) -> phoenix_wit::Payload<'_> {
    phoenix_wit::Payload {
        content_type: payload.content_type(),
        bytes: payload.bytes(),
    }
}

/// A request with a payload from `client/test`.
pub fn request<'a>(method: &'a str, payload: &'a Payload) -> Input<'a> {
    Input::Message {
        source: "client/test",
        method,
        payload: borrowed(payload),
        request: true,
        deadline: 0,
    }
}

/// The same, with nobody waiting.
pub fn send<'a>(method: &'a str, payload: &'a Payload) -> Input<'a> {
    Input::Message {
        source: "client/test",
        method,
        payload: borrowed(payload),
        request: false,
        deadline: 0,
    }
}

pub fn packed<T: serde::Serialize>(value: T) -> Payload {
    Payload::message_pack(&value).unwrap()
}

pub fn json(text: &str) -> Payload {
    Payload::new(ContentType::Json, text.into())
}
