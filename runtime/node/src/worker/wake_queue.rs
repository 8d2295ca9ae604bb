//! Agents that are wanted awake, a few at a time.
//!
//! ```text
//!   offer, timer, request ──▶ queue ──▶ directory? ──▶ reader ──▶ awake ──▶ first turn
//!                               │      └───────── ABREAST at most ─────────────┘
//!                               └ what comes for them meanwhile is held, in order
//! ```
//!
//! One that lies in memory and finds nobody before it is awake at once. Where thousands
//! are wanted together, they wake in the order in which they were wanted, and the next
//! one begins when one before it has had its first turn. So those who are awake share
//! the worker with [`ABREAST`] others at most, and what is read for them is bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::control::{Done, Request};
use phoenix_core::{Envelope, NodeId};

/// Agents of one worker that are on their way from sleep to their first turn at once.
/// Enough to keep a disk and the worker busy; the fewer they are, the sooner others have
/// their turns in between.
pub(super) const ABREAST: usize = 16;
/// Bytes that are being read for them at once, 64 MiB; or one agent, however large.
const READ_BYTES: u64 = 64 << 20;
/// Messages held for one of them.
const MAX_HELD: usize = 1_024;
/// Messages held for all of a worker's.
const MAX_HELD_ALL: usize = 1 << 18;
/// Requests held for one of them.
const MAX_REQUESTS: usize = 64;

/// A request that waits for an agent: from which node it came, and whom to tell.
pub(super) type Waiting = (Request, Option<NodeId>, Done);

/// How far an agent is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not begun.
    Queued,
    /// The directory is asked whether it is still this node's.
    Asking,
    /// It is being read.
    Reading,
}

/// An agent that is wanted awake.
pub(super) struct Wanted {
    pub(super) stage: Stage,
    /// Tells this attempt to wake it from all others.
    pub(super) ticket: u64,
    /// What came for it.
    pub(super) held: Vec<Arc<Envelope>>,
    pub(super) requests: Vec<Waiting>,
}

/// Those of a worker, by slot.
#[derive(Default)]
pub(super) struct WakeQueue {
    wanted: HashMap<u32, Wanted>,
    /// Those that have not begun, each with its ticket.
    queue: VecDeque<(u32, u64)>,
    /// Tickets of those that have begun and are not awake yet, with bytes to be read.
    under_way: HashMap<u64, u64>,
    reading: u64,
    /// Those that are awake and have not had their first turn: slot and tenant.
    fresh: Vec<(u32, u64)>,
    held: usize,
    tickets: u64,
}

impl WakeQueue {
    /// The wakes of a worker that has let go of everything: what is still being read
    /// for `before` is nobody's.
    pub(super) fn after(before: &Self) -> Self {
        Self {
            tickets: before.tickets,
            ..Self::default()
        }
    }

    /// Whether nobody waits to begin.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the slot's agent is wanted already.
    pub(super) fn is_wanted(&self, slot: u32) -> bool {
        self.wanted.contains_key(&slot)
    }

    /// Whether the directory is being asked for the slot's agent.
    pub(super) fn is_asking(&self, slot: u32) -> bool {
        let wanted = self.wanted.get(&slot);
        wanted.is_some_and(|it| it.stage == Stage::Asking)
    }

    /// The slot's agent is wanted awake.
    pub(super) fn want(&mut self, slot: u32) {
        if self.wanted.contains_key(&slot) {
            return;
        }
        self.tickets += 1;
        let wanted = Wanted {
            stage: Stage::Queued,
            ticket: self.tickets,
            held: Vec::new(),
            requests: Vec::new(),
        };
        self.wanted.insert(slot, wanted);
        self.queue.push_back((slot, self.tickets));
    }

    /// Holds a message for an agent that is wanted; gives it back if there are too many.
    pub(super) fn hold(&mut self, slot: u32, envelope: Arc<Envelope>) -> Option<Arc<Envelope>> {
        let Some(wanted) = self.wanted.get_mut(&slot) else {
            return Some(envelope);
        };
        if wanted.held.len() >= MAX_HELD || self.held >= MAX_HELD_ALL {
            return Some(envelope);
        }
        self.held += 1;
        wanted.held.push(envelope);
        None
    }

    /// Holds a request likewise.
    pub(super) fn hold_request(&mut self, slot: u32, waiting: Waiting) -> Option<Waiting> {
        match self.wanted.get_mut(&slot) {
            Some(wanted) if wanted.requests.len() < MAX_REQUESTS => {
                wanted.requests.push(waiting);
                None
            }
            _ => Some(waiting),
        }
    }

    /// Whether one more may begin. `is_fresh` says whether one that is awake still has
    /// its first turn before it.
    pub(super) fn has_room(&mut self, is_fresh: impl Fn(u32, u64) -> bool) -> bool {
        if self.under_way.len() + self.fresh.len() < ABREAST {
            return true;
        }
        self.fresh.retain(|(slot, tenant)| is_fresh(*slot, *tenant));
        self.under_way.len() + self.fresh.len() < ABREAST
    }

    /// The first in the queue.
    pub(super) fn first(&mut self) -> Option<u32> {
        while let Some((slot, ticket)) = self.queue.front().copied() {
            let wanted = self.wanted.get(&slot);
            if wanted.is_some_and(|it| it.ticket == ticket && it.stage == Stage::Queued) {
                return Some(slot);
            }
            self.queue.pop_front();
        }
        None
    }

    /// Whether so many bytes may be read now.
    pub(super) fn may_read(&self, bytes: u64) -> bool {
        self.reading == 0 || self.reading + bytes <= READ_BYTES
    }

    /// The slot's agent is asked for, or `bytes` of it are read. Gives the ticket that
    /// what comes of it has to show.
    pub(super) fn begins(&mut self, slot: u32, stage: Stage, bytes: u64) -> Option<u64> {
        let wanted = self.wanted.get_mut(&slot)?;
        wanted.stage = stage;
        let ticket = wanted.ticket;
        let before = self.under_way.insert(ticket, bytes);
        self.reading = self.reading + bytes - before.unwrap_or(0);
        Some(ticket)
    }

    /// The slot's agent cannot begin yet after all, or has to begin once more: it is the
    /// first in the queue.
    pub(super) fn again(&mut self, slot: u32) {
        let Some(wanted) = self.wanted.get_mut(&slot) else {
            return;
        };
        wanted.stage = Stage::Queued;
        let ticket = wanted.ticket;
        self.drop_ticket(ticket);
        if self.queue.front() != Some(&(slot, ticket)) {
            self.queue.push_front((slot, ticket));
        }
    }

    /// What the ticket stood for has come. Says whether the slot's agent still waits for it.
    pub(super) fn has_come(&mut self, slot: u32, ticket: u64) -> bool {
        self.drop_ticket(ticket);
        let wanted = self.wanted.get(&slot);
        wanted.is_some_and(|it| it.ticket == ticket)
    }

    /// The slot's agent is awake, and its first turn is to come.
    pub(super) fn woke(&mut self, slot: u32, tenant: u64) {
        self.fresh.push((slot, tenant));
    }

    /// Nobody waits for the slot's agent to wake any more: it is awake, or cannot be.
    pub(super) fn take(&mut self, slot: u32) -> Option<Wanted> {
        let wanted = self.wanted.remove(&slot)?;
        self.held -= wanted.held.len();
        self.drop_ticket(wanted.ticket);
        Some(wanted)
    }

    /// Everybody who waits for an answer.
    pub(super) fn take_waiting(&mut self) -> Vec<Done> {
        let wanted = self.wanted.drain();
        let waiting = wanted.flat_map(|(_, wanted)| wanted.requests);
        waiting.map(|(_, _, done)| done).collect()
    }

    fn drop_ticket(&mut self, ticket: u64) {
        if let Some(bytes) = self.under_way.remove(&ticket) {
            self.reading -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_core::{AgentId, Body, Lane, Payload, Sender, StreamKey};

    fn envelope() -> Arc<Envelope> {
        let receiver = AgentId::new("counter/a").unwrap();
        Arc::new(Envelope {
            stream: StreamKey::shared(Sender::System, receiver, Lane::Normal),
            sequence: None,
            body: Body::Spawn {
                config: Payload::default(),
                ask: None,
            },
            extras: None,
        })
    }

    #[test]
    fn they_begin_in_order_and_so_many_at_a_time() {
        let mut wakes = WakeQueue::default();
        for slot in 0..1_000 {
            wakes.want(slot);
            wakes.want(slot);
        }
        let mut awake = Vec::new();
        let mut had_a_turn = hashbrown::HashSet::new();
        let mut rounds = 0;
        while let Some(first) = wakes.first() {
            let fresh = |slot: u32, _| !had_a_turn.contains(&slot);
            if wakes.has_room(fresh) {
                awake.push(first);
                wakes.take(first).unwrap();
                wakes.woke(first, 7);
                continue;
            }
            rounds += 1;
            let fresh = awake.iter().filter(|slot| !had_a_turn.contains(*slot));
            assert_eq!(fresh.count(), ABREAST);
            had_a_turn.insert(awake[awake.len() - 1]);
        }
        assert_eq!(awake, (0..1_000).collect::<Vec<_>>());
        assert_eq!(rounds, 1_000 - ABREAST);
    }

    #[test]
    fn what_is_read_is_bounded_by_bytes() {
        let mut wakes = WakeQueue::default();
        for slot in 0..4 {
            wakes.want(slot);
        }
        assert!(wakes.may_read(1 << 40), "one may be as large as it is");
        let ticket = wakes.begins(0, Stage::Reading, READ_BYTES - 10).unwrap();
        assert!(wakes.may_read(10));
        assert!(!wakes.may_read(11));
        assert!(wakes.has_come(0, ticket));
        assert!(wakes.may_read(READ_BYTES));
        assert!(wakes.has_come(0, ticket), "it is still wanted");
        wakes.take(0);
        assert!(!wakes.has_come(0, ticket));
    }

    #[test]
    fn what_was_asked_first_is_read_then_and_counts_once() {
        let mut wakes = WakeQueue::default();
        wakes.want(3);
        let asked = wakes.begins(3, Stage::Asking, 0).unwrap();
        assert!(wakes.is_asking(3));
        let read = wakes.begins(3, Stage::Reading, 100).unwrap();
        assert_eq!(
            (asked, wakes.under_way.len(), wakes.reading),
            (read, 1, 100)
        );
        wakes.take(3);
        assert_eq!((wakes.under_way.len(), wakes.reading), (0, 0));
        assert_eq!(wakes.first(), None);
    }

    #[test]
    fn an_attempt_that_was_overtaken_is_known() {
        let mut wakes = WakeQueue::default();
        wakes.want(3);
        let old = wakes.begins(3, Stage::Reading, 5).unwrap();
        wakes.take(3);
        wakes.want(3);
        assert!(!wakes.has_come(3, old));
        let mut next = WakeQueue::after(&wakes);
        next.want(3);
        let new = next.begins(3, Stage::Reading, 5).unwrap();
        assert!(new > old && !next.has_come(3, old));
        assert_eq!(next.reading, 5, "what another had begun is not counted off");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut wakes = WakeQueue::default();
        wakes.want(1);
        let one = envelope();
        for _ in 0..MAX_HELD {
            assert!(wakes.hold(1, one.clone()).is_none());
        }
        assert!(wakes.hold(1, one.clone()).is_some());
        assert!(wakes.hold(2, one.clone()).is_some(), "it is not wanted");
        for slot in 2..=(MAX_HELD_ALL / MAX_HELD) as u32 {
            wakes.want(slot);
            for _ in 0..MAX_HELD {
                assert!(wakes.hold(slot, one.clone()).is_none(), "{slot}");
            }
        }
        wakes.want(10_000);
        assert!(wakes.hold(10_000, one.clone()).is_some());
        assert_eq!(wakes.take(1).unwrap().held.len(), MAX_HELD);
        assert!(wakes.hold(10_000, one).is_none());
    }
}
