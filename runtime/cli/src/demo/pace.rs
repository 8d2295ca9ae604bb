//! Keeps the feed and the migrations abreast of each other.
//!
//! A fast machine takes a short log in before a second agent has moved, and a
//! slow disk could leave hundreds of migrations for the end. So each side waits
//! for the other: after a share of the events, the same share of the migrations
//! is done, give or take a few. Kills are spread over the events likewise, and the
//! feed waits for none that has not come.

use std::cell::Cell;

use tokio::sync::Notify;

/// How many migrations one side may be ahead of the other.
const SLACK: u64 = 8;

/// How far the feed and the migrations are.
#[derive(Debug)]
pub(super) struct Pace {
    events: u64,
    goal: u64,
    fed: Cell<u64>,
    applied: Cell<u64>,
    begun: Cell<u64>,
    moved: Cell<u64>,
    kills: u64,
    killed: Cell<u64>,
    released: Cell<bool>,
    changed: Notify,
}

impl Pace {
    /// For so many events, migrations and kills of nodes.
    pub(super) fn new(events: u64, goal: u64, kills: u64) -> Self {
        Self {
            events,
            goal,
            fed: Cell::new(0),
            applied: Cell::new(0),
            begun: Cell::new(0),
            moved: Cell::new(0),
            kills,
            killed: Cell::new(0),
            released: Cell::new(goal == 0),
            changed: Notify::new(),
        }
    }

    /// How many of `wanted` events may be fed now. They count as fed.
    pub(super) fn take(&self, wanted: u64) -> u64 {
        let allowed = if self.released.get() {
            u64::MAX
        } else {
            scaled(self.events, self.moved.get() + SLACK, self.goal).max(1)
        };
        let allowed = allowed.min(self.until_kill());
        let taken = wanted.min(allowed.saturating_sub(self.fed.get()));
        self.fed.set(self.fed.get() + taken);
        taken
    }

    /// How many events may be fed before the next kill: its share of them.
    fn until_kill(&self) -> u64 {
        match self.killed.get() {
            killed if killed < self.kills => scaled(self.events, killed + 1, self.kills).max(1),
            _ => u64::MAX,
        }
    }

    /// Whether the next kill is due, which comes after `permille` of its share of the
    /// events. It then counts as done.
    pub(super) fn begin_kill(&self, permille: u64) -> bool {
        let killed = self.killed.get();
        let from = scaled(self.events, killed, self.kills);
        let share = self.until_kill().saturating_sub(from);
        let is_due = self.applied.get() >= from + scaled(share, permille, 1_000);
        if is_due {
            self.killed.set(killed + 1);
            self.changed.notify_waiters();
        }
        is_due
    }

    /// Whether as many nodes were killed as were wanted.
    pub(super) fn all_killed(&self) -> bool {
        self.killed.get() >= self.kills
    }

    /// Says that agents have taken `events` events in, or that these were given up.
    pub(super) fn apply(&self, events: u64) {
        self.applied.set(self.applied.get() + events);
        self.changed.notify_waiters();
    }

    /// Events taken in.
    pub(super) fn applied(&self) -> u64 {
        self.applied.get()
    }

    /// Whether all are.
    pub(super) fn all_applied(&self) -> bool {
        self.applied.get() >= self.events
    }

    /// Whether a migration may begin now; it then counts as begun until it
    /// [ends](Self::end_migration).
    pub(super) fn begin_migration(&self) -> bool {
        let share = if self.all_applied() {
            self.goal
        } else {
            scaled(self.goal, self.applied.get(), self.events) + SLACK
        };
        let may = self.moved.get() + self.begun.get() < share.min(self.goal);
        if may {
            self.begun.set(self.begun.get() + 1);
        }
        may
    }

    /// Ends a migration that [began](Self::begin_migration).
    pub(super) fn end_migration(&self, moved: bool) {
        self.begun.set(self.begun.get().saturating_sub(1));
        if moved {
            self.moved.set(self.moved.get() + 1);
        }
        self.changed.notify_waiters();
    }

    /// Lets the feed go on without the migrations.
    pub(super) fn release(&self) {
        self.released.set(true);
        self.changed.notify_waiters();
    }

    /// Migrations done.
    pub(super) fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// Whether as many are done as were wanted.
    pub(super) fn goal_reached(&self) -> bool {
        self.moved.get() >= self.goal
    }

    /// Waits until `ready` says something. It is asked now and after each change.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            // Registered before asking, so that no change is missed between.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(answer) = ready() {
                return answer;
            }
            changed.await;
        }
    }
}

/// `whole · part ÷ of`, or `whole` where `of` is 0.
fn scaled(whole: u64, part: u64, of: u64) -> u64 {
    (u128::from(whole) * u128::from(part))
        .checked_div(u128::from(of))
        .map_or(whole, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_waits_for_the_other() {
        let pace = Pace::new(1_000, 100, 0);
        assert_eq!(pace.take(1_000), 80, "eight migrations' worth ahead");
        assert_eq!(pace.take(1_000), 0);
        let begun = (0..1_000).take_while(|_| pace.begin_migration()).count();
        assert_eq!(begun, 8);
        pace.apply(80);
        let begun = (0..1_000).take_while(|_| pace.begin_migration()).count();
        assert_eq!(begun, 8, "eight ahead of the eight due");
        pace.end_migration(true);
        pace.end_migration(false);
        assert_eq!(pace.take(1_000), 10);
        assert_eq!(pace.moved(), 1);
    }

    #[test]
    fn both_come_to_their_end_in_any_proportion() {
        for (events, goal) in [(1, 500), (5_000, 500), (100_000, 7), (10, 0), (3, 3)] {
            let pace = Pace::new(events, goal, 3);
            let mut fed = 0;
            for _ in 0..1_000_000 {
                let taken = pace.take((events - fed).min(64));
                fed += taken;
                pace.apply(taken);
                if pace.begin_migration() {
                    pace.end_migration(true);
                }
                if !pace.all_killed() {
                    pace.begin_kill(900);
                }
                if fed == events && pace.goal_reached() {
                    break;
                }
            }
            assert_eq!((fed, pace.moved()), (events, goal));
            assert!(pace.all_killed());
            assert!(!pace.begin_migration(), "and no further");
        }
    }

    #[test]
    fn the_feed_waits_for_a_kill_and_not_for_the_node() {
        let pace = Pace::new(1_000, 0, 4);
        assert_eq!(pace.take(1_000), 250);
        pace.apply(124);
        assert!(!pace.begin_kill(500), "before half of its share");
        pace.apply(1);
        assert!(pace.begin_kill(500));
        assert_eq!(pace.take(1_000), 250, "the share of the next");
        assert!(!pace.all_killed());
    }

    #[test]
    fn a_released_feed_does_not_wait() {
        let pace = Pace::new(1_000, 10, 0);
        pace.release();
        assert_eq!(pace.take(1_000), 1_000);
    }
}
