//! Writes the fuzz targets' seeds from real encodings, the same each time:
//! `cargo test -p decoders --test seeds -- --ignored`. Those of `peer_message`,
//! `packed_frame` and of events are written by
//! `cargo test -p phoenix-net --test wire -- --ignored write`, those of `journal_record` by
//! `cargo test -p phoenix-core --lib -- --ignored write`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, BatchRoom, Handlers};
use phoenix_core::{
    AgentId, Ask, Body, ClientId, Digest, Envelope, Incarnation, KindPolicy, Lane, Millis, Nanos,
    NodeId, ReplyTo, Sender, Sequence, StreamKey, snapshot,
};
use phoenix_host::{Host, HostConfig};
use phoenix_support::zoo;
use phoenix_wit::{
    AnswerWriter, CatchUp, ContentType, Delivery, Effect, Failure, FrameWriter, Input, Level,
    Outcome, Payload, ReceiverList, Receivers, Reply, Schedule, SendOptions, Turn, Verdict,
};

/// Noon of the first day of 2026, nanoseconds.
const NOW: u64 = 1_767_268_800_000_000_000;

const JSON: Payload<'static> = Payload {
    content_type: ContentType::Json,
    bytes: br#"{"by":5}"#,
};

const PACKED: Payload<'static> = Payload {
    content_type: ContentType::MessagePack,
    bytes: b"\x81\xa2by\x05",
};

const FAILURE: Failure<'static> = Failure {
    code: "no-room",
    message: "there is no room left",
    details: JSON,
};

fn write(target: &str, seeds: impl IntoIterator<Item = (&'static str, Vec<u8>)>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in seeds {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
#[ignore = "writes files"]
fn input_frames() {
    let message = |request| Input::Message {
        source: "visitor/192.0.2.7",
        method: "add",
        payload: PACKED,
        request,
        deadline: if request { NOW + 5_000_000_000 } else { 0 },
    };
    let reply = |reply| Input::Reply { ask: 3, reply };
    let timer = Input::Timer {
        id: 1,
        method: "tick",
        payload: JSON,
    };
    let verdict = |verdict| Input::Verdict {
        token: 12,
        to: "counter/bob",
        verdict,
    };
    let inputs = [
        ("init", vec![Input::Init { config: JSON }]),
        ("message", vec![message(false)]),
        (
            "messages",
            vec![message(true), message(false), message(true)],
        ),
        (
            "replies",
            vec![
                reply(Reply::Ok(JSON)),
                reply(Reply::Failed(FAILURE)),
                reply(Reply::Timeout),
                reply(Reply::Bounced("there is no agent counter/b")),
                reply(Reply::Deadlock),
                reply(Reply::Unavailable("the node is stopping")),
                reply(Reply::Abandoned),
            ],
        ),
        ("timer", vec![timer]),
        ("describe", vec![Input::Describe]),
        (
            "bounced",
            vec![Input::Bounced {
                to: "counter/bob",
                method: "add",
                payload: JSON,
                reason: "no-credit",
                unsure: false,
            }],
        ),
        (
            "verdicts",
            vec![
                verdict(Verdict::Applied),
                verdict(Verdict::NotApplied { reason: "overflow" }),
                verdict(Verdict::Unsure { reason: "gave-up" }),
            ],
        ),
        ("nothing", vec![]),
    ];
    write(
        "input_frame",
        inputs.map(|(name, inputs)| {
            let mut writer = FrameWriter::new(Vec::new(), "counter/alice", 42);
            for (number, input) in (7..).zip(inputs) {
                let now = NOW;
                writer.push(&Turn { number, now, input });
            }
            (name, writer.finish())
        }),
    );
}

/// Lane `low`, a time to live, and waits of its own.
const OPTIONS: [u8; SendOptions::BYTES] = [
    1, 2, 1, 3, 48, 117, 0, 0, 96, 234, 0, 0, 5, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 88, 2, 0, 0,
];

fn receivers() -> Receivers<'static> {
    static LIST: LazyLock<ReceiverList> = LazyLock::new(|| {
        let all = ["counter/alice", "counter/bob", "site/main"];
        all.into_iter().collect()
    });
    LIST.receivers()
}

/// Effects of every kind.
fn effects() -> Vec<(&'static str, Effect<'static>)> {
    let send = |delivery| Effect::Send {
        to: "site/main",
        method: "visit",
        payload: PACKED,
        delivery,
    };
    vec![
        ("send", send(Delivery::ExactlyOnce)),
        ("send-once", send(Delivery::AtMostOnce)),
        (
            "send-with",
            Effect::SendWith {
                to: "site/main",
                method: "visit",
                message_type: "phoenix.data.site.visited",
                payload: PACKED,
                options: &OPTIONS,
            },
        ),
        (
            "multicast",
            Effect::Multicast {
                to: receivers(),
                method: "on_event",
                message_type: "phoenix.data.site.visited",
                payload: PACKED,
                options: &OPTIONS,
                token: NonZeroU64::new(12),
            },
        ),
        (
            "ask",
            Effect::Ask {
                ask: 3,
                to: "stock/7",
                method: "reserve",
                payload: JSON,
                deadline_ms: 30_000,
                waiter: Some(5),
            },
        ),
        (
            "reply",
            Effect::Reply {
                request: 5,
                answer: Ok(JSON),
            },
        ),
        (
            "reply-failed",
            Effect::Reply {
                request: 6,
                answer: Err(FAILURE),
            },
        ),
        (
            "publish",
            Effect::Publish {
                topic: "site.visits",
                payload: JSON,
                options: Payload::message_pack(b"\x82\xa3key\xa5alice\xa6retain\xc3"),
            },
        ),
        (
            "subscribe",
            Effect::Subscribe {
                pattern: "site.*",
                options: Payload {
                    content_type: ContentType::Json,
                    bytes: br#"{"filter":"data.by > 3","replay":"last 10"}"#,
                },
            },
        ),
        (
            "unsubscribe",
            Effect::Unsubscribe {
                pattern: "site.*",
                name: "errors",
            },
        ),
        ("set-timer", timer()),
        (
            "set-timer-cron",
            Effect::SetTimer {
                id: 2,
                schedule: Schedule::Cron("30 4 * * mon-fri"),
                catch_up: CatchUp::Skip { late_ms: 60_000 },
                method: "report",
                payload: JSON,
            },
        ),
        ("cancel-timer", Effect::CancelTimer { id: 1 }),
        (
            "spawn",
            Effect::Spawn {
                agent: "visitor/192.0.2.7",
                config: JSON,
            },
        ),
        ("stop", Effect::Stop { reason: "done" }),
        (
            "log",
            Effect::Log {
                level: Level::Warn,
                text: "five errors within a minute",
            },
        ),
        ("wait", Effect::Wait { ask: 2, handler: 5 }),
    ]
}

fn timer() -> Effect<'static> {
    Effect::SetTimer {
        id: 1,
        schedule: Schedule::Every {
            delay_ms: 1_000,
            period_ms: 60_000,
        },
        catch_up: CatchUp::Once,
        method: "tick",
        payload: Payload::NONE,
    }
}

/// An answer frame behind the number of its turns, as the target takes it.
fn answer(turns: &[(&[Effect<'_>], Outcome<'_>, u16)]) -> Vec<u8> {
    let mut writer = AnswerWriter::new(Vec::new());
    for (effects, outcome, pending) in turns {
        effects.iter().for_each(|effect| writer.effect(effect));
        writer.outcome(outcome, *pending);
    }
    let mut bytes = vec![u8::try_from(turns.len()).unwrap()];
    bytes.extend(writer.finish());
    bytes
}

#[test]
#[ignore = "writes files"]
fn answer_frames() {
    let one = |(name, effect)| (name, answer(&[(&[effect], Outcome::Ok(Payload::NONE), 0)]));
    write("answer_frame", effects().into_iter().map(one));
    let all: Vec<Effect<'_>> = effects().into_iter().map(|(_, effect)| effect).collect();
    let outcomes = answer(&[
        (&[], Outcome::Ok(JSON), 0),
        (&[], Outcome::Failed(FAILURE), 0),
        (&all[2..3], Outcome::Pending, 1),
        (&[], Outcome::Deferred, 1),
    ]);
    let everything = answer(&[(&all, Outcome::Ok(PACKED), 0)]);
    write(
        "answer_frame",
        [
            ("nothing", answer(&[])),
            ("outcomes", outcomes),
            ("everything", everything),
        ],
    );
}

struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

/// An agent whose turns are answered as a test says.
struct Life {
    agent: Agent,
    policy: KindPolicy,
    room: BatchRoom,
}

impl Life {
    fn new(id: &str) -> Self {
        let incarnation = Incarnation {
            generation: 2,
            boot: 1,
            count: 300,
        };
        let config = phoenix_core::Payload {
            content_type: ContentType::Json,
            bytes: b"{}"[..].into(),
        };
        Self {
            agent: Agent::new(AgentId::new(id).unwrap(), incarnation, config),
            policy: KindPolicy::default(),
            room: BatchRoom::default(),
        }
    }

    /// Puts what waits, and answers the last turn with this and those before it with nothing.
    fn turn(&mut self, effects: &[Effect<'_>], outcome: &Outcome<'_>, pending: u16) {
        let begun = self
            .agent
            .begin(Nanos(NOW), &self.policy, &Plain, &mut self.room, Vec::new());
        let batch = begun.unwrap();
        let mut writer = AnswerWriter::new(Vec::new());
        for _ in 1..batch.turns() {
            writer.outcome(&Outcome::Ok(Payload::NONE), 0);
        }
        effects.iter().for_each(|effect| writer.effect(effect));
        writer.outcome(outcome, pending);
        let answer = Bytes::from(writer.finish());
        let mut actions = Actions::default();
        self.agent
            .commit(batch, &answer, &self.policy, &mut self.room, &mut actions)
            .map_err(|undone| undone.1)
            .unwrap();
    }

    fn offer(&mut self, from: Sender, number: u64, ask: Option<Ask>) {
        let envelope = Envelope {
            stream: StreamKey::shared(from, self.agent.id().clone(), Lane::Normal),
            sequence: Some(Sequence {
                number,
                base: NonZeroU64::MIN,
                give_up: Millis(NOW / 1_000_000 + 600_000),
            }),
            body: Body::Message {
                method: "add".into(),
                payload: phoenix_core::Payload {
                    content_type: ContentType::MessagePack,
                    bytes: PACKED.bytes.into(),
                },
                ask: ask.map(Box::new),
            },
            extras: None,
        };
        let mut actions = Actions::default();
        self.agent
            .offer(Arc::new(envelope), &self.policy, &mut actions);
    }

    /// The snapshot without its seal, which the target puts behind it.
    fn unsealed(&self, image: &[u8]) -> Vec<u8> {
        let mut bytes = self.sealed(image);
        bytes.truncate(bytes.len() - 32);
        bytes
    }

    fn sealed(&self, image: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let component = Digest::of(b"component");
        snapshot::encode(&self.agent, &component, image, &mut bytes);
        bytes
    }
}

fn agent(id: &str) -> Sender {
    let incarnation = Incarnation {
        generation: 1,
        boot: 1,
        count: 7,
    };
    Sender::Agent(AgentId::new(id).unwrap(), incarnation)
}

fn client() -> Sender {
    Sender::Client(ClientId::new("demo-1").unwrap(), NodeId(1))
}

fn ask(reply_to: ReplyTo) -> Option<Ask> {
    Some(Ask {
        id: 9,
        reply_to,
        deadline: Millis(NOW / 1_000_000 + 30_000),
    })
}

#[test]
#[ignore = "writes files"]
fn snapshots() {
    let done = Outcome::Ok(Payload::NONE);
    let mut life = Life::new("counter/alice");
    let unborn = life.unsealed(b"");
    life.turn(&[], &done, 0);
    let born = life.unsealed(b"image");
    let sealed = life.sealed(b"image");
    life.offer(agent("visitor/192.0.2.7"), 1, None);
    life.offer(client(), 1, None);
    life.offer(Sender::System, 1, None);
    let full = life.unsealed(b"image");
    let all: Vec<Effect<'_>> = effects().into_iter().map(|(_, effect)| effect).collect();
    life.turn(&[all[0], all[0], all[1], all[3], timer()], &done, 0);
    let spoken = life.unsealed(b"image");
    let Sender::Agent(asker, incarnation) = agent("visitor/192.0.2.7") else {
        panic!("it is one");
    };
    let reply_to = ReplyTo::Agent(asker, incarnation);
    life.offer(agent("visitor/192.0.2.7"), 2, ask(reply_to));
    life.turn(&[all[2]], &Outcome::Pending, 1);
    life.offer(client(), 2, ask(ReplyTo::Client(NodeId(1))));
    life.offer(client(), 3, None);
    let waiting = life.unsealed(b"image");
    write(
        "snapshot",
        [
            ("unborn", unborn),
            ("born", born),
            ("sealed", sealed),
            ("full", full),
            ("spoken", spoken),
            ("waiting", waiting),
        ],
    );
}

#[test]
#[ignore = "writes files"]
fn snapshot_images() {
    let host = Host::start(HostConfig {
        max_resident: Some(2),
        ..HostConfig::default()
    })
    .unwrap();
    let policy = KindPolicy::default();
    // What a turn leaves in memory: nothing but a count, a little, and what is worth packing.
    let little =
        "(i32.store (i32.const 9000) (i32.const 7)) (i32.store (i32.const 40000) (i32.const 8))";
    let much = "(memory.fill (i32.const 20000) (i32.const 65) (i32.const 9000))";
    let grown =
        "(if (i32.lt_u (memory.size) (i32.const 3)) (then (drop (memory.grow (i32.const 2)))))
                 (i32.store (i32.const 150000) (i32.const 7))";
    for (name, on_turns, turns) in [
        ("fresh", "", 0),
        ("counted", "", 1),
        ("little", little, 2),
        ("much", much, 2),
        ("grown", grown, 3),
    ] {
        let component = zoo::Framed {
            on_turns,
            ..zoo::Framed::default()
        }
        .component();
        let component = host
            .admit(&component, &policy)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut instance = component.instantiate(&policy).unwrap();
        for number in 0..turns {
            let mut writer = FrameWriter::new(Vec::new(), "test/agent", 42);
            let input = Input::Message {
                source: "client/test",
                method: "any",
                payload: PACKED,
                request: true,
                deadline: NOW + 5_000_000_000,
            };
            let now = NOW;
            writer.push(&Turn { number, now, input });
            let frame = writer.finish();
            instance
                .turns(&frame, Some(Duration::from_secs(10)))
                .unwrap();
        }
        let mut image = Vec::new();
        instance.snapshot(&mut image).unwrap();
        write("snapshot_image", [(name, image)]);
    }
}
