//! A message that is kept until it has its verdict.

use std::sync::Arc;

use crate::agent::Token;
use crate::{Envelope, Extras, Millis, Refusal, RetryPolicy};

/// One message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) envelope: Arc<Envelope>,
    /// It has its verdict, and is kept only because one before it has none.
    pub(crate) closed: bool,
    /// How often it has left. If it has, whoever it is for may have it.
    pub(crate) tries: u32,
    /// How often it came back refused since it was put here, and why the last time.
    pub(crate) refused: u32,
    pub(crate) refusal: Option<Refusal>,
    /// How it is sent again, if not as its agent's kind says.
    pub(crate) retry: Option<Box<RetryPolicy>>,
    /// What the agent calls it by, if it wants to hear of its end.
    pub(crate) token: Option<Token>,
}

/// What a message is kept by.
#[derive(Debug)]
pub(crate) struct Terms {
    /// When it is given up.
    pub(crate) give_up: Millis,
    /// See [`Kept::retry`].
    pub(crate) retry: Option<Box<RetryPolicy>>,
    /// What few messages carry.
    pub(crate) extras: Option<Box<Extras>>,
    /// See [`Kept::token`].
    pub(crate) token: Option<Token>,
}

impl Terms {
    /// Those of a message that says nothing else.
    pub(crate) fn until(give_up: Millis) -> Self {
        Self {
            give_up,
            retry: None,
            extras: None,
            token: None,
        }
    }
}

impl Kept {
    /// How it is sent again: as it says itself, or as its agent's kind does.
    pub(super) fn policy<'a>(&'a self, of_kind: &'a RetryPolicy) -> &'a RetryPolicy {
        self.retry.as_deref().unwrap_or(of_kind)
    }

    /// Why its receiver has not taken it, if that is sure: it was refused each time it
    /// was sent.
    pub(crate) fn only_refused(&self) -> Option<Refusal> {
        self.refusal.filter(|_| self.refused == self.tries)
    }

    /// Whether it was tried as often as it may be.
    pub(super) fn is_exhausted(&self, of_kind: &RetryPolicy) -> bool {
        self.tries >= self.policy(of_kind).attempts
    }

    pub(super) fn number(&self) -> u64 {
        self.envelope.sequence.map_or(0, |s| s.number)
    }

    pub(super) fn give_up(&self) -> Millis {
        self.envelope.sequence.map_or(Millis::NEVER, |s| s.give_up)
    }

    pub(super) fn size(&self) -> u64 {
        self.envelope.size() as u64
    }
}
