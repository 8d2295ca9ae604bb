//! The timers of one agent.

use std::collections::BTreeMap;

use crate::{Millis, Payload, SmolStr};

/// One timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) due: Millis,
    /// Zero for a timer that fires once.
    pub(crate) period: Millis,
    pub(crate) method: SmolStr,
    pub(crate) payload: Payload,
    /// Whether its firing is in the mailbox.
    pub(crate) queued: bool,
}

/// All timers of one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    timers: BTreeMap<u64, Timer>,
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
        self.timers.insert(id, timer);
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.timers.remove(&id);
    }

    /// The timer of that id, if it is still the one that was due then.
    pub(crate) fn get(&self, id: u64, due: Millis) -> Option<&Timer> {
        self.timers.get(&id).filter(|timer| timer.due == due)
    }

    /// When the next one comes due.
    pub(crate) fn next_due(&self) -> Millis {
        self.timers
            .values()
            .filter(|timer| !timer.queued)
            .map(|timer| timer.due)
            .min()
            .unwrap_or(Millis::NEVER)
    }

    /// Takes note that the earliest due timer goes to the mailbox.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(u64, Millis)> {
        let (id, timer) = self
            .timers
            .iter_mut()
            .filter(|(_, timer)| !timer.queued && timer.due <= now)
            .min_by_key(|(id, timer)| (timer.due, **id))?;
        timer.queued = true;
        Some((*id, timer.due))
    }

    /// No firing is in the mailbox: what is due goes there again.
    pub(crate) fn unqueue(&mut self) {
        for timer in self.timers.values_mut() {
            timer.queued = false;
        }
    }

    /// The firing is committed: a periodic timer is set for its next due time
    /// after `now`, which is returned; any other is gone.
    pub(crate) fn fired(&mut self, id: u64, due: Millis, now: Millis) -> Option<Millis> {
        let timer = self.timers.get_mut(&id).filter(|timer| timer.due == due)?;
        if timer.period.0 == 0 {
            self.timers.remove(&id);
            return None;
        }
        let missed = (now - due).0 / timer.period.0;
        timer.due = due + Millis(timer.period.0.saturating_mul(missed + 1));
        timer.queued = false;
        Some(timer.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(due: u64, period: u64) -> Timer {
        Timer {
            due: Millis(due),
            period: Millis(period),
            method: "tick".into(),
            payload: Payload::default(),
            queued: false,
        }
    }

    #[test]
    fn each_due_time_fires_once() {
        let mut timers = Timers::default();
        timers.set(1, timer(10, 0));
        timers.set(2, timer(5, 5));
        assert_eq!(timers.pop_due(Millis(4)), None);
        assert_eq!(timers.pop_due(Millis(10)), Some((2, Millis(5))));
        assert_eq!(timers.pop_due(Millis(10)), Some((1, Millis(10))));
        assert_eq!(timers.pop_due(Millis(10)), None);
        assert_eq!(timers.fired(1, Millis(10), Millis(10)), None);
        let next = timers.fired(2, Millis(5), Millis(17));
        assert_eq!(next, Some(Millis(20)));
        assert!(!timers.contains(1));
        assert_eq!(timers.next_due(), Millis(20), "missed ones fire once");
    }

    #[test]
    fn a_timer_set_anew_is_another() {
        let mut timers = Timers::default();
        timers.set(1, timer(10, 0));
        timers.pop_due(Millis(10)).unwrap();
        timers.set(1, timer(30, 0));
        assert!(timers.get(1, Millis(10)).is_none());
        assert_eq!(timers.fired(1, Millis(10), Millis(11)), None);
        assert!(timers.contains(1));
    }
}
