//! Many timers, in one ordered index.
//!
//! ```text
//!   set ──▶ waiting ──pop──▶ under way ──fired──▶ waiting for the next due time, or gone
//!              ▲                  │
//!              └──────put back────┘          cancel, at any time ──▶ gone
//! ```
//!
//! A timer is known by a key and comes due at times its schedule says. A **firing** is
//! named by both, key and due time, so that it can be journalled like any input: it counts
//! when [`TimerIndex::fired`] says that it was the one that was due, and that is said
//! once for each due time, whatever ends in between. Until then a cancel wins, or a timer
//! set anew under the same key, which is another one.
//!
//! What is kept of a timer is its schedule, its [`CatchUp`] policy and the due time that is
//! not committed; [`TimerIndex::restore`] puts that back. An index holds millions: each
//! takes an entry in a table and one in a tree, and nothing else while it waits.

mod cron;

use std::collections::BTreeSet;
use std::hash::Hash;

use hashbrown::HashMap;

use crate::Millis;

pub use cron::{BadCron, Cron, MAX_CRON};

/// When a timer comes due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once, then.
    Once(Millis),
    /// First then, and again each time so long after.
    Every {
        /// The first due time.
        first: Millis,
        /// From one to the next; zero is taken for a millisecond.
        period: Millis,
    },
    /// At the minutes of a schedule, in UTC.
    Cron(Cron),
}

impl When {
    /// The first due time of a timer that is set at `now`.
    fn first(&self, now: Millis) -> Option<Millis> {
        match self {
            Self::Once(at) => Some(*at),
            Self::Every { first, .. } => Some(*first),
            Self::Cron(cron) => cron.after(now),
        }
    }

    /// The first due time after `instant`, of a timer that was due at `due`.
    fn after(&self, due: Millis, instant: Millis) -> Option<Millis> {
        match self {
            Self::Once(_) => None,
            Self::Every { period, .. } => {
                let period = period.0.max(1);
                let passed = (instant - due).0 / period;
                let next = period.checked_mul(passed.checked_add(1)?)?;
                due.0.checked_add(next).map(Millis)
            }
            Self::Cron(cron) => cron.after(instant.max(due)),
        }
    }
}

/// What becomes of due times that passed while nobody looked: the node was down, the
/// agent moved, or the turn before took too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The first of them fires, for all of them.
    #[default]
    Once,
    /// Each of them fires, in order.
    All,
    /// Those that are later than this do not fire.
    Skip {
        /// How late one may be and fire all the same.
        late: Millis,
    },
}

/// A due time that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing<K> {
    /// Whose it is.
    pub key: K,
    /// The time the timer was due at.
    pub due: Millis,
}

/// A timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// When it comes due.
    pub when: When,
    /// What becomes of due times that passed.
    pub catch_up: CatchUp,
    /// The first due time that has not fired.
    pub due: Millis,
}

#[derive(Clone, Debug)]
struct State {
    timer: Timer,
    is_under_way: bool,
}

/// All timers of a worker, or of a node, by key.
#[derive(Clone, Debug)]
pub struct TimerIndex<K> {
    timers: HashMap<K, State>,
    /// Those that wait.
    order: BTreeSet<(Millis, K)>,
    skipped: u64,
}

impl<K> Default for TimerIndex<K> {
    fn default() -> Self {
        Self {
            timers: HashMap::new(),
            order: BTreeSet::new(),
            skipped: 0,
        }
    }
}

impl<K: Clone + Ord + Hash> TimerIndex<K> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a timer, in place of one of the same key. Says when it comes due first;
    /// `None` if it never does, and then there is none of that key.
    pub fn set(&mut self, key: K, when: When, catch_up: CatchUp, now: Millis) -> Option<Millis> {
        let Some(due) = when.first(now) else {
            self.cancel(&key);
            return None;
        };
        let timer = Timer {
            when,
            catch_up,
            due,
        };
        self.restore(key, timer);
        Some(due)
    }

    /// Puts back a timer that [`TimerIndex::get`] or [`TimerIndex::iter`] gave.
    pub fn restore(&mut self, key: K, timer: Timer) {
        self.cancel(&key);
        self.order.insert((timer.due, key.clone()));
        let state = State {
            timer,
            is_under_way: false,
        };
        self.timers.insert(key, state);
    }

    /// Cancels a timer; whether there was one. A firing of it that is under way does not
    /// count any more.
    pub fn cancel(&mut self, key: &K) -> bool {
        let Some((key, state)) = self.timers.remove_entry(key) else {
            return false;
        };
        if !state.is_under_way {
            self.order.remove(&(state.timer.due, key));
        }
        true
    }

    /// When the next that waits comes due.
    pub fn next_due(&self) -> Millis {
        self.order.first().map_or(Millis::NEVER, |(due, _)| *due)
    }

    /// Takes the earliest that is due, of several the one with the least key. It is under
    /// way until [`TimerIndex::fired`], [`TimerIndex::put_back`] or a cancel.
    pub fn pop(&mut self, now: Millis) -> Option<Firing<K>> {
        loop {
            if self.next_due() > now {
                return None;
            }
            let (due, key) = self.order.pop_first()?;
            let state = self.timers.get_mut(&key)?;
            if let CatchUp::Skip { late } = state.timer.catch_up
                && due + late < now
            {
                self.skipped += 1;
                // The first that is not too late.
                let oldest = Millis((now - late).0.saturating_sub(1));
                match state.timer.when.after(due, oldest) {
                    Some(next) => {
                        state.timer.due = next;
                        self.order.insert((next, key));
                    }
                    None => {
                        self.timers.remove(&key);
                    }
                }
                continue;
            }
            state.is_under_way = true;
            return Some(Firing { key, due });
        }
    }

    /// A firing was committed at `now`: whether it is the one that was due. If so the
    /// timer waits for its next due time, and is gone if there is none.
    pub fn fired(&mut self, key: &K, due: Millis, now: Millis) -> bool {
        let Some(state) = self.timers.get_mut(key) else {
            return false;
        };
        if state.timer.due != due {
            return false;
        }
        let after = match state.timer.catch_up {
            CatchUp::Once => now.max(due),
            CatchUp::All | CatchUp::Skip { .. } => due,
        };
        let next = state.timer.when.after(due, after);
        let was_under_way = std::mem::replace(&mut state.is_under_way, false);
        if let Some(next) = next {
            state.timer.due = next;
        } else {
            self.timers.remove(key);
        }
        if !was_under_way {
            // It was committed before it was popped here, as in a replay.
            self.order.remove(&(due, key.clone()));
        }
        if let Some(next) = next {
            self.order.insert((next, key.clone()));
        }
        true
    }

    /// A firing was undone: it is due as before.
    pub fn put_back(&mut self, key: &K, due: Millis) {
        if let Some(state) = self.timers.get_mut(key)
            && state.is_under_way
            && state.timer.due == due
        {
            state.is_under_way = false;
            self.order.insert((due, key.clone()));
        }
    }

    /// A timer.
    pub fn get(&self, key: &K) -> Option<&Timer> {
        self.timers.get(key).map(|state| &state.timer)
    }

    /// All timers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Timer)> {
        self.timers.iter().map(|(key, state)| (key, &state.timer))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Runs of due times that did not fire because they were too late.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
