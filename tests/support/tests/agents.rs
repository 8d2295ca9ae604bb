//! The sample agents build.

use phoenix_build::World;
use phoenix_support::agent;

#[test]
fn the_counter_is_a_framed_agent() {
    assert_eq!(World::of(agent("counter")), Ok(World::Framed));
}
