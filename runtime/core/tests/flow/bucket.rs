//! The token bucket.

use phoenix_core::Millis;
use phoenix_core::flow::{Rate, Ready, TokenBucket};
use proptest::prelude::*;

use crate::{CASES, Time, extreme, step};

/// Remembers all that passed. Something may pass if no span of time, however it
/// began, would see more than `burst + amount × t / per`.
struct Oracle {
    rate: Rate,
    burst: u64,
    passed: Vec<(u64, u64)>,
}

impl Oracle {
    fn may(&self, now: u64, cost: u64) -> bool {
        let per = u128::from(self.rate.per.0);
        let burst = u128::from(self.burst) * per;
        let mut sum = u128::from(cost) * per;
        let mut fits = sum <= burst;
        for (at, cost) in self.passed.iter().rev() {
            sum += u128::from(*cost) * per;
            fits &= sum <= burst + u128::from(now - at) * u128::from(self.rate.amount);
        }
        fits
    }
}

fn check(rate: Rate, burst: u64, start: u64, steps: &[(i64, u64)]) -> Result<(), TestCaseError> {
    let mut time = Time::new(start);
    let mut bucket = TokenBucket::new(rate, burst, time.shown());
    let mut oracle = Oracle {
        rate,
        burst,
        passed: Vec::new(),
    };
    for (by, cost) in steps {
        time.go(*by);
        let (now, cost) = (time.latest, *cost);
        let level = bucket.level(time.shown());
        prop_assert!(oracle.may(now, level), "{} is too much", level);
        prop_assert!(!oracle.may(now, level + 1), "{} is too little", level);
        let ready = bucket.ready(time.shown(), cost);
        match ready {
            Ready::Now => prop_assert!(oracle.may(now, cost)),
            Ready::TooMuch(most) => prop_assert!(cost > most && most == burst),
            Ready::At(Millis::NEVER) => prop_assert_eq!(rate.amount, 0),
            Ready::At(Millis(until)) => {
                prop_assert!(until > now);
                prop_assert!(oracle.may(until, cost) && !oracle.may(until - 1, cost));
            }
        }
        let passes = bucket.take(time.shown(), cost);
        prop_assert_eq!(passes, ready == Ready::Now);
        if passes {
            oracle.passed.push((now, cost));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn passes_what_the_oracle_does(
        (amount, per, burst) in (0_u64..40, 1_u64..50, 0_u64..60),
        start in 0_u64..1_000,
        steps in prop::collection::vec((step(80), 0_u64..70), 1..40),
    ) {
        check(Rate { amount, per: Millis(per) }, burst, start, &steps)?;
    }

    #[test]
    fn large_numbers_are_as_exact(
        (amount, per, burst) in (1_u64..1 << 40, 1_u64..1 << 27, 1_u64..1 << 40),
        start in 0_u64..1 << 41,
        steps in prop::collection::vec((step(1 << 30), 0_u64..1 << 40), 1..20),
    ) {
        check(Rate { amount, per: Millis(per) }, burst, start, &steps)?;
    }

    #[test]
    fn no_number_breaks_it(
        (amount, per, burst) in (extreme(), extreme(), extreme()),
        steps in prop::collection::vec((extreme(), extreme()), 1..20),
    ) {
        let rate = Rate { amount, per: Millis(per) };
        let mut latest = 0;
        let mut bucket = TokenBucket::new(rate, burst, Millis(0));
        for (now, cost) in steps {
            latest = latest.max(now);
            let before = bucket.level(Millis(now));
            prop_assert!(before <= burst);
            match bucket.ready(Millis(now), cost) {
                Ready::Now => prop_assert!(cost <= before),
                Ready::At(at) => prop_assert!(cost > before && at.0 >= latest),
                Ready::TooMuch(most) => prop_assert!(cost > most && most == burst),
            }
            let spent = if bucket.take(Millis(now), cost) { cost } else { 0 };
            prop_assert_eq!(bucket.level(Millis(now)), before - spent);
        }
    }
}
