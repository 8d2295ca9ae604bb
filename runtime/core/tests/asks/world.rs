//! Agents on a network that delays messages, and loses and repeats notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, Batch, BatchRoom, Handlers};
use phoenix_core::{
    Acknowledgement, AgentId, AskNotice, Body, ContentType, Envelope, Incarnation, KindPolicy,
    Lane, Millis, Nanos, Payload, Sender, StreamKey,
};
use phoenix_wit::{AnswerWriter, FrameReader};

use crate::graph::Graph;
use crate::guest::{Guest, HOLD, MIX, Turn, ask_of, message};

/// SplitMix64 (Steele, Lea, Flood).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What a case is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) agents: usize,
    pub(crate) messages: u64,
    /// Longest time anything takes on its way, milliseconds.
    pub(crate) delay: u64,
    /// Longest time a guest takes for a batch, milliseconds.
    pub(crate) work: u64,
    /// Notices lost, and as many repeated, of a hundred.
    pub(crate) loss: u64,
    /// How long asks wait.
    pub(crate) deadline_ms: u32,
}

enum Packet {
    Envelope(Arc<Envelope>),
    Verdict(Acknowledgement),
    Notice(AskNotice),
}

struct Actor {
    agent: Agent,
    handlers: Interleaving,
    guest: Guest,
    room: BatchRoom,
    /// The batch the guest is at, and until when.
    batch: Option<(u64, Batch)>,
}

#[derive(Clone, Copy)]
struct Interleaving(bool);

impl Handlers for Interleaving {
    fn interleaves(&self, method: &str) -> bool {
        self.0 && method == MIX
    }
    fn any_interleaves(&self) -> bool {
        self.0
    }
}

pub(crate) struct World {
    case: Case,
    pub(crate) now: u64,
    random: Random,
    actors: Vec<Actor>,
    policy: KindPolicy,
    /// What is on its way, each with when it arrives.
    wire: Vec<(u64, usize, Packet)>,
    /// When the last message from one to another arrives: order is kept.
    paths: BTreeMap<(usize, usize), u64>,
    /// When messages from outside come.
    outside: Vec<u64>,
    pub(crate) graph: Graph,
}

pub(crate) fn name(agent: usize) -> String {
    format!("agent/{agent}")
}

fn number(agent: &AgentId) -> usize {
    agent.key().parse().unwrap()
}

impl World {
    pub(crate) fn new(case: Case) -> Self {
        let mut random = Random(case.seed);
        let actors = (0..case.agents).map(|own| {
            let interleaves = random.below(2) == 0;
            Actor {
                agent: Agent::new(
                    AgentId::new(&name(own)).unwrap(),
                    Incarnation::default(),
                    Payload::default(),
                ),
                handlers: Interleaving(interleaves),
                guest: Guest::new(own, case.agents, interleaves, case.deadline_ms),
                room: BatchRoom::default(),
                batch: None,
            }
        });
        let actors = actors.collect();
        let outside = (0..case.messages).map(|_| random.below(60)).collect();
        Self {
            now: 0,
            random,
            actors,
            policy: KindPolicy::default(),
            wire: Vec::new(),
            paths: BTreeMap::new(),
            outside,
            graph: Graph::of(case.agents),
            case,
        }
    }

    /// Lets everything happen that is due, in any order, then a millisecond pass.
    pub(crate) fn step(&mut self) {
        for at in (0..self.outside.len()).rev() {
            if self.outside[at] <= self.now {
                self.outside.swap_remove(at);
                self.bring_message();
            }
        }
        while self.one() {
            self.graph.look(self.now);
        }
        self.now += 1;
    }

    fn bring_message(&mut self) {
        let to = self.random.below(self.actors.len() as u64) as usize;
        let method = if self.random.below(4) == 0 { MIX } else { HOLD };
        let depth = 1 + self.random.below(3) as u8;
        let envelope = Envelope {
            stream: StreamKey::shared(
                Sender::System,
                AgentId::new(&name(to)).unwrap(),
                Lane::Normal,
            ),
            sequence: None,
            body: Body::Message {
                method: method.into(),
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: message(depth, None).as_slice().into(),
                },
                ask: None,
            },
            extras: None,
        };
        self.wire
            .push((self.now, to, Packet::Envelope(Arc::new(envelope))));
    }

    /// One thing that is due, chosen at random; `false` if there is none.
    fn one(&mut self) -> bool {
        let packets: Vec<usize> = (0..self.wire.len())
            .filter(|at| self.wire[*at].0 <= self.now)
            .filter(|at| self.is_first(*at))
            .collect();
        let actors: Vec<usize> = (0..self.actors.len())
            .filter(|at| self.has_work(*at))
            .collect();
        let due = packets.len() + actors.len();
        if due == 0 {
            return false;
        }
        let chosen = self.random.below(due as u64) as usize;
        match packets.get(chosen) {
            Some(at) => {
                let (_, to, packet) = self.wire.remove(*at);
                self.arrive(to, packet);
            }
            None => self.work(actors[chosen - packets.len()]),
        }
        true
    }

    /// Whether no message of the same path came before it.
    fn is_first(&self, at: usize) -> bool {
        let path = |packet: &Packet| match packet {
            Packet::Envelope(envelope) => match envelope.sender() {
                Sender::Agent(id, _) => Some((number(id), number(envelope.receiver()))),
                _ => None,
            },
            _ => None,
        };
        let own = path(&self.wire[at].2);
        own.is_none()
            || !self.wire[..at]
                .iter()
                .any(|(_, _, other)| path(other) == own)
    }

    fn has_work(&self, at: usize) -> bool {
        let actor = &self.actors[at];
        let is_ready = match &actor.batch {
            Some((until, _)) => *until <= self.now,
            None => actor.agent.ready(&actor.handlers),
        };
        is_ready || actor.agent.next_wake() <= Millis(self.now)
    }

    fn work(&mut self, at: usize) {
        let now = self.now;
        let mut out = Actions::default();
        let actor = &mut self.actors[at];
        if let Some((_, batch)) = actor.batch.take_if(|(until, _)| *until <= now) {
            self.commit(at, batch, &mut out);
        } else if actor.agent.next_wake() <= Millis(now) {
            actor.agent.tick(Millis(now), &mut out);
        } else {
            let begun = Nanos(now * 1_000_000);
            let (handlers, room) = (&actor.handlers, &mut actor.room);
            let batch = actor
                .agent
                .begin(begun, &self.policy, handlers, room, Vec::new());
            let until = now + self.random.below(self.case.work + 1);
            actor.batch = batch.map(|batch| (until, batch));
        }
        self.perform(at, out);
    }

    fn commit(&mut self, at: usize, batch: Batch, out: &mut Actions) {
        let actor = &mut self.actors[at];
        let mut writer = AnswerWriter::new(Vec::new());
        if batch.turns() > 0 {
            let mut frame = FrameReader::new(&batch.frame).unwrap();
            while let Some(turn) = frame.next_turn().unwrap() {
                let mut context = Turn {
                    number: turn.number,
                    now: turn.now / 1_000_000,
                    writer: &mut writer,
                    random: &mut self.random,
                    graph: &mut self.graph,
                };
                actor.guest.turn(turn.input, &mut context);
            }
        }
        let answer = Bytes::from(writer.finish());
        let (policy, room) = (&self.policy, &mut actor.room);
        let committed = actor.agent.commit(batch, &answer, policy, room, out);
        committed.map_err(|undone| undone.1).unwrap();
    }

    fn arrive(&mut self, to: usize, packet: Packet) {
        let actor = &mut self.actors[to];
        let mut out = Actions::default();
        match packet {
            Packet::Envelope(envelope) => {
                let asked = match &envelope.body {
                    Body::Message { payload, .. } => ask_of(&payload.bytes),
                    _ => None,
                };
                let before = actor.agent.waiting();
                actor.agent.offer(envelope, &self.policy, &mut out);
                // One that was sent again is not taken in again.
                if actor.agent.waiting() > before
                    && let Some(edge) = asked.and_then(|ask| self.graph.get_mut(ask))
                {
                    edge.queued(actor.handlers.0);
                }
            }
            Packet::Verdict(verdict) => {
                let (stream, now) = (&verdict.stream, Millis(self.now));
                let (receiver, lane) = (&stream.receiver, stream.lane);
                actor
                    .agent
                    .acknowledged(receiver, lane, &verdict.notice, now, &mut out);
            }
            Packet::Notice(notice) => {
                actor.agent.noticed(notice, &actor.handlers, &mut out);
                // Who was asked is told that the asker has been.
                let ended = out.notices.iter().find_map(|notice| match notice {
                    AskNotice::Cancel { ask, .. } => Some((to, ask.ask)),
                    AskNotice::Probe(_) => None,
                });
                if let Some(ended) = ended {
                    assert!(
                        self.graph.was_youngest(ended),
                        "{ended:?} was never the youngest of a circle: {:?}",
                        self.graph
                    );
                }
            }
        }
        self.perform(to, out);
    }

    fn perform(&mut self, from: usize, out: Actions) {
        let Case { delay, loss, .. } = self.case;
        for envelope in out.send {
            let to = number(envelope.receiver());
            let arrives = self.now + self.random.below(delay + 1);
            let last = self.paths.entry((from, to)).or_default();
            *last = arrives.max(*last);
            self.wire.push((*last, to, Packet::Envelope(envelope)));
        }
        for verdict in out.acknowledge {
            let Sender::Agent(id, _) = &verdict.stream.sender else {
                continue;
            };
            let (to, arrives) = (number(id), self.now + self.random.below(delay + 1));
            self.wire.push((arrives, to, Packet::Verdict(verdict)));
        }
        for notice in out.notices {
            if let AskNotice::Cancel { ask, .. } = &notice {
                self.graph.end((from, ask.ask));
            }
            let times = match self.random.below(100) {
                lot if lot < loss => 0,
                lot if lot < 2 * loss => 2,
                _ => 1,
            };
            for _ in 0..times {
                let to = number(notice.to());
                let arrives = self.now + self.random.below(delay + 1);
                self.wire
                    .push((arrives, to, Packet::Notice(notice.clone())));
            }
        }
    }

    /// Handlers that wait, of all agents.
    pub(crate) fn pending(&self) -> u64 {
        self.graph.pending.iter().map(|it| u64::from(*it)).sum()
    }

    /// Asks that ended with `deadlock`: as the agents count, and as the guests saw.
    pub(crate) fn deadlocks(&self) -> (u64, u64) {
        let counted = self.actors.iter().map(|it| it.agent.counters.deadlocks);
        let seen = self.actors.iter().map(|it| it.guest.deadlocks);
        (counted.sum(), seen.sum())
    }
}
