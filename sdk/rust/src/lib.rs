//! Write Phoenix agents in Rust: a struct, some handlers, no persistence code.
//!
//! ```
//! use phoenix_sdk::prelude::*;
//!
//! #[derive(Default)]
//! struct Counter { total: u64 }
//!
//! #[agent]
//! impl Counter {
//!     fn add(&mut self, by: u64) -> u64 { self.total += by; self.total }
//!     fn total(&self) -> u64 { self.total }
//! }
//! ```
//!
//! That is an agent. Built as a component (`phoenix build`) and deployed under the
//! kind `counter`, every address `counter/KEY` is one `Counter`, alive from its
//! first message on. The struct is the database: it stays in the agent's memory and
//! survives hibernation, migration to another node, and crashes.
//!
//! A crate of an agent is a library of two kinds, a component for nodes and a
//! library for tests, and needs no dependency but this one (and `serde` for types
//! of its own in messages):
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! phoenix-sdk = "0.1"
//! ```
//!
//! # Handlers
//!
//! Every method of the `#[agent]` block that takes `&self` or `&mut self` is a
//! handler, `pub` or not, and messages name it by its own name. Functions without
//! `self` are not, nor are methods marked `#[skip]` or written in another `impl`
//! block.
//!
//! - **Arguments** are serde types, any number of them; `&str` and `&T` work too,
//!   and a `&str` is not even copied. A message carries nothing for none, the value
//!   itself for one, a list for several, or a map by the arguments' names. What does
//!   not fit is answered with the code `bad-payload` and says what was wrong; a
//!   method that is not there with `unknown-method` and the list of those that are.
//! - **Answers** are what the handler returns, borrowed from the agent if it likes.
//!   JSON is answered in JSON, everything else in MessagePack.
//! - **Errors**: a handler may return `Result<T, E>`. The caller gets the error: a
//!   code, a sentence and details. `E` is [`Failure`], [`AskError`], a text, or a
//!   type of your own with `#[derive(AgentError)]` ([below](#errors)). An `Err` is an
//!   ordinary end: what the handler changed and sent stands. Only a panic undoes.
//! - A **context**, `ctx: &mut Context`, anywhere among the arguments, is the way to
//!   act and to know: [`Context`] lists it all.
//!
//! ```
//! use phoenix_sdk::prelude::*;
//!
//! #[derive(Default)]
//! struct Visitor { hits: u64, last: Timestamp }
//!
//! #[agent]
//! impl Visitor {
//!     fn hit(&mut self, path: &str, bytes: u64, ctx: &mut Context) -> u64 {
//!         if ctx.now() - self.last > Duration::from_secs(30 * 60) {
//!             ctx.send("site/main", Request::new("session", ctx.key()));
//!         }
//!         if path.ends_with("/admin") {
//!             ctx.warn(format_args!("{} looks at {path}", ctx.key()));
//!         }
//!         self.last = ctx.now();
//!         self.hits += 1;
//!         self.hits + bytes
//!     }
//! }
//! ```
//!
//! A turn, which is the run of one handler, is a pure function of the agent and the
//! message: [`Context::now`] stands still, [`Context::random`] repeats, and nothing
//! leaves before the turn is committed. The standard library's clock and hash maps
//! follow the same rule inside a node.
//!
//! # Beginning
//!
//! An agent begins as its type's `Default`. One that needs configuration marks a
//! constructor; `Context::spawn` and `phoenix spawn` pass it on:
//!
//! ```
//! # use phoenix_sdk::prelude::*;
//! struct Limit { left: u64 }
//!
//! #[agent]
//! impl Limit {
//!     #[init]
//!     fn new(limit: Option<u64>) -> Result<Self, Failure> {
//!         match limit {
//!             Some(0) => Err(Failure::new("no-limit", "a limit of 0 lets nobody in")),
//!             limit => Ok(Self { left: limit.unwrap_or(10) }),
//!         }
//!     }
//!
//!     fn enter(&mut self) -> bool {
//!         let open = self.left > 0;
//!         self.left = self.left.saturating_sub(1);
//!         open
//!     }
//! }
//! ```
//!
//! # Asking other agents
//!
//! `async` handlers can wait for answers. No thread waits and nothing blocks: the
//! turn ends at the `.await`, the handler stays in the agent's memory, sleeps and
//! moves with it, and goes on in a turn of its own when the answer is there.
//!
//! ```
//! # use phoenix_sdk::prelude::*;
//! # #[derive(Default)] struct Counter;
//! # #[agent] impl Counter { fn add(&mut self, by: u64) -> u64 { by } }
//! #[derive(Default)]
//! struct Teller { served: u64 }
//!
//! #[agent]
//! impl Teller {
//!     async fn deposit(&mut self, ctx: &mut Context, who: String, sum: u64) -> Result<u64, AskError> {
//!         let total = ctx.ask(format!("counter/{who}"), CounterRequests::add(sum)).await?;
//!         self.served += 1;
//!         Ok(total)
//!     }
//! }
//! ```
//!
//! `CounterRequests` is written by `#[agent]` beside `Counter`: a function a
//! handler, with its arguments, which makes a [`Request`] that knows its answer. For
//! an agent of another crate list what you call of it with [`macro@requests`]:
//!
//! ```
//! # use phoenix_sdk::prelude::*;
//! #[requests]
//! trait Site {
//!     fn hit(bytes: u64);
//!     fn total() -> Result<u64, Failure>;
//! }
//!
//! # async fn example(ctx: &mut Context) -> Result<(), AskError> {
//! ctx.send("site/main", Site::hit(512));
//! let total: u64 = ctx.ask("site/main", Site::total()).await?;
//! # Ok(()) }
//! ```
//!
//! A request by name, `Request::new("add", 5)`, always works as well.
//!
//! [`Context::send_with`] sends a message in a way of its own, which [`SendOptions`]
//! says: at most once, on another [`Lane`], for a time, with another schedule of tries.
//! [`Context::send_batch`], [`Context::broadcast`] and [`Context::ask_all`] are for many
//! messages, or many receivers, at once.
//!
//! An ask ends with the answer or with an [`AskError`], after 5 seconds at the
//! latest unless [`Context::ask_with_deadline`] says otherwise, and never later than
//! whoever the handler works for [stops waiting](Context::deadline). A message whose
//! asker has given up is not put to its handler any more; one whose handler has begun
//! is let go on, and its answer is dropped. Awaits other than those of an [`Ask`] make
//! sense only where another handler brings what is awaited.
//!
//! Agents that ask each other while they have themselves to themselves can come to
//! wait in a circle: none of the handlers could ever go on. The nodes find that, also
//! across nodes, and end the youngest of the asks with [`AskError::Deadlock`], most
//! often within 100 ms. They can tell of handlers that wait for one ask and nothing
//! else; what waits for several things at once, or has handed its waker to somebody,
//! is left to the deadlines.
//!
//! **While a handler waits, other messages wait in the mailbox**, so that `&mut
//! self` is what it says: nobody changes the agent between two lines of a handler.
//! Two marks allow more:
//!
//! - `#[interleave]` on a handler lets it run while another one waits.
//! - `this: State<Self>` instead of `self` in an `async` handler gives up having the
//!   agent to itself: it looks at it in steps, and what is marked `#[interleave]` may
//!   run between them. [`State`] has an example.
//!
//! | the waiting handler has | meanwhile run |
//! |---|---|
//! | `&mut self` | nothing |
//! | `&self` | handlers marked `#[interleave]` with `&self` |
//! | `this: State<Self>` | all handlers marked `#[interleave]` |
//!
//! So an `async` handler can itself be marked only if it takes `State<Self>`; the
//! compiler says so.
//!
//! # Timers
//!
//! Any handler can be called by a timer, which is a message of the agent to itself:
//!
//! ```
//! # use phoenix_sdk::prelude::*;
//! #[derive(Default)]
//! struct Session { open: bool }
//!
//! #[agent]
//! impl Session {
//!     fn touch(&mut self, ctx: &mut Context) {
//!         self.open = true;
//!         ctx.timer("close", Duration::from_secs(1800), SessionRequests::close());
//!     }
//!
//!     fn close(&mut self) { self.open = false; }
//! }
//! ```
//!
//! [`Context::schedule`] takes a [`Schedule`]: once, again and again, or by a cron
//! schedule, and what becomes of due times that passed while the agent could not be
//! called. Timers sleep, move and survive with the agent; each due time fires once.
//!
//! # Topics
//!
//! [`Context::publish`] brings an event to all agents that are subscribed to its topic, a
//! name of dotted tokens, in one order for all topics with the same first token;
//! [`Context::subscribe`] subscribes this agent. The handler gets [`Event`]s.
//! [`Subscription`] and [`PublishOptions`] say what else there is: filters, queue groups,
//! replay of the past, retained events.
//!
//! # Windows
//!
//! [`window`] has counts, sums, extremes and distinct values of what came to pass within
//! spans of time: tumbling, sliding and session windows, as fields of an agent.
//!
//! # Pipelines and sagas
//!
//! [`pipeline`] lets messages go through other agents one after the other, in order, and
//! [`saga`] has steps done that are undone if a later one fails.
//!
//! # Messages that come back
//!
//! A message whose receiver cannot take it (it has no room for too long, or the
//! message is a dead letter there) comes back. The node logs it, and the handler
//! marked `#[bounced]`, if there is one, is given it: [`Bounced`] has an example.
//!
//! # Errors
//!
//! ```
//! # use phoenix_sdk::prelude::*;
//! #[derive(Debug, AgentError)]
//! enum BankError {
//!     /// Code `overdrawn`; the fields are its details.
//!     #[error("the account holds {balance}, and {wanted} was wanted")]
//!     Overdrawn { balance: u64, wanted: u64 },
//!     /// With a code of its own.
//!     #[error("there is no account {0}")]
//!     #[code("no-account")]
//!     Missing(String),
//!     /// Another agent's failure, passed on whole by `?`.
//!     #[error(transparent)]
//!     Ask(#[from] AskError),
//! }
//! ```
//!
//! The derive writes `Display`, `Error`, [`trait@AgentError`] and the conversion into
//! [`Failure`]. On the asking side the failure is [`AskError::Failed`]; its
//! [`code`](Failure::code) is what to match on. With `#[derive(RemoteError)]` beside it
//! [`Ask::outcome`] gives the error as the type it is.
//!
//! # Panics
//!
//! A panic is a trap: the turn never happened, the message is tried again and at
//! last put aside, and the agent goes on without it. Message and place of the panic
//! are in the agent's log.
//!
//! # Tests
//!
//! [`testing::TestContext`] runs an agent in an ordinary `cargo test`, without a
//! node: it calls handlers, answers asks, moves the clock and shows what the agent
//! did.
//!
//! # More than one crate
//!
//! A component has one agent. A crate that another agent depends on must not export
//! a second one: `#[agent(export = false)]` leaves the export out. Usually
//! [`macro@requests`] is the better way, since it needs no dependency at all.

extern crate self as phoenix_sdk;

mod ask;
mod binary;
mod bounced;
mod context;
mod describe;
mod failure;
#[cfg(target_family = "wasm")]
mod guest;
mod options;
mod payload;
pub mod pipeline;
mod request;
mod rng;
mod runtime;
pub mod saga;
mod schedule;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod time;
mod topics;
mod transcode;
pub mod window;

pub use ask::{Ask, AskAll, AskError};
pub use binary::Binary;
pub use bounced::Bounced;
pub use context::{Context, DEFAULT_DEADLINE, MAX_DEADLINE, TimerId};
pub use failure::{AgentError, Failure, RemoteError};
pub use options::{Retry, SendOptions};
pub use payload::{Payload, PayloadError};
/// Makes an enum or a struct the error of a handler.
///
/// Every variant (or the struct) says with `#[error("…")]` what the caller reads;
/// fields are written into the text as in `format!`. Its code is its name in
/// kebab case, or what `#[code("…")]` says, and its fields are the failure's details:
/// a map of named ones, the value of one unnamed, a list of several.
/// `#[error(transparent)]` passes the failure of the one field on as it is, and
/// `#[from]` on the one field writes the conversion for `?`.
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[derive(Debug, AgentError)]
/// enum OrderError {
///     #[error("{left} left, and {wanted} were wanted")]
///     SoldOut { left: u32, wanted: u32 },
/// }
///
/// let failure = Failure::from(OrderError::SoldOut { left: 1, wanted: 2 });
/// assert_eq!(failure.code(), "sold-out");
/// assert_eq!(failure.message(), "1 left, and 2 were wanted");
/// ```
pub use phoenix_macros::AgentError;
/// Makes the error of a handler one that whoever asks can read back, by
/// [`Ask::outcome`].
///
/// It reads the attributes of [`macro@AgentError`], which goes beside it. What the
/// variants carry is to be `Deserialize` as well as `Serialize`, and what an
/// `#[error(transparent)]` one passes on a `RemoteError` itself.
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[derive(Debug, PartialEq, AgentError, RemoteError)]
/// enum OrderError {
///     #[error("{left} left, and {wanted} were wanted")]
///     SoldOut { left: u32, wanted: u32 },
/// }
///
/// let error = OrderError::SoldOut { left: 1, wanted: 2 };
/// let failure = Failure::from(OrderError::SoldOut { left: 1, wanted: 2 });
/// assert_eq!(OrderError::from_failure(&failure), Some(error));
/// ```
pub use phoenix_macros::RemoteError;
/// Makes the methods of an `impl` block an agent's handlers, and the block's type
/// the agent of this component. The [crate's page](crate) is the guide.
///
/// Inside the block:
///
/// - `#[init]` marks the constructor: no `self`, at most one configuration and a
///   context, returns `Self` or `Result<Self, E>`. Without one the agent is its
///   type's `Default`.
/// - `#[interleave]` lets a handler run while another one waits.
/// - `#[skip]` keeps a method from being a handler.
/// - `#[bounced]` marks the one that takes messages of the agent's own that came
///   back: a [`Bounced`] and, if it likes, a context. No message can name it.
///
/// Beside the block it writes `NameRequests`, a function a handler, that make typed
/// [`Request`]s.
///
/// `#[agent(export = false)]` leaves the component's export out, for a crate that
/// another agent depends on.
pub use phoenix_macros::agent;
/// Lists handlers of an agent that is not in this crate, and makes typed
/// [`Request`]s for them.
///
/// The trait becomes a struct with a function for each of its own. Receivers and
/// contexts are passed over, so the handlers' signatures can be pasted as they are.
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[requests]
/// pub trait Counter {
///     fn add(&mut self, by: u64) -> u64;
///     fn total() -> u64;
/// }
///
/// # fn example(ctx: &mut Context) {
/// ctx.send("counter/alice", Counter::add(5));
/// # }
/// ```
pub use phoenix_macros::requests;
pub use phoenix_wit::{ContentType, Delivery, Lane, Level};
pub use request::{Answer, Request};
pub use rng::Rng;
#[doc(hidden)]
pub use runtime::Agent;
pub use schedule::{BadCron, Schedule};
pub use state::State;
pub use time::Timestamp;
pub use topics::{
    Attribute, Event, EventOverflow, Gap, GroupStrategy, Mark, PublishOptions, Replay,
    Subscription, Transform,
};

/// Everything an agent usually needs: `use phoenix_sdk::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use crate::{
        AgentError, Ask, AskError, Bounced, Context, Delivery, Event, EventOverflow, Failure,
        GroupStrategy, Lane, Level, PublishOptions, RemoteError, Replay, Request, Retry, Schedule,
        SendOptions, State, Subscription, Timestamp, agent, requests,
    };
}

/// What the macros' expansions name. No part of the API: it changes without notice.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::guest::bindings::export;
    #[cfg(target_family = "wasm")]
    pub use crate::guest::{Slot, bindings};
    pub use crate::runtime::{
        Agent, Call, Done, Ending, EndsInResult, EndsInValue, Finished, Handler, HandlerFuture,
        ResultEnd, Runtime, Start, Text, ValueEnd,
    };
    pub use serde;

    /// Tells the compiler that an agent is there to be used.
    pub const fn used<A: Agent>() {}
}
