//! Messages that are sent in ways of their own.

use phoenix_core::agent::Actions;
use phoenix_core::{Expiry, KindPolicy, Lane, Millis, Notice, Refusal};
use phoenix_wit::{Backoff, Delivery, Retry, SendOptions};

use crate::harness::{Actor, number_of, read};

const PLAIN: SendOptions = SendOptions {
    delivery: Delivery::ExactlyOnce,
    lane: phoenix_wit::Lane::Normal,
    ttl_ms: 0,
    report_expired: false,
    give_up_ms: 0,
    retry: None,
};

/// Of each message that leaves: its number in its stream, its lane, and what it carries.
fn sent(out: &Actions) -> Vec<(Option<u64>, Lane, u64)> {
    let of = out.send.iter().map(|envelope| {
        let number = envelope.sequence.map(|sequence| sequence.number);
        (number, envelope.stream.lane, number_of(envelope))
    });
    of.collect()
}

fn on(lane: phoenix_wit::Lane) -> Option<SendOptions> {
    Some(SendOptions { lane, ..PLAIN })
}

#[test]
fn each_lane_is_a_stream_with_numbers_of_its_own() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    use phoenix_wit::Lane::{Bulk, High, Low, Normal};
    let messages = [
        (1, on(Low)),
        (2, None),
        (3, on(Low)),
        (4, on(Normal)),
        (5, on(High)),
        (6, None),
        (7, on(Bulk)),
    ];
    let out = from.send_with("to/1", messages, 10);
    let expected = [
        (Some(1), Lane::Low, 1),
        (Some(1), Lane::Normal, 2),
        (Some(2), Lane::Low, 3),
        (Some(2), Lane::Normal, 4),
        (Some(1), Lane::High, 5),
        (Some(3), Lane::Normal, 6),
        (Some(1), Lane::Bulk, 7),
    ];
    assert_eq!(sent(&out), expected);
    assert_eq!(from.agent.streams().1, 4);
    from.through_snapshot();
    let out = from.send_with("to/1", [(8, on(Low))], 20);
    let low = |out: &Actions| sent(out).into_iter().find(|it| it.2 == 8);
    let found = low(&out).or_else(|| low(&from.tick(3_000)));
    assert_eq!(found, Some((Some(3), Lane::Low, 8)));
}

#[test]
fn what_is_sent_at_most_once_has_a_lane_and_no_number() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let low = SendOptions {
        delivery: Delivery::AtMostOnce,
        lane: phoenix_wit::Lane::Low,
        ..PLAIN
    };
    let out = from.send_with("to/1", [(1, Some(low))], 10);
    assert_eq!(sent(&out), [(None, Lane::Low, 1)]);
    assert_eq!(from.agent.unacknowledged(), 0);
}

#[test]
fn spans_become_instants_of_the_turn() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let brief = SendOptions {
        ttl_ms: 30,
        report_expired: true,
        give_up_ms: 500,
        ..PLAIN
    };
    let out = from.send_with("to/1", [(1, Some(brief)), (2, None)], 10);
    let expiry = Expiry {
        at: Millis(40),
        report: true,
    };
    assert_eq!(out.send[0].expiry(), Some(expiry));
    assert_eq!(out.send[0].sequence.unwrap().give_up, Millis(510));
    assert_eq!(out.send[1].expiry(), None);
    assert_eq!(out.send[1].sequence.unwrap().give_up, Millis(60_010));
    // Given up in the sender's way, not the kind's.
    let over = from.tick(600);
    let given_up: Vec<u64> = over.dead.iter().map(|it| number_of(&it.0)).collect();
    assert_eq!(given_up, [1]);
}

#[test]
fn a_message_that_is_too_old_is_not_put() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let mut to = Actor::new("to/1", KindPolicy::default());
    let brief = SendOptions {
        ttl_ms: 30,
        report_expired: true,
        ..PLAIN
    };
    let out = from.send_with("to/1", [(1, Some(brief)), (2, None)], 10);
    for envelope in out.send {
        assert!(to.offer(envelope).is_empty());
    }
    let mut heard = Vec::new();
    let out = to.run(50, &mut |input, writer| {
        if let phoenix_wit::Input::Message { payload, .. } = input {
            heard.push(read(payload.bytes));
        }
        crate::harness::ok(writer);
    });
    assert_eq!(heard, [2]);
    assert_eq!(out.dead.len(), 1, "it was to be told of");
}

/// When each try of a message begins that is refused at once each time, until it is
/// given up, and when that is.
fn tries(options: SendOptions, sleeps: bool) -> (Vec<u64>, Option<u64>) {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let mut now = 10;
    let mut out = from.send_with("to/1", [(1, Some(options))], now);
    let mut begun = Vec::new();
    let mut given_up = None;
    while given_up.is_none() && now < 5_000 {
        if !out.send.is_empty() {
            begun.push(now);
            let refused = Notice::Refused {
                expected: 1,
                refusal: Refusal::MailboxFull,
            };
            from.hear("to/1", Lane::Normal, &refused, now);
            if sleeps {
                from.through_snapshot();
                from.hear("to/1", Lane::Normal, &refused, now);
            }
        }
        now += 1;
        out = from.tick(now);
        given_up = out.dead.first().map(|_| now);
    }
    (begun, given_up)
}

#[test]
fn a_message_is_tried_again_by_its_own_schedule() {
    let with = |backoff, attempts| SendOptions {
        retry: Some(Retry { backoff, attempts }),
        ..PLAIN
    };
    // Chance takes up to half off each wait.
    for (backoff, waits) in [
        (Backoff::Fixed { wait: 200 }, [200, 200, 200]),
        (
            Backoff::Linear {
                first: 100,
                step: 300,
                most: 500,
            },
            [100, 400, 500],
        ),
        (
            Backoff::Exponential {
                first: 100,
                most: 300,
            },
            [100, 200, 300],
        ),
    ] {
        let (begun, given_up) = tries(with(backoff, 4), false);
        assert_eq!(begun.len(), 4, "{backoff:?}: {begun:?}");
        assert!(given_up.is_some(), "{backoff:?}");
        for (pair, most) in begun.windows(2).zip(waits) {
            let wait = pair[1] - pair[0];
            assert!(
                (most / 2..=most + 1).contains(&wait),
                "{backoff:?}: {begun:?}"
            );
        }
    }
    // The kind's 5 ms would have it tried hundreds of times.
    let (begun, given_up) = tries(with(Backoff::Fixed { wait: 1_000 }, 0), false);
    assert!(begun.len() < 11 && given_up.is_none(), "{begun:?}");
}

#[test]
fn a_schedule_of_its_own_survives_a_sleep() {
    let options = SendOptions {
        retry: Some(Retry {
            backoff: Backoff::Fixed { wait: 400 },
            attempts: 5,
        }),
        ..PLAIN
    };
    let (begun, given_up) = tries(options, true);
    assert!(given_up.is_some(), "{begun:?}");
    assert!(begun.len() <= 5, "{begun:?}");
}
