use serde_json::json;

use super::*;
use crate::topics::wire::{Gap, Mark};

#[test]
fn an_event_goes_to_those_that_subscribed_to_its_topic() {
    let mut world = World::new();
    for (agent, pattern) in [
        ("s/1", "a.b"),
        ("s/2", "a.*"),
        ("s/3", "a.c"),
        ("s/4", "a.>"),
    ] {
        let answer = world.subscribe(agent, &json!({"pattern": pattern}));
        let expected = json!({"name": pattern, "epoch": 1_000, "from": 1});
        assert_eq!(answer, expected);
    }
    world.now = 2_000;
    let answer = world.publish("a.b", 7);
    let expected = json!({"topic": "a.b", "epoch": 1_000, "number": 1, "matched": 3});
    assert_eq!(answer, expected);
    let to: Vec<_> = world.messages.iter().map(|it| it.to.as_str()).collect();
    assert_eq!(to, ["s/1", "s/2", "s/4"]);
    // One message, shared.
    assert_eq!(world.multicasts, 1);
    let first = &world.messages[0];
    assert_eq!(first.method, "on_event");
    assert_eq!(
        String::from_utf8(first.bytes.clone()).unwrap(),
        concat!(
            r#"{"topic":"a.b","publisher":"counter/p","epoch":1000,"number":1,"#,
            r#""time":2000,"data":7}"#
        )
    );
    let gone = world.ask("s/2", "unsubscribe", &json!({"name": "a.*"}));
    assert_eq!(gone, Ok(json!({"was": true})));
    let gone = world.ask("s/2", "unsubscribe", &json!({"name": "a.*"}));
    assert_eq!(gone, Ok(json!({"was": false})));
    world.messages.clear();
    world.publish("a.c", 8);
    let to: Vec<_> = world.messages.iter().map(|it| it.to.as_str()).collect();
    assert_eq!(to, ["s/3", "s/4"]);
}

#[test]
fn terms_say_how_an_event_is_sent() {
    let mut world = World::new();
    let fields = json!({"pattern": "a.b", "method": "hear", "form": "data",
        "delivery": "at-least-once"});
    world.subscribe("s/1", &fields);
    let fields = json!({"topic": "a.b", "data": {"x": [1.50]}, "ttl_ms": 500, "type": "t",
        "key": "k", "attributes": {"n": 1}});
    world.ask("client/c", "publish", &fields).unwrap();
    let [message] = world.messages.as_slice() else {
        panic!("{:?}", world.messages);
    };
    assert_eq!(
        (message.method.as_str(), message.bytes.as_slice()),
        ("hear", &br#"{"x":[1.5]}"#[..])
    );
    assert_eq!(
        message.options.delivery,
        Some(phoenix_wit::Delivery::AtLeastOnce)
    );
    assert_eq!(message.options.ttl_ms, 500);
}

#[test]
fn filters_choose_and_templates_address_and_transforms_change() {
    let mut world = World::new();
    let fields = json!({"pattern": "a.>", "filter": "data.level == 'error' && attributes.n > 1"});
    world.subscribe("s/1", &fields);
    let fields = json!({"pattern": "a.log", "to": "visitor/{data.ip}",
        "transform": {"rename": {"level": "l"}}});
    let answer = world.ask("client/c", "subscribe", &fields).unwrap();
    assert_eq!(answer["name"], json!("a.log visitor/{data.ip}"));
    for (level, ip, n) in [
        ("error", json!("::1"), 2),
        ("info", json!("::2"), 2),
        ("error", json!(null), 1),
    ] {
        let fields = json!({"topic": "a.log", "attributes": {"n": n},
            "data": {"level": level, "ip": ip}});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    let sent: Vec<_> = world
        .messages
        .iter()
        .map(|it| (it.to.as_str(), it.bytes.as_slice()))
        .collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert_eq!(sent[0].0, "s/1");
    // A template's usual form is the data.
    assert_eq!(
        sent[1],
        ("visitor/::1", &br#"{"ip":"::1","l":"error"}"#[..])
    );
    assert_eq!(sent[2].0, "visitor/::2");
    assert_eq!(world.owner.counts.no_receiver, 1);
    assert_eq!(world.owner.counts.filter_failed, 0);
    world.publish("a.x", 1);
    assert_eq!(world.owner.counts.filter_failed, 1, "a number has no level");
}

#[test]
fn what_is_not_done_is_told_why() {
    let mut world = World::new();
    for (source, method, fields, part) in [
        (
            "s/1",
            "publish",
            json!({"topic": "b.c"}),
            "wrong-owner: `b.c` is not of this space: it belongs to topic/b",
        ),
        (
            "s/1",
            "subscribe",
            json!({"pattern": "*.c"}),
            "wrong-owner: `*.c` is not of this space: it belongs to topic/.root",
        ),
        (
            "s/1",
            "subscribe",
            json!({"pattern": "a", "to": "s/2"}),
            "forbidden: s/1 subscribes itself, not `s/2`",
        ),
        (
            "s/1",
            "subscribe",
            json!({"pattern": "a", "filter": "data.x ="}),
            "bad-request: field `filter`:",
        ),
        (
            "s/1",
            "subscribe",
            json!({"pattern": "a", "replay": "from 3"}),
            "`a` has no log: configure one",
        ),
        (
            "client/c",
            "subscribe",
            json!({"pattern": "a"}),
            "bad-request: field `to`: say whom",
        ),
        (
            "client/c",
            "subscribe",
            json!({"pattern": "a", "to": "{data.x}"}),
            "bad-request: field `to`:",
        ),
        (
            "s/1",
            "configure",
            json!({"pattern": "a"}),
            "forbidden: `configure` is for clients and the node",
        ),
        (
            "s/1",
            "declare",
            json!({"kind": "s", "version": 1, "subscriptions": []}),
            "forbidden",
        ),
        (
            "client/c",
            "configure",
            json!({"pattern": ">"}),
            "begins with a wildcard",
        ),
        (
            "client/c",
            "burn",
            json!({}),
            "no-such-handler: an owner of topics has no `burn`",
        ),
        (
            "client/c",
            "publish",
            json!({"topic": 1}),
            "bad-request: `publish` cannot be read",
        ),
    ] {
        let before = world.save();
        let error = world.ask(source, method, &fields).unwrap_err();
        assert!(error.contains(part), "{method} {fields}: {error}");
        // Beside the first turn's, which began the owner.
        if world.turn > 1 {
            assert_eq!(world.save(), before, "{method} {fields} changed something");
        }
    }
}

#[test]
fn a_subscription_of_the_same_name_goes_on_where_it_is() {
    let mut world = World::new();
    let fields = json!({"pattern": "a.b", "name": "n"});
    world.subscribe("s/1", &fields);
    world.publish("a.b", 1);
    let answer = world.subscribe(
        "s/1",
        &json!({"pattern": "a.b", "name": "n", "method": "m"}),
    );
    assert_eq!(answer["from"], json!(1));
    world.publish("a.b", 2);
    assert_eq!(world.numbers("s/1"), [1, 2]);
    assert_eq!(world.messages[1].method, "m");
    // Of another pattern it begins anew.
    let answer = world.subscribe("s/1", &json!({"pattern": "a.c", "name": "n"}));
    assert_eq!(answer["from"], json!(3));
    world.publish("a.b", 3);
    assert_eq!(world.owner.table.len(), 1);
    assert_eq!(world.numbers("s/1"), [1, 2]);
}

#[test]
fn a_kind_has_the_subscriptions_it_declared_last() {
    let mut world = World::new();
    let mut declare = |version: u64, patterns: &[&str]| {
        let subscriptions: Vec<_> = patterns
            .iter()
            .map(|pattern| json!({"pattern": pattern, "to": "k/{key}"}))
            .collect();
        let fields = json!({"kind": "k", "version": version, "subscriptions": subscriptions});
        world.ask("sys/node", "declare", &fields).unwrap()
    };
    assert_eq!(declare(2, &["a.b", "a.c"]), json!({"set": 2, "ended": 0}));
    assert_eq!(declare(2, &["a.b", "a.c"]), json!({"set": 0, "ended": 0}));
    assert_eq!(declare(1, &["a.d"]), json!({"set": 0, "ended": 0}), "late");
    assert_eq!(declare(3, &["a.c", "a.d"]), json!({"set": 1, "ended": 1}));
    for topic in ["a.b", "a.c", "a.d"] {
        let fields = json!({"topic": topic, "key": "x", "data": topic});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    let sent: Vec<_> = world
        .messages
        .iter()
        .map(|it| it.bytes.as_slice())
        .collect();
    assert_eq!(sent, [&b"\"a.c\""[..], b"\"a.d\""]);
    assert!(world.messages.iter().all(|it| it.to == "k/x"));
}

#[test]
fn what_has_no_room_in_a_turn_is_sent_in_the_next_ones() {
    let mut world = World::new();
    for n in 0..100 {
        world.subscribe(&format!("s/{n}"), &json!({"pattern": "a.b"}));
    }
    // Ten messages a turn.
    world.room = super::super::sends::KEPT_MESSAGES + 10;
    for data in 0..5 {
        world.publish("a.b", data);
    }
    assert_eq!(world.messages.len(), 50);
    // One that comes now gets none of those.
    world.subscribe("s/new", &json!({"pattern": "a.b"}));
    world.settle();
    for n in 0..100 {
        assert_eq!(world.numbers(&format!("s/{n}")), [1, 2, 3, 4, 5]);
    }
    assert_eq!(world.messages.len(), 500);
}

#[test]
fn publications_wait_while_the_backlog_is_full() {
    let mut world = World::new();
    for n in 0..3 {
        world.subscribe(&format!("s/{n}"), &json!({"pattern": "a.b"}));
    }
    world.room = super::super::sends::KEPT_MESSAGES + 1;
    let fields = json!({"topic": "a.b"});
    let mut taken = 0;
    let error = loop {
        match world.ask("counter/p", "publish", &fields) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, "deferred");
    assert_eq!(world.owner.backlog(), super::super::MAX_BACKLOG);
    let before = world.save();
    world.ask("counter/p", "publish", &fields).unwrap_err();
    assert_eq!(world.save(), before, "what is put off changes nothing");
    world.settle();
    world.ask("counter/p", "publish", &fields).unwrap();
    world.settle();
    for n in 0..3 {
        let expected: Vec<u64> = (1..=taken + 1).collect();
        assert_eq!(world.numbers(&format!("s/{n}")), expected);
    }
}

#[test]
fn as_many_are_under_way_as_may_be_and_the_rest_goes_by_the_policy() {
    for (overflow, first, rest) in [
        ("drop-newest", vec![1, 2], vec![6]),
        ("drop-oldest", vec![1, 2], vec![3, 4, 5, 6]),
        ("reject", vec![1, 2, 3, 4, 5], vec![6]),
        ("block", vec![1, 2, 3, 4, 5], vec![6]),
    ] {
        let mut world = World::new();
        world.subscribe(
            "s/1",
            &json!({"pattern": "a.b", "overflow": overflow, "in_flight": 2}),
        );
        for data in 1..=5 {
            world.publish("a.b", data);
        }
        assert_eq!(world.numbers("s/1"), first, "{overflow}");
        world.settle();
        world.publish("a.b", 6);
        world.settle();
        assert_eq!(world.numbers("s/1"), [first, rest].concat(), "{overflow}");
        let mark = |at: usize| world.messages[at].event().mark.unwrap_or_default();
        match overflow {
            "drop-newest" => {
                let gap = Some(Gap { from: 3, to: 5 });
                assert_eq!(
                    mark(2),
                    Mark {
                        gap,
                        ..Mark::default()
                    }
                );
                assert_eq!(world.owner.counts.dropped, 3);
            }
            "reject" => {
                let give_up: Vec<_> = world
                    .messages
                    .iter()
                    .map(|it| it.options.give_up_ms)
                    .collect();
                let ms = super::super::REJECT_GIVE_UP_MS;
                assert_eq!(give_up, [0, 0, ms, ms, ms, 0]);
            }
            _ => assert!((0..6).all(|at| mark(at).is_empty())),
        }
    }
}

#[test]
fn what_waits_longer_than_recent_events_are_kept_is_a_gap() {
    let mut world = World::new();
    world.subscribe(
        "s/1",
        &json!({"pattern": "a.b", "overflow": "drop-oldest", "in_flight": 1}),
    );
    world.subscribe(
        "s/2",
        &json!({"pattern": "a.c", "overflow": "drop-oldest", "in_flight": 1}),
    );
    world.publish("a.c", 0);
    let many = super::super::RECENT_EVENTS as u64 + 10;
    for data in 0..many {
        world.publish("a.b", data);
    }
    assert_eq!(world.numbers("s/1"), [2]);
    world.settle();
    let expected: Vec<u64> = [2].into_iter().chain(12..=many + 1).collect();
    assert_eq!(world.numbers("s/1"), expected);
    let second = world
        .messages
        .iter()
        .filter(|it| it.to == "s/1")
        .nth(1)
        .unwrap();
    let gap = Some(Gap { from: 3, to: 11 });
    assert_eq!(
        second.event().mark,
        Some(Mark {
            gap,
            ..Mark::default()
        })
    );
    // What was not its own it has not missed.
    world.publish("a.c", 1);
    assert_eq!(world.messages.last().unwrap().event().mark, None);
    assert_eq!(world.owner.counts.missed, 9);
}

#[test]
fn readers_get_what_is_there_or_wait() {
    let mut world = World::new();
    let read = |world: &mut World, fields: Value| world.ask("client/c", "read", &fields);
    let none = json!({"epoch": 1_000, "next": 0, "events": []});
    assert_eq!(
        read(&mut world, json!({"pattern": "a.>", "after": 0})),
        Ok(none)
    );
    world.publish("a.b", 1);
    world.publish("a.c", 2);
    let answer = read(&mut world, json!({"pattern": "a.b", "after": 0})).unwrap();
    assert_eq!(answer["next"], json!(2));
    assert_eq!(answer["events"].as_array().unwrap().len(), 1);
    assert_eq!(answer["events"][0]["data"], json!(1));
    let answer = read(&mut world, json!({"pattern": "a.>", "after": 0, "max": 1})).unwrap();
    assert_eq!(answer["next"], json!(1));

    // Two wait, one of them for long enough.
    let turn = world.turn;
    let wait = |world: &mut World, pattern: &str, ms: u64| {
        read(world, json!({"pattern": pattern, "wait_ms": ms})).unwrap_err()
    };
    assert_eq!(wait(&mut world, "a.x", 100), "pending");
    assert_eq!(wait(&mut world, "a.b", 50), "pending");
    world.save_and_load();
    world.now += 50;
    world.publish("a.b", 3);
    let (request, answer) = world.replies.pop().unwrap();
    assert_eq!((request, &answer["next"]), (turn + 1, &json!(3)));
    assert_eq!(answer["events"][0]["data"], json!(3));
    world.tick();
    assert_eq!(world.replies, []);
    world.now += 50;
    world.tick();
    let (request, answer) = world.replies.pop().unwrap();
    assert_eq!((request, &answer["events"]), (turn, &json!([])));
    assert_eq!(answer["next"], json!(3));
    for _ in 0..super::super::MAX_WAITING_READS {
        assert_eq!(wait(&mut world, "a.b", 60_000), "pending");
    }
    let error = wait(&mut world, "a.b", 60_000);
    assert_eq!(
        error,
        "full: the owner has reads that wait up to its bound, 256"
    );
}

#[test]
fn all_of_a_space_are_in_one_order_for_all() {
    let mut world = World::new();
    world.subscribe("s/1", &json!({"pattern": "a.>"}));
    world.subscribe("s/2", &json!({"pattern": "a.*"}));
    for n in 0..20 {
        world.publish(["a.b", "a.c", "a.d"][n % 3], n as u64);
    }
    let expected: Vec<u64> = (1..=20).collect();
    assert_eq!(world.numbers("s/1"), expected);
    assert_eq!(world.numbers("s/2"), expected);
}

#[test]
fn a_million_subscriptions_fit_an_owner() {
    let mut table = super::super::table::Table::default();
    let said = crate::topics::wire::Subscribe::to_pattern("a.b");
    let terms = table.terms(said).unwrap();
    let pattern = crate::topics::TopicPattern::new("a.b").unwrap();
    for serial in 1..=1_000_000 {
        let slot = table.next_slot();
        let identity = super::super::table::Identity {
            is_rooted: false,
            who: super::super::table::Who::Agent(
                AgentId::new(&format!("counter/{serial}")).unwrap(),
            ),
            name: None,
        };
        let it = super::super::table::Subscription {
            identity,
            pattern: pattern.clone(),
            terms: terms.clone(),
            serial,
            since: 1,
            sent: 0,
            filtered: 0,
            flow: None,
        };
        table.insert(slot, it);
    }
    let each = table.bytes() / 1_000_000;
    assert!(each <= 176, "{each} bytes");
    assert!(size_of::<Option<super::super::table::Subscription>>() <= 120);
    for slot in 0..1_000_000 {
        table.remove(999_999 - slot);
    }
    assert_eq!((table.len(), table.bytes()), (0, 0));
}
