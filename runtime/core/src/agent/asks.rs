//! Asks without an answer: how they end, and those that wait for each other.
//!
//! ```text
//!           ask ──▶ open ──┬── reply ──────────────────────▶ its turn
//!                          ├── deadline, bounce ──▶ ended ──▶ its turn
//!      open for a while:   │
//!      probe ──▶ callee … ─┴── back, twice: deadlock ▶ ended ──▶ its turn
//! ```
//!
//! What holds up an ask is known at the agent it was put to. If its handler has
//! begun: the ask that only the guest said lets that handler go on. If it waits in the
//! mailbox behind handlers that let nothing in between: the asks of each of those.
//! Where the guest has said nothing of a handler, or a handler waits for several
//! things, nothing is concluded, and the deadline is what ends the ask.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::agent::sent::unavailable;
use crate::agent::{Actions, Agent, Handlers, Input, refusal_text};
use crate::ask_notice::{AskLink, AskNotice, MAX_PROBE_LINKS, PROBE_BUDGET, Probe};
use crate::control::{AskInfo, RequestInfo};
use crate::journal::record::Verdict;
use crate::{
    AgentId, Ask, Body, Envelope, Incarnation, Lane, Millis, Reply, ReplyTo, Sender, Sequence,
    StreamKey,
};

/// How long an ask may be open before it is asked what it waits for: most are
/// answered by then, and cost nothing.
pub(crate) const PROBE_AFTER: Millis = Millis(20);
/// Time between two looks at the asks that are due for a probe.
const PROBE_PAUSE: Millis = Millis(5);
/// Probes sent out at one look.
const PROBES_AT_ONCE: usize = 64;
/// Messages of a mailbox that are looked through for one, where handlers interleave.
const LOOKED_THROUGH: usize = 1_024;
/// Cancelled messages in a mailbox that are remembered.
const MAX_CANCELLED: usize = 1_024;
/// Most asks, and most requests, that are told of one agent.
pub const MAX_WAITS: usize = 100;
/// Longest time an agent may give an ask.
const MAX_DEADLINE: Millis = Millis(3_600_000);

/// An ask without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenAsk {
    pub(crate) deadline: Millis,
    pub(crate) made: Millis,
    /// The stream of the message that asks.
    pub(crate) stream: Arc<StreamKey>,
    /// The message's number there.
    pub(crate) number: u64,
    /// The handler that only the end of this ask lets go on, by the turn that began it.
    pub(crate) waiter: Option<u64>,
    /// Its end is in the mailbox already.
    pub(crate) ended: bool,
    /// When to send out the next probe.
    probe_at: Millis,
    /// The last probe that came along it; see [`Probe::mark`].
    seen: u64,
}

/// A message whose asker has given up.
pub(crate) type Cancelled = (AgentId, Incarnation, Lane, u64);

impl OpenAsk {
    pub(crate) fn new(
        stream: Arc<StreamKey>,
        number: u64,
        made: Millis,
        deadline: Millis,
        waiter: Option<u64>,
    ) -> Self {
        Self {
            deadline,
            made,
            stream,
            number,
            waiter,
            ended: false,
            probe_at: made + PROBE_AFTER,
            seen: 0,
        }
    }

    fn holds_up_handler(&self) -> bool {
        self.waiter.is_some() && !self.ended
    }
}

impl Agent {
    /// Asks: the message is on its way in the stream `at`, as the last of it.
    pub(super) fn begin_ask(
        &mut self,
        ask: u64,
        at: u32,
        deadline: Millis,
        waiter: Option<u64>,
        now: Millis,
    ) {
        let Some((stream, number)) = self.outbox.last_of(at) else {
            return;
        };
        let open = OpenAsk::new(stream.clone(), number, now, deadline, waiter);
        if waiter.is_some() {
            self.probe_by(open.probe_at);
        }
        self.wake_by(deadline);
        self.asks.insert(ask, open);
    }

    /// What goes out to ask, and until when its answer is waited for.
    pub(super) fn ask_of(&self, ask: u64, deadline_ms: u32, now: Millis) -> (Box<Ask>, Millis) {
        let span = Millis(u64::from(deadline_ms).max(1)).min(MAX_DEADLINE);
        let deadline = now + span;
        let ask = Ask {
            id: ask,
            reply_to: ReplyTo::Agent(self.id.clone(), self.incarnation),
            deadline,
        };
        (Box::new(ask), deadline)
    }

    /// The guest says that only the end of an ask lets a handler go on.
    pub(super) fn note_waiter(&mut self, ask: u64, handler: u64, now: Millis) {
        if let Some(open) = self.asks.get_mut(&ask)
            && open.waiter.is_none()
        {
            open.waiter = Some(handler);
            open.probe_at = now + PROBE_AFTER;
            self.probe_by(now + PROBE_AFTER);
        }
    }

    pub(crate) fn probe_by(&mut self, at: Millis) {
        self.probe_at = self.probe_at.min(at);
    }

    /// Puts the end of an ask into the mailbox, once. Says whether it was open.
    pub(super) fn end_ask(&mut self, ask: u64, reply: Reply) -> bool {
        let Some(open) = self.asks.get_mut(&ask).filter(|open| !open.ended) else {
            return false;
        };
        open.ended = true;
        let reply = Box::new(reply);
        self.mailbox.push_urgent(Input::Ended { ask, reply });
        true
    }

    /// The same of an ask whose message may still be with the agent that was asked,
    /// which is told that it need not begin.
    pub(super) fn give_up_ask(&mut self, ask: u64, reply: Reply, out: &mut Actions) {
        if self.end_ask(ask, reply) {
            self.cancel(ask, out);
        }
    }

    /// Whom it waits for, in the order of the asks' numbers.
    pub fn ask_infos(&self) -> Vec<AskInfo> {
        let mut asks: Vec<(&u64, &OpenAsk)> = self.asks.iter().collect();
        asks.sort_unstable_by_key(|(ask, _)| **ask);
        let open = asks.into_iter().filter(|(_, open)| !open.ended);
        open.take(MAX_WAITS)
            .map(|(ask, open)| AskInfo {
                ask: *ask,
                to: open.stream.receiver.clone(),
                made: open.made,
                deadline: open.deadline,
                handler: open.waiter,
            })
            .collect()
    }

    /// Who waits for it to answer what it has begun, the oldest first.
    pub fn request_infos(&self) -> Vec<RequestInfo> {
        let mut requests: Vec<(&u64, &Ask)> = self.requests.iter().collect();
        requests.sort_unstable_by_key(|(turn, _)| **turn);
        let infos = requests.into_iter().map(|(turn, ask)| RequestInfo {
            handler: *turn,
            from: ask.reply_to.clone(),
            ask: ask.id,
            deadline: ask.deadline,
        });
        infos.take(MAX_WAITS).collect()
    }

    fn cancel(&self, ask: u64, out: &mut Actions) {
        if let Some(link) = self.link(ask)
            && let Some(open) = self.asks.get(&ask)
        {
            let to = open.stream.receiver.clone();
            out.notices.push(AskNotice::Cancel { to, ask: link });
        }
    }

    /// Gives up all asks, of an agent that takes no ends of them any more.
    pub(super) fn forget_asks(&mut self, out: &mut Actions) {
        let mut open: Vec<u64> = self.asks.keys().copied().collect();
        open.sort_unstable();
        for ask in open {
            self.cancel(ask, out);
        }
        self.asks.clear();
    }

    /// Ends the asks whose deadlines have passed.
    pub(super) fn end_late_asks(&mut self, now: Millis, out: &mut Actions) {
        let late = self.asks.iter();
        let late = late.filter(|(_, open)| !open.ended && open.deadline <= now);
        let mut late: Vec<u64> = late.map(|(ask, _)| *ask).collect();
        late.sort_unstable();
        for ask in late {
            self.counters.timeouts += 1;
            let reply = self.withdraw_ask(ask).unwrap_or(Reply::Timeout);
            self.give_up_ask(ask, reply, out);
        }
    }

    /// Takes back the message of an ask that was refused each time it was sent, and
    /// says how the ask ends then.
    fn withdraw_ask(&mut self, ask: u64) -> Option<Reply> {
        let open = self.asks.get(&ask)?;
        let (key, number) = (open.stream.clone(), open.number);
        let (to, lane) = (&key.receiver, key.lane);
        let refusal = self.outbox.withdraw_refused(to, lane, number)?;
        if self.notes.is_some() {
            let why = refusal_text(refusal).into();
            self.note_heard(to, lane, number, Verdict::Unavailable(why));
        }
        Some(unavailable(refusal))
    }

    /// When the next ask runs out.
    pub(super) fn next_deadline(&self) -> Millis {
        let open = self.asks.values().filter(|open| !open.ended);
        let deadlines = open.map(|open| open.deadline);
        deadlines.min().unwrap_or(Millis::NEVER)
    }

    /// The guest cannot be told how an ask ended. The handler that waits for it
    /// is in the guest's memory, so the guest must be told to end it.
    pub(super) fn abandon_ask(&mut self, ask: u64) {
        if self.pending == 0 {
            self.asks.remove(&ask);
        } else if let Some(open) = self.asks.get_mut(&ask) {
            open.ended = true;
            self.mailbox.push_urgent(Input::Abandoned { ask });
        }
    }

    /// Sends out probes along the asks that have been open for so long that they may
    /// wait for each other: soon at first, then after twice as long each time.
    pub(super) fn send_probes(&mut self, now: Millis, out: &mut Actions) {
        self.probe_at = Millis::NEVER;
        let mut next = Millis::NEVER;
        let mut due: Vec<u64> = Vec::new();
        for (ask, open) in &self.asks {
            if !open.holds_up_handler() {
                continue;
            }
            if open.probe_at <= now {
                due.push(*ask);
            } else {
                next = next.min(open.probe_at);
            }
        }
        due.sort_unstable();
        if due.len() > PROBES_AT_ONCE {
            due.truncate(PROBES_AT_ONCE);
            next = now;
        }
        for ask in due {
            let Some(open) = self.asks.get_mut(&ask) else {
                continue;
            };
            let age = Millis(now.0.saturating_sub(open.made.0)).max(PROBE_AFTER);
            open.probe_at = now + age;
            next = next.min(open.probe_at);
            let (waiter, to) = (open.waiter, open.stream.receiver.clone());
            if !self.holds_up_others(waiter) {
                continue;
            }
            out.notices.extend(self.link(ask).map(|link| {
                AskNotice::Probe(Box::new(Probe {
                    to,
                    sent: now,
                    budget: PROBE_BUDGET,
                    again: None,
                    links: vec![link],
                }))
            }));
        }
        // Never more often than is worth it, however many asks there are.
        self.probe_by(next.max(now + PROBE_PAUSE));
    }

    /// Whether a circle could pass this agent by a handler that waits: somebody asked
    /// for what it does, or may have asked and waits behind it.
    fn holds_up_others(&self, handler: Option<u64>) -> bool {
        let request = handler.and_then(|handler| self.requests.get(&handler));
        let is_asked = request.is_some_and(|ask| matches!(ask.reply_to, ReplyTo::Agent(..)));
        is_asked || self.mailbox.level().messages > 0 || self.mailbox.spilled() > 0
    }

    /// An own ask as others are told of it.
    fn link(&self, ask: u64) -> Option<AskLink> {
        let open = self.asks.get(&ask)?;
        Some(AskLink {
            asker: self.id.clone(),
            incarnation: self.incarnation,
            ask,
            made: open.made,
            lane: open.stream.lane,
            number: open.number,
        })
    }

    /// The own ask that a link stands for, if it still holds up a handler.
    fn own(&self, link: &AskLink) -> Option<(u64, &OpenAsk)> {
        let is_own = link.asker == self.id && link.incarnation == self.incarnation;
        let open = self.asks.get(&link.ask).filter(|_| is_own)?;
        let is_it = open.made == link.made && open.number == link.number;
        (is_it && open.holds_up_handler()).then_some((link.ask, open))
    }

    /// Takes a word about an ask.
    pub fn noticed(&mut self, notice: AskNotice, handlers: &impl Handlers, out: &mut Actions) {
        match notice {
            AskNotice::Cancel { ask, .. } => self.cancelled(&ask),
            AskNotice::Probe(probe) => match probe.again {
                None => self.chase(*probe, handlers, out),
                Some(gone) => self.chase_again(*probe, gone, handlers, out),
            },
        }
    }

    /// The first round: goes on along every ask that holds up the last one.
    fn chase(&mut self, probe: Probe, handlers: &impl Handlers, out: &mut Actions) {
        let Some(last) = probe.links.last() else {
            return;
        };
        let mark = probe.mark();
        let mut ways = self.held_up_by(last, handlers);
        // Each ask passes on a probe once, or they would grow without end.
        ways.retain(|ask| {
            let open = self.asks.get_mut(ask);
            open.is_some_and(|open| std::mem::replace(&mut open.seen, mark) != mark)
        });
        let budget = probe.budget.saturating_sub(1);
        let ways_out = u16::try_from(ways.len().max(1)).unwrap_or(u16::MAX);
        let budget = budget / ways_out;
        for ask in ways {
            let Some(open) = self.asks.get(&ask) else {
                continue;
            };
            let mut next = Probe {
                to: open.stream.receiver.clone(),
                budget,
                ..probe.clone()
            };
            let first = probe.links.first().and_then(|first| self.own(first));
            if first.is_some_and(|(first, _)| first == ask) {
                next.again = Some(1);
            } else if let Some(link) = self.link(ask)
                && budget > 0
                && probe.links.len() < MAX_PROBE_LINKS
                && !probe.links.contains(&link)
            {
                next.links.push(link);
            } else {
                continue;
            }
            out.notices.push(AskNotice::Probe(Box::new(next)));
        }
    }

    /// The second round: goes on if the link before still waits for the own one.
    fn chase_again(
        &mut self,
        mut probe: Probe,
        gone: u16,
        handlers: &impl Handlers,
        out: &mut Actions,
    ) {
        let (count, gone) = (probe.links.len(), usize::from(gone));
        if count == 0 || gone == 0 || gone >= 2 * count {
            return;
        }
        let place = |at: usize| probe.links.get(at % count);
        let (Some(before), Some(own)) = (place(gone - 1), place(gone)) else {
            return;
        };
        let (before, own) = (before.clone(), own.clone());
        let Some((ask, open)) = self.own(&own) else {
            return;
        };
        let to = open.stream.receiver.clone();
        if !self.held_up_by(&before, handlers).contains(&ask) {
            return;
        }
        if gone == count + probe.youngest() {
            self.give_up_ask(ask, Reply::Deadlock, out);
            return;
        }
        probe.to = to;
        probe.again = u16::try_from(gone + 1).ok();
        out.notices.push(AskNotice::Probe(Box::new(probe)));
    }

    /// The own asks that hold up another agent's: it is not answered before each of
    /// them ends. In order, and none where that is not certain.
    fn held_up_by(&mut self, link: &AskLink, handlers: &impl Handlers) -> Vec<u64> {
        let is_it = |ask: &Ask| {
            let is_of =
                |id: &AgentId, life: Incarnation| *id == link.asker && life == link.incarnation;
            ask.id == link.ask
                && matches!(&ask.reply_to, ReplyTo::Agent(id, life) if is_of(id, *life))
        };
        let served = self.requests.iter().find(|(_, ask)| is_it(ask));
        let served = served.map(|(turn, _)| *turn);
        if served.is_none() && (self.pending == 0 || !self.stands_behind(link, handlers)) {
            return Vec::new();
        }
        let waits = self.asks.iter().filter(|(_, open)| {
            open.holds_up_handler() && (served.is_none() || served == open.waiter)
        });
        let mut waits: Vec<u64> = waits.map(|(ask, _)| *ask).collect();
        waits.sort_unstable();
        waits
    }

    /// Whether the message that asks waits for its turn and gets none while a handler
    /// is pending.
    fn stands_behind(&mut self, link: &AskLink, handlers: &impl Handlers) -> bool {
        let AskLink { lane, number, .. } = *link;
        if !self.is_taken(link.asker.clone(), link.incarnation, lane, number) {
            return false;
        }
        if !handlers.any_interleaves() {
            return true;
        }
        let is_it = |envelope: &Envelope| {
            envelope.sequence.is_some_and(|it| it.number == number)
                && envelope.stream.lane == lane
                && matches!(envelope.sender(), Sender::Agent(id, life)
                    if *id == link.asker && *life == link.incarnation)
        };
        let mut waiting = self.mailbox.iter().take(LOOKED_THROUGH);
        waiting.any(|input| match input {
            Input::Envelope(envelope, _) if is_it(envelope) => match &envelope.body {
                Body::Message { method, .. } => !handlers.interleaves(method),
                _ => false,
            },
            _ => false,
        })
    }

    /// Whether a message of that stream is here and has no verdict.
    fn is_taken(&mut self, from: AgentId, life: Incarnation, lane: Lane, number: u64) -> bool {
        let key = StreamKey::shared(Sender::Agent(from, life), self.id.clone(), lane);
        let Some(base) = NonZeroU64::new(number) else {
            return false;
        };
        let sequence = Sequence {
            number,
            base,
            give_up: Millis(0),
        };
        self.inbound.taken(&key, &sequence).is_some()
    }

    /// Somebody gave up waiting. What it asked is skipped when its turn comes, if it
    /// has not come yet.
    fn cancelled(&mut self, ask: &AskLink) {
        let AskLink { lane, number, .. } = *ask;
        if !self.is_taken(ask.asker.clone(), ask.incarnation, lane, number) {
            return;
        }
        if self.cancelled.len() >= MAX_CANCELLED {
            let mut cancelled = std::mem::take(&mut self.cancelled);
            cancelled.retain(|(id, life, lane, number)| {
                self.is_taken(id.clone(), *life, *lane, *number)
            });
            self.cancelled = cancelled;
        }
        if self.cancelled.len() < MAX_CANCELLED {
            let of = (ask.asker.clone(), ask.incarnation, lane, number);
            self.cancelled.insert(of);
        }
    }

    /// Whether whoever sent a message that asks has given up waiting.
    #[inline]
    pub(super) fn is_cancelled(&self, envelope: &Envelope) -> bool {
        !self.cancelled.is_empty()
            && cancelled_key(envelope).is_some_and(|key| self.cancelled.contains(&key))
    }

    /// The message is closed.
    pub(super) fn forget_cancelled(&mut self, envelope: &Envelope) {
        if !self.cancelled.is_empty()
            && let Some(key) = cancelled_key(envelope)
        {
            self.cancelled.remove(&key);
        }
    }
}

fn cancelled_key(envelope: &Envelope) -> Option<Cancelled> {
    let Sender::Agent(id, life) = envelope.sender() else {
        return None;
    };
    let number = envelope.sequence?.number;
    Some((id.clone(), *life, envelope.stream.lane, number))
}
