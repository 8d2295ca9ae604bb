//! What waits for an agent, in order, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::agent::inbound::StreamIndex;
use crate::message::Speaker;
use crate::{Ask, Body, Envelope, Millis, Payload, Reply, Sender};

/// How far into the mailbox a message for an interleaving handler is looked for.
const INTERLEAVE_DEPTH: usize = 64;

/// One thing that waits for a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The agent begins.
    Init {
        /// What it was spawned with.
        config: Box<Payload>,
    },
    /// Somebody's message, spawn or reply.
    Envelope(Arc<Envelope>, Option<StreamIndex>),
    /// An ask of the agent's ended without a reply.
    Ended {
        /// The agent's number for it.
        ask: u64,
        /// How.
        reply: Box<Reply>,
    },
    /// The agent trapped on how an ask ended: whatever waits for it is to end unrun.
    Abandoned {
        /// The agent's number for it.
        ask: u64,
    },
    /// A timer came due.
    Timer {
        /// The agent's number for it.
        id: u64,
        /// When it was due: a timer set anew since is another one.
        due: Millis,
    },
}

impl Input {
    /// The request it carries, if somebody waits for its answer.
    pub fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Envelope(envelope, _) => match &envelope.body {
                Body::Message { ask, .. } | Body::Spawn { ask, .. } => ask.as_deref(),
                Body::Reply { .. } => None,
            },
            _ => None,
        }
    }

    /// Whether it waits in the lane of messages.
    pub(crate) fn is_message(&self) -> bool {
        matches!(self, Self::Envelope(envelope, _) if !matches!(envelope.body, Body::Reply { .. }))
    }
}

/// Messages at the front that were looked at and passed over, so that each is
/// looked at once.
#[derive(Debug, Default)]
struct Blocked {
    count: usize,
    /// Whose messages they are: nothing of theirs may be taken past them.
    speakers: HashSet<Speaker<Sender>>,
}

impl Blocked {
    fn clear(&mut self) {
        if self.count > 0 {
            self.count = 0;
            self.speakers.clear();
        }
    }
}

/// Waiting inputs. Replies, timers and the like have a lane of their own, whose
/// bounds are those of asks and timers; messages are bounded in number and bytes.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    urgent: VecDeque<Input>,
    /// Urgent inputs that the guest deferred, until [`Mailbox::retry_deferred`].
    put_off: VecDeque<Input>,
    messages: VecDeque<Input>,
    /// How many of the first messages the guest deferred, likewise.
    deferred: usize,
    /// The first messages that may not be taken while a handler is pending.
    blocked: Blocked,
    bytes: u64,
    /// How many of each lane left with the snapshot of a moving agent.
    shipped: (usize, usize),
}

impl Mailbox {
    /// What waits now leaves with the snapshot.
    pub(crate) fn mark_shipped(&mut self) {
        self.retry_deferred();
        self.shipped = (self.urgent.len(), self.messages.len());
    }

    /// Empties it; gives what came after [`Mailbox::mark_shipped`].
    pub(crate) fn take_unshipped(&mut self) -> impl Iterator<Item = Input> {
        let (urgent, messages) = self.shipped;
        self.retry_deferred();
        self.blocked.clear();
        self.bytes = 0;
        let urgent = std::mem::take(&mut self.urgent).into_iter().skip(urgent);
        let messages = std::mem::take(&mut self.messages)
            .into_iter()
            .skip(messages);
        urgent.chain(messages)
    }

    pub(crate) fn len(&self) -> usize {
        self.urgent.len() + self.put_off.len() + self.messages.len()
    }

    /// Whether a message of `size` bytes fits the bounds.
    #[inline]
    pub(crate) fn has_room(&self, size: usize, messages: u32, bytes: u64) -> bool {
        self.messages.len() < messages as usize && self.bytes.saturating_add(size as u64) <= bytes
    }

    #[inline]
    pub(crate) fn push_message(&mut self, input: Input) {
        self.bytes += size(&input);
        self.messages.push_back(input);
    }

    pub(crate) fn push_urgent(&mut self, input: Input) {
        self.urgent.push_back(input);
    }

    pub(crate) fn push_init(&mut self, config: Payload) {
        let config = Box::new(config);
        self.urgent.push_front(Input::Init { config });
    }

    pub(crate) fn pop_urgent(&mut self) -> Option<Input> {
        self.urgent.pop_front()
    }

    pub(crate) fn front_message(&self) -> Option<&Input> {
        self.messages.front()
    }

    pub(crate) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Whether a message may be found by [`Mailbox::next_interleaving`].
    pub(crate) fn may_have_interleaving(&self) -> bool {
        let passed = self.blocked.count.max(self.deferred);
        self.messages.len().min(INTERLEAVE_DEPTH) > passed
    }

    /// Where the first message stands that `may_run` now. It may be taken past
    /// others, but never past one of its own stream.
    pub(crate) fn next_interleaving(
        &mut self,
        may_run: impl Fn(&Arc<Envelope>) -> bool,
    ) -> Option<&Input> {
        let Blocked { count, speakers } = &mut self.blocked;
        while *count < INTERLEAVE_DEPTH {
            let input = self.messages.get(*count)?;
            if let Input::Envelope(envelope, _) = input {
                let speaker = Speaker(envelope.sender().clone());
                if *count >= self.deferred && may_run(envelope) && !speakers.contains(&speaker) {
                    return Some(input);
                }
                speakers.insert(speaker);
            }
            *count += 1;
        }
        None
    }

    /// Takes out what [`Mailbox::next_interleaving`] found.
    pub(crate) fn take_interleaving(&mut self) -> Option<Input> {
        let input = self.messages.remove(self.blocked.count)?;
        self.bytes -= size(&input);
        Some(input)
    }

    /// Puts back what the guest deferred, the earliest first. It is not given out
    /// again before [`Mailbox::retry_deferred`].
    pub(crate) fn defer(&mut self, inputs: Vec<Input>) {
        for input in inputs.into_iter().rev() {
            if input.is_message() {
                self.blocked.clear();
                self.bytes += size(&input);
                self.messages.push_front(input);
                self.deferred += 1;
            } else {
                self.put_off.push_front(input);
            }
        }
    }

    /// Something happened that may change the guest's mind about what it deferred.
    pub(crate) fn retry_deferred(&mut self) {
        if self.deferred > 0 {
            self.blocked.clear();
            self.deferred = 0;
        }
        while let Some(input) = self.put_off.pop_back() {
            self.urgent.push_front(input);
        }
    }

    #[inline(always)]
    pub(crate) fn pop_message(&mut self) -> Option<Input> {
        self.blocked.clear();
        self.deferred = self.deferred.saturating_sub(1);
        let input = self.messages.pop_front()?;
        self.bytes -= size(&input);
        Some(input)
    }

    /// Puts inputs back where they came from, the earliest first.
    pub(crate) fn restore(&mut self, inputs: impl DoubleEndedIterator<Item = Input>) {
        self.retry_deferred();
        self.blocked.clear();
        for input in inputs.rev() {
            if input.is_message() {
                self.bytes += size(&input);
                self.messages.push_front(input);
            } else {
                self.urgent.push_front(input);
            }
        }
    }

    /// Everything that waits, urgent first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Input> {
        let urgent = self.put_off.iter().chain(&self.urgent);
        urgent.chain(&self.messages)
    }

    /// Empties it.
    pub(crate) fn drain(&mut self) -> Vec<Input> {
        self.retry_deferred();
        self.blocked.clear();
        self.bytes = 0;
        self.urgent
            .drain(..)
            .chain(self.messages.drain(..))
            .collect()
    }
}

fn size(input: &Input) -> u64 {
    match input {
        Input::Envelope(envelope, _) => envelope.size() as u64,
        _ => 0,
    }
}
