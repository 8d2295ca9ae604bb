//! Finding errors that come close together.

use std::collections::BTreeMap;

/// So many errors within [`SPAN`] are a burst.
pub(crate) const ERRORS: usize = 5;

/// The longest time in which [`ERRORS`] errors are a burst, seconds.
const SPAN: i64 = 60;

/// Errors from `from` to `to`, any [`ERRORS`] neighbours within [`SPAN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    /// The first error's time.
    pub(crate) from: i64,
    /// The last one's.
    pub(crate) to: i64,
}

impl Burst {
    /// From the first error to the last one.
    pub(crate) fn seconds(self) -> i64 {
        self.to - self.from
    }
}

/// The errors of one visitor, or of all. They may come in any order of their
/// times and give the same bursts in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// All times, sorted.
    times: Vec<i64>,
    /// By the first error's time, disjoint.
    bursts: BTreeMap<i64, i64>,
}

impl Watch {
    /// Adds an error. Answers with the burst it belongs to if that is new.
    pub(crate) fn add(&mut self, at: i64) -> Option<Burst> {
        let index = self.times.partition_point(|time| *time <= at);
        self.times.insert(index, at);
        // All windows of neighbours that hold the new error and are short
        // enough. They overlap in it, so together they are one stretch.
        let first = index.saturating_sub(ERRORS - 1);
        let last = (index + ERRORS).min(self.times.len());
        let near = self.times.get(first..last)?;
        let mut short = near
            .windows(ERRORS)
            .filter_map(|window| Some((*window.first()?, *window.last()?)))
            .filter(|(from, to)| to.saturating_sub(*from) <= SPAN);
        let (from, to) = short.next()?;
        let to = short.next_back().map_or(to, |(_, to)| to);
        self.join(Burst { from, to })
    }

    /// Joins `burst` with those it touches. Answers with it if there were none.
    fn join(&mut self, mut burst: Burst) -> Option<Burst> {
        let mut new = true;
        while let Some((&from, &to)) = self.bursts.range(..=burst.to).next_back() {
            if to < burst.from {
                break;
            }
            self.bursts.remove(&from);
            burst.from = burst.from.min(from);
            burst.to = burst.to.max(to);
            new = false;
        }
        self.bursts.insert(burst.from, burst.to);
        new.then_some(burst)
    }

    /// How many errors there were.
    pub(crate) fn errors(&self) -> usize {
        self.times.len()
    }

    /// The bursts in order of time.
    pub(crate) fn bursts(&self) -> impl Iterator<Item = Burst> {
        self.bursts.iter().map(|(&from, &to)| Burst { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn watch(times: &[i64]) -> Watch {
        let mut watch = Watch::default();
        for at in times {
            watch.add(*at);
        }
        watch
    }

    #[test]
    fn the_fifth_error_within_a_minute_is_a_burst() {
        let mut watch = watch(&[0, 15, 30, 45]);
        assert_eq!(watch.add(61), None);
        assert_eq!(watch.add(60), Some(Burst { from: 0, to: 61 }));
        assert_eq!(watch.add(62), None, "it goes on, and that is no news");
        assert_eq!(
            watch.bursts().collect::<Vec<_>>(),
            [Burst { from: 0, to: 62 }]
        );
    }

    #[test]
    fn no_time_is_too_far() {
        let watch = watch(&[i64::MIN, i64::MAX, 0, i64::MIN, i64::MAX, 0]);
        assert_eq!(watch.bursts().count(), 0);
    }

    proptest! {
        /// Every stretch of neighbours that is short enough, joined: computed
        /// at once from the sorted times.
        #[test]
        fn any_order_gives_the_sorted_answer(times in proptest::collection::vec(0_i64..1_500, 0..80)) {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let mut expected: Vec<Burst> = Vec::new();
            for window in sorted.windows(ERRORS).filter(|w| w[ERRORS - 1] - w[0] <= SPAN) {
                match expected.last_mut() {
                    Some(last) if window[0] <= last.to => last.to = window[ERRORS - 1],
                    _ => expected.push(Burst { from: window[0], to: window[ERRORS - 1] }),
                }
            }
            prop_assert_eq!(watch(&times).bursts().collect::<Vec<_>>(), expected);
        }
    }
}
