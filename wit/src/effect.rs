//! What turns ask the host to do.

use std::num::NonZeroU64;

use crate::{CatchUp, Delivery, Failure, Level, Payload, Receivers, Schedule, SendOptions};

/// What a turn asks the host to do once it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Send a message.
    Send {
        /// Receiver, `kind/key`.
        to: &'a str,
        /// Its handler.
        method: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// How hard to try.
        delivery: Delivery,
    },
    /// Send a message in another way than the kind's.
    SendWith {
        /// Receiver, `kind/key`.
        to: &'a str,
        /// Its handler.
        method: &'a str,
        /// Its type; empty if it says none.
        message_type: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// In which; encoded, because few messages have them. A reader has checked
        /// them: [`SendOptions::read`] takes them.
        options: &'a [u8; SendOptions::BYTES],
    },
    /// Send the same message to several receivers. Each counts as an effect.
    Multicast {
        /// To whom.
        to: Receivers<'a>,
        /// Their handler.
        method: &'a str,
        /// Its type; empty if it says none.
        message_type: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// In which way; see [`Effect::SendWith`].
        options: &'a [u8; SendOptions::BYTES],
        /// What to call it by where what became of it is said, once for each receiver
        /// ([`crate::Input::Verdict`]); then it does not come back beside that. `None`
        /// if nobody wants to know. Of a message that is sent once and forgotten nothing
        /// is to be had.
        token: Option<NonZeroU64>,
    },
    /// Ask; the end comes as a reply input.
    Ask {
        /// The agent's own number for it.
        ask: u64,
        /// Receiver, `kind/key`.
        to: &'a str,
        /// Its handler.
        method: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// Milliseconds until `timeout`.
        deadline_ms: u32,
        /// The handler that only the end of this ask lets go on, by the number of the
        /// turn that began it; see [`AnswerWriter::wait`].
        waiter: Option<u64>,
    },
    /// Answer a request of an earlier turn.
    Reply {
        /// The number of the turn that brought it.
        request: u64,
        /// The answer.
        answer: Result<Payload<'a>, Failure<'a>>,
    },
    /// Publish on a topic.
    Publish {
        /// Dotted topic.
        topic: &'a str,
        /// What it carries.
        payload: Payload<'a>,
        /// What is said of it: a map, MessagePack or JSON, or nothing. A reader takes it
        /// as it is.
        options: Payload<'a>,
    },
    /// Subscribe to a pattern.
    Subscribe {
        /// Dotted pattern.
        pattern: &'a str,
        /// On which terms; likewise.
        options: Payload<'a>,
    },
    /// End a subscription.
    Unsubscribe {
        /// Dotted pattern.
        pattern: &'a str,
        /// Its name; empty if it was given none.
        name: &'a str,
    },
    /// Set or replace a timer.
    SetTimer {
        /// The agent's own number for it.
        id: u64,
        /// When it comes due. A reader takes a cron schedule as it is: whether it is
        /// one, [`crate::timer::Cron`] says.
        schedule: Schedule<'a>,
        /// What becomes of due times that passed.
        catch_up: CatchUp,
        /// The handler to call.
        method: &'a str,
        /// What to call it with.
        payload: Payload<'a>,
    },
    /// Cancel a timer.
    CancelTimer {
        /// The agent's own number for it.
        id: u64,
    },
    /// Create an agent.
    Spawn {
        /// Its id, `kind/key`.
        agent: &'a str,
        /// What its `init` gets.
        config: Payload<'a>,
    },
    /// End this agent.
    Stop {
        /// Why.
        reason: &'a str,
    },
    /// Write a line to the agent's log.
    Log {
        /// How serious it is.
        level: Level,
        /// The line.
        text: &'a str,
    },
    /// Only the end of an ask of an earlier turn lets a handler go on.
    Wait {
        /// The ask.
        ask: u64,
        /// The number of the turn that began the handler.
        handler: u64,
    },
}

impl Effect<'_> {
    /// As how many effects it counts: each receiver of a message is one.
    #[inline]
    pub fn count(&self) -> usize {
        match self {
            Self::Multicast { to, .. } => to.len().max(1),
            _ => 1,
        }
    }
}
