//! Asks that wait for each other in a circle end with `deadlock`, long before their
//! deadlines, wherever the agents are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::Cluster;
use phoenix_core::control::Response;
use phoenix_core::{Failure, KindPolicy, Millis, Reply};

fn relays(nodes: usize, seed: u64, idle_after: Millis) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let policy = KindPolicy {
        idle_after,
        ..KindPolicy::default()
    };
    cluster.deploy("relay", phoenix_support::guest("relay"), policy);
    cluster
}

/// Each hop holds its agent while it asks the next.
fn hold(cluster: &Cluster, hops: &[&str]) -> Failure {
    let (first, rest) = hops.split_first().unwrap();
    match cluster.client(1).ask(first, "hold", (rest, 0_u64)) {
        Reply::Failed(failure) => *failure,
        other => panic!("{hops:?}: {other:?}"),
    }
}

fn count(cluster: &Cluster, agent: &str, name: &str) -> u64 {
    let detail = cluster.client(1).inspect(agent).unwrap();
    let mut counters = detail.counters.into_iter();
    let found = counters.find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("no counter {name}")).1
}

/// Everything the circle held up goes on.
fn is_free(cluster: &Cluster, agents: &[&str]) {
    for agent in agents {
        let answer: u64 = cluster
            .client(1)
            .call(agent, "hold", (Vec::<String>::new(), 6_u64));
        assert_eq!(answer, 7, "{agent}");
        let detail = cluster.client(1).inspect(agent).unwrap();
        assert_eq!((detail.pending, detail.open_asks), (0, 0), "{agent}");
    }
}

#[test]
fn an_agent_that_asks_itself_is_told_at_once() {
    let cluster = relays(1, 61, Millis(60_000));
    let failure = hold(&cluster, &["relay/a", "relay/a"]);
    assert_eq!(&*failure.code, "deadlock", "{failure:?}");
    is_free(&cluster, &["relay/a"]);
    assert_eq!(count(&cluster, "relay/a", "deadlocks"), 1);
    assert_eq!(count(&cluster, "relay/a", "timeouts"), 0);
    assert_eq!(
        count(&cluster, "relay/a", "cancelled"),
        1,
        "what it asked itself is not put to it when it is free again"
    );
}

#[test]
fn two_that_ask_each_other_are_told_so() {
    let cluster = relays(1, 62, Millis(60_000));
    let failure = hold(&cluster, &["relay/a", "relay/b", "relay/a"]);
    assert_eq!(&*failure.code, "deadlock", "{failure:?}");
    is_free(&cluster, &["relay/a", "relay/b"]);
    assert_eq!(count(&cluster, "relay/b", "deadlocks"), 1, "the youngest");
    assert_eq!(count(&cluster, "relay/a", "deadlocks"), 0);
}

#[test]
fn a_ring_of_three_across_nodes_is_found() {
    let cluster = relays(3, 63, Millis(60_000));
    let ring = ["relay/a", "relay/b", "relay/c"];
    for (agent, node) in ring.iter().zip(1..) {
        cluster.client(node).spawn(agent, node);
    }
    for round in 0..5 {
        let failure = hold(&cluster, &[ring[0], ring[1], ring[2], ring[0]]);
        assert_eq!(&*failure.code, "deadlock", "round {round}: {failure:?}");
        is_free(&cluster, &ring);
        assert_eq!(count(&cluster, ring[2], "deadlocks"), round + 1);
    }
    assert!(cluster.client(2).counter("ask-probes") > 0);
}

/// Each is asked by somebody of its own, and no ask is made for another one: the
/// circle closes in the mailboxes.
#[test]
fn a_ring_of_strangers_across_nodes_is_found() {
    let cluster = relays(3, 64, Millis(60_000));
    let ring = ["relay/a", "relay/b", "relay/c"];
    for (agent, node) in ring.iter().zip(1..) {
        cluster.client(node).spawn(agent, node);
    }
    let calls: Vec<_> = (0..3)
        .map(|at| {
            // The last hop is free again when the other has failed.
            let hops = [ring[(at + 1) % 3]];
            cluster
                .client(at + 1)
                .begin_call(ring[at], "hold", (hops, at as u64))
        })
        .collect();
    let mut ended = Vec::new();
    for call in calls {
        match call.recv_timeout(e2e::PATIENCE).unwrap().unwrap() {
            Response::Called(reply) => ended.push(reply),
            other => panic!("{other:?}"),
        }
    }
    // They may have missed each other; what they never do is wait for deadlines.
    let failed = ended.iter().filter_map(|reply| match reply {
        Reply::Failed(failure) => Some(&*failure.code),
        _ => None,
    });
    assert!(failed.clone().all(|code| code == "deadlock"), "{ended:?}");
    for agent in ring {
        assert_eq!(count(&cluster, agent, "timeouts"), 0, "{ended:?}");
    }
    is_free(&cluster, &ring);
}

/// Whoever waits in the middle of the ring has nothing left to do, and sleeps soon.
#[test]
fn agents_that_sleep_while_they_wait_are_found_too() {
    let cluster = relays(2, 65, Millis(0));
    let ring = ["relay/a", "relay/b", "relay/c", "relay/d"];
    for (agent, node) in ring.iter().zip([1, 2, 1, 2]) {
        cluster.client(node).spawn(agent, node);
    }
    for round in 0..5 {
        let failure = hold(&cluster, &[ring[0], ring[1], ring[2], ring[3], ring[0]]);
        assert_eq!(&*failure.code, "deadlock", "round {round}: {failure:?}");
        is_free(&cluster, &ring);
    }
}

/// Handlers that let others run while they wait are no circle, however they ask.
#[test]
fn a_ring_that_can_go_on_is_none() {
    let cluster = relays(2, 66, Millis(60_000));
    cluster.client(1).spawn("relay/a", 1);
    cluster.client(2).spawn("relay/b", 2);
    let hops = ["relay/b", "relay/a", "relay/b", "relay/a"];
    let answer: u64 = cluster.client(1).call("relay/a", "relay", (hops, 0_u64));
    assert_eq!(answer, 5);
    assert_eq!(count(&cluster, "relay/a", "deadlocks"), 0);
    assert_eq!(count(&cluster, "relay/b", "deadlocks"), 0);
}
