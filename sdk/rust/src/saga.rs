//! Sagas: agents that start them, and agents that do their steps.
//!
//! A saga is an agent of the node's own, `saga/ID`. It asks one agent after the other to
//! do a step. If one fails, it asks for what undoes those that were done, the last one
//! first.
//!
//! ```
//! use phoenix_sdk::prelude::*;
//! use phoenix_sdk::saga::{Saga, Step};
//!
//! #[derive(Default)]
//! struct Shop;
//!
//! #[agent]
//! impl Shop {
//!     async fn order(&mut self, ctx: &mut Context, order: u64) -> Result<(), AskError> {
//!         let saga = Saga::new()
//!             .step(Step::new("reserve", "stock/main", "reserve").undo("release"))
//!             .step(Step::new("pay", "bank/alice", "withdraw").undo("deposit"))
//!             .step(Step::new("ship", "post/main", "ship"))
//!             .start(order);
//!         ctx.ask(format!("saga/order-{order}"), saga).await?;
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! Whoever does a step keeps [`Steps`], by which it does nothing twice, and nothing that
//! comes after it was undone:
//!
//! ```
//! use phoenix_sdk::prelude::*;
//! use phoenix_sdk::saga::{Call, Steps, TooLate};
//!
//! #[derive(Default)]
//! struct Stock { left: u64, steps: Steps<u64> }
//!
//! #[agent]
//! impl Stock {
//!     fn reserve(&mut self, call: Call<u64>) -> Result<u64, TooLate> {
//!         let left = &mut self.left;
//!         self.steps.act(&call.id, || {
//!             *left = left.saturating_sub(1);
//!             *left
//!         })
//!     }
//!
//!     fn release(&mut self, call: Call<u64>) {
//!         if self.steps.undo(&call.id).is_some() {
//!             self.left += 1;
//!         }
//!     }
//! }
//! # fn main() {}
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::failure::{AgentError, Failure};
use crate::pipeline::Retry;
use crate::request::Request;
use crate::schedule::millis;

/// Most steps that [`Steps`] remembers: the oldest are forgotten first.
pub const MAX_STEPS: usize = 10_000;

/// What a saga is to do. The saga checks it, and says what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use = "a saga is begun by sending `start` to it"]
pub struct Saga {
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// What one step is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use = "a step is a part of a saga"]
pub struct Step {
    id: String,
    to: String,
    method: String,
    form: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<Undo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Undo {
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    method: String,
    form: &'static str,
}

/// What `start` carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Start<T> {
    saga: Saga,
    input: T,
    wait: bool,
}

/// How a saga stands: what it answers to `start` when it is committed, and to `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// `new`, `doing`, `undoing`, `stuck`, `committed` or `compensated`.
    pub state: String,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
}

/// How a step stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepReport {
    /// Its id.
    pub id: String,
    /// `waiting`, `doing`, `done`, `failed`, `unsure`, `undoing`, `undone` or `kept`.
    pub state: String,
}

/// What a handler is given that does a step, or undoes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<T, A = Unread> {
    /// The saga's id and the step's, `SAGA/STEP`: the same for each try of it, and of what
    /// undoes it.
    pub id: String,
    /// What the step is done with.
    pub input: T,
    /// What the step answered, for what undoes it, if that is known.
    #[serde(default = "none")]
    pub answer: Option<A>,
}

/// An answer that nobody looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Self)
    }
}

fn none<A>() -> Option<A> {
    None
}

impl Saga {
    /// A saga without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step after those that there are.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// How long all steps may take together, up to a day; then they are undone.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout_ms = Some(millis(span));
        self
    }

    /// The request that begins it with `input`, and is answered when it has ended: with its
    /// report, or the failure `compensated`.
    pub fn start<T: Serialize>(self, input: T) -> Request<Start<T>, Report> {
        let start = Start {
            saga: self,
            input,
            wait: true,
        };
        Request::new("start", start).returns()
    }

    /// The request that begins it, and is answered at once.
    pub fn begin<T: Serialize>(self, input: T) -> Request<Start<T>, Report> {
        let start = Start {
            saga: self,
            input,
            wait: false,
        };
        Request::new("start", start).returns()
    }
}

impl Step {
    /// A step: `method` of the agent `to` does it, and is given a [`Call`].
    pub fn new(id: impl Into<String>, to: impl Into<String>, method: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            to: to.into(),
            method: method.into(),
            form: "step",
            timeout_ms: None,
            retry: None,
            undo: None,
        }
    }

    /// The handler is given the saga's input alone, and what undoes it the step's answer.
    pub fn plain(mut self) -> Self {
        self.form = "plain";
        if let Some(undo) = &mut self.undo {
            undo.form = "plain";
        }
        self
    }

    /// `method` of the same agent undoes it.
    pub fn undo(self, method: impl Into<String>) -> Self {
        self.undone(None, method.into())
    }

    /// `method` of another agent undoes it.
    pub fn undo_at(self, to: impl Into<String>, method: impl Into<String>) -> Self {
        self.undone(Some(to.into()), method.into())
    }

    fn undone(mut self, to: Option<String>, method: String) -> Self {
        let form = self.form;
        self.undo = Some(Undo { to, method, form });
        self
    }

    /// How long an answer is waited for: up to an hour, 5 s if it is not said.
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout_ms = Some(millis(span));
        self
    }

    /// How often it is tried, the first time included, and by which schedule, as in
    /// `fixed:1s` or `exponential:100ms..10s`.
    pub fn retry(mut self, attempts: u32, schedule: impl Into<String>) -> Self {
        let schedule = schedule.into();
        self.retry = Some(Retry { attempts, schedule });
        self
    }
}

/// The request for how a saga stands.
pub fn status() -> Request<(), Report> {
    Request::new("status", ()).returns()
}

/// The steps that an agent has done for sagas, or has undone.
///
/// A step that was undone leaves a tombstone: if it comes late, it is refused. `A` is what
/// steps answer. The last [`MAX_STEPS`] are remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps<A = ()> {
    /// By id: the answer, or `None` of one that was undone.
    known: BTreeMap<String, Option<A>>,
    /// The oldest first.
    order: VecDeque<String>,
}

/// A step came after it was undone. Code `too-late`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

impl<A: Clone> Steps<A> {
    /// Does a step, unless it was done already: then it answers as it did.
    ///
    /// # Errors
    /// The step was undone before; nothing is done.
    pub fn act(&mut self, id: &str, act: impl FnOnce() -> A) -> Result<A, TooLate> {
        match self.known.get(id) {
            Some(Some(answer)) => Ok(answer.clone()),
            Some(None) => Err(TooLate),
            None => {
                let answer = act();
                self.keep(id, Some(answer.clone()));
                Ok(answer)
            }
        }
    }

    /// Marks a step as undone, and gives the answer of one that was done and not undone yet:
    /// what it did is to be undone now.
    pub fn undo(&mut self, id: &str) -> Option<A> {
        let answer = self.known.get(id).cloned().flatten();
        self.keep(id, None);
        answer
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn keep(&mut self, id: &str, answer: Option<A>) {
        if self.known.insert(id.to_owned(), answer).is_none() {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > MAX_STEPS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

impl<A> Default for Steps<A> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl std::fmt::Display for TooLate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the step was undone before it came")
    }
}

impl std::error::Error for TooLate {}

impl AgentError for TooLate {
    fn into_failure(self) -> Failure {
        Failure::new("too-late", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_done_once_and_not_after_it_was_undone() {
        let mut steps = Steps::default();
        let mut done = 0;
        for _ in 0..2 {
            let answer = steps.act("order-7/pay", || {
                done += 1;
                done
            });
            assert_eq!(answer, Ok(1));
        }
        assert_eq!(steps.undo("order-7/pay"), Some(1));
        assert_eq!(steps.undo("order-7/pay"), None, "it is undone already");
        assert_eq!(steps.act("order-7/pay", || 2), Err(TooLate));
        // What undoes a step may come first.
        assert_eq!(steps.undo("order-8/pay"), None);
        assert_eq!(steps.act("order-8/pay", || 2), Err(TooLate));
        assert_eq!(steps.len(), 2);
    }

    #[test]
    fn as_many_steps_are_remembered_as_may_be() {
        let mut steps = Steps::default();
        for step in 0..=MAX_STEPS {
            assert_eq!(steps.act(&step.to_string(), || step), Ok(step));
        }
        assert_eq!(steps.len(), MAX_STEPS);
        assert_eq!(steps.act("0", || 7), Ok(7), "the oldest is forgotten");
    }

    #[test]
    fn whoever_does_not_look_at_the_answer_takes_any() {
        let text = r#"{"id":"a/b","input":5,"answer":{"n":[1]}}"#;
        let call: Call<u64> = serde_json::from_str(text).unwrap();
        assert_eq!((call.input, call.answer), (5, Some(Unread)));
        let call: Call<u64> = serde_json::from_str(r#"{"id":"a/b","input":5}"#).unwrap();
        assert_eq!(call.answer, None);
    }
}
