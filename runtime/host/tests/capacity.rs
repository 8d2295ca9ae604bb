//! What a resident agent costs the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::{admit, policy, start, turn};
use phoenix_core::KindPolicy;
use phoenix_host::{Component, HostConfig, InstanceError};
use phoenix_support::{guest, zoo};

/// Agents that are made.
const AGENTS: usize = 200;

/// The bound the host reckons with when it computes how many agents fit.
const MAPPINGS_PER_AGENT: usize = 6;

/// Mappings are counted for the process: tests that make agents take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

/// Makes agents, lets each run a turn, and counts what all of them take.
fn assert_mappings(component: &Arc<Component>, policy: &KindPolicy, method: &str, argument: &str) {
    let before = mappings();
    let agents: Vec<_> = (0..AGENTS)
        .map(|_| {
            let mut agent = component.instantiate(policy).unwrap();
            turn(&mut agent, 0, method, argument).unwrap();
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
fn an_agent_takes_no_more_mappings_than_reckoned() {
    let _alone = alone();
    let host = start(HostConfig {
        max_resident: Some(256),
        ..HostConfig::default()
    });
    let component = admit(&host, guest("plain-rust"));
    assert_mappings(&component, &policy(), "everything", "\"a b\"");
}

#[test]
fn nor_does_one_that_writes_to_all_tables_of_its_place() {
    let _alone = alone();
    let host = start(HostConfig {
        max_resident: Some(256),
        ..HostConfig::default()
    });
    let (mut module, mut grow) = (String::new(), String::new());
    for table in 0..4 {
        module.push_str(&format!(
            "(table $t{table} 1 funcref) (elem declare func $alloc) "
        ));
        grow.push_str(&format!(
            "(drop (table.grow $t{table} (ref.func $alloc) (i32.const 15000))) "
        ));
    }
    let bytes = zoo::Framed {
        module: &module,
        on_turns: &grow,
        ..zoo::Framed::default()
    }
    .component();
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    let component = host.admit(&bytes, &pinned).unwrap();
    assert_mappings(&component, &pinned, "any", "");
}

/// An agent of so many memories and tables that cannot move.
fn large(memories: usize, tables: usize) -> Vec<u8> {
    let module = "(table 10 funcref) ".repeat(tables);
    let after = "(core instance (instantiate $other)) ".repeat(memories - 1);
    let after = format!("(core module $other (memory 1)) {after}");
    zoo::Framed {
        module: &module,
        after: &after,
        ..zoo::Framed::default()
    }
    .component()
}

#[test]
fn those_that_need_more_leave_the_others_their_places() {
    let _alone = alone();
    const PLACES: u32 = 32;
    let host = start(HostConfig {
        max_resident: Some(PLACES),
        ..HostConfig::default()
    });
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    let counter = admit(&host, guest("ping"));
    for (memories, tables, takes) in [(1, 4, 1), (2, 1, 2), (4, 1, 4), (1, 5, 2), (4, 16, 4)] {
        let component = host.admit(&large(memories, tables), &pinned).unwrap();
        let mut agents = Vec::new();
        let full = loop {
            match component.instantiate(&pinned) {
                Ok(agent) => agents.push(agent),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(full, InstanceError::Full { limit: PLACES }),
            "{memories} memories, {tables} tables: {full}"
        );
        assert_eq!(
            agents.len(),
            (PLACES / takes) as usize,
            "{memories} {tables}"
        );
        // Everybody has what is there, and nobody is at fault.
        agents.pop();
        let places: Vec<_> = (0..takes)
            .map(|_| counter.instantiate(&policy()).unwrap())
            .collect();
        assert!(matches!(
            counter.instantiate(&policy()).unwrap_err(),
            InstanceError::Full { .. }
        ));
        drop(places);
    }
}

#[test]
fn one_that_needs_more_places_than_there_are_is_refused() {
    let _alone = alone();
    let host = start(HostConfig {
        max_resident: Some(3),
        ..HostConfig::default()
    });
    let pinned = KindPolicy {
        movable: false,
        ..policy()
    };
    host.admit(&large(3, 1), &pinned).unwrap();
    let error = host.admit(&large(4, 1), &pinned).unwrap_err();
    assert!(error.to_string().contains("max-resident"), "{error}");
}

#[test]
fn the_computed_number_of_places_is_set_up() {
    let _alone = alone();
    let host = phoenix_host::Host::start(HostConfig::default()).unwrap();
    assert!(host.max_resident() >= 16);
}
