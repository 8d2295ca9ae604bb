//! What one entry has at most.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;

use super::world::{Plain, own};
use crate::agent::notes::check_size;
use crate::agent::{Actions, Agent, BadAnswer, BatchRoom};
use crate::journal::record::{self, Says, Terms};
use crate::limits::MAX_DURABLE_BATCH;
use crate::{
    AgentId, Body, Data, Digest, Envelope, Epoch, Expiry, Extras, Incarnation, KindPolicy, Lane,
    Millis, Nanos, Overflow, Payload, Sender, Sequence, StreamKey,
};

fn begun(policy: &KindPolicy) -> Agent {
    let mut agent = Agent::new(own(), Incarnation::default(), Payload::default());
    agent.keep_log(&Arc::new(Terms {
        component: Digest::of(b"component"),
        policy: policy.clone(),
    }));
    let mut room = BatchRoom::default();
    let batch = agent.begin(Nanos(1), policy, &Plain, &mut room, Vec::new());
    let mut answer = phoenix_wit::AnswerWriter::new(Vec::new());
    answer.outcome(&phoenix_wit::Outcome::Ok(phoenix_wit::Payload::NONE), 0);
    let (answer, mut out) = (Bytes::from(answer.finish()), Actions::default());
    agent
        .commit(batch.unwrap(), &answer, policy, &mut room, &mut out)
        .unwrap();
    agent.take_records(Epoch::default(), true);
    agent
}

/// Messages of one sender, each with so many bytes, whose time is over at once.
fn expired(count: u64, bytes: usize) -> impl Iterator<Item = Arc<Envelope>> {
    let sender = Sender::Agent(AgentId::new("from/a").unwrap(), Incarnation::default());
    let stream = StreamKey::shared(sender, own(), Lane::Normal);
    let payload = Payload {
        bytes: Data::from(Bytes::from(vec![7; bytes])),
        ..Payload::default()
    };
    (1..=count).map(move |number| {
        Arc::new(Envelope {
            stream: stream.clone(),
            sequence: Some(Sequence {
                number,
                base: NonZeroU64::MIN,
                give_up: Millis(1_000_000),
            }),
            body: Body::Message {
                method: "do".into(),
                payload: payload.clone(),
                ask: None,
            },
            extras: Some(Box::new(Extras {
                expiry: Some(Expiry {
                    at: Millis(2),
                    report: true,
                }),
                ..Extras::default()
            })),
        })
    })
}

fn lengths(agent: &mut Agent) -> Vec<usize> {
    let records = agent.take_records(Epoch::default(), true);
    let length = |record| {
        let mut bytes = Vec::new();
        record::encode(record, &mut bytes);
        bytes.len()
    };
    records.iter().map(length).collect()
}

#[test]
fn what_was_skipped_is_not_read_and_so_its_payload_is_not_kept() {
    let policy = KindPolicy::default();
    let mut agent = begun(&policy);
    let (mut out, mut room) = (Actions::default(), BatchRoom::default());
    for envelope in expired(10, 1 << 20) {
        agent.offer(envelope, &policy, &mut out);
    }
    let batch = agent.begin(Nanos(9_000_000), &policy, &Plain, &mut room, Vec::new());
    let batch = batch.unwrap();
    assert_eq!(batch.turns(), 0);
    let nothing = Bytes::new();
    agent
        .commit(batch, &nothing, &policy, &mut room, &mut out)
        .unwrap();
    let [length] = lengths(&mut agent)[..] else {
        panic!("one entry");
    };
    assert!(length < 4_096, "{length} bytes");
    let kept = &out.dead[0].0;
    assert!(kept.size() > 1 << 20, "the dead letter has it");
}

#[test]
fn a_batch_ends_before_its_entry_is_too_long() {
    let policy = KindPolicy {
        mailbox_messages: 1_000_000,
        mailbox_bytes: 1 << 32,
        ..KindPolicy::default()
    };
    let mut agent = begun(&policy);
    let (mut out, mut room) = (Actions::default(), BatchRoom::default());
    let count = 40_000;
    for envelope in expired(count, 0) {
        agent.offer(envelope, &policy, &mut out);
    }
    let mut batches = 0;
    while let Some(batch) = agent.begin(Nanos(9_000_000), &policy, &Plain, &mut room, Vec::new()) {
        batches += 1;
        let nothing = Bytes::new();
        agent
            .commit(batch, &nothing, &policy, &mut room, &mut out)
            .unwrap();
    }
    let lengths = lengths(&mut agent);
    assert!(batches > 1, "skipped messages are counted too");
    assert_eq!(lengths.len(), batches);
    assert!(lengths.iter().all(|it| *it < 17 << 20), "{lengths:?}");
    assert_eq!(agent.waiting(), 0);
}

#[test]
fn messages_that_end_together_share_entries_of_some_length() {
    let to = AgentId::new("peer/r").unwrap();
    for (overflow, bytes) in [
        (Overflow::DropNewest, 0),
        (Overflow::Redirect(to), 100 << 10),
    ] {
        let policy = KindPolicy {
            mailbox_messages: 1,
            outbox_bytes: 1 << 32,
            overflow,
            ..KindPolicy::default()
        };
        let mut agent = begun(&policy);
        let mut out = Actions::default();
        for envelope in expired(10_000, bytes).take(if bytes > 0 { 100 } else { 10_000 }) {
            agent.offer(envelope, &policy, &mut out);
        }
        let records = agent.take_records(Epoch::default(), true);
        assert!(records.len() > 1 && records.len() < 20, "{}", records.len());
        for record in records {
            assert!(matches!(record.says, Says::Closed(_)));
            let mut bytes = Vec::new();
            record::encode(&record, &mut bytes);
            assert!(bytes.len() < 2 << 20, "{} bytes", bytes.len());
        }
    }
}

#[test]
fn what_the_journal_cannot_take_is_not_committed() {
    let most = usize::try_from(MAX_DURABLE_BATCH).unwrap();
    assert_eq!(check_size(most / 2, most / 2), Ok(()));
    let bad = check_size(most, 2 << 20).unwrap_err();
    assert!(matches!(bad, BadAnswer::TooLargeToKeep { .. }), "{bad}");
    assert!(!bad.is_fault(2), "its turns may fit one by one");
    assert!(bad.is_fault(1));
}
