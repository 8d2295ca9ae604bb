//! One direction of a pair: what is on its way to a node from another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Condvar;
use phoenix_core::{NodeId, PeerMessage, TransportEvents};

/// Most messages handed over at once.
const BATCH: usize = 1_024;

#[derive(Debug)]
enum Item {
    Connected(u64),
    Message(PeerMessage, usize),
    Disconnected,
}

/// What a node is told next.
#[derive(Debug)]
pub(super) enum Arrived {
    Connected(u64),
    Messages(Vec<PeerMessage>),
    Disconnected,
}

impl Arrived {
    pub(super) fn tell(self, from: NodeId, events: &dyn TransportEvents) {
        match self {
            Self::Connected(boot) => events.connected(from, boot),
            Self::Messages(messages) => {
                if let Err(messages) = events.take_in(from, messages) {
                    events.received(from, messages);
                }
            }
            Self::Disconnected => events.disconnected(from),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Path {
    items: VecDeque<(Duration, Item)>,
    /// Messages waiting.
    pub(super) messages: usize,
    /// Bytes waiting.
    pub(super) bytes: usize,
    /// A message never overtakes the one before it, unless that is late.
    last_due: Duration,
    /// Messages that others have overtaken.
    pub(super) overtaken: u64,
    /// Notified when an item is added.
    pub(super) wake: Arc<Condvar>,
}

impl Path {
    fn push(&mut self, due: Duration, item: Item) {
        self.last_due = self.last_due.max(due);
        self.insert(self.last_due, item);
    }

    /// Puts an item behind what is due no later.
    fn insert(&mut self, due: Duration, item: Item) {
        let at = self.items.partition_point(|(other, _)| *other <= due);
        self.overtaken += (self.items.len() - at) as u64;
        self.items.insert(at, (due, item));
        self.wake.notify_all();
    }

    pub(super) fn message(&mut self, due: Duration, message: PeerMessage, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
        self.push(due, Item::Message(message, bytes));
    }

    /// A message that those behind it need not wait for.
    pub(super) fn late_message(&mut self, due: Duration, message: PeerMessage, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
        self.insert(due.max(self.last_due), Item::Message(message, bytes));
    }

    pub(super) fn connected(&mut self, now: Duration, boot: u64) {
        self.push(now, Item::Connected(boot));
    }

    /// The connection ends behind everything that waits.
    pub(super) fn closed(&mut self, now: Duration) {
        let last = self.items.back().map_or(now, |(due, _)| *due);
        self.push(last.max(now), Item::Disconnected);
    }

    /// The connection ends here and now: what waits is lost. A connection that
    /// nobody has heard of yet never was.
    pub(super) fn broken(&mut self, now: Duration) {
        self.items
            .retain(|(_, item)| !matches!(item, Item::Message(..)));
        (self.messages, self.bytes) = (0, 0);
        self.last_due = now;
        // Its thread also looks after connecting again.
        self.wake.notify_all();
        match self.items.back() {
            Some((_, Item::Connected(_))) => {
                self.items.pop_back();
            }
            _ => self.push(now, Item::Disconnected),
        }
    }

    /// When the first item is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.items.front().map(|(due, _)| *due)
    }

    /// Takes what is due and belongs together.
    pub(super) fn take(&mut self, now: Duration) -> Option<Arrived> {
        let mut batch = Vec::new();
        while let Some((due, item)) = self.items.front() {
            let is_message = matches!(item, Item::Message(..));
            if *due > now || batch.len() == BATCH || (!is_message && !batch.is_empty()) {
                break;
            }
            match self.items.pop_front() {
                Some((_, Item::Message(message, bytes))) => {
                    self.messages -= 1;
                    self.bytes -= bytes;
                    batch.push(message);
                }
                Some((_, Item::Connected(boot))) => return Some(Arrived::Connected(boot)),
                Some((_, Item::Disconnected)) => return Some(Arrived::Disconnected),
                None => break,
            }
        }
        (!batch.is_empty()).then_some(Arrived::Messages(batch))
    }
}
