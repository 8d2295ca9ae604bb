//! An agent that speaks to more receivers than it keeps streams for.

use std::sync::Arc;

use bytes::Bytes;
use phoenix_wit::{
    AnswerWriter, Effect, Outcome, Payload as WitPayload, ReceiverList, SendOptions,
};

use super::world::{Plain, own};
use crate::agent::{Actions, Agent, BatchRoom, Recovery};
use crate::journal::record::{self, Terms};
use crate::{
    Body, Digest, Envelope, Epoch, Incarnation, KindPolicy, Lane, Millis, Nanos, Notice, Payload,
    Sender, StreamKey, snapshot,
};

struct Speaker {
    agent: Agent,
    terms: Arc<Terms>,
    room: BatchRoom,
    journal: Vec<Bytes>,
}

impl Speaker {
    fn new() -> Self {
        let terms = Arc::new(Terms {
            component: Digest::of(b"component"),
            policy: KindPolicy {
                turn_effects: 20_000,
                outbox_messages: 40_000,
                ..KindPolicy::default()
            },
        });
        let mut agent = Agent::new(own(), Incarnation::default(), Payload::default());
        agent.keep_log(&terms);
        let mut speaker = Self {
            agent,
            terms,
            room: BatchRoom::default(),
            journal: Vec::new(),
        };
        speaker.turn(&[]);
        speaker
    }

    /// A turn that sends to each of these; the numbers of the messages.
    fn turn(&mut self, to: &[String]) -> Vec<u64> {
        let policy = &self.terms.policy;
        let mut out = Actions::default();
        let told = Envelope {
            stream: StreamKey::shared(Sender::System, own(), Lane::Normal),
            sequence: None,
            body: Body::Message {
                method: "do".into(),
                payload: Payload::default(),
                ask: None,
            },
            extras: None,
        };
        self.agent.offer(Arc::new(told), policy, &mut out);
        let mut sent = Vec::new();
        let now = Nanos(5_000_000);
        while let Some(batch) = self
            .agent
            .begin(now, policy, &Plain, &mut self.room, Vec::new())
        {
            let mut writer = AnswerWriter::new(Vec::new());
            for turn in 1..=batch.turns() {
                if turn == batch.turns() {
                    let to: ReceiverList = to.iter().collect();
                    writer.effect(&Effect::Multicast {
                        to: to.receivers(),
                        method: "do",
                        message_type: "",
                        payload: WitPayload::NONE,
                        options: &SendOptions::default().to_bytes(),
                        token: None,
                    });
                }
                writer.outcome(&Outcome::Ok(WitPayload::NONE), 0);
            }
            let answer = writer.finish().into();
            self.agent
                .commit(batch, &answer, policy, &mut self.room, &mut out)
                .unwrap();
        }
        let number = |it: &Arc<Envelope>| it.sequence.unwrap().number;
        sent.extend(out.send.iter().map(number));
        self.note();
        sent
    }

    /// Each of these has applied all that it was sent.
    fn applied(&mut self, by: impl Iterator<Item = String>) {
        for to in by {
            let to = crate::AgentId::new(&to).unwrap();
            let through = u64::MAX;
            let notice = Notice::Applied { after: 0, through };
            let mut out = Actions::default();
            self.agent
                .acknowledged(&to, Lane::Normal, &notice, Millis(6), &mut out);
        }
        self.note();
    }

    fn note(&mut self) {
        for record in self.agent.take_records(Epoch::default(), true) {
            let mut bytes = Vec::new();
            record::encode(&record, &mut bytes);
            self.journal.push(bytes.into());
        }
    }
}

#[test]
fn streams_forgotten_in_another_order_get_the_numbers_they_had() {
    let name = |at: usize| format!("peer/{at}");
    let mut speaker = Speaker::new();
    // As many as are kept, some further on than others, idle in another order than begun.
    let all: Vec<String> = (0..1_024).map(name).collect();
    for round in 1..=5 {
        let some: Vec<String> = (0..1_024).filter(|at| at % 5 < round).map(name).collect();
        speaker.turn(&some);
    }
    speaker.applied(all.iter().rev().cloned());
    let mut image = Vec::new();
    snapshot::encode(&speaker.agent, &speaker.terms.component, b"", &mut image);
    speaker.journal.clear();
    speaker.agent.keep_log(&speaker.terms.clone());
    // Others take the places of some, which are spoken to again.
    let others: Vec<String> = (2_000..2_400).map(name).collect();
    speaker.turn(&others);
    speaker.applied(others.into_iter());
    let numbers = speaker.turn(&all);
    assert!(numbers.iter().any(|number| *number != numbers[0]));

    let found = snapshot::decode(&image.into()).unwrap();
    let mut recovery = Recovery::from_snapshot(found.agent);
    for bytes in &speaker.journal {
        let record = record::decode(bytes).unwrap();
        recovery
            .replay(&record)
            .unwrap_or_else(|why| panic!("{why}"));
    }
    let mut again = recovery.resume(Millis(7));
    assert_eq!(again.unacknowledged(), 1_024);
    let mut out = Actions::default();
    again.tick(Millis(8), &mut out);
    let sent = |it: &Arc<Envelope>| (it.receiver().to_string(), it.sequence.unwrap().number);
    let mut sent: Vec<(String, u64)> = out.send.iter().map(sent).collect();
    let mut expected: Vec<(String, u64)> = all.into_iter().zip(numbers).collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
}
