//! Tests of an agent without a node: the agent, its time, and everybody it talks to.
//!
//! ```
//! use phoenix_sdk::prelude::*;
//! use phoenix_sdk::testing::TestContext;
//!
//! #[derive(Default)]
//! struct Visitor { hits: u64 }
//!
//! #[agent]
//! impl Visitor {
//!     fn hit(&mut self, bytes: u64, ctx: &mut Context) -> u64 {
//!         self.hits += 1;
//!         ctx.send("site/main", Request::new("served", bytes));
//!         self.hits
//!     }
//! }
//!
//! let mut test = TestContext::<Visitor>::new("visitor/10.0.0.1");
//! assert_eq!(test.call(VisitorRequests::hit(512)), Ok(1));
//! let sent = test.take_sent();
//! assert!(sent[0].is("site/main", &Request::new("served", 512)));
//! ```
//!
//! A [`TestContext`] speaks to the agent as a node does, in frames, and does for
//! it what a node would: it keeps deferred messages, answers asks as told, moves
//! the clock, fires timers and lets asks time out. Everything is deterministic.

#![allow(
    clippy::panic,
    reason = "this is what tests are written with, and a test fails by panicking"
)]

mod records;
mod world;

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use records::{Asked, Logged, Published, Sent, Spawned, Subscribed, Timer};

use crate::ask::AskError;
use crate::bounced::Bounced;
use crate::failure::Failure;
use crate::payload::Payload;
use crate::request::{Answer, Request};
use crate::runtime::Agent;
use crate::time::Timestamp;
use world::{Reaction, World};

/// One agent under test.
///
/// The [module's page](self) has an example.
pub struct TestContext<A> {
    world: World<A>,
}

/// A request whose handler may still be waiting; [`TestContext::begin`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun<R> {
    turn: u64,
    answer: PhantomData<fn() -> R>,
}

impl<A: Agent> TestContext<A> {
    /// An agent at the address `id`, without configuration. Its time begins at
    /// 2026-01-01 and its messages come from `client/test`.
    ///
    /// # Panics
    /// If its `#[init]` fails.
    #[track_caller]
    pub fn new(id: &str) -> Self {
        match Self::start(id, &Payload::none()) {
            Ok(test) => test,
            Err(failure) => panic!("`{id}` cannot begin without configuration: {failure}"),
        }
    }

    /// An agent at the address `id` whose `#[init]` gets `config`.
    ///
    /// # Errors
    /// What its `#[init]` answers.
    pub fn with_config<T: Serialize + ?Sized>(id: &str, config: &T) -> Result<Self, Failure> {
        Self::start(id, &encoded(config))
    }

    fn start(id: &str, config: &Payload) -> Result<Self, Failure> {
        let mut world = World::new(id);
        world.init(config)?;
        Ok(Self { world })
    }

    /// Calls a handler and waits for its answer.
    ///
    /// # Panics
    /// If the handler waits for an ask that nobody answers: say who does, with
    /// [`on_ask`](Self::on_ask) or [`answer_next`](Self::answer_next), or use
    /// [`begin`](Self::begin).
    #[track_caller]
    pub fn call<T: Serialize, R: Answer, E>(
        &mut self,
        request: Request<T, R, E>,
    ) -> Result<R, Failure> {
        let begun = self.begin(request);
        self.settled(begun)
    }

    /// Calls a handler by name with any payload, such as JSON.
    ///
    /// # Panics
    /// As [`call`](Self::call).
    #[track_caller]
    pub fn call_raw(&mut self, method: &str, payload: &Payload) -> Result<Payload, Failure> {
        let turn = self.world.request(method, payload);
        self.settled(Begun {
            turn,
            answer: PhantomData,
        })
    }

    /// Calls a handler by name with JSON, as `curl` and the command line do.
    ///
    /// # Panics
    /// As [`call`](Self::call), and if the answer is no JSON.
    #[track_caller]
    pub fn call_json(&mut self, method: &str, json: &str) -> Result<String, Failure> {
        let payload = Payload::new(crate::ContentType::Json, json.into());
        let answer = self.call_raw(method, &payload)?;
        match String::from_utf8(answer.into_bytes()) {
            Ok(json) => Ok(json),
            Err(error) => panic!("`{method}` answered something that is no JSON: {error}"),
        }
    }

    /// Sends a message that nobody waits for; what its handler returns is not seen.
    ///
    /// # Errors
    /// The handler's failure, which a node would log and nobody else would hear of.
    pub fn send<T: Serialize, R, E>(&mut self, request: Request<T, R, E>) -> Result<(), Failure> {
        self.world
            .message(request.method(), &encoded(request.arguments()))
    }

    /// Gives the agent a message of its own that came back, as one of
    /// [`take_sent`](Self::take_sent):
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # use phoenix_sdk::testing::TestContext;
    /// # fn example<A: phoenix_sdk::Agent>(test: &mut TestContext<A>) {
    /// let sent = test.take_sent().remove(0);
    /// test.bounce(sent.bounced("no-credit"));
    /// # }
    /// ```
    pub fn bounce(&mut self, bounced: Bounced) {
        self.world.bounce(bounced);
    }

    /// Begins a call and leaves it waiting if its handler waits.
    pub fn begin<T: Serialize, R, E>(&mut self, request: Request<T, R, E>) -> Begun<R> {
        let payload = encoded(request.arguments());
        Begun {
            turn: self.world.request(request.method(), &payload),
            answer: PhantomData,
        }
    }

    /// The answer of a call that was begun, once, or `None` while it waits.
    ///
    /// # Panics
    /// If the answer is no `R`.
    #[track_caller]
    pub fn finished<R: Answer>(&mut self, begun: &Begun<R>) -> Option<Result<R, Failure>> {
        let answer = self.world.take_answer(begun.turn)?;
        Some(answer.map(|payload| match R::from_payload(&payload) {
            Ok(value) => value,
            Err(why) => panic!("the answer {payload:?} cannot be read: {why}"),
        }))
    }

    #[track_caller]
    fn settled<R: Answer>(&mut self, begun: Begun<R>) -> Result<R, Failure> {
        match self.finished(&begun) {
            Some(answer) => answer,
            None => panic!("{}", self.world.stuck()),
        }
    }

    /// Says who sends the messages from now on.
    pub fn set_source(&mut self, source: &str) {
        source.clone_into(&mut self.world.source);
    }

    /// Says how long whoever asks waits from now on, an hour unless it is said:
    /// [`Context::deadline`](crate::Context::deadline) of the handlers they ask.
    pub fn set_patience(&mut self, patience: Duration) {
        self.world.patience = patience;
    }

    /// Sets the seed of the agent's random numbers from the next turn on.
    pub fn set_seed(&mut self, seed: u64) {
        self.world.seed = seed;
    }

    /// Answers every ask for `method` of `to` by a function of its argument (a tuple
    /// of several). `to` may be a kind, as `counter/*`.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # use phoenix_sdk::testing::TestContext;
    /// # fn example<A: phoenix_sdk::Agent>(test: &mut TestContext<A>) {
    /// test.on_ask("counter/*", "add", |by: u64| Ok(by * 2));
    /// test.on_ask("bank/main", "withdraw", |_: (String, u64)| {
    ///     Err::<(), _>(Failure::new("overdrawn", "no money").into())
    /// });
    /// # }
    /// ```
    pub fn on_ask<T, R>(
        &mut self,
        to: &str,
        method: &str,
        mut answer: impl FnMut(T) -> Result<R, AskError> + 'static,
    ) where
        T: DeserializeOwned,
        R: Serialize,
    {
        let what = format!("{to} {method}");
        self.world.react(Reaction {
            to: to.to_owned(),
            method: method.to_owned(),
            once: false,
            answer: Box::new(move |payload| {
                let arguments = records::read(&what, payload);
                answer(arguments).map(|value| encoded(&value))
            }),
        });
        self.world.settle();
    }

    /// Answers the next ask for `method` of `to`, once, before any
    /// [`on_ask`](Self::on_ask). Several queue up.
    pub fn answer_next<R: Serialize>(
        &mut self,
        to: &str,
        method: &str,
        answer: Result<R, AskError>,
    ) {
        let answer = answer.map(|value| encoded(&value));
        self.world.react(Reaction {
            to: to.to_owned(),
            method: method.to_owned(),
            once: true,
            answer: Box::new(move |_| answer.clone()),
        });
        self.world.settle();
    }

    /// The asks that have no answer yet, oldest first.
    pub fn asks(&self) -> Vec<Asked> {
        self.world.asks.values().cloned().collect()
    }

    /// Answers one of [`asks`](Self::asks).
    ///
    /// # Panics
    /// If there is no such ask.
    #[track_caller]
    pub fn reply<R: Serialize>(&mut self, ask: u64, answer: Result<R, AskError>) {
        if !self.world.asks.contains_key(&ask) {
            panic!("there is no open ask {ask}; there are {:?}", self.asks());
        }
        self.world.reply(ask, &answer.map(|value| encoded(&value)));
        self.world.settle();
    }

    /// The time of the next turn.
    pub fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Moves the clock on. What falls due meanwhile happens at its own time, in
    /// order: timers fire, asks time out.
    pub fn advance(&mut self, duration: Duration) {
        self.world.advance(duration);
    }

    /// Moves the clock on while the agent cannot be called, as while its node is down.
    /// What fell due meanwhile comes after that: asks time out, and timers catch up as
    /// their schedules say.
    pub fn miss(&mut self, duration: Duration) {
        self.world.miss(duration);
    }

    /// Looks at the agent.
    ///
    /// # Panics
    /// While an `async` handler with `&mut self` waits, which has the agent to itself.
    #[track_caller]
    pub fn with<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        match self.world.state().try_read() {
            Some(agent) => look(&agent),
            None => panic!("a waiting handler holds the agent: answer its ask first"),
        }
    }

    /// Changes the agent behind its own back, to set a scene.
    ///
    /// # Panics
    /// While an `async` handler with `self` waits.
    #[track_caller]
    pub fn with_mut<R>(&mut self, change: impl FnOnce(&mut A) -> R) -> R {
        match self.world.state().try_write() {
            Some(mut agent) => change(&mut agent),
            None => panic!("a waiting handler holds the agent: answer its ask first"),
        }
    }

    /// Handlers that wait.
    pub fn pending(&self) -> usize {
        self.world.pending.into()
    }

    /// Messages and timers that wait for a waiting handler to end.
    pub fn deferred(&self) -> usize {
        self.world.deferred.len()
    }

    /// The messages sent since the last call of this.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.world.sent)
    }

    /// The events published since the last call of this.
    pub fn take_published(&mut self) -> Vec<Published> {
        std::mem::take(&mut self.world.published)
    }

    /// The agents created since the last call of this.
    pub fn take_spawned(&mut self) -> Vec<Spawned> {
        std::mem::take(&mut self.world.spawned)
    }

    /// The lines logged since the last call of this.
    pub fn take_logs(&mut self) -> Vec<Logged> {
        std::mem::take(&mut self.world.logs)
    }

    /// The failures of handlers nobody waits for, since the last call of this.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.world.failures)
    }

    /// The timers that are set, soonest first.
    pub fn timers(&self) -> Vec<Timer> {
        let mut timers: Vec<Timer> = self.world.timers.values().cloned().collect();
        timers.sort_by_key(|timer| timer.due);
        timers
    }

    /// What the agent is subscribed to, in the order of the subscriptions' names.
    pub fn subscriptions(&self) -> Vec<Subscribed> {
        self.world.subscriptions.values().cloned().collect()
    }

    /// Why the agent stopped, if it has.
    pub fn stopped(&self) -> Option<&str> {
        self.world.stopped.as_deref()
    }
}

impl<A> std::fmt::Debug for TestContext<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestContext")
            .field("id", &self.world.id)
            .field("now", &self.world.now)
            .field("pending", &self.world.pending)
            .finish_non_exhaustive()
    }
}

#[track_caller]
fn encoded<T: Serialize + ?Sized>(value: &T) -> Payload {
    match Payload::message_pack(value) {
        Ok(payload) => payload,
        Err(why) => panic!("cannot encode a {}: {why}", std::any::type_name::<T>()),
    }
}
