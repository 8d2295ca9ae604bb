//! Pipelines under failures, changes and saves at any moment, through whole frames.

use std::collections::{BTreeMap, BTreeSet};

use phoenix_wit::{
    AnswerReader, ContentType, Effect, Failure, FrameWriter, Input, Outcome as Said, Payload,
    Reply, Schedule, Turn,
};
use proptest::prelude::*;

use super::machine::{At, Machine};
use super::*;
use crate::patterns::Retry;
use crate::program::{self, Limits};

const LIMITS: Limits = Limits {
    turn_effects: 1_000,
    answer_bytes: 4 << 20,
    memory_bytes: 64 << 20,
};

/// An ask that waits for its end.
#[derive(Clone, Debug)]
struct Open {
    ask: u64,
    to: String,
    stage: String,
    life: u32,
    data: String,
}

impl Open {
    /// The message it is about: data begins with what was pushed.
    fn message(&self) -> u64 {
        self.data.split('|').next().unwrap().parse().unwrap()
    }
}

/// A pipeline and all it talks to.
struct World {
    program: Box<dyn Program>,
    now: u64,
    turn: u64,
    open: Vec<Open>,
    timer: Option<u64>,
    /// Whether it takes no messages.
    holds: bool,
    pushed: u64,
    declaration: Declaration,
    /// Which life of a stage of that name it is.
    lives: BTreeMap<String, u32>,
    /// Of each life of a stage, the last message it has begun.
    begun: BTreeMap<(String, u32), u64>,
    /// Messages by the lives of stages that have answered, or were passed.
    through: BTreeSet<(u64, String, u32)>,
    /// Of each message in it, the lives of stages that were there all the time.
    owed: BTreeMap<u64, BTreeSet<(String, u32)>>,
    dropped: BTreeSet<u64>,
    /// Messages by the lives of stages whose tries have ended.
    tried: BTreeSet<(u64, String, u32)>,
}

#[derive(Clone, Debug)]
enum Step {
    Push { messages: u8, size: u8 },
    End { which: u8, how: How },
    EndAll,
    Wait { ms: u16 },
    Define(Declaration),
    Halt,
    Resume { skip: bool },
    Save,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Ok,
    Nothing,
    Large,
    Failed,
    Timeout,
    Unavailable,
    Abandoned,
}

impl World {
    fn new(declaration: Declaration) -> Self {
        let mut world = Self {
            program: Pipelines.begin(),
            now: 1_000_000_000,
            turn: 0,
            open: Vec::new(),
            timer: None,
            holds: false,
            pushed: 0,
            declaration: declaration.clone(),
            lives: BTreeMap::new(),
            begun: BTreeMap::new(),
            through: BTreeSet::new(),
            owed: BTreeMap::new(),
            dropped: BTreeSet::new(),
            tried: BTreeSet::new(),
        };
        for stage in &declaration.stages {
            world.lives.insert(stage.name.clone(), 0);
        }
        world.define(declaration);
        world
    }

    fn state(&self) -> Machine {
        let mut saved = Vec::new();
        self.program.save(&mut saved);
        Machine::load(&saved).unwrap()
    }

    fn save(&mut self) {
        let mut saved = Vec::new();
        self.program.save(&mut saved);
        let loaded = Pipelines.load(&saved).unwrap();
        let mut again = Vec::new();
        loaded.save(&mut again);
        assert_eq!(saved, again);
        self.program = loaded;
    }

    /// Puts turns in one frame, and in one frame each to a copy: both come to the same.
    fn put(&mut self, inputs: &[Input<'_>]) -> Vec<Result<String, String>> {
        let frame = self.frame(self.turn, inputs);
        let copy = (inputs.len() > 1).then(|| self.one_by_one(inputs));
        let answer = program::run(&mut *self.program, &frame, &LIMITS).unwrap();
        if let Some(copy) = copy {
            let mut saved = Vec::new();
            self.program.save(&mut saved);
            assert_eq!(saved, copy, "batches are split in another way");
        }
        self.turn += inputs.len() as u64;

        let turns = u32::try_from(inputs.len()).unwrap();
        let mut reader = AnswerReader::new(&answer, turns).unwrap();
        let mut said = Vec::new();
        while let Some(mut turn) = reader.next_answer().unwrap() {
            self.holds = turn.pending > 0;
            while let Some(effect) = turn.effects.next_effect().unwrap() {
                self.effect(&effect);
            }
            said.push(match turn.outcome {
                Said::Ok(data) => Ok(String::from_utf8_lossy(data.bytes).into_owned()),
                Said::Failed(failure) => Err(format!("{}: {}", failure.code, failure.message)),
                other => panic!("{other:?}"),
            });
        }
        said
    }

    /// What a copy is saved as that is put the turns in a frame each.
    fn one_by_one(&self, inputs: &[Input<'_>]) -> Vec<u8> {
        let mut saved = Vec::new();
        self.program.save(&mut saved);
        let mut copy = Pipelines.load(&saved).unwrap();
        for (number, input) in (self.turn..).zip(inputs) {
            let frame = self.frame(number, std::slice::from_ref(input));
            program::run(&mut *copy, &frame, &LIMITS).unwrap();
        }
        saved.clear();
        copy.save(&mut saved);
        saved
    }

    fn frame(&self, first: u64, inputs: &[Input<'_>]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), "pipeline/test", 7);
        for (number, input) in (first..).zip(inputs) {
            let (now, input) = (self.now, *input);
            writer.push(&Turn { number, now, input });
        }
        writer.finish()
    }

    fn effect(&mut self, effect: &Effect<'_>) {
        match *effect {
            Effect::Ask {
                ask,
                to,
                method,
                payload,
                ..
            } => {
                let open = Open {
                    ask,
                    to: to.to_owned(),
                    stage: method.to_owned(),
                    life: self.lives[method],
                    data: String::from_utf8(payload.bytes.to_vec()).unwrap(),
                };
                self.begins(&open);
                self.open.push(open);
            }
            Effect::SetTimer {
                schedule: Schedule::Once { delay_ms },
                ..
            } => self.timer = Some(self.now + delay_ms * 1_000_000),
            Effect::Log { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// What holds whenever a stage begins a message.
    fn begins(&mut self, open: &Open) {
        let mut declared = self.declaration.stages.iter();
        assert!(
            declared.any(|stage| stage.name == open.stage),
            "{open:?}: no such stage"
        );
        let message = open.message();
        let key = (message, open.stage.clone(), open.life);
        assert!(!self.through.contains(&key), "{key:?} is asked once more");
        let last = self
            .begun
            .entry((open.stage.clone(), open.life))
            .or_default();
        // Later ones may be at other agents while one is tried again.
        let is_next = *last < message || self.tried.contains(&key);
        assert!(is_next, "{open:?} begins after {last}");
        *last = message.max(*last);
        let same = |other: &&Open| {
            (&other.stage, other.life, &other.to) == (&open.stage, open.life, &open.to)
        };
        assert_eq!(self.open.iter().find(same).map(|other| &other.data), None);
    }

    fn define(&mut self, declaration: Declaration) {
        let bytes = serde_json::to_vec(&declaration).unwrap();
        let before: BTreeSet<String> = self.lives.keys().cloned().collect();
        let now: BTreeSet<String> = declaration.stages.iter().map(|s| s.name.clone()).collect();
        for name in &now {
            let had = self.declaration.stages.iter().any(|s| s.name == *name);
            if !had {
                *self.lives.entry(name.clone()).or_insert(0) += u32::from(before.contains(name));
            }
        }
        for owed in self.owed.values_mut() {
            owed.retain(|(name, _)| now.contains(name));
        }
        self.declaration = declaration;
        let said = self.put(&[message("define", ContentType::Json, &bytes)]);
        said.into_iter().next().unwrap().unwrap();
    }

    fn push(&mut self, messages: u8, size: u8) {
        for _ in 0..messages {
            if self.holds {
                return;
            }
            let number = self.pushed + 1;
            let data = format!("{number}|{}", "x".repeat(size.into()));
            let life = |s: &StageDeclaration| (s.name.clone(), self.lives[&s.name]);
            let owed = self.declaration.stages.iter().map(life).collect();
            self.owed.insert(number, owed);
            self.pushed += 1;
            let said = self.put(&[message("push", ContentType::Binary, data.as_bytes())]);
            assert!(said[0].is_ok(), "{said:?}");
            let in_flight = self.declaration.in_flight.unwrap() as usize;
            let state = self.state();
            let left = state.state.messages.len();
            assert_eq!(self.holds, left >= in_flight, "{left} of {in_flight}");
        }
    }

    /// All that is asked is answered, in one frame.
    fn end_all(&mut self) {
        let ended = std::mem::take(&mut self.open);
        for open in &ended {
            let key = (open.message(), open.stage.clone(), open.life);
            self.tried.insert(key.clone());
            self.through.insert(key);
        }
        let answer = |open: &Open| Input::Reply {
            ask: open.ask,
            reply: Reply::Ok(Payload::NONE),
        };
        let inputs: Vec<Input<'_>> = ended.iter().map(answer).collect();
        if !inputs.is_empty() {
            self.put(&inputs);
        }
    }

    fn end(&mut self, which: u8, how: How) {
        if self.open.is_empty() {
            return;
        }
        let open = self.open.remove(usize::from(which) % self.open.len());
        let more = format!("{}{}|", open.data, open.stage);
        let large = "9".repeat(self.declaration.max_message.unwrap() as usize + 1);
        let of = |text: &'static str| Failure {
            code: "odd",
            message: text,
            details: Payload::NONE,
        };
        let binary = |bytes| Payload {
            content_type: ContentType::Binary,
            bytes,
        };
        let reply = match how {
            How::Ok => Reply::Ok(binary(more.as_bytes())),
            How::Nothing => Reply::Ok(Payload::NONE),
            How::Large => Reply::Ok(binary(large.as_bytes())),
            How::Failed => Reply::Failed(of("it does not like it")),
            How::Timeout => Reply::Timeout,
            How::Unavailable => Reply::Unavailable("no node has it"),
            How::Abandoned => Reply::Abandoned,
        };
        let fits = more.len() <= self.declaration.max_message.unwrap() as usize;
        let taken = match how {
            How::Ok => fits,
            How::Nothing => true,
            _ => false,
        };
        let key = (open.message(), open.stage.clone(), open.life);
        let is_current =
            |s: &&StageDeclaration| s.name == open.stage && self.lives[&s.name] == open.life;
        let stage = self.declaration.stages.iter().find(is_current).cloned();
        self.tried.insert(key.clone());
        let before = self.state().state.counts;
        if taken {
            self.through.insert(key.clone());
        }
        self.put(&[Input::Reply {
            ask: open.ask,
            reply,
        }]);
        let counts = self.state().state.counts;
        assert_eq!(counts.late, 0);
        if counts.skipped + counts.dead > before.skipped + before.dead {
            self.dropped.insert(open.message());
        }
        if counts.passed > before.passed {
            self.through.insert(key);
        }
        let again = counts.retries > before.retries;
        let unsure = matches!(how, How::Timeout | How::Abandoned);
        if let Some(stage) = stage {
            let may = stage.retry.is_some() && (stage.repeatable != Some(false) || !unsure);
            assert!(!again || (may && !taken && !matches!(how, How::Large)));
        }
    }

    fn wait(&mut self, ms: u16) {
        self.now += u64::from(ms) * 1_000_000;
        while self.timer.is_some_and(|due| due <= self.now) {
            self.timer = None;
            self.put(&[Input::Timer {
                id: 1,
                method: "tick",
                payload: Payload::NONE,
            }]);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push { messages, size } => self.push(messages, size),
            Step::End { which, how } => self.end(which, how),
            Step::EndAll => self.end_all(),
            Step::Wait { ms } => self.wait(ms),
            Step::Define(declaration) => self.define(declaration),
            Step::Halt => {
                self.put(&[message("halt", ContentType::None, b"")]);
            }
            Step::Resume { skip } => {
                let at = |message: &machine::Message| {
                    matches!(message.at, At::Halted { .. }).then_some(message.number)
                };
                if skip {
                    let state = self.state();
                    self.dropped
                        .extend(state.state.messages.iter().filter_map(at));
                }
                let body: &[u8] = if skip { br#"{"skip":true}"# } else { b"{}" };
                self.put(&[message("resume", ContentType::Json, body)]);
            }
            Step::Save => self.save(),
        }
        self.settle();
    }

    /// Whoever has left has been through all that was there all the time.
    fn settle(&mut self) {
        let state = self.state();
        let inside: BTreeSet<u64> = state.state.messages.iter().map(|m| m.number).collect();
        let gone: Vec<u64> = self
            .owed
            .keys()
            .filter(|n| !inside.contains(n))
            .copied()
            .collect();
        for number in gone {
            let owed = self.owed.remove(&number).unwrap();
            if self.dropped.contains(&number) {
                continue;
            }
            for (name, life) in owed {
                let key = (number, name, life);
                assert!(self.through.contains(&key), "{key:?} was left out");
            }
        }
        let counts = state.state.counts;
        let left = counts.taken - counts.done - counts.skipped - counts.dead;
        assert_eq!(left, inside.len() as u64, "the books balance");
        assert_eq!(counts.skipped + counts.dead, self.dropped.len() as u64);
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

fn stage(name: &str, way: u16) -> StageDeclaration {
    // Bits of `way` choose.
    let mut stage = StageDeclaration::new(name, format!("{name}/main"), name);
    if way & 1 != 0 {
        stage.to = format!("{name}-{}", way >> 9 & 1);
        stage.spread = Some(u32::from(way >> 1 & 3) + 1);
        stage.parallel = Some(u32::from(way >> 3 & 3) + 1);
    }
    if way & 32 != 0 {
        stage.retry = Some(Retry {
            attempts: 2 + u32::from(way >> 6 & 1),
            schedule: Some("fixed:20ms".to_owned()),
        });
        stage.repeatable = Some(way & 128 != 0);
    }
    stage.on_error = match way >> 7 & 3 {
        0 => Some(OnError::Skip),
        1 => Some(OnError::Pass),
        2 => Some(OnError::DeadLetter),
        _ => None,
    };
    stage
}

fn declarations() -> impl Strategy<Value = Declaration> {
    let names = Just(vec!["a", "b", "c", "d", "e"]).prop_shuffle();
    let ways = prop::collection::vec(any::<u16>(), 1..=5);
    (names, ways, 1_u32..8).prop_map(|(names, ways, in_flight)| Declaration {
        stages: names
            .iter()
            .zip(ways)
            .map(|(name, way)| stage(name, way))
            .collect(),
        in_flight: Some(in_flight),
        max_message: Some(200),
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![
        8 => Just(How::Ok),
        1 => Just(How::Nothing),
        1 => Just(How::Large),
        2 => Just(How::Failed),
        1 => Just(How::Timeout),
        1 => Just(How::Unavailable),
        1 => Just(How::Abandoned),
    ];
    let step = prop_oneof![
        6 => (1_u8..5, 0_u8..20).prop_map(|(messages, size)| Step::Push { messages, size }),
        16 => (any::<u8>(), how).prop_map(|(which, how)| Step::End { which, how }),
        3 => Just(Step::EndAll),
        3 => (0_u16..50).prop_map(|ms| Step::Wait { ms }),
        2 => declarations().prop_map(Step::Define),
        1 => Just(Step::Halt),
        3 => any::<bool>().prop_map(|skip| Step::Resume { skip }),
        2 => Just(Step::Save),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_message_goes_once_through_each_stage_in_order(
        declaration in declarations(),
        steps in steps(),
    ) {
        let mut world = World::new(declaration);
        for step in steps {
            world.step(step);
        }
        // Everything answers from now on: all leave.
        for _ in 0..1_000 {
            if world.owed.is_empty() {
                break;
            }
            world.step(Step::Resume { skip: false });
            world.step(Step::Wait { ms: 50 });
            world.step(Step::End { which: 0, how: How::Nothing });
        }
        prop_assert!(world.state().state.messages.is_empty(), "something stays");
        prop_assert!(!world.holds && world.open.is_empty());
    }
}

fn told(world: &mut World, method: &str, body: &str) -> Result<String, String> {
    let input = message(method, ContentType::Json, body.as_bytes());
    world.put(&[input]).remove(0)
}

fn two_stages() -> World {
    World::new(Declaration {
        stages: vec![
            StageDeclaration::new("a", "a/main", "a"),
            StageDeclaration::new("b", "b/main", "b"),
        ],
        in_flight: Some(3),
        max_message: Some(100),
    })
}

fn status(world: &mut World) -> Status {
    let said = told(world, "status", "").or_else(|_| told(world, "status", "{}"));
    serde_json::from_str(&said.unwrap()).unwrap()
}

#[test]
fn a_halted_pipeline_shows_why_and_goes_on_with_a_stage_replaced() {
    let mut world = two_stages();
    world.push(2, 0);
    world.end(0, How::Failed);
    let halted = status(&mut world);
    assert_eq!(halted.state, "halted");
    let reason = halted.reason.unwrap();
    assert!(
        reason.contains("message 1 failed at `a`") && reason.contains("odd: it does not like it"),
        "{reason}"
    );
    assert_eq!(
        halted.stages[0].error.as_deref(),
        Some("odd: it does not like it")
    );
    world.push(3, 0);
    assert!(
        world.holds && world.open.is_empty(),
        "nothing begins while it is halted"
    );

    let mut better = world.declaration.clone();
    better.stages[0].to = "better/main".to_owned();
    world.define(better);
    assert!(world.open.is_empty());
    told(&mut world, "resume", "{}").unwrap();
    assert_eq!(world.open.len(), 1);
    assert_eq!(
        (world.open[0].to.as_str(), world.open[0].data.as_str()),
        ("better/main", "1|")
    );
}

#[test]
fn nothing_is_done_before_there_are_stages_or_with_what_is_too_large() {
    let mut world = two_stages();
    let large = "x".repeat(101);
    let error = told(&mut world, "push", &large).unwrap_err();
    assert_eq!(
        error,
        "too-large: the message has 101 bytes, and 100 is the most (max_message)"
    );
    world.program = Pipelines.begin();
    let error = told(&mut world, "push", "1").unwrap_err();
    assert!(
        error.starts_with("undefined: ") && error.contains("`define`"),
        "{error}"
    );
    let none = status(&mut world);
    assert_eq!(
        (none.state.as_str(), none.taken, none.refused),
        ("undefined", 0, 1)
    );
    let error = told(&mut world, "shove", "1").unwrap_err();
    assert!(
        error.contains("there are push, on_event, define, status"),
        "{error}"
    );
}

#[test]
fn bad_declarations_name_the_place_and_what_is_accepted() {
    let stage = r#"{"name":"a","to":"a/main","method":"m""#;
    for (body, why) in [
        (
            r#"{"stages":[]}"#.to_owned(),
            "stages: 0, and it may be 1 to 32",
        ),
        (
            format!(r#"{{"stages":[{stage}}},{stage}}}]}}"#),
            "stage 2 `a`, name: another stage has it already",
        ),
        (
            format!(r#"{{"stages":[{stage},"parallel":0}}]}}"#),
            "stage 1 `a`, parallel: 0, and it may be 1 to 256",
        ),
        (
            format!(r#"{{"stages":[{stage},"timeout_ms":3600001}}]}}"#),
            "stage 1 `a`, timeout_ms: 3600001, and it may be 1 to 3600000",
        ),
        (
            format!(r#"{{"stages":[{stage},"retry":{{"attempts":3,"schedule":"often"}}}}]}}"#),
            "stage 1 `a`, retry.schedule: `often`: a schedule is fixed:WAIT",
        ),
        (
            format!(r#"{{"stages":[{stage},"on_error":"ignore"}}]}}"#),
            "unknown variant `ignore`, expected one of `skip`, `pass`, `dead-letter`, `halt`",
        ),
        (
            format!(r#"{{"stages":[{stage},"retries":3}}]}}"#),
            "unknown field `retries`, expected one of `name`, `to`",
        ),
        (
            r#"{"stages":[{"name":"a b","to":"a/main","method":"m"}]}"#.to_owned(),
            "stage 1 `a b`, name: `a b` is none: use 1 to 64 of",
        ),
        (
            r#"{"stages":[{"name":"a","to":"main","method":"m"}]}"#.to_owned(),
            "stage 1 `a`, to: `main` is no agent id: write kind/key",
        ),
        (
            r#"{"stages":[{"name":"a","to":"v/{data.","method":"m"}]}"#.to_owned(),
            "stage 1 `a`, to: `v/{data.` is no template: the brace at byte 2",
        ),
        (
            r#"{"stages":[{"name":"a","to":"pipeline/test","method":"m"}]}"#.to_owned(),
            "stage 1 `a`, to: a pipeline is no stage of itself",
        ),
        (
            format!(r#"{{"stages":[{stage}}}],"in_flight":1000,"max_message":100000}}"#),
            "in_flight: 1000 messages of 100000 bytes (max_message) are 100000000 bytes, and 16777216",
        ),
    ] {
        let mut world = two_stages();
        let error = told(&mut world, "define", &body).unwrap_err();
        assert!(error.contains(why), "{body}: {error}");
    }
}

#[test]
fn a_template_chooses_the_agent_and_what_has_none_is_put_aside() {
    let mut by_ip = StageDeclaration::new("by-ip", "visitor/{data.ip}", "hit");
    by_ip.on_error = Some(OnError::DeadLetter);
    by_ip.parallel = Some(2);
    let mut program = Pipelines.begin();
    let declaration = Declaration {
        stages: vec![by_ip],
        in_flight: None,
        max_message: None,
    };
    let declared = serde_json::to_vec(&declaration).unwrap();
    let mut frame = FrameWriter::new(Vec::new(), "pipeline/visits", 7);
    for (number, input) in (0..).zip([
        message("define", ContentType::Json, &declared),
        message("on_event", ContentType::Json, br#"{"ip":"192.0.2.1"}"#),
        message("on_event", ContentType::Json, br#"{"host":"a"}"#),
        message("dead_letters", ContentType::Json, b""),
        message("on_event", ContentType::Json, br#"{"ip":"192.0.2.2"}"#),
    ]) {
        frame.push(&Turn {
            number,
            now: 1,
            input,
        });
    }
    let answer = program::run(&mut *program, &frame.finish(), &LIMITS).unwrap();
    let mut reader = AnswerReader::new(&answer, 5).unwrap();
    let (mut asked, mut dead) = (Vec::new(), None);
    while let Some(mut turn) = reader.next_answer().unwrap() {
        while let Some(effect) = turn.effects.next_effect().unwrap() {
            if let Effect::Ask { to, .. } = effect {
                asked.push(to.to_owned());
            }
        }
        if let Said::Ok(payload) = turn.outcome {
            dead = serde_json::from_slice::<DeadLetters>(payload.bytes)
                .ok()
                .or(dead);
        }
    }
    assert_eq!(asked, ["visitor/192.0.2.1", "visitor/192.0.2.2"]);
    let letter = &dead.unwrap().letters[0];
    assert_eq!((letter.number, &*letter.stage), (2, "by-ip"));
    assert!(
        letter.error.contains("`{data.ip}` has no value"),
        "{}",
        letter.error
    );
    assert_eq!(letter.data, serde_json::json!({"host": "a"}));
}

#[test]
fn what_was_not_saved_is_not_loaded() {
    let mut world = two_stages();
    world.push(3, 4);
    world.end(0, How::Ok);
    let mut saved = Vec::new();
    world.program.save(&mut saved);
    for at in 0..saved.len() {
        assert!(Pipelines.load(&saved[..at]).is_err(), "cut at {at}");
        // Whatever it is then: it is loaded whole, or refused.
        for change in [1, 0x40, 0xff] {
            let mut other = saved.clone();
            other[at] ^= change;
            if let Ok(program) = Pipelines.load(&other) {
                let mut again = Vec::new();
                program.save(&mut again);
                assert_eq!(again, other);
            }
        }
    }
}

#[test]
fn what_has_no_room_in_a_turn_begins_in_the_next() {
    let mut stage = StageDeclaration::new("a", "a", "a");
    stage.spread = Some(1_000);
    stage.parallel = Some(8);
    let mut world = World::new(Declaration {
        stages: vec![stage],
        in_flight: Some(8),
        max_message: Some(100),
    });
    told(&mut world, "halt", "{}").unwrap();
    world.push(8, 0);
    let few = Limits {
        turn_effects: 5,
        ..LIMITS
    };
    let resume = message("resume", ContentType::None, b"");
    let tick = Input::Timer {
        id: 1,
        method: "tick",
        payload: Payload::NONE,
    };
    let mut asked = Vec::new();
    for input in [resume, tick, tick] {
        let frame = world.frame(world.turn, &[input]);
        let answer = program::run(&mut *world.program, &frame, &few).unwrap();
        let mut reader = AnswerReader::new(&answer, 1).unwrap();
        let mut turn = reader.next_answer().unwrap().unwrap();
        let (mut asks, mut timer) = (0, false);
        while let Some(effect) = turn.effects.next_effect().unwrap() {
            asks += u32::from(matches!(effect, Effect::Ask { .. }));
            timer |= matches!(
                effect,
                Effect::SetTimer {
                    schedule: Schedule::Once { delay_ms: 0 },
                    ..
                }
            );
        }
        asked.push((asks, timer));
    }
    assert_eq!(asked, [(3, true), (3, true), (2, false)]);
}
