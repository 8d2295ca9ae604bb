//! The circuit breaker.

use phoenix_core::Millis;
use phoenix_core::flow::{
    Breaker, BreakerCause, BreakerPolicy, BreakerState, BreakerView, Outcome, Permit,
};
use proptest::prelude::*;

use crate::{CASES, Time, extreme, step};

/// Lives through every millisecond, and keeps everything that ended.
struct Oracle {
    policy: BreakerPolicy,
    now: u64,
    state: BreakerState,
    since: u64,
    cause: BreakerCause,
    /// When it opened, since it was last closed.
    openings: Vec<u64>,
    /// What ended while closed: when, and whether well.
    ended: Vec<(u64, bool)>,
    /// Which of the changes of state something passed after.
    under_way: Vec<usize>,
    changes: usize,
    /// When the probes of this half-open time went, and those that are out.
    probes: Vec<u64>,
    probes_out: u32,
    probes_ok: u32,
    opened: u64,
    late: u64,
}

impl Oracle {
    fn new(policy: BreakerPolicy, now: u64) -> Self {
        Self {
            policy,
            now,
            state: BreakerState::Closed,
            since: now,
            cause: BreakerCause::Made,
            openings: Vec::new(),
            ended: Vec::new(),
            under_way: Vec::new(),
            changes: 0,
            probes: Vec::new(),
            probes_out: 0,
            probes_ok: 0,
            opened: 0,
            late: 0,
        }
    }

    fn open_for(&self) -> u64 {
        let mut wait = self.policy.open_for.0;
        for _ in 1..self.openings.len() {
            wait = (wait * 2).min(self.policy.open_at_most.0);
        }
        wait
    }

    fn change(&mut self, state: BreakerState, cause: BreakerCause) {
        self.state = state;
        self.since = self.now;
        self.cause = cause;
        self.changes += 1;
        self.ended.clear();
        self.probes.clear();
        self.probes_out = 0;
        self.probes_ok = 0;
    }

    fn open(&mut self, cause: BreakerCause) {
        self.openings.push(self.now);
        self.opened += 1;
        self.change(BreakerState::Open, cause);
    }

    fn live_until(&mut self, now: u64) {
        while self.now < now {
            self.now += 1;
            let last = self.probes.last().copied();
            if self.probes_out > 0
                && last.is_some_and(|last| self.now - last >= self.policy.probe_timeout.0)
            {
                self.open(BreakerCause::ProbeUnheard);
            }
            if self.state == BreakerState::Open && self.now - self.since >= self.open_for() {
                self.change(BreakerState::HalfOpen, self.cause);
            }
        }
    }

    fn admit(&mut self) -> bool {
        let may = match self.state {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => self.probes_out + self.probes_ok < self.policy.probes,
        };
        if may {
            self.under_way.push(self.changes);
            if self.state == BreakerState::HalfOpen {
                self.probes.push(self.now);
                self.probes_out += 1;
            }
        }
        may
    }

    /// Slots are what the promise of `window` allows, so the oracle has them too.
    fn counted(&self, well: bool) -> u64 {
        let width = self.policy.window.0.div_ceil(10);
        let oldest = (self.now + 1).saturating_sub(self.policy.window.0) / width;
        let counted = self.ended.iter().filter(|(at, _)| at / width >= oldest);
        counted.filter(|(_, ok)| *ok == well).count() as u64
    }

    fn finished(&mut self, which: usize, outcome: Outcome) {
        if self.under_way.remove(which) != self.changes {
            self.late += 1;
            return;
        }
        if self.state == BreakerState::HalfOpen {
            self.probes_out -= 1;
            match outcome {
                Outcome::Ok => self.probes_ok += 1,
                Outcome::Failed(last) => self.open(BreakerCause::ProbeFailed { last }),
                Outcome::Ignored => {}
            }
            let probes = self.probes_ok;
            if probes == self.policy.probes {
                self.openings.clear();
                self.change(BreakerState::Closed, BreakerCause::ProbesOk { probes });
            }
            return;
        }
        match outcome {
            Outcome::Ok => self.ended.push((self.now, true)),
            Outcome::Ignored => {}
            Outcome::Failed(last) => {
                self.ended.push((self.now, false));
                let (failed, ok) = (self.counted(false), self.counted(true));
                let of = failed + ok;
                if of >= u64::from(self.policy.calls)
                    && failed * 100 >= of * u64::from(self.policy.failures)
                {
                    self.open(BreakerCause::Failures { failed, of, last });
                }
            }
        }
    }

    fn view(&self) -> BreakerView {
        let until = Millis(self.since + self.open_for());
        BreakerView {
            state: self.state,
            since: Millis(self.since),
            cause: self.cause,
            until: (self.state == BreakerState::Open).then_some(until),
            ok: self.counted(true),
            failed: self.counted(false),
            probes: self.probes_out,
            probes_ok: self.probes_ok,
            opened: self.opened,
            late: self.late,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Admit,
    Finish(usize, Outcome),
}

fn doing() -> impl Strategy<Value = Doing> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Ok),
        4 => Just(Outcome::Failed("timeout")),
        1 => Just(Outcome::Failed("trapped")),
        1 => Just(Outcome::Ignored),
    ];
    prop_oneof![
        Just(Doing::Admit),
        (0_usize..8, outcome).prop_map(|(which, outcome)| Doing::Finish(which, outcome)),
    ]
}

prop_compose! {
    fn policy()(
        window in 10_u64..100,
        calls in 1_u32..6,
        failures in 1_u32..=100,
        open_for in 1_u64..30,
        more in prop_oneof![Just(0_u64), 0_u64..100],
        probes in 1_u32..4,
        probe_timeout in 1_u64..60,
    ) -> BreakerPolicy {
        BreakerPolicy {
            window: Millis(window),
            calls,
            failures,
            open_for: Millis(open_for),
            open_at_most: Millis(open_for + more),
            probes,
            probe_timeout: Millis(probe_timeout),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn does_what_the_oracle_does(
        policy in policy(),
        start in 0_u64..1_000,
        steps in prop::collection::vec((step(60), doing()), 1..80),
    ) {
        let mut time = Time::new(start);
        let mut breaker = Breaker::new(&policy, time.shown());
        let mut oracle = Oracle::new(policy, start);
        let mut permits: Vec<Permit> = Vec::new();
        for (by, doing) in steps {
            if matches!(doing, Doing::Finish(..)) && permits.is_empty() {
                continue;
            }
            time.go(by);
            oracle.live_until(time.latest);
            match doing {
                Doing::Admit => match breaker.admit(time.shown()) {
                    Ok(permit) => {
                        prop_assert!(oracle.admit(), "it must not pass");
                        permits.push(permit);
                    }
                    Err(tripped) => {
                        prop_assert!(!oracle.admit(), "it must pass: {}", tripped);
                        prop_assert_eq!(tripped.state, oracle.state);
                        prop_assert_eq!(tripped.cause, oracle.cause);
                        prop_assert!(tripped.until.0 > time.latest);
                        // Time alone makes it pass then, and not before.
                        let mut then = breaker.clone();
                        prop_assert!(then.admit(tripped.until - Millis(1)).is_err());
                        let unheard = tripped.state == BreakerState::HalfOpen;
                        prop_assert_eq!(then.admit(tripped.until).is_err(), unheard);
                    }
                },
                Doing::Finish(which, outcome) => {
                    let which = which % permits.len();
                    breaker.finished(permits.remove(which), outcome, time.shown());
                    oracle.finished(which, outcome);
                }
            }
            prop_assert_eq!(breaker.view(Millis(time.latest)), oracle.view());
        }
    }

    #[test]
    fn no_number_breaks_it(
        (window, open_for, open_at_most, probe_timeout) in (extreme(), extreme(), extreme(), extreme()),
        (calls, failures, probes) in any::<(u32, u32, u32)>(),
        steps in prop::collection::vec((extreme(), doing()), 1..30),
    ) {
        let policy = BreakerPolicy {
            window: Millis(window),
            calls: calls % 4,
            failures,
            open_for: Millis(open_for),
            open_at_most: Millis(open_at_most),
            probes: probes % 3,
            probe_timeout: Millis(probe_timeout),
        };
        let mut breaker = Breaker::new(&policy, Millis(0));
        let mut permits = Vec::new();
        let mut latest = 0;
        for (now, doing) in steps {
            latest = latest.max(now);
            match doing {
                Doing::Admit => permits.extend(breaker.admit(Millis(now)).ok()),
                Doing::Finish(which, outcome) if !permits.is_empty() => {
                    let permit = permits.remove(which % permits.len());
                    breaker.finished(permit, outcome, Millis(now));
                }
                Doing::Finish(..) => {}
            }
            let view = breaker.view(Millis(now));
            prop_assert!(view.since.0 <= latest);
            prop_assert!(view.probes.saturating_add(view.probes_ok) <= policy.probes.max(1));
        }
    }
}

/// The way of a target that falls ill and gets well, as an operator reads it.
#[test]
fn its_state_and_cause_can_be_read() {
    let policy = BreakerPolicy {
        calls: 4,
        ..BreakerPolicy::default()
    };
    let mut breaker = Breaker::new(&policy, Millis(0));
    let mut ends = |now: u64, outcome| {
        let permit = breaker.admit(Millis(now)).unwrap();
        breaker.finished(permit, outcome, Millis(now));
        let view = breaker.view(Millis(now));
        let said = breaker.admit(Millis(now)).err().map(|it| it.to_string());
        (view.state, view.since.0, view.cause.to_string(), said)
    };
    for now in 1..=2 {
        let made = "nothing has happened".to_owned();
        assert_eq!(
            ends(now, Outcome::Ok),
            (BreakerState::Closed, 0, made, None)
        );
    }
    ends(3, Outcome::Failed("trapped"));
    let cause = "2 of 4 failed, the last with timeout".to_owned();
    let said = format!("the circuit breaker is open: {cause}");
    assert_eq!(
        ends(4, Outcome::Failed("timeout")),
        (BreakerState::Open, 4, cause, Some(said))
    );
    let cause = "a probe failed with timeout".to_owned();
    let said = format!("the circuit breaker is open: {cause}");
    assert_eq!(
        ends(5_004, Outcome::Failed("timeout")),
        (BreakerState::Open, 5_004, cause.clone(), Some(said)),
    );
    assert_eq!(
        ends(15_004, Outcome::Ok),
        (BreakerState::HalfOpen, 15_004, cause, None)
    );
}
