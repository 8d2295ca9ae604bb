//! Whether a handler returned a `Result`, found out by the compiler.
//!
//! The macro cannot see through a type alias, so the generated code writes
//! `(&value).ending()` with both traits in scope. For a `Result` the first one
//! matches at once; anything else needs one more reference and gets the second
//! (Tolnay, "Autoref-based stable specialization").

use serde::Serialize;

use super::call::{Call, Done, Ending, Handler};
use super::tasks::Finished;
use crate::failure::{AgentError, Failure};

/// Matches `Result`.
pub trait EndsInResult {
    /// How it ends.
    fn ending(&self) -> ResultEnd {
        ResultEnd
    }
}

impl<T, E> EndsInResult for Result<T, E> {}

/// Matches everything, one reference later.
pub trait EndsInValue {
    /// How it ends.
    fn ending(&self) -> ValueEnd {
        ValueEnd
    }
}

impl<T> EndsInValue for &T {}

/// `Err` is a failure, `Ok` the answer.
#[derive(Clone, Copy, Debug)]
pub struct ResultEnd;

/// The value is the answer.
#[derive(Clone, Copy, Debug)]
pub struct ValueEnd;

impl ResultEnd {
    /// Ends a handler that did not wait.
    #[inline]
    pub fn call<A, T: Serialize, E: AgentError>(
        self,
        call: &mut Call<'_, '_, A>,
        handler: &Handler,
        result: Result<T, E>,
    ) -> Done {
        match result {
            Ok(value) => call.answer(handler, &value),
            Err(error) => Done::Failed(Box::new(error.into_failure())),
        }
    }

    /// Ends a handler that could wait.
    pub fn finish<T: Serialize, E: AgentError>(
        self,
        ending: Ending,
        result: Result<T, E>,
    ) -> Finished {
        match result {
            Ok(value) => ending.answer(&value),
            Err(error) => Err(error.into_failure()),
        }
    }

    /// Ends an `#[init]`.
    pub fn start<A, E: AgentError>(self, agent: Result<A, E>) -> Result<A, Failure> {
        agent.map_err(AgentError::into_failure)
    }
}

impl ValueEnd {
    /// Ends a handler that did not wait.
    #[inline]
    pub fn call<A, T: Serialize>(
        self,
        call: &mut Call<'_, '_, A>,
        handler: &Handler,
        value: T,
    ) -> Done {
        call.answer(handler, &value)
    }

    /// Ends a handler that could wait.
    pub fn finish<T: Serialize>(self, ending: Ending, value: T) -> Finished {
        ending.answer(&value)
    }

    /// Ends an `#[init]`.
    pub fn start<A>(self, agent: A) -> Result<A, Failure> {
        Ok(agent)
    }
}
