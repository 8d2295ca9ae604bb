//! One stream, and many, as what was taken and what has its verdict.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::{AgentId, DeadReason, Incarnation};

fn of(sender: &str) -> Arc<StreamKey> {
    let sender = AgentId::new(sender).unwrap();
    StreamKey::shared(
        Sender::Agent(sender, Incarnation::default()),
        AgentId::new("c/d").unwrap(),
        Lane::Normal,
    )
}

fn key() -> Arc<StreamKey> {
    of("a/b")
}

fn at(number: u64, base: u64) -> Sequence {
    Sequence {
        number,
        base: NonZeroU64::new(base).unwrap(),
        give_up: Millis(100),
    }
}

fn take(inbound: &mut Inbound, sequence: &Sequence) -> StreamIndex {
    match inbound.arrival(&key(), sequence, 10) {
        Arrival::Next(index) => {
            inbound.take(index, sequence);
            index
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_is_taken_in_order_and_once() {
    let mut inbound = Inbound::default();
    let index = take(&mut inbound, &at(1, 1));
    take(&mut inbound, &at(2, 1));
    assert_eq!(
        inbound.arrival(&key(), &at(2, 1), 10),
        Arrival::Waiting,
        "not twice"
    );
    assert_eq!(inbound.arrival(&key(), &at(4, 1), 10), Arrival::Early(3));
    inbound.commit(index, 1);
    inbound.commit(index, 2);
    assert_eq!(
        inbound.arrival(&key(), &at(1, 1), 10),
        Arrival::Committed {
            after: 0,
            through: 2
        }
    );
}

#[test]
fn a_gap_the_sender_closed_is_no_gap() {
    let mut inbound = Inbound::default();
    take(&mut inbound, &at(1, 1));
    let last = take(&mut inbound, &at(5, 5));
    assert_eq!(
        inbound.arrival(&key(), &at(3, 3), 10),
        Arrival::Waiting,
        "a late one is told nothing: its sender knows"
    );
    inbound.commit(last, 1);
    let watermark = inbound.iter().next().unwrap().watermark;
    assert_eq!(watermark, 4, "the gap has no turn to wait for");
}

#[test]
fn a_number_that_cannot_be_is_not_taken() {
    let mut inbound = Inbound::default();
    for (number, base) in [(0, 1), (3, 4)] {
        let arrival = inbound.arrival(&key(), &at(number, base), 10);
        let nothing = Arrival::Committed {
            after: 0,
            through: 0,
        };
        assert_eq!(arrival, nothing);
    }
    assert_eq!(inbound.len(), 0);
    take(&mut inbound, &at(u64::MAX, u64::MAX));
    let again = inbound.arrival(&key(), &at(u64::MAX, 1), 10);
    assert_eq!(again, Arrival::Waiting);
}

#[test]
fn an_unknown_stream_begins_at_its_base() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.arrival(&key(), &at(9, 7), 10), Arrival::Early(7));
    take(&mut inbound, &at(7, 7));
    assert_eq!(inbound.len(), 1);
}

#[test]
fn forgotten_only_after_the_last_give_up() {
    let mut inbound = Inbound::default();
    let index = take(&mut inbound, &at(1, 1));
    inbound.forget_before(Millis(1_000));
    assert_eq!(inbound.len(), 1, "one of its messages waits");
    inbound.commit(index, 1);
    inbound.moved(|_, _, _| ());
    let later = Sequence {
        give_up: Millis(2_000),
        ..at(2, 1)
    };
    let index = take(&mut inbound, &later);
    inbound.commit(index, 2);
    inbound.moved(|_, _, _| ());
    inbound.forget_before(Millis(2_000));
    assert_eq!(inbound.len(), 1);
    inbound.forget_before(Millis(2_001));
    assert_eq!(inbound.len(), 0);
    // Never applied again, whatever comes late.
    assert_eq!(inbound.arrival(&key(), &at(1, 1), 10), Arrival::Forgotten);
    assert_eq!(inbound.arrival(&key(), &later, 10), Arrival::Forgotten);
    let new = Sequence {
        give_up: Millis(2_001),
        ..at(3, 3)
    };
    take(&mut inbound, &new);
    assert_eq!((inbound.len(), inbound.streams.len()), (1, 1));
}

#[test]
fn a_full_table_has_room_again_when_streams_are_over() {
    let mut inbound = Inbound::default();
    let of = |key: u32| of(&format!("a/{key}"));
    for key in 0..1_000 {
        let Arrival::Next(index) = inbound.arrival(&of(key), &at(1, 1), 1_000) else {
            panic!("no room")
        };
        inbound.take(index, &at(1, 1));
        inbound.commit(index, 1);
    }
    inbound.moved(|_, _, _| ());
    let new = Sequence {
        give_up: Millis(900),
        ..at(1, 1)
    };
    assert_eq!(inbound.arrival(&of(2_000), &new, 1_000), Arrival::NoRoom);
    inbound.forget_before(Millis(101));
    assert_eq!((inbound.len(), inbound.expiry.len()), (0, 0));
    let arrival = inbound.arrival(&of(2_000), &new, 1_000);
    assert!(matches!(arrival, Arrival::Next(_)), "{arrival:?}");
}

fn overflow() -> SkipReason {
    SkipReason::Dead(DeadReason::Overflow)
}

#[test]
fn whoever_asks_again_hears_the_same_end_until_it_has_heard() {
    let mut inbound = Inbound::default();
    let index = take(&mut inbound, &at(1, 1));
    for number in 2..=5 {
        take(&mut inbound, &at(number, 1));
    }
    inbound.skip(index, 3, Closed::For(overflow()));
    let again = |inbound: &mut Inbound, number, base| {
        let arrival = inbound.arrival(&key(), &at(number, base), 10);
        (arrival, inbound.skips.len())
    };
    let skipped = Arrival::Skipped(overflow());
    assert_eq!(again(&mut inbound, 3, 1), (skipped.clone(), 1));
    for number in [1, 2, 4, 5] {
        inbound.commit(index, number);
    }
    let committed = |after, through| Arrival::Committed { after, through };
    assert_eq!(again(&mut inbound, 3, 3), (skipped, 1));
    assert_eq!(again(&mut inbound, 2, 2), (committed(0, 2), 1));
    assert_eq!(again(&mut inbound, 4, 3), (committed(3, 5), 1));
    let mut told = Vec::new();
    inbound.moved(|_, after, through| told.push((after, through)));
    assert_eq!(told, [(0, 2), (3, 5)], "nothing covers the third");
    // The sender has heard of it.
    assert_eq!(again(&mut inbound, 4, 4), (committed(0, 5), 0));
}

#[test]
fn what_too_many_were_closed_for_is_not_known_of_the_oldest() {
    const MANY: u64 = 5_000;
    let mut inbound = Inbound::default();
    let index = take(&mut inbound, &at(1, 1));
    inbound.commit(index, 1);
    for pair in 1..=MANY {
        let (one, other) = (2 * pair, 2 * pair + 1);
        take(&mut inbound, &at(one, 1));
        inbound.skip(index, one, Closed::For(overflow()));
        take(&mut inbound, &at(other, 1));
        inbound.commit(index, other);
    }
    let stream = inbound.iter().next().unwrap();
    assert_eq!(stream.watermark, 2 * MANY + 1);
    assert!(inbound.skips(stream).len() < 4_100);
    let mut arrival = |number| inbound.arrival(&key(), &at(number, 1), 10);
    assert_eq!(arrival(2), Arrival::Waiting);
    assert_eq!(
        arrival(3),
        Arrival::Waiting,
        "it must not be told of the others"
    );
    assert_eq!(arrival(2 * MANY), Arrival::Skipped(overflow()));
}

/// What happens to a stream.
#[derive(Clone, Debug)]
enum Op {
    /// The next number comes and waits.
    Take,
    /// So many were closed by the sender before the next one.
    Gap(u64),
    /// The next number comes and is closed at once.
    Skip(Closed),
    /// One that waits is closed, out of order.
    Drop(usize, Closed),
    /// The first that waits is applied.
    Commit,
    /// Any number comes again.
    Again(u64),
    /// The agent sleeps or moves.
    Restore,
}

/// A stream as a set of numbers.
#[derive(Default)]
struct Oracle {
    taken: u64,
    waiting: Vec<u64>,
    /// Those that have their verdict.
    closed: BTreeSet<u64>,
    /// Of these: those whose sender is told that they were applied, if it asked for that.
    applied: BTreeSet<u64>,
    /// And those whose sender is told something else.
    told: BTreeMap<u64, SkipReason>,
}

impl Oracle {
    fn watermark(&self) -> u64 {
        (1..)
            .take_while(|number| self.closed.contains(number))
            .last()
            .unwrap_or(0)
    }

    fn close(&mut self, number: u64, how: Closed) {
        self.closed.insert(number);
        match how {
            Closed::For(reason) => drop(self.told.insert(number, reason)),
            _ => drop(self.applied.insert(number)),
        }
    }

    /// The sender keeps nothing below `base`.
    fn heard(&mut self, base: u64) {
        let watermark = self.watermark();
        self.told
            .retain(|number, _| *number >= base || *number > watermark);
    }

    /// What a number that was taken is told when it comes again.
    fn known(&self, number: u64) -> Arrival {
        let watermark = self.watermark();
        match self.told.get(&number) {
            Some(reason) => Arrival::Skipped(reason.clone()),
            None if number > watermark => Arrival::Waiting,
            None => {
                let before = self.told.range(..number).next_back();
                let behind = self.told.range(number..).next();
                Arrival::Committed {
                    after: before.map_or(0, |(number, _)| *number),
                    through: behind.map_or(watermark, |(number, _)| watermark.min(number - 1)),
                }
            }
        }
    }
}

fn how() -> impl Strategy<Value = Closed> {
    prop_oneof![
        Just(Closed::Quietly),
        Just(Closed::For(SkipReason::Redirected)),
        Just(Closed::For(SkipReason::TurnedDown("".into()))),
        Just(Closed::For(overflow())),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Take),
        1 => (1..4u64).prop_map(Op::Gap),
        3 => how().prop_map(Op::Skip),
        2 => (any::<usize>(), how()).prop_map(|(at, how)| Op::Drop(at, how)),
        5 => Just(Op::Commit),
        3 => (1..40u64).prop_map(Op::Again),
        1 => Just(Op::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_watermark_is_the_last_number_before_which_all_are_closed(
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut inbound = Inbound::default();
        // One that is closed before anything waits, so that the stream is known.
        let mut index = take(&mut inbound, &at(1, 1));
        inbound.commit(index, 1);
        let mut oracle = Oracle { taken: 1, ..Oracle::default() };
        oracle.closed.insert(1);
        // What was reported before the last sleep.
        let mut since = 0;
        for op in ops {
            let next = oracle.taken + 1;
            match op {
                Op::Take => {
                    take(&mut inbound, &at(next, 1));
                    oracle.taken = next;
                    oracle.waiting.push(next);
                }
                Op::Gap(count) => {
                    let next = next + count;
                    oracle.heard(next);
                    take(&mut inbound, &at(next, next));
                    oracle.closed.extend(oracle.taken + 1..next);
                    oracle.taken = next;
                    oracle.waiting.push(next);
                }
                Op::Skip(how) => {
                    take(&mut inbound, &at(next, 1));
                    inbound.skip(index, next, how.clone());
                    oracle.taken = next;
                    oracle.close(next, how);
                }
                Op::Drop(which, how) if !oracle.waiting.is_empty() => {
                    let number = oracle.waiting.remove(which % oracle.waiting.len());
                    inbound.skip(index, number, how.clone());
                    oracle.close(number, how);
                }
                Op::Commit if !oracle.waiting.is_empty() => {
                    let number = oracle.waiting.remove(0);
                    inbound.commit(index, number);
                    oracle.close(number, Closed::Quietly);
                }
                Op::Again(number) => {
                    let expected = if number <= oracle.taken {
                        oracle.known(number)
                    } else if number == next {
                        Arrival::Next(index)
                    } else {
                        Arrival::Early(next)
                    };
                    prop_assert_eq!(inbound.arrival(&key(), &at(number, 1), 10), expected);
                }
                Op::Restore => {
                    let mut again = Inbound::default();
                    for stream in inbound.iter() {
                        again.restore(
                            StreamKey::clone(&stream.key),
                            stream.watermark,
                            stream.last_give_up,
                            stream.is_held,
                            inbound.skips(stream).to_vec(),
                        );
                    }
                    for number in &oracle.waiting {
                        // As it was sent: nothing before it had its verdict then.
                        index = take(&mut again, &at(*number, 1));
                    }
                    inbound = again;
                    since = oracle.watermark();
                }
                Op::Drop(..) | Op::Commit => {}
            }
            let stream = inbound.iter().next().unwrap();
            let watermark = oracle.watermark();
            prop_assert_eq!(stream.watermark, watermark);
            prop_assert_eq!(stream.taken, oracle.taken);
            let skipped: BTreeSet<u64> = inbound
                .skips(stream)
                .iter()
                .flat_map(|skips| skips.from..=skips.through)
                .collect();
            let ahead = oracle.closed.range(watermark + 1..);
            let kept: BTreeSet<u64> = ahead.chain(oracle.told.keys()).copied().collect();
            prop_assert_eq!(skipped, kept);
            for number in oracle.closed.iter().chain(&oracle.waiting) {
                let is_open = oracle.waiting.contains(number);
                let taken = inbound.taken(&key(), &at(*number, 1));
                prop_assert_eq!(taken, is_open.then_some(index), "number {}", number);
            }
        }
        let mut reported = BTreeSet::new();
        inbound.moved(|_, after, through| reported.extend(after + 1..=through));
        let watermark = oracle.watermark();
        for number in oracle.told.keys() {
            prop_assert!(!reported.contains(number), "{} is none of them", number);
        }
        prop_assert!(reported.range(watermark + 1..).next().is_none());
        for number in oracle.applied.range(since + 1..watermark.max(since) + 1) {
            prop_assert!(reported.contains(number), "{} is not reported", number);
        }
    }
}
