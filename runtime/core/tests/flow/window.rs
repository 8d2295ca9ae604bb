//! The sliding window.

use phoenix_core::Millis;
use phoenix_core::flow::{Ready, SlidingWindow};
use proptest::prelude::*;

use crate::{CASES, Time, extreme, step};

/// Remembers all that passed.
struct Oracle {
    limit: u64,
    per: u64,
    passed: Vec<(u64, u64)>,
}

impl Oracle {
    /// What passed in the last `span` ms, now included.
    fn within(&self, now: u64, span: u64) -> u64 {
        let passed = self.passed.iter().filter(|(at, _)| now - at < span);
        passed.map(|(_, cost)| cost).sum()
    }

    /// The error that is promised: how much longer than `per` something may count.
    fn late(&self) -> u64 {
        self.per.div_ceil(32) - 1
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_window_sees_more_and_none_much_less(
        (limit, per) in (0_u64..60, prop_oneof![1_u64..32, 32_u64..3_000]),
        start in 0_u64..10_000,
        steps in prop::collection::vec((step(1_200), 0_u64..70), 1..60),
    ) {
        let mut time = Time::new(start);
        let mut window = SlidingWindow::new(limit, Millis(per), time.shown());
        let mut oracle = Oracle { limit, per, passed: Vec::new() };
        for (by, cost) in steps {
            time.go(by);
            let now = time.latest;
            let free = window.free(time.shown());
            prop_assert!(free <= limit - oracle.within(now, per), "it would see more");
            prop_assert!(free >= limit.saturating_sub(oracle.within(now, per + oracle.late())), "much less");
            match window.ready(time.shown(), cost) {
                Ready::Now => prop_assert!(cost <= free),
                Ready::TooMuch(most) => prop_assert!(cost > most && most == oracle.limit),
                Ready::At(Millis(until)) => {
                    prop_assert!(cost > free && until > now);
                    let then = |at: u64| window.clone().take(Millis(at), cost);
                    prop_assert!(then(until) && !then(until - 1), "not at {}", until);
                }
            }
            if window.take(time.shown(), cost) {
                prop_assert!(cost <= free);
                oracle.passed.push((now, cost));
            } else {
                prop_assert!(cost > free);
            }
        }
    }

    #[test]
    fn no_number_breaks_it(
        (limit, per) in (extreme(), extreme()),
        steps in prop::collection::vec((extreme(), extreme()), 1..20),
    ) {
        let mut latest = 0;
        let mut window = SlidingWindow::new(limit, Millis(per), Millis(0));
        for (now, cost) in steps {
            latest = latest.max(now);
            let before = window.free(Millis(now));
            prop_assert!(before <= limit);
            match window.ready(Millis(now), cost) {
                Ready::Now => prop_assert!(cost <= before),
                Ready::At(at) => prop_assert!(cost > before && at.0 >= latest),
                Ready::TooMuch(most) => prop_assert!(cost > most && most == limit),
            }
            let spent = if window.take(Millis(now), cost) { cost } else { 0 };
            prop_assert_eq!(window.free(Millis(now)), before - spent);
        }
    }
}

/// What is promised to a sender that always has more.
#[test]
fn a_steady_sender_gets_almost_all_of_it() {
    for per in [1, 31, 32, 33, 100, 1_000, 60_000] {
        let mut window = SlidingWindow::new(10, Millis(per), Millis(0));
        let (mut now, mut passed) = (Millis(0), 0);
        while now.0 < per * 33 {
            match window.ready(now, 1) {
                Ready::Now => {
                    assert!(window.take(now, 1));
                    passed += 1;
                }
                Ready::At(until) => {
                    assert!(until > now);
                    now = until;
                }
                Ready::TooMuch(_) => unreachable!("1 is not more than 10"),
            }
        }
        assert!(passed >= 320, "{passed} of 330 in windows of {per} ms");
    }
}
