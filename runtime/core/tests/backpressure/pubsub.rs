//! Publications and subscriptions become messages to the owners of topics.

use phoenix_core::topics::wire::{Publish, Subscribe, Unsubscribe};
use phoenix_core::{Body, Envelope, KindPolicy, Lane, Notice, Sender};
use phoenix_wit::{AnswerWriter, ContentType, Effect, Input, Payload};

use crate::harness::{Actor, message, ok};

fn give(actor: &mut Actor) {
    let name = actor.agent.id().clone();
    actor.offer(message(Sender::System, name.as_str(), None, 0, 0));
}

fn act(actor: &mut Actor, effects: &[Effect<'_>]) -> Vec<std::sync::Arc<Envelope>> {
    give(actor);
    let out = actor.run(10, &mut |input, writer| {
        if matches!(input, Input::Message { .. }) {
            effects.iter().for_each(|effect| writer.effect(effect));
        }
        ok(writer);
    });
    out.send
}

/// Whom a message is for, its handler, and what it carries.
fn parts(envelope: &Envelope) -> (&str, &str, Payload<'_>) {
    match &envelope.body {
        Body::Message {
            method,
            payload,
            ask: None,
        } => (envelope.receiver().as_str(), method, payload.as_wit()),
        other => panic!("{other:?}"),
    }
}

const JSON: Payload<'static> = Payload {
    content_type: ContentType::Json,
    bytes: b"{\"total\":3}",
};

fn options(text: &str) -> Payload<'_> {
    Payload {
        content_type: ContentType::Json,
        bytes: text.as_bytes(),
    }
}

#[test]
fn an_event_goes_to_the_owner_of_its_topic_once_and_in_order() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let publish = |topic, options| Effect::Publish {
        topic,
        payload: JSON,
        options,
    };
    let sent = act(
        &mut from,
        &[
            publish("orders.eu.created", Payload::NONE),
            publish("stock", Payload::NONE),
            publish("orders.us", options(r#"{"key":"k","retain":true}"#)),
        ],
    );
    let said: Vec<(&str, &str, u64)> = sent
        .iter()
        .map(|it| {
            let (to, method, _) = parts(it);
            (to, method, it.sequence.unwrap().number)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("topic/orders", "publish", 1),
            ("topic/stock", "publish", 1),
            ("topic/orders", "publish", 2),
        ]
    );
    let (first, topic) = Publish::decode(parts(&sent[0]).2).unwrap();
    assert_eq!((topic.as_str(), first.data), ("orders.eu.created", JSON));
    let (third, _) = Publish::decode(parts(&sent[2]).2).unwrap();
    assert_eq!((third.key.as_deref(), third.retain), (Some("k"), true));
    assert_eq!(from.agent.unacknowledged(), 3);
    let applied = Notice::Applied {
        after: 0,
        through: 2,
    };
    from.hear("topic/orders", Lane::Normal, &applied, 20);
    assert_eq!(from.agent.unacknowledged(), 1);
}

#[test]
fn an_event_that_may_be_lost_is_not_kept() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let sent = act(
        &mut from,
        &[Effect::Publish {
            topic: "metrics.load",
            payload: JSON,
            options: options(r#"{"delivery":"at-most-once"}"#),
        }],
    );
    assert_eq!(parts(&sent[0]).0, "topic/metrics");
    assert_eq!(sent[0].sequence, None);
    assert_eq!(from.agent.unacknowledged(), 0);
}

#[test]
fn subscriptions_go_to_the_owner_of_their_pattern() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let sent = act(
        &mut from,
        &[
            Effect::Subscribe {
                pattern: "orders.*",
                options: options(r#"{"name":"n","filter":"data.total > 2"}"#),
            },
            Effect::Subscribe {
                pattern: "*.created",
                options: Payload::NONE,
            },
            Effect::Unsubscribe {
                pattern: "orders.*",
                name: "n",
            },
            Effect::Unsubscribe {
                pattern: "*.created",
                name: "",
            },
        ],
    );
    let (to, method, payload) = parts(&sent[0]);
    assert_eq!((to, method), ("topic/orders", "subscribe"));
    let expected = Subscribe {
        name: Some("n".to_owned()),
        filter: Some("data.total > 2".to_owned()),
        ..Subscribe::to_pattern("orders.*")
    };
    assert_eq!(Subscribe::decode(payload), Ok(expected));
    let (to, method, payload) = parts(&sent[1]);
    assert_eq!((to, method), ("topic/.root", "subscribe"));
    assert_eq!(
        Subscribe::decode(payload),
        Ok(Subscribe::to_pattern("*.created"))
    );
    for (envelope, owner, name) in [
        (&sent[2], "topic/orders", "n"),
        (&sent[3], "topic/.root", "*.created"),
    ] {
        let (to, method, payload) = parts(envelope);
        assert_eq!((to, method), (owner, "unsubscribe"));
        assert_eq!(Unsubscribe::decode(payload).unwrap().name, name);
    }
}

#[test]
fn what_cannot_be_undoes_the_turn_and_says_where_it_is_wrong() {
    let levels = ["*"; 1_000_000].join(".");
    let publish = |topic, options| Effect::Publish {
        topic,
        payload: JSON,
        options,
    };
    let subscribe = |pattern, options| Effect::Subscribe { pattern, options };
    let none = Payload::NONE;
    let all = [
        (publish("orders..eu", none), "field `topic`: "),
        (publish("orders.*", none), "field `topic`: "),
        (
            publish("orders", options("{\"keep\":true}")),
            "unknown field `keep`",
        ),
        (subscribe("orders.>.eu", none), "field `pattern`: "),
        // No text of a frame is so long, so it comes cut.
        (subscribe(&levels, none), "field `pattern`: "),
        (
            subscribe("orders", options("{\"filter\":\"data.total >\"}")),
            "field `filter`: ",
        ),
        (
            subscribe("orders", options("{\"overflow\":\"wait\"}")),
            "write block, drop-oldest, drop-newest or reject",
        ),
        (
            subscribe("orders", options("{\"to\":\"a/b\"}")),
            "an agent subscribes itself",
        ),
    ];
    for (effect, expected) in all {
        let mut from = Actor::new("from/1", KindPolicy::default());
        give(&mut from);
        let batch = from.begin(10).unwrap();
        let mut writer = AnswerWriter::new(Vec::new());
        writer.effect(&effect);
        ok(&mut writer);
        let why = from.refuse(batch, writer.finish());
        assert!(why.starts_with("an effect about a topic: "), "{why}");
        assert!(why.contains(expected), "{why} has no {expected}");
        assert!(why.len() < 1_000, "{why}");
    }
}

#[test]
fn publications_count_as_messages_do() {
    let policy = KindPolicy {
        turn_effects: 2,
        outbox_messages: 3,
        streams: 1,
        max_message: 8,
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    let publish = |topic, bytes| Effect::Publish {
        topic,
        payload: Payload::message_pack(bytes),
        options: Payload::NONE,
    };
    let mut refused = |effects: &[Effect<'_>]| {
        give(&mut from);
        let batch = from.begin(10).unwrap();
        let mut writer = AnswerWriter::new(Vec::new());
        effects.iter().for_each(|effect| writer.effect(effect));
        ok(&mut writer);
        from.refuse(batch, writer.finish())
    };
    assert_eq!(
        refused(&[publish("a", b"\x01"), publish("b", b"\x01")]),
        "2 receivers in one agent: the kind allows 1"
    );
    assert_eq!(
        refused(&[publish("a", b"123456789")]),
        "9 bytes in one message: the kind allows 8"
    );
    let mut from = Actor::new("from/1", from.policy);
    let sent = act(&mut from, &[publish("a", b"\x01"), publish("a.b", b"\x01")]);
    assert_eq!(sent.len(), 2);
    // Full: no turn begins that may send more than fits.
    give(&mut from);
    assert!(from.begin(12).is_none());
}
