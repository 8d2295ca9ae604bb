//! What may leave before the journal has what led to it.
//!
//! A refusal says that nothing was kept of a message, and a word of credit nothing but
//! how full a mailbox is: both are as true after a crash as before it. All else says
//! that something is so, and has to wait until it is so for good. That goes for what
//! says so again, too: a repeated message may be one whose turn is committed and not
//! yet durable.

use std::sync::Arc;

use crate::agent::Actions;
use crate::{AgentId, Body, Envelope, Notice, Reply, Sender};

/// What an agent wants done, and has to wait: what a [`crate::journal::Gate`] holds.
#[derive(Debug)]
pub struct Held {
    /// Whose it is.
    pub agent: AgentId,
    /// What is to be done once its number is durable.
    pub actions: Actions,
}

impl Actions {
    /// Takes out what a durable agent's node may do at once: refusals and words of
    /// credit, and messages to spill. What is left has to wait until the last entry of
    /// the agent's log is durable ([`crate::journal::AgentLog::number`]), which it may
    /// be already.
    pub fn take_free(&mut self) -> Actions {
        let free = |notice: &Notice| match notice {
            Notice::Refused { .. } | Notice::Credit { .. } => true,
            Notice::Applied { .. } | Notice::Skipped { .. } => false,
        };
        let acknowledge = self.acknowledge.extract_if(.., |it| free(&it.notice));
        let answer = self
            .answer
            .extract_if(.., |(_, _, reply)| matches!(reply, Reply::Unavailable(_)));
        Self {
            acknowledge: acknowledge.collect(),
            answer: answer.collect(),
            send: self.send.extract_if(.., |it| is_refusal(it)).collect(),
            spill: std::mem::take(&mut self.spill),
            ..Self::default()
        }
    }
}

/// Whether a message is the host's word that an ask was not taken.
fn is_refusal(envelope: &Arc<Envelope>) -> bool {
    let Body::Reply { reply, .. } = &envelope.body else {
        return false;
    };
    envelope.sequence.is_none()
        && *envelope.sender() == Sender::System
        && matches!(reply, Reply::Unavailable(_))
}
