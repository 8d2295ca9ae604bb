//! The bulkhead.

use std::collections::VecDeque;

use phoenix_core::Millis;
use phoenix_core::flow::{Bulkhead, BulkheadPolicy, Entry, NoPlace, Place};
use proptest::prelude::*;

use crate::{CASES, Time, step};

/// Knows everyone by when they began to wait.
#[derive(Default)]
struct Oracle {
    running: usize,
    waiting: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Enter,
    /// Wait, where it is known to take at least so long.
    Wait(Option<u64>),
    /// The longest waiting asks again.
    Again,
    Forgo(usize),
    Leave,
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => Just(Doing::Enter),
        3 => prop::option::of(0_u64..80).prop_map(Doing::Wait),
        3 => Just(Doing::Again),
        1 => (0_usize..8).prop_map(Doing::Forgo),
        3 => Just(Doing::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn does_what_the_oracle_does(
        (concurrent, waiting, longest) in (0_u32..6, 0_u32..6, 1_u64..80),
        start in prop_oneof![0_u64..1_000, Just(u64::MAX - 100)],
        steps in prop::collection::vec((step(40), doing()), 1..80),
    ) {
        let policy = BulkheadPolicy { concurrent, waiting, longest_wait: Millis(longest) };
        let mut time = Time::new(start);
        let mut bulkhead = Bulkhead::new(&policy);
        let mut places: VecDeque<Place> = VecDeque::new();
        let mut oracle = Oracle::default();
        let too_long = NoPlace::TooLong { longest: Millis(longest) };
        for (by, doing) in steps {
            time.go(by.max(0));
            let now = time.latest;
            let has_room = oracle.running < concurrent as usize;
            let over = |since: u64, at: u64| {
                u128::from(at) >= (u128::from(since) + u128::from(longest)).min(u64::MAX.into())
            };
            match doing {
                Doing::Enter => {
                    let may = has_room && oracle.waiting.is_empty();
                    prop_assert_eq!(bulkhead.enter(), may);
                    oracle.running += usize::from(may);
                }
                Doing::Wait(least) => {
                    let until = least.map_or(Millis::NEVER, |least| Millis(now) + Millis(least));
                    let is_known = until != Millis::NEVER;
                    match bulkhead.wait(Millis(now), until) {
                        Ok(place) => {
                            prop_assert!(oracle.waiting.len() < waiting as usize);
                            prop_assert!(!is_known || !over(now, until.0));
                            places.push_back(place);
                            oracle.waiting.push_back(now);
                        }
                        Err(NoPlace::Full { most }) => {
                            prop_assert_eq!(oracle.waiting.len(), waiting as usize);
                            prop_assert_eq!(most, waiting);
                        }
                        Err(other) => {
                            prop_assert_eq!(other, too_long);
                            prop_assert!(is_known && over(now, until.0));
                        }
                    }
                }
                Doing::Again => if let Some(place) = places.pop_front() {
                    let since = oracle.waiting.pop_front().unwrap();
                    match bulkhead.enter_waiting(place, Millis(now)) {
                        Entry::Entered => {
                            prop_assert!(has_room && !over(since, now));
                            oracle.running += 1;
                        }
                        Entry::Waits(place) => {
                            prop_assert!(!has_room && !over(since, now));
                            places.push_front(place);
                            oracle.waiting.push_front(since);
                        }
                        Entry::Over(why) => {
                            prop_assert!(over(since, now));
                            prop_assert_eq!(why, too_long);
                        }
                    }
                },
                Doing::Forgo(which) => if !places.is_empty() {
                    let which = which % places.len();
                    bulkhead.forgo(places.remove(which).unwrap());
                    oracle.waiting.remove(which);
                },
                Doing::Leave => if oracle.running > 0 {
                    bulkhead.leave();
                    oracle.running -= 1;
                },
            }
            prop_assert_eq!(bulkhead.running() as usize, oracle.running);
            prop_assert_eq!(bulkhead.waiting() as usize, oracle.waiting.len());
            prop_assert!(oracle.running <= concurrent as usize);
        }
    }
}
