//! Events of a topic on their way to many subscribers: from the publishing client through
//! the owner to each subscriber's handler.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::control::{ClientMessage, Request, Response, Verdict};
use phoenix_core::topics::TopicName;
use phoenix_core::topics::wire::{Publish, method, owner_of_topic};
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, Lane, Millis, Payload, Sender, StreamKey,
};
use phoenix_support::guest;

use super::{NEVER, each};
use crate::measure::{Pair, Row};
use crate::ours::Ours;

/// Deliveries of a sample.
const DELIVERIES: u32 = 100_000;
/// Events of one request.
const BATCH: usize = 200;
/// How long all deliveries of a sample may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// To one subscriber.
pub(super) fn to_1() -> Row {
    row("fan_out_1", || open(1))
}

/// To 100 subscribers.
pub(super) fn to_100() -> Row {
    row("fan_out_100", || open(100))
}

/// To 10,000 subscribers.
pub(super) fn to_10k() -> Row {
    row("fan_out_10k", || open(10_000))
}

fn row(name: &'static str, open: fn() -> anyhow::Result<Pair>) -> Row {
    Row {
        name,
        what: "of the whole one delivery takes, at most once, from the publishing of an event \
               to the end of its handlers",
        unit: "ns",
        peer_name: "pushing an envelope into as many mailboxes, in a loop",
        // Half of the deliveries a second.
        bar: 2.0,
        aim: 1.0,
        max_rounds: u32::MAX,
        open,
    }
}

fn open(subscribers: u32) -> anyhow::Result<Pair> {
    let node = Ours::alone()?;
    node.deploy("sink", guest("sink"), NEVER)?;
    let topic = TopicName::new("fan.out").context("the topic")?;
    let owner = owner_of_topic(&topic);
    for n in 0..subscribers {
        let to = format!("sink/{n}");
        let terms = BTreeMap::from([
            ("pattern", topic.as_str()),
            ("to", &to),
            ("method", "hit"),
            ("form", "data"),
            ("delivery", "at-most-once"),
        ]);
        let _: serde::de::IgnoredAny = node.call(owner.as_str(), method::SUBSCRIBE, &terms)?;
    }
    let mut feed = Feed {
        publication: publication(&topic),
        owner,
        node,
        sequence: 0,
    };
    // All of them live from then on.
    feed.publish(1, subscribers)?;
    let events = (DELIVERIES / subscribers).max(1);
    let mut mailboxes = mailboxes(subscribers);
    let envelope = envelope()?;
    Ok(Pair {
        ours: Box::new(move || {
            let span = feed.publish(events, subscribers)?;
            Ok(each(span, events * subscribers))
        }),
        peer: Ok(Box::new(move || {
            let begun = Instant::now();
            for _ in 0..events {
                for mailbox in &mut mailboxes {
                    mailbox.push_back(black_box(&envelope).clone());
                }
            }
            let span = begun.elapsed();
            for mailbox in &mut mailboxes {
                mailbox.clear();
            }
            Ok(each(span, events * subscribers))
        })),
    })
}

struct Feed {
    node: Ours,
    owner: AgentId,
    publication: Payload,
    sequence: u64,
}

impl Feed {
    /// Publishes events and waits until each of the subscribers has had all of them.
    fn publish(&mut self, events: u32, subscribers: u32) -> anyhow::Result<Duration> {
        let before = self.node.counter("turns")?;
        let begun = Instant::now();
        let mut left = events as usize;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let messages = (0..batch).map(|_| self.message()).collect();
            let sent = self.node.request(Request::Send {
                client: phoenix_core::ClientId::new("publisher").context("the client")?,
                messages,
                timeout: Millis(60_000),
            })?;
            let Response::Sent(verdicts) = sent else {
                anyhow::bail!("publishing ended as {sent:?}");
            };
            let is_applied = verdicts.iter().all(|verdict| *verdict == Verdict::Applied);
            anyhow::ensure!(is_applied, "an event was not taken: {verdicts:?}");
        }
        // The owner's turns, and all subscribers'.
        let expected = before + u64::from(events) + u64::from(events) * u64::from(subscribers);
        while self.node.counter("turns")? < expected {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "not all was delivered");
        }
        Ok(begun.elapsed())
    }

    fn message(&mut self) -> ClientMessage {
        self.sequence += 1;
        ClientMessage {
            agent: self.owner.clone(),
            method: method::PUBLISH.into(),
            payload: self.publication.clone(),
            sequence: Some(self.sequence),
            options: None,
        }
    }
}

fn publication(topic: &TopicName) -> Payload {
    let data = Payload {
        content_type: ContentType::MessagePack,
        bytes: [1].as_slice().into(),
    };
    let mut bytes = Vec::new();
    Publish::new(topic, data.as_wit()).write(&mut bytes);
    Payload {
        content_type: ContentType::MessagePack,
        bytes: bytes.into(),
    }
}

fn mailboxes(count: u32) -> Vec<VecDeque<Arc<Envelope>>> {
    (0..count).map(|_| VecDeque::new()).collect()
}

fn envelope() -> anyhow::Result<Arc<Envelope>> {
    Ok(Arc::new(Envelope {
        stream: StreamKey::shared(Sender::System, AgentId::new("sink/0")?, Lane::Normal),
        sequence: None,
        body: Body::Message {
            method: "hit".into(),
            payload: Payload::default(),
            ask: None,
        },
        extras: None,
    }))
}
