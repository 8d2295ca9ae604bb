//! When a message that was refused, or not answered, is sent again, and when not.

use phoenix_core::{DeadReason, KindPolicy, Lane, Millis, Notice, Refusal, RetryPolicy, Schedule};

use crate::harness::{Actor, number_of, small};

/// Waits of 100, 200 and 300 ms, then of 300.
fn growing(attempts: u32) -> KindPolicy {
    KindPolicy {
        retry: Schedule::Linear {
            first: Millis(100),
            step: Millis(100),
            most: Millis(300),
        },
        retry_jitter: 0,
        retry_attempts: attempts,
        ..small(100)
    }
}

fn sender(policy: KindPolicy) -> Actor {
    let mut from = Actor::new("from/1", policy);
    from.agent.retry_by(&from.policy);
    from
}

/// Lets time pass to each instant at which it has something to do, until nothing is
/// left of what it sent, and gives what it sends and when. A receiver refuses all
/// of it, if there is one.
fn life(from: &mut Actor, mut now: u64, refuses: bool) -> Vec<(u64, u64)> {
    let mut sent = Vec::new();
    while from.agent.unacknowledged() > 0 {
        if refuses {
            let notice = Notice::Refused {
                expected: 1,
                number: 1,
                refusal: Refusal::Busy,
            };
            from.hear("to/1", Lane::Normal, &notice, now);
        }
        now = from.agent.next_wake_exact().0;
        let out = from.tick(now);
        sent.extend(out.send.iter().map(|it| (now, number_of(it))));
        if !out.dead.is_empty() {
            let reasons: Vec<_> = out.dead.iter().map(|(_, reason, _)| reason).collect();
            assert_eq!(reasons, vec![&DeadReason::GaveUp; reasons.len()]);
        }
        assert!(sent.len() < 1_000, "{sent:?}");
    }
    sent
}

#[test]
fn what_is_refused_waits_as_the_kind_says() {
    let mut from = sender(growing(5));
    assert_eq!(from.send("to/1", &[1], 1_000).send.len(), 1);
    let again = life(&mut from, 1_000, true);
    assert_eq!(again, [(1_100, 1), (1_300, 1), (1_600, 1), (1_900, 1)]);
    assert_eq!(from.agent.counters.undetermined, 1);
    assert_eq!(from.agent.counters.bounced, 1, "its sender is told");
}

/// It may be lost, so nothing is done about it for a second, and the wait after that.
#[test]
fn what_is_not_answered_waits_a_second_longer() {
    let mut from = sender(growing(4));
    from.send("to/1", &[1], 1_000);
    let again = life(&mut from, 1_000, false);
    // The first time nobody has said anything yet that one could wait for.
    assert_eq!(again, [(2_000, 1), (3_100, 1), (4_300, 1)]);
}

/// Each is tried as often as it may be, and no more; the next is not given up with it.
#[test]
fn every_message_has_its_own_tries() {
    let mut from = sender(growing(2));
    from.send("to/1", &[1], 1_000);
    let notice = Notice::Refused {
        expected: 1,
        number: 1,
        refusal: Refusal::Busy,
    };
    from.hear("to/1", Lane::Normal, &notice, 1_000);
    assert!(from.send("to/1", &[2], 1_050).send.is_empty(), "it waits");
    let again = life(&mut from, 1_050, true);
    let of = |wanted| again.iter().filter(|(_, number)| *number == wanted).count();
    assert_eq!((of(1), of(2)), (1, 2), "{again:?}");
}

#[test]
fn what_was_tried_is_known_after_a_move() {
    let mut from = sender(growing(3));
    from.send("to/1", &[1], 1_000);
    assert_eq!(from.tick(2_000).send.len(), 1);
    from.through_snapshot();
    from.agent.retry_by(&from.policy);
    let again = life(&mut from, 2_000, true);
    assert_eq!(again.len(), 1, "the third time is the last: {again:?}");
}

/// The time is over before the tries are.
#[test]
fn the_time_to_give_up_comes_first() {
    let policy = KindPolicy {
        give_up_after: Millis(500),
        ..growing(u32::MAX)
    };
    let mut from = sender(policy);
    from.send("to/1", &[1], 1_000);
    let again = life(&mut from, 1_000, true);
    assert_eq!(again, [(1_100, 1), (1_300, 1)]);
}

/// Those who were refused together do not come back together.
#[test]
fn waits_differ_by_chance_within_the_jitter() {
    let policy = KindPolicy {
        retry: Schedule::Fixed {
            wait: Millis(10_000),
        },
        retry_jitter: 50,
        ..small(100)
    };
    let back = |name: &str| {
        let mut from = Actor::new(name, policy.clone());
        from.agent.retry_by(&from.policy);
        from.send("to/1", &[1], 1_000);
        let notice = Notice::Refused {
            expected: 1,
            number: 1,
            refusal: Refusal::Busy,
        };
        from.hear("to/1", Lane::Normal, &notice, 1_000);
        from.agent.next_wake_exact().0 - 1_000
    };
    let mut waits: Vec<u64> = (0..20).map(|n| back(&format!("from/{n}"))).collect();
    assert!(
        waits.iter().all(|it| (5_000..=10_000).contains(it)),
        "{waits:?}"
    );
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 15, "{waits:?}");
}

#[test]
fn a_kinds_policy_is_the_default_one_where_it_says_nothing() {
    assert_eq!(KindPolicy::default().retry_policy(), RetryPolicy::DEFAULT);
}
