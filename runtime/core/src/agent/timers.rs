//! The timers of one agent.
//!
//! ```text
//!   set ──▶ waiting ──pop_due──▶ in the mailbox ──fired, missed──▶ waiting for its next due time, or gone
//!              ▲                       │
//!              └───────unqueue─────────┘          cancel, at any time ──▶ gone
//! ```
//!
//! A firing is an input named by the timer's number and the due time, and is checked
//! against this table when its batch begins, and when that commits: it counts if it is of
//! the first due time that is not over. So a cancel wins until the commit, a timer that is
//! set anew is another one, and each due time fires once, whatever ends in between. Which
//! due times are missed is decided when a batch begins, and stands in the journal with it.

use std::collections::BTreeMap;

use phoenix_wit::timer::{CatchUp, Repeat, Timing};

use crate::control::TimerInfo;
use crate::{DueIndex, Millis, Payload, SmolStr};

/// Timers that [`Timers::infos`] shows at most.
const MAX_SHOWN: usize = 100;

/// One timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) timing: Timing,
    /// The first due time that is not over.
    pub(crate) due: Millis,
    pub(crate) method: SmolStr,
    pub(crate) payload: Payload,
}

/// All timers of one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    timers: BTreeMap<u64, Timer>,
    /// Those whose firing is not in the mailbox, nor in a batch that began.
    waiting: DueIndex<u64>,
}

impl Timers {
    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&u64, &Timer)> {
        self.timers.iter()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.timers.contains_key(&id)
    }

    pub(crate) fn set(&mut self, id: u64, timer: Timer) {
        self.waiting.set(id, timer.due);
        self.timers.insert(id, timer);
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.waiting.remove(&id);
        self.timers.remove(&id);
    }

    /// The timer of that id, if that due time is the one that comes.
    pub(crate) fn get(&self, id: u64, due: Millis) -> Option<&Timer> {
        self.timers.get(&id).filter(|timer| timer.due == due)
    }

    /// When the next one comes due whose firing is not under way.
    pub(crate) fn next_due(&self) -> Millis {
        self.waiting.next()
    }

    /// Whether a firing is in the mailbox, or in a batch that began.
    pub(crate) fn is_firing(&self) -> bool {
        self.timers.len() > self.waiting.len()
    }

    /// Takes note that the earliest due timer goes to the mailbox.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(u64, Millis)> {
        self.waiting.pop(now)
    }

    /// Takes note that a firing is in the mailbox.
    pub(crate) fn enqueue(&mut self, id: u64, due: Millis) {
        if self.get(id, due).is_some() {
            self.waiting.remove(&id);
        }
    }

    /// No firing is in the mailbox: what is due goes there again.
    pub(crate) fn unqueue(&mut self) {
        if self.is_firing() {
            for (id, timer) in &self.timers {
                self.waiting.set(*id, timer.due);
            }
        }
    }

    /// The firing is committed: the timer waits for its next due time, which is returned,
    /// or is gone.
    pub(crate) fn fired(&mut self, id: u64, due: Millis, now: Millis) -> Option<Millis> {
        self.advance(id, due, |timing| timing.after_firing(due.0, now.0))
    }

    /// That the due time is too late to fire is committed, likewise.
    pub(crate) fn missed(&mut self, id: u64, due: Millis, now: Millis) -> Option<Millis> {
        self.advance(id, due, |timing| timing.after_missing(due.0, now.0))
    }

    fn advance(
        &mut self,
        id: u64,
        due: Millis,
        next: impl FnOnce(&Timing) -> Option<u64>,
    ) -> Option<Millis> {
        let timer = self.timers.get_mut(&id).filter(|timer| timer.due == due)?;
        let Some(next) = next(&timer.timing).map(Millis) else {
            self.cancel(id);
            return None;
        };
        timer.due = next;
        self.waiting.set(id, next);
        Some(next)
    }

    /// The first of them to come due, for people to look at.
    pub(crate) fn infos(&self) -> Vec<TimerInfo> {
        let mut soonest: Vec<_> = self.timers.iter().collect();
        soonest.sort_unstable_by_key(|(id, timer)| (timer.due, **id));
        let info = |(id, timer): (&u64, &Timer)| TimerInfo {
            timer: *id,
            method: timer.method.clone(),
            due: timer.due,
            schedule: match &timer.timing.repeat {
                Repeat::Never => "once".into(),
                Repeat::Every(period) => format!("every {period} ms").into(),
                Repeat::Cron(cron) => format!("cron {cron}").into(),
            },
            catch_up: match timer.timing.catch_up {
                CatchUp::Once => "once".into(),
                CatchUp::All => "all".into(),
                CatchUp::Skip { late_ms } => format!("skip after {late_ms} ms").into(),
            },
        };
        soonest.into_iter().take(MAX_SHOWN).map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use phoenix_wit::timer::Schedule;

    use super::*;

    fn timer(schedule: &Schedule<'_>, catch_up: CatchUp, now: u64) -> Timer {
        let (timing, due) = Timing::begin(schedule, catch_up, now).unwrap();
        Timer {
            timing,
            due: Millis(due.unwrap()),
            method: "tick".into(),
            payload: Payload::default(),
        }
    }

    fn once(delay_ms: u64) -> Timer {
        timer(&Schedule::Once { delay_ms }, CatchUp::Once, 0)
    }

    fn every(period_ms: u64, catch_up: CatchUp) -> Timer {
        let schedule = Schedule::Every {
            delay_ms: period_ms,
            period_ms,
        };
        timer(&schedule, catch_up, 0)
    }

    #[test]
    fn each_due_time_fires_once() {
        let mut timers = Timers::default();
        timers.set(1, once(10));
        timers.set(2, every(5, CatchUp::Once));
        assert_eq!(timers.pop_due(Millis(4)), None);
        assert_eq!(timers.pop_due(Millis(10)), Some((2, Millis(5))));
        assert_eq!(timers.pop_due(Millis(10)), Some((1, Millis(10))));
        assert_eq!(timers.pop_due(Millis(10)), None);
        assert!(timers.is_firing());
        assert_eq!(timers.fired(1, Millis(10), Millis(10)), None);
        assert_eq!(timers.fired(1, Millis(10), Millis(10)), None);
        let next = timers.fired(2, Millis(5), Millis(17));
        assert_eq!(next, Some(Millis(20)), "missed ones fire once");
        assert!(!timers.contains(1) && !timers.is_firing());
        assert_eq!(timers.next_due(), Millis(20));
    }

    #[test]
    fn a_timer_set_anew_is_another() {
        let mut timers = Timers::default();
        timers.set(1, once(10));
        timers.pop_due(Millis(10)).unwrap();
        timers.set(1, once(30));
        assert!(timers.get(1, Millis(10)).is_none());
        assert_eq!(timers.fired(1, Millis(10), Millis(11)), None);
        assert!(timers.contains(1));
        assert_eq!(timers.pop_due(Millis(30)), Some((1, Millis(30))));
    }

    #[test]
    fn what_is_too_late_is_passed_over() {
        let mut timers = Timers::default();
        timers.set(1, every(10, CatchUp::Skip { late_ms: 15 }));
        let due = timers.pop_due(Millis(54)).unwrap().1;
        assert!(!timers.get(1, due).unwrap().timing.fires(due.0, 54));
        assert_eq!(timers.missed(1, due, Millis(54)), Some(Millis(40)));
        assert_eq!(timers.pop_due(Millis(54)), Some((1, Millis(40))));
        assert_eq!(timers.missed(1, due, Millis(54)), None, "that is over");
        assert!(timers.contains(1));
        let gone = timer(
            &Schedule::Once { delay_ms: 3 },
            CatchUp::Skip { late_ms: 0 },
            0,
        );
        timers.set(2, gone);
        assert_eq!(timers.missed(2, Millis(3), Millis(9)), None);
        assert!(!timers.contains(2));
    }

    #[test]
    fn what_was_under_way_is_due_again() {
        let mut timers = Timers::default();
        timers.set(1, every(10, CatchUp::All));
        timers.pop_due(Millis(10)).unwrap();
        timers.unqueue();
        assert_eq!(timers.pop_due(Millis(10)), Some((1, Millis(10))));
        // As a replay does, of what was never popped.
        timers.unqueue();
        let next = timers.fired(1, Millis(10), Millis(35));
        assert_eq!(next, Some(Millis(20)));
        timers.enqueue(1, Millis(10));
        assert_eq!(timers.pop_due(Millis(35)), Some((1, Millis(20))));
    }
}
