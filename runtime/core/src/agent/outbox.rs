//! The streams an agent speaks on: effects committed and without a verdict.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::{AgentId, Body, Envelope, Lane, Millis, Sender, Sequence};

/// First wait before refused or unanswered messages are sent again.
const FIRST_RETRY: Millis = Millis(5);
/// Longest wait between two tries.
const LAST_RETRY: Millis = Millis(2_000);
/// How long a sent message may go without a verdict before it is sent again.
pub(crate) const UNANSWERED: Millis = Millis(1_000);

/// One stream that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutStream {
    pub(crate) to: AgentId,
    pub(crate) lane: Lane,
    /// The number the next message gets.
    pub(crate) next: u64,
    /// Without a verdict, in order.
    pub(crate) unacknowledged: VecDeque<Arc<Envelope>>,
    /// While set, nothing is handed out: the receiver refused, and everything is
    /// sent again then.
    retry_at: Option<Millis>,
    /// When the oldest is sent again if nothing is heard.
    resend_at: Millis,
    tries: u32,
}

/// All streams that leave one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    index: HashMap<(AgentId, Lane), u32>,
    streams: Vec<OutStream>,
    messages: u64,
    bytes: u64,
}

impl Outbox {
    /// Messages without a verdict.
    pub(crate) fn len(&self) -> u64 {
        self.messages
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OutStream> {
        self.streams.iter()
    }

    /// The id of a receiver this agent has spoken to before, so that it need not be made again.
    pub(crate) fn known(&self, to: &str, lane: Lane) -> Option<&AgentId> {
        let at = *self.index.get(&KeyRef { to, lane })?;
        self.streams.get(at as usize).map(|stream| &stream.to)
    }

    /// Puts a stream back as a snapshot has it; all of it is sent again.
    pub(crate) fn restore(
        &mut self,
        to: AgentId,
        lane: Lane,
        next: u64,
        unacknowledged: VecDeque<Arc<Envelope>>,
    ) {
        let at = self.stream(&to, lane);
        self.messages += unacknowledged.len() as u64;
        self.bytes += unacknowledged.iter().map(|e| e.size() as u64).sum::<u64>();
        if let Some(stream) = self.streams.get_mut(at as usize) {
            stream.next = next;
            stream.retry_at = (!unacknowledged.is_empty()).then_some(Millis(0));
            stream.unacknowledged = unacknowledged;
        }
    }

    /// Gives a message its number and keeps it. Returns it if it may leave now.
    pub(crate) fn push(
        &mut self,
        from: Sender,
        to: &AgentId,
        lane: Lane,
        body: Body,
        now: Millis,
        give_up: Millis,
    ) -> Option<Arc<Envelope>> {
        let at = self.stream(to, lane);
        let stream = self.streams.get_mut(at as usize)?;
        let number = stream.next;
        stream.next += 1;
        let base = stream
            .unacknowledged
            .front()
            .and_then(|first| first.sequence)
            .map_or(number, |first| first.number);
        let envelope = Arc::new(Envelope {
            from,
            to: stream.to.clone(),
            sequence: Some(Sequence {
                lane,
                number,
                base,
                give_up,
            }),
            body,
        });
        if stream.unacknowledged.is_empty() {
            stream.resend_at = now + UNANSWERED;
        }
        self.messages += 1;
        self.bytes += envelope.size() as u64;
        stream.unacknowledged.push_back(envelope.clone());
        stream.retry_at.is_none().then_some(envelope)
    }

    /// Everything up to `through` has its verdict.
    pub(crate) fn applied(&mut self, to: &AgentId, lane: Lane, through: u64, now: Millis) {
        let Some(stream) = self.find(to, lane) else {
            return;
        };
        let (mut messages, mut bytes) = (0, 0);
        while let Some(first) = stream.unacknowledged.front()
            && number(first) <= through
        {
            messages += 1;
            bytes += first.size() as u64;
            stream.unacknowledged.pop_front();
        }
        if messages > 0 {
            stream.tries = 0;
            stream.resend_at = now + UNANSWERED;
        }
        if stream.unacknowledged.is_empty() {
            // What is pushed next is not to wait for a retry of what has its verdict.
            stream.retry_at = None;
        }
        self.messages -= messages;
        self.bytes -= bytes;
    }

    /// The message of that number, while it has no verdict.
    pub(crate) fn get(&self, to: &AgentId, lane: Lane, wanted: u64) -> Option<&Arc<Envelope>> {
        let key = KeyRef {
            to: to.as_str(),
            lane,
        };
        let stream = self.streams.get(*self.index.get(&key)? as usize)?;
        let first = stream.unacknowledged.front().map(|e| number(e))?;
        let at = usize::try_from(wanted.checked_sub(first)?).ok()?;
        stream.unacknowledged.get(at)
    }

    /// The receiver refused: wait, then send everything again. Returns when.
    pub(crate) fn refused(&mut self, to: &AgentId, lane: Lane, now: Millis) -> Option<Millis> {
        let stream = self.find(to, lane)?;
        if stream.unacknowledged.is_empty() {
            return None;
        }
        // One refusal for each message of a burst is one refusal.
        if stream.retry_at.is_none() {
            stream.retry_at = Some(now + backoff(stream.tries));
            stream.tries = stream.tries.saturating_add(1);
        }
        stream.retry_at
    }

    /// Lets everything be sent again at once, as when a connection came back.
    pub(crate) fn retry_now(&mut self) {
        for stream in &mut self.streams {
            if !stream.unacknowledged.is_empty() {
                stream.retry_at = Some(Millis(0));
            }
        }
    }

    /// When [`Outbox::tick`] has something to do, at the earliest.
    pub(crate) fn next_wake(&self) -> Millis {
        self.streams
            .iter()
            .filter(|s| !s.unacknowledged.is_empty())
            .map(|s| s.retry_at.unwrap_or(s.resend_at).min(first_give_up(s)))
            .min()
            .unwrap_or(Millis::NEVER)
    }

    /// Hands out what is to be sent again, and what is given up.
    pub(crate) fn tick(
        &mut self,
        now: Millis,
        resend: &mut Vec<Arc<Envelope>>,
        given_up: &mut Vec<Arc<Envelope>>,
    ) {
        if self.messages == 0 {
            return;
        }
        for stream in &mut self.streams {
            while let Some(first) = stream.unacknowledged.front()
                && first.sequence.is_some_and(|s| s.give_up <= now)
                && let Some(first) = stream.unacknowledged.pop_front()
            {
                self.messages -= 1;
                self.bytes -= first.size() as u64;
                given_up.push(first);
            }
            if stream.unacknowledged.is_empty() {
                stream.retry_at = None;
                continue;
            }
            if stream.retry_at.unwrap_or(stream.resend_at) > now {
                continue;
            }
            stream.retry_at = None;
            stream.resend_at = now + UNANSWERED + backoff(stream.tries);
            stream.tries = stream.tries.saturating_add(1);
            stream.rebase();
            resend.extend(stream.unacknowledged.iter().cloned());
        }
    }

    fn find(&mut self, to: &AgentId, lane: Lane) -> Option<&mut OutStream> {
        let at = *self.index.get(&KeyRef {
            to: to.as_str(),
            lane,
        })?;
        self.streams.get_mut(at as usize)
    }

    fn stream(&mut self, to: &AgentId, lane: Lane) -> u32 {
        let key = KeyRef {
            to: to.as_str(),
            lane,
        };
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        let at = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        self.index.insert((to.clone(), lane), at);
        self.streams.push(OutStream {
            to: to.clone(),
            lane,
            next: 1,
            unacknowledged: VecDeque::new(),
            retry_at: None,
            resend_at: Millis(0),
            tries: 0,
        });
        at
    }
}

impl OutStream {
    /// Tells the receiver where the stream begins now. A message that is sent
    /// again may find a receiver that knows nothing of the stream.
    fn rebase(&mut self) {
        let Some(base) = self.unacknowledged.front().map(|e| number(e)) else {
            return;
        };
        for envelope in &mut self.unacknowledged {
            if let Some(sequence) = envelope.sequence
                && sequence.base != base
            {
                let mut again = Envelope::clone(envelope);
                again.sequence = Some(Sequence { base, ..sequence });
                *envelope = Arc::new(again);
            }
        }
    }
}

fn number(envelope: &Envelope) -> u64 {
    envelope.sequence.map_or(0, |s| s.number)
}

fn first_give_up(stream: &OutStream) -> Millis {
    stream
        .unacknowledged
        .front()
        .and_then(|e| e.sequence)
        .map_or(Millis::NEVER, |s| s.give_up)
}

/// Exponential, from [`FIRST_RETRY`] to [`LAST_RETRY`].
pub(crate) fn backoff(tries: u32) -> Millis {
    Millis(FIRST_RETRY.0 << tries.min(12)).min(LAST_RETRY)
}

/// A key of the index, borrowed; hashes as the tuple does.
#[derive(Hash)]
struct KeyRef<'a> {
    to: &'a str,
    lane: Lane,
}

impl hashbrown::Equivalent<(AgentId, Lane)> for KeyRef<'_> {
    fn equivalent(&self, key: &(AgentId, Lane)) -> bool {
        self.lane == key.1 && self.to == key.0.as_str()
    }
}
