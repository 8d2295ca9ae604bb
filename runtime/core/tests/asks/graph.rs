//! Who waits for whom, as somebody sees it who sees everything at once.

use std::collections::{BTreeMap, BTreeSet};

/// An ask: who asks, and its number there.
pub(crate) type Key = (usize, u64);

/// Where the message that asks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On its way, or answered.
    Elsewhere,
    /// In the mailbox of who was asked.
    Queued,
    /// With the handler that this turn began.
    Served(u64),
}

#[derive(Debug)]
pub(crate) struct Edge {
    made: u64,
    to: usize,
    pub(crate) place: Place,
    /// Whether it is for a handler that may run while another waits.
    interleaves: bool,
    /// The handler that waits for it and for nothing else.
    pub(crate) waiter: Option<u64>,
}

/// All asks that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    open: BTreeMap<Key, Edge>,
    /// Handlers that wait, of each agent.
    pub(crate) pending: Vec<u16>,
    /// Asks that were at some time the youngest of a circle.
    youngest_once: BTreeSet<Key>,
    /// Those that are now, and since when.
    youngest_since: BTreeMap<Key, u64>,
    /// Circles there were.
    pub(crate) circles: usize,
}

impl Edge {
    /// The message is in the mailbox of who was asked.
    pub(crate) fn queued(&mut self, may_interleave: bool) {
        self.place = Place::Queued;
        self.interleaves &= may_interleave;
    }
}

impl Graph {
    pub(crate) fn of(agents: usize) -> Self {
        Self {
            pending: vec![0; agents],
            ..Self::default()
        }
    }

    pub(crate) fn ask(&mut self, ask: Key, to: usize, interleaves: bool, made: u64) {
        let edge = Edge {
            made,
            to,
            place: Place::Elsewhere,
            interleaves,
            waiter: None,
        };
        assert!(self.open.insert(ask, edge).is_none());
    }

    pub(crate) fn get_mut(&mut self, ask: Key) -> Option<&mut Edge> {
        self.open.get_mut(&ask)
    }

    pub(crate) fn end(&mut self, ask: Key) {
        self.open.remove(&ask);
    }

    /// Whether `ask` may end with `deadlock`.
    pub(crate) fn was_youngest(&self, ask: Key) -> bool {
        self.youngest_once.contains(&ask)
    }

    /// The asks that must end before this one can.
    fn next(&self, edge: &Edge) -> Vec<Key> {
        let waits = self.open.iter().filter(|((owner, _), _)| *owner == edge.to);
        let waits = waits.filter_map(|(key, edge)| Some((*key, edge.waiter?)));
        match edge.place {
            Place::Elsewhere => Vec::new(),
            Place::Queued if edge.interleaves || self.pending[edge.to] == 0 => Vec::new(),
            Place::Queued => waits.map(|(key, _)| key).collect(),
            Place::Served(turn) => waits
                .filter(|(_, waiter)| *waiter == turn)
                .map(|(key, _)| key)
                .collect(),
        }
    }

    /// Whether a circle passes `ask` in which it is the youngest.
    fn is_youngest(&self, ask: Key) -> bool {
        let age = |key: Key| (self.open[&key].made, key);
        let mut seen = BTreeSet::new();
        let mut left = self.next(&self.open[&ask]);
        while let Some(at) = left.pop() {
            if at == ask {
                return true;
            }
            if age(at) < age(ask) && seen.insert(at) {
                left.extend(self.next(&self.open[&at]));
            }
        }
        false
    }

    /// Something changed.
    pub(crate) fn look(&mut self, now: u64) {
        let youngest: Vec<Key> = self.open.keys().copied().collect();
        let youngest: BTreeSet<Key> = youngest
            .into_iter()
            .filter(|key| self.is_youngest(*key))
            .collect();
        self.youngest_since.retain(|key, _| youngest.contains(key));
        for key in youngest {
            self.circles += usize::from(self.youngest_once.insert(key));
            self.youngest_since.entry(key).or_insert(now);
        }
    }

    /// Since when the oldest circle that is there now has been there.
    pub(crate) fn oldest_circle(&self) -> Option<(Key, u64)> {
        let all = self
            .youngest_since
            .iter()
            .map(|(key, since)| (*key, *since));
        all.min_by_key(|(_, since)| *since)
    }
}
