//! What comes back to an agent that sent it.

use phoenix_core::agent::Actions;
use phoenix_core::{DeadReason, KindPolicy, Lane, Millis, Notice, SkipReason};
use phoenix_wit::{Delivery, Effect, Input, Outcome, Reply};

use crate::harness::{Actor, agent_sender, message, ok, read, small};

/// What was put to the agent of messages that came back: to whom, what, why, and
/// whether that is sure.
fn bounced(actor: &mut Actor, now: u64) -> Vec<(String, u64, String, bool)> {
    let mut seen = Vec::new();
    drop(actor.run(now, &mut |input, writer| {
        if let Input::Bounced {
            to,
            method,
            payload,
            reason,
            unsure,
        } = input
        {
            assert_eq!(method, "do");
            seen.push((
                to.to_owned(),
                read(payload.bytes),
                reason.to_owned(),
                unsure,
            ));
        }
        ok(writer);
    }));
    seen
}

fn hasty() -> KindPolicy {
    KindPolicy {
        give_up_after: Millis(500),
        ..KindPolicy::default()
    }
}

#[test]
fn a_message_that_found_no_room_in_time_comes_back() {
    let mut from = Actor::new("from/1", hasty());
    from.send("to/1", &[1], 10);
    let hold = Notice::Credit {
        taken: 1,
        window: 0,
    };
    from.hear("to/1", Lane::Normal, &hold, 20);
    assert!(from.send("to/1", &[2], 30).send.is_empty());
    from.through_snapshot();
    // After a sleep everything is to be sent again, and still has to hold.
    from.hear("to/1", Lane::Normal, &hold, 31);
    let out = from.tick(1_000);
    let reasons: Vec<&DeadReason> = out.dead.iter().map(|it| &it.1).collect();
    assert_eq!(reasons, [&DeadReason::GaveUp, &DeadReason::NoCredit]);
    assert_eq!(from.agent.unacknowledged(), 0);
    let counters = from.agent.counters;
    assert_eq!((counters.undetermined, counters.no_credit), (1, 1));
    from.through_snapshot();
    let to = "to/1".to_owned();
    let expected = [
        (to.clone(), 1, "gave-up".to_owned(), true),
        (to, 2, "no-credit".to_owned(), false),
    ];
    assert_eq!(
        bounced(&mut from, 1_001),
        expected,
        "the first has left, the second has not"
    );
    assert_eq!(bounced(&mut from, 1_002), [], "once");
}

#[test]
fn a_dead_letter_comes_back_with_its_reason() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    from.send("to/1", &[1, 2, 3], 10);
    for (number, reason) in [
        (1, SkipReason::Dead(DeadReason::Overflow)),
        (2, SkipReason::Redirected),
        (3, SkipReason::Expired),
    ] {
        let skipped = Notice::Skipped { number, reason };
        from.hear("to/1", Lane::Normal, &skipped, 20);
        from.hear("to/1", Lane::Normal, &skipped, 21);
    }
    let to = "to/1".to_owned();
    let expected = [
        (to.clone(), 1, "overflow".to_owned(), false),
        (to, 3, "expired".to_owned(), false),
    ];
    assert_eq!(
        bounced(&mut from, 30),
        expected,
        "one that was sent on may yet arrive"
    );
}

#[test]
fn an_ask_that_never_left_says_so() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    from.hear(
        "to/1",
        Lane::Normal,
        &Notice::Credit {
            taken: 0,
            window: 0,
        },
        5,
    );
    from.send("to/1", &[1], 5);
    let hold = Notice::Credit {
        taken: 1,
        window: 0,
    };
    from.hear("to/1", Lane::Normal, &hold, 9);
    from.offer(message(agent_sender("a/1"), "from/1", None, 0, 0));
    let out = from.run(10, &mut |input, writer| {
        if matches!(input, Input::Message { .. }) {
            writer.effect(&Effect::Ask {
                ask: 7,
                to: "to/1",
                method: "do",
                payload: phoenix_wit::Payload::NONE,
                deadline_ms: 100,
                waiter: None,
            });
            return writer.outcome(&Outcome::Pending, 1);
        }
        ok(writer);
    });
    assert!(out.send.is_empty());
    let hear = |from: &mut Actor, now| from.hear("to/1", Lane::Normal, &hold, now);
    hear(&mut from, 50);
    // The first, which has left, is in the way of giving up the ask; its own end is
    // what the ask gets then.
    from.hear(
        "to/1",
        Lane::Normal,
        &Notice::Applied {
            after: 0,
            through: 1,
        },
        60,
    );
    from.tick(110);
    let mut ends = Vec::new();
    drop(from.run(111, &mut |input, writer| {
        if let Input::Reply { ask, reply } = input {
            ends.push((ask, matches!(reply, Reply::Bounced("no-credit"))));
        }
        ok(writer);
    }));
    assert_eq!(ends, [(7, true)]);
    assert_eq!(from.agent.counters.timeouts, 0);
}

/// Two agents that send to each other whenever they can, and are full: they come to
/// an end, in bounces, and nothing stands still for ever.
#[test]
fn two_full_agents_facing_each_other_end_in_bounces() {
    let policy = KindPolicy {
        turn_effects: 4,
        outbox_messages: 8,
        give_up_after: Millis(2_000),
        batch_messages: 1,
        ..small(4)
    };
    let names = ["a/1", "b/1"];
    let mut agents = names.map(|name| Actor::new(name, policy.clone()));
    let (mut sent, mut applied, mut came_back) = (0, 0, 0);
    let mut number = 0;
    for actor in &mut agents {
        actor.offer(message(
            agent_sender("c/1"),
            actor.agent.id().as_str(),
            None,
            0,
            0,
        ));
    }
    for now in 10..60_000u64 {
        for at in [0, 1] {
            let other = names[1 - at];
            let mut all: Vec<Actions> = vec![agents[at].tick(now)];
            let out = agents[at].step(now, &mut |input, writer| {
                match input {
                    // Everything makes it say two things more, for a while.
                    Input::Message { .. } => {
                        applied += 1;
                        for _ in 0..if now < 30_000 { 2 } else { 0 } {
                            number += 1;
                            sent += 1;
                            writer.effect(&Effect::Send {
                                to: other,
                                method: "do",
                                payload: phoenix_wit::Payload::message_pack(&u64::to_le_bytes(
                                    number,
                                )),
                                delivery: Delivery::ExactlyOnce,
                            });
                        }
                    }
                    Input::Bounced { unsure, .. } => {
                        assert!(!unsure || now > 2_000);
                        came_back += 1;
                    }
                    _ => {}
                }
                ok(writer);
            });
            all.extend(out);
            while let Some(out) = all.pop() {
                for envelope in out.send {
                    all.push(agents[1 - at].offer(envelope));
                }
                for acknowledgement in out.acknowledge {
                    let stream = &acknowledgement.stream;
                    let phoenix_core::Sender::Agent(sender, _) = &stream.sender else {
                        continue;
                    };
                    let to = usize::from(sender.as_str() == names[1]);
                    let actor = &mut agents[to];
                    let receiver = stream.receiver.as_str();
                    let out = actor.hear(receiver, stream.lane, &acknowledgement.notice, now);
                    // What leaves for the other goes by the same way.
                    let from_other = to != at;
                    for envelope in out.send {
                        let there = if from_other { at } else { 1 - at };
                        all.push(agents[there].offer(envelope));
                    }
                }
            }
        }
    }
    let left: u64 = agents.iter().map(|it| it.agent.unacknowledged()).sum();
    assert_eq!(left, 0);
    assert!(came_back > 0, "{sent} sent, {applied} applied");
    // The two they were given came from elsewhere.
    let unsure: u64 = agents.iter().map(|it| it.agent.counters.undetermined).sum();
    assert!(applied - 2 + came_back >= sent && applied - 2 + came_back <= sent + unsure);
}
