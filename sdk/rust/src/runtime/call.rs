//! One message on its way through the generated dispatch.

use std::borrow::Cow;
use std::cell::{Ref, RefMut};
use std::fmt;

use phoenix_wit::{ContentType, Payload as WitPayload};
use serde::{Deserialize, Serialize};

use super::arguments::{self, Named, Text};
use super::tasks::{Finished, HandlerFuture, Tasks};
use crate::context::Context;
use crate::failure::Failure;
use crate::payload::{Format, Payload, PayloadError, decode, encode};
use crate::state::State;

/// What is known of a handler at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its method name.
    pub name: &'static str,
    /// Its arguments as the author wrote them, for error messages.
    pub signature: &'static str,
    /// Whether it may run while another handler waits.
    pub interleave: bool,
}

/// A message for an agent: what the generated `dispatch` works on.
pub struct Call<'r, 'f, A> {
    pub(crate) method: &'f str,
    pub(crate) source: &'f str,
    pub(crate) payload: WitPayload<'f>,
    /// The turn's number if the sender waits.
    pub(crate) request: Option<u64>,
    pub(crate) state: &'r State<A>,
    pub(crate) context: &'r mut Context,
    pub(crate) tasks: &'r mut Tasks,
    /// Where an answer is encoded.
    pub(crate) answer: &'r mut Vec<u8>,
}

/// What came of a call.
pub enum Done {
    /// The answer is in the call's buffer.
    Ok(ContentType),
    /// The handler, or reading its arguments, failed. Boxed, as what hardly ever
    /// happens: a small value comes back in no time.
    Failed(Box<Failure>),
    /// Another handler is waiting and this one may not run meanwhile.
    Deferred,
    /// An `async` handler has begun as this task.
    Begun(usize),
}

impl<'r, 'f, A> Call<'r, 'f, A> {
    /// The handler it names.
    #[inline]
    pub fn method(&self) -> &'f str {
        self.method
    }

    #[inline]
    fn may_run(&self, handler: &Handler) -> bool {
        handler.interleave || self.tasks.live() == 0
    }

    /// The agent, for a handler that only looks; `None` if it has to wait.
    #[inline]
    pub fn read(&self, handler: &Handler) -> Option<Ref<'r, A>> {
        if !self.may_run(handler) {
            return None;
        }
        self.state.try_read()
    }

    /// The agent, for a handler that changes it; `None` if it has to wait.
    #[inline]
    pub fn write(&self, handler: &Handler) -> Option<RefMut<'r, A>> {
        if !self.may_run(handler) {
            return None;
        }
        self.state.try_write()
    }

    /// Whether an `async` handler may begin.
    pub fn may_begin(&self, handler: &Handler) -> bool {
        self.may_run(handler) && !self.tasks.is_full() && self.state.try_write().is_some()
    }

    /// The context, for a handler that does not wait.
    #[inline]
    pub fn context(&mut self) -> &mut Context {
        self.context.set_message(self.source);
        self.context
    }

    /// Checks that a handler without arguments was given none.
    #[inline]
    pub fn no_argument(&self, handler: &Handler) -> Result<(), Done> {
        if arguments::is_empty(self.payload) {
            return Ok(());
        }
        Err(self.bad_payload(handler, &"it takes no arguments and got a payload"))
    }

    /// A handler's only argument: the payload itself.
    #[inline]
    pub fn argument<T: Deserialize<'f>>(
        &self,
        handler: &Handler,
        name: &'static str,
    ) -> Result<T, Done> {
        match decode(self.payload) {
            Ok(value) => Ok(value),
            Err(why) => match Named::new(name).read(self.payload) {
                Some(value) => Ok(value),
                None => Err(self.bad_payload(handler, &why)),
            },
        }
    }

    /// A handler's only argument where it is a `&str`: borrowed from the frame.
    #[inline]
    pub fn text(&self, handler: &Handler, name: &'static str) -> Result<Cow<'f, str>, Done> {
        self.argument::<Text<'f>>(handler, name).map(|text| text.0)
    }

    /// All of a handler's arguments: a list, or a map by name.
    #[inline]
    pub fn arguments<T: Deserialize<'f>>(&self, handler: &Handler) -> Result<T, Done> {
        decode(self.payload).map_err(|why: PayloadError| self.bad_payload(handler, &why))
    }

    /// Encodes what a handler returned.
    #[inline]
    pub(crate) fn answer<T: Serialize>(&mut self, handler: &Handler, value: &T) -> Done {
        if self.request.is_none() {
            // Nobody waits for it.
            return Done::Ok(ContentType::None);
        }
        match encode(self.format(), value, self.answer) {
            Ok(content_type) => Done::Ok(content_type),
            Err(why) => Done::Failed(Box::new(bad_answer(handler, &why))),
        }
    }

    /// Begins an `async` handler.
    pub fn begin(
        &mut self,
        handler: &'static Handler,
        start: impl FnOnce(State<A>, Context, Ending) -> HandlerFuture,
    ) -> Done {
        let mut context = Context::new(std::rc::Rc::clone(self.context.shared()));
        context.set_message(self.source);
        let began = context.turn();
        let ending = Ending {
            handler,
            format: self.request.map(|_| self.format()),
        };
        let future = start(self.state.clone(), context, ending);
        let is_request = self.request.is_some();
        let task = self
            .tasks
            .begin(future, began, is_request, self.format(), handler.name);
        Done::Begun(task)
    }

    /// The end of a message that names no handler.
    #[cold]
    pub fn unknown_method(&self, handlers: &[Handler]) -> Done {
        if self.tasks.live() > 0 {
            // It may stand behind a message of its sender's that was deferred, and
            // must not pass it.
            return Done::Deferred;
        }
        let mut known = String::new();
        for handler in handlers {
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(handler.signature);
        }
        Done::Failed(Box::new(Failure::new(
            "unknown-method",
            format!("there is no handler `{}`; there are: {known}", self.method),
        )))
    }

    #[inline]
    pub(crate) fn format(&self) -> Format {
        Format::answering(self.payload.content_type)
    }

    #[cold]
    fn bad_payload(&self, handler: &Handler, why: &dyn fmt::Display) -> Done {
        Done::Failed(Box::new(bad_payload(handler.signature, self.payload, why)))
    }
}

/// How an `async` handler turns what it returned into its answer.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    handler: &'static Handler,
    /// `None` if nobody waits for the answer.
    format: Option<Format>,
}

impl Ending {
    /// Encodes what the handler returned.
    pub(crate) fn answer<T: Serialize>(self, value: &T) -> Finished {
        let Some(format) = self.format else {
            return Ok(Payload::none());
        };
        Payload::encode(format, value).map_err(|why| bad_answer(self.handler, &why))
    }
}

#[cold]
fn bad_answer(handler: &Handler, why: &PayloadError) -> Failure {
    Failure::new(
        "bad-answer",
        format!(
            "`{}` ran, but its answer cannot be encoded: {why}",
            handler.name
        ),
    )
}

#[cold]
pub(crate) fn bad_payload(
    signature: &str,
    payload: WitPayload<'_>,
    why: &dyn fmt::Display,
) -> Failure {
    let form = match payload.content_type {
        ContentType::None => "empty",
        ContentType::MessagePack => "MessagePack",
        ContentType::Json => "JSON",
        ContentType::Binary => "binary",
    };
    Failure::new(
        "bad-payload",
        format!("`{signature}` cannot read its {form} payload: {why}"),
    )
}
