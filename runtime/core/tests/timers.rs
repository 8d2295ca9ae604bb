//! Timers through an agent: what is fired, passed over, cancelled, refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use bytes::Bytes;
use phoenix_core::agent::{Actions, Agent, BadAnswer, Batch, BatchRoom, Handlers};
use phoenix_core::{AgentId, Incarnation, KindPolicy, Millis, Nanos, Payload};
use phoenix_wit::{AnswerWriter, BadCron, CatchUp, Effect, FrameReader, Input, Outcome, Schedule};

struct Plain;

impl Handlers for Plain {
    fn interleaves(&self, _method: &str) -> bool {
        false
    }
    fn any_interleaves(&self) -> bool {
        false
    }
}

/// An agent, and which timers fired in turns that were committed, each with when and what
/// it carried.
struct Clock {
    agent: Agent,
    policy: KindPolicy,
    room: BatchRoom,
    fired: Vec<(u64, u64, u8)>,
    /// Batches that were undone and split.
    splits: u32,
}

/// What the turn of a timer does, or `init`.
type Guest<'a> = dyn Fn(Option<u64>) -> Vec<Effect<'static>> + 'a;

impl Clock {
    /// One that is begun at 0 ms.
    fn new(guest: &Guest<'_>) -> Self {
        let id = AgentId::new("test/clock").unwrap();
        let life = Incarnation {
            generation: 0,
            boot: 1,
            count: 1,
        };
        let mut clock = Self {
            agent: Agent::new(id, life, Payload::default()),
            policy: KindPolicy::default(),
            room: BatchRoom::default(),
            fired: Vec::new(),
            splits: 0,
        };
        clock.at(0, guest);
        clock
    }

    fn begin(&mut self, now: u64) -> Option<Batch> {
        let (now, room) = (Nanos(now * 1_000_000), &mut self.room);
        self.agent
            .begin(now, &self.policy, &Plain, room, Vec::new())
    }

    fn commit(&mut self, batch: Batch, answer: &Bytes) -> Result<(), Box<(Batch, BadAnswer)>> {
        let mut out = Actions::default();
        let (policy, room) = (&self.policy, &mut self.room);
        self.agent.commit(batch, answer, policy, room, &mut out)
    }

    /// Lets time pass up to `now`, and everything fire that is due then.
    fn at(&mut self, now: u64, guest: &Guest<'_>) {
        loop {
            self.agent.tick(Millis(now), &mut Actions::default());
            let Some(batch) = self.begin(now) else { return };
            let (answer, fired) = run(&batch, now, guest);
            match self.commit(batch, &answer) {
                Ok(()) => self.fired.extend(fired),
                Err(undone) => {
                    assert!(!undone.1.is_fault(undone.0.turns()), "{}", undone.1);
                    self.splits += 1;
                    self.agent.split(undone.0);
                }
            }
        }
    }

    fn ids(&self) -> Vec<u64> {
        self.fired.iter().map(|(id, ..)| *id).collect()
    }
}

fn run(batch: &Batch, now: u64, guest: &Guest<'_>) -> (Bytes, Vec<(u64, u64, u8)>) {
    let mut writer = AnswerWriter::new(Vec::new());
    let mut fired = Vec::new();
    if batch.turns() == 0 {
        return (Bytes::new(), fired);
    }
    let mut frame = FrameReader::new(&batch.frame).unwrap();
    while let Some(turn) = frame.next_turn().unwrap() {
        let effects = match turn.input {
            Input::Init { .. } => guest(None),
            Input::Timer { id, payload, .. } => {
                fired.push((id, now, payload.bytes.first().copied().unwrap_or(0)));
                guest(Some(id))
            }
            other => panic!("{other:?}"),
        };
        for effect in &effects {
            writer.effect(effect);
        }
        writer.outcome(&Outcome::Ok(phoenix_wit::Payload::NONE), 0);
    }
    (writer.finish().into(), fired)
}

fn set(id: u64, schedule: Schedule<'static>, catch_up: CatchUp) -> Effect<'static> {
    set_with(id, schedule, catch_up, b"")
}

fn set_with(
    id: u64,
    schedule: Schedule<'static>,
    catch_up: CatchUp,
    bytes: &'static [u8],
) -> Effect<'static> {
    Effect::SetTimer {
        id,
        schedule,
        catch_up,
        method: "tick",
        payload: phoenix_wit::Payload::message_pack(bytes),
    }
}

fn once(id: u64, delay_ms: u64) -> Effect<'static> {
    set(id, Schedule::Once { delay_ms }, CatchUp::Once)
}

fn every(id: u64, period_ms: u64, catch_up: CatchUp) -> Effect<'static> {
    let schedule = Schedule::Every {
        delay_ms: period_ms,
        period_ms,
    };
    set(id, schedule, catch_up)
}

#[test]
fn a_cancel_in_the_batch_a_timer_fires_in_wins() {
    let guest = |timer| match timer {
        None => vec![once(1, 5), once(2, 5), once(3, 5)],
        Some(1) => vec![Effect::CancelTimer { id: 2 }],
        Some(_) => Vec::new(),
    };
    let mut clock = Clock::new(&guest);
    clock.at(5, &guest);
    assert_eq!(clock.ids(), [1, 3]);
    assert_eq!(clock.splits, 1);
    assert_eq!(clock.agent.timers(), 0);
    clock.at(1_000, &guest);
    assert_eq!(clock.ids(), [1, 3]);
}

#[test]
fn a_timer_set_anew_in_the_batch_it_fires_in_is_another() {
    let guest = |timer| match timer {
        None => vec![once(1, 5), once(2, 5)],
        Some(1) => {
            let later = Schedule::Once { delay_ms: 7 };
            vec![set_with(2, later, CatchUp::Once, b"\x09")]
        }
        Some(_) => Vec::new(),
    };
    let mut clock = Clock::new(&guest);
    clock.at(6, &guest);
    clock.at(12, &guest);
    assert_eq!(clock.fired, [(1, 6, 0)]);
    clock.at(13, &guest);
    assert_eq!(clock.fired, [(1, 6, 0), (2, 13, 9)]);
}

/// The firing of the old one that waits is as good as that of the new one.
#[test]
fn a_timer_set_anew_for_the_same_instant_fires_once() {
    let guest = |timer| match timer {
        None => vec![once(1, 5), once(2, 5)],
        Some(1) => vec![once(2, 0)],
        Some(_) => Vec::new(),
    };
    let mut clock = Clock::new(&guest);
    clock.policy.batch_messages = 1;
    clock.agent.tick(Millis(5), &mut Actions::default());
    let batch = clock.begin(5).unwrap();
    let (answer, fired) = run(&batch, 5, &guest);
    clock.commit(batch, &answer).unwrap();
    assert_eq!(fired, [(1, 5, 0)]);
    clock.policy.batch_messages = 10;
    clock.at(5, &guest);
    assert_eq!(clock.ids(), [2]);
}

/// Nothing is undone where nobody is overtaken: a timer may see to itself.
#[test]
fn a_timer_may_cancel_itself_and_set_itself_anew() {
    let guest = |timer| match timer {
        None => vec![every(1, 5, CatchUp::Once), once(2, 5), once(3, 6)],
        Some(1) => vec![Effect::CancelTimer { id: 1 }],
        Some(2) => vec![once(2, 5)],
        Some(_) => vec![Effect::CancelTimer { id: 7 }],
    };
    let mut clock = Clock::new(&guest);
    clock.at(6, &guest);
    clock.at(20, &guest);
    assert_eq!(clock.fired, [(1, 6, 0), (2, 6, 0), (3, 6, 0), (2, 20, 0)]);
    assert_eq!(clock.splits, 0);
}

#[test]
fn due_times_that_passed_fire_once_or_each_or_not() {
    let guest = |timer: Option<u64>| match timer {
        None => vec![
            every(1, 10, CatchUp::Once),
            every(2, 10, CatchUp::All),
            every(3, 10, CatchUp::Skip { late_ms: 15 }),
            set(
                4,
                Schedule::Once { delay_ms: 10 },
                CatchUp::Skip { late_ms: 15 },
            ),
        ],
        Some(_) => Vec::new(),
    };
    let mut clock = Clock::new(&guest);
    clock.at(54, &guest);
    let mut ids = clock.ids();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 2, 2, 2, 2, 3, 3]);
    assert_eq!(clock.agent.counters.timers_missed, 2);
    assert_eq!(
        clock.agent.timers(),
        3,
        "the one that fires once was too late"
    );
    clock.at(60, &guest);
    assert_eq!(clock.fired.len(), 8 + 3);
}

/// An agent that only its journal is left of is woken for what came due and had no turn.
#[test]
fn what_is_under_way_counts_for_the_wake_after_a_crash() {
    let guest = |timer: Option<u64>| match timer {
        None => vec![once(1, 5), once(2, 50)],
        Some(_) => Vec::new(),
    };
    let mut clock = Clock::new(&guest);
    assert_eq!(clock.agent.next_wake_recovered(), Millis(5));
    clock.agent.tick(Millis(5), &mut Actions::default());
    assert_eq!(clock.agent.next_wake_recovered(), Millis(0));
    let batch = clock.begin(5).unwrap();
    assert_eq!(clock.agent.next_wake_recovered(), Millis(0));
    let (answer, _) = run(&batch, 5, &guest);
    clock.commit(batch, &answer).unwrap();
    assert_eq!(clock.agent.next_wake_recovered(), Millis(50));
}

#[test]
fn a_bad_cron_schedule_is_refused_and_says_which_field() {
    let guest = |_| vec![set(1, Schedule::Cron("0 25 * * *"), CatchUp::Once)];
    let mut clock = Clock::new(&|_| vec![once(9, 5)]);
    clock.agent.tick(Millis(5), &mut Actions::default());
    let batch = clock.begin(5).unwrap();
    let (answer, _) = run(&batch, 5, &guest);
    let (batch, bad) = *clock.commit(batch, &answer).unwrap_err();
    let BadAnswer::Cron(cron) = &bad else {
        panic!("{bad}");
    };
    assert!(matches!(cron, BadCron::Field { field, .. } if *field == "hour"));
    let text = bad.to_string();
    assert!(text.contains("`25` is no hour: write 0 to 23"), "{text}");
    clock.agent.put_back(batch);
    assert_eq!(clock.agent.timers(), 1, "nothing was changed");
}

#[test]
fn an_agent_has_no_more_timers_than_its_kind_allows() {
    let guest = |timer: Option<u64>| match timer {
        None => vec![once(1, 5), once(2, 50)],
        Some(_) => (2..=5).map(|id| once(id, 10)).collect(),
    };
    let mut clock = Clock::new(&guest);
    clock.policy.timers = 4;
    clock.agent.tick(Millis(5), &mut Actions::default());
    let batch = clock.begin(5).unwrap();
    let (answer, _) = run(&batch, 5, &guest);
    let (_, bad) = *clock.commit(batch, &answer).unwrap_err();
    let bound = BadAnswer::TooMany {
        what: "timers",
        scope: "agent",
        found: 5,
        bound: 4,
    };
    assert_eq!(bad, bound);
}
