//! Who sends to an agent, and who hears from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use phoenix_core::agent::Actions;
use phoenix_core::{
    AgentId, Ask, Body, ClientId, ContentType, DeadReason, Envelope, Failure, Incarnation, Lane,
    Millis, NodeId, Notice, Payload, Reply, ReplyTo, Sender, Sequence, SkipReason, StreamKey,
};

use crate::Random;

/// Which life everybody is in.
pub(crate) const LIFE: Incarnation = Incarnation {
    generation: 1,
    boot: 2,
    count: 3,
};
const NODE: NodeId = NodeId(7);
/// How long senders keep a message, and those who ask wait, in milliseconds.
const KEPT: u64 = 100_000_000;

/// A message to the agent.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// `kind/key`, or `client/ID`.
    pub(crate) from: &'static str,
    pub(crate) method: &'static str,
    pub(crate) payload: Payload,
    /// Whether the sender waits for the answer.
    pub(crate) is_request: bool,
}

/// What came of messages, as those hear it who sent them or are sent some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// Of each request of a client's, by its number.
    pub(crate) replies: BTreeMap<u64, Reply>,
    /// What the agent sent in each stream, by number.
    pub(crate) effects: BTreeMap<(AgentId, Lane), BTreeMap<u64, Body>>,
    /// Messages that were not applied, by sender and number.
    pub(crate) skipped: BTreeSet<(String, u64)>,
}

#[derive(Debug)]
pub(crate) struct Peers {
    own: AgentId,
    outs: Vec<Out>,
    asked: u64,
    pub(crate) books: Books,
    /// What the agent sent and has no verdict on.
    open: BTreeMap<(AgentId, Lane), BTreeSet<u64>>,
    /// Its asks without an answer, in order.
    pub(crate) asks: VecDeque<(AgentId, u64)>,
}

/// A stream to the agent.
#[derive(Debug)]
struct Out {
    key: Arc<StreamKey>,
    last: u64,
    /// What has no verdict.
    kept: VecDeque<Arc<Envelope>>,
}

impl Peers {
    pub(crate) fn new(own: AgentId) -> Self {
        Self {
            own,
            outs: Vec::new(),
            asked: 0,
            books: Books::default(),
            open: BTreeMap::new(),
            asks: VecDeque::new(),
        }
    }

    /// Writes a message.
    pub(crate) fn tell(&mut self, told: &Told, now: u64) -> Arc<Envelope> {
        let from = match told.from.strip_prefix("client/") {
            Some(id) => Sender::Client(ClientId::new(id).unwrap(), NODE),
            None => Sender::Agent(AgentId::new(told.from).unwrap(), LIFE),
        };
        let ask = told.is_request.then(|| {
            self.asked += 1;
            let reply_to = match &from {
                Sender::Agent(id, life) => ReplyTo::Agent(id.clone(), *life),
                _ => ReplyTo::Client(NODE),
            };
            Box::new(Ask {
                id: self.asked,
                reply_to,
                deadline: Millis(now + KEPT),
            })
        });
        let body = Body::Message {
            method: told.method.into(),
            payload: told.payload.clone(),
            ask,
        };
        self.write(from, Lane::Normal, body, now)
    }

    /// Answers the oldest of the agent's asks, one way or the other.
    pub(crate) fn answer(&mut self, random: &mut Random, now: u64) -> Option<Arc<Envelope>> {
        let (by, ask) = self.asks.pop_front()?;
        let reply = if random.chance(80) {
            Reply::Ok(json(&random.below(1_000).to_string()))
        } else {
            Reply::Failed(Box::new(Failure {
                code: "no".into(),
                message: "not now".into(),
                details: Payload::default(),
            }))
        };
        let asker = LIFE;
        let body = Body::Reply { ask, asker, reply };
        Some(self.write(Sender::Agent(by, LIFE), Lane::Reply, body, now))
    }

    fn write(&mut self, from: Sender, lane: Lane, body: Body, now: u64) -> Arc<Envelope> {
        let at = self.outs.iter().position(|out| {
            let key = &out.key;
            key.sender == from && key.lane == lane
        });
        let at = at.unwrap_or_else(|| {
            self.outs.push(Out {
                key: StreamKey::shared(from, self.own.clone(), lane),
                last: 0,
                kept: VecDeque::new(),
            });
            self.outs.len() - 1
        });
        let out = &mut self.outs[at];
        out.last += 1;
        let base = out.kept.front().map_or(out.last, |it| number(it));
        let envelope = Arc::new(Envelope {
            stream: out.key.clone(),
            sequence: Some(Sequence {
                number: out.last,
                base: NonZeroU64::new(base).unwrap(),
                give_up: Millis(now + KEPT),
            }),
            body,
            extras: None,
        });
        out.kept.push_back(envelope.clone());
        envelope
    }

    /// What has no verdict, to be sent again.
    pub(crate) fn again(&self) -> Vec<Arc<Envelope>> {
        let kept = self.outs.iter().flat_map(|out| out.kept.iter());
        kept.cloned().collect()
    }

    /// Hears what an agent wants done.
    pub(crate) fn hear(&mut self, actions: Actions) {
        for told in actions.acknowledge {
            self.verdict(&told.stream, &told.notice);
        }
        for (_, ask, reply) in actions.answer {
            let before = self.books.replies.insert(ask, reply.clone());
            assert!(before.is_none_or(|it| it == reply), "two answers to {ask}");
        }
        for envelope in actions.send {
            self.arrive(&envelope);
        }
    }

    fn verdict(&mut self, stream: &StreamKey, notice: &Notice) {
        let is_it = |out: &&mut Out| out.key.sender == stream.sender && out.key.lane == stream.lane;
        let out = self.outs.iter_mut().find(is_it).unwrap();
        match notice {
            Notice::Applied { after, through } => out.kept.retain(|it| {
                let number = number(it);
                number <= *after || number > *through
            }),
            Notice::Skipped {
                number: skipped, ..
            } => {
                out.kept.retain(|it| number(it) != *skipped);
                let sender = stream.sender.to_string();
                self.books.skipped.insert((sender, *skipped));
            }
            Notice::Credit { .. } => {}
            Notice::Refused { refusal, .. } => panic!("refused: {refusal:?}"),
        }
    }

    fn arrive(&mut self, envelope: &Envelope) {
        let Some(sequence) = envelope.sequence else {
            return;
        };
        let stream = (envelope.receiver().clone(), envelope.stream.lane);
        let so_far = self.books.effects.entry(stream.clone()).or_default();
        if let Some(before) = so_far.get(&sequence.number) {
            assert_eq!(*before, envelope.body, "sent again as something else");
            return;
        }
        so_far.insert(sequence.number, envelope.body.clone());
        if let Some(ask) = envelope.body.ask() {
            self.asks.push_back((stream.0.clone(), ask.id));
        }
        self.open.entry(stream).or_default().insert(sequence.number);
    }

    /// A verdict on something the agent sent: on the first in some stream.
    pub(crate) fn judge(&mut self, random: &mut Random) -> Option<(AgentId, Lane, Notice)> {
        self.open.retain(|_, open| !open.is_empty());
        let streams = self.open.len() as u64;
        if streams == 0 {
            return None;
        }
        let at = random.below(streams) as usize;
        let (stream, open) = self.open.iter_mut().nth(at)?;
        let number = open.pop_first()?;
        let notice = if random.chance(90) {
            Notice::Applied {
                after: number - 1,
                through: number,
            }
        } else {
            let reason = SkipReason::Dead(DeadReason::Overflow);
            Notice::Skipped { number, reason }
        };
        Some((stream.0.clone(), stream.1, notice))
    }
}

impl Peers {
    /// The same, of the first in the first stream: it was applied.
    pub(crate) fn judge_next(&mut self) -> Option<(AgentId, Lane, Notice)> {
        self.open.retain(|_, open| !open.is_empty());
        let (stream, open) = self.open.iter_mut().next()?;
        let through = open.pop_first()?;
        let after = through - 1;
        Some((
            stream.0.clone(),
            stream.1,
            Notice::Applied { after, through },
        ))
    }
}

fn number(envelope: &Envelope) -> u64 {
    envelope.sequence.unwrap().number
}

pub(crate) fn json(text: &str) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: text.as_bytes().into(),
    }
}
