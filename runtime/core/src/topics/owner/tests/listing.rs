use serde_json::json;

use super::*;
use crate::topics::wire::{ListedSubscription, SubscriptionCounts, Subscriptions};

fn listed(world: &mut World, fields: &Value) -> Subscriptions {
    let answer = world.ask("client/c", "subscriptions", fields).unwrap();
    serde_json::from_value(answer).unwrap()
}

fn one(world: &mut World, name: &str) -> ListedSubscription {
    let all = listed(world, &json!({})).subscriptions;
    let own = all.into_iter().filter(|it| it.name == name);
    let [one] = <[_; 1]>::try_from(own.collect::<Vec<_>>()).unwrap();
    one
}

fn log(world: &mut World, pattern: &str, count: u64) {
    let fields = json!({"pattern": pattern, "log": {"count": count}});
    world.ask("client/c", "configure", &fields).unwrap();
}

#[test]
fn a_subscription_is_listed_on_its_terms() {
    let mut world = World::new();
    world.is_moved = true;
    let fields = json!({"pattern": "a.>", "filter": "data > 1", "name": "mine", "in_flight": 7,
        "delivery": "at-least-once", "overflow": "drop-newest"});
    world.subscribe("s/1", &fields);
    let fields = json!({"pattern": "a.b", "to": "v/{data.x}", "delivery": "at-most-once",
        "method": "hear"});
    world.ask("client/c", "subscribe", &fields).unwrap();
    let declare =
        json!({"kind": "k", "version": 1, "subscriptions": [{"pattern": "a.d", "to": "k/x"}]});
    world.ask("sys/node", "declare", &declare).unwrap();
    let answer = world.ask("s/1", "subscriptions", &json!({})).unwrap();
    let none = serde_json::to_value(SubscriptionCounts::default()).unwrap();
    let expected = json!({
        "space": "a", "epoch": 1_000, "number": 0,
        "subscriptions": [
            {"name": "mine", "pattern": "a.>", "subscriber": "s/1", "method": "on_event",
             "form": "event", "filter": "data > 1", "delivery": "at-least-once",
             "overflow": "drop-newest", "in_flight": 0, "max_in_flight": 7, "behind": 0,
             "counts": none},
            {"name": "a.b v/{data.x}", "pattern": "a.b", "to": "v/{data.x}", "method": "hear",
             "form": "data", "delivery": "at-most-once", "behind": 0, "counts": none},
            {"name": "a.d k/x", "pattern": "a.d", "kind": "k", "to": "k/x",
             "method": "on_event", "form": "event", "overflow": "block", "in_flight": 0,
             "max_in_flight": 256, "behind": 0, "counts": none},
        ],
    });
    assert_eq!(answer, expected);
}

#[test]
fn what_became_of_events_is_counted_for_each() {
    let mut world = World::new();
    world.is_moved = true;
    for (agent, fields) in [
        ("s/1", json!({"pattern": "a.>", "name": "all"})),
        (
            "s/2",
            json!({"pattern": "a.b", "name": "some", "filter": "data.n > 1"}),
        ),
        (
            "s/3",
            json!({"pattern": "a.b", "name": "dear",
                "filter": "data.l.all(a, data.l.all(b, data.l.all(c, data.l.all(d, a < 99))))"}),
        ),
        (
            "client/c",
            json!({"pattern": "a.b", "name": "ip", "to": "v/{data.ip}"}),
        ),
        (
            "s/4",
            json!({"pattern": "a.b", "name": "few", "in_flight": 1, "overflow": "drop-newest"}),
        ),
    ] {
        world.ask(agent, "subscribe", &fields).unwrap();
    }
    let long: Vec<u64> = (0..60).collect();
    for data in [
        json!({"n": 1, "l": [], "ip": "::1"}),
        json!({"n": 2, "l": long}),
        json!({"l": []}),
        json!(7),
    ] {
        let fields = json!({"topic": "a.b", "data": data});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    world.publish("a.c", 1);
    let none = SubscriptionCounts::default();
    for (name, expected) in [
        ("all", SubscriptionCounts { sent: 5, ..none }),
        (
            "some",
            SubscriptionCounts {
                sent: 1,
                filtered: 1,
                filter_failed: 2,
                ..none
            },
        ),
        (
            "dear",
            SubscriptionCounts {
                sent: 2,
                filter_failed: 1,
                filter_cut_off: 1,
                ..none
            },
        ),
        (
            "ip",
            SubscriptionCounts {
                sent: 1,
                no_receiver: 3,
                ..none
            },
        ),
        (
            "few",
            SubscriptionCounts {
                sent: 1,
                dropped: 3,
                ..none
            },
        ),
    ] {
        assert_eq!(one(&mut world, name).counts, expected, "{name}");
    }
    assert_eq!(one(&mut world, "few").in_flight, Some(1));
    world.end_as(0, false);
    let few = one(&mut world, "few");
    assert_eq!((few.in_flight, few.counts.not_applied), (Some(0), 1));
    // All of them together are what the owner has counted.
    let all = listed(&mut world, &json!({})).subscriptions;
    let sum = |of: fn(&SubscriptionCounts) -> u64| all.iter().map(|it| of(&it.counts)).sum::<u64>();
    let counts = world.owner.counts;
    assert_eq!(sum(|it| it.sent), counts.sent);
    assert_eq!(
        sum(|it| it.filter_failed + it.filter_cut_off),
        counts.filter_failed
    );
    assert_eq!(sum(|it| it.no_receiver), counts.no_receiver);
    assert_eq!(sum(|it| it.dropped), counts.dropped);
    assert_eq!(sum(|it| it.not_applied), counts.not_applied);
    // On other terms it goes on.
    let fields = json!({"pattern": "a.b", "name": "some", "filter": "data.n > 5"});
    world.subscribe("s/2", &fields);
    assert_eq!(one(&mut world, "some").counts.sent, 1);
    // With another pattern it begins.
    let fields = json!({"pattern": "a.*", "name": "some"});
    world.subscribe("s/2", &fields);
    assert_eq!(one(&mut world, "some").counts, none);
}

#[test]
fn it_is_as_far_behind_as_events_wait_for_it() {
    let mut world = World::new();
    world.is_moved = true;
    log(&mut world, "a.log.*", 5);
    world.subscribe("s/1", &json!({"pattern": "a.log.x", "in_flight": 1}));
    world.subscribe("s/2", &json!({"pattern": "a.log.*", "in_flight": 1}));
    let behind = |world: &mut World| {
        let (x, any) = (one(world, "a.log.x"), one(world, "a.log.*"));
        assert!(!x.at_most && !any.at_most);
        (x.behind, any.behind)
    };
    world.publish("a.log.x", 0);
    assert_eq!(behind(&mut world), (0, 0));
    for n in 0..4 {
        world.publish("a.log.x", n);
        world.publish("a.log.y", n);
    }
    assert_eq!(behind(&mut world), (4, 8));
    // The second one of them all goes, and both miss it.
    world.publish("a.log.x", 9);
    world.publish("a.log.x", 9);
    assert_eq!(behind(&mut world), (5, 9));
    assert_eq!(one(&mut world, "a.log.x").counts.missed, 1);
    world.settle();
    assert_eq!(behind(&mut world), (0, 0));
    assert_eq!(one(&mut world, "a.log.x").counts.sent, 6);
}

#[test]
fn too_many_events_to_look_at_are_so_many_at_most() {
    let mut world = World::new();
    log(&mut world, "a.>", 100_000);
    world.subscribe("s/1", &json!({"pattern": "a.*", "in_flight": 1}));
    world.subscribe("s/2", &json!({"pattern": "a.b", "in_flight": 1}));
    for n in 0..=super::super::LOOKS_A_TURN as u64 {
        world.publish("a.b", n);
    }
    world.publish("a.x.y", 0);
    let any = one(&mut world, "a.*");
    assert_eq!((any.behind, any.at_most), (10_001, true));
    // Of one topic's log it is known without a look at each.
    let only = one(&mut world, "a.b");
    assert_eq!((only.behind, only.at_most), (10_000, false));
}

#[test]
fn a_member_is_listed_with_its_group() {
    let mut world = World::new();
    world.is_moved = true;
    log(&mut world, "a.>", 100);
    for agent in ["w/1", "w/2"] {
        let fields = json!({"pattern": "a.>", "name": agent, "group": "g", "in_flight": 1,
            "filter": "data > 1", "strategy": "least-outstanding"});
        world.subscribe(agent, &fields);
    }
    for n in 0..6 {
        world.publish("a.b", n);
    }
    let first = one(&mut world, "w/1");
    assert_eq!(first.group.as_deref(), Some("g"));
    assert_eq!(first.strategy.unwrap().to_string(), "least-outstanding");
    assert_eq!((first.weight, first.in_flight), (Some(1), Some(1)));
    assert_eq!(first.behind, 2);
    assert_eq!((first.counts.sent, first.counts.filtered), (1, 2));
    // Not applied, it goes to the other one.
    world.end_as(0, false);
    while !world.under_way.is_empty() {
        world.end(0);
    }
    let (first, second) = (one(&mut world, "w/1"), one(&mut world, "w/2"));
    assert_eq!(first.counts.sent + second.counts.sent, 5);
    assert_eq!((first.counts.redelivered, first.counts.not_applied), (1, 1));
    assert_eq!((first.behind, first.in_flight), (0, Some(0)));
}

#[test]
fn a_list_is_in_pages() {
    let mut world = World::new();
    for n in 0..250 {
        world.subscribe(&format!("s/{n}"), &json!({"pattern": "a.b"}));
    }
    for n in (0..250).filter(|n| n % 5 == 1) {
        let gone = world.ask(&format!("s/{n}"), "unsubscribe", &json!({"name": "a.b"}));
        assert_eq!(gone, Ok(json!({"was": true})));
    }
    for max in [1, 7, 100, 1_000] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = listed(&mut world, &json!({"after": after, "max": max}));
            assert!(page.subscriptions.len() <= max);
            let own = page.subscriptions.into_iter();
            seen.extend(own.map(|it| it.subscriber.unwrap()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected = (0..250).filter(|n| n % 5 != 1).map(|n| format!("s/{n}"));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "{max}");
    }
    let past = listed(&mut world, &json!({"after": u64::MAX}));
    assert_eq!((past.subscriptions.len(), past.next), (0, None));
    for (fields, said) in [
        (json!({"max": 0}), "field `max`: 0: it must be 1 to 1000"),
        (json!({"max": 1_001}), "it must be 1 to 1000"),
        (json!({"from": 1}), "unknown field `from`"),
    ] {
        let refused = world.ask("s/1", "subscriptions", &fields).unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn a_page_has_its_bound_in_bytes() {
    let mut world = World::new();
    let filter = format!("data.x == '{}'", "é".repeat(2_000));
    for n in 0..100 {
        let fields = json!({"pattern": "a.b", "filter": filter});
        world.subscribe(&format!("s/{n}"), &fields);
    }
    let page = listed(&mut world, &json!({}));
    let count = page.subscriptions.len();
    assert!((40..60).contains(&count), "{count}");
    assert_eq!(page.next, Some(count as u64));
}
