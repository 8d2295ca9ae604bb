//! The state machine every agent is to its worker.
//!
//! ```text
//!   offer ──▶ mailbox ──▶ begin ──▶ frame ──▶ (guest) ──▶ answer ──▶ commit ──▶ Actions
//!     │                     ▲                    │                     │
//!     ▼                     └────── fail ◀───── fault                  └─▶ outbox, timers, asks
//!   Actions
//! ```
//!
//! An [`Agent`] holds everything that must survive sleep and movement, except
//! the guest's memory: streams with their watermarks, the outbox, open asks and
//! requests, timers. The driver runs the guest and performs the [`Actions`].
//! A batch is committed whole or not at all: until [`Agent::commit`] succeeds
//! nothing has changed but the mailbox, and [`Agent::fail`] puts that back.

mod admit;
mod asks;
mod bad_answer;
mod batch;
mod cause;
mod closing;
mod commit;
mod committing;
mod counters;
mod credit;
mod gated;
mod how;
mod inbound;
mod kept;
mod mailbox;
mod multicast;
mod notes;
mod numbers;
mod outbox;
mod pubsub;
mod recovery;
mod renew;
mod sent;
mod spill;
mod timers;
mod verdict;
mod watch;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use asks::Cancelled;
pub use asks::MAX_WAITS;
pub(crate) use asks::OpenAsk;
pub use bad_answer::BadAnswer;
pub use batch::{Batch, BatchRoom, Handlers, Skip};
pub use counters::Counters;
pub(crate) use credit::{Amount, Holding};
pub use gated::Held;
pub use inbound::StreamIndex;
pub(crate) use inbound::{Closed, InStream, Inbound, Skips};
pub(crate) use kept::{Kept, Terms};
pub use mailbox::Input;
pub(crate) use mailbox::Mailbox;
pub(crate) use outbox::Outbox;
pub use recovery::{Again, Diverged, Recovery, Rerun};
pub use spill::Refill;
pub(crate) use timers::{Timer, Timers};
pub use verdict::{MessageEnd, MessageVerdict, Token};
use watch::Watched;
pub use watch::{Ended, Outlook, is_counted, turn_away};

use crate::control::{MailboxInfo, TimerInfo};
use crate::{
    Acknowledgement, AgentId, Ask, AskNotice, Body, DeadReason, Delivery, Envelope, Failure,
    Incarnation, KindPolicy, Lane, Level, Millis, Nanos, NodeId, Notice, Payload, Refusal, Reply,
    ReplyTo, RetryPolicy, Sender, SkipReason, StreamKey,
};
/// How far clocks of nodes may differ before a stream is forgotten too early.
pub const MAX_CLOCK_SKEW: Millis = Millis(30_000);

/// What an agent wants done after it was given something.
#[derive(Debug, Default)]
pub struct Actions {
    /// Messages to route, in order.
    pub send: Vec<Arc<Envelope>>,
    /// Verdicts for senders.
    pub acknowledge: Vec<Acknowledgement>,
    /// Answers for clients waiting at a node, with the node's number for the ask.
    pub answer: Vec<(NodeId, u64, Reply)>,
    /// Lines for the agent's log.
    pub log: Vec<(Level, String)>,
    /// Messages that ended without being applied.
    pub dead: Vec<(Arc<Envelope>, DeadReason, u32)>,
    /// Messages to write to the agent's area for spilled ones, in order, before
    /// anything is read from it.
    pub spill: Vec<Arc<Envelope>>,
    /// Words about asks for the agents that were asked. None need arrive.
    pub notices: Vec<AskNotice>,
}

impl Actions {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.send.is_empty()
            && self.acknowledge.is_empty()
            && self.answer.is_empty()
            && self.log.is_empty()
            && self.dead.is_empty()
            && self.spill.is_empty()
            && self.notices.is_empty()
    }
}

/// One agent, without its memory.
#[derive(Debug)]
pub struct Agent {
    pub(crate) id: AgentId,
    pub(crate) incarnation: Incarnation,
    pub(crate) seed: u64,
    /// The number the next turn gets.
    pub(crate) turn: u64,
    /// The latest `now` a turn has seen.
    pub(crate) now: Nanos,
    /// The latest time it was told, in or between turns.
    clock: Millis,
    /// Handlers pending in the guest.
    pub(crate) pending: u16,
    /// Whether `init` has committed.
    pub(crate) begun: bool,
    /// The last batch held none of the messages that wait: the next begins with one,
    /// so that timers cannot keep them waiting for ever.
    is_messages_turn: bool,
    pub(crate) mailbox: Mailbox,
    /// The mailbox was past its high mark and is not down to its low one since.
    pub(crate) holding: Option<Holding>,
    pub(crate) inbound: Inbound,
    pub(crate) outbox: Outbox,
    /// Asks without an answer, by the guest's numbers.
    pub(crate) asks: HashMap<u64, OpenAsk>,
    /// Messages in the mailbox whose askers have given up.
    cancelled: HashSet<Cancelled>,
    /// No later than the next probe is due.
    probe_at: Millis,
    /// Requests taken and not answered, by the number of the turn that brought them.
    pub(crate) requests: HashMap<u64, Ask>,
    pub(crate) timers: Timers,
    pub(crate) stopped: Option<Arc<str>>,
    /// After a fault: how many inputs are still to be put one at a time.
    isolate: u32,
    /// How often the first of them has faulted alone.
    attempts: u32,
    /// Messages one batch may hold: few while most of a batch would be deferred.
    window: u32,
    /// No later than the instant [`Agent::tick`] next has something to do.
    wake: Millis,
    /// Messages whose end somebody wants to hear of, if there ever were any.
    watched: Option<Box<Watched>>,
    /// What is still to be said to its log, if it is durable.
    notes: Option<Box<notes::Notes>>,
    /// What was counted since the agent came to life here.
    pub counters: Counters,
}

/// What became of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Try again, after this long.
    Retry(Millis),
    /// The input that faulted alone is given up; the agent goes on without it.
    Dropped,
    /// The agent cannot begin.
    InitFailed,
    /// A handler waits for an ask whose end the agent cannot be told: it would
    /// never take another message.
    Stuck,
}

impl Agent {
    /// A new life of `id`. The first input put is its `init`.
    pub fn new(id: AgentId, incarnation: Incarnation, config: Payload) -> Self {
        let seed = id
            .placement_hash()
            .wrapping_add(incarnation.boot.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_add(incarnation.count.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(incarnation.generation.rotate_left(32));
        let mut agent = Self::bare(id, incarnation, seed);
        agent.mailbox.push_init(config);
        agent
    }

    pub(crate) fn bare(id: AgentId, incarnation: Incarnation, seed: u64) -> Self {
        Self {
            id,
            incarnation,
            seed,
            turn: 0,
            now: Nanos(0),
            clock: Millis(0),
            pending: 0,
            begun: false,
            is_messages_turn: false,
            mailbox: Mailbox::default(),
            holding: None,
            inbound: Inbound::default(),
            outbox: Outbox::new(seed),
            asks: HashMap::new(),
            cancelled: HashSet::new(),
            probe_at: Millis::NEVER,
            requests: HashMap::new(),
            timers: Timers::default(),
            stopped: None,
            isolate: 0,
            window: u32::MAX,
            attempts: 0,
            wake: Millis(0),
            watched: None,
            notes: None,
            counters: Counters::default(),
        }
    }

    /// Its address.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// Which life this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Turns committed.
    pub fn turns(&self) -> u64 {
        self.turn
    }

    /// Handlers waiting for an answer.
    pub fn pending(&self) -> u16 {
        self.pending
    }

    /// Whether `init` has committed.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Inputs waiting.
    pub fn waiting(&self) -> usize {
        self.mailbox.len()
    }

    /// How its mailbox stands. Looks at every message in it.
    pub fn mailbox_info(&self) -> MailboxInfo {
        MailboxInfo {
            lanes: Lane::MESSAGES
                .map(|lane| self.mailbox.lane_info(lane))
                .to_vec(),
            ends: self.mailbox.ends() as u64,
            holding: self.holding.is_some(),
            held: self.inbound.held() as u64,
        }
    }

    /// Whether its senders are told to hold.
    pub fn is_holding(&self) -> bool {
        self.holding.is_some()
    }

    /// Effects without a verdict.
    pub fn unacknowledged(&self) -> u64 {
        self.outbox.len()
    }

    /// Bytes of them.
    pub fn unacknowledged_bytes(&self) -> u64 {
        self.outbox.bytes()
    }

    /// Streams it speaks on whose receivers have given it no credit.
    pub fn held_streams(&self) -> usize {
        self.outbox.held()
    }

    /// Asks without an answer.
    pub fn open_asks(&self) -> usize {
        self.asks.len()
    }

    /// Timers set.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Its timers, the soonest first, at most a hundred.
    pub fn timer_infos(&self) -> Vec<TimerInfo> {
        self.timers.infos()
    }

    /// Streams it hears from, and speaks on.
    pub fn streams(&self) -> (usize, usize) {
        (self.inbound.len(), self.outbox.stream_count())
    }

    /// Why it ended itself, if it did.
    pub fn stopped(&self) -> Option<&Arc<str>> {
        self.stopped.as_ref()
    }

    /// Ends it from outside: no turn runs any more.
    pub fn stop(&mut self, why: &str) {
        self.stopped.get_or_insert_with(|| why.into());
    }

    /// The sender its effects go out under.
    pub fn sender(&self) -> Sender {
        Sender::Agent(self.id.clone(), self.incarnation)
    }

    /// Sends its messages again as its kind's policy says. To be told whenever it is
    /// given a place: the policy may be another than when it was seen last.
    pub fn retry_by(&mut self, policy: &KindPolicy) {
        self.outbox.retry_by(policy.retry_policy());
    }

    /// The connection to some node is back: everything without a verdict goes again at once.
    pub fn retry_now(&mut self) {
        self.outbox.retry_now();
        self.wake = Millis(0);
    }

    /// Lets time pass: timers come due, asks run out, messages are sent again or given up.
    pub fn tick(&mut self, now: Millis, out: &mut Actions) {
        self.inbound.forget_before(now - MAX_CLOCK_SKEW);
        while let Some((id, due)) = self.timers.pop_due(now) {
            self.mailbox.push_urgent(Input::Timer { id, due });
        }
        self.clock = self.clock.max(now);
        // For an agent that is on its way no time passes.
        self.mailbox.go_on();
        if self.wake <= now {
            let mut given_up = Vec::new();
            self.outbox.tick(now, &mut out.send, &mut given_up);
            self.end_unsent_asks(&given_up);
            self.end_late_asks(now, out);
            self.gave_up(given_up, out);
            self.end_overdue(now);
            self.wake = self.next_wake_exact();
        }
        if self.probe_at <= now {
            self.send_probes(now, out);
        }
    }

    /// No later than the instant [`Agent::tick`] next has something to do. Cheap;
    /// exact only right after a tick.
    pub fn next_wake(&self) -> Millis {
        self.wake.min(self.probe_at)
    }

    fn wake_by(&mut self, at: Millis) {
        self.wake = self.wake.min(at);
    }

    /// When an agent that sleeps must be woken for [`Agent::tick`]. Nobody is woken to
    /// send out probes: a circle is closed by an ask, and whoever makes it is awake.
    pub fn next_wake_exact(&self) -> Millis {
        self.timers
            .next_due()
            .min(self.next_deadline())
            .min(self.outbox.next_wake())
            .min(self.next_overdue())
    }

    /// When an agent has to be woken of which only its journal is left: what came due and
    /// has not had its turn comes due again, and one that is to end ends.
    pub fn next_wake_recovered(&self) -> Millis {
        let has_ended_asks = || self.asks.values().any(|open| open.ended);
        if self.stopped.is_some() || self.timers.is_firing() || has_ended_asks() {
            return Millis(0);
        }
        self.next_wake_exact()
    }

    /// Whether it can sleep now with nothing left to do but wait.
    pub fn quiet(&self) -> bool {
        let has_inputs = self.mailbox.len() > 0 || self.mailbox.spilled() > 0;
        self.begun && !has_inputs && self.outbox.len() == 0 && self.stopped.is_none()
    }

    /// Forgets streams nobody can speak on any more; call it before a snapshot of a quiet agent.
    pub fn forget_old_streams(&mut self, now: Millis) {
        self.inbound.forget_before(now - MAX_CLOCK_SKEW);
        self.outbox.forget_idle(0);
    }

    /// Undoes a batch that faulted. What to do next is the answer; dead letters are in `out`.
    pub fn fail(
        &mut self,
        batch: Batch,
        why: &Arc<str>,
        policy: &KindPolicy,
        out: &mut Actions,
    ) -> Failed {
        self.counters.faults += 1;
        let put = batch.turns();
        if put > 1 {
            self.isolate = self.isolate.max(put);
            self.attempts = 0;
            self.mailbox.restore(batch.into_inputs());
            return Failed::Retry(Millis(0));
        }
        self.attempts += 1;
        self.isolate = self.isolate.max(1);
        if self.attempts < policy.max_attempts {
            self.mailbox.restore(batch.into_inputs());
            let schedule = RetryPolicy::DEFAULT.schedule;
            return Failed::Retry(schedule.wait(self.attempts.saturating_add(1)));
        }
        let attempts = std::mem::take(&mut self.attempts);
        self.isolate = self.isolate.saturating_sub(1);
        let now = batch.now;
        let mut failed = Failed::Dropped;
        // Each in its place: streams end in order.
        let mut skipped = Vec::new();
        for entry in batch.into_entries() {
            if entry.skip.is_some() {
                skipped.push(entry);
                continue;
            }
            self.end_skipped(std::mem::take(&mut skipped), now, policy, out);
            if self.notes.is_some() {
                self.note_given_up(&entry.input, why, attempts, now);
            }
            failed = self.give_up_input(entry.input, why, attempts, now.millis(), out);
        }
        self.end_skipped(skipped, now, policy, out);
        self.report_watermarks(out);
        failed
    }

    /// What waits now leaves with the snapshot that is taken next.
    pub fn mark_shipped(&mut self) {
        self.mailbox.mark_shipped();
    }

    /// What came since the last snapshot that moved it, either way, to be sent
    /// after the agent.
    pub fn take_unshipped(&mut self) -> Vec<Arc<Envelope>> {
        let (id, asker) = (self.id.clone(), self.incarnation);
        let late = self.mailbox.take_unshipped().into_iter();
        late.filter_map(|input| match input {
            Input::Envelope(envelope, _) => Some(envelope),
            // The end of an ask that is open where the agent went.
            Input::Ended { ask, reply } => {
                let reply = *reply;
                Some(of_the_host(id.clone(), Body::Reply { ask, asker, reply }))
            }
            // What the other copy has of the outbox brings it the verdict too.
            Input::Verdict(_)
            | Input::Init { .. }
            | Input::Abandoned { .. }
            | Input::Timer { .. } => None,
        })
        .collect()
    }

    /// A batch was not run: its inputs go back as they were.
    pub fn put_back(&mut self, batch: Batch) {
        self.mailbox.restore(batch.into_inputs());
    }

    /// A batch did not fit the outbox: its inputs go back and are put one at a time.
    pub fn split(&mut self, batch: Batch) {
        self.isolate = self.isolate.max(batch.turns());
        self.mailbox.restore(batch.into_inputs());
    }

    /// Gives up everything that waits, as when the agent is stopped.
    pub fn abandon(&mut self, reason: &DeadReason, out: &mut Actions) {
        for input in self.mailbox.drain() {
            if let Input::Envelope(envelope, at) = input {
                self.close(&envelope, at, reason, 0, out);
            }
        }
        self.report_watermarks(out);
        self.forget_asks(out);
        self.end_requests(reason);
        for (_, ask) in self.requests.drain() {
            answer(&ask, Reply::Failed(Box::new(given_up(reason))), out);
        }
    }

    /// Tells senders what was committed of their streams, and those that hold that
    /// they may go on, if they may.
    fn report_watermarks(&mut self, out: &mut Actions) {
        self.inbound.moved(|stream, after, through| {
            out.acknowledge.push(Acknowledgement {
                stream: stream.key.clone(),
                notice: Notice::Applied { after, through },
            });
        });
        self.grant_credit(out);
    }
}

/// Ends a message without applying it: verdict to a reliable sender, answer to an asker.
pub fn bury(envelope: &Arc<Envelope>, reason: &DeadReason, attempts: u32, out: &mut Actions) {
    if let Some(sequence) = envelope.sequence {
        let notice = Notice::Skipped {
            number: sequence.number,
            reason: SkipReason::Dead(reason.clone()),
        };
        acknowledge(envelope, notice, out);
    }
    if let Some(ask) = envelope.body.ask()
        && (envelope.sequence.is_none() || matches!(ask.reply_to, ReplyTo::Client(_)))
    {
        // A reliable ask of an agent bounces through its stream instead.
        answer(ask, Reply::Bounced(dead_text(reason).into()), out);
    }
    // What came back is a dead letter already.
    if !matches!(envelope.body, Body::Bounce(_)) {
        out.dead.push((envelope.clone(), reason.clone(), attempts));
    }
}

/// Tells the sender of `envelope` that it was not taken.
pub fn refuse(
    envelope: &Arc<Envelope>,
    expected: Option<u64>,
    refusal: Refusal,
    out: &mut Actions,
) {
    match envelope.sequence {
        Some(sequence) => {
            let expected = expected.unwrap_or(sequence.number);
            let notice = Notice::Refused {
                expected,
                number: sequence.number,
                refusal,
            };
            acknowledge(envelope, notice, out);
        }
        None => {
            if let Some(ask) = envelope.body.ask() {
                answer(ask, Reply::Unavailable(refusal_text(refusal).into()), out);
            }
        }
    }
}

fn acknowledge(envelope: &Envelope, notice: Notice, out: &mut Actions) {
    if envelope.sequence.is_some() {
        let stream = envelope.stream.clone();
        out.acknowledge.push(Acknowledgement { stream, notice });
    }
}

/// Sends an answer outside any stream: to a client, or to an agent whose ask was at-most-once.
fn answer(ask: &Ask, reply: Reply, out: &mut Actions) {
    match &ask.reply_to {
        ReplyTo::Client(node) => out.answer.push((*node, ask.id, reply)),
        ReplyTo::Agent(id, incarnation) => out.send.push(of_the_host(
            id.clone(),
            Body::Reply {
                ask: ask.id,
                asker: *incarnation,
                reply,
            },
        )),
    }
}

/// A message of the host's own, outside any stream. It waits with the replies.
fn of_the_host(to: AgentId, body: Body) -> Arc<Envelope> {
    Arc::new(Envelope {
        stream: StreamKey::shared(Sender::System, to, Lane::Reply),
        sequence: None,
        body,
        extras: None,
    })
}

/// What whoever waits for a handler is told that had begun, and is given up. It did
/// not bounce: what it did before it waited stands.
fn given_up(reason: &DeadReason) -> Failure {
    let why = dead_text(reason);
    Failure {
        code: "abandoned".into(),
        message: format!("the handler was given up while it waited: {why}").into(),
        details: Payload::default(),
    }
}

fn dead_text(reason: &DeadReason) -> String {
    match reason.detail() {
        "" => reason.code().to_owned(),
        detail => format!("{}: {detail}", reason.code()),
    }
}

fn skip_text(reason: &SkipReason) -> String {
    match reason {
        SkipReason::Expired => "expired".to_owned(),
        SkipReason::Cancelled => "cancelled".to_owned(),
        SkipReason::Dead(reason) => dead_text(reason),
        SkipReason::Redirected => "redirected".to_owned(),
        // Of one that was asked about again the words are not kept.
        SkipReason::TurnedDown(why) if why.is_empty() => "turned down by a gate".to_owned(),
        SkipReason::TurnedDown(why) => why.to_string(),
    }
}

/// A refusal in a word, or in a word and what it means.
pub fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MailboxFull => "mailbox-full",
        Refusal::OutOfOrder => "out-of-order",
        Refusal::Busy => "busy",
        Refusal::Flow(notice) => notice.code(),
        Refusal::JournalFull => "journal-full: the journal of its node has no room",
    }
}

/// Whether a delivery is kept until it has a verdict.
pub(crate) fn is_reliable(delivery: Delivery) -> bool {
    delivery != Delivery::AtMostOnce
}
