//! Retry schedules against an oracle that counts up to each wait. A case that
//! fails is printed, shrunk, with the seed that makes it again.

use phoenix_core::{Millis, RetryPolicy, Schedule};
use proptest::prelude::*;

/// The wait after so many tries, one after the other.
fn slowly(schedule: Schedule, tries: u32) -> u128 {
    let grows = |first: Millis, most: Millis, grow: &dyn Fn(u128) -> u128| {
        let mut wait = u128::from(first.0);
        for _ in 1..tries {
            // Once past the longest, it stays there.
            wait = grow(wait).min(1 << 64);
        }
        wait.min(most.0.into())
    };
    match schedule {
        _ if tries == 0 => 0,
        Schedule::Fixed { wait } => wait.0.into(),
        Schedule::Linear { first, step, most } => {
            grows(first, most, &|wait| wait + u128::from(step.0))
        }
        Schedule::Exponential { first, most } => grows(first, most, &|wait| wait * 2),
    }
}

fn span() -> impl Strategy<Value = Millis> {
    prop_oneof![
        4 => 0_u64..10_000,
        1 => any::<u64>(),
        1 => Just(0),
        1 => Just(1),
        1 => Just(u64::MAX),
    ]
    .prop_map(Millis)
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        span().prop_map(|wait| Schedule::Fixed { wait }),
        (span(), span(), span()).prop_map(|(first, step, most)| Schedule::Linear {
            first,
            step,
            most
        }),
        (span(), span()).prop_map(|(first, most)| Schedule::Exponential { first, most }),
    ]
}

prop_compose! {
    fn policy()(
        schedule in schedule(),
        jitter in prop_oneof![Just(0_u32), 0_u32..=100, any::<u32>()],
        attempts in prop_oneof![0_u32..20, Just(u32::MAX)],
        give_up_after in span(),
    ) -> RetryPolicy {
        RetryPolicy { schedule, jitter, attempts, give_up_after }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn waits_are_those_counted_up_to(
        policy in policy(),
        tries in 0_u32..150,
        one in any::<u64>(),
        other in any::<u64>(),
    ) {
        let whole = slowly(policy.schedule, tries);
        prop_assert_eq!(u128::from(policy.schedule.wait(tries).0), whole);
        prop_assert_eq!(u128::from(policy.wait(tries, 0).0), whole);
        prop_assert!(tries == 0 || policy.schedule.wait(tries) <= policy.schedule.wait(u32::MAX));
        let part = whole * u128::from(policy.jitter.min(100)) / 100;
        for bits in [one, other, u64::MAX] {
            let wait = u128::from(policy.wait(tries, bits).0);
            prop_assert!(whole - part <= wait && wait <= whole);
            prop_assert!(wait > 0 || whole == 0, "no schedule but a zero one tries at once");
        }
        prop_assert!(policy.wait(tries, one.min(other)) >= policy.wait(tries, one.max(other)));
    }

    #[test]
    fn retries_end_by_count_and_by_time(
        policy in policy(),
        sent in prop_oneof![0_u64..1_000_000, any::<u64>()],
        takes in prop::collection::vec(0_u64..500, 30),
        bits in prop::collection::vec(any::<u64>(), 30),
    ) {
        let give_up = policy.give_up(Millis(sent));
        let last = u128::from(sent) + u128::from(policy.give_up_after.0);
        prop_assert_eq!(u128::from(give_up.0), last.min(u64::MAX.into()));
        let mut now = sent;
        for (tries, (takes, bits)) in (1_u32..).zip(takes.into_iter().zip(bits)) {
            now = now.saturating_add(takes);
            let next = policy.next(tries, Millis(now), give_up, bits);
            let at = u128::from(now) + u128::from(policy.wait(tries, bits).0);
            if tries >= policy.attempts || at >= u128::from(give_up.0) {
                prop_assert_eq!(next, None);
                return Ok(());
            }
            prop_assert_eq!(next.map(|at| u128::from(at.0)), Some(at));
            now = next.unwrap().0;
        }
    }
}
