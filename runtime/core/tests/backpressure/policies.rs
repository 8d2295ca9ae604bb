//! Each overflow policy against a mailbox that is four lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_core::agent::{Actions, Batch};
use phoenix_core::control::LaneInfo;
use phoenix_core::{DeadReason, Envelope, KindPolicy, Lane, Notice, Overflow, Refusal, SkipReason};
use phoenix_wit::{FrameReader, Input};
use proptest::prelude::*;

use crate::harness::{Actor, agent_sender, id, message, number_of, ok, on_lane, read};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    number: u64,
    lane: Lane,
    sender: u8,
    size: u64,
    reliable: bool,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    Lost,
    DeadLetter,
    Redirected,
    Spilled,
}

/// The simplest mailbox.
#[derive(Default)]
struct Oracle {
    lanes: [Vec<Message>; 4],
    spilled: [Vec<Message>; 4],
    outbox: u64,
}

impl Oracle {
    fn all(&self) -> impl Iterator<Item = &Message> {
        self.lanes.iter().flatten()
    }

    fn has_room(&self, size: u64, policy: &KindPolicy) -> bool {
        let bytes: u64 = self.all().map(|it| it.size).sum();
        self.all().count() < policy.mailbox_messages as usize
            && bytes + size <= policy.mailbox_bytes
    }

    /// What becomes of those it concerns.
    fn offer(&mut self, message: Message, policy: &KindPolicy) -> Vec<(Message, Fate)> {
        let dropped = |it: Message| {
            let fate = if it.reliable {
                Fate::DeadLetter
            } else {
                Fate::Lost
            };
            (it, fate)
        };
        let refused = || {
            let fate = if message.reliable {
                Fate::Refused
            } else {
                Fate::Lost
            };
            vec![(message, fate)]
        };
        let lane = message.lane as usize;
        let is_behind = !self.spilled[lane].is_empty();
        if !is_behind && self.has_room(message.size, policy) {
            self.lanes[lane].push(message);
            return Vec::new();
        }
        match &policy.overflow {
            _ if is_behind || policy.overflow == Overflow::Spill => {
                let spilled: u64 = self.spilled.iter().flatten().map(|it| it.size).sum();
                if spilled + message.size > policy.spill_bytes {
                    return refused();
                }
                self.spilled[lane].push(message);
                vec![(message, Fate::Spilled)]
            }
            Overflow::Reject | Overflow::Spill => refused(),
            Overflow::DropNewest => vec![dropped(message)],
            Overflow::DropOldest => {
                let mut copy = self.lanes.clone();
                let mut victims = Vec::new();
                while !self.has_room(message.size, policy) {
                    let victim = (lane..4).rev().find(|lane| !self.lanes[*lane].is_empty());
                    let Some(victim) = victim else {
                        std::mem::swap(&mut self.lanes, &mut copy);
                        return vec![dropped(message)];
                    };
                    victims.push(dropped(self.lanes[victim].remove(0)));
                }
                self.lanes[lane].push(message);
                victims
            }
            Overflow::Redirect(_) => {
                let room = self.outbox + 1 + u64::from(policy.turn_effects);
                if message.reliable && room > policy.outbox_messages.into() {
                    return refused();
                }
                self.outbox += u64::from(message.reliable);
                vec![(message, Fate::Redirected)]
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Offer(u8, Lane, usize, bool),
    Begin,
    Commit,
    /// What is under way does not run after all.
    PutBack,
    /// What was redirected is applied.
    Applied,
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let lane = prop::sample::select(&Lane::MESSAGES[..]);
    prop_oneof![
        10 => (0..2u8, lane, 0..200usize, prop::bool::weighted(0.7))
            .prop_map(|(sender, lane, size, reliable)| Op::Offer(sender, lane, size, reliable)),
        3 => Just(Op::Begin),
        3 => Just(Op::Commit),
        1 => Just(Op::PutBack),
        1 => Just(Op::Applied),
        1 => Just(Op::Snapshot),
    ]
}

fn policy() -> impl Strategy<Value = KindPolicy> {
    let overflow = prop::sample::select(vec![
        Overflow::Reject,
        Overflow::DropOldest,
        Overflow::DropNewest,
        Overflow::Spill,
        Overflow::Redirect(id("spare/1")),
    ]);
    (
        overflow,
        1..6u32,
        300..1_200u64,
        1..5u32,
        1..6u32,
        400..2_000u64,
    )
        .prop_map(
            |(overflow, messages, bytes, batch, outbox, spill)| KindPolicy {
                overflow,
                mailbox_messages: messages,
                mailbox_bytes: bytes,
                batch_messages: batch,
                turn_effects: 1,
                outbox_messages: outbox,
                spill_bytes: spill,
                ..KindPolicy::default()
            },
        )
}

struct World {
    actor: Actor,
    oracle: Oracle,
    /// By number.
    known: BTreeMap<u64, Message>,
    /// By sender and lane: the stream's next number, and what each number carried.
    streams: BTreeMap<(u8, Lane), Vec<u64>>,
    under_way: Option<(Batch, Vec<Message>)>,
    applied: Vec<Message>,
    fates: BTreeMap<u64, Fate>,
}

impl World {
    fn envelope(&self, it: &Message) -> Arc<Envelope> {
        let sender = agent_sender(&format!("from/{}", it.sender));
        let place = self.streams.get(&(it.sender, it.lane)).map_or(0, Vec::len) as u64;
        let sequence = it.reliable.then_some((it.lane, place + 1));
        let size = it.size as usize - 138;
        let envelope = message(sender, "to/1", sequence, it.number, size);
        if it.reliable {
            envelope
        } else {
            on_lane(&envelope, it.lane)
        }
    }

    fn offer(&mut self, sender: u8, lane: Lane, size: usize, reliable: bool) {
        let number = self.known.len() as u64 + 1;
        // What it counts for: fixed costs, the method's name, the number.
        let mut it = Message {
            number,
            lane,
            sender,
            size: size as u64 + 138,
            reliable,
        };
        let envelope = self.envelope(&it);
        it.size = envelope.size() as u64;
        self.known.insert(number, it);
        let lost = self.actor.agent.counters.dropped;
        let actions = self.actor.offer(envelope);
        let lost = self.actor.agent.counters.dropped - lost;
        let expected = self.oracle.offer(it, &self.actor.policy.clone());
        if reliable && !expected.contains(&(it, Fate::Refused)) {
            self.streams.entry((sender, lane)).or_default().push(number);
        }
        let mut seen = self.seen(&actions);
        for (message, fate) in &expected {
            if *fate == Fate::Lost {
                // Seen by their number only, and by what comes to its turn later.
                seen.push((*message, Fate::Lost));
            } else {
                self.fates.insert(message.number, *fate);
            }
        }
        let mut expected = expected;
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected);
        let lost_by_oracle = expected
            .iter()
            .filter(|(_, fate)| *fate == Fate::Lost)
            .count();
        assert_eq!(lost, lost_by_oracle as u64);
    }

    /// What an offer's actions say became of messages.
    fn seen(&self, actions: &Actions) -> Vec<(Message, Fate)> {
        let number_in = |key: &(u8, Lane), place: u64| self.streams[key][place as usize - 1];
        let mut seen = Vec::new();
        let mut dead = Vec::new();
        for acknowledgement in &actions.acknowledge {
            let stream = &acknowledgement.stream;
            let phoenix_core::Sender::Agent(sender, _) = &stream.sender else {
                panic!("{stream:?}")
            };
            let key = (sender.key().parse().unwrap(), stream.lane);
            match &acknowledgement.notice {
                Notice::Refused {
                    refusal,
                    expected,
                    number,
                } => {
                    assert_eq!(number, expected);
                    assert_eq!(*refusal, Refusal::MailboxFull);
                    assert_eq!(
                        *expected as usize,
                        self.streams.get(&key).map_or(0, Vec::len) + 1
                    );
                    seen.push((*self.known.values().last().unwrap(), Fate::Refused));
                }
                Notice::Skipped { number, reason } => {
                    let number = number_in(&key, *number);
                    let fate = match reason {
                        SkipReason::Redirected => Fate::Redirected,
                        SkipReason::Dead(DeadReason::Overflow) => {
                            dead.push(number);
                            Fate::DeadLetter
                        }
                        other => panic!("{other:?}"),
                    };
                    seen.push((self.known[&number], fate));
                }
                Notice::Applied { .. } | Notice::Credit { .. } => {}
            }
        }
        let letters: Vec<u64> = actions.dead.iter().map(|it| number_of(&it.0)).collect();
        assert_eq!(letters, dead, "each that is reported is kept");
        for envelope in &actions.send {
            let original = envelope.original().unwrap();
            let it = self.known[&number_of(envelope)];
            assert_eq!(*envelope.receiver(), id("spare/1"));
            assert_eq!(original.receiver, id("to/1"));
            assert_eq!(
                original.sender,
                agent_sender(&format!("from/{}", it.sender))
            );
            assert_eq!(envelope.stream.lane, it.lane);
            assert_eq!(envelope.sequence.is_some(), it.reliable);
            if it.reliable {
                let place = original.number.unwrap();
                assert_eq!(number_in(&(it.sender, it.lane), place), it.number);
            } else {
                seen.push((it, Fate::Redirected));
            }
        }
        for envelope in &actions.spill {
            seen.push((self.known[&number_of(envelope)], Fate::Spilled));
        }
        seen
    }

    fn begin(&mut self) {
        for envelope in self.actor.refill() {
            let lane = envelope.stream.lane as usize;
            let back = self.oracle.spilled[lane].remove(0);
            assert_eq!(back.number, number_of(&envelope), "order is kept");
            self.oracle.lanes[lane].push(back);
        }
        let Some(batch) = self.actor.begin(2) else {
            let blocked = self.oracle.outbox + 1 > self.actor.policy.outbox_messages.into();
            assert!(
                self.oracle.all().count() == 0 || blocked,
                "nothing waits in vain"
            );
            return;
        };
        let mut taken = Vec::new();
        let mut frame = FrameReader::new(&batch.frame).unwrap();
        while let Some(turn) = frame.next_turn().unwrap() {
            let Input::Message { payload, .. } = turn.input else {
                panic!("{turn:?}")
            };
            let it = self.known[&read(payload.bytes)];
            let first = self.oracle.lanes[it.lane as usize].remove(0);
            assert_eq!(it, first, "a lane is served from its front");
            taken.push(it);
        }
        self.under_way = Some((batch, taken));
    }

    fn commit(&mut self) {
        let Some((batch, taken)) = self.under_way.take() else {
            return;
        };
        let actions = self.actor.commit(batch, &mut |_, writer| ok(writer));
        assert!(actions.dead.is_empty() && actions.send.is_empty());
        self.applied.extend(taken);
    }

    fn put_back(&mut self) {
        let Some((batch, taken)) = self.under_way.take() else {
            return;
        };
        self.actor.agent.put_back(batch);
        for it in taken.into_iter().rev() {
            self.oracle.lanes[it.lane as usize].insert(0, it);
        }
    }

    fn check(&self) {
        for LaneInfo {
            lane,
            messages: count,
            ..
        } in self.actor.agent.mailbox_info().lanes
        {
            assert_eq!(
                count,
                self.oracle.lanes[lane as usize].len() as u64,
                "{lane:?}"
            );
        }
        let spilled = self.oracle.spilled.iter().flatten();
        let (count, bytes) = (
            spilled.clone().count() as u64,
            spilled.map(|it| it.size).sum::<u64>(),
        );
        assert_eq!(
            (self.actor.agent.spilled(), self.actor.agent.spilled_bytes()),
            (count, bytes)
        );
    }

    /// Everything that was not refused has one end, and what was applied of a
    /// stream was applied in order.
    fn balance(&self) {
        let mut last: BTreeMap<(u8, Lane), u64> = BTreeMap::new();
        for it in &self.applied {
            let fate = self.fates.get(&it.number);
            assert!(
                matches!(fate, None | Some(Fate::Spilled)),
                "{it:?} twice: {fate:?}"
            );
            let before = last.insert((it.sender, it.lane), it.number);
            assert!(before < Some(it.number), "order within a lane");
        }
        for number in self.streams.values().flatten() {
            let is_applied = self.applied.iter().any(|it| it.number == *number);
            let is_closed = matches!(
                self.fates.get(number),
                Some(Fate::DeadLetter | Fate::Redirected)
            );
            assert!(is_applied ^ is_closed, "{number} has one verdict");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_full_mailbox_does_what_its_policy_says(
        policy in policy(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut world = World {
            actor: Actor::new("to/1", policy),
            oracle: Oracle::default(),
            known: BTreeMap::new(),
            streams: BTreeMap::new(),
            under_way: None,
            applied: Vec::new(),
            fates: BTreeMap::new(),
        };
        for op in ops {
            match op {
                Op::Offer(sender, lane, size, reliable) => world.offer(sender, lane, size, reliable),
                Op::Begin if world.under_way.is_none() => world.begin(),
                Op::Commit => world.commit(),
                Op::PutBack => world.put_back(),
                Op::Applied => {
                    for lane in Lane::MESSAGES {
                        let all = Notice::Applied { after: 0, through: u64::MAX };
                        world.actor.hear("spare/1", lane, &all, 3);
                    }
                    world.oracle.outbox = 0;
                }
                // Nothing is under way when an agent sleeps or moves, and what was
                // spilled does not sleep.
                Op::Snapshot if world.under_way.is_none() && world.actor.agent.spilled() == 0 => {
                    world.actor.through_snapshot();
                    // It goes on where it is; until then nothing is dropped.
                    world.actor.tick(2);
                }
                Op::Begin | Op::Snapshot => {}
            }
            world.check();
        }
        world.commit();
        for lane in Lane::MESSAGES {
            world.actor.hear("spare/1", lane, &Notice::Applied { after: 0, through: u64::MAX }, 3);
        }
        world.oracle.outbox = 0;
        while world.actor.agent.waiting() > 0 || world.actor.agent.spilled() > 0 {
            world.begin();
            world.commit();
            world.check();
        }
        world.balance();
    }
}
