//! What a commit works with, and what it makes of a guest's words.

use std::sync::Arc;

use bytes::Bytes;

use crate::agent::BadAnswer;
use crate::attributes::Attributes;
use crate::{Data, Envelope, Failure, KindPolicy, Lane, Millis, Payload, SmolStr};

/// Longest reason or message that is kept of a guest's words, bytes.
const MAX_REASON: usize = 1_024;

/// How many bytes of memory one that is counted in an outbox or mailbox may keep alive.
const PINNED: usize = 4;

/// What a commit works with, beside the agent.
pub(super) struct Commit<'a> {
    pub(super) policy: &'a KindPolicy,
    pub(super) answer: &'a Bytes,
    pub(super) now: Millis,
    /// Bytes of log the turn may still write.
    pub(super) log_left: usize,
    /// The last message's texts and what became of them: a reader gives the same
    /// text again where the next message has it too.
    pub(super) to: (&'a str, Option<u32>),
    pub(super) method: (&'a str, SmolStr),
    /// The lane of messages that say nothing of it.
    pub(super) lane: Lane,
    /// What is sent in this turn says of its causes; few messages have any.
    pub(super) cause: Option<Arc<Attributes>>,
}

impl<'a> Commit<'a> {
    #[inline(always)]
    pub(super) fn method(&mut self, method: &'a str) -> SmolStr {
        if !std::ptr::eq(self.method.0, method) {
            self.method = (method, method.into());
        }
        self.method.1.clone()
    }

    /// The payload: in place if it is small, as a slice of the answer it came in
    /// if it keeps no more of that alive than [`PINNED`] times what it counts
    /// for, else a copy.
    #[inline(always)]
    pub(super) fn payload(&self, payload: phoenix_wit::Payload<'_>) -> Payload {
        let bytes = Data::in_place(payload.bytes).unwrap_or_else(|| self.large(payload.bytes));
        Payload {
            content_type: payload.content_type,
            bytes,
        }
    }

    #[cold]
    fn large(&self, bytes: &[u8]) -> Data {
        if self.answer.len() <= PINNED * (bytes.len() + Envelope::OVERHEAD) {
            self.answer.slice_ref(bytes).into()
        } else {
            bytes.into()
        }
    }

    pub(super) fn failure(&self, failure: &phoenix_wit::Failure<'_>) -> Failure {
        Failure {
            code: failure.code.into(),
            message: failure.message.into(),
            details: self.payload(failure.details),
        }
    }
}

pub(super) fn bound(
    what: &'static str,
    scope: &'static str,
    found: u64,
    bound: u64,
) -> Result<(), BadAnswer> {
    if found <= bound {
        return Ok(());
    }
    Err(BadAnswer::TooMany {
        what,
        scope,
        found,
        bound,
    })
}

pub(super) fn clip(text: &str) -> &str {
    cut(text, MAX_REASON)
}

/// At most `bytes` of `text`, cut at a character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or("")
}
