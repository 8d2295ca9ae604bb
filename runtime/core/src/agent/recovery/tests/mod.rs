//! Histories of a durable agent that end in crashes, beside ones that do not.

mod canon;
mod entries;
mod guest;
mod streams;
mod world;

use world::World;

/// Histories, each with crashes of its own.
const CASES: u64 = 10_000;
const STEPS: u64 = 120;

#[test]
fn what_is_durable_comes_back_and_nothing_else() {
    let (mut crashes, mut renewals, mut compared, mut kinds) = (0, 0, 0, [0; 5]);
    let mut overtaken = 0;
    // Set where it is compiled, to run one case.
    let only: Option<u64> = option_env!("PHOENIX_SEED").map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..CASES, |seed| seed..seed + 1);
    for seed in seeds {
        // Shown if the case fails.
        println!("PHOENIX_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.crash();
        world.end();
        crashes += world.crashes;
        renewals += world.renewals;
        compared += world.compared;
        overtaken += world.overtaken;
        for (sum, count) in kinds.iter_mut().zip(world.kinds) {
            *sum += count;
        }
    }
    if only.is_none() {
        println!(
            "{crashes} crashes, {renewals} renewals, {compared} compared, {overtaken} split, \
             entries {kinds:?}"
        );
        assert!(renewals > 1_000, "{renewals}");
        assert!(overtaken > 100, "{overtaken}");
        assert!(compared > 10_000, "{compared} of {crashes}");
        assert!(kinds[..4].iter().all(|kind| *kind > 1_000), "{kinds:?}");
    }
}
