//! One stream, and many, as what was taken and what has its verdict.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::{AgentId, Incarnation};

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
        Arrival::Committed(2)
    );
}

#[test]
fn a_gap_the_sender_closed_is_no_gap() {
    let mut inbound = Inbound::default();
    take(&mut inbound, &at(1, 1));
    let last = take(&mut inbound, &at(5, 5));
    assert_eq!(
        inbound.arrival(&key(), &at(3, 3), 10),
        Arrival::Skipped { redirected: false },
        "a late one is told what its sender knows"
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
        assert_eq!(arrival, Arrival::Committed(0));
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
    inbound.moved(|_| ());
    let later = Sequence {
        give_up: Millis(2_000),
        ..at(2, 1)
    };
    let index = take(&mut inbound, &later);
    inbound.commit(index, 2);
    inbound.moved(|_| ());
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
    inbound.moved(|_| ());
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

/// What happens to a stream.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// The next number comes and waits.
    Take,
    /// So many were closed by the sender before the next one.
    Gap(u64),
    /// The next number comes and is closed at once.
    Skip(bool),
    /// One that waits is closed, out of order.
    Drop(usize, bool),
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
    /// Closed by whatever, with whether it was redirected.
    closed: BTreeMap<u64, bool>,
}

impl Oracle {
    fn watermark(&self) -> u64 {
        (1..)
            .take_while(|number| self.closed.contains_key(number))
            .last()
            .unwrap_or(0)
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Take),
        1 => (1..4u64).prop_map(Op::Gap),
        3 => any::<bool>().prop_map(Op::Skip),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, redirected)| Op::Drop(at, redirected)),
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
        oracle.closed.insert(1, false);
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
                    take(&mut inbound, &at(next, next));
                    oracle.closed.extend((oracle.taken + 1..next).map(|it| (it, false)));
                    oracle.taken = next;
                    oracle.waiting.push(next);
                }
                Op::Skip(redirected) => {
                    take(&mut inbound, &at(next, 1));
                    inbound.skip(index, next, redirected);
                    oracle.taken = next;
                    oracle.closed.insert(next, redirected);
                }
                Op::Drop(which, redirected) if !oracle.waiting.is_empty() => {
                    let number = oracle.waiting.remove(which % oracle.waiting.len());
                    inbound.skip(index, number, redirected);
                    oracle.closed.insert(number, redirected);
                }
                Op::Commit if !oracle.waiting.is_empty() => {
                    let number = oracle.waiting.remove(0);
                    inbound.commit(index, number);
                    oracle.closed.insert(number, false);
                }
                Op::Again(number) => {
                    let watermark = oracle.watermark();
                    let expected = if number <= watermark {
                        Arrival::Committed(watermark)
                    } else if let Some(redirected) = oracle.closed.get(&number) {
                        Arrival::Skipped { redirected: *redirected }
                    } else if number <= oracle.taken {
                        Arrival::Waiting
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
                }
                Op::Drop(..) | Op::Commit => {}
            }
            let stream = inbound.iter().next().unwrap();
            prop_assert_eq!(stream.watermark, oracle.watermark());
            prop_assert_eq!(stream.taken, oracle.taken);
            let skipped: Vec<u64> = inbound
                .skips(stream)
                .iter()
                .flat_map(|skips| skips.from..=skips.through)
                .collect();
            let ahead = oracle.closed.range(oracle.watermark() + 1..);
            prop_assert_eq!(skipped, ahead.map(|(number, _)| *number).collect::<Vec<_>>());
            for number in oracle.closed.keys().chain(&oracle.waiting) {
                let is_open = oracle.waiting.contains(number);
                let taken = inbound.taken(&key(), &at(*number, 1));
                prop_assert_eq!(taken, is_open.then_some(index), "number {}", number);
            }
        }
        let mut reported = Vec::new();
        inbound.moved(|stream| reported.push(stream.watermark));
        prop_assert!(reported.iter().all(|it| *it == oracle.watermark()), "once and right");
    }
}
