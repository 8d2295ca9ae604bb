//! Agents whose program is part of the node.
//!
//! A [`BuiltIn`] is to a node what a component is: it makes the [`Program`]s that agents
//! of one kind are. A program is put turns as a guest is, in the same frames, and answers
//! with the same: [`run`] reads the one and writes the other. So everything around an
//! agent (mailbox, streams, commit, journal, hibernation, migration) is the same for both,
//! and a program has to be what a guest is made to be:
//!
//! - **deterministic**: a turn depends on the program's state, the turn, and what
//!   [`Turned`] says. Time stands still in it, randomness is the agent's own.
//! - **whole when saved**: [`Program::save`] gives the same bytes for the same state, and
//!   what [`BuiltIn::load`] makes of them goes on as the saved one would have.
//! - **bounded**: by [`Limits`], which it can ask for and plan with. What it wants beyond
//!   ends the batch as a trap does: nothing of it happened.
//!
//! It keeps no handlers in its memory, as guests do: what it wants to go on with is in its
//! state. A request that it answers later ([`Outcome::Pending`]) holds nothing up.

use std::fmt;
use std::sync::Arc;

use phoenix_wit::{
    AnswerWriter, FrameError, FrameReader, Outcome as WitOutcome, Payload as WitPayload,
};

use crate::control::HandlerInfo;
use crate::{ContentType, Digest, Failure, KindPolicy, Payload};

pub use phoenix_wit::{Effect, Input, Turn};

/// A kind of agents that is part of the node.
pub trait BuiltIn: Send + Sync {
    /// The kind's name. It is reserved: nobody deploys it.
    fn kind(&self) -> &'static str;

    /// The version of what its programs do and how they are saved. A node loads what its
    /// own version saved and nothing else.
    fn version(&self) -> u32;

    /// What its agents can be called with.
    fn handlers(&self) -> Vec<HandlerInfo>;

    /// A program as it begins, before its first turn. All begin alike: which agent one is
    /// says each turn ([`Turned::agent`]).
    fn begin(&self) -> Box<dyn Program>;

    /// The program that [`Program::save`] wrote; otherwise what is wrong with the bytes,
    /// in a sentence. They may be anybody's.
    fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String>;
}

impl fmt::Debug for dyn BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.version())
    }
}

/// One agent's program.
pub trait Program: Send {
    /// Takes a turn: changes its state, adds effects to `out`, and says how it ended.
    ///
    /// It takes whatever anybody sends without a panic: what it cannot do anything with
    /// has [`Outcome::Failed`], with a code and a text.
    fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome;

    /// Appends its state to `out`. The same state is the same bytes, whatever led to it.
    fn save(&self, out: &mut Vec<u8>);

    /// Bytes of memory its state takes, roughly and no fewer than it is saved in, and at no
    /// cost to tell. As a part of its state it is the same wherever that is.
    fn memory_bytes(&self) -> u64;

    /// What [`Program::save`] writes, alone.
    fn saved(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.save(&mut out);
        out
    }
}

/// How a program's turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; if the message was a request, this is its answer.
    Ok(Payload),
    /// The program's own error; its state and effects stand.
    Failed(Failure),
    /// The request is answered later, by [`Effect::Reply`] with the turn's number.
    Pending,
    /// Not taken now, and put again once another turn was taken. Of a message only, and
    /// nothing may have been changed.
    Deferred,
}

impl Outcome {
    /// Done, with nothing to say.
    pub const DONE: Self = Self::Ok(Payload {
        content_type: ContentType::None,
        bytes: crate::Data::EMPTY,
    });

    /// Failed: a stable word for programs and a sentence for a person.
    pub fn failed(code: &str, message: impl Into<Arc<str>>) -> Self {
        Self::Failed(Failure {
            code: code.into(),
            message: message.into(),
            details: Payload::default(),
        })
    }
}

/// What a program may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Effects of one turn.
    pub turn_effects: u32,
    /// Bytes of one batch's answer frame.
    pub answer_bytes: u32,
    /// Bytes of memory its state may take after a batch.
    pub memory_bytes: u64,
}

impl From<&KindPolicy> for Limits {
    fn from(policy: &KindPolicy) -> Self {
        Self {
            turn_effects: policy.turn_effects,
            answer_bytes: policy.answer_bytes,
            memory_bytes: policy.memory_bytes,
        }
    }
}

/// Where a turn's effects go, and what else a turn may know.
#[derive(Debug)]
pub struct Turned<'a> {
    writer: &'a mut AnswerWriter,
    limits: &'a Limits,
    agent: &'a str,
    seed: u64,
    turn: u64,
    random: Option<blake3::OutputReader>,
    effects: u32,
    pending: u16,
    broken: Option<Broken>,
}

impl<'a> Turned<'a> {
    /// The agent's id, `kind/key`.
    pub fn agent(&self) -> &'a str {
        self.agent
    }

    /// A random number, the same one in a replay of this turn. Not for secrets.
    pub fn random(&mut self) -> u64 {
        let (seed, turn) = (self.seed, self.turn);
        let generator = self.random.get_or_insert_with(|| {
            let mut hasher = blake3::Hasher::new_derive_key("phoenix 2026 program random");
            hasher.update(&seed.to_le_bytes());
            hasher.update(&turn.to_le_bytes());
            hasher.finalize_xof()
        });
        let mut bytes = [0; 8];
        generator.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Adds an effect. One beyond the bounds ends the batch as a trap does. A message to
    /// several counts as so many.
    pub fn effect(&mut self, effect: &Effect<'_>) {
        if self.count(effect) {
            self.writer.effect(effect);
            self.check_answer();
        }
    }

    /// Adds an effect whose payload `write` appends to what it is given; the payload in
    /// `effect` is to be none.
    pub fn effect_with(
        &mut self,
        effect: &Effect<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> ContentType,
    ) {
        if self.count(effect) {
            let written = self
                .writer
                .effect_with(effect, |out| Ok::<_, std::convert::Infallible>(write(out)));
            let Ok(()) = written;
            self.check_answer();
        }
    }

    /// Says that no more is to be put to the program for now than the ends of its asks, its
    /// timers, and messages whose handlers [interleave](HandlerInfo::interleave): others
    /// wait in the mailbox, and who sends them is slowed down. Every turn says so anew that
    /// it is to be so after.
    pub fn hold(&mut self) {
        self.pending = 1;
    }

    /// What the program may use up.
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Effects that the turn may have yet.
    pub fn effects_left(&self) -> u32 {
        self.limits.turn_effects.saturating_sub(self.effects)
    }

    /// Bytes that are left of the batch's answer, for this turn and those after it. An
    /// effect takes what its texts and its payload are and, besides, 64 bytes at most; so
    /// does an outcome.
    pub fn bytes_left(&self) -> usize {
        (self.limits.answer_bytes as usize).saturating_sub(self.writer.bytes())
    }

    /// Whether there is room for what `effect` counts.
    fn count(&mut self, effect: &Effect<'_>) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match u32::try_from(effect.count()) {
            Ok(count) if count <= self.effects_left() => self.effects += count,
            _ => self.broken = Some(Broken::Effects(self.limits.turn_effects)),
        }
        self.broken.is_none()
    }

    fn check_answer(&mut self) {
        if self.writer.bytes() > self.limits.answer_bytes as usize && self.broken.is_none() {
            self.broken = Some(Broken::Answer(self.limits.answer_bytes));
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Ok(payload) => WitOutcome::Ok(payload.as_wit()),
            Outcome::Failed(failure) => WitOutcome::Failed(phoenix_wit::Failure {
                code: &failure.code,
                message: &failure.message,
                details: failure.details.as_wit(),
            }),
            Outcome::Pending => WitOutcome::Pending,
            Outcome::Deferred => WitOutcome::Deferred,
        };
        // What is put off waits for something: as with a guest, for a handler.
        let least = u16::from(outcome == WitOutcome::Deferred);
        self.writer.outcome(&outcome, self.pending.max(least));
        self.check_answer();
    }
}

/// Why a batch was not run to its end. The program has to be dropped: it has gone a part
/// of the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What was put to it is no input frame.
    #[error("the frame given to the program is no input frame: {0}")]
    Frame(#[from] FrameError),
    /// A turn has more effects than it may have.
    #[error("the turn has more than {0} effects (turn-effects)")]
    Effects(u32),
    /// The batch's answer is larger than it may be.
    #[error("the answer is larger than {0} bytes (answer-bytes)")]
    Answer(u32),
    /// Its state is larger than it may be.
    #[error("the program's state takes {found} bytes, and {limit} are given (memory-bytes)")]
    Memory {
        /// What it takes.
        found: u64,
        /// What it may take.
        limit: u64,
    },
}

/// Puts the turns of an input frame to `program`, one after the other, and gives the
/// answer frame.
pub fn run(program: &mut dyn Program, frame: &[u8], limits: &Limits) -> Result<Vec<u8>, Broken> {
    let mut reader = FrameReader::new(frame)?;
    let mut writer = AnswerWriter::new(Vec::new());
    while let Some(turn) = reader.next_turn()? {
        if turn.input == Input::Describe {
            writer.outcome(&WitOutcome::Ok(WitPayload::NONE), 0);
            continue;
        }
        let mut out = Turned {
            writer: &mut writer,
            limits,
            agent: reader.id(),
            seed: reader.seed(),
            turn: turn.number,
            random: None,
            effects: 0,
            pending: 0,
            broken: None,
        };
        let outcome = program.turn(&turn, &mut out);
        out.outcome(&outcome);
        if let Some(broken) = out.broken {
            return Err(broken);
        }
    }
    let found = program.memory_bytes();
    if found > limits.memory_bytes {
        let limit = limits.memory_bytes;
        return Err(Broken::Memory { found, limit });
    }
    Ok(writer.finish())
}

/// The digest by which a built-in kind is known where a component's stands otherwise: of
/// its name and its version.
pub fn digest(built_in: &dyn BuiltIn) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("phoenix 2026 built-in kind");
    hasher.update(&built_in.version().to_le_bytes());
    hasher.update(built_in.kind().as_bytes());
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use phoenix_wit::{Answer, AnswerReader, Delivery, FrameWriter};

    use super::*;

    /// Counts what it is told to add, and tells `watcher/main`.
    struct Counting;

    #[derive(Default)]
    struct Counter {
        total: u64,
        held: Vec<u64>,
    }

    impl BuiltIn for Counting {
        fn kind(&self) -> &'static str {
            "counting"
        }
        fn version(&self) -> u32 {
            3
        }
        fn handlers(&self) -> Vec<HandlerInfo> {
            let names = ["add", "later", "now", "random", "many", "grow"];
            let info = |name: &str| HandlerInfo {
                name: name.into(),
                interleave: false,
            };
            names.into_iter().map(info).collect()
        }
        fn begin(&self) -> Box<dyn Program> {
            Box::new(Counter::default())
        }
        fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
            let (words, rest) = saved.as_chunks::<8>();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            let total = words.next().filter(|_| rest.is_empty());
            Ok(Box::new(Counter {
                total: total.ok_or("a counter is saved as words of 8 bytes")?,
                held: words.collect(),
            }))
        }
    }

    impl Counter {
        fn said(&self) -> Payload {
            Payload {
                content_type: ContentType::Binary,
                bytes: self.total.to_le_bytes()[..].into(),
            }
        }

        fn tell(&self, out: &mut Turned<'_>) {
            out.effect_with(
                &Effect::Send {
                    to: "watcher/main",
                    method: "heard",
                    payload: WitPayload::NONE,
                    delivery: Delivery::ExactlyOnce,
                },
                |bytes| {
                    bytes.extend_from_slice(&self.total.to_le_bytes());
                    ContentType::Binary
                },
            );
        }
    }

    impl Program for Counter {
        fn turn(&mut self, turn: &Turn<'_>, out: &mut Turned<'_>) -> Outcome {
            let Input::Message {
                method, payload, ..
            } = turn.input
            else {
                return Outcome::DONE;
            };
            match method {
                "add" => {
                    self.total += payload.bytes.len() as u64;
                    self.tell(out);
                    for request in self.held.drain(..) {
                        out.effect(&Effect::Reply {
                            request,
                            answer: Ok(WitPayload::NONE),
                        });
                    }
                    Outcome::Ok(self.said())
                }
                "later" => {
                    self.held.push(turn.number);
                    Outcome::Pending
                }
                "random" => {
                    self.total = turn.now ^ out.random() ^ out.random();
                    Outcome::Ok(self.said())
                }
                "many" => {
                    for _ in 0..payload.bytes.len() {
                        self.tell(out);
                    }
                    Outcome::DONE
                }
                "grow" => {
                    self.held.resize(payload.bytes.len(), 0);
                    Outcome::DONE
                }
                other => Outcome::failed("no-such-handler", format!("there is no `{other}`")),
            }
        }

        fn save(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.total.to_le_bytes());
            for request in &self.held {
                out.extend_from_slice(&request.to_le_bytes());
            }
        }

        fn memory_bytes(&self) -> u64 {
            8 * (1 + self.held.len() as u64)
        }
    }

    const LIMITS: Limits = Limits {
        turn_effects: 4,
        answer_bytes: 1_024,
        memory_bytes: 80,
    };

    /// A frame whose turns, the first of which is 7, are messages of so many bytes.
    fn frame(messages: &[(&str, usize)]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), "counting/a", 5);
        for (number, (method, bytes)) in (7..).zip(messages) {
            writer.push(&Turn {
                number,
                now: 1_000,
                input: Input::Message {
                    source: "client/c",
                    method,
                    payload: WitPayload {
                        content_type: ContentType::Binary,
                        bytes: &vec![0; *bytes],
                    },
                    request: true,
                    deadline: 2_000,
                },
            });
        }
        writer.finish()
    }

    fn answers(answer: &[u8], turns: u32) -> Vec<Answer<'_>> {
        let mut reader = AnswerReader::new(answer, turns).unwrap();
        std::iter::from_fn(|| reader.next_answer().unwrap()).collect()
    }

    #[test]
    fn turns_are_answered_as_a_guest_would() {
        let mut counter = Counting.begin();
        let put = frame(&[("add", 2), ("later", 0), ("odd", 0), ("add", 3)]);
        let answer = run(&mut *counter, &put, &LIMITS).unwrap();
        let mut turns = answers(&answer, 4).into_iter();

        let mut first = turns.next().unwrap();
        let two = WitPayload {
            content_type: ContentType::Binary,
            bytes: &2u64.to_le_bytes(),
        };
        assert_eq!(first.outcome, WitOutcome::Ok(two));
        assert_eq!(
            first.effects.next_effect().unwrap(),
            Some(Effect::Send {
                to: "watcher/main",
                method: "heard",
                payload: two,
                delivery: Delivery::ExactlyOnce,
            })
        );
        assert_eq!(first.effects.next_effect().unwrap(), None);

        // It is open, and holds nothing up.
        let held = turns.next().unwrap();
        assert_eq!((held.outcome, held.pending), (WitOutcome::Pending, 0));
        let odd = turns.next().unwrap();
        let failed = matches!(odd.outcome, WitOutcome::Failed(f) if f.code == "no-such-handler");
        assert!(failed, "{odd:?}");
        let mut last = turns.next().unwrap();
        assert_eq!(last.effects.left(), 2);
        last.effects.next_effect().unwrap();
        let reply = Effect::Reply {
            request: 8,
            answer: Ok(WitPayload::NONE),
        };
        assert_eq!(last.effects.next_effect().unwrap(), Some(reply));
    }

    #[test]
    fn a_saved_program_goes_on_where_it_was() {
        let mut one = Counting.begin();
        let first = frame(&[("add", 2), ("later", 0), ("random", 0)]);
        run(&mut *one, &first, &LIMITS).unwrap();
        let mut other = Counting.load(&one.saved()).unwrap();
        let next = frame(&[("add", 1), ("random", 0)]);
        assert_eq!(
            run(&mut *one, &next, &LIMITS).unwrap(),
            run(&mut *other, &next, &LIMITS).unwrap()
        );
        assert_eq!(one.saved(), other.saved());
        let error = Counting.load(&[1, 2, 3]).err().unwrap();
        assert_eq!(error, "a counter is saved as words of 8 bytes");
    }

    #[test]
    fn what_is_random_is_so_from_turn_to_turn_and_the_same_again() {
        let drawn = || {
            let put = frame(&[("random", 0), ("random", 0)]);
            run(&mut *Counting.begin(), &put, &LIMITS).unwrap()
        };
        assert_eq!(drawn(), drawn());
        let answer = drawn();
        let turns = answers(&answer, 2);
        assert_ne!(turns[0].outcome, turns[1].outcome);
    }

    #[test]
    fn every_bound_is_kept() {
        let put = |limits: &Limits, messages: &[(&str, usize)]| {
            run(&mut *Counting.begin(), &frame(messages), limits)
        };
        // As many in each turn.
        put(&LIMITS, &[("many", 4), ("many", 4)]).unwrap();
        let broken = put(&LIMITS, &[("many", 4), ("many", 5)]);
        assert_eq!(broken, Err(Broken::Effects(4)));
        // All turns of a batch have one answer.
        let answer = put(&LIMITS, &[("many", 4), ("many", 4)]).unwrap();
        let exact = Limits {
            answer_bytes: answer.len() as u32 + 16,
            ..LIMITS
        };
        put(&exact, &[("many", 4), ("many", 4)]).unwrap();
        let broken = put(&exact, &[("many", 4), ("many", 4), ("many", 1)]);
        assert_eq!(broken, Err(Broken::Answer(exact.answer_bytes)));
        put(&LIMITS, &[("grow", 9)]).unwrap();
        let (found, limit) = (88, 80);
        let broken = put(&LIMITS, &[("grow", 10)]);
        assert_eq!(broken, Err(Broken::Memory { found, limit }));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let whole = frame(&[("add", 2), ("add", 3)]);
        for end in 0..whole.len() {
            let broken = run(&mut *Counting.begin(), &whole[..end], &LIMITS);
            assert!(matches!(broken, Err(Broken::Frame(_))), "{end}: {broken:?}");
        }
    }

    #[test]
    fn another_version_has_another_digest() {
        struct Named(&'static str, u32);
        impl BuiltIn for Named {
            fn kind(&self) -> &'static str {
                self.0
            }
            fn version(&self) -> u32 {
                self.1
            }
            fn handlers(&self) -> Vec<HandlerInfo> {
                Vec::new()
            }
            fn begin(&self) -> Box<dyn Program> {
                Counting.begin()
            }
            fn load(&self, saved: &[u8]) -> Result<Box<dyn Program>, String> {
                Counting.load(saved)
            }
        }
        let all = [Named("topic", 1), Named("topic", 2), Named("saga", 1)];
        let digests = all.each_ref().map(|it| digest(it));
        assert_eq!(digests, all.each_ref().map(|it| digest(it)));
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
    }
}
