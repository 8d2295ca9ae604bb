//! When senders are told to hold and to go on, against two comparisons.

use std::collections::{BTreeMap, BTreeSet};

use phoenix_core::agent::{Actions, Batch};
use phoenix_core::{Incarnation, KindPolicy, Lane, Notice, Sender};
use proptest::prelude::*;

use crate::harness::{Actor, agent_sender, id, message, ok, small};

#[derive(Clone, Copy, Debug)]
enum Op {
    Offer(u8, usize),
    /// Something at-most-once: its sender cannot be told anything.
    OfferUnreliable(usize),
    Begin,
    Commit,
    Undo,
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..3u8, 0..100usize).prop_map(|(sender, size)| Op::Offer(sender, size)),
        2 => (0..100usize).prop_map(Op::OfferUnreliable),
        3 => Just(Op::Begin),
        3 => Just(Op::Commit),
        1 => Just(Op::Undo),
        1 => Just(Op::Snapshot),
    ]
}

/// The simplest account of who holds.
#[derive(Default)]
struct Oracle {
    waiting: Vec<u64>,
    under_way: Vec<u64>,
    holding: bool,
    /// Who was told to hold, and in which turn last.
    told: BTreeMap<u8, u64>,
    turn: u64,
    taken: BTreeMap<u8, u64>,
}

impl Oracle {
    fn is_high(&self, policy: &KindPolicy) -> bool {
        let bytes: u64 = self.waiting.iter().sum();
        let is_over = |part: u64, whole: u64| {
            part as f64 >= whole as f64 * f64::from(policy.mailbox_high) / 100.0
        };
        is_over(self.waiting.len() as u64, policy.mailbox_messages.into())
            || is_over(bytes, policy.mailbox_bytes)
    }

    fn is_low(&self, policy: &KindPolicy) -> bool {
        let bytes: u64 = self.waiting.iter().sum();
        let is_under = |part: u64, whole: u64| {
            part as f64 <= whole as f64 * f64::from(policy.mailbox_low) / 100.0
        };
        is_under(self.waiting.len() as u64, policy.mailbox_messages.into())
            && is_under(bytes, policy.mailbox_bytes)
    }

    /// Looks at the marks; gives who is to go on.
    fn look(&mut self, policy: &KindPolicy) -> BTreeSet<(u8, bool)> {
        if self.holding && self.is_low(policy) {
            self.holding = false;
            return std::mem::take(&mut self.told)
                .into_keys()
                .map(|it| (it, true))
                .collect();
        }
        BTreeSet::new()
    }

    fn arrived(&mut self, from: Option<u8>, policy: &KindPolicy) -> BTreeSet<(u8, bool)> {
        let mut told = self.look(policy);
        self.holding |= self.is_high(policy);
        if let Some(sender) = from.filter(|_| self.holding)
            && self.told.insert(sender, self.turn) != Some(self.turn)
        {
            told.insert((sender, false));
        }
        told
    }
}

/// Who was told what: whether to go on.
fn credits(actions: &Actions, oracle: &Oracle, policy: &KindPolicy) -> BTreeSet<(u8, bool)> {
    let mut told = BTreeSet::new();
    let mut windows = 0;
    for acknowledgement in &actions.acknowledge {
        let Notice::Credit { taken, window } = acknowledgement.notice else {
            continue;
        };
        let Sender::Agent(sender, _) = &acknowledgement.stream.sender else {
            panic!("{acknowledgement:?}")
        };
        let sender = sender.key().parse().unwrap();
        assert_eq!(taken, oracle.taken[&sender]);
        assert!(told.insert((sender, window > 0)), "told twice");
        windows += window;
    }
    let goes_on = told.iter().filter(|(_, goes_on)| *goes_on).count() as u64;
    let high = u64::from(policy.mailbox_messages) * u64::from(policy.mailbox_high) / 100;
    assert!(
        windows <= high.max(goes_on),
        "they share the room: {windows} of {high}"
    );
    told
}

fn policy() -> impl Strategy<Value = KindPolicy> {
    (1..12u32, 500..4_000u64, 1..100u32, 1..6u32)
        .prop_flat_map(|(messages, bytes, high, batch)| {
            (Just((messages, bytes, high, batch)), 0..high)
        })
        .prop_map(|((messages, bytes, high, batch), low)| KindPolicy {
            mailbox_messages: messages,
            mailbox_bytes: bytes,
            mailbox_high: high,
            mailbox_low: low,
            batch_messages: batch,
            ..KindPolicy::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn senders_hold_from_the_high_mark_to_the_low_one(
        policy in policy(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut actor = Actor::new("to/1", policy.clone());
        let mut oracle = Oracle { turn: actor.agent.turns(), ..Oracle::default() };
        let mut batch: Option<Batch> = None;
        for op in ops {
            let (actions, expected) = match op {
                Op::Offer(sender, size) => {
                    let number = oracle.taken.get(&sender).map_or(1, |it| it + 1);
                    let from = agent_sender(&format!("from/{sender}"));
                    let sequence = Some((Lane::Normal, number));
                    let envelope = message(from, "to/1", sequence, number, size);
                    let size = envelope.size() as u64;
                    let before = actor.agent.counters.refused_full;
                    let actions = actor.offer(envelope);
                    if actor.agent.counters.refused_full == before {
                        oracle.taken.insert(sender, number);
                        oracle.waiting.push(size);
                    } else {
                        oracle.taken.entry(sender).or_default();
                    }
                    let expected = oracle.arrived(Some(sender), &policy);
                    (actions, expected)
                }
                Op::OfferUnreliable(size) => {
                    let envelope = message(agent_sender("from/9"), "to/1", None, 0, size);
                    let size = envelope.size() as u64;
                    let before = actor.agent.counters.dropped;
                    let actions = actor.offer(envelope);
                    if actor.agent.counters.dropped == before {
                        oracle.waiting.push(size);
                    }
                    let expected = oracle.arrived(None, &policy);
                    (actions, expected)
                }
                Op::Begin => {
                    if batch.is_none() {
                        batch = actor.begin(2);
                        let taken = batch.as_ref().map_or(0, Batch::turns) as usize;
                        oracle.under_way = oracle.waiting.drain(..taken).collect();
                    }
                    (Actions::default(), BTreeSet::new())
                }
                Op::Commit => {
                    let Some(batch) = batch.take() else { continue };
                    let actions = actor.commit(batch, &mut |_, writer| ok(writer));
                    oracle.turn += oracle.under_way.len() as u64;
                    oracle.under_way.clear();
                    let expected = oracle.look(&policy);
                    (actions, expected)
                }
                Op::Undo => {
                    let Some(batch) = batch.take() else { continue };
                    actor.agent.put_back(batch);
                    let back = std::mem::take(&mut oracle.under_way);
                    oracle.waiting.splice(0..0, back);
                    (Actions::default(), BTreeSet::new())
                }
                Op::Snapshot => {
                    if batch.is_none() {
                        actor.through_snapshot();
                        // Who was told is remembered; when, is not.
                        oracle.told.values_mut().for_each(|turn| *turn = u64::MAX);
                    }
                    (Actions::default(), BTreeSet::new())
                }
            };
            prop_assert_eq!(credits(&actions, &oracle, &policy), expected);
            prop_assert_eq!(actor.agent.is_holding(), oracle.holding);
        }
    }
}

/// A sender of `count` messages, an agent, with what has left so far.
fn sender(count: u64) -> (Actor, Vec<u64>) {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let numbers: Vec<u64> = (1..=count).collect();
    let sent = from.send("to/1", &numbers, 10);
    let left = numbers_of(&sent);
    (from, left)
}

fn numbers_of(actions: &Actions) -> Vec<u64> {
    let numbers = actions.send.iter().filter_map(|it| it.sequence);
    numbers.map(|it| it.number).collect()
}

fn credit(taken: u64, window: u64) -> Notice {
    Notice::Credit { taken, window }
}

#[test]
fn who_is_told_to_hold_keeps_what_it_has() {
    let (mut from, left) = sender(3);
    assert_eq!(left, [1, 2, 3]);
    from.hear("to/1", Lane::Normal, &credit(2, 0), 20);
    assert_eq!(numbers_of(&from.send("to/1", &[4, 5, 6], 21)), [0_u64; 0]);
    // That those before have their verdicts does not mean that there is room.
    let applied = Notice::Applied {
        after: 0,
        through: 3,
    };
    let heard = from.hear("to/1", Lane::Normal, &applied, 30);
    assert_eq!(numbers_of(&heard), [0_u64; 0]);
    assert_eq!(from.agent.unacknowledged(), 3);
    // The word to go on says how far.
    let heard = from.hear("to/1", Lane::Normal, &credit(3, 2), 40);
    assert_eq!(numbers_of(&heard), [4, 5]);
    // Repeated, it says the same.
    let heard = from.hear("to/1", Lane::Normal, &credit(3, 2), 41);
    assert_eq!(numbers_of(&heard), [0_u64; 0]);
    let applied = Notice::Applied {
        after: 0,
        through: 5,
    };
    assert_eq!(
        numbers_of(&from.hear("to/1", Lane::Normal, &applied, 50)),
        [6]
    );
}

#[test]
fn a_word_that_is_lost_is_asked_for_with_one_message() {
    let (mut from, _) = sender(3);
    from.hear("to/1", Lane::Normal, &credit(3, 0), 20);
    from.send("to/1", &[4, 5, 6], 21);
    let wake = from.agent.next_wake_exact();
    assert_eq!(wake.0, 20 + 1_000, "no later than a second");
    assert_eq!(numbers_of(&from.tick(wake.0 - 1)), [0_u64; 0]);
    assert_eq!(numbers_of(&from.tick(wake.0)), [4], "one asks");
    assert_eq!(numbers_of(&from.tick(wake.0 + 1)), [0_u64; 0], "once");
    // It still has to hold: the next asks again.
    from.hear("to/1", Lane::Normal, &credit(4, 0), wake.0 + 5);
    assert_eq!(numbers_of(&from.tick(wake.0 + 1_004)), [0_u64; 0]);
    assert_eq!(numbers_of(&from.tick(wake.0 + 1_005)), [5]);
    // It need not any more, and nobody says so: verdicts do.
    let applied = Notice::Applied {
        after: 0,
        through: 5,
    };
    let heard = from.hear("to/1", Lane::Normal, &applied, wake.0 + 1_006);
    assert_eq!(numbers_of(&heard), [6]);
}

#[test]
fn a_late_word_to_hold_is_over_by_itself() {
    let (mut from, _) = sender(2);
    from.hear("to/1", Lane::Normal, &credit(2, 10), 20);
    from.hear("to/1", Lane::Normal, &credit(2, 0), 21);
    from.hear(
        "to/1",
        Lane::Normal,
        &Notice::Applied {
            after: 0,
            through: 2,
        },
        22,
    );
    // Long after, with nothing under way: it is not asked about any more.
    assert_eq!(numbers_of(&from.send("to/1", &[3], 5_000)), [3]);
}

#[test]
fn replies_are_never_held() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    from.hear("to/1", Lane::Normal, &credit(0, 0), 10);
    from.hear("to/1", Lane::High, &credit(0, 0), 10);
    let mut request = phoenix_core::Envelope::clone(&message(
        agent_sender("to/1"),
        "from/1",
        Some((Lane::Normal, 1)),
        1,
        0,
    ));
    if let phoenix_core::Body::Message { ask, .. } = &mut request.body {
        *ask = Some(Box::new(phoenix_core::Ask {
            id: 1,
            reply_to: phoenix_core::ReplyTo::Agent(id("to/1"), Incarnation::default()),
            deadline: phoenix_core::Millis(1_000),
        }));
    }
    from.offer(request.into());
    let sent = from.run(11, &mut |_, writer| ok(writer)).send;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].stream.lane, Lane::Reply);
    // And a full mailbox takes them.
    let mut to = Actor::new("to/1", small(1));
    to.offer(message(
        agent_sender("a/1"),
        "to/1",
        Some((Lane::Normal, 1)),
        1,
        0,
    ));
    let out = to.offer(sent[0].clone());
    assert!(out.is_empty(), "{out:?}");
    assert_eq!(to.agent.waiting(), 2);
}

/// A fast sender and a slow receiver over a network that takes a while each way:
/// the mailbox stays at its high mark and what is under way, and the sender's outbox
/// fills until it is not put any more turns.
#[test]
fn a_slow_receiver_slows_its_sender() {
    const ROUND_TRIP: usize = 4;
    let policy = KindPolicy {
        outbox_messages: 2_500,
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    let mut to = Actor::new(
        "to/1",
        KindPolicy {
            batch_messages: 5,
            ..small(600)
        },
    );
    let mut there = std::collections::VecDeque::from(vec![Vec::new(); ROUND_TRIP]);
    let mut back = std::collections::VecDeque::from(vec![Vec::new(); ROUND_TRIP]);
    let (mut number, mut applied, mut most, mut was_held, mut resumed) = (0, 0, 0, 0, 0);
    for now in 10..1_500 {
        let mut out = Actions::default();
        // It sends whenever it is put a turn.
        let mut sent = 0;
        if from.agent.unacknowledged() + 1_000 <= 2_500 {
            let numbers: Vec<u64> = (0..20).map(|it| number + it).collect();
            number += 20;
            out.send.extend(from.send("to/1", &numbers, now).send);
            sent = out.send.len();
        }
        was_held += usize::from(sent == 0);
        there.push_back(out.send);
        for envelope in there.pop_front().unwrap() {
            let mut got = to.offer(envelope);
            back.back_mut().unwrap().append(&mut got.acknowledge);
        }
        most = most.max(to.agent.waiting());
        if let Some(mut out) = to.step(now, &mut |_, writer| ok(writer)) {
            applied += 5;
            back.back_mut().unwrap().append(&mut out.acknowledge);
        }
        back.push_back(Vec::new());
        for acknowledgement in back.pop_front().unwrap() {
            resumed += usize::from(matches!(
                acknowledgement.notice,
                Notice::Credit { window: 1.., .. }
            ));
            let more = from.hear("to/1", Lane::Normal, &acknowledgement.notice, now);
            there.back_mut().unwrap().extend(more.send);
        }
        let more = from.tick(now);
        there.back_mut().unwrap().extend(more.send);
    }
    assert_eq!(
        to.agent.counters.refused_full, 0,
        "the bound itself is never met"
    );
    assert!(most < 600, "{most} waited");
    assert!(applied > 7_000, "{applied} were applied: it never runs dry");
    assert!(
        was_held > 500,
        "the sender had to hold in {was_held} rounds"
    );
    assert!(resumed > 10, "it was told to go on {resumed} times");
}
