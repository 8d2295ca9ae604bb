//! The same messages in the same order, cut into batches in two ways.

use std::collections::BTreeMap;

use phoenix_core::agent::{Actions, Agent, BatchRoom};
use phoenix_core::{Body, KindPolicy, Millis, Notice, Payload};

use crate::peers::{Books, LIFE, Peers, Told};
use crate::seat::{How, Seat};
use crate::subjects::{Sequence, Subject};
use crate::world::{BEGINNING, Described, id_of, nanos, put};
use crate::{Homes, Random};

/// What an agent is told, in parts: between two of them it comes to rest.
struct Plan {
    parts: Vec<Vec<Told>>,
    /// How its asks are answered.
    answers: u64,
}

/// Tells an agent the same twice; the books are the same.
pub(crate) fn compare(subject: &Subject, homes: &Homes, seed: u64) -> Books {
    let mut random = Random::new(seed, 2);
    let mut sequence = Sequence::in_any_batches(&mut random);
    let parts = (0..1 + random.below(4)).map(|_| {
        let count = 1 + random.below(20);
        let told = (0..count).map(|_| subject.tell(&mut random, &mut sequence));
        told.collect()
    });
    let parts = parts.collect();
    let answers = random.next();
    let plan = Plan { parts, answers };
    let one = play(subject, homes, &plan, &mut Random::new(seed, 3));
    let other = play(subject, homes, &plan, &mut Random::new(seed, 4));
    assert_eq!(one.replies, other.replies);
    assert_eq!(one.skipped, other.skipped);
    assert_eq!(one.effects.len(), other.effects.len());
    for (stream, effects) in &one.effects {
        let there = other.effects.get(stream).map(nameless);
        assert_eq!(Some(nameless(effects)), there, "{stream:?}");
    }
    one
}

/// Effects without the numbers of asks. These name a turn, and where handlers wait there
/// are turns in which messages were deferred, in some batches.
fn nameless(effects: &BTreeMap<u64, Body>) -> BTreeMap<u64, Body> {
    let mut effects = effects.clone();
    for body in effects.values_mut() {
        if let Body::Message { ask: Some(ask), .. } = body {
            ask.id = 0;
        }
    }
    effects
}

struct Player<'a> {
    handlers: Described,
    policy: KindPolicy,
    agent: Agent,
    seat: Seat<'a>,
    room: BatchRoom,
    peers: Peers,
    now: u64,
}

fn play(subject: &Subject, homes: &Homes, plan: &Plan, cuts: &mut Random) -> Books {
    let policy = KindPolicy {
        batch_messages: 1 + cuts.below(16) as u32,
        max_attempts: 1,
        ..KindPolicy::default()
    };
    let id = id_of(subject);
    let mut player = Player {
        handlers: Described::of(homes),
        agent: Agent::new(id.clone(), LIFE, Payload::default()),
        seat: Seat::new(homes, 0, None, &policy),
        policy,
        room: BatchRoom::default(),
        peers: Peers::new(id),
        now: BEGINNING,
    };
    let mut answers = Random::new(plan.answers, 5);
    for part in &plan.parts {
        for told in part {
            let envelope = player.peers.tell(told, player.now);
            let mut out = Actions::default();
            player.agent.offer(envelope, &player.policy, &mut out);
            player.peers.hear(out);
            if cuts.chance(30) {
                player.run();
            }
            if cuts.chance(5) && player.agent.begun() {
                player.seat.checkpoint(How::any(cuts), &player.policy);
            }
        }
        player.rest(&mut answers);
    }
    player.peers.books
}

impl Player<'_> {
    fn run(&mut self) -> bool {
        let (now, room) = (nanos(self.now), &mut self.room);
        let (policy, handlers) = (&self.policy, &self.handlers);
        let Some(batch) = self.agent.begin(now, policy, handlers, room, Vec::new()) else {
            return false;
        };
        let (agent, seat) = (&mut self.agent, &mut self.seat);
        let mut out = Actions::default();
        // What traps alone is given up, in each of the batchings.
        let _ = put(agent, seat, batch, policy, room, &mut out);
        self.peers.hear(out);
        true
    }

    fn tick(&mut self) {
        let mut out = Actions::default();
        self.agent.tick(Millis(self.now), &mut out);
        self.peers.hear(out);
    }

    /// Everything that was begun comes to its end: asks have answers or run out, one after
    /// the other, and then time passes for timers.
    fn rest(&mut self, answers: &mut Random) {
        loop {
            while self.run() {}
            while let Some((to, lane, notice)) = self.peers.judge_next() {
                self.hear(&to, lane, &notice);
            }
            if self.peers.asks.is_empty() {
                if self.agent.timers() == 0 {
                    return;
                }
                self.now += 1_000;
                self.tick();
            } else if answers.chance(70) {
                let envelope = self.peers.answer(answers, self.now).unwrap();
                let mut out = Actions::default();
                self.agent.offer(envelope, &self.policy, &mut out);
                self.peers.hear(out);
            } else {
                self.peers.asks.pop_front();
                self.now += 10_000;
                self.tick();
            }
        }
    }

    fn hear(&mut self, to: &phoenix_core::AgentId, lane: phoenix_core::Lane, notice: &Notice) {
        let mut out = Actions::default();
        let now = Millis(self.now);
        self.agent.acknowledged(to, lane, notice, now, &mut out);
        self.peers.hear(out);
    }
}
