//! Messages that a full agent sends on.

use std::sync::Arc;

use phoenix_core::agent::Actions;
use phoenix_core::{
    Ask, Body, ClientId, DeadReason, Envelope, Incarnation, KindPolicy, Lane, Millis, NodeId,
    Notice, Overflow, Reply, ReplyTo, Sender, SkipReason, StreamKey,
};
use phoenix_wit::{Input, Outcome};

use crate::harness::{Actor, agent_sender, id, message, small};

fn to(name: &str) -> KindPolicy {
    KindPolicy {
        overflow: Overflow::Redirect(id(name)),
        ..small(1)
    }
}

fn reliable(number: u64) -> Arc<Envelope> {
    message(
        agent_sender("from/1"),
        "full/1",
        Some((Lane::Normal, number)),
        number,
        0,
    )
}

fn asking(envelope: &Arc<Envelope>, reply_to: ReplyTo) -> Arc<Envelope> {
    let mut envelope = Envelope::clone(envelope);
    if let Body::Message { ask, .. } = &mut envelope.body {
        *ask = Some(Box::new(Ask {
            id: 9,
            reply_to,
            deadline: Millis(1_000),
        }));
    }
    Arc::new(envelope)
}

/// An agent with one message in its mailbox, which is all it takes.
fn full(policy: KindPolicy) -> Actor {
    let mut full = Actor::new("full/1", policy);
    assert!(full.offer(reliable(1)).send.is_empty());
    full
}

fn sources(actor: &mut Actor, now: u64) -> (Vec<String>, Actions) {
    let mut sources = Vec::new();
    let out = actor.run(now, &mut |input, writer| {
        if let Input::Message { source, .. } = input {
            sources.push(source.to_owned());
        }
        writer.outcome(&Outcome::Ok(phoenix_wit::Payload::message_pack(b"yes")), 0);
    });
    (sources, out)
}

#[test]
fn the_new_receiver_sees_who_sent_it_and_takes_it_once() {
    let mut full = full(to("spare/1"));
    let out = full.offer(reliable(2));
    let reason = SkipReason::Redirected;
    assert_eq!(
        out.acknowledge[0].notice,
        Notice::Skipped { number: 2, reason }
    );
    assert!(out.dead.is_empty());
    assert_eq!(full.agent.counters.redirected, 1);
    let [forward] = out.send.as_slice() else {
        panic!("{out:?}")
    };
    // It comes again, before the one before it had its turn: it is not sent on again.
    let again = full.offer(reliable(2));
    assert_eq!(
        (again.send.len(), &again.acknowledge[0]),
        (0, &out.acknowledge[0])
    );
    full.through_snapshot();
    let again = full.offer(reliable(2));
    assert_eq!(
        (again.send.len(), &again.acknowledge[0]),
        (0, &out.acknowledge[0])
    );
    // Until the new receiver has it, the old one keeps it.
    let resent = full.tick(5_000).send;
    assert_eq!(resent.len(), 1);
    assert_eq!(resent[0].original(), forward.original());

    let mut spare = Actor::new("spare/1", KindPolicy::default());
    assert!(spare.offer(forward.clone()).is_empty());
    assert!(
        spare.offer(resent[0].clone()).is_empty(),
        "known by its stream"
    );
    let (seen, out) = sources(&mut spare, 6_000);
    assert_eq!(seen, ["from/1"]);
    let notice = &out.acknowledge[0].notice;
    full.hear("spare/1", Lane::Normal, notice, 6_001);
    assert_eq!(full.agent.unacknowledged(), 0);
    // The first one has its turn, and the stream goes on behind both.
    let (_, out) = sources(&mut full, 6_002);
    assert_eq!(
        out.acknowledge[0].notice,
        Notice::Applied {
            after: 0,
            through: 1
        }
    );
    assert!(full.offer(reliable(3)).send.is_empty());
}

#[test]
fn a_question_that_is_sent_on_is_answered_from_there() {
    let mut full = full(to("spare/1"));
    let asker = ReplyTo::Agent(id("from/1"), Incarnation::default());
    let out = full.offer(asking(&reliable(2), asker));
    let mut spare = Actor::new("spare/1", KindPolicy::default());
    spare.offer(out.send[0].clone());
    let (_, out) = sources(&mut spare, 10);
    let [reply] = out.send.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(*reply.receiver(), id("from/1"));
    assert!(matches!(
        reply.body,
        Body::Reply {
            ask: 9,
            reply: Reply::Ok(_),
            ..
        }
    ));
}

/// The ask of another agent is not taken for an own one of the same number.
#[test]
fn a_question_that_cannot_be_answered_there_bounces_to_its_asker() {
    let mut full = full(to("spare/1"));
    let asker = ReplyTo::Agent(id("from/1"), Incarnation::default());
    full.offer(asking(&reliable(2), asker));
    let client = ReplyTo::Client(NodeId(3));
    let from = Sender::Client(ClientId::new("c").unwrap(), NodeId(3));
    let mut of_client = Envelope::clone(&asking(&reliable(1), client));
    of_client.stream = StreamKey::shared(from, id("full/1"), Lane::Normal);
    full.offer(Arc::new(of_client));
    let reason = SkipReason::Dead(DeadReason::NoSuchKind);
    for number in [1, 2] {
        let notice = Notice::Skipped {
            number,
            reason: reason.clone(),
        };
        let out = full.hear("spare/1", Lane::Normal, &notice, 20);
        if number == 1 {
            let [bounce] = out.send.as_slice() else {
                panic!("{out:?}")
            };
            assert_eq!(*bounce.receiver(), id("from/1"));
            let Body::Reply {
                ask: 9,
                reply: Reply::Bounced(why),
                ..
            } = &bounce.body
            else {
                panic!("{bounce:?}")
            };
            assert_eq!(&**why, "no-such-kind");
        } else {
            assert!(matches!(
                out.answer.as_slice(),
                [(NodeId(3), 9, Reply::Bounced(_))]
            ));
        }
    }
    assert_eq!(
        full.agent.waiting(),
        1,
        "nothing of it comes to the agent that passed it on"
    );
}

/// At-most-once stays at-most-once.
#[test]
fn what_is_sent_once_is_sent_on_once() {
    let mut full = full(to("spare/1"));
    let out = full.offer(message(agent_sender("from/1"), "full/1", None, 5, 0));
    assert_eq!(out.send.len(), 1);
    assert_eq!(
        (out.send[0].sequence, full.agent.unacknowledged()),
        (None, 0)
    );
    assert_eq!(out.send[0].first_sender(), &agent_sender("from/1"));
}

#[test]
fn full_agents_that_point_at_each_other_give_up_on_it() {
    let mut one = full(to("full/2"));
    let mut two = Actor::new("full/2", to("full/1"));
    two.offer(message(
        agent_sender("a/1"),
        "full/2",
        Some((Lane::Normal, 1)),
        1,
        0,
    ));
    let mut under_way = one.offer(reliable(2)).send;
    let mut rounds = 0;
    while let Some(envelope) = under_way.pop() {
        rounds += 1;
        let at = if *envelope.receiver() == id("full/1") {
            &mut one
        } else {
            &mut two
        };
        let out = at.offer(envelope);
        under_way.extend(out.send);
        assert_eq!(out.dead.len(), 0);
    }
    assert_eq!(rounds, phoenix_core::MAX_REDIRECTS);
    assert_eq!(
        one.agent.counters.refused_full + two.agent.counters.refused_full,
        1
    );
    // To itself it is sent on not even once.
    let mut own = full(to("full/1"));
    let out = own.offer(reliable(2));
    assert!(matches!(
        out.acknowledge[0].notice,
        Notice::Refused { expected: 2, .. }
    ));
}

/// What is sent on never keeps the agent itself from its turns.
#[test]
fn what_is_sent_on_leaves_room_for_a_turn() {
    let policy = KindPolicy {
        turn_effects: 2,
        outbox_messages: 5,
        ..to("spare/1")
    };
    let mut full = full(policy);
    let mut sent = 0;
    for number in 2..10 {
        sent += full.offer(reliable(number)).send.len();
        if full.agent.counters.refused_full > 0 {
            break;
        }
    }
    assert_eq!((sent, full.agent.counters.refused_full), (3, 1));
    assert!(
        full.begin(10).is_some(),
        "with two places left for two effects"
    );
}

/// A copy of an agent that is on its way decides nothing.
#[test]
fn a_full_agent_that_stands_still_sends_nothing_on() {
    for overflow in [
        Overflow::Redirect(id("spare/1")),
        Overflow::DropOldest,
        Overflow::DropNewest,
    ] {
        let mut full = full(KindPolicy {
            overflow,
            ..small(1)
        });
        full.agent.mark_shipped();
        let out = full.offer(reliable(2));
        assert!(out.send.is_empty() && out.dead.is_empty());
        assert!(matches!(
            out.acknowledge[0].notice,
            Notice::Refused { expected: 2, .. }
        ));
        full.tick(100);
        let out = full.offer(reliable(2));
        assert_eq!(out.send.len() + out.dead.len(), 1, "it goes on after all");
    }
}
