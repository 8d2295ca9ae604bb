//! No ask ends with `deadlock` that was never the youngest of a circle, and no
//! circle lasts.

use proptest::prelude::*;

use crate::world::{Case, World};

/// Cases of each property.
const CASES: u32 = 10_000;

/// How long a circle may last where nothing is lost, milliseconds.
const WITHIN: u64 = 100;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    /// Nothing is lost, everything takes its time: every circle ends within 100 ms.
    #[test]
    fn circles_are_found_and_nothing_else_is(
        seed: u64, agents in 1_usize..5, messages in 1_u64..7, delay in 0_u64..3, work in 0_u64..4,
    ) {
        let mut world = World::new(Case {
            seed, agents, messages, delay, work, loss: 0, deadline_ms: 1_000,
        });
        while world.now < 400 {
            world.step();
            if let Some((ask, since)) = world.graph.oldest_circle() {
                prop_assert!(world.now <= since + WITHIN, "{ask:?} waits since {since}");
            }
        }
        finish(&mut world);
    }

    /// Notices are lost and repeated, guests are slow, and asks run out while probes
    /// are on their way: still nothing is found that was not there.
    #[test]
    fn nothing_is_found_that_was_not_there(
        seed: u64, agents in 1_usize..5, messages in 1_u64..7, delay in 0_u64..30,
        work in 0_u64..30, deadline_ms in 10_u32..200,
    ) {
        let mut world = World::new(Case {
            seed, agents, messages, delay, work, loss: 20, deadline_ms,
        });
        finish(&mut world);
    }
}

/// Lets it come to its end: whatever is not found runs out.
fn finish(world: &mut World) {
    while world.now < 100 || world.pending() > 0 {
        world.step();
        assert!(world.now < 60_000, "it never ends: {:?}", world.graph);
    }
    let (counted, seen) = world.deadlocks();
    assert_eq!(counted, seen, "what is counted and what is told");
}

/// The cases are worth something: circles come up in them, and are found.
#[test]
fn circles_come_up() {
    let (mut circles, mut found) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(Case {
            seed,
            agents: 3,
            messages: 5,
            delay: 2,
            work: 2,
            loss: 0,
            deadline_ms: 1_000,
        });
        finish(&mut world);
        circles += world.graph.circles;
        found += world.deadlocks().0;
    }
    assert!(
        circles > 200 && found > 100,
        "{circles} circles, {found} found"
    );
}
