//! Write Phoenix agents in Rust.

extern crate self as phoenix_sdk;

mod ask;
mod binary;
mod context;
mod describe;
mod failure;
#[cfg(target_family = "wasm")]
mod guest;
mod payload;
mod request;
mod rng;
mod runtime;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod time;
mod transcode;

pub use ask::{Ask, AskError};
pub use binary::Binary;
pub use context::{Context, DEFAULT_DEADLINE, MAX_DEADLINE, TimerId};
pub use failure::{AgentError, Failure};
pub use payload::{Payload, PayloadError};
pub use phoenix_macros::{AgentError, agent, requests};
pub use phoenix_wit::{ContentType, Delivery, Level};
pub use request::{Answer, Request};
pub use rng::Rng;
#[doc(hidden)]
pub use runtime::Agent;
pub use state::State;
pub use time::Timestamp;

/// Everything an agent usually needs: `use phoenix_sdk::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use crate::{
        AgentError, Ask, AskError, Context, Failure, Level, Request, State, Timestamp, agent,
        requests,
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
