//! Messages whose time is over before their turn.

use phoenix_core::{DeadReason, Expiry, KindPolicy, Lane, Millis, Notice, SkipReason};
use phoenix_wit::Input;

use crate::harness::{Actor, agent_sender, message, number_of, ok, with_extras};

#[test]
fn what_is_of_no_use_any_more_is_not_put() {
    let mut actor = Actor::new("to/1", KindPolicy::default());
    let expiring = |number: u64, sequence, at: u64, report| {
        let envelope = message(agent_sender("from/1"), "to/1", sequence, number, 0);
        with_extras(&envelope, |extras| {
            let at = Millis(at);
            extras.expiry = Some(Expiry { at, report });
        })
    };
    let lane = Lane::Normal;
    actor.offer(expiring(1, Some((lane, 1)), 10, false));
    actor.offer(expiring(2, Some((lane, 2)), 10, true));
    actor.offer(expiring(3, Some((lane, 3)), 11, true));
    actor.offer(expiring(4, None, 10, false));
    actor.offer(expiring(5, None, 10, true));
    actor.through_snapshot();
    let mut put = Vec::new();
    let out = actor.run(10, &mut |input, writer| {
        if let Input::Message { payload, .. } = input {
            put.push(crate::harness::read(payload.bytes));
        }
        ok(writer);
    });
    assert_eq!(
        put,
        [3],
        "the one that is in time, and nothing waits for the others"
    );
    let letters: Vec<(u64, &DeadReason)> = out
        .dead
        .iter()
        .map(|it| (number_of(&it.0), &it.1))
        .collect();
    let expired = &DeadReason::Expired;
    assert_eq!(
        letters,
        [(2, expired), (5, expired)],
        "where the sender asked to know"
    );
    let notices: Vec<&Notice> = out.acknowledge.iter().map(|it| &it.notice).collect();
    let skipped = |number| Notice::Skipped {
        number,
        reason: SkipReason::Expired,
    };
    assert_eq!(
        notices,
        [
            &skipped(1),
            &skipped(2),
            &Notice::Applied {
                after: 2,
                through: 3
            }
        ]
    );
    let counters = actor.agent.counters;
    assert_eq!(
        (counters.expired, counters.dead_expired, counters.dead),
        (4, 2, 2)
    );
}
