use std::num::NonZeroU64;

use phoenix_wit::{ContentType, FrameWriter, Turn};

use super::*;
use crate::agent::{MessageEnd, Token};
use crate::flow::{FlowField, FlowFields, FlowPolicy, FlowValue};
use crate::journal::SnapshotEvery;
use crate::taxonomy::{Ordering, Overrides};
use crate::{Ask, ClientId, KindPolicy, NodeId, Overflow, Reply, ReplyTo, Sequence, StreamKey};

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn payload(bytes: &[u8]) -> Payload {
    Payload {
        content_type: ContentType::MessagePack,
        bytes: bytes.into(),
    }
}

fn message(bytes: &[u8], ask: bool) -> Input {
    let client = ClientId::new("c1").unwrap();
    let envelope = Envelope {
        stream: StreamKey::shared(
            Sender::Client(client, NodeId(1)),
            agent("counter/a"),
            Lane::Normal,
        ),
        sequence: Some(Sequence {
            number: 7,
            base: NonZeroU64::MIN,
            give_up: Millis(99),
        }),
        body: Body::Message {
            method: "add".into(),
            payload: payload(bytes),
            ask: ask.then(|| {
                Box::new(Ask {
                    id: 3,
                    reply_to: ReplyTo::Client(NodeId(1)),
                    deadline: Millis(50),
                })
            }),
        },
        extras: None,
    };
    Input::Envelope(Arc::new(envelope), None)
}

fn framed(input: &Input) -> Option<Framed<'_>> {
    Some(match input {
        Input::Init { config } => Framed::Init {
            config: config.as_wit(),
        },
        Input::Timer { id, .. } => Framed::Timer {
            id: *id,
            method: "tick",
            payload: phoenix_wit::Payload::default(),
        },
        Input::Envelope(envelope, _) => match &envelope.body {
            Body::Message {
                method,
                payload,
                ask,
            } => Framed::Message {
                source: "client/c1",
                method,
                payload: payload.as_wit(),
                request: ask.is_some(),
                deadline: 0,
            },
            _ => return None,
        },
        Input::Ended { ask, .. } => Framed::Reply {
            ask: *ask,
            reply: phoenix_wit::Reply::Timeout,
        },
        Input::Verdict(verdict) => verdict.as_wit(),
        Input::Abandoned { ask } => Framed::Reply {
            ask: *ask,
            reply: phoenix_wit::Reply::Abandoned,
        },
    })
}

fn turns(inputs: Vec<Put>) -> Turns {
    let mut frame = FrameWriter::new(Vec::new(), "counter/a", 1);
    for put in inputs.iter().filter(|put| put.skip.is_none()) {
        frame.push(&Turn {
            number: 0,
            now: 5,
            input: framed(&put.input).unwrap(),
        });
    }
    Turns {
        terms: None,
        after_checkpoint: true,
        first: 12,
        frame: frame.finish().into(),
        answer: Bytes::from_static(b"an answer"),
        inputs,
        numbers: vec![1, 2, 300],
        moved: vec![Moved {
            sender: Sender::System,
            lane: Lane::Low,
            through: 4,
        }],
        memory: Some(Digest::of(b"memory")),
    }
}

fn verdict(end: MessageEnd) -> Input {
    Input::Verdict(Box::new(MessageVerdict {
        token: Token::new(700).unwrap(),
        to: agent("peer/b"),
        end,
    }))
}

fn put(input: Input) -> Put {
    Put { input, skip: None }
}

fn record(says: Says) -> Record {
    Record {
        incarnation: Incarnation {
            generation: 1,
            boot: 2,
            count: 3,
        },
        epoch: Epoch {
            generation: 4,
            term: 5,
        },
        now: Nanos(6),
        says,
    }
}

/// Every kind of entry, the ones that hold much among them.
fn records() -> Vec<Record> {
    let long = vec![7; 5_000];
    let all = turns(vec![
        put(Input::Init {
            config: Box::new(payload(b"{}")),
        }),
        put(message(b"few", false)),
        Put {
            input: message(&long, true),
            skip: Some(Skip::Expired),
        },
        put(message(&long, true)),
        put(Input::Timer {
            id: 1,
            due: Millis(9),
        }),
        put(Input::Ended {
            ask: 2,
            reply: Box::new(Reply::Timeout),
        }),
        put(Input::Abandoned { ask: 3 }),
        put(verdict(MessageEnd::Applied)),
        Put {
            input: verdict(MessageEnd::Unsure("gave-up".into())),
            skip: Some(Skip::Nothing),
        },
        put(verdict(MessageEnd::NotApplied("init-failed: no".into()))),
    ]);
    let policy = KindPolicy {
        overflow: Overflow::Redirect(agent("spare/all")),
        turn_effects: 77,
        give_up_after: Millis(1_234),
        movable: false,
        durable: true,
        snapshot_every: SnapshotEvery {
            turns: 12,
            bytes: 13_000,
        },
        treatment: Overrides {
            priority: Some(Lane::Bulk),
            ordering: Some(Ordering::ALL[0]),
            ..Overrides::NONE
        },
        flow: Some(gate()),
        ..KindPolicy::default()
    };
    let terms = Terms {
        component: Digest::of(b"component"),
        policy,
    };
    let skipped = Turns {
        frame: Bytes::new(),
        answer: Bytes::new(),
        inputs: vec![Put {
            input: message(b"late", false),
            skip: Some(Skip::Cancelled),
        }],
        memory: None,
        after_checkpoint: false,
        terms: Some(terms.clone()),
        ..turns(Vec::new())
    };
    vec![
        record(Says::Turns(Box::new(all))),
        record(Says::Turns(Box::new(skipped))),
        record(Says::GivenUp(Box::new(GivenUp {
            input: message(&long, false),
            why: "wasm trap: unreachable".into(),
            attempts: 3,
            through: 6,
        }))),
        record(Says::Closed(vec![Closed {
            sender: Sender::Agent(agent("a/b"), Incarnation::default()),
            lane: Lane::High,
            number: 8,
            give_up: Millis(10),
            through: 5,
            reason: SkipReason::Redirected,
            forward: match message(b"on", true) {
                Input::Envelope(envelope, _) => Some(envelope),
                other => panic!("{other:?}"),
            },
        }])),
        record(Says::Heard(vec![
            Heard {
                receiver: agent("a/b"),
                lane: Lane::Low,
                number: 7,
                verdict: Verdict::Skipped("mailbox-full".into()),
            },
            Heard {
                receiver: agent("a/b"),
                lane: Lane::Normal,
                number: 8,
                verdict: Verdict::Applied { after: 3 },
            },
            Heard {
                receiver: agent("a/c"),
                lane: Lane::Reply,
                number: 9,
                verdict: Verdict::GivenUp {
                    may_have_left: true,
                },
            },
        ])),
        record(Says::Terms(Box::new(terms))),
        record(Says::Begins(Box::new(payload(b"{}")))),
        record(Says::Anew(Box::new(Anew {
            incarnation: Incarnation {
                generation: 1,
                boot: 9,
                count: 4,
            },
            config: payload(b"{}"),
        }))),
        record(Says::Stops("by an operator".into())),
    ]
}

fn written(record: &Record) -> Bytes {
    let mut out = Vec::new();
    encode(record, &mut out);
    out.into()
}

#[test]
fn entries_come_back_as_they_were() {
    for record in records() {
        assert_eq!(decode(&written(&record)), Ok(record));
    }
}

#[test]
fn a_payload_is_written_once() {
    let long = vec![9; 100_000];
    let says = Says::Turns(Box::new(turns(vec![put(message(&long, false))])));
    let size = written(&record(says)).len();
    assert!(size < 101_000, "{size} bytes");
}

#[test]
fn no_cut_or_flip_does_harm() {
    for record in records() {
        let good = written(&record);
        for length in 0..good.len() {
            decode(&good.slice(..length)).unwrap_err();
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(decode(&longer.into()), Err(RecordError::Trailing(1)));
        for at in 0..good.len().min(600) {
            let mut bad = good.to_vec();
            bad[at] ^= 0x41;
            // What can be read can be written.
            if let Ok(read) = decode(&bad.into()) {
                assert_eq!(decode(&written(&read)), Ok(read));
            }
        }
    }
}

#[test]
fn a_frame_of_other_inputs_is_refused() {
    let two = turns(vec![put(message(b"a", false)), put(message(b"b", false))]);
    let one = Turns {
        inputs: two.inputs[..1].to_vec(),
        ..two.clone()
    };
    let none = Turns {
        frame: Bytes::new(),
        ..two
    };
    for wrong in [one, none] {
        let bytes = written(&record(Says::Turns(Box::new(wrong))));
        assert_eq!(decode(&bytes), Err(RecordError::Invalid("frame")));
    }
}

/// `cargo test -p phoenix-core --lib -- --ignored write`
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let names = [
        "turns", "skipped", "given-up", "closed", "heard", "terms", "begins", "anew", "stops",
    ];
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("../../tests/fuzz/corpus/journal_record");
    write_all(&corpus, names.into_iter().zip(records()));
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test writes files, for tests to read"
)]
fn write_all<'a>(to: &std::path::Path, seeds: impl Iterator<Item = (&'a str, Record)>) {
    std::fs::create_dir_all(to).unwrap();
    for (name, record) in seeds {
        std::fs::write(to.join(name), written(&record)).unwrap();
    }
}

/// A kind's gate with numbers and words in it.
fn gate() -> Arc<FlowPolicy> {
    let mut fields = FlowFields::default();
    for (name, value) in [
        ("shared.name", FlowValue::Text("payments".to_owned())),
        ("shared.amount", FlowValue::Number(300)),
        ("breaker.calls", FlowValue::Number(7)),
    ] {
        fields.set(FlowField::named(name).unwrap(), value);
    }
    Arc::new(fields.build().unwrap())
}
