//! The guest's side of the contract: frames in, turns run, answers out.
//!
//! ```text
//! frame ─► FrameReader ─► turn ─► Agent::dispatch ─► handler ─► AnswerWriter ─► answer
//!                           │            │                          ▲
//!                         reply          └─ async ─► Tasks ─ ends ──┘
//!                           └──► Asks ── wakes ──────┘
//! ```
//!
//! Nothing here knows WebAssembly: the same code runs in a component and under
//! a native test. But it is written for what a component is slow at. A function
//! with more than four arguments, and a struct of 32-bit fields that is moved in
//! halves of 64 bits right after it was written, make the processor wait for its
//! own stores, longer than a small handler runs. So what a message passes through
//! is inlined by hand, little is moved, and arguments are encoded where they
//! leave from.

mod arguments;
mod asks;
mod call;
mod ending;
mod shared;
mod tasks;

use std::rc::Rc;

use phoenix_wit::{ContentType, FrameError, FrameReader, Input, Outcome, Reply, Turn};
use serde::de::DeserializeOwned;

pub use arguments::Text;
pub use call::{Call, Done, Ending, Handler};
pub use ending::{EndsInResult, EndsInValue, ResultEnd, ValueEnd};
pub(crate) use shared::Shared;
pub use tasks::{Finished, HandlerFuture};

use crate::bounced::Bounced;
use crate::context::Context;
use crate::describe;
use crate::failure::Failure;
use crate::payload::decode;
use crate::state::State;
use tasks::{Ended, Tasks};

/// What `#[agent]` implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no agent",
    label = "write `#[agent]` above its `impl` block"
)]
pub trait Agent: Sized + 'static {
    /// Its handlers, in the order they were written.
    const HANDLERS: &'static [Handler];

    /// Makes the agent of what it was spawned with.
    fn init(start: Start<'_, '_>) -> Result<Self, Failure>;

    /// Runs the handler that a message names.
    fn dispatch(call: &mut Call<'_, '_, Self>) -> Done;

    /// Runs the handler of messages that came back, if there is one.
    fn bounced(call: &mut Call<'_, '_, Self>, bounced: Bounced) -> Done {
        let _ = (call, bounced);
        Done::Ok(ContentType::None)
    }
}

/// The beginning of an agent: what the generated `init` works on.
pub struct Start<'r, 'f> {
    config: phoenix_wit::Payload<'f>,
    context: &'r mut Context,
}

/// One agent and everything it needs between frames.
pub struct Runtime<A> {
    shared: Rc<Shared>,
    life: Life<A>,
    tasks: Tasks,
    context: Context,
    /// Where answers are encoded.
    answer: Vec<u8>,
    /// Bytes of the last frame's answers by turn, to make room once.
    per_turn: usize,
}

/// What a handler is called with. One thing, because a component passes a function's
/// first four arguments in registers and stumbles over the rest.
struct Message<'f> {
    source: &'f str,
    method: &'f str,
    payload: phoenix_wit::Payload<'f>,
    /// The turn's number if the sender waits.
    request: Option<u64>,
}

enum Life<A> {
    Unborn,
    Born(State<A>),
    /// Its `init` failed; every message is answered with that.
    Stillborn(Failure),
}

/// Bytes of a frame's head and of one turn's head, in both directions: what a
/// frame of a given length can hold at the most.
const HEAD: usize = 24;
const TURN_IN: usize = 36;
const TURN_OUT: usize = 16;
/// Most room an answer is given before it needs it, in bytes.
const MOST_ROOM: usize = 64 << 10;
/// Largest answer buffer kept from turn to turn, in bytes.
const KEPT_ANSWER: usize = 4 << 10;

impl<A: Agent> Runtime<A> {
    /// An agent that has not begun.
    pub fn new() -> Self {
        let shared = Rc::new(Shared::default());
        Self {
            context: Context::new(Rc::clone(&shared)),
            shared,
            life: Life::Unborn,
            tasks: Tasks::default(),
            answer: Vec::new(),
            per_turn: 2 * TURN_OUT,
        }
    }

    /// Runs a frame's turns. The answer of a frame that cannot be read is empty,
    /// which no host takes for one.
    pub fn turns(&mut self, frame: &[u8]) -> Vec<u8> {
        self.try_turns(frame).unwrap_or_default()
    }

    fn try_turns(&mut self, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut reader = FrameReader::new(frame)?;
        // The header's count is the sender's word; the frame's length bounds it.
        let turns = (reader.left() as usize).min(frame.len() / TURN_IN);
        let room = (HEAD + turns * self.per_turn).min(MOST_ROOM);
        self.shared.open(reader.id(), reader.seed(), room);
        while let Some(turn) = reader.next_turn()? {
            self.turn(&turn);
        }
        let answer = self.shared.close();
        self.per_turn = (answer.len() / turns.max(1)).max(2 * TURN_OUT);
        Ok(answer)
    }

    /// The agent, if it has begun.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn state(&self) -> Option<&State<A>> {
        match &self.life {
            Life::Born(state) => Some(state),
            Life::Unborn | Life::Stillborn(_) => None,
        }
    }

    #[inline(always)]
    fn turn(&mut self, turn: &Turn<'_>) {
        self.shared.turn.set(turn.number);
        self.shared.now.set(turn.now);
        self.shared.draws.set(0);
        self.shared.deadline.set(0);
        self.answer.clear();
        let mut done = match turn.input {
            Input::Message {
                source,
                method,
                payload,
                request,
                deadline,
            } => {
                self.shared.deadline.set(deadline);
                self.message(&Message {
                    source,
                    method,
                    payload,
                    request: request.then_some(turn.number),
                })
            }
            Input::Timer {
                method, payload, ..
            } => {
                let shared = Rc::clone(&self.shared);
                self.message(&Message {
                    source: shared.id(),
                    method,
                    payload,
                    request: None,
                })
            }
            Input::Reply { ask, reply } => {
                let is_abandoned = reply == Reply::Abandoned;
                let ended = crate::AskError::of_reply(reply);
                self.shared.asks.borrow_mut().end(ask, ended);
                if is_abandoned {
                    self.abandon_woken()
                } else {
                    Done::Ok(ContentType::None)
                }
            }
            Input::Bounced {
                to,
                method,
                payload,
                reason,
                unsure,
            } => self.bounced(Bounced::new(to, method, payload, reason, unsure)),
            // Nothing that the SDK sends has a token.
            Input::Verdict { .. } => Done::Ok(ContentType::None),
            Input::Init { config } => self.init(config),
            Input::Describe => {
                self.answer.extend_from_slice(&describe::of(A::HANDLERS));
                Done::Ok(ContentType::MessagePack)
            }
        };
        if self.tasks.live() > 0 {
            self.run_tasks(&mut done);
        }
        self.write(&done);
        if self.answer.capacity() > KEPT_ANSWER {
            self.answer = Vec::new();
        }
    }

    #[inline(always)]
    fn message(&mut self, message: &Message<'_>) -> Done {
        if let Life::Unborn = self.life {
            // A host that creates agents on their first message has nothing to give them.
            self.init(phoenix_wit::Payload::NONE);
        }
        let state = match &self.life {
            Life::Born(state) => state,
            Life::Stillborn(failure) => return Done::Failed(Box::new(failure.clone())),
            Life::Unborn => return Done::Deferred,
        };
        let mut call = Call {
            method: message.method,
            source: message.source,
            payload: message.payload,
            request: message.request,
            state,
            context: &mut self.context,
            tasks: &mut self.tasks,
            answer: &mut self.answer,
        };
        let format = call.format();
        let mut done = A::dispatch(&mut call);
        if let Done::Failed(failure) = &mut done {
            failure.put_in_format(format);
        }
        done
    }

    #[cold]
    fn bounced(&mut self, bounced: Bounced) -> Done {
        let Life::Born(state) = &self.life else {
            return Done::Ok(ContentType::None);
        };
        let shared = Rc::clone(&self.shared);
        let mut call = Call {
            method: "",
            source: shared.id(),
            payload: phoenix_wit::Payload::NONE,
            request: None,
            state,
            context: &mut self.context,
            tasks: &mut self.tasks,
            answer: &mut self.answer,
        };
        A::bounced(&mut call, bounced)
    }

    #[cold]
    fn init(&mut self, config: phoenix_wit::Payload<'_>) -> Done {
        if let Life::Born(_) = self.life {
            // Spawning an agent that lives is harmless.
            return Done::Ok(ContentType::None);
        }
        let id = Rc::clone(&self.shared);
        self.context.set_message(id.id());
        let start = Start {
            config,
            context: &mut self.context,
        };
        match A::init(start) {
            Ok(agent) => {
                self.life = Life::Born(State::new(agent));
                Done::Ok(ContentType::None)
            }
            Err(failure) => {
                self.life = Life::Stillborn(Failure::new(
                    "not-initialized",
                    format!("the agent's `init` failed: {failure}"),
                ));
                Done::Failed(Box::new(failure))
            }
        }
    }

    /// Ends the handlers that were to go on now without letting them: going on
    /// is what they trapped at.
    #[cold]
    fn abandon_woken(&mut self) -> Done {
        let mut done = Done::Ok(ContentType::None);
        let (shared, answer) = (&self.shared, &mut self.answer);
        self.tasks.fail_woken(abandoned, |ended| {
            settle(shared, answer, &mut done, ended);
        });
        done
    }

    /// Lets waiting handlers go on and hands out what they end with.
    #[cold]
    fn run_tasks(&mut self, done: &mut Done) {
        if matches!(done, Done::Deferred) {
            return;
        }
        let (shared, answer) = (&self.shared, &mut self.answer);
        let mut settle = |ended: Ended| settle(shared, answer, done, ended);
        self.tasks.run(shared, &mut settle);
        let may_be_woken = self.shared.asks.borrow().unanswered() > 0
            || A::HANDLERS.iter().any(|handler| handler.interleave);
        if self.tasks.live() > 0 && !may_be_woken {
            self.tasks.fail_all(never_wakes, &mut settle);
        }
    }

    #[inline]
    fn write(&mut self, done: &Done) {
        let outcome = match done {
            Done::Ok(content_type) => Outcome::Ok(shared::payload(*content_type, &self.answer)),
            Done::Failed(failure) => Outcome::Failed(failure.as_wit()),
            Done::Begun(_) => Outcome::Pending,
            Done::Deferred => Outcome::Deferred,
        };
        self.shared.outcome(&outcome, self.tasks.live());
    }
}

impl<A: Agent> Default for Runtime<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers for a handler that has ended: as the turn's outcome if the turn began
/// it, else by a reply effect. A failure that nobody waits for is the outcome of
/// the turn that brought it about, so that it is seen.
fn settle(shared: &Shared, answer: &mut Vec<u8>, done: &mut Done, ended: Ended) {
    if matches!(done, Done::Begun(task) if *task == ended.task) {
        *done = match ended.finished {
            Ok(payload) => {
                answer.clear();
                answer.extend_from_slice(payload.bytes());
                Done::Ok(payload.content_type())
            }
            Err(failure) => Done::Failed(Box::new(failure)),
        };
        return;
    }
    match (ended.request, ended.finished) {
        (Some(request), finished) => shared.effect(&phoenix_wit::Effect::Reply {
            request,
            answer: match &finished {
                Ok(payload) => Ok(payload.as_wit()),
                Err(failure) => Err(failure.as_wit()),
            },
        }),
        (None, Err(failure)) if matches!(done, Done::Ok(ContentType::None)) => {
            *done = Done::Failed(Box::new(failure));
        }
        (None, _) => {}
    }
}

fn abandoned(handler: &'static str) -> Failure {
    Failure::new(
        "abandoned",
        format!("`{handler}` trapped at the end of an ask it waited for, and was given up"),
    )
}

fn never_wakes(handler: &'static str) -> Failure {
    Failure::new(
        "never-wakes",
        format!(
            "`{handler}` waits for something that no turn brings; a handler can await what `Context::ask` returns"
        ),
    )
}

impl Start<'_, '_> {
    /// The context, for an `#[init]` that wants it.
    pub fn context(&mut self) -> &mut Context {
        self.context
    }

    /// Checks that an agent without configuration was given none.
    pub fn no_config(&self, signature: &'static str) -> Result<(), Failure> {
        if arguments::is_empty(self.config) {
            return Ok(());
        }
        let why = &"it takes no configuration and got one";
        Err(call::bad_payload(signature, self.config, why))
    }

    /// The configuration. None given reads as an empty map if it must, so that a
    /// struct whose fields all have defaults needs none.
    pub fn config<T: DeserializeOwned>(&self, signature: &'static str) -> Result<T, Failure> {
        decode(self.config).or_else(|why| {
            const EMPTY_MAP: phoenix_wit::Payload<'static> = phoenix_wit::Payload {
                content_type: ContentType::MessagePack,
                bytes: &[0x80],
            };
            let absent = arguments::is_empty(self.config);
            absent
                .then(|| decode(EMPTY_MAP).ok())
                .flatten()
                .ok_or_else(|| call::bad_payload(signature, self.config, &why))
        })
    }
}
