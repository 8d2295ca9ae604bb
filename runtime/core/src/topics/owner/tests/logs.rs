use serde_json::json;

use super::*;
use crate::topics::wire::{Gap, Mark};

fn logged(log: Value) -> World {
    let mut world = World::new();
    let fields = json!({"pattern": "a.b", "log": log});
    world.ask("client/c", "configure", &fields).unwrap();
    world
}

fn marks(world: &World, to: &str) -> Vec<Mark> {
    let own = world.messages.iter().filter(|it| it.to == to);
    own.map(|it| it.event().mark.unwrap_or_default()).collect()
}

#[test]
fn a_log_is_replayed_and_goes_on_live() {
    let mut world = logged(json!({}));
    for data in 0..10 {
        world.publish("a.b", data);
        world.publish("a.x", data);
        world.now += 100;
    }
    // Its events are the odd numbers: offset 1 is number 1, offset 2 number 3, …
    for (agent, replay, first) in [
        ("s/all", "all", 1),
        ("s/last", "last 3", 15),
        ("s/from", "from 4", 7),
        ("s/since", "since 1450", 11),
        ("s/new", "new", 21),
        ("s/end", "from 11", 21),
    ] {
        let fields = json!({"pattern": "a.b", "replay": replay, "in_flight": 2});
        world.subscribe(agent, &fields);
        // In the midst of it.
        world.publish("a.x", 0);
        let _ = first;
    }
    let data = 99;
    world.publish("a.b", data);
    world.settle();
    let last = 27;
    for (agent, first) in [
        ("s/all", 1),
        ("s/last", 15),
        ("s/from", 7),
        ("s/since", 11),
        ("s/new", 27),
        ("s/end", 27),
    ] {
        let old = (first..20).step_by(2);
        let expected: Vec<u64> = old.chain([last]).collect();
        assert_eq!(world.numbers(agent), expected, "{agent}");
        let marks = marks(&world, agent);
        let (live, replayed) = marks.split_last().unwrap();
        assert!(live.is_empty() && replayed.iter().all(|it| it.replayed));
    }
    let error = world.ask(
        "s/x",
        "subscribe",
        &json!({"pattern": "a.b", "replay": "from 13"}),
    );
    assert!(error.unwrap_err().contains("the next is 12"));
}

#[test]
fn a_log_keeps_what_its_bounds_say_and_the_rest_is_a_gap() {
    for (log, kept) in [
        (json!({"count": 3}), 8..=10),
        (json!({"age_ms": 250}), 8..=10),
        (json!({"bytes": 700}), 8..=10),
    ] {
        let mut world = logged(log.clone());
        for data in 0..10 {
            world.now += 100;
            world.publish("a.b", data);
        }
        world.subscribe("s/1", &json!({"pattern": "a.b", "replay": "from 2"}));
        world.settle();
        assert_eq!(
            world.numbers("s/1"),
            kept.clone().collect::<Vec<_>>(),
            "{log}"
        );
        let gap = Some(Gap { from: 1, to: 7 });
        assert_eq!(
            marks(&world, "s/1")[0],
            Mark {
                gap,
                replayed: true,
                ..Mark::default()
            }
        );
        // All there is has no gap, nor has what begins later.
        for replay in ["all", "from 8", "last 9"] {
            let fields = json!({"pattern": "a.b", "name": replay, "replay": replay});
            world.subscribe("s/2", &fields);
        }
        world.settle();
        assert!(marks(&world, "s/2").iter().all(|it| it.gap.is_none()));
        assert_eq!(world.numbers("s/2").len(), 9);
        let listed = world.ask("client/c", "list", &json!({})).unwrap();
        let topic = &listed["topics"][0];
        let seen = (&topic["first"], &topic["next"], &topic["events"]);
        assert_eq!(seen, (&json!(8), &json!(11), &json!(3)));
    }
}

#[test]
fn one_that_is_too_slow_for_a_log_is_told_what_it_missed() {
    let mut world = logged(json!({"count": 4}));
    world.subscribe("s/1", &json!({"pattern": "a.b", "in_flight": 2}));
    world.subscribe(
        "s/2",
        &json!({"pattern": "a.b", "filter": "data < 4", "in_flight": 2}),
    );
    for data in 1..=10 {
        world.publish("a.b", data);
    }
    assert_eq!(world.numbers("s/1"), [1, 2], "it waits in the log");
    world.settle();
    assert_eq!(world.numbers("s/1"), [1, 2, 7, 8, 9, 10]);
    let gap = Some(Gap { from: 3, to: 6 });
    assert_eq!(
        marks(&world, "s/1")[2],
        Mark {
            gap,
            ..Mark::default()
        }
    );
    assert_eq!(world.owner.table.behind(), 0);
}

#[test]
fn offsets_are_not_used_again() {
    let mut world = logged(json!({"count": 2}));
    for data in 0..5 {
        world.publish("a.b", data);
    }
    world
        .ask("client/c", "configure", &json!({"pattern": "a.b"}))
        .unwrap();
    assert_eq!(world.publish("a.b", 5).get("offset"), None);
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.>", "log": {}}),
        )
        .unwrap();
    world.save_and_load();
    assert_eq!(world.publish("a.b", 6)["offset"], json!(6));
}

#[test]
fn all_logs_together_have_a_part_of_the_memory() {
    let mut world = World::new();
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.>", "log": {"bytes": 100 << 20}}),
        )
        .unwrap();
    let data = "x".repeat(900_000);
    for n in 0..50 {
        let fields = json!({"topic": format!("a.{n}"), "data": data});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    let bytes = world.owner.memory_bytes();
    assert!((MEMORY / 6..MEMORY / 3).contains(&bytes), "{bytes}");
    world.subscribe("s/1", &json!({"pattern": "a.>", "replay": "all"}));
    world.settle();
    // The oldest went, of whichever topic.
    let numbers = world.numbers("s/1");
    assert_eq!(numbers.last(), Some(&50));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[test]
fn a_retained_event_comes_first() {
    let mut world = World::new();
    let publish = |world: &mut World, topic: &str, data: Value| {
        let fields = json!({"topic": topic, "data": data, "retain": true});
        world.ask("client/c", "publish", &fields).unwrap();
    };
    publish(&mut world, "a.b", json!(1));
    publish(&mut world, "a.c", json!(2));
    publish(&mut world, "a.b", json!(3));
    world.publish("a.b", 4);
    for (agent, pattern) in [("s/1", "a.b"), ("s/2", "a.*"), ("s/3", "a.x")] {
        world.subscribe(agent, &json!({"pattern": pattern}));
    }
    world.publish("a.b", 5);
    assert_eq!(world.numbers("s/1"), [3, 5]);
    assert_eq!(world.numbers("s/2"), [3, 2, 5], "by topic");
    assert_eq!(world.numbers("s/3"), [0_u64; 0]);
    let retained = Mark {
        retained: true,
        ..Mark::default()
    };
    assert_eq!(marks(&world, "s/2"), [retained, retained, Mark::default()]);
    // Without data it ends.
    world
        .ask(
            "client/c",
            "publish",
            &json!({"topic": "a.b", "retain": true}),
        )
        .unwrap();
    world.save_and_load();
    world.subscribe("s/4", &json!({"pattern": "a.*"}));
    assert_eq!(world.numbers("s/4"), [2]);
}

#[test]
fn retained_events_have_a_part_of_the_memory() {
    let mut world = World::new();
    let data = "x".repeat(900_000);
    let error = (0..50).find_map(|n| {
        let fields = json!({"topic": format!("a.{n}"), "data": data, "retain": true});
        world.ask("client/c", "publish", &fields).err()
    });
    let expected = "full: the owner has bytes of retained events up to its bound, 8388600";
    assert_eq!(error.as_deref(), Some(expected));
    let bytes = world.owner.memory_bytes();
    assert!(bytes < MEMORY / 4, "{bytes}");
}

#[test]
fn what_is_of_no_use_any_more_is_not_replayed() {
    let mut world = logged(json!({}));
    let fields = json!({"topic": "a.b", "ttl_ms": 100});
    world.ask("client/c", "publish", &fields).unwrap();
    world.publish("a.b", 2);
    world.now += 100;
    world.subscribe("s/1", &json!({"pattern": "a.b", "replay": "all"}));
    assert_eq!(world.numbers("s/1"), [2]);
}
