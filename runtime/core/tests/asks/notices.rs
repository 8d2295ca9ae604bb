//! What one agent does with words about asks, and says itself.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, BatchRoom, Handlers};
use phoenix_core::{
    AgentId, Ask, AskLink, AskNotice, Body, DeadReason, Digest, Envelope, Incarnation, KindPolicy,
    Lane, MAX_PROBE_LINKS, Millis, Nanos, Notice, Payload, Probe, Reply, ReplyTo, Sender, Sequence,
    SkipReason, StreamKey, snapshot,
};
use phoenix_wit::{AnswerWriter, Effect, FrameReader, Input, Outcome, Payload as Bare};

struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _method: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

struct Actor(Agent, BatchRoom);

impl Actor {
    fn new(name: &str) -> Self {
        let agent = Agent::new(id(name), Incarnation::default(), Payload::default());
        let mut actor = Self(agent, BatchRoom::default());
        drop(actor.run(0, |_, writer| done(writer, 0)));
        actor
    }

    /// Runs what is ready.
    fn run(&mut self, now: u64, mut guest: impl FnMut(Input<'_>, &mut AnswerWriter)) -> Actions {
        let policy = KindPolicy::default();
        let mut out = Actions::default();
        let now = Nanos(now * 1_000_000);
        while let Some(batch) = self.0.begin(now, &policy, &Plain, &mut self.1, Vec::new()) {
            let mut writer = AnswerWriter::new(Vec::new());
            if batch.turns() > 0 {
                let mut frame = FrameReader::new(&batch.frame).unwrap();
                while let Some(turn) = frame.next_turn().unwrap() {
                    guest(turn.input, &mut writer);
                }
            }
            let answer = Bytes::from(writer.finish());
            let committed = self
                .0
                .commit(batch, &answer, &policy, &mut self.1, &mut out);
            committed.map_err(|undone| undone.1).unwrap();
        }
        out
    }

    fn offer(&mut self, envelope: Arc<Envelope>) {
        let mut out = Actions::default();
        self.0.offer(envelope, &KindPolicy::default(), &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    fn noticed(&mut self, notice: AskNotice) -> Actions {
        let mut out = Actions::default();
        self.0.noticed(notice, &Plain, &mut out);
        out
    }

    fn tick(&mut self, now: u64) -> Actions {
        let mut out = Actions::default();
        self.0.tick(Millis(now), &mut out);
        out
    }

    /// Has it ask `to` and wait for nothing else, in the turn that a message begins.
    fn ask(&mut self, now: u64, ask: u64, to: &str, deadline_ms: u32) -> Actions {
        self.run(now, |input, writer| {
            assert!(matches!(input, Input::Message { .. }), "{input:?}");
            writer.effect(&Effect::Ask {
                ask,
                to,
                method: "do",
                payload: Bare::NONE,
                deadline_ms,
                waiter: Some(1),
            });
            writer.outcome(&Outcome::Pending, 1);
        })
    }

    /// Whether what it is put next ends an ask with `deadlock`.
    fn sees_deadlock(&mut self, now: u64) -> bool {
        let mut seen = false;
        self.run(now, |input, writer| {
            seen |= matches!(
                input,
                Input::Reply {
                    reply: phoenix_wit::Reply::Deadlock,
                    ..
                }
            );
            done(writer, 0);
        });
        seen
    }
}

fn done(writer: &mut AnswerWriter, pending: u16) {
    writer.outcome(&Outcome::Ok(Bare::NONE), pending);
}

/// The message `number` of `from`'s stream, which asks.
fn asks(from: &str, to: &str, number: u64, deadline: u64) -> Arc<Envelope> {
    let from = id(from);
    Arc::new(Envelope {
        stream: StreamKey::shared(
            Sender::Agent(from.clone(), Incarnation::default()),
            id(to),
            Lane::Normal,
        ),
        sequence: Some(Sequence {
            number,
            base: NonZeroU64::MIN,
            give_up: Millis(deadline),
        }),
        body: Body::Message {
            method: "do".into(),
            payload: Payload::default(),
            ask: Some(Box::new(Ask {
                id: number,
                reply_to: ReplyTo::Agent(from, Incarnation::default()),
                deadline: Millis(deadline),
            })),
        },
        extras: None,
    })
}

/// The same as others are told of it.
fn link(from: &str, number: u64, made: u64) -> AskLink {
    AskLink {
        asker: id(from),
        incarnation: Incarnation::default(),
        ask: number,
        made: Millis(made),
        lane: Lane::Normal,
        number,
    }
}

fn probe(out: &Actions) -> Option<&Probe> {
    out.notices.iter().find_map(|notice| match notice {
        AskNotice::Probe(probe) => Some(&**probe),
        AskNotice::Cancel { .. } => None,
    })
}

/// `test/a` asks `test/b` with ask 7, for `test/b`'s ask 1.
fn waits_for_b() -> Actor {
    let mut a = Actor::new("test/a");
    a.offer(asks("test/b", "test/a", 1, 100_000));
    a.ask(50, 7, "test/b", 5_000);
    a
}

#[test]
fn a_probe_leaves_when_an_ask_has_been_open_for_a_while_and_then_ever_less_often() {
    let mut a = waits_for_b();
    let mut left = Vec::new();
    let mut now = 50;
    while now < 5_000 {
        now = a.0.next_wake().0;
        if let Some(probe) = probe(&a.tick(now)) {
            assert_eq!(
                (&probe.to, &probe.links[..]),
                (
                    &id("test/b"),
                    &[AskLink {
                        number: 1,
                        ..link("test/a", 7, 50)
                    }][..]
                )
            );
            left.push(now - 50);
        }
    }
    assert_eq!(left, [20, 40, 80, 160, 320, 640, 1_280, 2_560]);
}

#[test]
fn an_ask_that_holds_nobody_up_is_not_probed() {
    let mut a = Actor::new("test/a");
    let mut message = Envelope::clone(&asks("test/b", "test/a", 1, 100_000));
    if let Body::Message { ask, .. } = &mut message.body {
        *ask = None;
    }
    a.offer(Arc::new(message));
    a.ask(50, 7, "test/b", 5_000);
    assert_eq!(probe(&a.tick(70)), None);
    // Now somebody waits behind it.
    a.offer(asks("test/c", "test/a", 1, 100_000));
    assert!(probe(&a.tick(90)).is_some());
}

#[test]
fn an_agent_that_asks_itself_is_told_so() {
    let mut a = Actor::new("test/a");
    a.offer(asks("test/b", "test/a", 1, 100_000));
    let out = a.ask(50, 7, "test/a", 5_000);
    a.offer(out.send[0].clone());
    let mut notices = a.tick(70).notices;
    let mut told = 0;
    while let Some(notice) = notices.pop() {
        told += 1;
        notices.extend(a.noticed(notice).notices);
    }
    assert_eq!(told, 3, "there and back, once more, and the cancel");
    assert!(a.sees_deadlock(71));
    assert_eq!((a.0.counters.deadlocks, a.0.counters.timeouts), (1, 0));
    assert_eq!(
        a.0.counters.cancelled, 1,
        "its own message is not put to it"
    );
}

#[test]
fn a_circle_that_broke_on_the_second_round_is_none() {
    let mut a = waits_for_b();
    let b = link("test/b", 1, 40);
    let own = AskLink {
        number: 1,
        ..link("test/a", 7, 50)
    };
    let again = |again, links: &[AskLink]| {
        AskNotice::Probe(Box::new(Probe {
            to: id("test/a"),
            sent: Millis(70),
            budget: 9,
            again: Some(again),
            links: links.to_vec(),
        }))
    };
    // Each of these is not as it was, or was never so.
    let other_life = Incarnation {
        count: 9,
        ..Incarnation::default()
    };
    for (gone, links) in [
        (
            3,
            vec![
                AskLink {
                    ask: 2,
                    number: 2,
                    ..b.clone()
                },
                own.clone(),
            ],
        ),
        (
            3,
            vec![
                AskLink {
                    incarnation: other_life,
                    ..b.clone()
                },
                own.clone(),
            ],
        ),
        (
            3,
            vec![
                b.clone(),
                AskLink {
                    ask: 8,
                    ..own.clone()
                },
            ],
        ),
        (
            3,
            vec![
                b.clone(),
                AskLink {
                    made: Millis(49),
                    ..own.clone()
                },
            ],
        ),
        (
            3,
            vec![
                b.clone(),
                AskLink {
                    incarnation: other_life,
                    ..own.clone()
                },
            ],
        ),
        (0, vec![b.clone(), own.clone()]),
        (4, vec![b.clone(), own.clone()]),
        (u16::MAX, vec![b.clone(), own.clone()]),
        (1, vec![]),
    ] {
        assert!(
            a.noticed(again(gone, &links)).is_empty(),
            "{gone} {links:?}"
        );
    }
    // Not round yet: it goes on. Round: the youngest ends.
    let out = a.noticed(again(1, &[b.clone(), own.clone()]));
    assert_eq!(probe(&out).and_then(|probe| probe.again), Some(2));
    let out = a.noticed(again(3, &[b, own]));
    assert!(matches!(&out.notices[..], [AskNotice::Cancel { to, .. }] if *to == id("test/b")));
    assert!(a.sees_deadlock(80));
}

#[test]
fn probes_do_not_grow_without_end() {
    let mut a = waits_for_b();
    let chase = |sent, budget, links: Vec<AskLink>| {
        AskNotice::Probe(Box::new(Probe {
            to: id("test/a"),
            sent: Millis(sent),
            budget,
            again: None,
            links,
        }))
    };
    let long = |count: u64| {
        let others = (2..=count).map(|number| link("test/x", number, 1));
        others.chain([link("test/b", 1, 40)]).collect::<Vec<_>>()
    };
    assert!(probe(&a.noticed(chase(1, 9, long(3)))).is_some());
    assert!(
        a.noticed(chase(1, 9, long(3))).is_empty(),
        "it came by before"
    );
    assert!(
        a.noticed(chase(2, 1, long(3))).is_empty(),
        "nothing is left of its budget"
    );
    let most = MAX_PROBE_LINKS as u64;
    assert!(probe(&a.noticed(chase(3, 9, long(most - 1)))).is_some());
    assert!(
        a.noticed(chase(4, 9, long(most))).is_empty(),
        "it is too long"
    );
    assert!(a.noticed(chase(5, 9, Vec::new())).is_empty());
}

#[test]
fn what_was_cancelled_is_skipped_once_and_counted() {
    let mut a = waits_for_b();
    for number in 1..=3 {
        a.offer(asks("test/c", "test/a", number, 100_000));
    }
    let cancel = |number| AskNotice::Cancel {
        to: id("test/a"),
        ask: link("test/c", number, 60),
    };
    // One that is not here, one that is served, and one that waits, twice.
    for notice in [cancel(4), cancel(2), cancel(2)] {
        assert!(a.noticed(notice).is_empty());
    }
    let served = AskNotice::Cancel {
        to: id("test/a"),
        ask: link("test/b", 1, 40),
    };
    assert!(a.noticed(served).is_empty());
    let reply = Envelope {
        stream: StreamKey::shared(Sender::System, id("test/a"), Lane::Reply),
        sequence: None,
        body: Body::Reply {
            ask: 7,
            asker: Incarnation::default(),
            reply: Reply::Ok(Payload::default()),
        },
        extras: None,
    };
    a.offer(Arc::new(reply.clone()));
    let (mut messages, mut replies) = (0, 0);
    let out = a.run(100, |input, writer| {
        messages += u32::from(matches!(input, Input::Message { .. }));
        replies += u32::from(matches!(input, Input::Reply { .. }));
        if matches!(input, Input::Reply { .. }) {
            writer.effect(&Effect::Reply {
                request: 1,
                answer: Ok(Bare::NONE),
            });
        }
        done(writer, 0);
    });
    assert_eq!((messages, replies), (2, 1));
    assert_eq!(a.0.counters.cancelled, 1);
    assert!(out.dead.is_empty());
    // A reply that comes when nobody waits for it is dropped, and counted.
    a.offer(Arc::new(reply));
    a.run(101, |input, _| panic!("{input:?}"));
    assert_eq!(a.0.counters.late_replies, 1);
}

#[test]
fn whoever_gives_up_says_so() {
    let mut late = waits_for_b();
    let out = late.tick(50 + 5_000);
    let told = |out: &Actions| {
        let told = out.notices.iter().map(|notice| match notice {
            AskNotice::Cancel { to, ask } => (to.clone(), ask.ask),
            AskNotice::Probe(probe) => panic!("{probe:?}"),
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(&out), [(id("test/b"), 7)]);
    assert_eq!(late.0.counters.timeouts, 1);

    let mut ended = waits_for_b();
    let mut out = Actions::default();
    ended.0.abandon(&DeadReason::Stopped, &mut out);
    assert_eq!(told(&out), [(id("test/b"), 7)]);
    assert_eq!(ended.0.open_asks(), 0);
}

#[test]
fn what_is_known_of_an_ask_sleeps_with_its_agent() {
    let mut a = waits_for_b();
    let applied = Notice::Applied {
        after: 0,
        through: 1,
    };
    let mut out = Actions::default();
    a.0.acknowledged(&id("test/b"), Lane::Normal, &applied, Millis(55), &mut out);
    let mut bytes = Vec::new();
    snapshot::encode(&a.0, &Digest::of(b"c"), b"", &mut bytes);
    a.0 = snapshot::decode(&Bytes::from(bytes)).unwrap().agent;
    assert_eq!(
        a.0.next_wake_exact(),
        Millis(5_050),
        "nobody wakes to probe"
    );
    let out = a.tick(70);
    let probe = probe(&out).expect("it begins anew when it is awake");
    let own = AskLink {
        number: 1,
        ..link("test/a", 7, 50)
    };
    assert_eq!((&probe.to, &probe.links[..]), (&id("test/b"), &[own][..]));
}

#[test]
fn a_handler_is_told_until_when_its_asker_waits() {
    let mut a = Actor::new("test/a");
    a.offer(asks("test/b", "test/a", 1, 9_000));
    let mut seen = None;
    a.run(50, |input, writer| {
        if let Input::Message { deadline, .. } = input {
            seen = Some(deadline);
        }
        done(writer, 0);
    });
    assert_eq!(seen, Some(9_000_000_000));
}

#[test]
fn what_is_skipped_behind_a_deferred_message_of_its_stream_keeps_the_order() {
    let mut a = Actor::new("test/a");
    for number in 1..=3 {
        a.offer(asks("test/b", "test/a", number, 100_000));
    }
    let ask = link("test/b", 3, 1);
    let to = id("test/a");
    assert!(a.noticed(AskNotice::Cancel { to, ask }).is_empty());
    let policy = KindPolicy::default();
    let mut out = Actions::default();
    let batch =
        a.0.begin(Nanos(0), &policy, &Plain, &mut a.1, Vec::new())
            .unwrap();
    assert_eq!(batch.turns(), 2);
    let mut writer = AnswerWriter::new(Vec::new());
    writer.outcome(&Outcome::Pending, 1);
    writer.outcome(&Outcome::Deferred, 1);
    let answer = Bytes::from(writer.finish());
    let committed = a.0.commit(batch, &answer, &policy, &mut a.1, &mut out);
    committed.map_err(|undone| undone.1).unwrap();
    let notices = |out: &Actions| {
        let notices = out.acknowledge.iter().map(|it| it.notice.clone());
        notices.collect::<Vec<_>>()
    };
    let skipped = Notice::Skipped {
        number: 3,
        reason: SkipReason::Cancelled,
    };
    let applied = |after, through| Notice::Applied { after, through };
    assert_eq!(notices(&out), [skipped, applied(0, 1)]);
    // The second is put again when the first has ended, and takes the third along.
    a.0.retry_now();
    let mut out = Actions::default();
    a.0.abandon(&DeadReason::Stopped, &mut out);
    assert!(
        notices(&out)
            .iter()
            .all(|it| !matches!(it, Notice::Applied { .. }))
    );
}

/// How an ask of 100 ms ends whose message is refused as often as `refusals` says of
/// each time it is sent, until its deadline.
fn ends(mut is_refused: impl FnMut(usize) -> bool, sleeps: bool) -> phoenix_core::Reply {
    let mut asker = Actor::new("from/1");
    asker.offer(asks("other/1", "from/1", 1, 9_000));
    let mut out = asker.ask(10, 7, "to/1", 100);
    let (mut tries, mut now) = (0, 10);
    let mut seen = None;
    while seen.is_none() && now < 1_000 {
        let sent = std::mem::take(&mut out.send);
        for envelope in sent.iter().filter(|it| it.body.ask().is_some()) {
            let sequence = envelope.sequence.unwrap();
            tries += 1;
            if is_refused(tries) {
                let refused = Notice::Refused {
                    expected: sequence.number,
                    number: sequence.number,
                    refusal: phoenix_core::Refusal::MailboxFull,
                };
                asker.hears(&refused, now);
            }
        }
        if sleeps && now == 50 {
            asker.sleeps();
        }
        now += 1;
        out = asker.tick(now);
        asker.run(now, |input, writer| {
            if let Input::Reply { reply, .. } = input {
                seen = Some(match reply {
                    phoenix_wit::Reply::Timeout => Reply::Timeout,
                    phoenix_wit::Reply::Unavailable(why) => Reply::Unavailable(why.into()),
                    other => panic!("{other:?}"),
                });
            }
            done(writer, 0);
        });
    }
    assert!(tries > 1, "it is tried again");
    seen.unwrap()
}

impl Actor {
    fn hears(&mut self, notice: &Notice, now: u64) {
        let mut out = Actions::default();
        self.0
            .acknowledged(&id("to/1"), Lane::Normal, notice, Millis(now), &mut out);
        assert!(out.send.is_empty(), "{out:?}");
    }

    fn sleeps(&mut self) {
        let mut bytes = Vec::new();
        snapshot::encode(&self.0, &Digest::of(b"c"), b"", &mut bytes);
        self.0 = snapshot::decode(&Bytes::from(bytes)).unwrap().agent;
    }
}

#[test]
fn an_ask_that_was_only_refused_is_safe_to_repeat() {
    let Reply::Unavailable(why) = ends(|_| true, false) else {
        panic!("it was never taken");
    };
    assert_eq!(&*why, "mailbox-full");
}

#[test]
fn an_ask_of_which_nothing_was_heard_once_may_have_been_taken() {
    assert_eq!(ends(|tries| tries != 3, false), Reply::Timeout);
    // What was heard before a sleep is not known after it.
    assert_eq!(ends(|_| true, true), Reply::Timeout);
}

#[test]
fn whom_an_agent_waits_for_and_who_waits_for_it_can_be_told() {
    let mut agent = Actor::new("from/1");
    agent.offer(asks("other/1", "from/1", 1, 9_000));
    drop(agent.ask(10, 7, "to/1", 100));
    let asks = agent.0.ask_infos();
    assert_eq!(asks.len(), 1);
    assert_eq!((asks[0].ask, asks[0].to.as_str()), (7, "to/1"));
    assert_eq!((asks[0].made, asks[0].deadline), (Millis(10), Millis(110)));
    assert_eq!(asks[0].handler, Some(1));
    let requests = agent.0.request_infos();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].handler, requests[0].deadline),
        (1, Millis(9_000))
    );
    assert!(matches!(&requests[0].from, ReplyTo::Agent(from, _) if from.as_str() == "other/1"));
    drop(agent.tick(200));
    assert_eq!(agent.0.ask_infos(), [], "it has ended");
}
