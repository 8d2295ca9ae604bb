//! The bulkhead.

use crate::Millis;
use crate::flow::BulkheadPolicy;

/// Bounds how many messages are under way to a target, and how many wait for one
/// of them to end.
///
/// It holds no messages. Whoever drives it keeps those that wait and lets them
/// ask again in the order they came; who comes later does not pass while any wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulkhead {
    policy: BulkheadPolicy,
    running: u32,
    waiting: u32,
}

/// A place among those that wait; it must come back, one way or the other.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is not given back holds up all that come later"]
pub struct Place {
    deadline: Millis,
}

/// Why there is no waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many wait as may.
    #[error("{most} wait already, and no more may")]
    Full {
        /// How many that is.
        most: u32,
    },
    /// It would have to wait longer than it may, or has.
    #[error("nothing waits longer than {longest}")]
    TooLong {
        /// How long that is.
        longest: Millis,
    },
}

/// What became of one that waited and asked again.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may go; [`Bulkhead::leave`] when it ends.
    Entered,
    /// Not yet.
    Waits(Place),
    /// It has waited as long as it may.
    Over(NoPlace),
}

impl Bulkhead {
    /// One that nobody is in.
    pub fn new(policy: &BulkheadPolicy) -> Self {
        Self {
            policy: *policy,
            running: 0,
            waiting: 0,
        }
    }

    /// One that only counts.
    pub fn unbounded() -> Self {
        Self::new(&BulkheadPolicy {
            concurrent: u32::MAX,
            waiting: u32::MAX,
            longest_wait: Millis::NEVER,
        })
    }

    /// Lets in one that has not waited, if there is room and none waits.
    pub fn enter(&mut self) -> bool {
        let may = self.waiting == 0 && self.has_room();
        self.running += u32::from(may);
        may
    }

    /// A place to wait in for one that could not go. `until` is the earliest it
    /// could, if that is known, else [`Millis::NEVER`].
    pub fn wait(&mut self, now: Millis, until: Millis) -> Result<Place, NoPlace> {
        let deadline = now + self.policy.longest_wait;
        if self.waiting >= self.policy.waiting {
            let most = self.policy.waiting;
            return Err(NoPlace::Full { most });
        }
        if until != Millis::NEVER && until >= deadline {
            return Err(self.too_long());
        }
        self.waiting += 1;
        Ok(Place { deadline })
    }

    /// Lets in one that has waited, if there is room.
    pub fn enter_waiting(&mut self, place: Place, now: Millis) -> Entry {
        if let Err(over) = self.still_waits(&place, now) {
            self.forgo(place);
            return Entry::Over(over);
        }
        if !self.has_room() {
            return Entry::Waits(place);
        }
        self.forgo(place);
        self.running += 1;
        Entry::Entered
    }

    /// One that waits does not want to go any more.
    pub fn forgo(&mut self, place: Place) {
        let Place { deadline: _ } = place;
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// One that was let in has ended.
    pub fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// How many are under way.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many may be under way.
    pub fn concurrent(&self) -> u32 {
        self.policy.concurrent
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.policy.concurrent
    }

    /// One goes that [`Bulkhead::has_room`] for.
    pub(super) fn go(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    pub(super) fn still_waits(&self, place: &Place, now: Millis) -> Result<(), NoPlace> {
        if now < place.deadline {
            Ok(())
        } else {
            Err(self.too_long())
        }
    }

    fn too_long(&self) -> NoPlace {
        let longest = self.policy.longest_wait;
        NoPlace::TooLong { longest }
    }
}

impl Place {
    /// When it has waited as long as it may.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }
}
