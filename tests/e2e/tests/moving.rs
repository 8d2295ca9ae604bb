//! Agents move and sleep while messages flow: nothing is lost, repeated or reordered.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc;

use e2e::steps::Step;
use e2e::storm::{Storm, Victim, run};
use e2e::{Cluster, PATIENCE, Report, eventually};
use phoenix_core::control::Request;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{AgentId, KindPolicy, NodeId, PeerMessage};

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

/// Sends the agent messages from another one on the first node, and waits until
/// each has its verdict.
fn reach(cluster: &Cluster, agent: &str, first: u64) {
    let client = cluster.client(1);
    client.call::<()>("sequence/from", "burst", (&[agent], first, 2));
    eventually("the messages have their verdicts", || {
        client.inspect("sequence/from").unwrap().outbox == 0
    });
}

#[test]
fn an_agent_that_was_stopped_elsewhere_can_live_where_its_senders_are() {
    // Nothing is known of its last life, which would keep it where it was.
    let cluster = Cluster::tuned(2, 1, |config| config.stopped_kept = 0);
    let component = phoenix_support::guest("sequence");
    cluster.deploy("sequence", component, KindPolicy::default());
    let client = cluster.client(1);
    client.spawn("sequence/from", 1);
    let mut homes = [0, 0, 0];
    for n in 0..16 {
        let agent = format!("sequence/{n}");
        client.spawn(&agent, 2);
        reach(&cluster, &agent, 1);
        let stop = Request::Stop {
            agent: AgentId::new(&agent).unwrap(),
        };
        client.request(stop).unwrap();
        // Its next life begins where the directory chooses.
        reach(&cluster, &agent, 3);
        homes[client.inspect(&agent).unwrap().info.node.0 as usize] += 1;
    }
    assert!(homes[1] > 0 && homes[2] > 0, "{homes:?}");
}

#[test]
fn an_agent_that_was_lost_on_its_way_back_is_reached_anew() {
    let mut cluster = Cluster::new(3, 1);
    let component = phoenix_support::guest("sequence");
    cluster.deploy("sequence", component, KindPolicy::default());
    let client = cluster.client(1);
    client.spawn("sequence/from", 1);
    client.spawn("sequence/a", 2);
    reach(&cluster, "sequence/a", 1);
    client.migrate("sequence/a", 3).unwrap();
    reach(&cluster, "sequence/a", 3);
    // On its way back it is given to node 2, and nothing of it arrives there.
    let (moved, has_moved) = mpsc::channel();
    cluster
        .network()
        .set_filter(Some(Box::new(move |_, _, message| {
            if let PeerMessage::Migration(MigrationMessage::Activate { .. }) = message {
                let _ = moved.send(());
            }
            !matches!(
                message,
                PeerMessage::Migration(MigrationMessage::Ship { .. })
            )
        })));
    let back = client.begin(Request::Migrate {
        agent: AgentId::new("sequence/a").unwrap(),
        to: NodeId(2),
    });
    has_moved.recv_timeout(PATIENCE).unwrap();
    cluster.kill(3);
    assert!(back.recv_timeout(PATIENCE).unwrap().is_err());
    cluster.network().set_filter(None);
    cluster.start(3);
    cluster.wait_connected();
    reach(&cluster, "sequence/a", 5);
    eventually("it is in one place", || {
        cluster.places("sequence/a").len() == 1
    });
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
        durable: false,
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
