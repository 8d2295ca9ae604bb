//! An owner against a plain recomputation of what each subscription is to get.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::topics::{TopicName, TopicPattern};

const TOPICS: [&str; 5] = ["a.b", "a.c", "a.b.c", "a.log.x", "a.log.y"];
const PATTERNS: [&str; 6] = ["a.b", "a.*", "a.>", "a.log.x", "a.log.*", "a.*.c"];
const OVERFLOWS: [&str; 4] = ["block", "drop-oldest", "drop-newest", "reject"];

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    /// Which agent, pattern, policy, window, and how many are replayed.
    Subscribe(u8, usize, usize, u32, Option<u64>),
    Unsubscribe(u8),
    End(prop::sample::Index),
    Tick,
    Move,
    Room(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let subscribe = (
        0..5_u8,
        0..PATTERNS.len(),
        0..OVERFLOWS.len(),
        1..4_u32,
        proptest::option::of(0..6_u64),
    );
    let step = prop_oneof![
        8 => (0..TOPICS.len()).prop_map(Step::Publish),
        4 => subscribe.prop_map(|(agent, pattern, overflow, window, replay)| {
            Step::Subscribe(agent, pattern, overflow, window, replay)
        }),
        1 => (0..5_u8).prop_map(Step::Unsubscribe),
        4 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => Just(Step::Tick),
        1 => Just(Step::Move),
        1 => (0..6_usize).prop_map(Step::Room),
    ];
    proptest::collection::vec(step, 0..24)
}

/// A subscription as it was asked for, and what it is to get.
struct Expected {
    method: String,
    pattern: TopicPattern,
    overflow: &'static str,
    numbers: Vec<u64>,
    /// Whether the events that it gets by now have to be all.
    is_over: bool,
}

fn is_logged(topic: &str) -> bool {
    topic.starts_with("a.log.")
}

/// Runs steps; what was sent, and the owner in the end.
fn run(steps: &[Step], is_moved: bool) -> Result<World, TestCaseError> {
    let mut world = World::new();
    world.is_moved = is_moved;
    world
        .ask(
            "client/c",
            "configure",
            &json!({"pattern": "a.log.>", "log": {}}),
        )
        .unwrap();
    let mut events: Vec<&str> = Vec::new();
    let mut live: BTreeMap<u8, usize> = BTreeMap::new();
    let mut all: Vec<Expected> = Vec::new();
    for step in steps {
        match step {
            Step::Publish(topic) => {
                let topic = TOPICS[*topic];
                events.push(topic);
                let number = events.len() as u64;
                let answer = world.publish(topic, number);
                prop_assert_eq!(&answer["number"], &json!(number));
                let name = TopicName::new(topic).unwrap();
                for at in live.values() {
                    let expected = &mut all[*at];
                    if expected.pattern.matches(&name) {
                        expected.numbers.push(number);
                    }
                }
            }
            Step::Subscribe(agent, pattern, overflow, in_flight, replay) => {
                // A method of its own tells whose a message is.
                let method = format!("m{}", all.len());
                let pattern = PATTERNS[*pattern];
                let mut fields = json!({"pattern": pattern, "name": "n", "method": method,
                    "overflow": OVERFLOWS[*overflow], "in_flight": in_flight});
                // Once more it begins anew.
                fields["replay"] = match replay {
                    None => json!("new"),
                    Some(count) => json!(format!("last {count}")),
                };
                world.subscribe(&format!("s/{agent}"), &fields);
                let pattern = TopicPattern::new(pattern).unwrap();
                let old = (1..)
                    .zip(&events)
                    .filter(|(_, topic)| pattern.matches(&TopicName::new(topic).unwrap()));
                let old: Vec<u64> = old.map(|(number, _)| number).collect();
                let count = usize::try_from(replay.unwrap_or_default()).unwrap();
                let numbers = old[old.len() - count.min(old.len())..].to_vec();
                if let Some(before) = live.insert(*agent, all.len()) {
                    all[before].is_over = true;
                }
                all.push(Expected {
                    method,
                    pattern,
                    overflow: OVERFLOWS[*overflow],
                    numbers,
                    is_over: false,
                });
            }
            Step::Unsubscribe(agent) => {
                let answer = world.ask(&format!("s/{agent}"), "unsubscribe", &json!({"name": "n"}));
                let was = live.remove(agent);
                prop_assert_eq!(answer, Ok(json!({"was": was.is_some()})));
                if let Some(before) = was {
                    all[before].is_over = true;
                }
            }
            Step::End(at) => {
                if !world.under_way.is_empty() {
                    let at = at.index(world.under_way.len());
                    world.end(at);
                }
            }
            Step::Tick => world.tick(),
            Step::Move => world.save_and_load(),
            Step::Room(more) => {
                world.room = super::super::sends::KEPT_MESSAGES + 1 + more;
            }
        }
    }
    world.settle();
    for expected in &all {
        let sent = world
            .messages
            .iter()
            .filter(|it| it.method == expected.method);
        let sent: Vec<Received<Value>> = sent.map(Message::event).collect();
        let numbers: Vec<u64> = sent.iter().map(|it| it.number).collect();
        // Each at most once, in the order of the topic.
        prop_assert!(
            numbers.is_sorted_by(|one, other| one < other),
            "{numbers:?}"
        );
        if expected.is_over {
            prop_assert!(numbers.iter().all(|it| expected.numbers.contains(it)));
            continue;
        }
        if expected.overflow != "drop-newest" {
            prop_assert_eq!(&numbers, &expected.numbers, "{}", expected.method);
            continue;
        }
        // What is not there was told.
        let mut from = 0;
        for event in &sent {
            let missing = expected
                .numbers
                .iter()
                .filter(|it| (from..event.number).contains(*it));
            let missing: Vec<u64> = missing.copied().collect();
            let gap = event.mark.and_then(|mark| mark.gap);
            let told = gap.map(|gap| (gap.from, gap.to));
            let ends = missing.first().copied().zip(missing.last().copied());
            prop_assert_eq!(told, ends, "{} before {}", &expected.method, event.number);
            prop_assert!(expected.numbers.contains(&event.number));
            from = event.number + 1;
        }
    }
    for message in &world.messages {
        let event = message.event();
        prop_assert_eq!(event.offset.is_some(), is_logged(&event.topic));
        prop_assert_eq!(event.data, Some(json!(event.number)));
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn each_gets_its_own_once_in_order_whoever_owns_it(steps in steps()) {
        let stayed = run(&steps, false)?;
        // Another owner before each turn changes nothing.
        let moved = run(&steps, true)?;
        prop_assert_eq!(&stayed.messages, &moved.messages);
        prop_assert_eq!(stayed.save(), moved.save());
    }
}
