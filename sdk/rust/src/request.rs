//! What is asked of another agent, or told it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::payload::{Payload, PayloadError, decode};

/// A method and its arguments, ready to be sent or asked.
///
/// `#[agent]` and [`#[requests]`](crate::requests) write functions that make
/// typed ones, which is the way to call an agent without a string that may be
/// misspelt. By hand:
///
/// ```
/// use phoenix_sdk::Request;
///
/// // No argument, one, several: `()`, the value itself, a tuple.
/// let total = Request::new("total", ()).returns::<u64>();
/// let add = Request::new("add", 5_u64).returns::<u64>();
/// let transfer = Request::new("transfer", ("bob", 7_u64));
/// ```
///
/// `A` is what it carries, `R` what the answer is read as, and `E` the error of the
/// handler, for [`Ask::outcome`](crate::Ask::outcome). Nothing is encoded before it is
/// sent, and then straight into the frame that leaves.
#[derive(Clone)]
#[must_use = "a request does nothing until it is sent or asked"]
pub struct Request<A, R = Payload, E = Failure> {
    pub(crate) method: Cow<'static, str>,
    pub(crate) arguments: A,
    answer: PhantomData<fn() -> Result<R, E>>,
}

impl<A> Request<A> {
    /// A request by name. Its answer is an untyped [`Payload`] unless
    /// [`returns`](Self::returns) says more.
    #[inline]
    pub fn new(method: impl Into<Cow<'static, str>>, arguments: A) -> Self {
        Self {
            method: method.into(),
            arguments,
            answer: PhantomData,
        }
    }
}

impl<A, R, E> Request<A, R, E> {
    /// Says what the answer is.
    #[inline]
    pub fn returns<T>(self) -> Request<A, T, E> {
        Request {
            method: self.method,
            arguments: self.arguments,
            answer: PhantomData,
        }
    }

    /// Says what the handler's error is.
    #[inline]
    pub fn fails_with<T>(self) -> Request<A, R, T> {
        Request {
            method: self.method,
            arguments: self.arguments,
            answer: PhantomData,
        }
    }

    /// The method it names.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What it carries: `()`, one value, or a tuple.
    pub fn arguments(&self) -> &A {
        &self.arguments
    }
}

impl<A: fmt::Debug, R, E> fmt::Debug for Request<A, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.method, self.arguments)
    }
}

/// What an answer can be read as: any serde type, or [`Payload`] for the bytes.
pub trait Answer: Sized {
    /// Reads it.
    fn from_payload(payload: &Payload) -> Result<Self, PayloadError>;
}

impl<T: DeserializeOwned> Answer for T {
    fn from_payload(payload: &Payload) -> Result<Self, PayloadError> {
        decode(payload.as_wit())
    }
}

impl Answer for Payload {
    fn from_payload(payload: &Payload) -> Result<Self, PayloadError> {
        Ok(payload.clone())
    }
}
