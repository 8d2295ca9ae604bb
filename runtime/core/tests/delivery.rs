//! Two agents and a network that loses, repeats and reorders: what was accepted
//! is applied once and in order, whatever sleeps, moves or faults in between.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, BadAnswer, Batch, BatchRoom, Failed, Handlers, bury};
use phoenix_core::{
    AgentId, Body, ClientId, ContentType, DeadReason, Digest, Envelope, Extras, Incarnation,
    KindPolicy, Lane, Millis, Nanos, NodeId, Notice, Original, Overflow, Payload, Refusal, ReplyTo,
    Sender, Sequence, SkipReason, StreamKey, snapshot,
};
use phoenix_wit::{
    AnswerWriter, CatchUp, Delivery, Effect, FrameReader, Input, Outcome, Reply, Schedule,
};
use proptest::prelude::*;

/// The handler that may run while another is pending, if there is one.
struct Beside(Option<&'static str>);

impl Handlers for Beside {
    fn interleaves(&self, method: &str) -> bool {
        self.0 == Some(method)
    }
    fn any_interleaves(&self) -> bool {
        self.0.is_some()
    }
}

/// What a guest would do, written in the test: sees every turn, answers it.
type Guest<'a> = dyn FnMut(u64, Input<'_>, &mut AnswerWriter) + 'a;

struct Runner {
    agent: Agent,
    policy: KindPolicy,
    handlers: Beside,
    room: BatchRoom,
}

impl Runner {
    fn new(id: &str, policy: KindPolicy) -> Self {
        let incarnation = Incarnation {
            generation: 0,
            boot: 1,
            count: 1,
        };
        Self {
            agent: Agent::new(AgentId::new(id).unwrap(), incarnation, Payload::default()),
            policy,
            handlers: Beside(None),
            room: BatchRoom::default(),
        }
    }

    fn begin(&mut self, now: u64) -> Option<Batch> {
        let now = Nanos(now * 1_000_000);
        self.agent.begin(
            now,
            &self.policy,
            &self.handlers,
            &mut self.room,
            Vec::new(),
        )
    }

    /// Runs everything that is ready.
    fn run(&mut self, now: u64, guest: &mut Guest<'_>) -> Actions {
        let mut out = Actions::default();
        while let Some(batch) = self.begin(now) {
            let answer = answer(&batch, guest);
            self.commit(batch, &answer, &mut out);
        }
        out
    }

    fn commit(&mut self, batch: Batch, answer: &Bytes, out: &mut Actions) {
        self.agent
            .commit(batch, answer, &self.policy, &mut self.room, out)
            .map_err(|undone| undone.1)
            .unwrap();
    }

    fn offer(&mut self, envelope: Arc<Envelope>) {
        let mut out = Actions::default();
        self.agent.offer(envelope, &self.policy, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    fn ready(&self) -> bool {
        self.agent.ready(&self.handlers)
    }

    /// The agent as it is after a sleep or a move.
    fn through_snapshot(&mut self) {
        let mut bytes = Vec::new();
        let component = Digest::of(b"component");
        snapshot::encode(&self.agent, &component, b"image", &mut bytes);
        assert_eq!(snapshot::peek_agent(&bytes), Some(self.agent.id().as_str()));
        let bytes = Bytes::from(bytes);
        let read = snapshot::decode(&bytes).unwrap();
        assert_eq!(
            (read.component, &read.image[..]),
            (component, &b"image"[..])
        );
        let mut again = Vec::new();
        snapshot::encode(&read.agent, &component, &read.image, &mut again);
        assert_eq!(bytes, again, "a snapshot of what was restored is the same");
        self.agent = read.agent;
    }
}

fn answer(batch: &Batch, guest: &mut Guest<'_>) -> Bytes {
    let mut writer = AnswerWriter::new(Vec::new());
    if batch.turns() > 0 {
        let mut frame = FrameReader::new(&batch.frame).unwrap();
        while let Some(turn) = frame.next_turn().unwrap() {
            guest(turn.number, turn.input, &mut writer);
        }
    }
    Bytes::from(writer.finish())
}

fn ok(writer: &mut AnswerWriter) {
    writer.outcome(&Outcome::Ok(phoenix_wit::Payload::NONE), 0);
}

fn stream(sender: Sender, receiver: &str) -> Arc<StreamKey> {
    StreamKey::shared(sender, AgentId::new(receiver).unwrap(), Lane::Normal)
}

fn message(to: &str, number: u64, body: &[u8]) -> Arc<Envelope> {
    Arc::new(Envelope {
        stream: stream(Sender::System, to),
        sequence: (number > 0).then_some(Sequence {
            number,
            base: NonZeroU64::MIN,
            give_up: Millis(1_000_000),
        }),
        body: Body::Message {
            method: "do".into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: body.into(),
            },
            ask: None,
        },
        extras: None,
    })
}

/// A guest that sends a numbered message for each of `numbers` when it gets one.
fn sends(input: Input<'_>, numbers: std::ops::RangeInclusive<u64>, writer: &mut AnswerWriter) {
    if matches!(input, Input::Message { .. }) {
        for n in numbers {
            writer.effect(&Effect::Send {
                to: "test/to",
                method: "do",
                payload: phoenix_wit::Payload::message_pack(&n.to_le_bytes()),
                delivery: Delivery::ExactlyOnce,
            });
        }
    }
    ok(writer);
}

/// What the network may do to what is under way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Deliver,
    Lose,
    Repeat,
    Delay,
    SenderSleeps,
    ReceiverSleeps,
    ReceiverFaults,
    /// While there is no receiver: its kind is not deployed.
    Bury,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        1 => Just(Fate::Repeat),
        2 => Just(Fate::Delay),
        1 => Just(Fate::SenderSleeps),
        1 => Just(Fate::ReceiverSleeps),
        1 => Just(Fate::ReceiverFaults),
        2 => Just(Fate::Bury),
    ];
    prop::collection::vec(fate, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn applied_once_and_in_order(fates in fates(), count in 1u64..60, mailbox in 1u32..20) {
        // A step takes long here, so that what the network piles up takes minutes.
        let patient = KindPolicy { give_up_after: Millis(3_600_000), ..KindPolicy::default() };
        let mut from = Runner::new("test/from", patient);
        let small = KindPolicy { mailbox_messages: mailbox, ..KindPolicy::default() };
        let mut to = Runner::new("test/to", small);
        let mut applied: Vec<u64> = Vec::new();
        let mut buried: Vec<u64> = Vec::new();
        let mut out = Actions::default();
        from.agent.offer(message("test/from", 0, b""), &from.policy.clone(), &mut out);
        // The sender's one message makes it send `count` numbered ones.
        let mut under_way = from.run(1, &mut |_, input, writer| sends(input, 1..=count, writer)).send;
        prop_assert_eq!(under_way.len() as u64, count);
        let mut fates = fates.into_iter();
        let mut now = 10u64;
        // After the bad times, good ones: everything must come to an end.
        for _ in 0..20_000 {
            now += 100;
            let fate = fates.next().unwrap_or(Fate::Deliver);
            let mut out = Actions::default();
            match fate {
                Fate::SenderSleeps => {
                    from.agent.forget_old_streams(Millis(now));
                    from.through_snapshot();
                }
                Fate::ReceiverSleeps => {
                    to.agent.forget_old_streams(Millis(now));
                    to.through_snapshot();
                }
                Fate::ReceiverFaults => {
                    if let Some(batch) = to.begin(now) {
                        let why: Arc<str> = "trap".into();
                        let policy = KindPolicy { max_attempts: u32::MAX, ..to.policy.clone() };
                        to.agent.fail(batch, &why, &policy, &mut out);
                    }
                }
                Fate::Bury if to.agent.streams().0 == 0 && !under_way.is_empty() => {
                    let envelope = under_way.remove(0);
                    let number = envelope.sequence.unwrap().number;
                    under_way.retain(|other| other.sequence.unwrap().number != number);
                    bury(&envelope, &DeadReason::NoSuchKind, 0, &mut out);
                    buried.push(number);
                }
                Fate::Delay if under_way.len() > 1 => under_way.rotate_left(1),
                Fate::Lose if !under_way.is_empty() => { under_way.remove(0); }
                Fate::Repeat if !under_way.is_empty() => under_way.push(under_way[0].clone()),
                _ if !under_way.is_empty() => {
                    let envelope = under_way.remove(0);
                    to.agent.offer(envelope, &to.policy.clone(), &mut out);
                }
                _ => {}
            }
            let ran = to.run(now, &mut |_, input, writer| {
                if let Input::Message { payload, .. } = input {
                    applied.push(u64::from_le_bytes(payload.bytes.try_into().unwrap()));
                }
                ok(writer);
            });
            out.acknowledge.extend(ran.acknowledge);
            let lost = matches!(fate, Fate::Lose);
            for a in out.acknowledge.drain(..).filter(|_| !lost) {
                let mut more = Actions::default();
                from.agent.acknowledged(&a.stream.receiver, a.stream.lane, &a.notice, Millis(now), &mut more);
            }
            from.agent.tick(Millis(now), &mut out);
            under_way.append(&mut out.send);
            if from.agent.unacknowledged() == 0 && under_way.is_empty() {
                break;
            }
        }
        prop_assert_eq!(from.agent.unacknowledged(), 0, "everything has its verdict");
        prop_assert_eq!(from.agent.counters.undetermined, 0, "given up at {}", now);
        prop_assert!(applied.is_sorted(), "out of order: {:?}", applied);
        applied.append(&mut buried);
        applied.sort_unstable();
        prop_assert_eq!(applied, (1..=count).collect::<Vec<_>>(), "one verdict each");
        // The path is healthy and idle: what is committed now leaves now.
        from.agent.offer(message("test/from", 0, b""), &from.policy.clone(), &mut out);
        let ran = from.run(now, &mut |_, input, writer| sends(input, 1..=1, writer));
        prop_assert_eq!(ran.send.len(), 1, "withheld on a healthy path");
    }

    #[test]
    fn no_bytes_make_the_snapshot_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = snapshot::decode(&Bytes::from(bytes.clone()));
        // With a right seal the rest is reached too.
        let mut sealed = vec![snapshot::SNAPSHOT_VERSION];
        sealed.extend(bytes);
        let seal = Digest::of(&sealed);
        sealed.extend(seal.0);
        let _ = snapshot::decode(&Bytes::from(sealed));
    }
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_noticed() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let mut out = Actions::default();
    runner
        .agent
        .offer(message("test/a", 1, b"x"), &runner.policy.clone(), &mut out);
    let mut bytes = Vec::new();
    snapshot::encode(&runner.agent, &Digest::of(b"c"), b"image", &mut bytes);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        snapshot::decode(&Bytes::from(bad)).unwrap_err();
    }
    for length in 0..bytes.len() {
        snapshot::decode(&Bytes::copy_from_slice(&bytes[..length])).unwrap_err();
    }
}

#[test]
fn one_bad_message_among_many_is_a_dead_letter_and_the_rest_go_on() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let policy = runner.policy.clone();
    let mut out = Actions::default();
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    for n in 1..=10 {
        let body = if n == 4 { b"bad" } else { b"fin" };
        runner
            .agent
            .offer(message("test/a", n, body), &policy, &mut out);
    }
    let mut applied = Vec::new();
    let why: Arc<str> = "trap".into();
    let mut now = 10;
    while let Some(batch) = runner.begin(now) {
        now += 1_000;
        let mut bad = false;
        let mut seen = Vec::new();
        let answer = answer(&batch, &mut |number, input, writer| {
            if let Input::Message { payload, .. } = input {
                bad |= payload.bytes == b"bad";
                seen.push(number);
            }
            ok(writer);
        });
        if bad {
            let failed = runner.agent.fail(batch, &why, &policy, &mut out);
            assert_ne!(failed, Failed::InitFailed);
        } else {
            runner.commit(batch, &answer, &mut out);
            applied.extend(seen);
        }
    }
    assert_eq!(applied.len(), 9);
    let [(dead, DeadReason::Trapped(_), 3)] = out.dead.as_slice() else {
        panic!("{:?}", out.dead)
    };
    assert_eq!(dead.sequence.unwrap().number, 4);
    assert_eq!(runner.agent.turns(), 10, "init and nine messages");
}

/// An ask: who waits is answered in a later turn, and a sleep in between changes nothing.
#[test]
fn an_ask_is_answered_across_a_sleep() {
    let mut asker = Runner::new("test/asker", KindPolicy::default());
    let mut other = Runner::new("test/other", KindPolicy::default());
    let mut out = Actions::default();
    asker.agent.offer(
        message("test/asker", 0, b""),
        &asker.policy.clone(),
        &mut out,
    );
    let asked = asker.run(1, &mut |_, input, writer| {
        if matches!(input, Input::Message { .. }) {
            writer.effect(&Effect::Ask {
                ask: 7,
                to: "test/other",
                method: "do",
                payload: phoenix_wit::Payload::NONE,
                deadline_ms: 5_000,
                waiter: None,
            });
            writer.outcome(&Outcome::Pending, 1);
        } else {
            ok(writer);
        }
    });
    assert_eq!((asker.agent.pending(), asker.agent.open_asks()), (1, 1));
    asker.through_snapshot();
    other
        .agent
        .offer(asked.send[0].clone(), &other.policy.clone(), &mut out);
    // The other one takes the request, and answers it two turns later.
    let mut request = None;
    drop(other.run(2, &mut |number, input, writer| {
        if matches!(input, Input::Message { request: true, .. }) {
            request = Some(number);
            writer.outcome(&Outcome::Pending, 1);
        } else {
            ok(writer);
        }
    }));
    other.through_snapshot();
    let request = request.unwrap();
    other.agent.offer(
        message("test/other", 0, b""),
        &other.policy.clone(),
        &mut out,
    );
    // The handler is pending: only what resumes it may run.
    assert!(other.begin(3).is_none());
    other
        .agent
        .offer(stray_reply("test/other"), &other.policy.clone(), &mut out);
    let batch = other.begin(3).unwrap();
    assert_eq!(batch.turns(), 0, "a reply nobody waits for is no turn");
    other.commit(batch, &Bytes::new(), &mut out);
    assert_eq!(other.agent.counters.late_replies, 1);
    assert_eq!(request, 1);
}

fn stray_reply(id: &str) -> Arc<Envelope> {
    Arc::new(Envelope {
        stream: stream(Sender::System, id),
        sequence: None,
        body: Body::Reply {
            ask: 99,
            asker: Incarnation::default(),
            reply: phoenix_core::Reply::Timeout,
        },
        extras: None,
    })
}

#[test]
fn an_ask_runs_into_its_deadline_once() {
    let mut asker = Runner::new("test/asker", KindPolicy::default());
    let mut out = Actions::default();
    asker.agent.offer(
        message("test/asker", 0, b""),
        &asker.policy.clone(),
        &mut out,
    );
    drop(asker.run(1, &mut |_, input, writer| {
        if matches!(input, Input::Message { .. }) {
            writer.effect(&Effect::Ask {
                ask: 1,
                to: "test/nobody",
                method: "do",
                payload: phoenix_wit::Payload::NONE,
                deadline_ms: 10,
                waiter: None,
            });
            writer.outcome(&Outcome::Pending, 1);
        } else {
            ok(writer);
        }
    }));
    let mut ends = Vec::new();
    for now in [5, 12, 13, 5_000] {
        asker.agent.tick(Millis(now), &mut out);
        drop(asker.run(now, &mut |_, input, writer| {
            if let Input::Reply { ask, reply } = input {
                ends.push((now, ask, matches!(reply, Reply::Timeout)));
            }
            ok(writer);
        }));
    }
    assert_eq!(ends, [(12, 1, true)]);
    assert_eq!(asker.agent.open_asks(), 0);
}

#[test]
fn a_client_waits_for_an_answer() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let mut out = Actions::default();
    let asked = Envelope {
        body: Body::Message {
            method: "do".into(),
            payload: Payload::default(),
            ask: Some(Box::new(phoenix_core::Ask {
                id: 5,
                reply_to: ReplyTo::Client(NodeId(1)),
                deadline: Millis(1_000),
            })),
        },
        ..Envelope::clone(&message("test/a", 0, b""))
    };
    runner
        .agent
        .offer(Arc::new(asked), &runner.policy.clone(), &mut out);
    let ran = runner.run(1, &mut |_, _, writer| ok(writer));
    assert!(matches!(
        ran.answer.as_slice(),
        [(NodeId(1), 5, phoenix_core::Reply::Ok(_))]
    ));
}

fn client_message(node: u32, number: u64) -> Arc<Envelope> {
    Arc::new(Envelope {
        stream: stream(
            Sender::Client(ClientId::new("c").unwrap(), NodeId(node)),
            "test/a",
        ),
        ..Envelope::clone(&message("test/a", number, b""))
    })
}

/// A client's stream is its own, whichever node a message of it comes through.
#[test]
fn a_client_that_changes_nodes_stays_on_its_stream() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let policy = runner.policy.clone();
    let mut applied = 0;
    let mut count = |_: u64, input: Input<'_>, writer: &mut AnswerWriter| {
        applied += u32::from(matches!(input, Input::Message { .. }));
        ok(writer);
    };
    let mut out = Actions::default();
    runner.agent.offer(client_message(1, 1), &policy, &mut out);
    // Not heard of through node 1, so again through node 2, with the next one.
    runner.agent.offer(client_message(2, 1), &policy, &mut out);
    runner.agent.offer(client_message(2, 2), &policy, &mut out);
    assert!(out.acknowledge.is_empty(), "nothing is refused: {out:?}");
    let ran = runner.run(1, &mut count);
    let [verdict] = ran.acknowledge.as_slice() else {
        panic!("{:?}", ran.acknowledge)
    };
    assert_eq!(
        verdict.notice,
        Notice::Applied {
            after: 0,
            through: 2
        }
    );
    assert_eq!(
        verdict.stream.sender,
        *client_message(2, 1).sender(),
        "verdicts go where the client was last"
    );
    runner.through_snapshot();
    runner.agent.offer(client_message(3, 2), &policy, &mut out);
    runner.agent.offer(client_message(3, 3), &policy, &mut out);
    drop(runner.run(2, &mut count));
    assert_eq!(applied, 3);
    assert_eq!(runner.agent.streams(), (1, 0));
}

/// What one sends again for another is the other's to its receiver, and a message
/// of the one to streams and verdicts, after a sleep too.
#[test]
fn what_is_sent_again_is_its_first_senders() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let first = Sender::Agent(AgentId::new("test/first").unwrap(), Incarnation::default());
    let again = Envelope {
        extras: Some(Box::new(Extras {
            original: Some(Original {
                sender: first,
                receiver: runner.agent.id().clone(),
                number: None,
                redirects: 0,
            }),
            ..Extras::default()
        })),
        ..Envelope::clone(&client_message(1, 1))
    };
    runner.offer(Arc::new(again));
    runner.through_snapshot();
    let mut sources = Vec::new();
    let ran = runner.run(1, &mut |_, input, writer| {
        if let Input::Message { source, .. } = input {
            sources.push(source.to_owned());
        }
        ok(writer);
    });
    assert_eq!(sources, ["test/first"]);
    let client = client_message(1, 1);
    assert!(matches!(&ran.acknowledge[..], [one] if one.stream.sender == *client.sender()));
}

/// An agent whose handler waits for ask 7, with a message behind it.
fn waiting() -> Runner {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let policy = runner.policy.clone();
    let mut out = Actions::default();
    runner
        .agent
        .offer(message("test/a", 1, b""), &policy, &mut out);
    drop(runner.run(1, &mut |_, input, writer| {
        if matches!(input, Input::Message { .. }) {
            writer.effect(&Effect::Ask {
                ask: 7,
                to: "test/other",
                method: "do",
                payload: phoenix_wit::Payload::NONE,
                deadline_ms: 10,
                waiter: None,
            });
            writer.outcome(&Outcome::Pending, 1);
        } else {
            ok(writer);
        }
    }));
    runner
        .agent
        .offer(message("test/a", 2, b"after"), &policy, &mut out);
    runner.agent.tick(Millis(1_000), &mut out);
    runner
}

/// Fails every batch until `until` says enough.
fn trap_until(runner: &mut Runner, until: impl Fn(&Failed) -> bool) -> Failed {
    let (policy, why) = (runner.policy.clone(), Arc::from("trap"));
    let mut out = Actions::default();
    loop {
        let batch = runner.begin(1_000).unwrap();
        let failed = runner.agent.fail(batch, &why, &policy, &mut out);
        if until(&failed) {
            return failed;
        }
    }
}

#[test]
fn a_handler_that_traps_when_it_goes_on_is_abandoned_and_the_agent_goes_on() {
    let mut runner = waiting();
    trap_until(&mut runner, |failed| *failed == Failed::Dropped);
    runner.through_snapshot();
    let mut put = Vec::new();
    drop(runner.run(1_001, &mut |_, input, writer| {
        match input {
            Input::Reply {
                ask: 7,
                reply: Reply::Abandoned,
            } => put.push("abandoned"),
            Input::Message { .. } => put.push("message"),
            other => panic!("{other:?}"),
        }
        ok(writer);
    }));
    assert_eq!(put, ["abandoned", "message"]);
    assert_eq!(
        (runner.agent.open_asks(), runner.agent.pending()),
        (0, 0),
        "nothing waits any more"
    );
}

#[test]
fn an_agent_that_cannot_even_be_told_is_stuck() {
    let mut runner = waiting();
    trap_until(&mut runner, |failed| *failed == Failed::Dropped);
    let failed = trap_until(&mut runner, |failed| !matches!(failed, Failed::Retry(_)));
    assert_eq!(failed, Failed::Stuck);
    assert_eq!(runner.agent.open_asks(), 0);
}

/// One handler is pending and holds the agent: whatever is put is deferred.
fn holds(_: u64, input: Input<'_>, writer: &mut AnswerWriter) {
    match input {
        Input::Reply { .. } => writer.outcome(&Outcome::Ok(phoenix_wit::Payload::NONE), 0),
        _ => writer.outcome(&Outcome::Deferred, 1),
    }
}

/// An agent that waits for ask 7 until 10 ms, with a timer that is due at 3 ms.
fn waiting_with_timer(handlers: Beside) -> Runner {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.handlers = handlers;
    runner.offer(message("test/a", 1, b""));
    drop(runner.run(1, &mut |_, input, writer| {
        if !matches!(input, Input::Message { .. }) {
            return ok(writer);
        }
        writer.effect(&Effect::SetTimer {
            id: 1,
            schedule: Schedule::Once { delay_ms: 2 },
            catch_up: CatchUp::Once,
            method: "do",
            payload: phoenix_wit::Payload::NONE,
        });
        writer.effect(&Effect::Ask {
            ask: 7,
            to: "test/other",
            method: "do",
            payload: phoenix_wit::Payload::NONE,
            deadline_ms: 9,
            waiter: None,
        });
        writer.outcome(&Outcome::Pending, 1);
    }));
    runner
}

#[test]
fn what_is_deferred_waits_until_something_happens() {
    let mut runner = waiting_with_timer(Beside(Some("beside")));
    let mut out = Actions::default();
    runner.agent.tick(Millis(5), &mut out);
    assert!(runner.ready(), "the timer is due");
    drop(runner.run(5, &mut holds));
    assert_eq!((runner.ready(), runner.agent.waiting()), (false, 1));
    // A message that may interleave, and is deferred all the same.
    let beside = Envelope {
        body: Body::Message {
            method: "beside".into(),
            payload: Payload::default(),
            ask: None,
        },
        ..Envelope::clone(&message("test/a", 2, b""))
    };
    runner.offer(Arc::new(beside));
    assert!(runner.ready());
    drop(runner.run(5, &mut holds));
    assert_eq!((runner.ready(), runner.agent.waiting()), (false, 2));
    assert_eq!(runner.agent.counters.deferred, 2);
    runner.through_snapshot();
    drop(runner.run(5, &mut holds));
    assert_eq!((runner.ready(), runner.agent.waiting()), (false, 2));
    // The ask runs out: the handler ends, and what was deferred has its turn.
    runner.agent.tick(Millis(10), &mut out);
    let mut order = Vec::new();
    let mut pending = 1;
    drop(runner.run(10, &mut |_, input, writer| match input {
        Input::Reply { .. } => {
            pending = 0;
            ok(writer);
        }
        _ if pending > 0 => writer.outcome(&Outcome::Deferred, pending),
        Input::Timer { .. } => {
            order.push("timer");
            ok(writer);
        }
        _ => {
            order.push("message");
            ok(writer);
        }
    }));
    assert_eq!(order, ["timer", "message"]);
    assert_eq!((runner.ready(), runner.agent.waiting()), (false, 0));
}

/// A timer that is due in every turn, of an agent whose batches hold one turn.
#[test]
fn a_timer_that_is_always_due_keeps_no_message_waiting() {
    let policy = KindPolicy {
        batch_messages: 1,
        ..KindPolicy::default()
    };
    let mut runner = Runner::new("test/a", policy);
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    let again = Effect::SetTimer {
        id: 1,
        schedule: Schedule::Once { delay_ms: 0 },
        catch_up: CatchUp::Once,
        method: "do",
        payload: phoenix_wit::Payload::NONE,
    };
    let mut order = Vec::new();
    runner.offer(message("test/b", 1, b""));
    let mut guest = |_: u64, input: Input<'_>, writer: &mut AnswerWriter| {
        order.push(matches!(input, Input::Timer { .. }));
        writer.effect(&again);
        ok(writer);
    };
    // In each millisecond what is due comes due, and there is time for one batch.
    for now in 2..7 {
        let mut out = Actions::default();
        runner.agent.tick(Millis(now), &mut out);
        if now == 3 {
            runner.offer(message("test/b", 2, b""));
        }
        let batch = runner.begin(now).unwrap();
        let answer = answer(&batch, &mut guest);
        runner.commit(batch, &answer, &mut out);
    }
    assert_eq!(order.iter().filter(|is_timer| !**is_timer).count(), 2);
    assert_eq!(order.len(), 5);
}

/// A guest whose handlers wait one after the other, with a backlog.
#[test]
fn a_backlog_behind_handlers_that_wait_is_not_put_in_vain() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let mut pending = 0;
    let mut done = 0;
    let mut exclusive = |number: u64, input: Input<'_>, writer: &mut AnswerWriter| {
        match input {
            Input::Message { .. } if pending > 0 => return writer.outcome(&Outcome::Deferred, 1),
            Input::Message { .. } => {
                pending = 1;
                writer.effect(&Effect::Ask {
                    ask: number,
                    to: "test/other",
                    method: "do",
                    payload: phoenix_wit::Payload::NONE,
                    deadline_ms: 1,
                    waiter: None,
                });
                return writer.outcome(&Outcome::Pending, 1);
            }
            Input::Reply { .. } => {
                pending = 0;
                done += 1;
            }
            _ => {}
        }
        ok(writer);
    };
    for number in 1..=300 {
        runner.offer(message("test/a", number, b""));
    }
    for now in 1..=300 {
        drop(runner.run(now * 10, &mut exclusive));
        let mut out = Actions::default();
        runner.agent.tick(Millis(now * 10 + 5), &mut out);
    }
    drop(runner.run(9_000, &mut exclusive));
    assert_eq!(done, 300);
    let deferred = runner.agent.counters.deferred;
    assert!(deferred < 300, "{deferred} turns in vain");
}

/// Messages that may interleave are taken past those that may not, each of
/// which is looked at once, and never past one of their own stream.
#[test]
fn messages_that_interleave_pass_those_that_do_not() {
    let mut runner = waiting_with_timer(Beside(Some("beside")));
    let from = |sender: &str, method: &str, number: u64| {
        let incarnation = Incarnation::default();
        let mut envelope = Envelope::clone(&message("test/a", number, b""));
        let sender = Sender::Agent(AgentId::new(sender).unwrap(), incarnation);
        envelope.stream = stream(sender, "test/a");
        envelope.body = Body::Message {
            method: method.into(),
            payload: Payload::default(),
            ask: None,
        };
        Arc::new(envelope)
    };
    runner.offer(from("b/1", "do", 1));
    runner.offer(from("b/1", "beside", 2));
    runner.offer(from("b/2", "beside", 1));
    runner.offer(from("b/2", "do", 2));
    runner.offer(from("b/2", "beside", 3));
    runner.offer(from("b/3", "beside", 1));
    let mut seen = Vec::new();
    let mut note = |_: u64, input: Input<'_>, writer: &mut AnswerWriter| {
        if let Input::Message { source, method, .. } = input {
            seen.push(format!("{source} {method}"));
        }
        writer.outcome(&Outcome::Ok(phoenix_wit::Payload::NONE), 1);
    };
    drop(runner.run(2, &mut note));
    assert!(!runner.ready(), "the others wait for the handler's end");
    runner.offer(from("b/4", "beside", 1));
    drop(runner.run(2, &mut note));
    assert_eq!(seen, ["b/2 beside", "b/3 beside", "b/4 beside"]);
    assert_eq!(runner.agent.waiting(), 4);
}

/// Checking what a guest asks for is cheap however much that is.
#[test]
fn more_asks_than_allowed_are_refused_at_the_bound() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    runner.offer(message("test/a", 1, b""));
    let batch = runner.begin(1).unwrap();
    let answer = answer(&batch, &mut |_, _, writer| {
        for ask in 0..1_001 {
            writer.effect(&Effect::Ask {
                ask: ask.min(1_000),
                to: "test/other",
                method: "do",
                payload: phoenix_wit::Payload::NONE,
                deadline_ms: 1,
                waiter: None,
            });
        }
        ok(writer);
    });
    let policy = KindPolicy {
        turn_effects: 10_000,
        ..KindPolicy::default()
    };
    let mut out = Actions::default();
    let room = &mut runner.room;
    let undone = runner
        .agent
        .commit(batch, &answer, &policy, room, &mut out)
        .unwrap_err();
    assert_eq!(
        undone.1,
        BadAnswer::TooMany {
            what: "open asks",
            scope: "agent",
            found: 1_001,
            bound: 1_000
        }
    );
    assert_eq!(runner.agent.open_asks(), 0);
}

/// A sender that has sent `count` messages, and the messages.
fn sent(count: u64) -> (Runner, Vec<Arc<Envelope>>) {
    let mut from = Runner::new("test/from", KindPolicy::default());
    from.offer(message("test/from", 0, b""));
    let ran = from.run(1, &mut |_, input, writer| sends(input, 1..=count, writer));
    (from, ran.send)
}

/// Tells the sender of `test/to` what became of its messages.
fn tell(from: &mut Runner, now: u64, out: &mut Actions, notices: impl IntoIterator<Item = Notice>) {
    let to = AgentId::new("test/to").unwrap();
    for notice in notices {
        from.agent
            .acknowledged(&to, Lane::Normal, &notice, Millis(now), out);
    }
}

#[test]
fn a_receiver_that_is_slow_is_not_flooded() {
    const COUNT: u64 = 1_000;
    let (mut from, mut under_way) = sent(COUNT);
    let small = KindPolicy {
        mailbox_messages: 20,
        ..KindPolicy::default()
    };
    let mut to = Runner::new("test/to", small);
    let (mut now, mut sent, mut rounds) = (1, 0, 0);
    while from.agent.unacknowledged() > 0 {
        now += 5;
        rounds += 1;
        sent += under_way.len() as u64;
        let mut out = Actions::default();
        for envelope in under_way.drain(..) {
            to.agent.offer(envelope, &to.policy, &mut out);
        }
        out.acknowledge
            .extend(to.run(now, &mut |_, _, writer| ok(writer)).acknowledge);
        let notices: Vec<Notice> = out.acknowledge.drain(..).map(|a| a.notice).collect();
        tell(&mut from, now, &mut out, notices);
        from.agent.tick(Millis(now), &mut out);
        under_way = out.send;
    }
    assert!(sent < 4 * COUNT, "{sent} messages were sent for {COUNT}");
    assert!(rounds < 200, "{rounds} rounds for 50 mailboxes full");
}

#[test]
fn what_is_refused_goes_again_from_the_expected_number() {
    let (mut from, _) = sent(10);
    let mut out = Actions::default();
    let refused = Notice::Refused {
        expected: 7,
        number: 7,
        refusal: Refusal::MailboxFull,
    };
    tell(&mut from, 10, &mut out, [refused.clone(), refused]);
    from.agent.tick(Millis(500), &mut out);
    let numbers = |out: &mut Actions| -> Vec<u64> {
        out.send
            .drain(..)
            .map(|e| e.sequence.unwrap().number)
            .collect()
    };
    assert_eq!(
        numbers(&mut out),
        [0_u64; 0],
        "six are held, and six is what it can hold"
    );
    tell(
        &mut from,
        501,
        &mut out,
        [Notice::Applied {
            after: 0,
            through: 6,
        }],
    );
    assert_eq!(numbers(&mut out), [7, 8, 9, 10]);
}

#[test]
fn what_was_closed_is_neither_sent_again_nor_given_up() {
    let (mut from, _) = sent(3);
    let mut out = Actions::default();
    let skipped = |number| Notice::Skipped {
        number,
        reason: SkipReason::Dead(DeadReason::NoSuchKind),
    };
    tell(&mut from, 10, &mut out, [skipped(2), skipped(2)]);
    assert_eq!(out.log.len(), 1, "said once: {:?}", out.log);
    from.through_snapshot();
    from.agent.tick(Millis(20), &mut out);
    let numbers: Vec<u64> = out
        .send
        .iter()
        .map(|e| e.sequence.unwrap().number)
        .collect();
    assert_eq!(numbers, [1, 3]);
    tell(&mut from, 30, &mut out, [skipped(1), skipped(3)]);
    assert_eq!(from.agent.unacknowledged(), 0);
    from.agent.tick(Millis(1_000_000), &mut out);
    assert!(out.dead.is_empty(), "{:?}", out.dead);
}

/// The word on a message that was dropped is lost, and the one on those behind it comes:
/// the sender must not take it for all of them.
#[test]
fn a_message_whose_end_was_not_heard_is_not_taken_for_applied() {
    let (mut from, under_way) = sent(5);
    let small = KindPolicy {
        mailbox_messages: 2,
        overflow: Overflow::DropOldest,
        ..KindPolicy::default()
    };
    let mut to = Runner::new("test/to", small);
    let mut lost = Actions::default();
    for envelope in under_way {
        to.agent.offer(envelope, &to.policy, &mut lost);
    }
    assert_eq!(lost.dead.len(), 3, "the first three");
    let ran = to.run(2, &mut |_, _, writer| ok(writer));
    let told = ran.acknowledge.into_iter().map(|it| it.notice);
    let mut out = Actions::default();
    tell(&mut from, 2, &mut out, told);
    from.through_snapshot();
    to.through_snapshot();
    from.agent.tick(Millis(3), &mut out);
    let again: Vec<u64> = out
        .send
        .iter()
        .map(|it| it.sequence.unwrap().number)
        .collect();
    assert_eq!(again, [1, 2, 3]);
    let mut back = Actions::default();
    for envelope in out.send.drain(..) {
        to.agent.offer(envelope, &to.policy, &mut back);
    }
    assert!(back.dead.is_empty(), "it ended once: {:?}", back.dead);
    tell(
        &mut from,
        4,
        &mut out,
        back.acknowledge.into_iter().map(|it| it.notice),
    );
    assert_eq!(from.agent.unacknowledged(), 0);
    assert_eq!(from.agent.counters.bounced, 3);
}

/// An agent that speaks to many keeps what is under way, and not who it spoke to.
#[test]
fn streams_are_forgotten_and_what_is_sent_later_is_applied() {
    let mut from = Runner::new("test/from", KindPolicy::default());
    let to_one = KindPolicy {
        streams: 3,
        ..KindPolicy::default()
    };
    from.policy = to_one;
    let mut receivers: BTreeMap<AgentId, (Runner, u64)> = BTreeMap::new();
    let send = |from: &mut Runner, receivers: &mut BTreeMap<_, (Runner, u64)>, to: &str, now| {
        from.offer(message("test/from", 0, b""));
        let mut out = from.run(now, &mut |_, input, writer| {
            if matches!(input, Input::Message { .. }) {
                writer.effect(&Effect::Send {
                    to,
                    method: "do",
                    payload: phoenix_wit::Payload::NONE,
                    delivery: Delivery::ExactlyOnce,
                });
            }
            ok(writer);
        });
        let envelope = out.send.remove(0);
        let (receiver, applied) = receivers
            .entry(envelope.receiver().clone())
            .or_insert_with(|| (Runner::new(to, KindPolicy::default()), 0));
        receiver.offer(envelope);
        let ran = receiver.run(now, &mut |_, input, writer| {
            *applied += u64::from(matches!(input, Input::Message { .. }));
            ok(writer);
        });
        for a in ran.acknowledge {
            let (to, lane) = (&a.stream.receiver, a.stream.lane);
            from.agent
                .acknowledged(to, lane, &a.notice, Millis(now), &mut Actions::default());
        }
        assert_eq!(from.agent.unacknowledged(), 0);
    };
    for round in 1..=2 {
        for n in 0..3_000 {
            send(&mut from, &mut receivers, &format!("test/{n}"), round);
            let (_, out) = from.agent.streams();
            assert!(out <= 1_025, "{out} streams after {n} receivers");
        }
        from.agent.forget_old_streams(Millis(round));
        from.through_snapshot();
        assert_eq!(
            from.agent.streams(),
            (0, 0),
            "nothing is left to sleep with"
        );
    }
    assert!(receivers.values().all(|(_, applied)| *applied == 2));
}

/// Senders that are silent for long make room for others, while the agent is awake.
#[test]
fn streams_that_are_over_make_room() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.policy.streams = 2;
    let of = |key: u64, number: u64, give_up: u64| {
        let mut envelope = Envelope::clone(&message("test/a", number, b""));
        let id = AgentId::new(&format!("b/{key}")).unwrap();
        envelope.stream = stream(Sender::Agent(id, Incarnation::default()), "test/a");
        envelope.sequence.as_mut().unwrap().give_up = Millis(give_up);
        Arc::new(envelope)
    };
    runner.offer(of(1, 1, 100));
    runner.offer(of(2, 1, 100));
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    let (mut out, policy) = (Actions::default(), runner.policy.clone());
    runner.agent.offer(of(3, 1, 90_000), &policy, &mut out);
    assert!(matches!(
        out.acknowledge.remove(0).notice,
        Notice::Refused { .. }
    ));
    runner.agent.tick(Millis(40_000), &mut out);
    runner.offer(of(3, 1, 90_000));
    // One that comes so late may have been applied: it is not taken again.
    runner.agent.offer(of(1, 1, 100), &policy, &mut out);
    let forgotten = Notice::Skipped {
        number: 1,
        reason: SkipReason::Dead(DeadReason::Forgotten),
    };
    assert_eq!(out.acknowledge.remove(0).notice, forgotten);
}

/// A verdict that comes while the agent is on its way counts for nothing: the copy that
/// goes on sends again what has none in it.
#[test]
fn a_verdict_at_a_frozen_agent_is_asked_for_again_where_it_goes() {
    let mut runner = waiting_with_timer(Beside(None));
    runner.offer(message("test/a", 2, b"before"));
    runner.agent.mark_shipped();
    let mut source = std::mem::replace(&mut runner.agent, {
        let id = AgentId::new("test/a").unwrap();
        Agent::new(id, Incarnation::default(), Payload::default())
    });
    let mut bytes = Vec::new();
    snapshot::encode(&source, &Digest::of(b"c"), b"", &mut bytes);
    runner.agent = snapshot::decode(&Bytes::from(bytes)).unwrap().agent;
    let mut out = Actions::default();
    let bounced = Notice::Skipped {
        number: 1,
        reason: SkipReason::Dead(DeadReason::NoSuchKind),
    };
    let to = AgentId::new("test/other").unwrap();
    source.acknowledged(&to, Lane::Normal, &bounced, Millis(2), &mut out);
    assert_eq!(source.take_unshipped(), [], "it does not end there too");
    assert!(out.is_empty(), "{out:?}");
    runner.agent.tick(Millis(2), &mut out);
    assert_eq!(out.send.len(), 1, "the ask goes again");
    runner
        .agent
        .acknowledged(&to, Lane::Normal, &bounced, Millis(2), &mut out);
    let mut replies = Vec::new();
    drop(runner.run(2, &mut |_, input, writer| {
        if let Input::Reply { ask, reply } = input {
            replies.push((ask, matches!(reply, Reply::Bounced("no-such-kind"))));
        }
        ok(writer);
    }));
    assert_eq!(replies, [(7, true)]);
    // A copy that is dropped sends nothing on that its source has too.
    runner.offer(message("test/a", 3, b"late"));
    runner.through_snapshot();
    runner.offer(message("test/a", 4, b"later"));
    assert_eq!(runner.agent.take_unshipped().len(), 1);
}

#[test]
fn an_agent_that_stopped_stays_stopped_where_it_goes() {
    let (mut from, _) = sent(1);
    from.agent.stop("enough");
    from.through_snapshot();
    assert_eq!(from.agent.stopped().map(|why| &**why), Some("enough"));
    assert_eq!(from.agent.unacknowledged(), 1);
    let mut out = Actions::default();
    from.agent.tick(Millis(1_000_000), &mut out);
    assert_eq!(from.agent.unacknowledged(), 0, "given up, so it may end");
    assert_eq!(out.log.len(), 1, "and the author is told: {:?}", out.log);
}

/// A small message must not keep the large answer alive that it came in.
#[test]
fn what_an_outbox_keeps_alive_is_what_it_counts() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    runner.offer(message("test/a", 1, b""));
    let batch = runner.begin(1).unwrap();
    let large = vec![1; 100_000];
    let answer = answer(&batch, &mut |_, _, writer| {
        for bytes in [&b"small"[..], &large] {
            writer.effect(&Effect::Send {
                to: "test/to",
                method: "do",
                payload: phoenix_wit::Payload::message_pack(bytes),
                delivery: Delivery::ExactlyOnce,
            });
        }
        ok(writer);
    });
    let mut out = Actions::default();
    runner.commit(batch, &answer, &mut out);
    let is_part: Vec<bool> = out
        .send
        .iter()
        .map(|envelope| match &envelope.body {
            Body::Message { payload, .. } => {
                answer.as_ptr_range().contains(&payload.bytes.as_ptr())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(is_part, [false, true]);
}

#[test]
fn a_turn_writes_no_more_log_than_allowed() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.policy.turn_log_bytes = 10;
    runner.offer(message("test/a", 1, b""));
    let ran = runner.run(1, &mut |_, input, writer| {
        if matches!(input, Input::Message { .. }) {
            for text in ["1234567", "88é99", "gone"] {
                let level = phoenix_wit::Level::Info;
                writer.effect(&Effect::Log { level, text });
            }
        }
        ok(writer);
    });
    let lines: Vec<&str> = ran.log.iter().map(|(_, line)| &**line).collect();
    assert_eq!(lines, ["1234567", "88"], "cut at a character");
    assert_eq!(runner.agent.counters.log_cut, 8, "bytes");
}

/// The same message as a request of another agent's.
fn asking(envelope: &Arc<Envelope>, id: u64, deadline: u64) -> Arc<Envelope> {
    let asker = AgentId::new("test/asker").unwrap();
    let mut envelope = Envelope::clone(envelope);
    if let Body::Message { ask, .. } = &mut envelope.body {
        *ask = Some(Box::new(phoenix_core::Ask {
            id,
            reply_to: ReplyTo::Agent(asker, Incarnation::default()),
            deadline: Millis(deadline),
        }));
    }
    Arc::new(envelope)
}

#[test]
fn no_more_requests_are_open_than_allowed() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.policy.open_requests = 3;
    runner.handlers = Beside(Some("do"));
    for number in 1..=5 {
        let envelope = message("test/a", number, b"");
        runner.offer(asking(&envelope, number, 1_000));
    }
    let mut pending = 0;
    drop(runner.run(1, &mut |_, input, writer| match input {
        Input::Message { .. } => {
            pending += 1;
            writer.outcome(&Outcome::Pending, pending);
        }
        _ => ok(writer),
    }));
    assert_eq!((runner.agent.pending(), runner.agent.waiting()), (3, 2));
}

#[test]
fn a_message_that_is_too_large_is_a_dead_letter_after_those_before_it() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.policy.max_message = 4;
    let policy = runner.policy.clone();
    let mut out = Actions::default();
    runner.offer(message("test/a", 1, b"fits"));
    let large = message("test/a", 2, b"large");
    runner.agent.offer(large.clone(), &policy, &mut out);
    let notice = out.acknowledge.remove(0).notice;
    assert!(matches!(notice, Notice::Refused { expected: 2, .. }));
    drop(runner.run(1, &mut |_, _, writer| ok(writer)));
    runner.agent.offer(large, &policy, &mut out);
    let notices: Vec<Notice> = out.acknowledge.drain(..).map(|a| a.notice).collect();
    let reason = SkipReason::Dead(DeadReason::TooLarge);
    let skipped = Notice::Skipped { number: 2, reason };
    assert_eq!(notices, [skipped]);
    assert_eq!(out.dead.len(), 1);
    runner.offer(message("test/a", 3, b"more"));
    runner
        .agent
        .offer(message("test/a", 0, b"large"), &policy, &mut out);
    assert_eq!((out.dead.len(), runner.agent.waiting()), (2, 1));
}

#[test]
fn a_request_whose_asker_has_stopped_waiting_is_cancelled() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    runner.offer(asking(&message("test/a", 1, b""), 1, 10));
    let ran = runner.run(10, &mut |_, input, writer| {
        assert!(!matches!(input, Input::Message { .. }));
        ok(writer);
    });
    let reason = SkipReason::Cancelled;
    let skipped = Notice::Skipped { number: 1, reason };
    assert_eq!(ran.acknowledge[0].notice, skipped);
}

/// Who begins anew has nothing left of the old life but what its senders were told.
#[test]
fn a_new_life_applies_nothing_that_has_its_verdict() {
    let mut runner = Runner::new("test/a", KindPolicy::default());
    let mut applied = Vec::new();
    let mut guest = |_: u64, input: Input<'_>, writer: &mut AnswerWriter| {
        if let Input::Message { payload, .. } = input {
            applied.push(payload.bytes.to_vec());
        }
        ok(writer);
    };
    runner.offer(message("test/a", 1, b"1"));
    drop(runner.run(1, &mut guest));
    runner.offer(message("test/a", 2, b"2"));
    runner.offer(asking(&message("test/a", 3, b"3"), 9, 1_000_000));
    let mut out = Actions::default();
    let life = Incarnation {
        count: 2,
        ..Incarnation::default()
    };
    runner.agent.renew(life, Payload::default(), &mut out);
    assert_eq!(runner.agent.incarnation(), life);
    assert!(!runner.agent.begun() && runner.agent.turns() == 0);
    let dead: Vec<_> = out
        .dead
        .iter()
        .map(|(_, reason, _)| reason.clone())
        .collect();
    assert_eq!(dead, [DeadReason::Reset, DeadReason::Reset]);
    let notices: Vec<_> = out.acknowledge.iter().map(|one| &one.notice).collect();
    let skip = |number| Notice::Skipped {
        number,
        reason: SkipReason::Dead(DeadReason::Reset),
    };
    assert_eq!(notices, [&skip(2), &skip(3)]);
    // What was told of is known still; what comes next is applied.
    let policy = runner.policy.clone();
    for number in 1..=4 {
        let again = message("test/a", number, number.to_string().as_bytes());
        runner.agent.offer(again, &policy, &mut out);
    }
    drop(runner.run(2, &mut guest));
    assert_eq!(applied, [b"1", b"4"]);
}
