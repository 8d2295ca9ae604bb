//! Messages that ended without being applied, and what operators do with them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use e2e::{Client, Cluster, eventually, message, node_id};
use phoenix_core::control::{
    ControlError, DeadLetter, LetterFilter, LetterId, Letters, Request, Response, Verdict,
};
use phoenix_core::{KindName, KindPolicy, Millis, Reply, Sender};

fn of_kind(kind: &str) -> LetterFilter {
    LetterFilter {
        kind: KindName::new(kind).ok(),
        ..LetterFilter::default()
    }
}

fn ids(letters: &[DeadLetter]) -> Vec<LetterId> {
    letters.iter().map(|letter| letter.id).collect()
}

fn replay(client: &Client, letters: Letters) -> Result<Vec<Verdict>, ControlError> {
    let request = Request::ReplayDeadLetters {
        letters,
        limit: 100,
        timeout: Millis(60_000),
    };
    match client.request(request)? {
        Response::Replayed(replayed) => Ok(replayed.into_iter().map(|one| one.verdict).collect()),
        other => panic!("{other:?}"),
    }
}

/// Each node keeps the letters of what ended there; operators see and replay all of
/// them from any node.
#[test]
fn what_came_too_early_is_sent_again_as_its_senders() {
    let cluster = Cluster::new(2, 31);
    let (client, other) = (cluster.client(1), cluster.client(2));
    let guest = phoenix_support::guest("hostile");
    cluster.deploy("hostile", guest, KindPolicy::default());
    // Three messages of an agent's, and one of a client's through another node,
    // before their receiver's kind is deployed.
    client.spawn("hostile/early", 1);
    let sent = client.ask_json("hostile/early", "forge-source", "\"late/a\"");
    assert!(matches!(sent, Reply::Ok(_)), "{sent:?}");
    eventually(
        "the other node is sure that there is no such kind",
        || match other
            .send(vec![message("late/a", "hello", (), 1)])
            .as_slice()
        {
            [Verdict::Dead { code, .. }] => &**code == "no-such-kind",
            [Verdict::Refused { .. }] => false,
            others => panic!("{others:?}"),
        },
    );
    eventually("all four have ended", || {
        client.dead_letters(of_kind("late")).len() == 4
    });
    let letters = client.dead_letters(of_kind("late"));
    assert_eq!(ids(&letters), ids(&other.dead_letters(of_kind("late"))));
    assert_eq!(
        letters
            .iter()
            .filter(|one| one.id.node == node_id(2))
            .count(),
        1
    );
    assert!(client.dead_letters(of_kind("hostile")).is_empty());

    // One that is replayed too early again is another letter, as its sender's still.
    let first = letters
        .iter()
        .find(|letter| matches!(letter.envelope.sender(), Sender::Agent(..)))
        .unwrap();
    let again = replay(&other, Letters::One(first.id)).unwrap();
    assert!(matches!(&again[..], [Verdict::Dead { code, .. }] if &**code == "no-such-kind"));
    let kept = client.dead_letters(of_kind("late"));
    assert_eq!(kept.len(), 4);
    assert!(!ids(&kept).contains(&first.id));
    let mut renewed = kept.iter().filter(|one| one.envelope.original().is_some());
    let renewed = renewed.next().unwrap();
    assert_eq!(renewed.envelope.first_sender(), first.envelope.sender());
    assert_ne!(renewed.envelope.sender(), first.envelope.sender());

    cluster.deploy("late", guest, KindPolicy::default());
    let applied = replay(&other, Letters::Matching(of_kind("late"))).unwrap();
    assert_eq!(applied, vec![Verdict::Applied; 4]);
    assert!(client.dead_letters(of_kind("late")).is_empty());
    let Reply::Ok(heard) = client.ask_json("late/a", "heard", "") else {
        panic!("it answers");
    };
    let heard: BTreeMap<String, u64> = serde_json::from_slice(&heard.bytes).unwrap();
    let senders = [
        ("client/test".to_owned(), 1),
        ("hostile/early".to_owned(), 3),
    ];
    assert_eq!(heard, BTreeMap::from(senders));
}

#[test]
fn letters_that_are_not_there_are_errors_that_say_why() {
    let mut cluster = Cluster::new(2, 32);
    for n in 1..=3 {
        cluster
            .client(1)
            .send(vec![message("none/a", "hello", (), n)]);
    }
    let client = cluster.client(2);
    let letters = client.dead_letters(LetterFilter::default());
    assert_eq!(letters.len(), 3);
    let id = letters[0].id;
    assert_eq!((id.node, id.number), (node_id(1), 1));
    let purge = |letters| match client.request(Request::PurgeDeadLetters { letters }) {
        Ok(Response::Purged { letters }) => Ok(letters),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(purge(Letters::One(id)), Ok(1));
    let ended = |id: LetterId| {
        let shown = client
            .request(Request::DeadLetter { letter: id })
            .unwrap_err();
        assert_eq!(purge(Letters::One(id)), Err(shown.clone()));
        assert_eq!(replay(&client, Letters::One(id)), Err(shown.clone()));
        match shown {
            ControlError::NotFound(text) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(ended(id).contains("is gone"));
    assert!(ended(LetterId { number: 9, ..id }).contains("end with number 3"));
    let nobodys = LetterId {
        node: node_id(9),
        ..id
    };
    assert!(ended(nobodys).contains("no node-9"));
    let nothing = of_kind("counter");
    assert_eq!(purge(Letters::Matching(nothing.clone())), Ok(0));
    assert_eq!(replay(&client, Letters::Matching(nothing)), Ok(Vec::new()));
    assert_eq!(purge(Letters::Matching(of_kind("none"))), Ok(2));
    assert!(client.dead_letters(LetterFilter::default()).is_empty());

    cluster
        .client(2)
        .send(vec![message("none/a", "hello", (), 1)]);
    cluster.kill(2);
    cluster.start(2);
    cluster.wait_connected();
    let earlier = LetterId {
        node: node_id(2),
        ..id
    };
    let client = cluster.client(1);
    let shown = client.request(Request::DeadLetter { letter: earlier });
    assert!(
        matches!(&shown, Err(ControlError::NotFound(text)) if text.contains("started anew")),
        "{shown:?}"
    );
}
