//! What became of messages that the agent sent with a token, as the agent is told.
//!
//! The token stays with the outbox's entry, and never leaves the agent. Whatever closes
//! the entry puts one verdict into the mailbox, before all messages: there is one at
//! most for each place in the outbox.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::AgentId;
use crate::agent::{Agent, Input};
use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};

/// What an agent calls a message by that it wants to hear of.
pub type Token = NonZeroU64;

/// What became of one receiver's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageVerdict {
    /// The message's token.
    pub token: Token,
    /// Whom it was for.
    pub to: AgentId,
    /// How it ended.
    pub end: MessageEnd,
}

/// How a message ended that its sender wanted to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageEnd {
    /// Its receiver has committed the turn it was put in.
    Applied,
    /// It was not applied and will not be: why, in a stable word and more after a colon.
    NotApplied(Arc<str>),
    /// Nobody knows whether it was, or will be; likewise.
    Unsure(Arc<str>),
}

/// The reason of an end that nobody knows because the receiver sent the message on.
pub(super) const REDIRECTED: &str = "redirected";

impl MessageVerdict {
    pub(crate) fn as_wit(&self) -> phoenix_wit::Input<'_> {
        phoenix_wit::Input::Verdict {
            token: self.token.get(),
            to: self.to.as_str(),
            verdict: match &self.end {
                MessageEnd::Applied => phoenix_wit::Verdict::Applied,
                MessageEnd::NotApplied(reason) => phoenix_wit::Verdict::NotApplied { reason },
                MessageEnd::Unsure(reason) => phoenix_wit::Verdict::Unsure { reason },
            },
        }
    }

    /// One that stands in a frame; `None` if no agent is told such a one.
    pub(crate) fn of_wit(
        token: u64,
        to: &str,
        verdict: phoenix_wit::Verdict<'_>,
    ) -> Option<Box<Self>> {
        Some(Box::new(Self {
            token: Token::new(token)?,
            to: AgentId::new(to).ok()?,
            end: match verdict {
                phoenix_wit::Verdict::Applied => MessageEnd::Applied,
                phoenix_wit::Verdict::NotApplied { reason } => {
                    MessageEnd::NotApplied(reason.into())
                }
                phoenix_wit::Verdict::Unsure { reason } => MessageEnd::Unsure(reason.into()),
            },
        }))
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let Self { token, to, end } = self;
        w.number(token.get());
        w.text(to.as_str());
        match end {
            MessageEnd::Applied => w.u8(0),
            MessageEnd::NotApplied(reason) => {
                w.u8(1);
                w.text(reason);
            }
            MessageEnd::Unsure(reason) => {
                w.u8(2);
                w.text(reason);
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Self {
            token: r.token()?,
            to: r.agent()?,
            end: match r.u8("verdict")? {
                0 => MessageEnd::Applied,
                1 => MessageEnd::NotApplied(r.text("verdict")?.into()),
                2 => MessageEnd::Unsure(r.text("verdict")?.into()),
                _ => return Err(SnapshotError::Invalid("verdict")),
            },
        })
    }
}

impl Agent {
    /// Puts the end of a message of its own into its mailbox.
    pub(super) fn tell(&mut self, token: Token, to: &AgentId, end: MessageEnd) {
        if self.stopped.is_some() {
            return;
        }
        let to = to.clone();
        let verdict = Box::new(MessageVerdict { token, to, end });
        self.mailbox.push_urgent(Input::Verdict(verdict));
    }
}
