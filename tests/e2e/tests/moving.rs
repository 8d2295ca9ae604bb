//! Agents move and sleep while messages flow: nothing is lost, repeated or reordered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::steps::Step;
use e2e::storm::{Storm, Victim, run};
use e2e::{Cluster, Report};
use phoenix_core::KindPolicy;

#[test]
fn one_agent_moves_there_and_back() {
    let cluster = Cluster::new(2, 1);
    let component = phoenix_support::guest("sequence");
    cluster.deploy("sequence", component, KindPolicy::default());
    let client = cluster.client(1);
    let _: Report = client.call("sequence/a", "report", ());
    let home = client.inspect("sequence/a").unwrap().info.node.0 as usize;
    let away = 3 - home;
    let incarnation = client.inspect("sequence/a").unwrap().incarnation;
    for round in 0..10 {
        let to = if round % 2 == 0 { away } else { home };
        client.call::<()>("sequence/a", "item", round + 1);
        client.migrate("sequence/a", to).unwrap();
        let detail = client.inspect("sequence/a").unwrap();
        assert_eq!(detail.info.node.0 as usize, to);
        assert_eq!(detail.incarnation, incarnation, "the same life");
        let report: Report = client.call("sequence/a", "report", ());
        assert_eq!(report.heard, round + 1);
    }
    let error = client.migrate("sequence/a", home).unwrap_err();
    assert!(error.to_string().contains("lives on"), "{error}");
}

/// All of it, without a node's death.
fn calm(seed: u64) -> Storm {
    Storm {
        seed,
        messages: 200_000,
        moves: 1_000,
        sleeps: 1_000,
        kills: None,
        waiting: false,
    }
}

/// A part of it, small enough for every run of the tests.
fn short(storm: Storm) -> Storm {
    Storm {
        messages: 40_000,
        moves: 200,
        sleeps: 200,
        ..storm
    }
}

#[test]
fn two_hundred_thousand_messages_through_a_thousand_moves_and_sleeps() {
    run(calm(2));
}

#[test]
fn messages_flow_while_targets_of_moves_are_killed() {
    run(short(Storm {
        kills: Some((Victim::Target, 4)),
        ..calm(20)
    }));
}

#[test]
fn messages_flow_while_sources_of_moves_are_killed() {
    run(short(Storm {
        kills: Some((Victim::Source, 4)),
        ..calm(21)
    }));
}

#[test]
fn replies_arrive_while_half_of_the_agents_wait() {
    run(short(Storm {
        waiting: true,
        ..calm(22)
    }));
}

#[test]
#[ignore = "a long run: CONTRIBUTING.md says how"]
fn two_hundred_thousand_messages_and_a_target_killed_at_each_step() {
    run(Storm {
        kills: Some((Victim::Target, Step::ALL.len() as u64)),
        ..calm(seed())
    });
}

#[test]
#[ignore = "a long run: CONTRIBUTING.md says how"]
fn two_hundred_thousand_messages_and_a_source_killed_at_each_step() {
    run(Storm {
        kills: Some((Victim::Source, Step::ALL.len() as u64)),
        ..calm(seed())
    });
}

#[test]
#[ignore = "a long run: CONTRIBUTING.md says how"]
fn two_hundred_thousand_messages_to_agents_of_which_half_wait() {
    run(Storm {
        waiting: true,
        ..calm(seed())
    });
}

/// The seed of a long run: `PHOENIX_SEED`, or another one each time. It is printed.
fn seed() -> u64 {
    let given = std::env::var("PHOENIX_SEED").ok();
    given.map_or_else(
        || u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    )
}
