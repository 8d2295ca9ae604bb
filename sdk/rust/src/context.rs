//! What a handler can do and know.

use std::fmt::{self, Display, Write as _};
use std::rc::Rc;
use std::time::Duration;

use phoenix_wit::{Delivery, Effect, Level, Payload, short};
use serde::Serialize;

use crate::ask::{Ask, AskAll};
use crate::options::SendOptions;
use crate::request::{Answer, Request};
use crate::rng::{self, Rng};
use crate::runtime::Shared;
use crate::schedule::{Schedule, millis};
use crate::time::Timestamp;
use crate::topics::{PublishOptions, Subscription};

/// How long an ask waits unless it says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// Longest an ask can wait: one hour.
pub const MAX_DEADLINE: Duration = Duration::from_secs(3_600);

/// A handler's view of its turn and its way to act.
///
/// A handler that wants one takes `ctx: &mut Context` (or `&Context`, which can do
/// as much). Everything it does here is an *effect*: recorded now, acted on once
/// the turn is committed, gone if the turn traps. Nothing here waits, but what
/// [`ask`](Self::ask) returns can be awaited.
pub struct Context {
    shared: Rc<Shared>,
    source: String,
    /// When whoever waits for the handler's answer stops waiting, nanoseconds; 0 if
    /// nobody does.
    deadline: u64,
}

/// A timer's name: a number or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

impl Context {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            source: String::new(),
            deadline: 0,
        }
    }

    /// Takes over the turn's message, keeping the room of the last sender, which is
    /// mostly the same.
    #[inline]
    pub(crate) fn set_message(&mut self, source: &str) {
        self.deadline = self.shared.deadline.get();
        if !short::same(self.source.as_bytes(), source.as_bytes()) {
            self.source.clear();
            self.source.push_str(source);
        }
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// This agent's address, `kind/key`.
    pub fn id(&self) -> &str {
        self.shared.id()
    }

    /// The part of [`id`](Self::id) after the slash.
    pub fn key(&self) -> &str {
        self.id().split_once('/').map_or("", |(_, key)| key)
    }

    /// Who sent the message this handler runs for, vouched for by the node:
    /// `kind/key`, `client/ID` or `sys/NAME`. For a timer, the agent itself.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// When whoever sent the message this handler runs for stops waiting for its
    /// answer; `None` if nobody waits. Whatever is asked on the way to the answer ends
    /// by then, so that nobody works for an asker who has gone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) -> bool {
    /// let left = ctx.deadline().map(|deadline| deadline - ctx.now());
    /// // Not worth beginning.
    /// left.is_some_and(|left| left < Duration::from_millis(50))
    /// # }
    /// ```
    pub fn deadline(&self) -> Option<Timestamp> {
        (self.deadline > 0).then(|| Timestamp::from_nanos(self.deadline))
    }

    /// The turn's time. Frozen for the turn; never goes back.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.shared.now.get())
    }

    /// The number of this turn, counted from 0 at the agent's creation.
    pub fn turn(&self) -> u64 {
        self.shared.turn.get()
    }

    /// A random number, the same one in a replay of this turn. Not for secrets.
    pub fn random(&self) -> u64 {
        let draw = self.shared.draws.get();
        self.shared.draws.set(draw + 1);
        rng::of_turn(self.shared.seed.get(), self.shared.turn.get(), draw)
    }

    /// A generator for more than one number, seeded by [`random`](Self::random).
    pub fn rng(&self) -> Rng {
        Rng::new(self.random())
    }

    /// Sends a message and forgets it: kept until acknowledged, resent if in
    /// doubt, applied once.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// ctx.send("site/main", Request::new("hit", 512_u64));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If an argument's `Serialize` fails; so do all methods that take values.
    pub fn send<A: Serialize, R, E>(&self, to: impl AsRef<str>, request: Request<A, R, E>) {
        self.deliver(to.as_ref(), &request, Delivery::ExactlyOnce);
    }

    /// Sends a message in another way than the kind's: on another lane, for a time,
    /// with another schedule of tries.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// let options = SendOptions::new().lane(Lane::Low).ttl(Duration::from_secs(30));
    /// ctx.send_with("site/main", Request::new("hit", 512_u64), &options);
    /// # }
    /// ```
    pub fn send_with<A: Serialize, R, E>(
        &self,
        to: impl AsRef<str>,
        request: Request<A, R, E>,
        options: &SendOptions,
    ) {
        self.send_in_way(to.as_ref(), &request, options);
    }

    /// Sends each of many messages, in their order: those to one receiver arrive in it.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context, visits: &[(String, u64)]) {
    /// let hits = visits.iter().map(|(site, bytes)| (site, Request::new("hit", *bytes)));
    /// ctx.send_batch(hits, &SendOptions::default());
    /// # }
    /// ```
    pub fn send_batch<T: AsRef<str>, A: Serialize, R, E>(
        &self,
        messages: impl IntoIterator<Item = (T, Request<A, R, E>)>,
        options: &SendOptions,
    ) {
        for (to, request) in messages {
            self.send_in_way(to.as_ref(), &request, options);
        }
    }

    /// Sends one message to many receivers and waits for none of them.
    /// [`ask_all`](Self::ask_all) waits.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// ctx.broadcast(["site/de", "site/fr"], Request::new("close", ()), &SendOptions::default());
    /// # }
    /// ```
    pub fn broadcast<T: AsRef<str>, A: Serialize, R, E>(
        &self,
        to: impl IntoIterator<Item = T>,
        request: Request<A, R, E>,
        options: &SendOptions,
    ) {
        for to in to {
            self.send_in_way(to.as_ref(), &request, options);
        }
    }

    fn send_in_way<A: Serialize, R, E>(
        &self,
        to: &str,
        request: &Request<A, R, E>,
        options: &SendOptions,
    ) {
        let method = &*request.method;
        let effect = Effect::SendWith {
            to,
            method,
            message_type: options.message_type,
            payload: Payload::NONE,
            options: &options.options.to_bytes(),
        };
        self.record(method, &request.arguments, &effect);
    }

    /// Sends a message once, for what may be lost: it is never resent.
    pub fn send_at_most_once<A: Serialize, R, E>(
        &self,
        to: impl AsRef<str>,
        request: Request<A, R, E>,
    ) {
        self.deliver(to.as_ref(), &request, Delivery::AtMostOnce);
    }

    #[inline(always)]
    fn deliver<A: Serialize, R, E>(
        &self,
        to: &str,
        request: &Request<A, R, E>,
        delivery: Delivery,
    ) {
        let method = &*request.method;
        let effect = Effect::Send {
            to,
            method,
            payload: Payload::NONE,
            delivery,
        };
        self.record(method, &request.arguments, &effect);
    }

    /// Asks another agent and returns the answer's future; it has
    /// [5 seconds](DEFAULT_DEADLINE).
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # async fn example(ctx: &mut Context) -> Result<(), AskError> {
    /// let total: u64 = ctx
    ///     .ask("counter/alice", Request::new("add", 5_u64).returns())
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn ask<A: Serialize, R: Answer, E>(
        &self,
        to: impl AsRef<str>,
        request: Request<A, R, E>,
    ) -> Ask<R, E> {
        self.ask_with_deadline(to, request, DEFAULT_DEADLINE)
    }

    /// Asks another agent; `deadline` is from 1 ms to [an hour](MAX_DEADLINE), and
    /// brought into that range if it is not. Asked for somebody who waits, it ends no
    /// later than [they stop waiting](Self::deadline).
    pub fn ask_with_deadline<A: Serialize, R: Answer, E>(
        &self,
        to: impl AsRef<str>,
        request: Request<A, R, E>,
        deadline: Duration,
    ) -> Ask<R, E> {
        self.begin_ask(to.as_ref(), &request, deadline)
    }

    /// Asks many agents the same at once. The answers come together, in the order of
    /// `to`, when all are there or `deadline` has passed: whoever has not answered by
    /// then has [`AskError::Timeout`], the others what they said.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # async fn example(ctx: &mut Context) -> u64 {
    /// let total = Request::new("total", ()).returns::<u64>();
    /// let answers = ctx.ask_all(["site/de", "site/fr"], total, Duration::from_secs(1)).await;
    /// // Of those that answered in time.
    /// answers.into_iter().flatten().sum()
    /// # }
    /// ```
    pub fn ask_all<T: AsRef<str>, A: Serialize, R: Answer, E>(
        &self,
        to: impl IntoIterator<Item = T>,
        request: Request<A, R, E>,
        deadline: Duration,
    ) -> AskAll<R, E> {
        let to = to.into_iter();
        AskAll::new(to.map(|to| self.begin_ask(to.as_ref(), &request, deadline)))
    }

    fn begin_ask<A: Serialize, R: Answer, E>(
        &self,
        to: &str,
        request: &Request<A, R, E>,
        deadline: Duration,
    ) -> Ask<R, E> {
        let ask = self.shared.asks.borrow_mut().begin();
        let left = self.deadline().map(|deadline| deadline - self.now());
        let deadline = deadline.min(left.unwrap_or(MAX_DEADLINE)).min(MAX_DEADLINE);
        let deadline_ms = u32::try_from(millis(deadline)).unwrap_or(u32::MAX);
        let method = &*request.method;
        let effect = Effect::Ask {
            ask,
            to,
            method,
            payload: Payload::NONE,
            deadline_ms: deadline_ms.max(1),
            waiter: None,
        };
        self.record(method, &request.arguments, &effect);
        Ask::new(Rc::clone(&self.shared), ask)
    }

    /// Publishes `event` on a dotted topic, such as `orders.eu.created`: once, in the
    /// order of what this agent publishes. A topic that is none undoes the turn.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// ctx.publish("orders.eu.created", &("book", 12_u64));
    /// # }
    /// ```
    pub fn publish<T: Serialize + ?Sized>(&self, topic: impl AsRef<str>, event: &T) {
        self.publish_as(topic.as_ref(), event, Payload::NONE);
    }

    /// Publishes `event` and says more of it. [`PublishOptions`] has an example.
    pub fn publish_with<T: Serialize + ?Sized>(
        &self,
        topic: impl AsRef<str>,
        event: &T,
        options: &PublishOptions,
    ) {
        let packed = packed("publish", options, options.is_plain());
        self.publish_as(topic.as_ref(), event, packed_payload(&packed));
    }

    fn publish_as<T: Serialize + ?Sized>(&self, topic: &str, event: &T, options: Payload<'_>) {
        let effect = Effect::Publish {
            topic,
            payload: Payload::NONE,
            options,
        };
        self.record(topic, event, &effect);
    }

    /// Subscribes this agent to a pattern of topics, where `*` is one token and `>` the
    /// rest, or on terms of its own: [`Subscription`] has an example. The events come to
    /// the handler `on_event`, unless it says another, as [`Event`](crate::Event)s.
    ///
    /// A pattern, a filter or another term that cannot be undoes the turn.
    ///
    /// ```
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// ctx.subscribe("orders.>");
    /// # }
    /// ```
    pub fn subscribe(&self, subscription: impl Into<Subscription>) {
        let subscription = subscription.into();
        let packed = packed("subscribe", &subscription, subscription.is_plain());
        self.shared.effect(&Effect::Subscribe {
            pattern: &subscription.pattern,
            options: packed_payload(&packed),
        });
    }

    /// Ends a subscription: that to a pattern, or, if it has a name, the one of that
    /// pattern and name. What is under way comes still.
    pub fn unsubscribe(&self, subscription: impl Into<Subscription>) {
        let Subscription { pattern, name, .. } = subscription.into();
        self.shared.effect(&Effect::Unsubscribe {
            pattern: &pattern,
            name: name.as_deref().unwrap_or_default(),
        });
    }

    /// Calls one of this agent's own handlers after `delay`, once. A timer set
    /// again under the same name replaces the old one. Timers sleep, move and
    /// survive with the agent.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) {
    /// ctx.timer("flush", Duration::from_secs(30), Request::new("flush", ()));
    /// # }
    /// ```
    pub fn timer<A: Serialize, R, E>(
        &self,
        id: impl Into<TimerId>,
        delay: Duration,
        request: Request<A, R, E>,
    ) {
        self.schedule(id, &Schedule::once(delay), request);
    }

    /// Calls one of this agent's own handlers after `delay`, and then every `period`
    /// (1 ms at least) until the timer is cancelled. Where due times passed meanwhile,
    /// as while the node was down, it is called once for all of them;
    /// [`schedule`](Self::schedule) can have that otherwise.
    pub fn timer_every<A: Serialize, R, E>(
        &self,
        id: impl Into<TimerId>,
        delay: Duration,
        period: Duration,
        request: Request<A, R, E>,
    ) {
        self.schedule(id, &Schedule::every(period).first_after(delay), request);
    }

    /// Calls one of this agent's own handlers when a schedule says, until the timer is
    /// cancelled or set anew. A timer set again under the same name replaces the old one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use phoenix_sdk::prelude::*;
    /// # fn example(ctx: &mut Context) -> Result<(), Failure> {
    /// // Every weekday at half past four, and not if that is an hour ago.
    /// let nightly = Schedule::cron("30 4 * * mon-fri")?.skip_late(Duration::from_secs(3_600));
    /// ctx.schedule("report", &nightly, Request::new("report", ()));
    /// // Every minute, each one made up for.
    /// let meter = Schedule::every(Duration::from_secs(60)).catch_up_all();
    /// ctx.schedule("meter", &meter, Request::new("meter", ()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn schedule<A: Serialize, R, E>(
        &self,
        id: impl Into<TimerId>,
        schedule: &Schedule,
        request: Request<A, R, E>,
    ) {
        let method = &*request.method;
        let effect = Effect::SetTimer {
            id: id.into().0,
            schedule: schedule.as_wit(),
            catch_up: schedule.catch_up(),
            method,
            payload: Payload::NONE,
        };
        self.record(method, &request.arguments, &effect);
    }

    /// Cancels a timer. It does not fire any more, not even in the batch of turns this
    /// one is of. Harmless if there is none of that name.
    pub fn cancel_timer(&self, id: impl Into<TimerId>) {
        self.shared.effect(&Effect::CancelTimer { id: id.into().0 });
    }

    /// Creates another agent with what its `#[init]` takes, `&()` if nothing.
    /// Harmless if it lives already.
    pub fn spawn<T: Serialize + ?Sized>(&self, agent: impl AsRef<str>, config: &T) {
        let agent = agent.as_ref();
        let effect = Effect::Spawn {
            agent,
            config: Payload::NONE,
        };
        self.record(agent, config, &effect);
    }

    /// Ends this agent after the turn. Its struct is gone; the next message to its
    /// address starts a new one.
    pub fn stop(&self, reason: impl AsRef<str>) {
        let reason = reason.as_ref();
        self.shared.effect(&Effect::Stop { reason });
    }

    /// Writes a line to the agent's log.
    pub fn log(&self, level: Level, text: impl Display) {
        let mut line = String::new();
        // Writing to a string fails only if a `Display` does; what it wrote so far stands.
        let _ = write!(line, "{text}");
        self.shared.effect(&Effect::Log { level, text: &line });
    }

    /// Logs that something failed.
    pub fn error(&self, text: impl Display) {
        self.log(Level::Error, text);
    }

    /// Logs that something looks wrong.
    pub fn warn(&self, text: impl Display) {
        self.log(Level::Warn, text);
    }

    /// Logs something worth knowing.
    pub fn info(&self, text: impl Display) {
        self.log(Level::Info, text);
    }

    /// Logs something for whoever debugs the agent.
    pub fn debug(&self, text: impl Display) {
        self.log(Level::Debug, text);
    }

    /// Logs everything else.
    pub fn trace(&self, text: impl Display) {
        self.log(Level::Trace, text);
    }

    /// Records `effect` with `value` as its payload. `what` it is about is named if
    /// that fails.
    #[inline(always)]
    fn record<T: Serialize + ?Sized>(&self, what: &str, value: &T, effect: &Effect<'_>) {
        if let Err(why) = self.shared.effect_with(effect, value) {
            unencodable(what, &why);
        }
    }
}

/// Options as they travel; nothing, if they say nothing.
fn packed<T: Serialize>(what: &str, options: &T, is_plain: bool) -> Vec<u8> {
    if is_plain {
        return Vec::new();
    }
    match rmp_serde::to_vec_named(options) {
        Ok(bytes) => bytes,
        Err(why) => unencodable(what, &why),
    }
}

fn packed_payload(bytes: &[u8]) -> Payload<'_> {
    if bytes.is_empty() {
        Payload::NONE
    } else {
        Payload::message_pack(bytes)
    }
}

#[cold]
#[expect(
    clippy::panic,
    reason = "an argument that cannot be encoded is a mistake in the agent; going on would lose a message silently, so the turn is undone"
)]
fn unencodable(what: &str, why: &dyn Display) -> ! {
    panic!("cannot encode the payload for `{what}`: {why}");
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("turn", &self.turn())
            .field("source", &self.source)
            .finish()
    }
}

impl TimerId {
    /// The number the node knows it by.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The timer of that name: its FNV-1a hash with the top bit set, so that names
    /// never meet small numbers.
    pub const fn named(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut rest = bytes;
        while let [byte, tail @ ..] = rest {
            hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
            rest = tail;
        }
        Self(hash | 1 << 63)
    }
}

impl From<u64> for TimerId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<&str> for TimerId {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}
