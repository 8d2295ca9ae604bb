//! What a resident agent costs the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use common::{admit, policy, start, turn};
use phoenix_host::HostConfig;
use phoenix_support::guest;

/// Agents that are made.
const AGENTS: usize = 200;

/// The bound the host reckons with when it computes how many agents fit.
const MAPPINGS_PER_AGENT: usize = 6;

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

#[test]
fn an_agent_takes_no_more_mappings_than_reckoned() {
    let host = start(HostConfig {
        max_resident: Some(256),
        ..HostConfig::default()
    });
    let component = admit(&host, guest("plain-rust"));
    let before = mappings();
    let agents: Vec<_> = (0..AGENTS)
        .map(|_| {
            let mut agent = component.instantiate(&policy()).unwrap();
            turn(&mut agent, 0, "everything", "\"a b\"").unwrap();
            agent
        })
        .collect();
    let taken = mappings() - before;
    assert!(
        taken <= AGENTS * MAPPINGS_PER_AGENT,
        "{taken} mappings for {AGENTS} agents"
    );
    drop(agents);
}

#[test]
fn the_computed_number_of_places_is_set_up() {
    let host = phoenix_host::Host::start(HostConfig::default()).unwrap();
    assert!(host.max_resident() >= 16);
}
