//! Pipelines, as agents declare them and push to them.
//!
//! A pipeline is an agent of the node's own, `pipeline/NAME`: what is pushed to it goes
//! through its stages, which are other agents, each in the order it came. Whoever asks to
//! push is answered when the message has been taken; while the pipeline is full, that is
//! when there is room.
//!
//! ```
//! use phoenix_sdk::pipeline::{OnError, Pipeline, Stage, push};
//! use phoenix_sdk::prelude::*;
//!
//! #[derive(Default)]
//! struct Orders;
//!
//! #[agent]
//! impl Orders {
//!     async fn open(&mut self, ctx: &mut Context) -> Result<(), AskError> {
//!         let pipeline = Pipeline::new()
//!             .in_flight(64)
//!             .stage(Stage::new("parse", "parser/main", "parse"))
//!             .stage(
//!                 Stage::spread("store", "store", 8, "put")
//!                     .parallel(8)
//!                     .retry(5, "exponential:100ms..10s")
//!                     .on_error(OnError::DeadLetter),
//!             );
//!         ctx.ask("pipeline/orders", pipeline.define()).await?;
//!         Ok(())
//!     }
//!
//!     fn order(&mut self, ctx: &mut Context, order: String) {
//!         ctx.send("pipeline/orders", push(order));
//!     }
//! }
//! # fn main() {}
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::Request;
use crate::schedule::millis;

/// What a pipeline is to be. The pipeline checks it, and says what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a pipeline is declared by sending `define` to it"]
pub struct Pipeline {
    stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message: Option<u32>,
}

/// What one stage is to be: whom it asks, and what becomes of a message that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a stage is a part of a pipeline"]
pub struct Stage {
    name: String,
    to: String,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeatable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_error: Option<OnError>,
}

/// Tries of one message or step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) schedule: String,
}

/// What becomes of a message that a stage does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is left out, and counted.
    Skip,
    /// It goes on to the next stage as it was.
    Pass,
    /// It is put aside, where `dead_letters` shows it.
    DeadLetter,
    /// The pipeline halts before it, until it is resumed.
    Halt,
}

/// How a pipeline stands: what it answers to `define`, `status`, `halt` and `resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `undefined`, `running` or `halted`.
    pub state: String,
    /// Why it is halted.
    pub reason: Option<String>,
    /// Messages in it.
    pub in_flight: u64,
    /// Messages it has taken.
    pub taken: u64,
    /// Messages that have been through all stages.
    pub done: u64,
    /// Messages that were left out.
    pub skipped: u64,
    /// Messages that were put aside.
    pub dead: u64,
    /// Tries after the first.
    pub retries: u64,
}

/// What `push` is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The message's number in the pipeline, counted from 1.
    pub number: u64,
}

impl Pipeline {
    /// A pipeline without stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage after those that there are.
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// How many messages may be in it at once: 1 to 1,024, 64 if it is not said.
    pub fn in_flight(mut self, messages: u32) -> Self {
        self.in_flight = Some(messages);
        self
    }

    /// The largest message, bytes: up to 1 MiB, 256 KiB if it is not said. As many as may
    /// be in flight have to fit into 16 MiB.
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// The request that gives it these stages, also while messages are on their way.
    pub fn define(self) -> Request<Self, Status> {
        Request::new("define", self).returns()
    }
}

impl Stage {
    /// A stage that asks `to`, `kind/key`, or one agent for each message by fields of it in
    /// braces, as in `visitor/{data.ip}`. `name` is what a new declaration knows it by.
    pub fn new(name: impl Into<String>, to: impl Into<String>, method: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            to: to.into(),
            method: method.into(),
            spread: None,
            timeout_ms: None,
            parallel: None,
            retry: None,
            repeatable: None,
            on_error: None,
        }
    }

    /// A stage that is spread over so many agents of a kind, `kind/0` and on, by a hash of
    /// the message.
    pub fn spread(
        name: impl Into<String>,
        kind: impl Into<String>,
        agents: u32,
        method: impl Into<String>,
    ) -> Self {
        let mut stage = Self::new(name, kind, method);
        stage.spread = Some(agents);
        stage
    }

    /// How long an answer is waited for: up to an hour, 5 s if it is not said.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout_ms = Some(millis(span));
        self
    }

    /// How many messages it works on at once, each by another agent: 1 to 256, 1 if it is
    /// not said.
    pub fn parallel(mut self, messages: u32) -> Self {
        self.parallel = Some(messages);
        self
    }

    /// How often it is tried, the first time included, and by which schedule, as in
    /// `fixed:1s` or `exponential:100ms..10s`.
    pub fn retry(mut self, attempts: u32, schedule: impl Into<String>) -> Self {
        let schedule = schedule.into();
        self.retry = Some(Retry { attempts, schedule });
        self
    }

    /// Does not try again what may have been done although no answer came.
    pub fn not_repeatable(mut self) -> Self {
        self.repeatable = Some(false);
        self
    }

    /// What becomes of a message that failed at its last try: the pipeline halts if it is
    /// not said.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }
}

/// The request that pushes a message.
pub fn push<T: Serialize>(message: T) -> Request<T, Pushed> {
    Request::new("push", message).returns()
}

/// The request for how a pipeline stands.
pub fn status() -> Request<(), Status> {
    Request::new("status", ()).returns()
}
