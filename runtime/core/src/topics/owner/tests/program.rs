//! The owner as nodes run it: frames in, frames out.

use phoenix_wit::{AnswerReader, Effect, FrameWriter, Input, Outcome as WitOutcome, Turn, Verdict};
use serde_json::json;

use super::*;
use crate::program::{BuiltIn, Limits, run};
use crate::topics::owner::Topics;

const LIMITS: Limits = Limits {
    turn_effects: 1_000,
    answer_bytes: 4 << 20,
    memory_bytes: MEMORY,
};

fn message<'a>(number: u64, source: &'a str, method: &'a str, fields: &'a str) -> Turn<'a> {
    Turn {
        number,
        now: 5_000_000_000,
        input: Input::Message {
            source,
            method,
            payload: Payload {
                content_type: ContentType::Json,
                bytes: fields.as_bytes(),
            },
            request: true,
            deadline: 9_000_000_000,
        },
    }
}

#[test]
fn frames_of_turns_are_answered_with_messages_to_several() {
    let mut program = Topics.begin();
    // It asks the root first, and puts off what comes until it is answered.
    let mut frame = FrameWriter::new(Vec::new(), "topic/a", 7);
    frame.push(&Turn {
        number: 0,
        now: 5_000_000_000,
        input: Input::Init {
            config: Payload::NONE,
        },
    });
    frame.push(&message(1, "s/1", "subscribe", "{}"));
    let answer = run(&mut *program, &frame.finish(), &LIMITS).unwrap();
    let mut turns = AnswerReader::new(&answer, 2).unwrap();
    let mut turn = turns.next_answer().unwrap().unwrap();
    let effect = turn.effects.next_effect().unwrap();
    let Some(Effect::Ask {
        ask, to, method, ..
    }) = effect
    else {
        panic!("{effect:?}");
    };
    assert_eq!((to, method), ("topic/.root", "enter"));
    let turn = turns.next_answer().unwrap().unwrap();
    assert_eq!((turn.outcome, turn.pending), (WitOutcome::Deferred, 1));
    // Of a turn that is put off nothing may come.
    assert_eq!(turn.effects.left(), 0);
    let page = json!({"version": 0, "is_anew": false, "subscriptions": [], "more": null});
    let page = rmp_serde::to_vec_named(&page).unwrap();
    let mut frame = FrameWriter::new(Vec::new(), "topic/a", 7);
    frame.push(&Turn {
        number: 2,
        now: 5_000_000_000,
        input: Input::Reply {
            ask,
            reply: phoenix_wit::Reply::Ok(Payload::message_pack(&page)),
        },
    });
    run(&mut *program, &frame.finish(), &LIMITS).unwrap();
    let wide = json!({"pattern": "a.b"}).to_string();
    let narrow = json!({"pattern": "a.b", "overflow": "drop-oldest", "in_flight": 1}).to_string();
    let event = json!({"topic": "a.b", "data": [1]}).to_string();
    let mut frame = FrameWriter::new(Vec::new(), "topic/a", 7);
    frame.push(&message(0, "s/1", "subscribe", &wide));
    frame.push(&message(1, "s/2", "subscribe", &wide));
    frame.push(&message(2, "s/3", "subscribe", &narrow));
    frame.push(&message(3, "c/1", "publish", &event));
    frame.push(&message(4, "c/1", "publish", &event));
    let answer = run(&mut *program, &frame.finish(), &LIMITS).unwrap();
    let mut turns = AnswerReader::new(&answer, 5).unwrap();
    for _ in 0..3 {
        let turn = turns.next_answer().unwrap().unwrap();
        assert!(matches!(turn.outcome, WitOutcome::Ok(_)), "{turn:?}");
    }
    let mut to = Vec::new();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut turn = turns.next_answer().unwrap().unwrap();
        while let Some(effect) = turn.effects.next_effect().unwrap() {
            let Effect::Multicast { to: all, token, .. } = effect else {
                panic!("{effect:?}");
            };
            to.push(all.iter().map(str::to_owned).collect::<Vec<_>>());
            tokens.extend(token);
        }
    }
    assert_eq!(to, [vec!["s/1", "s/2"], vec!["s/3"], vec!["s/1", "s/2"]]);

    // With the verdict comes what waited.
    let mut saved = Vec::new();
    program.save(&mut saved);
    let mut program = Topics.load(&saved).unwrap();
    let mut frame = FrameWriter::new(Vec::new(), "topic/a", 7);
    frame.push(&Turn {
        number: 5,
        now: 6_000_000_000,
        input: Input::Verdict {
            token: tokens[0].get(),
            to: "s/3",
            verdict: Verdict::Applied,
        },
    });
    let answer = run(&mut *program, &frame.finish(), &LIMITS).unwrap();
    let mut turns = AnswerReader::new(&answer, 1).unwrap();
    let mut turn = turns.next_answer().unwrap().unwrap();
    let effect = turn.effects.next_effect().unwrap();
    assert!(
        matches!(effect, Some(Effect::Multicast { .. })),
        "{effect:?}"
    );
}
