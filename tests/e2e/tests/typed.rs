//! An agent of the typed world, made without the SDK, is an agent like any other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use e2e::{Client, Cluster, eventually};
use phoenix_core::control::AgentStatus;
use phoenix_core::{KindPolicy, Reply};
use serde::Deserialize;

fn typed() -> (Cluster, Client) {
    let cluster = Cluster::new(2, 50);
    let component = phoenix_support::guest("typed");
    cluster.deploy("typed", component, KindPolicy::default());
    let client = cluster.client(1);
    client.spawn("typed/a", 1);
    client.spawn("typed/b", 2);
    (cluster, client)
}

#[derive(Debug, Deserialize)]
struct Who {
    id: String,
    source: String,
    turn: u64,
}

#[test]
fn it_answers_fails_and_says_who_it_is() {
    let (_cluster, client) = typed();
    assert_eq!(client.call_json::<i64>("typed/a", "add", "5"), 5);
    let who: Who = client.call_json("typed/a", "whoami", "");
    assert_eq!((&*who.id, &*who.source), ("typed/a", "client/test"));
    assert_eq!(who.turn + 1, client.inspect("typed/a").unwrap().info.turns);
    let Reply::Failed(failure) = client.ask_json("typed/a", "fail", "\"why\"") else {
        panic!("it was asked to");
    };
    assert_eq!(
        (&*failure.code, &*failure.message),
        ("asked-to-fail", "why")
    );
    client.ask_json("typed/a", "log", "\"as it was told\"");
    let logs = client.logs();
    assert!(logs.iter().any(|line| line == "as it was told"), "{logs:?}");
}

#[test]
fn it_speaks_to_others_on_other_nodes() {
    let (_cluster, client) = typed();
    let sent = client.ask_json("typed/a", "send", "\"typed/b add 7\"");
    assert!(matches!(sent, Reply::Ok(_)), "{sent:?}");
    eventually("it is heard", || {
        client.call_json::<i64>("typed/b", "total", "") == 7
    });
    let sent = client.ask_json("typed/a", "send-low", "\"typed/b add 4\"");
    assert!(matches!(sent, Reply::Ok(_)), "{sent:?}");
    eventually("it is heard on another lane too", || {
        client.call_json::<i64>("typed/b", "total", "") == 11
    });
    let answer: i64 = client.call_json("typed/a", "ask", "\"typed/b add 2\"");
    assert_eq!(answer, 13);
    let Reply::Failed(failure) = client.ask_json("typed/a", "ask", "\"typed/b fail no\"") else {
        panic!("the other one fails");
    };
    assert_eq!(&*failure.code, "asked-to-fail");
    let spawned = client.ask_json("typed/a", "spawn", "\"typed/c\"");
    assert!(matches!(spawned, Reply::Ok(_)), "{spawned:?}");
    eventually("it lives", || client.inspect("typed/c").is_ok());
}

#[test]
fn it_sends_to_several_and_hears_of_each() {
    let (_cluster, client) = typed();
    let told = |token: &str| {
        let told = client.ask_json("typed/a", "tell", token);
        assert!(matches!(told, Reply::Ok(_)), "{told:?}");
    };
    told("\"7 typed/a typed/b nobody/x\"");
    told("\"- typed/b\"");
    eventually("each is heard of", || {
        let mut told: Vec<String> = client.call_json("typed/a", "told", "");
        told.sort();
        let expected = [
            "7 nobody/x not applied: no-such-kind",
            "7 typed/a applied",
            "7 typed/b applied",
        ];
        told == expected
    });
    assert_eq!(client.call_json::<i64>("typed/a", "total", ""), 1);
    eventually("the other one is heard too", || {
        client.call_json::<i64>("typed/b", "total", "") == 2
    });
    let Reply::Bounced(why) = client.ask_json("typed/a", "tell", "\"0 typed/b\"") else {
        panic!("no token is 0");
    };
    assert!(why.contains("token 0: tokens are numbers from 1"), "{why}");
}

#[test]
fn it_sleeps_and_moves_with_all_it_has() {
    let (_cluster, client) = typed();
    for round in 1..=6 {
        assert_eq!(client.call_json::<i64>("typed/a", "add", "1"), round);
        client.hibernate("typed/a").unwrap();
        let status = client.inspect("typed/a").unwrap().info.status;
        assert_eq!(status, AgentStatus::Hibernated);
        let to = if round % 2 == 0 { 1 } else { 2 };
        client.migrate("typed/a", to).unwrap();
        assert_eq!(client.call_json::<i64>("typed/a", "total", ""), round);
    }
}
