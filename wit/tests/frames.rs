//! Both frames, written and read back; and any bytes, read without a panic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::num::NonZeroU64;

use phoenix_wit::{
    AnswerReader, AnswerWriter, Backoff, CatchUp, ContentType, Delivery, Effect, Failure,
    FrameError, FrameReader, FrameWriter, Input, Lane, Level, Outcome, Payload, ReceiverList,
    Receivers, Reply, Retry, Schedule, SendOptions, Turn, Verdict,
};
use proptest::prelude::*;

fn payload(bytes: &[u8]) -> Payload<'_> {
    Payload {
        content_type: ContentType::Json,
        bytes,
    }
}

fn inputs() -> Vec<Input<'static>> {
    let failure = Failure {
        code: "not-found",
        message: "nobody",
        details: payload(b"{}"),
    };
    vec![
        Input::Init {
            config: payload(b"1"),
        },
        Input::Describe,
        Input::Message {
            source: "counter/ä",
            method: "add",
            payload: payload(b"2"),
            request: true,
            deadline: 5_000_000_007,
        },
        Input::Timer {
            id: 9,
            method: "tick",
            payload: Payload::NONE,
        },
        Input::Reply {
            ask: 1,
            reply: Reply::Ok(payload(b"3")),
        },
        Input::Reply {
            ask: 2,
            reply: Reply::Failed(failure),
        },
        Input::Reply {
            ask: 3,
            reply: Reply::Timeout,
        },
        Input::Reply {
            ask: 4,
            reply: Reply::Bounced("full"),
        },
        Input::Reply {
            ask: 5,
            reply: Reply::Deadlock,
        },
        Input::Reply {
            ask: 6,
            reply: Reply::Unavailable("split"),
        },
        Input::Reply {
            ask: 7,
            reply: Reply::Abandoned,
        },
        Input::Bounced {
            to: "counter/é",
            method: "add",
            payload: payload(b"4"),
            reason: "init-failed: no more",
            unsure: false,
        },
        Input::Bounced {
            to: "counter/b",
            method: "",
            payload: Payload::NONE,
            reason: "",
            unsure: true,
        },
        Input::Verdict {
            token: u64::MAX,
            to: "counter/é",
            verdict: Verdict::Applied,
        },
        Input::Verdict {
            token: 1,
            to: "counter/b",
            verdict: Verdict::NotApplied { reason: "overflow" },
        },
        Input::Verdict {
            token: 2,
            to: "counter/b",
            verdict: Verdict::Unsure { reason: "gave-up" },
        },
    ]
}

/// At most once, lane 3, reported, 300 ms, 70 s, 5 tries, waits 10 + 20 up to 600 ms.
const OPTIONS: [u8; SendOptions::BYTES] = [
    0, 3, 1, 2, 44, 1, 0, 0, 112, 17, 1, 0, 5, 0, 0, 0, 10, 0, 0, 0, 20, 0, 0, 0, 88, 2, 0, 0,
];

#[test]
fn options_are_read_as_they_are_written_down() {
    let options = SendOptions {
        delivery: Some(Delivery::AtMostOnce),
        lane: Some(Lane::Bulk),
        ttl_ms: 300,
        report_expired: true,
        give_up_ms: 70_000,
        retry: Some(Retry {
            backoff: Backoff::Linear {
                first: 10,
                step: 20,
                most: 600,
            },
            attempts: 5,
        }),
    };
    assert_eq!(SendOptions::read(&OPTIONS), Ok(options));
    assert_eq!(options.to_bytes(), OPTIONS);
    let plain = SendOptions::default();
    assert_eq!(plain.to_bytes()[..2], [3, 4], "by type");
    assert_eq!(SendOptions::read(&plain.to_bytes()), Ok(plain));
    for (at, byte, error) in [
        (0, 4, "4 is no delivery"),
        (1, 5, "5 is no lane"),
        (2, 2, "2 is no report"),
        (3, 4, "4 is no backoff"),
        (16, 0, "a retry of first wait 0 ms"),
        (20, 0, "step 0 ms"),
        (17, 9, "first wait 2314 ms, step 20 ms, longest 600 ms"),
    ] {
        let mut bad = OPTIONS;
        bad[at] = byte;
        let said = SendOptions::read(&bad).unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
    }
}

fn receivers(all: &[&str]) -> Receivers<'static> {
    let list: ReceiverList = all.iter().collect();
    Box::leak(Box::new(list)).receivers()
}

fn effects() -> Vec<Effect<'static>> {
    let failure = Failure {
        code: "c",
        message: "m",
        details: payload(b"d"),
    };
    vec![
        Effect::Send {
            to: "a/b",
            method: "m",
            payload: payload(b"p"),
            delivery: Delivery::AtMostOnce,
        },
        Effect::SendWith {
            to: "a/b",
            method: "m",
            message_type: "phoenix.data.order.placed",
            payload: payload(b"p"),
            options: &OPTIONS,
        },
        Effect::Multicast {
            to: receivers(&["a/b", "a/é", "a/b"]),
            method: "m",
            message_type: "phoenix.data.order.placed",
            payload: payload(b"p"),
            options: &OPTIONS,
            token: NonZeroU64::new(77),
        },
        Effect::Multicast {
            to: Receivers::NONE,
            method: "",
            message_type: "",
            payload: Payload::NONE,
            options: &OPTIONS,
            token: None,
        },
        Effect::Ask {
            ask: 7,
            to: "a/b",
            method: "m",
            payload: payload(b"p"),
            deadline_ms: 5_000,
            waiter: None,
        },
        Effect::Reply {
            request: 8,
            answer: Ok(payload(b"p")),
        },
        Effect::Reply {
            request: 8,
            answer: Err(failure),
        },
        Effect::Publish {
            topic: "a.b",
            payload: payload(b"p"),
            options: Payload::message_pack(b"\x81\xa3key\xa1k"),
        },
        Effect::Publish {
            topic: "a.b",
            payload: payload(b"p"),
            options: Payload::NONE,
        },
        Effect::Subscribe {
            pattern: "a.>",
            options: payload(b"{}"),
        },
        Effect::Subscribe {
            pattern: "a.>",
            options: Payload::NONE,
        },
        Effect::Unsubscribe {
            pattern: "a.>",
            name: "",
        },
        Effect::Unsubscribe {
            pattern: "a.>",
            name: "n",
        },
        Effect::SetTimer {
            id: 1,
            schedule: Schedule::Every {
                delay_ms: 2,
                period_ms: 3,
            },
            catch_up: CatchUp::Once,
            method: "tick",
            payload: Payload::NONE,
        },
        Effect::SetTimer {
            id: 2,
            schedule: Schedule::Once { delay_ms: u64::MAX },
            catch_up: CatchUp::All,
            method: "tick",
            payload: payload(b"p"),
        },
        Effect::SetTimer {
            id: 3,
            schedule: Schedule::Cron("30 4 * * mon-fri"),
            catch_up: CatchUp::Skip { late_ms: 9 },
            method: "tick",
            payload: payload(b"p"),
        },
        Effect::CancelTimer { id: 1 },
        Effect::Spawn {
            agent: "a/b",
            config: payload(b"c"),
        },
        Effect::Stop { reason: "done" },
        Effect::Log {
            level: Level::Warn,
            text: "hm",
        },
        Effect::Wait { ask: 6, handler: 4 },
    ]
}

#[test]
fn receivers_are_as_many_as_were_put_together() {
    let mut list = ReceiverList::new();
    assert_eq!(list.receivers(), Receivers::NONE);
    assert!(list.receivers().is_empty());
    list.push("a/b");
    list.push("c/é");
    let all = list.receivers();
    assert_eq!((all.len(), all.is_empty()), (2, false));
    assert_eq!(all.iter().collect::<Vec<_>>(), ["a/b", "c/é"]);
    assert_eq!(format!("{all:?}"), r#"["a/b", "c/é"]"#);
    list.clear();
    assert_eq!(list.receivers(), Receivers::NONE);
    list.push("d/e");
    assert_eq!(list.receivers().iter().collect::<Vec<_>>(), ["d/e"]);
}

/// The answer of a turn that sends to these receivers, whose bytes begin at the offset.
fn to_several(all: &[&str]) -> (Vec<u8>, usize) {
    let mut writer = AnswerWriter::new(Vec::new());
    writer.effect(&Effect::Multicast {
        to: receivers(all),
        method: "",
        message_type: "",
        payload: payload(b"12345678"),
        options: &OPTIONS,
        token: None,
    });
    writer.outcome(&Outcome::Pending, 1);
    let frame = writer.finish();
    let receivers: usize = all.iter().map(|it| 2 + it.len()).sum();
    let at = frame.len() - 8 - receivers;
    (frame, at)
}

#[test]
fn receivers_that_are_not_what_they_say_are_refused() {
    let (good, at) = to_several(&["a/b", "a/c"]);
    answer_all(&good, 1).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        change(&mut bad);
        answer_all(&bad, 1).unwrap_err().to_string()
    };
    // More than follow, and fewer.
    assert_eq!(
        refused(&|bad| bad[at - 4] = 3),
        "receiver's length needs 2 bytes and 0 are left"
    );
    assert_eq!(
        refused(&|bad| bad[at - 4] = 1),
        "5 bytes are left after the receivers"
    );
    // As many as no frame has room for.
    assert_eq!(
        refused(&|bad| bad[at - 1] = 255),
        "receiver's length needs 2 bytes and 0 are left"
    );
    assert_eq!(
        refused(&|bad| bad[at] = 200),
        "receiver needs 200 bytes and 8 are left"
    );
    assert_eq!(refused(&|bad| bad[at + 2] = 255), "receiver is not UTF-8");
}

fn frame() -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), "counter/alice", 42);
    for (number, input) in (5u64..).zip(inputs()) {
        writer.push(&Turn {
            number,
            now: 1_000 + number,
            input,
        });
    }
    writer.finish()
}

fn answer() -> Vec<u8> {
    let mut writer = AnswerWriter::new(vec![1, 2, 3]);
    for effect in effects() {
        writer.effect(&effect);
    }
    writer.outcome(&Outcome::Ok(payload(b"o")), 0);
    writer.outcome(
        &Outcome::Failed(Failure {
            code: "c",
            message: "m",
            details: payload(b"d"),
        }),
        2,
    );
    writer.outcome(&Outcome::Pending, 3);
    writer.outcome(&Outcome::Deferred, 3);
    writer.finish()
}

#[test]
fn an_input_frame_reads_as_it_was_written() {
    let frame = frame();
    let mut reader = FrameReader::new(&frame).unwrap();
    assert_eq!((reader.id(), reader.seed()), ("counter/alice", 42));
    for (number, input) in (5u64..).zip(inputs()) {
        let turn = reader.next_turn().unwrap().unwrap();
        assert_eq!((turn.number, turn.now), (number, 1_000 + number));
        assert_eq!(turn.input, input);
    }
    assert_eq!(reader.next_turn(), Ok(None));
}

#[test]
fn an_answer_frame_reads_as_it_was_written() {
    let answer = answer();
    let mut reader = AnswerReader::new(&answer, 4).unwrap();
    let mut first = reader.next_answer().unwrap().unwrap();
    assert_eq!(
        (first.outcome, first.pending),
        (Outcome::Ok(payload(b"o")), 0)
    );
    for effect in effects() {
        assert_eq!(first.effects.next_effect().unwrap(), Some(effect));
    }
    assert_eq!(first.effects.next_effect(), Ok(None));
    let second = reader.next_answer().unwrap().unwrap();
    assert!(matches!(second.outcome, Outcome::Failed(f) if f.details == payload(b"d")));
    let third = reader.next_answer().unwrap().unwrap();
    assert_eq!((third.outcome, third.pending), (Outcome::Pending, 3));
    let fourth = reader.next_answer().unwrap().unwrap();
    assert_eq!(fourth.outcome, Outcome::Deferred);
    assert!(reader.next_answer().unwrap().is_none());
}

#[test]
fn a_payload_can_be_written_in_place() {
    let with = |payload| {
        [
            Effect::Send {
                to: "a/b",
                method: "hit",
                payload,
                delivery: Delivery::AtMostOnce,
            },
            Effect::Ask {
                ask: 7,
                to: "a/b",
                method: "hit",
                payload,
                deadline_ms: 9,
                waiter: None,
            },
            Effect::SetTimer {
                id: 1,
                schedule: Schedule::Every {
                    delay_ms: 2,
                    period_ms: 3,
                },
                catch_up: CatchUp::Once,
                method: "hit",
                payload,
            },
            Effect::Spawn {
                agent: "a/b",
                config: payload,
            },
        ]
    };
    let mut whole = AnswerWriter::new(Vec::new());
    for effect in with(payload(b"payload")) {
        whole.effect(&effect);
    }
    whole.outcome(&Outcome::Pending, 1);
    let mut in_place = AnswerWriter::new(Vec::new());
    let mut aside = AnswerWriter::new(Vec::new());
    for (at, effect) in with(Payload::NONE).iter().enumerate() {
        let writer = if at < 2 { &mut in_place } else { &mut aside };
        let failed = writer.effect_with(effect, |buf| {
            buf.extend_from_slice(b"half of it");
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        let written = writer.effect_with(effect, |buf| {
            buf.extend_from_slice(b"payload");
            Ok::<_, &str>(payload(b"").content_type)
        });
        assert_eq!(written, Ok(()));
    }
    in_place.append(&aside);
    in_place.outcome(&Outcome::Pending, 1);
    assert_eq!(in_place.finish(), whole.finish());
}

#[test]
fn a_wrong_number_of_turns_or_version_is_an_error() {
    let answer = answer();
    assert!(matches!(
        AnswerReader::new(&answer, 3),
        Err(FrameError::Count { found: 4, .. })
    ));
    let mut other = frame();
    other[0] = 2;
    assert!(matches!(
        FrameReader::new(&other),
        Err(FrameError::Version { found: 2, .. })
    ));
}

#[test]
fn a_frame_cut_anywhere_is_an_error() {
    let frame = frame();
    for length in 0..frame.len() {
        assert!(read_all(&frame[..length]).is_err(), "cut at {length}");
    }
    let answer = answer();
    for length in 0..answer.len() {
        assert!(answer_all(&answer[..length], 4).is_err(), "cut at {length}");
    }
}

fn read_all(frame: &[u8]) -> Result<(), FrameError> {
    let mut reader = FrameReader::new(frame)?;
    while reader.next_turn()?.is_some() {}
    Ok(())
}

fn answer_all(frame: &[u8], turns: u32) -> Result<(), FrameError> {
    let mut reader = AnswerReader::new(frame, turns)?;
    while let Some(mut answer) = reader.next_answer()? {
        while answer.effects.next_effect()?.is_some() {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), turns in 0u32..5) {
        let _ = read_all(&bytes);
        let _ = answer_all(&bytes, turns);
    }

    #[test]
    fn no_flipped_byte_makes_a_reader_panic(at in 0usize..2_000, to in any::<u8>()) {
        for mut frame in [frame(), answer()] {
            let at = at % frame.len();
            frame[at] = to;
            let _ = read_all(&frame);
            let _ = answer_all(&frame, 4);
        }
    }
}

#[test]
fn who_waits_for_the_last_ask_is_said_in_it_and_for_others_beside_it() {
    let ask = |ask| Effect::Ask {
        ask,
        to: "a/b",
        method: "m",
        payload: payload(b"p"),
        deadline_ms: 1,
        waiter: None,
    };
    let mut writer = AnswerWriter::new(Vec::new());
    writer.effect(&ask(1));
    writer.effect(&ask(2));
    writer.wait(2, 40);
    writer.wait(1, 41);
    writer.outcome(&Outcome::Pending, 1);
    // The same ask is of an earlier turn now.
    writer.wait(2, 42);
    writer.outcome(&Outcome::Ok(Payload::NONE), 1);
    let answer = writer.finish();
    let mut reader = AnswerReader::new(&answer, 2).unwrap();
    let mut read = Vec::new();
    while let Some(mut answer) = reader.next_answer().unwrap() {
        while let Some(effect) = answer.effects.next_effect().unwrap() {
            read.push(match effect {
                Effect::Ask { ask, waiter, .. } => ("ask", ask, waiter),
                Effect::Wait { ask, handler } => ("wait", ask, Some(handler)),
                other => panic!("{other:?}"),
            });
        }
    }
    let expected = [
        ("ask", 1, None),
        ("ask", 2, Some(40)),
        ("wait", 1, Some(41)),
        ("wait", 2, Some(42)),
    ];
    assert_eq!(read, expected);
}
