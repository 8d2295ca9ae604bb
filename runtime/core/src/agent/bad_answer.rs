//! Why a guest's answer is not committed.

use phoenix_wit::{BadCron, FrameError};

use crate::BadAgentId;
use crate::agent::Token;
use crate::attributes::BadAttribute;
use crate::topics::wire::BadRequest;

/// Why an answer cannot be committed. Nothing of it has been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It is not an answer frame.
    #[error("the answer frame is malformed: {0}")]
    Frame(#[from] FrameError),
    /// It names a receiver that cannot be.
    #[error("an effect names a bad agent id: {0}")]
    Agent(#[from] BadAgentId),
    /// It goes over a bound of the kind.
    #[error("{found} {what} in one {scope}: the kind allows {bound}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// In what.
        scope: &'static str,
        /// How much.
        found: u64,
        /// What is allowed.
        bound: u64,
    },
    /// It gives a message a type that is none.
    #[error("an effect's {0}")]
    Type(#[from] BadAttribute),
    /// It wants to hear of messages of which nothing is heard.
    #[error(
        "a message is sent with token {0} and at most once: nothing is heard of such a \
         message; send it exactly-once, or with token 0 for none"
    )]
    NothingToHear(Token),
    /// It publishes, subscribes or unsubscribes what cannot be.
    #[error("an effect about a topic: {0}")]
    Topic(#[from] BadRequest),
    /// It sets a timer by a schedule that is none.
    #[error("a timer's schedule: {0}")]
    Cron(#[from] BadCron),
    /// It answers a request that is not open.
    #[error("request {0} is not open: it was answered before, or never taken")]
    NoSuchRequest(u64),
    /// It gives an ask a number that is in use.
    #[error("ask {0} is open already")]
    AskInUse(u64),
    /// It defers what cannot be, or takes a message after one of its stream that it deferred.
    #[error("turn {0} may not be deferred")]
    BadDeferral(u64),
    /// The outbox has no room for the whole batch; put its turns one at a time.
    #[error("the batch has more effects than the outbox has room for")]
    OutboxFull,
    /// A durable agent's batch that is too large for the journal; put its turns one at a time.
    #[error(
        "the batch and its answer have {found} bytes: an entry of the journal has room for {bound}"
    )]
    TooLargeToKeep {
        /// Bytes of both frames.
        found: u64,
        /// How many fit.
        bound: u64,
    },
    /// A timer fires in one of its turns that fired in an earlier one already, or was
    /// cancelled or set anew there; put its turns one at a time.
    #[error("timer {0} fired, was cancelled or set anew in the batch it fires in")]
    TimerOvertaken(u64),
}

impl BadAnswer {
    /// Whether the guest is at fault; else the batch may be committed in parts.
    pub fn is_fault(&self, turns: u32) -> bool {
        match self {
            Self::OutboxFull | Self::TimerOvertaken(_) => false,
            Self::TooLargeToKeep { .. } => turns <= 1,
            _ => true,
        }
    }
}
