//! A visitor's sessions, kept as stretches of time.

/// A session ends where the visitor is silent for longer, seconds.
const GAP: i64 = 30 * 60;

/// Most sessions kept. An event that would begin one more is only counted.
const MAX_SESSIONS: usize = 100_000;

/// Sessions in order of time. Events may come late: one may lengthen an old
/// session, or join two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    /// First and last event of each, more than [`GAP`] apart from the next.
    stretches: Vec<(i64, i64)>,
    untracked: u64,
}

impl Sessions {
    /// Adds an event and says how many sessions there are more than before.
    pub(crate) fn add(&mut self, at: i64) -> i64 {
        // Sessions that the event belongs to: those that end no more than a gap
        // before it and begin no more than a gap after it.
        let first = self
            .stretches
            .partition_point(|(_, end)| end.saturating_add(GAP) < at);
        let near = self
            .stretches
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(|(begin, _)| begin.saturating_sub(GAP) <= at);
        let (mut begin, mut end, mut joined) = (at, at, 0);
        for (other_begin, other_end) in near {
            begin = begin.min(*other_begin);
            end = end.max(*other_end);
            joined += 1;
        }
        if joined == 0 && self.stretches.len() >= MAX_SESSIONS {
            self.untracked += 1;
            return 0;
        }
        self.stretches.splice(first..first + joined, [(begin, end)]);
        // An event is near two sessions at most: they are more than a gap apart.
        match joined {
            0 => 1,
            1 => 0,
            _ => -1,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.stretches.len() as u64
    }

    /// Events that would have begun one more than is kept.
    pub(crate) fn untracked(&self) -> u64 {
        self.untracked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn late_events_lengthen_and_join() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.add(0), 1);
        assert_eq!(sessions.add(GAP), 0, "a gap is still the same session");
        assert_eq!(sessions.add(3 * GAP + 1), 1);
        assert_eq!(
            sessions.add(2 * GAP + 1),
            0,
            "lengthens the later one backwards"
        );
        assert_eq!(sessions.count(), 2);
        assert_eq!(sessions.add(2 * GAP), -1, "joins the two");
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn no_time_is_too_far() {
        let mut sessions = Sessions::default();
        for at in [i64::MIN, i64::MAX, 0, i64::MIN, i64::MAX] {
            sessions.add(at);
        }
        assert_eq!(sessions.count(), 3);
    }

    #[test]
    fn what_is_not_kept_is_counted() {
        let mut sessions = Sessions::default();
        for session in 0..=MAX_SESSIONS as i64 {
            sessions.add(session * (GAP + 1));
        }
        assert_eq!(sessions.count(), MAX_SESSIONS as u64);
        assert_eq!(sessions.untracked(), 1);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_sorted_answer(times in proptest::collection::vec(0_i64..30_000, 0..60)) {
            let mut sessions = Sessions::default();
            let told: i64 = times.iter().map(|at| sessions.add(*at)).sum();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let gaps = sorted.windows(2).filter(|pair| pair[1] - pair[0] > GAP).count();
            let expected = (gaps + usize::from(!times.is_empty())) as u64;
            prop_assert_eq!(sessions.count(), expected);
            prop_assert_eq!(told, expected as i64);
        }
    }
}
