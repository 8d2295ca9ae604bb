//! A sender, a receiver that is often full, and where it sends things on to, over a
//! network that loses, repeats and reorders, with sleeps, moves and faults between:
//! every message has one verdict, and what is applied of a stream is applied in order.

use std::sync::Arc;

use phoenix_core::agent::Actions;
use phoenix_core::{
    Acknowledgement, Envelope, KindPolicy, Lane, Millis, Notice, Overflow, Sender, Spill,
};
use phoenix_wit::{AnswerWriter, Input};
use proptest::prelude::*;

use crate::harness::{Actor, id, number_of, ok, read};

#[derive(Clone, Copy, Debug)]
enum Fate {
    Deliver,
    Lose,
    LoseVerdict,
    Repeat,
    RepeatVerdict,
    Delay,
    DelayVerdict,
    Run,
    SenderSleeps,
    ReceiverSleeps,
    ReceiverMoves,
    ReceiverFaults,
    SpareRuns,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        2 => Just(Fate::LoseVerdict),
        1 => Just(Fate::Repeat),
        1 => Just(Fate::RepeatVerdict),
        2 => Just(Fate::Delay),
        1 => Just(Fate::DelayVerdict),
        3 => Just(Fate::Run),
        1 => Just(Fate::SenderSleeps),
        1 => Just(Fate::ReceiverSleeps),
        1 => Just(Fate::ReceiverMoves),
        1 => Just(Fate::ReceiverFaults),
        2 => Just(Fate::SpareRuns),
    ]
}

struct World {
    from: Actor,
    to: Actor,
    spare: Actor,
    under_way: Vec<Arc<Envelope>>,
    verdicts: Vec<Acknowledgement>,
    now: u64,
    applied: Vec<u64>,
    applied_there: Vec<u64>,
    dead: Vec<u64>,
}

impl World {
    fn new(policy: KindPolicy) -> Self {
        // A step takes long here, so that what the network piles up takes minutes.
        let patient = KindPolicy {
            give_up_after: Millis(36_000_000),
            ..KindPolicy::default()
        };
        Self {
            from: Actor::new("from/1", patient.clone()),
            to: Actor::new("to/1", policy),
            spare: Actor::new(
                "spare/1",
                KindPolicy {
                    mailbox_messages: 3,
                    ..patient
                },
            ),
            under_way: Vec::new(),
            verdicts: Vec::new(),
            now: 10,
            applied: Vec::new(),
            applied_there: Vec::new(),
            dead: Vec::new(),
        }
    }

    fn note(&mut self, out: Actions) {
        self.under_way.extend(out.send);
        self.verdicts.extend(out.acknowledge);
        self.dead.extend(out.dead.iter().map(|it| number_of(&it.0)));
    }

    fn deliver(&mut self, envelope: Arc<Envelope>) {
        let out = if *envelope.receiver() == id("to/1") {
            self.to.offer(envelope)
        } else {
            self.spare.offer(envelope)
        };
        self.note(out);
    }

    fn run(&mut self) {
        let out = self.to.step(self.now, &mut keeps(&mut self.applied));
        self.note(out.unwrap_or_default());
    }

    fn run_spare(&mut self) {
        let out = self
            .spare
            .step(self.now, &mut keeps(&mut self.applied_there));
        self.note(out.unwrap_or_default());
    }

    fn hear(&mut self, verdict: &Acknowledgement) {
        let Sender::Agent(sender, _) = &verdict.stream.sender else {
            panic!("{verdict:?}")
        };
        let (receiver, lane) = (verdict.stream.receiver.as_str(), verdict.stream.lane);
        let actor = if *sender == id("from/1") {
            &mut self.from
        } else {
            &mut self.to
        };
        let out = actor.hear(receiver, lane, &verdict.notice, self.now);
        self.note(out);
    }

    /// The agent is shipped, messages come to the old copy, and follow it.
    fn moves(&mut self) {
        self.to.agent.mark_shipped();
        let mut source = std::mem::replace(&mut self.to, Actor::new("to/1", KindPolicy::default()));
        self.to.policy = source.policy.clone();
        std::mem::swap(&mut self.to.agent, &mut source.agent);
        // The copy; `source` gets the old one back.
        let mut bytes = Vec::new();
        let digest = phoenix_core::Digest::of(b"c");
        phoenix_core::snapshot::encode(&self.to.agent, &digest, b"", &mut bytes);
        let copy = phoenix_core::snapshot::decode(&bytes.into()).unwrap().agent;
        source.agent = std::mem::replace(&mut self.to.agent, copy);
        let late: Vec<_> = self
            .under_way
            .drain(..self.under_way.len().min(3))
            .collect();
        for envelope in late {
            if *envelope.receiver() == id("to/1") {
                let out = source.offer(envelope);
                self.note(out);
            } else {
                self.deliver(envelope);
            }
        }
        let out = self.to.tick(self.now);
        self.note(out);
        for envelope in source.agent.take_unshipped() {
            self.deliver(envelope);
        }
        let area = id("to/1");
        for lane in Lane::MESSAGES {
            for envelope in source.spill.pop(&area, lane, u64::MAX, u64::MAX).unwrap() {
                self.deliver(envelope);
            }
        }
    }

    fn meet(&mut self, fate: Fate) {
        match fate {
            Fate::Deliver if !self.under_way.is_empty() => {
                let envelope = self.under_way.remove(0);
                self.deliver(envelope);
            }
            Fate::Lose if !self.under_way.is_empty() => {
                self.under_way.remove(0);
            }
            Fate::Repeat if !self.under_way.is_empty() => {
                self.under_way.push(self.under_way[0].clone());
            }
            Fate::Delay if self.under_way.len() > 1 => self.under_way.rotate_left(1),
            Fate::LoseVerdict if !self.verdicts.is_empty() => {
                // Of one that was skipped nothing more is said than that the stream
                // went on, which is not what the books here are about.
                let is_final = |it: &Acknowledgement| matches!(it.notice, Notice::Skipped { .. });
                if !is_final(&self.verdicts[0]) {
                    self.verdicts.remove(0);
                }
            }
            Fate::RepeatVerdict if !self.verdicts.is_empty() => {
                self.verdicts.push(self.verdicts[0].clone());
            }
            Fate::DelayVerdict if self.verdicts.len() > 1 => self.verdicts.rotate_left(1),
            Fate::SenderSleeps => self.from.through_snapshot(),
            Fate::ReceiverSleeps if self.to.agent.spilled() == 0 => {
                self.to.through_snapshot();
                let out = self.to.tick(self.now);
                self.note(out);
            }
            Fate::ReceiverMoves => self.moves(),
            Fate::ReceiverFaults => {
                self.to.refill();
                if let Some(batch) = self.to.begin(self.now) {
                    let mut out = Actions::default();
                    let policy = KindPolicy {
                        max_attempts: u32::MAX,
                        ..self.to.policy.clone()
                    };
                    self.to.agent.fail(batch, &"trap".into(), &policy, &mut out);
                    self.note(out);
                }
            }
            Fate::SpareRuns => self.run_spare(),
            Fate::Run => self.run(),
            _ => {}
        }
        if !self.verdicts.is_empty() {
            let verdict = self.verdicts.remove(0);
            self.hear(&verdict);
        }
        let (one, two) = (self.from.tick(self.now), self.to.tick(self.now));
        self.note(one);
        self.note(two);
        self.now += 50;
    }
}

/// A guest that keeps the numbers it is given; whoever sent them on, it sees
/// who sent them first.
fn keeps(applied: &mut Vec<u64>) -> impl FnMut(Input<'_>, &mut AnswerWriter) {
    |input, writer| {
        if let Input::Message {
            payload, source, ..
        } = input
        {
            assert_eq!(source, "from/1");
            applied.push(read(payload.bytes));
        }
        ok(writer);
    }
}

fn policy() -> impl Strategy<Value = KindPolicy> {
    let overflow = prop::sample::select(vec![
        Overflow::Reject,
        Overflow::DropOldest,
        Overflow::DropNewest,
        Overflow::Spill,
        Overflow::Redirect(id("spare/1")),
    ]);
    (overflow, 1..8u32, 1..5u32, 3..9u32).prop_map(|(overflow, messages, batch, outbox)| {
        KindPolicy {
            overflow,
            mailbox_messages: messages,
            batch_messages: batch,
            turn_effects: 2,
            outbox_messages: outbox,
            spill_bytes: 1_000,
            give_up_after: Millis(36_000_000),
            ..KindPolicy::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_books_balance(
        policy in policy(),
        fates in prop::collection::vec(fate(), 1..200),
        count in 1..40u64,
    ) {
        let drops = matches!(policy.overflow, Overflow::DropNewest | Overflow::DropOldest);
        let redirects = matches!(policy.overflow, Overflow::Redirect(_));
        let mut world = World::new(policy);
        let numbers: Vec<u64> = (1..=count).collect();
        let out = world.from.send("to/1", &numbers, world.now);
        world.note(out);
        for fate in fates {
            world.meet(fate);
        }
        // After the bad times, good ones: everything must come to an end.
        for round in 0..20_000 {
            let is_over = world.from.agent.unacknowledged() == 0
                && world.to.agent.unacknowledged() == 0
                && world.under_way.is_empty();
            if is_over {
                break;
            }
            world.meet([Fate::Deliver, Fate::Deliver, Fate::Run, Fate::SpareRuns][round % 4]);
        }
        prop_assert_eq!(world.from.agent.unacknowledged(), 0, "at {}", world.now);
        prop_assert_eq!(world.to.agent.unacknowledged(), 0);
        prop_assert!(world.applied.is_sorted(), "{:?}", world.applied);
        prop_assert!(world.applied_there.is_sorted(), "{:?}", world.applied_there);
        prop_assert!(drops || world.dead.is_empty(), "{:?}", world.dead);
        prop_assert!(redirects || world.applied_there.is_empty());
        let mut all = world.applied;
        all.append(&mut world.applied_there);
        all.append(&mut world.dead);
        all.sort_unstable();
        prop_assert_eq!(all, numbers, "one verdict each");
    }
}
