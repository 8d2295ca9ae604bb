//! Messages that wait beside the mailbox.

use std::sync::Arc;

use phoenix_core::agent::Actions;
use phoenix_core::{
    DeadReason, Envelope, KindPolicy, Lane, MemorySpill, Notice, Overflow, SkipReason, Spill,
};
use phoenix_wit::Input;

use crate::harness::{Actor, agent_sender, id, message, number_of, ok, on_lane, read, small};

fn spilling(messages: u32) -> KindPolicy {
    KindPolicy {
        overflow: Overflow::Spill,
        batch_messages: 2,
        ..small(messages)
    }
}

fn reliable(lane: Lane, number: u64) -> Arc<Envelope> {
    message(
        agent_sender("from/1"),
        "to/1",
        Some((lane, number)),
        number,
        0,
    )
}

fn applied(actor: &mut Actor, now: u64) -> (Vec<u64>, Actions) {
    let mut seen = Vec::new();
    let out = actor.run(now, &mut |input, writer| {
        if let Input::Message { payload, .. } = input {
            seen.push(read(payload.bytes));
        }
        ok(writer);
    });
    (seen, out)
}

#[test]
fn a_lane_stays_in_order_across_its_area() {
    let mut actor = Actor::new("to/1", spilling(4));
    for number in 1..=10 {
        assert!(actor.offer(reliable(Lane::Normal, number)).dead.is_empty());
    }
    assert_eq!((actor.agent.waiting(), actor.agent.spilled()), (4, 6));
    // There is room now, but what comes later waits behind what came earlier.
    let batch = actor.begin(2).unwrap();
    drop(actor.commit(batch, &mut |_, writer| ok(writer)));
    actor.offer(reliable(Lane::Normal, 11));
    actor.offer(message(agent_sender("from/2"), "to/1", None, 12, 0));
    assert_eq!((actor.agent.waiting(), actor.agent.spilled()), (2, 8));
    // It is not taken twice, wherever it is.
    for number in [3, 4, 8] {
        assert!(actor.offer(reliable(Lane::Normal, number)).is_empty());
    }
    let (seen, out) = applied(&mut actor, 3);
    assert_eq!(seen, (3..=12).collect::<Vec<_>>());
    let last = out.acknowledge.iter().rev().find_map(|it| match it.notice {
        Notice::Applied { through, .. } => Some(through),
        _ => None,
    });
    assert_eq!(last, Some(11));
    assert_eq!(actor.spill.agents(), []);
    assert_eq!(actor.agent.counters.spilled, 8);
}

/// An agent whose memory is full of one lane still gets to the others.
#[test]
fn no_lane_starves_in_its_area() {
    let mut actor = Actor::new("to/1", spilling(8));
    for number in 1..=8 {
        actor.offer(reliable(Lane::Normal, number));
    }
    actor.offer(on_lane(
        &message(agent_sender("a/1"), "to/1", None, 100, 0),
        Lane::Bulk,
    ));
    assert_eq!(actor.agent.spilled(), 1);
    let mut number = 8;
    let mut seen = Vec::new();
    while !seen.contains(&100) {
        assert!(seen.len() < 60, "{seen:?}");
        number += 1;
        actor.offer(reliable(Lane::Normal, number));
        actor.step(2, &mut |input, writer| {
            if let Input::Message { payload, .. } = input {
                seen.push(read(payload.bytes));
            }
            ok(writer);
        });
        assert!(actor.agent.waiting() <= 8 + 3, "by no more than one a lane");
    }
}

#[test]
fn an_agent_with_an_area_is_not_quiet() {
    let mut actor = Actor::new("to/1", spilling(1));
    actor.offer(reliable(Lane::Normal, 1));
    actor.offer(reliable(Lane::Normal, 2));
    let batch = actor.begin(2).unwrap();
    drop(actor.commit(batch, &mut |_, writer| ok(writer)));
    assert_eq!((actor.agent.waiting(), actor.agent.spilled()), (0, 1));
    assert!(!actor.agent.quiet());
    assert!(actor.agent.ready(&Never));
    applied(&mut actor, 3);
    assert!(actor.agent.quiet());
}

struct Never;

impl phoenix_core::agent::Handlers for Never {
    fn interleaves(&self, _method: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

#[test]
fn an_area_has_a_bound() {
    let one = reliable(Lane::Normal, 1).size() as u64;
    let policy = KindPolicy {
        spill_bytes: 2 * one,
        ..spilling(1)
    };
    let mut actor = Actor::new("to/1", policy);
    for number in 1..=3 {
        assert!(actor.offer(reliable(Lane::Normal, number)).dead.is_empty());
    }
    let out = actor.offer(reliable(Lane::Normal, 4));
    assert!(matches!(
        out.acknowledge[0].notice,
        Notice::Refused { expected: 4, .. }
    ));
    let (seen, _) = applied(&mut actor, 2);
    assert_eq!(seen, [1, 2, 3]);
}

/// It goes after the agent as messages, and arrives behind what left with it.
#[test]
fn what_is_spilled_follows_an_agent_that_moves() {
    let mut source = Actor::new("to/1", spilling(4));
    for number in 1..=9 {
        source.offer(reliable(Lane::Normal, number));
    }
    source.agent.mark_shipped();
    let mut target = Actor::new("to/1", spilling(4));
    std::mem::swap(&mut target.agent, &mut source.agent);
    target.through_snapshot();
    // The target has the copy, the source the area.
    assert_eq!((target.agent.waiting(), target.agent.spilled()), (4, 0));
    let late = source
        .spill
        .pop(&id("to/1"), Lane::Normal, u64::MAX, u64::MAX)
        .unwrap();
    assert_eq!(late.len(), 5);
    target.tick(2);
    for envelope in late {
        target.offer(envelope);
    }
    // Its sender, told that it moved, sends the last ones again, and more.
    for number in 8..=10 {
        target.offer(reliable(Lane::Normal, number));
    }
    let (seen, _) = applied(&mut target, 3);
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_written_is_a_dead_letter() {
    let mut actor = Actor::new("to/1", spilling(2));
    for number in 1..=2 {
        actor.offer(reliable(Lane::Normal, number));
    }
    let mut out = Actions::default();
    let policy = actor.policy.clone();
    actor
        .agent
        .offer(reliable(Lane::Normal, 3), &policy, &mut out);
    let envelope = out.spill.remove(0);
    actor.agent.spill_failed(&envelope, &mut out);
    let reason = SkipReason::Dead(DeadReason::Overflow);
    let skipped = Notice::Skipped { number: 3, reason };
    assert!(out.acknowledge.iter().any(|it| it.notice == skipped));
    assert_eq!(out.dead.len(), 1);
    let (seen, out) = applied(&mut actor, 2);
    assert_eq!(seen, [1, 2]);
    assert_eq!(
        out.acknowledge[0].notice,
        Notice::Applied {
            after: 0,
            through: 2
        }
    );
}

/// Their senders keep what has no verdict, so it is taken when it comes again.
#[test]
fn what_cannot_be_read_is_taken_again() {
    let mut actor = Actor::new("to/1", spilling(2));
    for number in 1..=6 {
        actor.offer(reliable(Lane::Normal, number));
    }
    actor.spill = MemorySpill::default();
    actor.agent.spill_lost(Lane::Normal);
    assert_eq!(
        (actor.agent.spilled(), actor.agent.counters.spill_lost),
        (0, 4)
    );
    let (mut seen, _) = applied(&mut actor, 2);
    for number in 1..=6 {
        actor.offer(reliable(Lane::Normal, number));
        seen.extend(applied(&mut actor, 3).0);
    }
    assert_eq!(seen, (1..=6).collect::<Vec<_>>());
}

#[test]
fn what_is_spilled_of_an_agent_that_ends_has_its_verdict() {
    let mut actor = Actor::new("to/1", spilling(1));
    for number in 1..=4 {
        actor.offer(reliable(Lane::Normal, number));
    }
    let mut out = Actions::default();
    actor.agent.stop("enough");
    actor.agent.abandon(&DeadReason::Stopped, &mut out);
    let rest = actor
        .spill
        .pop(&id("to/1"), Lane::Normal, u64::MAX, u64::MAX)
        .unwrap();
    for envelope in rest {
        actor
            .agent
            .abandon_spilled(&envelope, &DeadReason::Stopped, &mut out);
    }
    let dead: Vec<u64> = out.dead.iter().map(|it| number_of(&it.0)).collect();
    assert_eq!(dead, [1, 2, 3, 4]);
    assert_eq!(actor.agent.spilled(), 0);
}

/// The one in memory keeps the order of each lane of each life, and gives one at
/// least whatever the bounds.
#[test]
fn the_area_in_memory_is_an_area() {
    let mut spill = MemorySpill::default();
    let (area, other) = (id("to/1"), id("to/2"));
    for number in 1..=3 {
        spill.push(&area, &reliable(Lane::Normal, number)).unwrap();
        spill
            .push(&area, &reliable(Lane::Bulk, 10 + number))
            .unwrap();
        spill
            .push(&other, &reliable(Lane::Normal, 20 + number))
            .unwrap();
    }
    assert_eq!(spill.agents(), [area.clone(), other.clone()]);
    let mut pop = |lane, messages, bytes| -> Vec<u64> {
        let popped = spill.pop(&area, lane, messages, bytes).unwrap();
        popped.iter().map(|it| number_of(it)).collect()
    };
    assert_eq!(pop(Lane::Normal, 0, 0), [1]);
    assert_eq!(pop(Lane::Normal, 9, u64::MAX), [2, 3]);
    assert_eq!(pop(Lane::Normal, 9, u64::MAX), [0_u64; 0]);
    assert_eq!(pop(Lane::Bulk, 2, u64::MAX), [11, 12]);
    spill.clear(&other);
    assert_eq!(spill.agents(), [area]);
}

/// Spills `numbers` of the normal lane, and ends as if its node had: what was in the
/// mailbox is gone, what was spilled is there.
fn left_behind(before: u64, numbers: std::ops::RangeInclusive<u64>) -> MemorySpill {
    let policy = spilling(u32::try_from(before).unwrap());
    let mut old = Actor::new("to/1", policy);
    for number in 1..=*numbers.end() {
        old.offer(reliable(Lane::Normal, number));
    }
    assert_eq!(old.agent.spilled(), numbers.end() - before);
    assert_eq!(*numbers.start(), before + 1);
    old.spill
}

/// The next life, with room for much and the area of the one before it.
fn heir(spill: MemorySpill) -> Actor {
    let mut heir = Actor::new("to/1", spilling(100));
    heir.spill = spill;
    let (backlog, lost) = heir.spill.survey(&id("to/1"));
    assert_eq!(lost, []);
    heir.agent.inherit(&backlog);
    heir
}

fn notices(out: &Actions) -> Vec<Notice> {
    out.acknowledge.iter().map(|it| it.notice.clone()).collect()
}

/// Nobody speaks on the stream any more, so it begins with what is left.
#[test]
fn what_is_left_is_applied_in_order_though_its_sender_is_gone() {
    let mut heir = heir(left_behind(3, 4..=9));
    assert_eq!(heir.agent.spilled(), 6);
    heir.offer(message(agent_sender("late/1"), "to/1", None, 50, 0));
    let (seen, out) = applied(&mut heir, 2);
    assert_eq!(
        seen,
        [4, 5, 6, 7, 8, 9, 50],
        "what came since waits behind it"
    );
    assert_eq!(notices(&out), [], "no watermark covers what is not known");
    assert_eq!(heir.agent.counters.duplicates, 0);
}

/// What its mailbox held is gone with the node, so its sender begins before that.
#[test]
fn a_sender_that_lives_supersedes_what_is_left() {
    let mut heir = heir(left_behind(3, 4..=6));
    for number in 1..=8 {
        assert_eq!(notices(&heir.offer(reliable(Lane::Normal, number))), []);
    }
    let (seen, out) = applied(&mut heir, 2);
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
    assert_eq!(
        notices(&out).last(),
        Some(&Notice::Applied {
            after: 0,
            through: 8
        })
    );
    assert_eq!(heir.agent.counters.duplicates, 3);
}

/// It is told of each message that is not known here, and of no watermark before.
#[test]
fn a_sender_that_comes_too_late_is_told_what_is_lost() {
    let mut heir = heir(left_behind(2, 3..=5));
    let (seen, out) = applied(&mut heir, 2);
    assert_eq!((seen, notices(&out)), (vec![3, 4, 5], vec![]));
    heir.through_snapshot();
    heir.tick(3);
    let mut told = Vec::new();
    for number in 1..=6 {
        told.extend(notices(&heir.offer(reliable(Lane::Normal, number))));
    }
    let forgotten = |number| Notice::Skipped {
        number,
        reason: SkipReason::Dead(DeadReason::Forgotten),
    };
    let again = Notice::Applied {
        after: 2,
        through: 5,
    };
    let expected = [
        forgotten(1),
        forgotten(2),
        again.clone(),
        again.clone(),
        again,
    ];
    assert_eq!(told, expected);
    let (seen, out) = applied(&mut heir, 4);
    assert_eq!(seen, [6]);
    assert_eq!(
        notices(&out),
        [Notice::Applied {
            after: 2,
            through: 6
        }]
    );
}

/// Wherever it comes in between, order is kept and nothing is applied twice.
#[test]
fn a_sender_may_come_at_any_time() {
    for taken in 0..=6 {
        let mut heir = heir(left_behind(2, 3..=8));
        heir.policy.batch_messages = 1;
        heir.policy.mailbox_messages = 2;
        let mut seen = Vec::new();
        let mut guest = |input: Input<'_>, writer: &mut phoenix_wit::AnswerWriter| {
            if let Input::Message { payload, .. } = input {
                seen.push(read(payload.bytes));
            }
            ok(writer);
        };
        for _ in 0..taken {
            heir.step(2, &mut guest);
        }
        // What it is told is forgotten it does not send again.
        for number in 1..=10 {
            heir.offer(reliable(Lane::Normal, number));
        }
        drop(heir.run(3, &mut guest));
        let first = if taken == 0 { 1 } else { 3 };
        assert_eq!(seen, (first..=10).collect::<Vec<_>>(), "after {taken}");
    }
}

#[test]
fn what_is_left_of_an_agent_that_ends_has_its_verdict() {
    let mut heir = heir(left_behind(2, 3..=5));
    let mut out = Actions::default();
    heir.agent.stop("enough");
    heir.agent.abandon(&DeadReason::Stopped, &mut out);
    let rest = heir
        .spill
        .pop(&id("to/1"), Lane::Normal, u64::MAX, u64::MAX)
        .unwrap();
    for envelope in rest {
        heir.agent
            .abandon_spilled(&envelope, &DeadReason::Stopped, &mut out);
    }
    let dead: Vec<u64> = out.dead.iter().map(|it| number_of(&it.0)).collect();
    assert_eq!(dead, [3, 4, 5]);
    let skipped = |number| Notice::Skipped {
        number,
        reason: SkipReason::Dead(DeadReason::Stopped),
    };
    assert_eq!(notices(&out), [skipped(3), skipped(4), skipped(5)]);
}
