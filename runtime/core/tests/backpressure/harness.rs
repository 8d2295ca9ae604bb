//! An agent with what its driver does for it, and messages that are numbers.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, Batch, BatchRoom, Handlers};
use phoenix_core::{
    AgentId, Body, ContentType, Digest, Envelope, Extras, Incarnation, KindPolicy, Lane,
    MemorySpill, Millis, Nanos, Notice, Payload, Sender, Sequence, Spill, StreamKey, snapshot,
};
use phoenix_wit::{AnswerWriter, Delivery, Effect, FrameReader, Input, Outcome, SendOptions};

/// Handlers of which none may run while another is pending.
struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _method: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

/// What a guest does with a turn: sees what it is about, answers it.
pub(crate) type Guest<'a> = dyn FnMut(Input<'_>, &mut AnswerWriter) + 'a;

pub(crate) struct Actor {
    pub(crate) agent: Agent,
    pub(crate) policy: KindPolicy,
    pub(crate) spill: MemorySpill,
    room: BatchRoom,
}

pub(crate) fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

pub(crate) fn agent_sender(text: &str) -> Sender {
    Sender::Agent(id(text), Incarnation::default())
}

impl Actor {
    /// An agent that has begun.
    pub(crate) fn new(name: &str, policy: KindPolicy) -> Self {
        let agent = Agent::new(id(name), Incarnation::default(), Payload::default());
        let mut actor = Self {
            agent,
            policy,
            spill: MemorySpill::default(),
            room: BatchRoom::default(),
        };
        drop(actor.run(1, &mut |_, writer| ok(writer)));
        assert!(actor.agent.begun());
        actor
    }

    /// Gives it a message, and does what it wants with its area.
    pub(crate) fn offer(&mut self, envelope: Arc<Envelope>) -> Actions {
        let mut out = Actions::default();
        self.agent.offer(envelope, &self.policy, &mut out);
        self.write_spilled(&out);
        out
    }

    pub(crate) fn write_spilled(&mut self, out: &Actions) {
        for envelope in &out.spill {
            self.spill.push(self.agent.id(), envelope).unwrap();
        }
    }

    /// Brings back what there is room for.
    pub(crate) fn refill(&mut self) -> Vec<Arc<Envelope>> {
        let mut all = Vec::new();
        while let Some(refill) = self.agent.refill(&self.policy) {
            let back = self
                .spill
                .pop(self.agent.id(), refill.lane, refill.messages, refill.bytes)
                .unwrap();
            assert!(!back.is_empty(), "the area holds what the agent counts");
            for envelope in back {
                let mut out = Actions::default();
                self.agent.unspilled(envelope.clone(), &mut out);
                assert!(out.is_empty(), "{out:?}");
                all.push(envelope);
            }
        }
        all
    }

    pub(crate) fn begin(&mut self, now: u64) -> Option<Batch> {
        let now = Nanos(now * 1_000_000);
        self.agent
            .begin(now, &self.policy, &Plain, &mut self.room, Vec::new())
    }

    pub(crate) fn commit(&mut self, batch: Batch, guest: &mut Guest<'_>) -> Actions {
        let mut writer = AnswerWriter::new(Vec::new());
        if batch.turns() > 0 {
            let mut frame = FrameReader::new(&batch.frame).unwrap();
            while let Some(turn) = frame.next_turn().unwrap() {
                guest(turn.input, &mut writer);
            }
        }
        let answer = Bytes::from(writer.finish());
        let mut out = Actions::default();
        self.agent
            .commit(batch, &answer, &self.policy, &mut self.room, &mut out)
            .map_err(|undone| undone.1)
            .unwrap();
        out
    }

    /// Commits an answer that cannot be, and says why.
    pub(crate) fn refuse(&mut self, batch: Batch, answer: Vec<u8>) -> String {
        let (answer, mut out) = (Bytes::from(answer), Actions::default());
        let (policy, room) = (&self.policy, &mut self.room);
        let ended = self.agent.commit(batch, &answer, policy, room, &mut out);
        let (_, why) = *ended.unwrap_err();
        why.to_string()
    }

    /// Runs one batch, if there is one.
    pub(crate) fn step(&mut self, now: u64, guest: &mut Guest<'_>) -> Option<Actions> {
        self.refill();
        let batch = self.begin(now)?;
        Some(self.commit(batch, guest))
    }

    /// Runs everything that is ready.
    pub(crate) fn run(&mut self, now: u64, guest: &mut Guest<'_>) -> Actions {
        let mut all = Actions::default();
        while let Some(out) = self.step(now, guest) {
            all.send.extend(out.send);
            all.acknowledge.extend(out.acknowledge);
            all.answer.extend(out.answer);
            all.log.extend(out.log);
            all.dead.extend(out.dead);
        }
        all
    }

    pub(crate) fn tick(&mut self, now: u64) -> Actions {
        let mut out = Actions::default();
        self.agent.tick(Millis(now), &mut out);
        out
    }

    /// Tells it what became of what it sent to `to`.
    pub(crate) fn hear(&mut self, to: &str, lane: Lane, notice: &Notice, now: u64) -> Actions {
        let mut out = Actions::default();
        self.agent
            .acknowledged(&id(to), lane, notice, Millis(now), &mut out);
        out
    }

    /// Makes it send these numbers in one turn, all to `to`.
    pub(crate) fn send(&mut self, to: &str, numbers: &[u64], now: u64) -> Actions {
        let options = numbers.iter().map(|number| (*number, None));
        self.send_with(to, options, now)
    }

    /// The same, some of them in ways of their own.
    pub(crate) fn send_with(
        &mut self,
        to: &str,
        numbers: impl IntoIterator<Item = (u64, Option<SendOptions>)> + Clone,
        now: u64,
    ) -> Actions {
        let given = self.offer(message(
            Sender::System,
            self.agent.id().as_str(),
            None,
            0,
            0,
        ));
        assert!(given.is_empty(), "{given:?}");
        self.run(now, &mut |input, writer| {
            if matches!(input, Input::Message { .. }) {
                for (number, options) in numbers.clone() {
                    let number = number.to_le_bytes();
                    let payload = phoenix_wit::Payload::message_pack(&number);
                    let encoded = options.map(|options| options.to_bytes());
                    writer.effect(&match &encoded {
                        None => Effect::Send {
                            to,
                            method: "do",
                            payload,
                            delivery: Delivery::ExactlyOnce,
                        },
                        Some(options) => Effect::SendWith {
                            to,
                            method: "do",
                            message_type: "",
                            payload,
                            options,
                        },
                    });
                }
            }
            ok(writer);
        })
    }

    /// The agent as it is after a sleep or a move.
    pub(crate) fn through_snapshot(&mut self) {
        let mut bytes = Vec::new();
        snapshot::encode(&self.agent, &Digest::of(b"c"), b"", &mut bytes);
        let read = snapshot::decode(&Bytes::from(bytes.clone())).unwrap();
        let mut again = Vec::new();
        snapshot::encode(&read.agent, &Digest::of(b"c"), b"", &mut again);
        assert_eq!(bytes, again, "a snapshot of what was restored is the same");
        self.agent = read.agent;
    }
}

pub(crate) fn ok(writer: &mut AnswerWriter) {
    writer.outcome(&Outcome::Ok(phoenix_wit::Payload::NONE), 0);
}

/// A message that carries `number` and `size` bytes more.
pub(crate) fn message(
    from: Sender,
    to: &str,
    sequence: Option<(Lane, u64)>,
    number: u64,
    size: usize,
) -> Arc<Envelope> {
    let lane = sequence.map_or(Lane::default(), |(lane, _)| lane);
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + size, 0);
    Arc::new(Envelope {
        stream: StreamKey::shared(from, id(to), lane),
        sequence: sequence.map(|(_, number)| Sequence {
            number,
            base: NonZeroU64::MIN,
            give_up: Millis(1_000_000),
        }),
        body: Body::Message {
            method: "do".into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: bytes.into(),
            },
            ask: None,
        },
        extras: None,
    })
}

/// The same on another lane.
pub(crate) fn on_lane(envelope: &Arc<Envelope>, lane: Lane) -> Arc<Envelope> {
    let mut envelope = Envelope::clone(envelope);
    let key = StreamKey::clone(&envelope.stream);
    envelope.stream = Arc::new(StreamKey { lane, ..key });
    Arc::new(envelope)
}

/// The number a message carries.
pub(crate) fn number_of(envelope: &Envelope) -> u64 {
    match &envelope.body {
        Body::Message { payload, .. } => read(&payload.bytes),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn read(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// A policy whose bounds are small.
pub(crate) fn small(messages: u32) -> KindPolicy {
    KindPolicy {
        mailbox_messages: messages,
        ..KindPolicy::default()
    }
}

/// Extras with nothing in them but what is asked for.
pub(crate) fn with_extras(
    envelope: &Arc<Envelope>,
    change: impl FnOnce(&mut Extras),
) -> Arc<Envelope> {
    let mut envelope = Envelope::clone(envelope);
    change(envelope.extras.get_or_insert_with(Box::default));
    Arc::new(envelope)
}
