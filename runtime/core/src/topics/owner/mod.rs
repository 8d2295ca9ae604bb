//! The owner of a space's topics: puts their events in one order and sees that each
//! subscription gets its own.
//!
//! ```text
//!   publish ──► number ──► keep: log, or recent events ──► offer to all, by slot
//!                                      │                        │  in_flight under way
//!                                      ▼                        ▼
//!                              read, replay, retained ◄── one that is behind has its place
//! ```
//!
//! It is an agent's program ([`crate::program`]): what it sends goes through an outbox, so
//! nothing is lost between it and a subscriber, and what it knows is saved with it.
//!
//! - **Order.** An event's number, from 1, is its place among all of the space. Every
//!   subscription gets events in that order, and each at most once.
//! - **Epoch.** The owner's life: when it began, milliseconds since 1970-01-01 UTC. One that
//!   is durable, moves or sleeps goes on with it.
//! - **Bounds.** By constants of this module, and by the memory its kind may take.
//!
//! Where subscriptions are, and how they come to be behind, is in `fan_out`; groups of which
//! one member gets each event are in `queues`; patterns that begin with a wildcard, in
//! `root`.

mod event;
mod fan_out;
mod listing;
mod program;
mod queues;
mod reads;
mod requests;
mod root;
mod save;
mod sends;
mod store;
mod table;
mod tally;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use phoenix_wit::{ContentType, Payload, SendOptions};

use crate::AgentId;
use crate::topics::wire::{Counts, ROOT};
use fan_out::{Fan, Sent};
use queues::{QueueId, Queues};
use reads::Reads;
use root::Rooting;
use store::Store;
use table::{Slot, Table};

pub use fan_out::LOOKS_A_TURN;
pub use program::Topics;
pub use queues::MAX_QUEUES;
pub use reads::MAX_WAITING_READS;
pub use root::{MAX_RELAYS, MAX_SPACES};
pub use sends::REJECT_GIVE_UP_MS;
pub use store::{MAX_CONFIGURED, MAX_KEPT_TOPICS, RECENT_BYTES, RECENT_EVENTS};
pub use table::MAX_SUBSCRIPTIONS;

/// Most events that are published and not yet offered to all of their subscriptions. At
/// the bound the owner takes no more until some are.
pub const MAX_BACKLOG: u64 = 1_024;
/// What logs and retained events may have together, hundredths of the memory that the
/// owner may take. Retained ones have half of it at most; where that is full, no more are.
pub const LOGS_PERCENT: u64 = 25;
/// What its subscriptions may have, likewise; where that is full, there are no more.
pub const SUBSCRIPTIONS_PERCENT: u64 = 50;
/// What events may have that are not offered to all yet, likewise: see [`MAX_BACKLOG`].
pub const BACKLOG_PERCENT: u64 = 5;
/// What events may have that are under way to members of queue groups, likewise; where
/// that is full a group waits until all of its own have a verdict.
pub const QUEUES_PERCENT: u64 = 10;

/// The timer that has the owner go on with what a turn had no room for.
const PUMP: u64 = 1;
/// The timer that ends reads.
const READS: u64 = 2;
/// The timer that has the owner ask the root once more.
const ENTER_AGAIN: u64 = 3;

/// What an owner may use up, by its kind's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// Bytes of logs and retained events.
    log_bytes: u64,
    /// Bytes of all subscriptions.
    subscription_bytes: u64,
    /// Bytes of events that are not offered to all yet.
    backlog_bytes: u64,
    /// Bytes of events that are under way to members of queue groups.
    queue_bytes: u64,
}

impl Bounds {
    fn of(memory_bytes: u64) -> Self {
        let part = |percent| memory_bytes / 100 * percent;
        Self {
            log_bytes: part(LOGS_PERCENT),
            subscription_bytes: part(SUBSCRIPTIONS_PERCENT),
            backlog_bytes: part(BACKLOG_PERCENT),
            queue_bytes: part(QUEUES_PERCENT),
        }
    }
}

/// Where the effects of a turn go.
trait Out {
    /// Messages that the turn may send yet.
    fn messages_left(&self) -> usize;
    /// Bytes that are left of the answer.
    fn bytes_left(&self) -> usize;
    /// Sends one message to several.
    fn multicast(
        &mut self,
        to: &[AgentId],
        method: &str,
        payload: Payload<'_>,
        options: &[u8; SendOptions::BYTES],
        token: Option<NonZeroU64>,
    );
    /// Answers a request of an earlier turn.
    fn reply(&mut self, request: u64, content_type: ContentType, bytes: &[u8]);
    /// Asks an agent.
    fn ask(&mut self, ask: u64, to: &AgentId, method: &str, payload: Payload<'_>, deadline_ms: u32);
    /// Sets a timer, or sets it anew.
    fn set_timer(&mut self, timer: u64, delay_ms: u64);
}

/// The owner of a space's topics.
#[derive(Debug)]
pub(super) struct Owner {
    /// The key of the agent it is: the space. Known with the first turn.
    space: String,
    /// 0 before the first turn.
    epoch: u64,
    /// The last event's number.
    number: u64,
    /// When that was.
    time: u64,
    store: Store,
    table: Table,
    queues: Queues,
    /// Groups of which a message waits for another member, or may.
    retrying: BTreeSet<QueueId>,
    fan: Fan,
    /// Of those that are behind, the one whose turn it is.
    behind_at: Slot,
    is_pump_set: bool,
    tokens: BTreeMap<u64, Sent>,
    last_token: u64,
    /// What kinds declared last, by kind.
    declared: BTreeMap<crate::KindName, u64>,
    reads: Reads,
    root: Rooting,
    counts: Counts,
    /// Not part of its state: each turn says.
    bounds: Bounds,
}

impl Default for Owner {
    fn default() -> Self {
        Self {
            space: String::new(),
            epoch: 0,
            number: 0,
            time: 0,
            store: Store::default(),
            table: Table::default(),
            queues: Queues::default(),
            retrying: BTreeSet::new(),
            fan: Fan::at(1),
            behind_at: 0,
            is_pump_set: false,
            tokens: BTreeMap::new(),
            last_token: 0,
            declared: BTreeMap::new(),
            reads: Reads::default(),
            root: Rooting::default(),
            counts: Counts::default(),
            bounds: Bounds::of(0),
        }
    }
}

impl Owner {
    /// What each turn begins with.
    fn begin_turn(&mut self, agent: &str, now: u64, memory_bytes: u64) {
        self.bounds = Bounds::of(memory_bytes);
        if self.epoch == 0 {
            let key = agent.split_once('/').map_or(agent, |(_, key)| key);
            key.clone_into(&mut self.space);
            self.epoch = now.max(1);
        }
        self.time = self.time.max(now);
    }

    fn is_root(&self) -> bool {
        self.space == ROOT
    }

    /// Events that are not offered to all yet.
    fn backlog(&self) -> u64 {
        (self.number + 1).saturating_sub(self.fan.number)
    }

    /// Whether more of them would be too many.
    fn is_behind(&self) -> bool {
        let backlog = self.backlog();
        backlog > 0
            && (backlog >= MAX_BACKLOG
                || self.store.bytes_from(self.fan.number) >= self.bounds.backlog_bytes)
    }

    fn memory_bytes(&self) -> u64 {
        self.store.bytes()
            + self.table.bytes()
            + self.queues.bytes()
            + self.reads.bytes()
            + self.root.bytes()
            + 64 * self.tokens.len() as u64
            + 4_096
    }
}
