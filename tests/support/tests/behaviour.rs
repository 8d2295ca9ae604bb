//! The guests do what their headers say, on a bare host, before and after they move.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use common::{Agent, EPOCH, admit};
use phoenix_core::KindPolicy;
use phoenix_support::{Language, adapter, foreign, guest};
use phoenix_wit::{Input, Reply};

fn begin(bytes: &[u8]) -> (std::sync::Arc<phoenix_host::Component>, Agent) {
    let component = admit(bytes, &KindPolicy::default());
    let agent = Agent::begin(&component, &KindPolicy::default(), "")
        .unwrap_or_else(|undone| panic!("{undone:?}"));
    (component, agent)
}

#[test]
fn typed_counts_sends_asks_and_answers_later() {
    let (component, mut agent) = begin(guest("typed"));
    assert_eq!(agent.answer("add", "5"), "5");
    let sent = agent.call("send", "\"sink/a hit 3\"").unwrap();
    assert_eq!(sent.effects.len(), 1);
    assert!(sent.effects[0].contains("sink/a"), "{:?}", sent.effects);
    assert_eq!(agent.answer("fail", "\"why\""), "!asked-to-fail");
    assert_eq!(agent.answer("now", ""), (EPOCH + 4_000_000).to_string());

    let asked = agent.call("ask", "\"counter/b total\"").unwrap();
    assert_eq!(asked.answer, "pending");
    let number = asked.effects[0].split("ask: ").nth(1).unwrap();
    let number: u64 = number.split(',').next().unwrap().parse().unwrap();
    assert_eq!(agent.answer("add", "1"), "deferred");
    assert_eq!(agent.answer("total", ""), "5");
    // The one that waits moves, and its answer finds it.
    let mut agent = agent.moved(&component);
    let replied = agent
        .run(Input::Reply {
            ask: number,
            reply: Reply::Ok(common::json("9")),
        })
        .unwrap();
    assert!(
        replied.effects.iter().any(|e| e.contains("Reply")),
        "{:?}",
        replied.effects
    );
    assert_eq!(agent.answer("add", "1"), "6");
}

#[test]
fn what_typed_asks_ends_no_later_than_its_asker_waits() {
    let (_, mut agent) = begin(guest("typed"));
    // It asks for five seconds, in turn 1; whoever asks it waits for two and a bit.
    let asked = agent
        .run(Input::Message {
            source: "client/test",
            method: "ask",
            payload: common::json("\"counter/b total\""),
            request: true,
            deadline: EPOCH + 1_000_000 + 2_000_000_001,
        })
        .unwrap();
    let [ask, waits] = asked.effects.as_slice() else {
        panic!("{:?}", asked.effects);
    };
    assert!(ask.contains("deadline_ms: 2001,"), "{ask}");
    assert!(waits.contains("handler: 1 "), "{waits}");
}

#[test]
fn ordinary_rust_prints_before_and_after_it_moved() {
    let (component, mut agent) = begin(guest("plain-rust"));
    let first = agent.call("everything", "one two two").unwrap();
    let has = |gave: &common::Gave, text: &str| gave.log.iter().any(|line| line.contains(text));
    assert!(has(&first, "out 1: one two two"), "{:?}", first.log);
    assert!(has(&first, "err 1: one two two"), "{:?}", first.log);
    assert!(has(&first, "a line in two parts"), "{:?}", first.log);
    assert!(first.answer.contains("\"words\":2"), "{}", first.answer);
    assert!(
        first
            .answer
            .contains(&format!("\"wall\":{}", EPOCH + 1_000_000))
    );
    assert!(
        first
            .answer
            .contains(r#"{"variables":0,"arguments":0,"files":0}"#),
        "{}",
        first.answer
    );
    let mut agent = agent.moved(&component);
    let again = agent.call("everything", "two three").unwrap();
    assert!(has(&again, "out 2: two three"), "{:?}", again.log);
    assert!(again.answer.contains("\"words\":3"), "{}", again.answer);
}

#[test]
fn preview_1_behind_the_adapter_prints_before_and_after_it_moved() {
    let (component, mut agent) = begin(adapter());
    assert_eq!(agent.answer("add", "4"), "4");
    let first = agent.call("print", "hello").unwrap();
    assert_eq!(first.log, ["1: hello"]);
    assert_eq!(agent.answer("clock", ""), (EPOCH + 3_000_000).to_string());
    assert_eq!(agent.answer("environment", ""), "0");
    assert_ne!(agent.answer("open", ""), "0");
    agent.answer("random", "");
    let mut agent = agent.moved(&component);
    let again = agent.call("print", "again").unwrap();
    assert_eq!(again.log, ["2: again"]);
    assert_eq!(agent.answer("total", ""), "4");
}

#[test]
fn other_languages_print_before_and_after_they_moved() {
    for language in [Language::JavaScript, Language::Python] {
        let Some(bytes) = foreign(language) else {
            continue;
        };
        let (component, mut agent) = begin(&bytes);
        assert_eq!(agent.answer("add", "4"), "4");
        assert_eq!(agent.answer("words", "\"one two two\""), "2");
        assert_eq!(agent.answer("print", "\"hello\""), "1");
        assert_eq!(agent.answer("fail", "\"why\""), "!asked-to-fail");
        let mut agent = agent.moved(&component);
        let printed = agent.call("print", "\"again\"").unwrap();
        assert_eq!(printed.answer, "2", "{language:?}");
        assert!(
            printed.log.iter().any(|line| line.contains("2: again")),
            "{language:?}: {:?}",
            printed.log
        );
        assert_eq!(agent.answer("words", "\"three\""), "3");
        assert_eq!(agent.answer("total", ""), "4");
    }
}

#[test]
fn sequence_tells_gaps_from_repetitions() {
    let (component, mut agent) = begin(guest("sequence"));
    let hear = |agent: &mut Agent, source: &str, n: u64| {
        agent
            .run(Input::Message {
                source,
                method: "item",
                payload: common::json(&n.to_string()),
                request: false,
                deadline: 0,
            })
            .unwrap();
    };
    for n in 1..=3 {
        hear(&mut agent, "sequence/a", n);
    }
    let mut agent = agent.moved(&component);
    hear(&mut agent, "sequence/a", 4);
    hear(&mut agent, "client/b", 1);
    let clean = agent.answer("report", "null");
    assert!(clean.contains("\"heard\":5"), "{clean}");
    assert!(clean.contains("\"missing\":0,\"repeated\":0"), "{clean}");
    hear(&mut agent, "sequence/a", 4);
    hear(&mut agent, "sequence/a", 7);
    let odd = agent.answer("report", "null");
    assert!(odd.contains("\"missing\":2,\"repeated\":1"), "{odd}");
    assert!(odd.contains("[\"sequence/a\",5,7]"), "{odd}");

    let burst = agent
        .call("burst", "[[\"sequence/x\",\"sequence/y\"],1,3]")
        .unwrap();
    assert_eq!(burst.effects.len(), 6);
}

#[test]
fn a_blob_keeps_its_bytes() {
    let (component, mut agent) = begin(guest("blob"));
    assert_eq!(agent.answer("fill", "[65536,1]"), "65536");
    let digest = agent.answer("digest", "");
    let mut agent = agent.moved(&component);
    assert_eq!(agent.answer("digest", ""), digest);
    agent.call("change", "2").unwrap();
    assert_ne!(agent.answer("digest", ""), digest);
}
