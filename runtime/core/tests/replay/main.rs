//! An agent that is had again from its records is the one that wrote them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, Batch, BatchRoom, Divergence, Handlers};
use phoenix_core::journal::record::{self, Record, Says, Turns};
use phoenix_core::{
    AgentId, Ask, Body, ClientId, ContentType, Digest, Envelope, Epoch, Incarnation, KindPolicy,
    Lane, Millis, Nanos, NodeId, Payload, ReplyTo, Sender, Sequence, StreamKey, snapshot,
};
use phoenix_wit::{AnswerWriter, Delivery, Effect, FrameReader, Input, Outcome};
use proptest::prelude::*;

struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

fn policy() -> KindPolicy {
    KindPolicy {
        batch_messages: 4,
        ..KindPolicy::default()
    }
}

fn new_agent() -> Agent {
    let id = AgentId::new("counter/a").unwrap();
    Agent::new(
        id,
        Incarnation {
            boot: 1,
            ..Incarnation::default()
        },
        Payload::default(),
    )
}

/// What one message makes the guest do.
#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    Ask,
    Timer,
    /// The handler waits; what comes after it in the batch is deferred.
    Wait,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8).prop_map(Step::Send),
        1 => Just(Step::Ask),
        1 => Just(Step::Timer),
        1 => Just(Step::Wait),
        1 => Just(Step::Expire),
    ]
}

fn message(client: u8, number: u64, step: &Step, now: u64) -> Arc<Envelope> {
    let code = match step {
        Step::Send(to) => *to,
        Step::Ask => 10,
        Step::Timer => 11,
        Step::Wait => 12,
        Step::Expire => 13,
    };
    let client_id = ClientId::new(&format!("c{client}")).unwrap();
    let give_up = Millis(if code == 13 { now } else { 1_000_000_000 });
    Arc::new(Envelope {
        stream: StreamKey::shared(
            Sender::Client(client_id, NodeId(1)),
            AgentId::new("counter/a").unwrap(),
            Lane::Normal,
        ),
        sequence: Some(Sequence {
            number,
            base: NonZeroU64::MIN,
            give_up,
        }),
        body: Body::Message {
            method: "do".into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: (&vec![code; 40][..]).into(),
            },
            ask: (code == 12).then(|| {
                Box::new(Ask {
                    id: number,
                    reply_to: ReplyTo::Client(NodeId(1)),
                    deadline: Millis(1_000_000_000),
                })
            }),
        },
        extras: None,
    })
}

/// A guest that does as its messages say. `pending` is its memory.
fn answer(frame: &[u8], pending: &mut u16) -> Bytes {
    let mut writer = AnswerWriter::new(Vec::new());
    let mut frame = FrameReader::new(frame).unwrap();
    let none = phoenix_wit::Payload::NONE;
    while let Some(turn) = frame.next_turn().unwrap() {
        let code = match turn.input {
            Input::Message { payload, .. } => payload.bytes[0],
            Input::Reply { .. } => {
                *pending = pending.saturating_sub(1);
                0
            }
            _ => 0,
        };
        if *pending > 0 && matches!(turn.input, Input::Message { .. }) {
            writer.outcome(&Outcome::Deferred, *pending);
            continue;
        }
        match code {
            10 => writer.effect(&Effect::Ask {
                ask: turn.number,
                to: "test/asked",
                method: "do",
                payload: none,
                deadline_ms: 40,
                waiter: None,
            }),
            11 => writer.effect(&Effect::SetTimer {
                id: turn.number,
                delay_ms: 25,
                period_ms: 50,
                method: "tick",
                payload: none,
            }),
            12 => {
                writer.effect(&Effect::Ask {
                    ask: turn.number,
                    to: "test/asked",
                    method: "do",
                    payload: none,
                    deadline_ms: 30,
                    waiter: Some(turn.number),
                });
                *pending += 1;
                writer.outcome(&Outcome::Pending, *pending);
                continue;
            }
            more => {
                for to in 0..more {
                    writer.effect(&Effect::Send {
                        to: ["test/a", "test/b"][usize::from(to) % 2],
                        method: "do",
                        payload: none,
                        delivery: Delivery::ExactlyOnce,
                    });
                }
            }
        }
        writer.outcome(&Outcome::Ok(none), *pending);
    }
    writer.finish().into()
}

/// Runs what is ready and writes down what was committed.
fn run(agent: &mut Agent, now: u64, pending: &mut u16, records: &mut Vec<Bytes>) {
    let mut room = BatchRoom::default();
    let nanos = Nanos(now * 1_000_000);
    while let Some(batch) = agent.begin(nanos, &policy(), &Plain, &mut room, Vec::new()) {
        let batch: Batch = batch;
        let mut turns = Turns {
            terms: None,
            first: batch.first_turn(),
            frame: Bytes::new(),
            answer: Bytes::new(),
            inputs: batch.puts(),
            numbers: Vec::new(),
            moved: Vec::new(),
            memory: None,
        };
        if batch.turns() > 0 {
            turns.frame = batch.frame.clone().into();
            turns.answer = answer(&batch.frame, pending);
        }
        let committed_at = batch.now();
        let mut out = Actions::default();
        let committed = agent.commit(batch, &turns.answer, &policy(), &mut room, &mut out);
        committed.map_err(|undone| undone.1).unwrap();
        turns.moved = out.moved();
        let mut bytes = Vec::new();
        record::encode(
            &Record {
                incarnation: agent.incarnation(),
                epoch: Epoch::default(),
                now: committed_at,
                says: Says::Turns(Box::new(turns)),
            },
            &mut bytes,
        );
        records.push(bytes.into());
    }
}

fn replay(agent: &mut Agent, records: &[Bytes], pending: &mut u16) -> Result<(), Divergence> {
    let mut room = BatchRoom::default();
    for bytes in records {
        let record = record::decode(bytes).unwrap();
        let turns = record.turns().unwrap();
        let again = if turns.frame.is_empty() {
            Bytes::new()
        } else {
            answer(&turns.frame, pending)
        };
        agent.replay(&record, turns, &again, &policy(), &mut room)?;
    }
    Ok(())
}

fn snapshot_of(agent: &Agent) -> Bytes {
    let mut bytes = Vec::new();
    snapshot::encode(agent, &Digest::of(b"component"), b"", &mut bytes);
    bytes.into()
}

/// A life of these steps: the records, a snapshot half way and how many come before it, and
/// the agent at its end.
fn live(steps: &[(u8, Step, u64)]) -> (Vec<Bytes>, (Bytes, usize, u16), Agent, Millis) {
    let mut agent = new_agent();
    let mut records = Vec::new();
    let mut pending = 0;
    let mut numbers = [0_u64; 3];
    let mut now = 1;
    run(&mut agent, now, &mut pending, &mut records);
    let mut half = (snapshot_of(&agent), records.len(), pending);
    for (at, (client, step, span)) in steps.iter().enumerate() {
        now += span;
        numbers[usize::from(*client)] += 1;
        let number = numbers[usize::from(*client)];
        let mut out = Actions::default();
        agent.tick(Millis(now), &mut out);
        // One whose time will be over when its turn comes.
        let offered = message(*client, number, step, now + 1);
        agent.offer(offered, &policy(), &mut out);
        if at % 3 == 2 {
            now += 2;
            agent.tick(Millis(now), &mut out);
            run(&mut agent, now, &mut pending, &mut records);
            if at <= steps.len() / 2 && agent.waiting() == 0 {
                half = (snapshot_of(&agent), records.len(), pending);
            }
        }
    }
    // Until nothing waits any more.
    for _ in 0..10 {
        now += 60;
        let mut out = Actions::default();
        agent.tick(Millis(now), &mut out);
        run(&mut agent, now, &mut pending, &mut records);
    }
    (records, half, agent, Millis(now))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn records_make_the_agent_again(
        steps in proptest::collection::vec((0..3_u8, step(), 0..20_u64), 1..40),
    ) {
        let (records, (half, before, memory), agent, now) = live(&steps);
        // From the beginning, and from a snapshot on.
        let mut pending = 0;
        let mut from_start = new_agent();
        prop_assert_eq!(replay(&mut from_start, &records, &mut pending), Ok(()));
        let mut pending = memory;
        let mut from_half = snapshot::decode(&half).unwrap().agent;
        prop_assert_eq!(replay(&mut from_half, &records[before..], &mut pending), Ok(()));
        for again in [&mut from_start, &mut from_half] {
            // What is over by now is given up, as it was then.
            again.tick(now, &mut Actions::default());
            prop_assert_eq!(again.turns(), agent.turns());
            prop_assert_eq!(again.pending(), agent.pending());
            prop_assert_eq!(again.timers(), agent.timers());
            prop_assert_eq!(again.open_asks(), agent.open_asks());
            prop_assert_eq!(again.unacknowledged(), agent.unacknowledged());
            prop_assert_eq!(again.unacknowledged_bytes(), agent.unacknowledged_bytes());
            prop_assert_eq!(again.streams().0, agent.streams().0);
            // Its senders send all again: what was applied is known, and the rest waits.
            let mut numbers = [0; 3];
            for (client, step, _) in &steps {
                let number = &mut numbers[usize::from(*client)];
                *number += 1;
                let offered = message(*client, *number, step, now.0 + 1_000);
                again.offer(offered, &policy(), &mut Actions::default());
            }
            prop_assert_eq!(again.waiting(), agent.waiting());
        }
    }
}

#[test]
fn a_replay_that_goes_another_way_is_named() {
    let steps: Vec<_> = (0..9).map(|_| (0, Step::Send(2), 1)).collect();
    let (records, _, _, _) = live(&steps);
    let mut agent = new_agent();
    let mut room = BatchRoom::default();
    let record = record::decode(&records[1]).unwrap();
    let turns = record.turns().unwrap();
    let mut try_it = |agent: &mut Agent, turns: &Turns, answer: &Bytes| {
        agent.replay(&record, turns, answer, &policy(), &mut room)
    };
    let early = try_it(&mut agent, turns, &turns.answer);
    assert!(
        matches!(
            early,
            Err(Divergence::Turn {
                found: 1,
                expected: 0
            })
        ),
        "{early:?}"
    );
    let mut pending = 0;
    replay(&mut agent, &records[..1], &mut pending).unwrap();
    let other = try_it(&mut agent, turns, &Bytes::from_static(b"other"));
    assert_eq!(other, Err(Divergence::Answer(1)));
    let fewer = Turns {
        moved: Vec::new(),
        ..turns.clone()
    };
    assert_eq!(
        try_it(&mut agent, &fewer, &turns.answer),
        Err(Divergence::Streams(1))
    );
}
