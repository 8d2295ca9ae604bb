//! An operator lets an agent begin anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually, json, message};
use phoenix_core::control::{
    AgentStatus, ClientMessage, ControlError, LetterFilter, Request, Response, Verdict,
};
use phoenix_core::{Incarnation, KindPolicy, Millis, Payload, Reply};

fn reset(client: &Client, agent: &str, force: bool) -> Result<(Incarnation, u64), ControlError> {
    let request = Request::Reset {
        agent: agent.parse().unwrap(),
        config: Payload::default(),
        force,
    };
    match client.request(request)? {
        Response::Reset {
            incarnation,
            dead_letters,
            ..
        } => Ok((incarnation, dead_letters)),
        other => panic!("{other:?}"),
    }
}

fn add(agent: &str, sequence: u64) -> ClientMessage {
    ClientMessage {
        payload: json("1"),
        ..message(agent, "add", (), sequence)
    }
}

/// An agent without a checkpoint to come back to, as when its image is damaged.
fn quarantined(cluster: &Cluster, agent: &str) {
    let client = cluster.client(1);
    let policy = KindPolicy {
        movable: false,
        rollback_bytes: 0,
        ..KindPolicy::default()
    };
    cluster.deploy("lost", phoenix_support::guest("hostile"), policy);
    assert_eq!(client.send(vec![add(agent, 1)]), [Verdict::Applied]);
    let trapped = client.ask(agent, "unreachable", ());
    let Reply::Bounced(why) = trapped else {
        panic!("{trapped:?}");
    };
    assert!(why.starts_with("quarantined"), "{why}");
}

#[test]
fn a_quarantined_agent_begins_anew_and_its_streams_go_on() {
    let cluster = Cluster::new(2, 41);
    let agent = "lost/a";
    quarantined(&cluster, agent);
    let before = cluster.client(1).inspect(agent).unwrap();
    // Asked through the other node: it is found where it lives.
    let home = before.info.node.0 as usize;
    let (client, other) = (cluster.client(home), cluster.client(3 - home));
    assert_eq!(before.info.status, AgentStatus::Quarantined);
    let refused = client.send(vec![add(agent, 2)]);
    assert!(matches!(&refused[..], [Verdict::Dead { code, .. }] if &**code == "quarantined"));
    let (life, _) = reset(&other, agent, false).unwrap();
    assert!(life > before.incarnation);
    let after = client.inspect(agent).unwrap();
    assert_eq!((after.incarnation, after.traps), (life, 0));
    assert_eq!(after.info.status, AgentStatus::Resident);
    assert_eq!(client.call_json::<u64>(agent, "total", ""), 0);
    // What had its verdict is not applied to the new life, and has the same one again.
    let again = client.send(vec![add(agent, 1), add(agent, 2), add(agent, 3)]);
    let [
        Verdict::Applied,
        Verdict::Dead { code, .. },
        Verdict::Applied,
    ] = &again[..]
    else {
        panic!("{again:?}");
    };
    assert_eq!(&**code, "quarantined");
    assert_eq!(client.call_json::<u64>(agent, "total", ""), 1);
    assert_eq!(client.counter("resets"), 1);
}

#[test]
fn only_force_resets_an_agent_that_is_well() {
    let cluster = Cluster::new(1, 42);
    let client = cluster.client(1);
    let policy = KindPolicy {
        idle_after: Millis(60_000),
        ..KindPolicy::default()
    };
    cluster.deploy("relay", phoenix_support::guest("relay"), policy);
    let agent = "relay/a";
    let missing = reset(&client, agent, true).unwrap_err();
    assert!(matches!(missing, ControlError::NotFound(_)), "{missing:?}");
    // A handler that waits, and a message that waits behind it.
    let waiting = client.begin_call(agent, "ask_until_told", ("relay/b", 1));
    eventually("it waits", || {
        client
            .inspect(agent)
            .is_ok_and(|detail| detail.pending == 1)
    });
    let behind = client.begin_call(agent, "hold", (Vec::<String>::new(), 2));
    eventually("another waits behind it", || {
        client.inspect(agent).unwrap().info.mailbox == 1
    });
    let before = client.inspect(agent).unwrap().incarnation;
    let refused = reset(&client, agent, false).unwrap_err();
    assert!(
        matches!(&refused, ControlError::Conflict(why) if why.contains("not quarantined")),
        "{refused:?}"
    );
    let (life, dead) = reset(&client, agent, true).unwrap();
    assert_eq!(dead, 1);
    assert!(life > before);
    // The one had begun, and what it did may have been seen; the other had not.
    match waiting.recv().unwrap().unwrap() {
        Response::Called(Reply::Failed(failure)) => assert_eq!(&*failure.code, "abandoned"),
        other => panic!("{other:?}"),
    }
    match behind.recv().unwrap().unwrap() {
        Response::Called(Reply::Bounced(why)) => assert_eq!(&*why, "reset"),
        other => panic!("{other:?}"),
    }
    let letters = client.dead_letters(LetterFilter::default());
    assert_eq!(letters.len(), 1);
    assert!(letters.iter().all(|letter| &*letter.reason == "reset"));
    assert_eq!(client.inspect(agent).unwrap().pending, 0);
    assert_eq!(client.call::<u64>(agent, "handled", ()), 0);
    // Asleep it has to be woken for that.
    client.hibernate(agent).unwrap();
    let refused = reset(&client, agent, false).unwrap_err();
    assert!(matches!(refused, ControlError::Conflict(_)), "{refused:?}");
    let (next, _) = reset(&client, agent, true).unwrap();
    assert!(next > life);
}
