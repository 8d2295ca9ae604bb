//! An operator declares a node dead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually, node_id, read};
use phoenix_core::control::{ControlError, NodeInfo, Request, Response};
use phoenix_core::{Incarnation, KindPolicy, Reply};

fn declare_dead(client: &Client, node: usize) -> Result<u64, ControlError> {
    let node = node_id(node);
    match client.request(Request::DeclareDead { node })? {
        Response::DeclaredDead { agents, .. } => Ok(agents),
        other => panic!("{other:?}"),
    }
}

fn node(client: &Client, node: usize) -> NodeInfo {
    let Response::Nodes(infos) = client.request(Request::Nodes).unwrap() else {
        panic!("nodes were asked for");
    };
    infos
        .into_iter()
        .find(|info| info.node == node_id(node))
        .unwrap()
}

fn counters(nodes: usize, seed: u64) -> Cluster {
    let cluster = Cluster::new(nodes, seed);
    let component = phoenix_support::agent("counter");
    cluster.deploy("counter", component, KindPolicy::default());
    cluster
}

/// Adds one as soon as the agent can be had: a node that has just started may not
/// have its kind yet.
fn add_when_there(client: &Client, agent: &str) -> u64 {
    let mut total = 0;
    eventually("the agent answers", || match client.ask(agent, "add", 1) {
        Reply::Ok(payload) => {
            total = read(&payload);
            true
        }
        Reply::Unavailable(_) => false,
        other => panic!("{other:?}"),
    });
    total
}

/// Where the agent lives and in which life, as that node sees it.
fn life(client: &Client, agent: &str) -> (usize, Incarnation) {
    let detail = client.inspect(agent).unwrap();
    (detail.info.node.0 as usize, detail.incarnation)
}

#[test]
fn the_agents_of_a_dead_node_begin_anew_elsewhere_and_its_next_start_is_welcome() {
    let mut cluster = counters(3, 51);
    let client = cluster.client(1);
    for agent in ["counter/a", "counter/b"] {
        client.spawn(agent, 2);
        assert_eq!(client.call::<u64>(agent, "add", 5), 5);
    }
    // The third node knows the way, and will have to forget it.
    let third = cluster.client(3);
    assert_eq!(third.call::<u64>("counter/a", "total", ()), 5);
    let (_, before) = life(&client, "counter/a");
    cluster.kill(2);
    eventually("the others notice", || {
        [1, 3].map(|n| cluster.node(n).connected().len()) == [1, 1]
    });
    assert_eq!(declare_dead(&third, 2).unwrap(), 2);
    assert!(node(&client, 2).dead);
    eventually("the third hears of it", || node(&third, 2).dead);
    assert_eq!(declare_dead(&client, 2).unwrap(), 2, "once more");
    assert_eq!(third.call::<u64>("counter/a", "total", ()), 0);
    let (home, after) = life(&client, "counter/a");
    assert_ne!(home, 2);
    assert!(after > before && after.generation > before.generation);

    cluster.start(2);
    cluster.wait_connected();
    assert!(!node(&client, 2).dead && !node(&third, 2).dead);
    // What was not looked for meanwhile is the node's still, in a new life there.
    assert_eq!(add_when_there(&client, "counter/b"), 1);
    assert_eq!(third.call::<u64>("counter/b", "add", 1), 2);
    assert_eq!(life(&client, "counter/b").0, 2);
    assert_eq!(client.call::<u64>("counter/a", "add", 1), 1);
    assert_eq!(life(&cluster.client(2), "counter/a"), (home, after));
    client.spawn("counter/c", 2);
}

#[test]
fn who_lives_after_all_ends_itself_when_it_hears_of_it() {
    let mut cluster = counters(3, 52);
    let client = cluster.client(1);
    client.spawn("counter/a", 2);
    assert_eq!(client.call::<u64>("counter/a", "add", 5), 5);
    let (_, before) = life(&client, "counter/a");
    let network = cluster.network();
    network.partition(node_id(2), node_id(1));
    eventually("the first notices", || {
        cluster.node(1).connected() == [node_id(3)]
    });
    // It is cut off from the directory alone: somebody sees it live.
    let refused = declare_dead(&client, 2).unwrap_err();
    assert!(
        matches!(&refused, ControlError::Conflict(why) if why.contains("so it lives")),
        "{refused:?}"
    );
    network.partition(node_id(2), node_id(3));
    eventually("the third notices", || {
        cluster.node(3).connected() == [node_id(1)]
    });
    assert_eq!(declare_dead(&client, 2).unwrap(), 1);
    assert_eq!(client.call::<u64>("counter/a", "add", 1), 1);
    let (home, after) = life(&client, "counter/a");
    assert!(home != 2 && after.generation > before.generation);
    // It has heard nothing, and a settled agent runs on without the directory.
    let second = cluster.client(2);
    assert_eq!(second.call::<u64>("counter/a", "add", 1), 6);

    // It meets one that knows, not the directory itself.
    network.heal(node_id(2), node_id(3));
    eventually("it hears of it", || cluster.node(2).declared_dead());
    let refused = second.inspect("counter/a").unwrap_err();
    assert!(
        matches!(&refused, ControlError::Unavailable(why) if why.contains("declared dead")),
        "{refused:?}"
    );
    network.heal(node_id(2), node_id(1));
    assert_eq!(client.call::<u64>("counter/a", "add", 1), 2);
    assert_eq!(life(&client, "counter/a"), (home, after));
    assert_eq!(client.agents().len(), 1, "its copy is gone");

    cluster.kill(2);
    cluster.start(2);
    cluster.wait_connected();
    assert_eq!(add_when_there(&cluster.client(2), "counter/a"), 3);
}

#[test]
fn only_what_nobody_reaches_is_declared_dead() {
    let cluster = counters(2, 53);
    let client = cluster.client(2);
    for (number, what) in [(1, "node-1"), (2, "so it lives"), (9, "no node-9")] {
        let refused = declare_dead(&client, number).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(what), "{number}: {text}");
        assert_eq!(
            matches!(refused, ControlError::NotFound(_)),
            number == 9,
            "{text}"
        );
    }
    assert!(!node(&client, 1).dead);
}
