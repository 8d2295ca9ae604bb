use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::topics::wire::Gap;

fn members(world: &mut World, count: usize, more: &Value) {
    for n in 0..count {
        let mut fields = json!({"pattern": "a.>", "group": "g"});
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        world.subscribe(&format!("s/{n}"), &fields);
    }
}

#[test]
fn each_event_goes_to_one_member() {
    let mut world = World::new();
    members(&mut world, 3, &json!({}));
    world.subscribe("s/all", &json!({"pattern": "a.>"}));
    for data in 0..30 {
        let answer = world.publish("a.b", data);
        assert_eq!(answer["matched"], json!(2));
    }
    let mut all = Vec::new();
    for n in 0..3 {
        let own = world.numbers(&format!("s/{n}"));
        assert_eq!(own.len(), 10);
        all.extend(own);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=30).collect::<Vec<_>>());
    assert_eq!(world.numbers("s/all"), all);
}

#[test]
fn events_of_a_key_go_to_one_member() {
    let mut world = World::new();
    members(
        &mut world,
        4,
        &json!({"strategy": "consistent-hash:user", "in_flight": 100}),
    );
    for n in 0..100 {
        let fields = json!({"topic": "a.b", "attributes": {"user": n % 10}, "data": n % 10});
        world.ask("client/c", "publish", &fields).unwrap();
    }
    let mut seen: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for message in &world.messages {
        let user = message.event().data.unwrap().as_u64().unwrap();
        seen.entry(user).or_default().insert(message.to.clone());
    }
    assert!(seen.values().all(|it| it.len() == 1), "{seen:?}");
    let used: BTreeSet<_> = seen.into_values().flatten().collect();
    assert!(used.len() > 1, "{used:?}");
}

#[test]
fn what_one_did_not_apply_goes_to_another() {
    let mut world = World::new();
    members(&mut world, 2, &json!({}));
    world.publish("a.b", 1);
    assert_eq!(world.numbers("s/0"), [1]);
    world.end_as(0, false);
    assert_eq!(world.numbers("s/1"), [1]);
    assert!(world.messages[1].event().mark.unwrap().redelivered);
    // Neither of them.
    world.end_as(0, false);
    assert_eq!(world.messages.len(), 2);
    let counts = world.owner.counts;
    assert_eq!(
        (counts.redelivered, counts.given_up, counts.not_applied),
        (1, 1, 2)
    );
    assert!(world.owner.queues.all[&0].kept.is_empty());
}

#[test]
fn events_wait_for_a_member_with_room() {
    let mut world = World::new();
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.b", "log": {"count": 4}}),
        )
        .unwrap();
    members(&mut world, 2, &json!({"in_flight": 1}));
    for data in 1..=10 {
        world.publish("a.b", data);
    }
    assert_eq!(world.messages.len(), 2);
    world.settle();
    let numbers: Vec<u64> = world.messages.iter().map(Message::number).collect();
    assert_eq!(numbers, [1, 2, 7, 8, 9, 10]);
    let mark = world.messages[2].event().mark.unwrap();
    assert_eq!(mark.gap, Some(Gap { from: 3, to: 6 }));
    assert_eq!(world.owner.counts.missed, 4);
}

#[test]
fn a_group_begins_where_its_first_member_says() {
    let mut world = World::new();
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.b", "log": {}}),
        )
        .unwrap();
    for data in 1..=5 {
        world.publish("a.b", data);
    }
    members(&mut world, 1, &json!({"replay": "last 3"}));
    members(&mut world, 2, &json!({}));
    world.publish("a.b", 6);
    world.settle();
    let mut numbers: Vec<u64> = world.messages.iter().map(Message::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 4, 5, 6]);
}

#[test]
fn members_agree_on_what_they_want() {
    let mut world = World::new();
    members(&mut world, 1, &json!({"filter": "data > 1"}));
    let fields = json!({"pattern": "a.>", "group": "g"});
    let error = world.ask("s/9", "subscribe", &fields).unwrap_err();
    assert!(
        error.contains("the filter of `g` is data > 1: members of a group have the same"),
        "{error}"
    );
    let fields = json!({"pattern": "a.>", "group": "g", "overflow": "reject"});
    let error = world.ask("s/9", "subscribe", &fields).unwrap_err();
    assert!(error.contains("field `overflow`"), "{error}");
    // The only one may change its mind.
    members(&mut world, 1, &json!({"filter": "data > 2"}));
    world.publish("a.b", 2);
    assert_eq!(world.messages, []);
    world
        .ask("s/0", "unsubscribe", &json!({"name": "a.>"}))
        .unwrap();
    assert!(world.owner.queues.all.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Join(u8, u32),
    Leave(u8),
    End(prop::sample::Index, bool),
    Tick,
    Room(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8).prop_map(Step::Publish),
        2 => (0..4_u8, 1..3_u32).prop_map(|(member, window)| Step::Join(member, window)),
        1 => (0..4_u8).prop_map(Step::Leave),
        4 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8))
            .prop_map(|(at, applied)| Step::End(at, applied)),
        2 => Just(Step::Tick),
        1 => (0..4_usize).prop_map(Step::Room),
    ];
    proptest::collection::vec(step, 0..16)
}

fn run(steps: &[Step], strategy: &str, is_moved: bool) -> Result<World, TestCaseError> {
    let mut world = World::new();
    world.is_moved = is_moved;
    let join = |world: &mut World, member: u8, in_flight: u32| {
        let fields = json!({"pattern": "a.>", "group": "g", "strategy": strategy,
            "in_flight": in_flight, "weight": member + 1});
        world.subscribe(&format!("s/{member}"), &fields);
    };
    // One stays, so that nothing is lost with the last.
    join(&mut world, 9, 1);
    let (mut number, mut ended) = (0, BTreeMap::new());
    for step in steps {
        match step {
            Step::Publish(key) => {
                number += 1;
                let fields = json!({"topic": "a.b", "key": key.to_string(), "data": key});
                world.ask("client/c", "publish", &fields).unwrap();
            }
            Step::Join(member, window) => join(&mut world, *member, *window),
            Step::Leave(member) => {
                let fields = json!({"name": "a.>"});
                world
                    .ask(&format!("s/{member}"), "unsubscribe", &fields)
                    .unwrap();
            }
            Step::End(at, is_applied) => {
                if !world.under_way.is_empty() {
                    let at = at.index(world.under_way.len());
                    let token = world.under_way[at];
                    let of = world
                        .messages
                        .iter()
                        .find(|it| it.token == Some(token))
                        .unwrap();
                    let applied = ended.entry(of.number()).or_insert(0);
                    *applied += u32::from(*is_applied);
                    world.end_as(at, *is_applied);
                }
            }
            Step::Tick => world.tick(),
            Step::Room(more) => world.room = super::super::sends::KEPT_MESSAGES + 1 + more,
        }
    }
    world.settle();
    // Each went to somebody, in order the first time; again only if it was not applied.
    let mut seen: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut last = 0;
    for message in &world.messages {
        let event = message.event();
        let is_again = event.mark.is_some_and(|mark| mark.redelivered);
        prop_assert_eq!(seen.contains_key(&event.number), is_again);
        if !is_again {
            prop_assert!(event.number == last + 1, "{} after {last}", event.number);
            last = event.number;
        }
        seen.entry(event.number).or_default().insert(&message.to);
    }
    prop_assert_eq!(last, number);
    prop_assert!(ended.values().all(|applied| *applied <= 1));
    let queue = &world.owner.queues.all[&0];
    prop_assert!(queue.kept.is_empty() && queue.behind.is_none());
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_group_gets_each_event_whoever_owns_it(
        steps in steps(),
        strategy in proptest::sample::select(vec![
            "round-robin", "weighted-round-robin", "least-outstanding", "response-time",
            "consistent-hash",
        ]),
    ) {
        let stayed = run(&steps, strategy, false)?;
        let moved = run(&steps, strategy, true)?;
        prop_assert_eq!(&stayed.messages, &moved.messages);
        prop_assert_eq!(stayed.save(), moved.save());
    }
}
