//! The gate: its limiters, as one.

use std::collections::VecDeque;

use phoenix_core::flow::{
    Admission, Breaker, BreakerPolicy, BulkheadPolicy, Cost, FlowGate, FlowPolicy, FlowRefusal,
    Held, Hold, Limit, LimitName, NoPlace, Outcome, Pass, Permit, Place, Rate, RateOwner,
    RatePolicy, Ready, SharedRatePolicy, SlidingWindow, TenantLife, TokenBucket, Unit,
    WindowPolicy, admit_all,
};
use phoenix_core::{Millis, NodeId};
use proptest::prelude::*;

use crate::{CASES, Time, step};

const LIFE: TenantLife = TenantLife { boot: 1, count: 1 };

fn gate(policy: &FlowPolicy) -> FlowGate {
    policy.validate().unwrap();
    FlowGate::new(policy, 0, LIFE, Millis(0))
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Admit, and wait in a place where delayed.
    Come(Cost, bool),
    /// The longest waiting asks again.
    Again,
    Forgo(usize),
    Finish(usize, Outcome),
}

fn doing() -> impl Strategy<Value = Doing> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Ok),
        2 => Just(Outcome::Failed("timeout")),
        1 => Just(Outcome::Ignored),
    ];
    let cost = (0_u64..3, 0_u64..40).prop_map(|(messages, bytes)| Cost { messages, bytes });
    prop_oneof![
        4 => (cost, any::<bool>()).prop_map(|(cost, waits)| Doing::Come(cost, waits)),
        3 => Just(Doing::Again),
        1 => (0_usize..8).prop_map(Doing::Forgo),
        3 => (0_usize..8, outcome).prop_map(|(which, outcome)| Doing::Finish(which, outcome)),
    ]
}

prop_compose! {
    fn policy()(
        rate in prop::option::of((1_u64..20, 1_u64..50, 1_u64..30)),
        window in prop::option::of((1_u64..30, 1_u64..100)),
        breaker in prop::option::of((1_u32..5, 1_u32..=100, 1_u32..3)),
        bulkhead in prop::option::of((1_u32..5, 0_u32..4, 1_u64..90)),
    ) -> FlowPolicy {
        FlowPolicy {
            rate: rate.map(|(amount, per, burst)| RatePolicy {
                unit: Unit::Bytes,
                rate: Rate { amount, per: Millis(per) },
                burst,
            }),
            window: window.map(|(limit, per)| WindowPolicy {
                unit: Unit::Messages,
                limit,
                per: Millis(per),
            }),
            shared: None,
            breaker: breaker.map(|(calls, failures, probes)| BreakerPolicy {
                window: Millis(50),
                calls,
                failures,
                open_for: Millis(20),
                open_at_most: Millis(40),
                probes,
                probe_timeout: Millis(30),
            }),
            bulkhead: bulkhead.map(|(concurrent, waiting, longest)| BulkheadPolicy {
                concurrent,
                waiting,
                longest_wait: Millis(longest),
            }),
        }
    }
}

/// The limiters side by side, each asked whether it would before any is told it has.
struct Oracle {
    bucket: Option<TokenBucket>,
    window: Option<SlidingWindow>,
    breaker: Option<Breaker>,
    bulkhead: BulkheadPolicy,
    permits: Vec<Option<Permit>>,
    /// When each that waits began to, and what it costs.
    waiting: VecDeque<(u64, Cost)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Admitted,
    /// By limiters of time, until then.
    Delayed(Millis),
    BreakerOpen,
    TooLarge(Limit),
}

impl Oracle {
    fn new(policy: &FlowPolicy, now: Millis) -> Self {
        let free = BulkheadPolicy {
            concurrent: u32::MAX,
            waiting: u32::MAX,
            longest_wait: Millis::NEVER,
        };
        let rate = policy.rate;
        let window = policy.window;
        let breaker = policy.breaker.as_ref();
        Self {
            bucket: rate.map(|it| TokenBucket::new(it.rate, it.burst, now)),
            window: window.map(|it| SlidingWindow::new(it.limit, it.per, now)),
            breaker: breaker.map(|policy| Breaker::new(policy, now)),
            bulkhead: policy.bulkhead.unwrap_or(free),
            permits: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    fn expect(&mut self, now: Millis, cost: Cost, has_waited: bool) -> Expected {
        let breaker = self.breaker.clone();
        if breaker.is_some_and(|mut breaker| breaker.admit(now).is_err()) {
            return Expected::BreakerOpen;
        }
        let bucket = self.bucket.as_mut();
        let rate = bucket.map_or(Ready::Now, |bucket| bucket.ready(now, cost.bytes));
        let window = self.window.as_mut();
        let window = window.map_or(Ready::Now, |window| window.ready(now, cost.messages));
        let mut until = Millis(0);
        for (ready, limit) in [(rate, Limit::Rate), (window, Limit::Window)] {
            match ready {
                Ready::Now => {}
                Ready::At(at) => until = until.max(at),
                Ready::TooMuch(_) => return Expected::TooLarge(limit),
            }
        }
        if self.permits.len() >= self.bulkhead.concurrent as usize {
            return Expected::Delayed(Millis::NEVER);
        }
        if until > Millis(0) || (!has_waited && !self.waiting.is_empty()) {
            return Expected::Delayed(until);
        }
        Expected::Admitted
    }

    fn passes(&mut self, now: Millis, cost: Cost) {
        if let Some(bucket) = &mut self.bucket {
            assert!(bucket.take(now, cost.bytes));
        }
        if let Some(window) = &mut self.window {
            assert!(window.take(now, cost.messages));
        }
        let breaker = self.breaker.as_mut();
        self.permits.push(breaker.map(|it| it.admit(now).unwrap()));
    }

    fn is_over(&self, since: u64, now: u64) -> bool {
        now - since >= self.bulkhead.longest_wait.0
    }
}

/// What the gate said, in the oracle's words; passes and places are kept.
fn said(
    admission: Admission,
    passes: &mut Vec<Pass>,
    kept: &mut Option<Place>,
) -> (Expected, Millis) {
    match admission {
        Admission::Admitted(pass) => {
            passes.push(pass);
            (Expected::Admitted, Millis(0))
        }
        Admission::Delayed { until, place, .. } => {
            *kept = place;
            (Expected::Delayed(until), until)
        }
        Admission::Refused(FlowRefusal::Breaker(_)) => (Expected::BreakerOpen, Millis(0)),
        Admission::Refused(FlowRefusal::TooLarge { limit, .. }) => {
            (Expected::TooLarge(limit), Millis(0))
        }
        Admission::Refused(FlowRefusal::NoPlace(why)) => panic!("{why}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn passes_all_of_them_or_none(
        policy in policy(),
        steps in prop::collection::vec((step(60), doing()), 1..60),
    ) {
        let mut time = Time::new(0);
        let mut gate = gate(&policy);
        let mut oracle = Oracle::new(&policy, time.shown());
        let mut passes = Vec::new();
        let mut places: VecDeque<Place> = VecDeque::new();
        for (by, doing) in steps {
            let is_void = match doing {
                Doing::Come(..) => false,
                Doing::Again | Doing::Forgo(_) => places.is_empty(),
                Doing::Finish(..) => passes.is_empty(),
            };
            if is_void {
                continue;
            }
            // To forgo a place takes no time.
            time.go(if matches!(doing, Doing::Forgo(_)) { 0 } else { by });
            let (shown, now) = (time.shown(), time.latest);
            // The gate's limiters all know the latest time that the gate was shown.
            let latest = Millis(now);
            match doing {
                Doing::Come(cost, waits) => {
                    let expected = oracle.expect(latest, cost, false);
                    let admission = gate.admit(shown, cost);
                    let (found, until) = said(admission, &mut passes, &mut None);
                    match (found, expected) {
                        (Expected::Delayed(until), Expected::Delayed(least)) => {
                            prop_assert!(until.0 > now && until >= least);
                            prop_assert!(until == least || !oracle.waiting.is_empty());
                        }
                        _ => prop_assert_eq!(found, expected),
                    }
                    if found == Expected::Admitted {
                        oracle.passes(latest, cost);
                    }
                    if matches!(found, Expected::Delayed(_)) && waits {
                        match gate.wait(shown, until) {
                            Ok(place) => {
                                prop_assert!(oracle.waiting.len() < oracle.bulkhead.waiting as usize);
                                places.push_back(place);
                                oracle.waiting.push_back((now, cost));
                            }
                            Err(FlowRefusal::NoPlace(NoPlace::Full { .. })) => {
                                prop_assert_eq!(oracle.waiting.len(), oracle.bulkhead.waiting as usize);
                            }
                            Err(_) => prop_assert!(oracle.is_over(now, until.0)),
                        }
                    }
                }
                Doing::Again => {
                    let place = places.pop_front().unwrap();
                    let (since, cost) = oracle.waiting.pop_front().unwrap();
                    let deadline = place.deadline();
                    let expected = oracle.expect(latest, cost, true);
                    let admission = gate.admit_waiting(place, shown, cost);
                    if oracle.is_over(since, now) {
                        let code = match admission {
                            Admission::Refused(why) => why.code(),
                            _ => "",
                        };
                        prop_assert_eq!(code, "waited-too-long");
                        continue;
                    }
                    let mut kept = None;
                    let (found, _) = said(admission, &mut passes, &mut kept);
                    let expected = match expected {
                        Expected::Delayed(until) => Expected::Delayed(until.min(deadline)),
                        expected => expected,
                    };
                    prop_assert_eq!(found, expected);
                    if found == Expected::Admitted {
                        oracle.passes(latest, cost);
                    }
                    prop_assert_eq!(kept.is_some(), matches!(found, Expected::Delayed(_)));
                    if let Some(place) = kept {
                        places.push_front(place);
                        oracle.waiting.push_front((since, cost));
                    }
                }
                Doing::Forgo(which) => {
                    let which = which % places.len();
                    gate.forgo(places.remove(which).unwrap());
                    oracle.waiting.remove(which);
                }
                Doing::Finish(which, outcome) => {
                    let which = which % passes.len();
                    gate.finished(passes.remove(which), outcome, shown);
                    let permit = oracle.permits.remove(which);
                    if let (Some(breaker), Some(permit)) = (&mut oracle.breaker, permit) {
                        breaker.finished(permit, outcome, latest);
                    }
                }
            }
            let view = gate.view(latest);
            prop_assert_eq!(view.running as usize, oracle.permits.len());
            prop_assert_eq!(view.waiting as usize, oracle.waiting.len());
            let left = oracle.bucket.as_ref().map(|bucket| bucket.level(latest));
            prop_assert_eq!(view.rate.map(|level| level.left), left);
            let left = oracle.window.as_ref().map(|window| window.free(latest));
            prop_assert_eq!(view.window.map(|level| level.left), left);
            prop_assert_eq!(view.breaker, oracle.breaker.as_ref().map(|it| it.view(latest)));
            if gate.is_fresh(latest) {
                // Nothing that is decided later tells the two apart.
                prop_assert!(passes.is_empty() && places.is_empty());
                gate = FlowGate::new(&policy, 0, LIFE, latest);
                oracle.breaker = policy.breaker.as_ref().map(|it| Breaker::new(it, latest));
            }
        }
        let counters = gate.view(time.shown()).counters;
        let ended = counters.ok + counters.failed + counters.ignored;
        prop_assert_eq!(counters.admitted, ended + passes.len() as u64);
    }
}

fn messages(amount: u64, burst: u64) -> FlowPolicy {
    FlowPolicy {
        rate: Some(RatePolicy {
            unit: Unit::Messages,
            rate: Rate {
                amount,
                per: Millis(1_000),
            },
            burst,
        }),
        ..FlowPolicy::default()
    }
}

fn admitted(admission: Admission) -> Pass {
    match admission {
        Admission::Admitted(pass) => pass,
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_gates_pass_as_one() {
    let mut wide = gate(&messages(10, 10));
    let mut narrow = gate(&messages(1, 1));
    let one = Cost::message(100);
    let mut both = |now| {
        admit_all(&mut [&mut wide, &mut narrow], None, Millis(now), one).map_err(|held| held.hold)
    };
    assert_eq!(both(0).unwrap().len(), 2);
    let held = Hold::Delayed {
        until: Millis(1_000),
        by: Limit::Rate,
    };
    assert_eq!(both(0), Err(held));
    assert_eq!(both(999), Err(held));
    assert_eq!(both(1_000).unwrap().len(), 2);
    let wide = wide.view(Millis(1_000));
    assert_eq!(
        (wide.rate.unwrap().left, wide.running),
        (9, 2),
        "what the narrow one held up cost the wide one nothing"
    );
    let counters = narrow.view(Millis(1_000)).counters;
    assert_eq!((counters.admitted, counters.delayed), (2, 2));
}

#[test]
fn a_refusal_says_what_would_pass() {
    let mut gate = gate(&messages(10, 5));
    let cost = Cost {
        messages: 6,
        bytes: 0,
    };
    let Admission::Refused(why) = gate.admit(Millis(0), cost) else {
        panic!("six of five passed");
    };
    assert_eq!(why.code(), "over-limit");
    assert_eq!(
        why.to_string(),
        "it counts for 6, and at most 5 may pass at once"
    );
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut gate = gate(&messages(1, 2));
    let two = Cost {
        messages: 2,
        bytes: 0,
    };
    let one = Cost::message(0);
    let first = admitted(gate.admit(Millis(0), two));
    let Admission::Delayed { until, .. } = gate.admit(Millis(0), two) else {
        panic!("four of two passed");
    };
    assert_eq!(until, Millis(2_000));
    let place = gate.wait(Millis(0), until).unwrap();
    // At 1,500 there is one: it is kept for the one that wants two.
    let Admission::Delayed { until, by, .. } = gate.admit(Millis(1_500), one) else {
        panic!("it was overtaken");
    };
    assert_eq!((until, by), (Millis(2_000), Limit::Others));
    let second = admitted(gate.admit_waiting(place, Millis(2_000), two));
    let Admission::Delayed { by, .. } = gate.admit(Millis(2_000), one) else {
        panic!("five of four passed");
    };
    assert_eq!(by, Limit::Rate);
    gate.finished(first, Outcome::Ok, Millis(2_000));
    gate.finished(second, Outcome::Ok, Millis(2_000));
    assert!(!gate.is_fresh(Millis(3_999)));
    assert!(gate.is_fresh(Millis(4_000)));
}

fn shared() -> SharedRatePolicy {
    SharedRatePolicy {
        name: LimitName::new("payments").unwrap(),
        unit: Unit::Messages,
        rate: Rate {
            amount: 100,
            per: Millis(1_000),
        },
        burst: 50,
        lease: Millis(200),
    }
}

#[test]
fn a_shared_rate_passes_what_it_was_leased() {
    let shared = shared();
    let mut owner = RateOwner::new(&shared, Millis(0));
    let mut gate = gate(&FlowPolicy {
        shared: Some(shared),
        ..FlowPolicy::default()
    });
    let one = Cost::message(0);
    let now = Millis(1_000);
    assert_eq!(gate.lease_wake(), Millis::NEVER, "nothing is asked ahead");
    assert_eq!(gate.lease_ask(now), None);
    let Admission::Delayed { until, by, .. } = gate.admit(now, one) else {
        panic!("it passed without a lease");
    };
    assert_eq!((until, by), (Millis(1_050), Limit::Shared));
    assert_eq!(gate.lease_wake(), now);
    let ask = gate.lease_ask(now).unwrap();
    assert_eq!((ask.want, ask.least), (1, 1));
    assert_eq!(gate.lease_ask(now), None, "one ask at a time");
    assert_eq!(
        gate.lease_ask(until).as_ref(),
        Some(&ask),
        "until it is heard"
    );
    let grant = owner.asked(NodeId(1), &ask, Millis(77_000)).unwrap();
    let level = owner.level(Millis(77_000));
    assert_eq!(level, 28, "50, less 20.1 that are kept back, less 1");
    let again = owner.asked(NodeId(1), &ask, Millis(77_001)).unwrap();
    assert_eq!(grant, again, "an ask that is repeated takes nothing more");
    assert_eq!(owner.level(Millis(77_001)), 29);
    gate.lease_granted(&grant, Millis(1_060));
    gate.lease_granted(&again, Millis(1_061));
    let pass = admitted(gate.admit(Millis(1_061), one));
    let Admission::Delayed { .. } = gate.admit(Millis(1_061), one) else {
        panic!("a grant that came twice was spent twice");
    };
    gate.finished(pass, Outcome::Ok, Millis(1_061));
    // The slice did not last: the next is twice as large. It ends on its own.
    let ask = gate.lease_ask(Millis(1_061)).unwrap();
    assert_eq!((ask.want, ask.least), (2, 1));
    let grant = owner.asked(NodeId(1), &ask, Millis(77_100)).unwrap();
    gate.lease_granted(&grant, Millis(1_070));
    assert_eq!(gate.view(Millis(1_259)).shared.unwrap().left, 2);
    let view = gate.view(Millis(1_260)).shared.unwrap();
    assert_eq!((view.left, view.granted, view.lapsed), (0, 3, 2));
}

#[test]
fn nothing_is_leased_for_what_could_not_pass() {
    let full = BulkheadPolicy {
        concurrent: 1,
        ..BulkheadPolicy::default()
    };
    let mut narrow = gate(&FlowPolicy {
        bulkhead: Some(full),
        ..FlowPolicy::default()
    });
    let mut both = gate(&FlowPolicy {
        bulkhead: Some(full),
        shared: Some(shared()),
        ..FlowPolicy::default()
    });
    let mut leased = gate(&FlowPolicy {
        shared: Some(shared()),
        ..FlowPolicy::default()
    });
    let (now, one) = (Millis(0), Cost::message(0));
    let pass = admitted(narrow.admit(now, one));
    let held = Hold::Delayed {
        until: Millis::NEVER,
        by: Limit::Bulkhead,
    };
    assert_eq!(
        admit_all(&mut [&mut leased, &mut narrow], None, now, one),
        Err(Held {
            gate: 1,
            hold: held
        })
    );
    assert_eq!(leased.lease_ask(now), None);
    narrow.finished(pass, Outcome::Ok, now);
    admit_all(&mut [&mut leased, &mut narrow], None, now, one).unwrap_err();
    assert!(leased.lease_ask(now).is_some());

    let Admission::Delayed { by, .. } = both.admit(now, one) else {
        panic!("it passed without a lease");
    };
    assert_eq!(by, Limit::Shared);
    let ask = both.lease_ask(now).unwrap();
    let mut owner = RateOwner::new(&shared(), Millis(0));
    let grant = owner.asked(NodeId(1), &ask, Millis(5_000)).unwrap();
    both.lease_granted(&grant, now);
    let _pass = admitted(both.admit(now, one));
    let Admission::Delayed { by, .. } = both.admit(now, one) else {
        panic!("two of one passed");
    };
    assert_eq!(by, Limit::Bulkhead);
    assert_eq!(both.lease_ask(now), None);
}
