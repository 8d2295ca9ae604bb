//! Sagas with a failure at every step, lost and late answers, and saves at any moment.

use std::collections::BTreeMap;

use phoenix_wit::{
    AnswerReader, ContentType, Effect, Failure, FrameWriter, Input, Outcome as Said, Payload,
    Reply, Schedule, Turn,
};
use proptest::prelude::*;

use super::*;
use crate::patterns::Retry;
use crate::program::{self, Limits};

const LIMITS: Limits = Limits {
    turn_effects: 1_000,
    answer_bytes: 4 << 20,
    memory_bytes: 64 << 20,
};

/// What a participant is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    ask: u64,
    to: String,
    method: String,
    body: serde_json::Value,
}

impl Asked {
    /// The step's place, and whether it is to be undone.
    fn step(&self) -> (usize, bool) {
        let (what, number) = self.method.split_once('-').unwrap();
        (number.parse().unwrap(), what == "undo")
    }
}

/// A saga and its participants.
struct World {
    program: Box<dyn Program>,
    now: u64,
    turn: u64,
    open: Vec<Asked>,
    timer: Option<u64>,
    /// How requests that waited were answered, by their turns.
    answered: BTreeMap<u64, Result<String, String>>,
    /// What each participant has done: times done, times undone.
    done: Vec<(u32, u32)>,
    /// Every ask, in order.
    asked: Vec<(usize, bool)>,
    /// Steps that were undone, in order.
    undone: Vec<usize>,
}

impl World {
    fn new(steps: usize) -> Self {
        Self {
            program: Sagas.begin(),
            now: 1_000_000_000,
            turn: 0,
            open: Vec::new(),
            timer: None,
            answered: BTreeMap::new(),
            done: vec![(0, 0); steps],
            asked: Vec::new(),
            undone: Vec::new(),
        }
    }

    fn save(&mut self) {
        let mut saved = Vec::new();
        self.program.save(&mut saved);
        let loaded = Sagas.load(&saved).unwrap();
        let mut again = Vec::new();
        loaded.save(&mut again);
        assert_eq!(saved, again);
        self.program = loaded;
    }

    /// Puts one turn; what it said, or nothing if that is to come.
    fn put(&mut self, input: Input<'_>) -> Option<Result<String, String>> {
        let mut writer = FrameWriter::new(Vec::new(), "saga/order-7", 7);
        writer.push(&Turn {
            number: self.turn,
            now: self.now,
            input,
        });
        self.turn += 1;
        let answer = program::run(&mut *self.program, &writer.finish(), &LIMITS).unwrap();
        let mut reader = AnswerReader::new(&answer, 1).unwrap();
        let mut turn = reader.next_answer().unwrap().unwrap();
        while let Some(effect) = turn.effects.next_effect().unwrap() {
            match effect {
                Effect::Ask {
                    ask,
                    to,
                    method,
                    payload,
                    ..
                } => {
                    let body = match payload.content_type {
                        ContentType::Json => serde_json::from_slice(payload.bytes).unwrap(),
                        _ => rmp_serde::from_slice(payload.bytes).unwrap(),
                    };
                    let asked = Asked {
                        ask,
                        to: to.to_owned(),
                        method: method.to_owned(),
                        body,
                    };
                    assert!(
                        self.open.iter().all(|open| open.ask != ask),
                        "{ask} is open"
                    );
                    self.asked.push(asked.step());
                    self.open.push(asked);
                }
                Effect::SetTimer {
                    schedule: Schedule::Once { delay_ms },
                    ..
                } => self.timer = Some(self.now + delay_ms * 1_000_000),
                Effect::Reply { request, answer } => {
                    let told = said(&match answer {
                        Ok(payload) => Said::Ok(payload),
                        Err(failure) => Said::Failed(failure),
                    });
                    let before = self.answered.insert(request, told.unwrap());
                    assert_eq!(before, None, "{request} is answered once");
                }
                Effect::Log { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        said(&turn.outcome)
    }

    fn start(&mut self, start: &serde_json::Value, packed: bool) -> Option<Result<String, String>> {
        if packed {
            let bytes = rmp_serde::to_vec_named(start).unwrap();
            self.put(message("start", ContentType::MessagePack, &bytes))
        } else {
            let bytes = serde_json::to_vec(start).unwrap();
            self.put(message("start", ContentType::Json, &bytes))
        }
    }

    fn tell(&mut self, method: &str) -> Result<String, String> {
        self.put(message(method, ContentType::Json, b"{}")).unwrap()
    }

    fn report(&mut self) -> Report {
        serde_json::from_str(&self.tell("status").unwrap()).unwrap()
    }

    /// A participant acts, and its answer comes, or does not.
    fn end(&mut self, asked: &Asked, acts: bool, reply: Reply<'_>) {
        let (step, undoes) = asked.step();
        if acts {
            // It keeps the ids of what it has done and undone, so nothing is done twice, and
            // nothing after it was undone.
            let (done, undone) = &mut self.done[step];
            if undoes {
                self.undone.extend((*undone == 0).then_some(step));
                *undone = 1;
            } else if *undone == 0 {
                *done = 1;
            }
        }
        self.put(Input::Reply {
            ask: asked.ask,
            reply,
        });
    }

    fn tick(&mut self, ms: u64) {
        self.now += ms * 1_000_000;
        if self.timer.is_some_and(|due| due <= self.now) {
            self.timer = None;
            self.put(Input::Timer {
                id: 1,
                method: "tick",
                payload: Payload::NONE,
            });
        }
    }
}

fn said(outcome: &Said<'_>) -> Option<Result<String, String>> {
    match outcome {
        Said::Ok(payload) if payload.content_type == ContentType::MessagePack => {
            let value: serde_json::Value = rmp_serde::from_slice(payload.bytes).unwrap();
            Some(Ok(value.to_string()))
        }
        Said::Ok(payload) => Some(Ok(String::from_utf8(payload.bytes.to_vec()).unwrap())),
        Said::Failed(failure) => Some(Err(format!("{}: {}", failure.code, failure.message))),
        Said::Pending => None,
        Said::Deferred => panic!("a saga defers nothing"),
    }
}

fn message<'a>(method: &'a str, content_type: ContentType, bytes: &'a [u8]) -> Input<'a> {
    Input::Message {
        source: "client/c",
        method,
        payload: Payload {
            content_type,
            bytes,
        },
        request: true,
        deadline: u64::MAX,
    }
}

fn json(bytes: &[u8]) -> Payload<'_> {
    Payload {
        content_type: ContentType::Json,
        bytes,
    }
}

fn failure(code: &'static str) -> Reply<'static> {
    Reply::Failed(Failure {
        code,
        message: "it cannot be",
        details: Payload::NONE,
    })
}

/// A saga of so many steps; bits of `ways` say what each has.
fn saga(ways: &[u8]) -> Declaration {
    let step = |(number, way): (usize, &u8)| StepDeclaration {
        retry: (way & 1 != 0).then(|| Retry {
            attempts: 2,
            schedule: Some("fixed:20ms".to_owned()),
        }),
        repeatable: Some(way & 2 != 0),
        form: if way & 4 != 0 {
            Form::Plain
        } else {
            Form::Step
        },
        undo: (way & 24 != 0).then(|| UndoDeclaration {
            to: (way & 32 != 0).then(|| "other/main".to_owned()),
            method: format!("undo-{number}"),
            form: Form::Step,
            timeout_ms: None,
            retry: Some(Retry {
                attempts: 2,
                schedule: Some("fixed:20ms".to_owned()),
            }),
        }),
        ..StepDeclaration::new(format!("s{number}"), "some/main", format!("do-{number}"))
    };
    Declaration {
        steps: ways.iter().enumerate().map(step).collect(),
        timeout_ms: None,
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// An ask ends: which, how, and whether its participant had acted.
    End {
        which: u8,
        how: u8,
        acts: bool,
    },
    Wait {
        ms: u8,
    },
    Cancel,
    Resume,
    Again,
    Save,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (any::<u8>(), 0_u8..10, any::<bool>())
            .prop_map(|(which, how, acts)| Step::End { which, how, acts }),
        3 => (0_u8..50).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Cancel),
        1 => Just(Step::Resume),
        1 => Just(Step::Again),
        2 => Just(Step::Save),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn all_steps_are_done_or_all_that_can_be_are_undone_in_reverse(
        ways in prop::collection::vec(any::<u8>(), 1..6),
        timeout in prop_oneof![Just(None), (1_u64..200).prop_map(Some)],
        packed in any::<bool>(),
        steps in steps(),
    ) {
        let mut world = World::new(ways.len());
        let declared = Declaration { timeout_ms: timeout, ..saga(&ways) };
        let start = serde_json::json!({"saga": declared, "input": {"item": 7}});
        let mut waiting = vec![world.turn];
        prop_assert_eq!(world.start(&start, packed), None);
        for step in steps {
            match step {
                Step::End { which, how, acts } => {
                    let Some(at) = usize::from(which).checked_rem(world.open.len()) else {
                        continue;
                    };
                    let asked = world.open.remove(at);
                    match how {
                        // It failed and did nothing, or nobody knows whether it did.
                        0 => world.end(&asked, false, failure("no")),
                        1 => world.end(&asked, false, Reply::Unavailable("nowhere")),
                        2 => world.end(&asked, acts, Reply::Timeout),
                        3 => world.end(&asked, acts, Reply::Abandoned),
                        4 => world.end(&asked, acts, Reply::Bounced("gone")),
                        _ => world.end(&asked, true, Reply::Ok(json(b"{\"got\":1}"))),
                    }
                }
                Step::Wait { ms } => world.tick(ms.into()),
                Step::Cancel => { world.tell("cancel").unwrap(); }
                Step::Resume => { world.tell("resume").unwrap(); }
                Step::Again => {
                    let number = world.turn;
                    if world.start(&start, packed).is_none() {
                        waiting.push(number);
                    }
                }
                Step::Save => world.save(),
            }
        }
        for _ in 0..200 {
            let report = world.report();
            if matches!(&*report.state, "committed" | "compensated") {
                break;
            }
            world.tell("resume").unwrap();
            world.tick(50);
            if !world.open.is_empty() {
                let asked = world.open.remove(0);
                world.end(&asked, true, Reply::Ok(Payload::NONE));
            }
        }
        let report = world.report();
        let ended = world.asked.len();
        // What comes now is too late, and changes nothing.
        let mut late = std::mem::take(&mut world.open);
        for asked in &late.split_off(0) {
            world.end(asked, true, Reply::Ok(Payload::NONE));
        }
        prop_assert_eq!(world.asked.len(), ended, "a late answer began something");
        prop_assert_eq!(&world.report().state, &report.state);

        // Steps begin in order, each after the one before; nothing is done after the first
        // that is undone, and what is undone is in reverse.
        let first = world.asked.iter().position(|(_, undoes)| *undoes).unwrap_or(ended);
        prop_assert!(world.asked[..first].is_sorted() && world.asked[0].0 == 0);
        prop_assert!(world.asked[first..].is_sorted_by(|a, b| a.1 && b.1 && a.0 >= b.0));
        prop_assert!(world.undone.is_sorted_by(|a, b| a > b));
        let committed = report.state == "committed";
        for (number, (done, undone)) in world.done.iter().enumerate() {
            let can = ways[number] & 24 != 0;
            if committed {
                prop_assert_eq!((*done, *undone), (1, 0), "step {}", number);
            } else if can {
                // Whatever was done is undone, also what nobody heard of.
                prop_assert!(*done <= *undone, "step {number} is left: {report:?}");
            } else {
                prop_assert_eq!(*undone, 0);
            }
        }
        for request in waiting {
            prop_assert_eq!(world.answered.get(&request).map(Result::is_ok), Some(committed));
        }
        world.save();
        prop_assert_eq!(world.report().state, report.state);
    }
}

#[test]
fn the_third_of_three_fails_and_two_are_undone() {
    for packed in [false, true] {
        let mut world = World::new(3);
        let start = serde_json::json!({"saga": saga(&[8, 8, 8]), "input": {"item": 7}});
        assert_eq!(world.start(&start, packed), None);
        for step in 0..3 {
            let asked = world.open.remove(0);
            assert_eq!(asked.method, format!("do-{step}"));
            let body = serde_json::json!({"id": format!("order-7/s{step}"), "input": {"item": 7}});
            assert_eq!(asked.body, body);
            let answer = format!("{{\"n\":{step}}}").into_bytes();
            let packed_answer = rmp_serde::to_vec_named(&BTreeMap::from([("n", step)])).unwrap();
            let answer = if packed {
                Payload::message_pack(&packed_answer)
            } else {
                json(&answer)
            };
            match step {
                2 => world.end(&asked, false, failure("sold-out")),
                _ => world.end(&asked, true, Reply::Ok(answer)),
            }
        }
        let undoing = world.report();
        let states: Vec<&str> = undoing.steps.iter().map(|step| &*step.state).collect();
        assert_eq!(states, ["done", "undoing", "failed"]);
        for step in [1, 0] {
            let asked = world.open.remove(0);
            assert_eq!(asked.method, format!("undo-{step}"));
            assert_eq!(asked.body["answer"], serde_json::json!({"n": step}));
            world.end(&asked, true, Reply::Ok(Payload::NONE));
        }
        let told = world.answered[&0].clone().unwrap_err();
        assert_eq!(
            told,
            "compensated: step `s2` failed: sold-out: it cannot be; all that was done is undone"
        );
    }
}

#[test]
fn what_cannot_be_undone_is_stuck_until_it_is_resumed() {
    let mut world = World::new(2);
    let start = serde_json::json!({"saga": saga(&[8, 8])});
    world.start(&start, false);
    let asked = world.open.remove(0);
    world.end(&asked, true, Reply::Ok(Payload::NONE));
    let asked = world.open.remove(0);
    world.end(&asked, false, failure("no"));
    for _ in 0..2 {
        let asked = world.open.remove(0);
        world.end(&asked, false, failure("closed"));
        world.tick(20);
    }
    let stuck = world.report();
    assert_eq!((stuck.state.as_str(), stuck.retries), ("stuck", 1));
    let told = world.answered[&0].clone().unwrap_err();
    assert!(
        told.contains("step `s0` cannot be undone: closed"),
        "{told}"
    );
    world.tell("resume").unwrap();
    let asked = world.open.remove(0);
    world.end(&asked, true, Reply::Ok(Payload::NONE));
    assert_eq!(world.report().state, "compensated");
}

#[test]
fn one_id_is_one_saga() {
    let mut world = World::new(1);
    let start = serde_json::json!({"saga": saga(&[8]), "wait": false});
    let report = world.start(&start, false).unwrap().unwrap();
    assert!(report.contains(r#""state":"doing""#), "{report}");
    assert!(
        world.start(&start, false).unwrap().is_ok(),
        "the same again"
    );
    let other = serde_json::json!({"saga": saga(&[8, 8])});
    let error = world.start(&other, false).unwrap().unwrap_err();
    assert!(error.starts_with("in-use: a saga of this id"), "{error}");
    assert_eq!(world.asked, [(0, false)]);
}

#[test]
fn bad_sagas_name_the_place_and_what_is_accepted() {
    let step = r#"{"id":"a","to":"a/main","method":"m""#;
    for (body, why) in [
        (
            r#"{"saga":{"steps":[]}}"#.to_owned(),
            "steps: 0, and it may be 1 to 32",
        ),
        ("{}".to_owned(), "missing field `saga`"),
        (
            format!(r#"{{"saga":{{"steps":[{step},"undo":{{}}}}]}}}}"#),
            "missing field `method`",
        ),
        (
            format!(r#"{{"saga":{{"steps":[{step},"undo":{{"method":"u","to":"x"}}}}]}}}}"#),
            "step 1 `a`, undo.to: `x` is no agent id",
        ),
        (
            format!(r#"{{"saga":{{"steps":[{step}}},{step}}}]}}}}"#),
            "step 2 `a`, id: another step has it already",
        ),
        (
            format!(r#"{{"saga":{{"steps":[{step},"compensate":"x"}}]}}}}"#),
            "unknown field `compensate`, expected one of",
        ),
        (
            format!(r#"{{"saga":{{"steps":[{step},"form":"bare"}}]}}}}"#),
            "unknown variant `bare`, expected `step` or `plain`",
        ),
        (
            format!(r#"{{"saga":{{"steps":[{step},"retry":{{"attempts":1}}}}]}}}}"#),
            "step 1 `a`, retry.attempts: 1, and it may be 2 to 1000",
        ),
        (
            format!(
                r#"{{"saga":{{"steps":[{step}}}]}},"input":"{}"}}"#,
                "x".repeat(MAX_INPUT)
            ),
            "input: 262146 bytes, and 262144 is the most",
        ),
    ] {
        let mut world = World::new(1);
        let input = message("start", ContentType::Json, body.as_bytes());
        let error = world.put(input).unwrap().unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(world.report().state, "new");
    }
}

#[test]
fn what_was_not_saved_is_not_loaded() {
    let mut world = World::new(2);
    let start = serde_json::json!({"saga": saga(&[9, 9]), "input": [1, 2]});
    world.start(&start, false);
    let asked = world.open.remove(0);
    world.end(&asked, true, Reply::Ok(json(b"5")));
    let mut saved = Vec::new();
    world.program.save(&mut saved);
    for at in 0..saved.len() {
        assert!(Sagas.load(&saved[..at]).is_err(), "cut at {at}");
        for change in [1, 0x40, 0xff] {
            let mut other = saved.clone();
            other[at] ^= change;
            if let Ok(program) = Sagas.load(&other) {
                let mut again = Vec::new();
                program.save(&mut again);
                assert_eq!(again, other);
            }
        }
    }
}
