//! Messages to several, and what their sender is told of them.

use std::num::NonZeroU64;

use bytes::Bytes;
use phoenix_core::agent::Actions;
use phoenix_core::attributes::Value;
use phoenix_core::taxonomy::{Guarantee, Overrides};
use phoenix_core::{
    Body, DeadReason, Envelope, KindPolicy, Lane, Millis, Notice, Overflow, Refusal, Sender,
    SkipReason,
};
use phoenix_wit::{
    AnswerWriter, Delivery, Effect, Input, Outcome, Payload, ReceiverList, SendOptions, Verdict,
};

use crate::harness::{Actor, id, message, number_of, ok, read};

/// A message to several.
struct Many<'a> {
    to: &'a [&'a str],
    token: u64,
    options: SendOptions,
    payload: &'a [u8],
}

impl<'a> Many<'a> {
    fn new(to: &'a [&'a str], token: u64) -> Self {
        Self {
            to,
            token,
            options: SendOptions::default(),
            payload: b"12345678",
        }
    }

    fn write(&self, writer: &mut AnswerWriter) {
        let to: ReceiverList = self.to.iter().collect();
        writer.effect(&Effect::Multicast {
            to: to.receivers(),
            method: "do",
            message_type: "",
            payload: Payload::message_pack(self.payload),
            options: &self.options.to_bytes(),
            token: NonZeroU64::new(self.token),
        });
    }
}

fn give(actor: &mut Actor) {
    let name = actor.agent.id().clone();
    actor.offer(message(Sender::System, name.as_str(), None, 0, 0));
}

fn send(actor: &mut Actor, all: &[Many<'_>], now: u64) -> Actions {
    give(actor);
    actor.run(now, &mut |input, writer| {
        if matches!(input, Input::Message { .. }) {
            all.iter().for_each(|many| many.write(writer));
        }
        ok(writer);
    })
}

/// What was put to the agent of its messages: token, receiver and end.
fn told(actor: &mut Actor, now: u64) -> Vec<(u64, String, String)> {
    let mut seen = Vec::new();
    drop(actor.run(now, &mut |input, writer| {
        match input {
            Input::Verdict { token, to, verdict } => {
                let end = match verdict {
                    Verdict::Applied => "applied".to_owned(),
                    Verdict::NotApplied { reason } => format!("not: {reason}"),
                    Verdict::Unsure { reason } => format!("unsure: {reason}"),
                };
                seen.push((token, to.to_owned(), end));
            }
            Input::Bounced { to, .. } => seen.push((0, to.to_owned(), "bounced".to_owned())),
            _ => {}
        }
        ok(writer);
    }));
    seen
}

fn applied(through: u64) -> Notice {
    Notice::Applied { after: 0, through }
}

fn skipped(number: u64, reason: SkipReason) -> Notice {
    Notice::Skipped { number, reason }
}

fn is(expected: &[(u64, &str, &str)]) -> Vec<(u64, String, String)> {
    let one = |(token, to, end): &(u64, &str, &str)| (*token, (*to).to_owned(), (*end).to_owned());
    expected.iter().map(one).collect()
}

#[test]
fn each_receiver_gets_it_once_and_all_share_the_payload() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let payload = vec![7; 1_000];
    let many = Many {
        payload: &payload,
        ..Many::new(&["to/1", "to/2", "to/1"], 0)
    };
    let out = send(&mut from, &[many], 10);
    let sent: Vec<(&str, u64)> = out
        .send
        .iter()
        .map(|it| (it.receiver().as_str(), it.sequence.unwrap().number))
        .collect();
    assert_eq!(sent, [("to/1", 1), ("to/2", 1), ("to/1", 2)]);
    let bytes = |envelope: &Envelope| match &envelope.body {
        Body::Message { payload, .. } => payload.bytes.as_ptr(),
        other => panic!("{other:?}"),
    };
    let first = bytes(&out.send[0]);
    assert!(out.send.iter().all(|it| bytes(it) == first));
    assert!(
        out.send.iter().all(|it| it.extras.is_none()),
        "the token stays"
    );
    assert_eq!(from.agent.unacknowledged(), 3);
    from.hear("to/1", Lane::Normal, &applied(2), 20);
    from.hear("to/2", Lane::Normal, &applied(1), 20);
    assert_eq!(from.agent.unacknowledged(), 0);
    assert_eq!(told(&mut from, 30), [], "nobody asked");
}

#[test]
fn it_is_sent_as_its_options_say() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let options = SendOptions {
        delivery: Some(Delivery::AtMostOnce),
        lane: Some(phoenix_wit::Lane::Low),
        ttl_ms: 50,
        ..SendOptions::default()
    };
    // One that it speaks to already, and one that it does not.
    from.send("to/1", &[1], 5);
    let to = ["to/1", "to/2"];
    let once = Many {
        options,
        ..Many::new(&to, 0)
    };
    let out = send(&mut from, &[once], 10);
    assert_eq!(out.send.len(), 2);
    for (envelope, to) in out.send.iter().zip(to) {
        assert_eq!(*envelope.receiver(), id(to));
        assert_eq!((envelope.sequence, envelope.stream.lane), (None, Lane::Low));
        assert_eq!(envelope.expiry().unwrap().at, Millis(60));
    }
    assert_eq!(
        from.agent.unacknowledged(),
        1,
        "of such a message nothing is kept"
    );
}

#[test]
fn what_became_of_each_is_told_once() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let to = ["to/1", "to/2", "to/3", "to/4"];
    send(&mut from, &[Many::new(&to, 7), Many::new(&to[..1], 8)], 10);
    from.send("to/4", &[1], 10);
    // The token is in the snapshot.
    from.through_snapshot();
    drop(from.tick(19));
    let overflow = SkipReason::Dead(DeadReason::Overflow);
    for now in [20, 21] {
        from.hear("to/1", Lane::Normal, &applied(2), now);
        from.hear("to/2", Lane::Normal, &skipped(1, overflow.clone()), now);
        from.hear(
            "to/3",
            Lane::Normal,
            &skipped(1, SkipReason::Redirected),
            now,
        );
        from.hear("to/4", Lane::Normal, &skipped(1, SkipReason::Expired), now);
        from.hear("to/4", Lane::Normal, &skipped(2, overflow.clone()), now);
    }
    assert_eq!(from.agent.counters.bounced, 1, "the one that has no token");
    // What is not heard yet is too.
    from.through_snapshot();
    let expected = [
        (7, "to/1", "applied"),
        (8, "to/1", "applied"),
        (7, "to/2", "not: overflow"),
        (7, "to/3", "unsure: redirected"),
        (7, "to/4", "not: expired"),
        (0, "to/4", "bounced"),
    ];
    assert_eq!(told(&mut from, 30), is(&expected));
    assert_eq!(told(&mut from, 31), []);
}

#[test]
fn one_that_is_applied_behind_another_is_told_of_at_once() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let to = ["to/1"];
    send(&mut from, &[1, 2, 3].map(|token| Many::new(&to, token)), 10);
    let second = Notice::Applied {
        after: 1,
        through: 2,
    };
    from.hear("to/1", Lane::Normal, &second, 20);
    assert_eq!(told(&mut from, 21), is(&[(2, "to/1", "applied")]));
    from.hear("to/1", Lane::Normal, &skipped(1, SkipReason::Cancelled), 22);
    let all = Notice::Applied {
        after: 1,
        through: 3,
    };
    from.hear("to/1", Lane::Normal, &all, 23);
    let expected = [(1, "to/1", "not: cancelled"), (3, "to/1", "applied")];
    assert_eq!(told(&mut from, 24), is(&expected));
    assert_eq!(from.agent.unacknowledged(), 0);
}

#[test]
fn what_is_given_up_is_told_as_sure_as_it_is() {
    let policy = KindPolicy {
        give_up_after: Millis(500),
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    let to = ["to/1", "to/2", "to/3"];
    send(&mut from, &[Many::new(&to, 7)], 10);
    // Refused as often as it was sent; nothing was heard; never had credit.
    let refused = Notice::Refused {
        expected: 1,
        number: 1,
        refusal: Refusal::MailboxFull,
    };
    from.hear("to/1", Lane::Normal, &refused, 11);
    let hold = Notice::Credit {
        taken: 1,
        window: 0,
    };
    from.hear("to/3", Lane::Normal, &hold, 11);
    send(&mut from, &[Many::new(&to[2..], 8)], 12);
    let out = from.tick(1_000);
    assert_eq!(out.dead.len(), 4);
    assert!(out.log.is_empty(), "it is told: {:?}", out.log);
    let mut expected = is(&[
        (7, "to/1", "not: mailbox-full"),
        (7, "to/2", "unsure: gave-up"),
        (7, "to/3", "unsure: gave-up"),
        (8, "to/3", "not: no-credit"),
    ]);
    expected.sort();
    let mut heard = told(&mut from, 1_001);
    heard.sort();
    assert_eq!(heard, expected);
}

#[test]
fn a_token_on_what_is_sent_once_is_refused() {
    let once = SendOptions {
        delivery: Some(Delivery::AtMostOnce),
        ..SendOptions::default()
    };
    let kind = Overrides {
        delivery: Some(Guarantee::AtMostOnce),
        ..Overrides::NONE
    };
    for (options, treatment) in [(once, Overrides::NONE), (SendOptions::default(), kind)] {
        let policy = KindPolicy {
            treatment,
            ..KindPolicy::default()
        };
        let mut from = Actor::new("from/1", policy);
        let many = Many {
            options,
            ..Many::new(&["to/1"], 7)
        };
        let why = refused(&mut from, &[many]);
        assert_eq!(
            why,
            "a message is sent with token 7 and at most once: nothing is heard of such a \
             message; send it exactly-once, or with token 0 for none"
        );
    }
}

/// Why a turn that sends these cannot be committed.
fn refused(from: &mut Actor, all: &[Many<'_>]) -> String {
    give(from);
    let batch = from.begin(10).unwrap();
    let mut writer = AnswerWriter::new(Vec::new());
    all.iter().for_each(|many| many.write(&mut writer));
    ok(&mut writer);
    from.refuse(batch, writer.finish())
}

#[test]
fn each_receiver_counts() {
    let policy = KindPolicy {
        turn_effects: 4,
        outbox_messages: 6,
        streams: 3,
        max_message: 100,
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    let five = ["to/1", "to/2", "to/3", "to/1", "to/2"];
    let effects = "5 effects in one turn: the kind allows 4";
    assert_eq!(refused(&mut from, &[Many::new(&five, 0)]), effects);
    let two = [Many::new(&five[..3], 0), Many::new(&five[..2], 0)];
    assert_eq!(refused(&mut from, &two), effects);
    let four = ["to/1", "to/2", "to/3", "to/4"];
    let streams = "4 receivers in one agent: the kind allows 3";
    assert_eq!(refused(&mut from, &[Many::new(&four, 0)]), streams);
    let large = Many {
        payload: &[0; 101],
        ..Many::new(&four[..1], 0)
    };
    let bytes = "101 bytes in one message: the kind allows 100";
    assert_eq!(refused(&mut from, &[large]), bytes);
    let bad = refused(&mut from, &[Many::new(&["to/1", "nobody"], 0)]);
    assert!(bad.contains("`nobody` is no agent id"), "{bad}");
    // Nothing of all that was left behind.
    assert_eq!(from.agent.unacknowledged(), 0);

    // The two turns of a batch have no room together.
    let mut from = Actor::new("from/1", from.policy);
    give(&mut from);
    give(&mut from);
    let batch = from.begin(10).unwrap();
    let mut writer = AnswerWriter::new(Vec::new());
    for _ in 0..batch.turns() {
        Many::new(&five[..4], 0).write(&mut writer);
        ok(&mut writer);
    }
    let full = from.refuse(batch, writer.finish());
    assert!(
        full.contains("more effects than the outbox has room for"),
        "{full}"
    );
    let four = send(&mut from, &[Many::new(&five[..4], 0)], 11);
    assert_eq!(four.send.len(), 4);
    // And no turn begins that may send more than fits.
    give(&mut from);
    assert!(from.begin(12).is_none());
}

#[test]
fn nobody_is_sent_to_who_is_not_named() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    let out = send(&mut from, &[Many::new(&[], 7)], 10);
    assert!(out.send.is_empty());
    assert_eq!(told(&mut from, 11), []);
}

/// A receiver's overflow, expiry and trap each end with a verdict, once, and so does
/// everything else, whatever is lost on the way.
#[test]
fn receivers_and_sender_agree_on_every_end() {
    let policies = [
        Overflow::Reject,
        Overflow::DropOldest,
        Overflow::DropNewest,
        Overflow::Redirect(id("elsewhere/1")),
    ];
    let names = ["to/0", "to/1", "to/2", "to/3"];
    let mut seed = 1_u64;
    let mut chance = move |percent: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % 100 < percent
    };
    let mut from = Actor::new("from/1", KindPolicy::default());
    let mut receivers: Vec<Actor> = policies
        .into_iter()
        .zip(names)
        .map(|(overflow, name)| {
            let policy = KindPolicy {
                overflow,
                mailbox_messages: 3,
                ..KindPolicy::default()
            };
            Actor::new(name, policy)
        })
        .collect();
    let mut ends: Vec<(u64, String, String)> = Vec::new();
    let mut handled: Vec<(u64, &str)> = Vec::new();
    let rounds = 200;
    for round in 1..=1_000_u64 {
        let now = 10 + round * 100;
        if round <= rounds {
            let payload = round.to_le_bytes();
            let many = Many {
                payload: &payload,
                ..Many::new(&names, round)
            };
            give(&mut from);
            from.policy.batch_messages = 1;
            drop(from.step(now, &mut |_, writer| {
                many.write(writer);
                ok(writer);
            }));
        }
        let sent = from.tick(now).send;
        let mut notices = Vec::new();
        for envelope in sent {
            if round <= rounds && chance(20) {
                continue;
            }
            let at = names
                .iter()
                .position(|it| *it == envelope.receiver().as_str());
            notices.extend(receivers[at.unwrap()].offer(envelope).acknowledge);
        }
        for (actor, name) in receivers.iter_mut().zip(names) {
            notices.extend(actor.tick(now).acknowledge);
            if round <= rounds && chance(60) {
                continue;
            }
            let out = actor.run(now, &mut |input, writer| {
                if let Input::Message { payload, .. } = input {
                    handled.push((read(payload.bytes), name));
                }
                ok(writer);
            });
            notices.extend(out.acknowledge);
        }
        for acknowledgement in notices {
            let stream = &acknowledgement.stream;
            if *stream.receiver.as_str() != *"elsewhere/1" && !(round <= rounds && chance(20)) {
                let to = stream.receiver.as_str();
                from.hear(to, stream.lane, &acknowledgement.notice, now);
            }
        }
        if round % 7 == 0 {
            from.through_snapshot();
        }
        ends.extend(told(&mut from, now));
    }
    assert_eq!(from.agent.unacknowledged(), 0);
    let mut said: Vec<(u64, &str)> = ends.iter().map(|it| (it.0, &*it.1)).collect();
    said.sort_unstable();
    let all = (1..=rounds).flat_map(|token| names.map(|name| (token, name)));
    assert_eq!(said, all.collect::<Vec<_>>(), "each once");
    for (token, to, end) in &ends {
        let is_handled = handled.contains(&(*token, &**to));
        assert_eq!(is_handled, end == "applied", "{token} {to} {end}");
    }
    let has = |what: &str| ends.iter().any(|it| it.2 == what);
    assert!(has("applied") && has("not: overflow") && has("unsure: redirected"));
}

/// An agent that answers every end with more messages is stopped by a bound, and not
/// by its node's memory.
#[test]
fn ends_that_beget_ends_are_bounded() {
    let policy = KindPolicy {
        turn_effects: 10,
        outbox_messages: 50,
        batch_messages: 1,
        ..KindPolicy::default()
    };
    let mut from = Actor::new("from/1", policy);
    send(&mut from, &[Many::new(&["to/1"], 7)], 10);
    let to = ["to/1"; 10];
    let mut through = 1;
    let bad = loop {
        from.hear("to/1", Lane::Normal, &applied(through), 20);
        assert_eq!(from.agent.unacknowledged(), 0);
        let batch = from.begin(20).unwrap();
        let mut writer = AnswerWriter::new(Vec::new());
        Many::new(&to, 7).write(&mut writer);
        ok(&mut writer);
        let answer = Bytes::from(writer.finish());
        let mut out = Actions::default();
        let mut room = phoenix_core::agent::BatchRoom::default();
        let policy = &from.policy;
        match from
            .agent
            .commit(batch, &answer, policy, &mut room, &mut out)
        {
            Ok(()) => through += out.send.len() as u64,
            Err(undone) => break undone.1,
        }
        assert!(through < 1_000);
    };
    assert!(bad.is_fault(1));
    assert_eq!(
        bad.to_string(),
        "108 ends of its messages to hear of in one agent: the kind allows 100"
    );
}

#[test]
fn an_agent_that_has_ended_hears_nothing() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    give(&mut from);
    drop(from.run(10, &mut |_, writer| {
        Many::new(&["to/1"], 7).write(writer);
        writer.effect(&Effect::Stop { reason: "done" });
        writer.outcome(&Outcome::Ok(Payload::NONE), 0);
    }));
    from.hear("to/1", Lane::Normal, &applied(1), 20);
    assert_eq!(from.agent.unacknowledged(), 0);
    assert_eq!(from.agent.waiting(), 0);
}

#[test]
fn what_was_the_cause_and_the_type_are_on_each() {
    let mut from = Actor::new("from/1", KindPolicy::default());
    give(&mut from);
    let out = from.run(10, &mut |_, writer| {
        let to: ReceiverList = ["to/1", "to/2"].into_iter().collect();
        writer.effect(&Effect::Multicast {
            to: to.receivers(),
            method: "do",
            message_type: "phoenix.data.order.placed",
            payload: Payload::message_pack(b"12345678"),
            options: &SendOptions::default().to_bytes(),
            token: None,
        });
        ok(writer);
    });
    let types: Vec<Value> = out
        .send
        .iter()
        .map(|it| Value::text(&*it.event_type()))
        .collect();
    assert_eq!(
        types,
        [
            Value::text("phoenix.data.order.placed"),
            Value::text("phoenix.data.order.placed")
        ]
    );
    assert_eq!(number_of(&out.send[0]), number_of(&out.send[1]));
}
