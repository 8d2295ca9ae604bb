//! The contract between host and guest: the WIT package `phoenix:agent` (the
//! `.wit` file beside this crate) and the codec of the frames that the
//! `agent-framed` world exchanges.
//!
//! Both sides use this codec and both distrust what they read: a reader checks
//! every length against the bytes that are left and never allocates on a
//! number's word. The layout is written down in the WIT file.
//!
//! Start with [`FrameWriter`] and [`AnswerReader`] for the host's side,
//! [`FrameReader`] and [`AnswerWriter`] for the guest's.

mod answer;
mod effect;
mod frame;
mod options;
mod receivers;
pub mod short;
pub mod timer;
mod wire;

pub use answer::{Answer, AnswerReader, AnswerWriter, Effects, Outcome};
pub use effect::Effect;
pub use frame::{FrameReader, FrameWriter, Input, Turn};
pub use options::{Backoff, Lane, Retry, SendOptions};
pub use receivers::{ReceiverList, Receivers};
pub use timer::{BadCron, CatchUp, Schedule};
pub use wire::FrameError;

/// The text of the WIT package, for tools that need it at run time.
pub const WIT: &str = include_str!("../agent.wit");

/// Version of the frame format that this crate writes and the only one it reads.
pub const FRAME_VERSION: u8 = 1;

/// Longest text (an id, a method, a reason) a frame can carry, in bytes.
pub const MAX_TEXT: usize = u16::MAX as usize;

/// How a payload's bytes are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ContentType {
    /// No payload: the bytes are empty.
    #[default]
    None = 0,
    /// MessagePack, the default between agents.
    MessagePack = 1,
    /// JSON in UTF-8.
    Json = 2,
    /// Bytes whose meaning only sender and receiver know.
    Binary = 3,
}

/// How hard the host tries to deliver a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Delivery {
    /// Sent once and forgotten.
    AtMostOnce = 0,
    /// Kept until acknowledged, resent if in doubt, applied once.
    ExactlyOnce = 1,
    /// As `ExactlyOnce`, for senders that could bear a message that is applied twice.
    AtLeastOnce = 2,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something looks wrong.
    Warn = 1,
    /// Something worth knowing happened.
    Info = 2,
    /// For whoever debugs the agent.
    Debug = 3,
    /// Everything.
    Trace = 4,
}

/// Bytes and how to read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload<'a> {
    /// How to read `bytes`.
    pub content_type: ContentType,
    /// The bytes themselves.
    pub bytes: &'a [u8],
}

/// An error that reaches whoever asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure<'a> {
    /// A stable word a program can match on.
    pub code: &'a str,
    /// A sentence for a person.
    pub message: &'a str,
    /// More, for programs; often empty.
    pub details: Payload<'a>,
}

/// How an ask ended, as the asker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The other agent replied.
    Ok(Payload<'a>),
    /// The other agent's handler failed.
    Failed(Failure<'a>),
    /// The ask's deadline passed; the other agent may or may not have acted.
    Timeout,
    /// The message never reached the agent; the text says why.
    Bounced(&'a str),
    /// The answer would have had to wait for the asker itself.
    Deadlock,
    /// Never proposed, safe to retry; the text says why.
    Unavailable(&'a str),
    /// How it ended made the agent trap: whatever waits for it is to be ended
    /// without being run.
    Abandoned,
}

/// What became of a message that its sender wanted to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Its receiver has committed the turn it was put in.
    Applied,
    /// It was not applied and will not be.
    NotApplied {
        /// Why, as of a message that came back: a stable word, and more after a colon.
        reason: &'a str,
    },
    /// Nobody knows whether it was, or will be.
    Unsure {
        /// Why: `gave-up`, nothing was heard of it; `redirected`, its receiver sent it on.
        reason: &'a str,
    },
}
