//! Messages that are sent in ways of their own.

use std::sync::Arc;

use phoenix_core::agent::Actions;
use phoenix_core::attributes::{Attributes, Value, names};
use phoenix_core::taxonomy::{Guarantee, Overrides};
use phoenix_core::{
    Envelope, Expiry, Extras, KindPolicy, Lane, Millis, NodeId, Notice, Refusal, Sender,
};
use phoenix_wit::{Backoff, Delivery, Effect, Retry, SendOptions};

use crate::harness::{Actor, message, number_of, ok, read};

const PLAIN: SendOptions = SendOptions {
    delivery: Some(Delivery::ExactlyOnce),
    lane: Some(phoenix_wit::Lane::Normal),
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
    Some(SendOptions {
        lane: Some(lane),
        ..PLAIN
    })
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
        delivery: Some(Delivery::AtMostOnce),
        lane: Some(phoenix_wit::Lane::Low),
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
                number: 1,
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

/// What leaves when an agent of a kind sends one message of a type.
fn typed(treatment: Overrides, message_type: &str, options: SendOptions) -> Arc<Envelope> {
    let policy = KindPolicy {
        treatment,
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    from.offer(message(Sender::System, "from/1", None, 0, 0));
    let out = from.run(10, &mut |_, writer| {
        writer.effect(&Effect::SendWith {
            to: "to/1",
            method: "do",
            message_type,
            payload: phoenix_wit::Payload::NONE,
            options: &options.to_bytes(),
        });
        ok(writer);
    });
    out.send.into_iter().next().unwrap()
}

#[test]
fn type_kind_and_message_say_how_it_is_sent_in_that_order() {
    const METRIC: &str = "phoenix.metric.cpu.load";
    let none = SendOptions::default();
    let said = |envelope: &Envelope| (envelope.stream.lane, envelope.sequence.is_some());
    assert_eq!(
        said(&typed(Overrides::NONE, "", none)),
        (Lane::Normal, true)
    );
    let metric = typed(Overrides::NONE, METRIC, none);
    assert_eq!(said(&metric), (Lane::Low, false));
    assert_eq!(&*metric.event_type(), METRIC);
    let control = typed(Overrides::NONE, "phoenix.control.node.drain", none);
    assert_eq!(said(&control), (Lane::High, true));
    let kind = Overrides {
        priority: Some(Lane::Bulk),
        delivery: Some(Guarantee::AtLeastOnce),
        ..Overrides::NONE
    };
    assert_eq!(said(&typed(kind, METRIC, none)), (Lane::Bulk, true));
    let own = SendOptions {
        lane: Some(phoenix_wit::Lane::High),
        delivery: Some(Delivery::AtMostOnce),
        ..none
    };
    assert_eq!(said(&typed(kind, METRIC, own)), (Lane::High, false));
}

#[test]
fn a_kind_s_lane_is_that_of_plain_messages_and_asks_too() {
    let policy = KindPolicy {
        treatment: Overrides {
            priority: Some(Lane::Low),
            ..Overrides::NONE
        },
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    from.offer(message(Sender::System, "from/1", None, 0, 0));
    let payload = phoenix_wit::Payload::NONE;
    let (to, method) = ("to/1", "do");
    let out = from.run(10, &mut |_, writer| {
        for delivery in [Delivery::ExactlyOnce, Delivery::AtMostOnce] {
            writer.effect(&Effect::Send {
                to,
                method,
                payload,
                delivery,
            });
        }
        writer.effect(&Effect::Ask {
            ask: 1,
            to,
            method,
            payload,
            deadline_ms: 50,
            waiter: None,
        });
        ok(writer);
    });
    let lanes: Vec<Lane> = out.send.iter().map(|it| it.stream.lane).collect();
    assert_eq!(lanes, [Lane::Low; 3]);
    let numbers = out.send.iter().map(|it| it.sequence.map(|it| it.number));
    assert_eq!(numbers.collect::<Vec<_>>(), [Some(1), None, Some(2)]);
    assert_eq!(from.agent.ask_infos().len(), 1);
}

#[test]
fn a_type_that_is_none_undoes_the_turn() {
    for bad in [
        "phoenix.metric",
        "phoenix.Metric.cpu.load",
        "a\u{7}b",
        &"x".repeat(3_000),
    ] {
        let mut from = Actor::new("from/1", KindPolicy::default());
        from.offer(message(Sender::System, "from/1", None, 0, 0));
        let batch = from.begin(10).unwrap();
        let mut writer = phoenix_wit::AnswerWriter::new(Vec::new());
        writer.effect(&Effect::SendWith {
            to: "to/1",
            method: "do",
            message_type: bad,
            payload: phoenix_wit::Payload::NONE,
            options: &SendOptions::default().to_bytes(),
        });
        ok(&mut writer);
        let error = from.refuse(batch, writer.finish());
        assert!(error.contains("attribute `type` is `"), "{error}");
    }
}

/// A message that is part of a trace and of an undertaking.
fn traced() -> Arc<Envelope> {
    let mut attributes = Attributes::new();
    for (name, value) in [
        (names::ID, "A234"),
        (names::SOURCE, "/shop"),
        (names::CORRELATION_ID, "cart 12"),
        (
            names::TRACE_PARENT,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        attributes.set(name, &Value::text(value)).unwrap();
    }
    let client = Sender::Client(phoenix_core::ClientId::new("c").unwrap(), NodeId(1));
    let plain = message(client, "from/1", None, 0, 0);
    Arc::new(Envelope {
        extras: Some(Box::new(Extras {
            attributes: attributes.shared(),
            ..Extras::default()
        })),
        ..(*plain).clone()
    })
}

#[test]
fn what_a_turn_sends_says_what_caused_it() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let payload = phoenix_wit::Payload::NONE;
    let mut sent_by = |given: Arc<Envelope>, now| {
        from.offer(given);
        let out = from.run(now, &mut |_, writer| {
            let (to, method) = ("to/1", "do");
            writer.effect(&Effect::Send {
                to,
                method,
                payload,
                delivery: Delivery::ExactlyOnce,
            });
            writer.effect(&Effect::SendWith {
                to,
                method,
                message_type: "x.y",
                payload,
                options: &SendOptions {
                    ttl_ms: 30,
                    ..SendOptions::default()
                }
                .to_bytes(),
            });
            ok(writer);
        });
        out.send
    };
    let sent = sent_by(traced(), 10);
    let spans: Vec<String> = sent
        .iter()
        .map(|envelope| {
            let said = envelope.attributes().unwrap();
            assert_eq!(said.correlation().map(|it| &**it), Some("cart 12"));
            assert_eq!(said.causation().map(|it| &**it), Some("A234"));
            assert_eq!(said.id(), None, "it is another message");
            said.trace_parent().unwrap().to_string()
        })
        .collect();
    assert_eq!(spans[0], spans[1], "one turn is one span");
    assert!(spans[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert!(!spans[0].contains("b7ad6b7169203331"));
    assert_eq!(
        sent[1].attributes().unwrap().message_type().map(|it| &**it),
        Some("x.y")
    );
    assert!(sent[1].expiry().is_some());
    // The next turn is none of theirs.
    let sent = sent_by(message(Sender::System, "from/1", None, 0, 0), 20);
    assert_eq!(sent[0].extras, None);
    assert_eq!(sent[1].attributes().unwrap().correlation(), None);
}
