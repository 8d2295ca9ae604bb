//! The limiters of one target, as one.

use smallvec::SmallVec;

use crate::Millis;
use crate::flow::shared::{LeaseAsk, LeaseGrant, RateTenant, SharedView, TenantLife};
use crate::flow::{
    Breaker, BreakerView, Bulkhead, Cost, FlowPolicy, NoPlace, Outcome, Permit, Place, Ready,
    SlidingWindow, TokenBucket, Tripped, Unit,
};

/// Which limiter keeps something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The token bucket.
    Rate,
    /// The sliding window.
    Window,
    /// The rate all nodes share.
    Shared,
    /// The bulkhead.
    Bulkhead,
    /// Others wait, and came before.
    Others,
}

/// Why something may not pass, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowRefusal {
    /// The target is not well.
    #[error("{0}")]
    Breaker(Tripped),
    /// It is more than may ever pass at once.
    #[error("it counts for {cost}, and at most {most} may pass at once")]
    TooLarge {
        /// By which limiter.
        limit: Limit,
        /// What it counts for there.
        cost: u64,
        /// What may pass.
        most: u64,
    },
    /// It would have to wait, and may not.
    #[error("{0}")]
    NoPlace(NoPlace),
}

impl FlowRefusal {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Breaker(_) => "breaker-open",
            Self::TooLarge { .. } => "over-limit",
            Self::NoPlace(NoPlace::Full { .. }) => "bulkhead-full",
            Self::NoPlace(NoPlace::TooLong { .. }) => "waited-too-long",
        }
    }
}

/// Why something does not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may later.
    Delayed {
        /// As [`Admission::Delayed`] has it.
        until: Millis,
        /// What keeps it back longest.
        by: Limit,
    },
    /// It may not.
    Refused(FlowRefusal),
}

/// What became of something that wanted to pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It passes.
    Admitted(Pass),
    /// Not now.
    Delayed {
        /// Ask again then, or after [`FlowGate::finished`] or
        /// [`FlowGate::lease_granted`] if that comes first; [`Millis::NEVER`] if
        /// only they can tell.
        until: Millis,
        /// What keeps it back longest.
        by: Limit,
        /// The place it came with.
        place: Option<Place>,
    },
    /// Not at all; its place, if it had one, is given back.
    Refused(FlowRefusal),
}

/// That something passed; give it back to [`FlowGate::finished`] when it has ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a gate that does not hear of the end takes it to be under way for ever"]
pub struct Pass {
    permit: Option<Permit>,
}

/// What a gate has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// What passed.
    pub admitted: u64,
    /// Times something was told to come later.
    pub delayed: u64,
    /// Refused because the breaker was open.
    pub refused_breaker: u64,
    /// Refused because it was larger than may ever pass.
    pub refused_large: u64,
    /// Refused because too many waited.
    pub refused_full: u64,
    /// Refused because it waited too long, or would have.
    pub refused_late: u64,
    /// Of what passed: ended well.
    pub ok: u64,
    /// Of what passed: failed.
    pub failed: u64,
    /// Of what passed: ended otherwise.
    pub ignored: u64,
}

impl GateCounters {
    /// Name and value, for people.
    pub fn list(&self) -> [(&'static str, u64); 9] {
        [
            ("admitted", self.admitted),
            ("delayed", self.delayed),
            ("refused-breaker", self.refused_breaker),
            ("refused-large", self.refused_large),
            ("refused-full", self.refused_full),
            ("refused-late", self.refused_late),
            ("ok", self.ok),
            ("failed", self.failed),
            ("ignored", self.ignored),
        ]
    }

    fn hold(&mut self, hold: &Hold) {
        let counter = match hold {
            Hold::Delayed { .. } => &mut self.delayed,
            Hold::Refused(FlowRefusal::Breaker(_)) => &mut self.refused_breaker,
            Hold::Refused(FlowRefusal::TooLarge { .. }) => &mut self.refused_large,
            Hold::Refused(FlowRefusal::NoPlace(NoPlace::Full { .. })) => &mut self.refused_full,
            Hold::Refused(FlowRefusal::NoPlace(NoPlace::TooLong { .. })) => &mut self.refused_late,
        };
        *counter += 1;
    }

    fn end(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::Ignored => &mut self.ignored,
        };
        *counter += 1;
    }
}

/// How much of something is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What is counted.
    pub unit: Unit,
    /// Units that may pass now.
    pub left: u64,
    /// Most units that may pass at once.
    pub of: u64,
}

/// A gate as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateView {
    /// The token bucket.
    pub rate: Option<Fill>,
    /// The sliding window.
    pub window: Option<Fill>,
    /// The share in a rate that all nodes keep together.
    pub shared: Option<SharedView>,
    /// The circuit breaker.
    pub breaker: Option<BreakerView>,
    /// Messages under way.
    pub running: u32,
    /// How many may be, if that is bounded.
    pub concurrent: Option<u32>,
    /// Messages that wait in a place of the gate's.
    pub waiting: u32,
    /// What was counted since the gate was made.
    pub counters: GateCounters,
}

/// The limiters of one target. A message passes all of them or none.
///
/// ```text
///   admit ──▶ Admitted(pass) ─────────────────────────▶ finished(pass, outcome)
///     │                          ▲
///     ├─▶ Delayed ─▶ wait ─▶ place ─▶ admit_waiting ─▶ Delayed { place } ─▶ …
///     │                          └─▶ forgo
///     └─▶ Refused
/// ```
///
/// The gate holds no messages. Where they stay when delayed is the caller's
/// business: in a mailbox or an outbox that has bounds of its own, from where
/// [`FlowGate::admit`] is simply called again; or in a queue of the caller's,
/// each with a [`Place`], which the bulkhead bounds. Nobody passes who comes
/// while others hold places. The caller lets those ask again in the order they
/// came, and stops at the first that is delayed again.
#[derive(Debug)]
pub struct FlowGate {
    rate: Option<(Unit, TokenBucket)>,
    window: Option<(Unit, SlidingWindow)>,
    shared: Option<(Unit, RateTenant)>,
    breaker: Option<Breaker>,
    bulkhead: Bulkhead,
    is_bounded: bool,
    /// The latest instant that one who waits was told.
    told: Millis,
    now: Millis,
    counters: GateCounters,
}

impl FlowGate {
    /// A gate that nothing has passed. `part` and `life` are what a shared rate
    /// knows it by, see [`RateTenant::new`]; without one they do not matter.
    pub fn new(policy: &FlowPolicy, part: u16, life: TenantLife, now: Millis) -> Self {
        let rate = policy.rate.map(|policy| {
            let bucket = TokenBucket::new(policy.rate, policy.burst, now);
            (policy.unit, bucket)
        });
        let window = policy.window.map(|policy| {
            let window = SlidingWindow::new(policy.limit, policy.per, now);
            (policy.unit, window)
        });
        let shared = policy.shared.as_ref().map(|policy| {
            let tenant = RateTenant::new(policy, part, life, now);
            (policy.unit, tenant)
        });
        let bulkhead = policy.bulkhead.as_ref();
        Self {
            rate,
            window,
            shared,
            breaker: policy
                .breaker
                .as_ref()
                .map(|policy| Breaker::new(policy, now)),
            bulkhead: bulkhead.map_or_else(Bulkhead::unbounded, Bulkhead::new),
            is_bounded: bulkhead.is_some(),
            told: Millis(0),
            now,
            counters: GateCounters::default(),
        }
    }

    /// Lets something pass that has not waited in a place, if it may.
    pub fn admit(&mut self, now: Millis, cost: Cost) -> Admission {
        match self.weigh(now, cost, false) {
            Ok(()) => Admission::Admitted(self.go(cost)),
            Err(hold) => {
                self.counters.hold(&hold);
                match hold {
                    Hold::Delayed { until, by } => Admission::Delayed {
                        until,
                        by,
                        place: None,
                    },
                    Hold::Refused(why) => Admission::Refused(why),
                }
            }
        }
    }

    /// A place to wait in for something that is delayed until that instant.
    pub fn wait(&mut self, now: Millis, until: Millis) -> Result<Place, FlowRefusal> {
        let now = self.at(now);
        match self.bulkhead.wait(now, until) {
            Ok(place) => {
                self.told = self.told.max(until);
                Ok(place)
            }
            Err(why) => {
                let why = FlowRefusal::NoPlace(why);
                self.counters.hold(&Hold::Refused(why));
                Err(why)
            }
        }
    }

    /// Lets something pass that has waited, if it may.
    pub fn admit_waiting(&mut self, place: Place, now: Millis, cost: Cost) -> Admission {
        let now = self.at(now);
        let still = self.bulkhead.still_waits(&place, now);
        let weighed = match still {
            Ok(()) => self.weigh(now, cost, true),
            Err(why) => Err(Hold::Refused(FlowRefusal::NoPlace(why))),
        };
        let hold = match weighed {
            Ok(()) => {
                self.forgo(place);
                return Admission::Admitted(self.go(cost));
            }
            Err(hold) => hold,
        };
        self.counters.hold(&hold);
        match hold {
            Hold::Delayed { until, by } => {
                self.told = self.told.max(until);
                Admission::Delayed {
                    until: until.min(place.deadline()),
                    by,
                    place: Some(place),
                }
            }
            Hold::Refused(why) => {
                self.forgo(place);
                Admission::Refused(why)
            }
        }
    }

    /// Something that waits does not want to pass any more.
    pub fn forgo(&mut self, place: Place) {
        self.bulkhead.forgo(place);
        if self.bulkhead.waiting() == 0 {
            self.told = Millis(0);
        }
    }

    /// Whether anything holds a place.
    pub fn has_waiting(&self) -> bool {
        self.bulkhead.waiting() > 0
    }

    /// Takes note of how something that passed has ended. Afterwards what waits
    /// may ask again.
    pub fn finished(&mut self, pass: Pass, outcome: Outcome, now: Millis) {
        let now = self.at(now);
        self.bulkhead.leave();
        self.counters.end(outcome);
        if let (Some(breaker), Some(permit)) = (&mut self.breaker, pass.permit) {
            breaker.finished(permit, outcome, now);
        }
    }

    /// What is to be sent to the owner of the shared rate; to be asked after
    /// each call that lets something pass or not, and at [`FlowGate::lease_wake`].
    pub fn lease_ask(&mut self, now: Millis) -> Option<LeaseAsk> {
        let now = self.at(now);
        let (_, tenant) = self.shared.as_mut()?;
        tenant.poll(now)
    }

    /// Takes the owner's answer. Afterwards what waits may ask again.
    pub fn lease_granted(&mut self, grant: &LeaseGrant, now: Millis) {
        let now = self.at(now);
        if let Some((_, tenant)) = &mut self.shared {
            tenant.granted(grant, now);
        }
    }

    /// When [`FlowGate::lease_ask`] next has something to send, if nothing else happens before.
    pub fn lease_wake(&self) -> Millis {
        let tenant = self.shared.as_ref();
        tenant.map_or(Millis::NEVER, |(_, tenant)| tenant.wake())
    }

    /// Everything an operator may want to see.
    pub fn view(&self, now: Millis) -> GateView {
        let now = now.max(self.now);
        GateView {
            rate: self.rate.as_ref().map(|(unit, bucket)| Fill {
                unit: *unit,
                left: bucket.level(now),
                of: bucket.burst(),
            }),
            window: self.window.as_ref().map(|(unit, window)| Fill {
                unit: *unit,
                left: window.free(now),
                of: window.limit(),
            }),
            shared: self.shared.as_ref().map(|(_, tenant)| tenant.view(now)),
            breaker: self.breaker.as_ref().map(|breaker| breaker.view(now)),
            running: self.bulkhead.running(),
            concurrent: self.is_bounded.then(|| self.bulkhead.concurrent()),
            waiting: self.bulkhead.waiting(),
            counters: self.counters,
        }
    }

    /// Whether a new gate would decide as this one does, so that it may be
    /// dropped and made again when needed; only what it counted would be lost.
    pub fn is_fresh(&self, now: Millis) -> bool {
        let now = now.max(self.now);
        let rate = self.rate.as_ref();
        let window = self.window.as_ref();
        let breaker = self.breaker.as_ref();
        self.bulkhead.running() == 0
            && self.bulkhead.waiting() == 0
            && rate.is_none_or(|(_, bucket)| bucket.is_full(now))
            && window.is_none_or(|(_, window)| window.free(now) == window.limit())
            && breaker.is_none_or(|breaker| breaker.is_fresh(now))
            && self.shared.as_ref().is_none_or(|(_, tenant)| {
                let view = tenant.view(now);
                view.left == 0 && !view.asked
            })
    }

    /// Whether something may pass; nothing is taken or counted.
    fn weigh(&mut self, now: Millis, cost: Cost, has_waited: bool) -> Result<(), Hold> {
        self.weigh_here(now, cost, has_waited)?;
        self.weigh_shared(now, cost)
    }

    /// The same, as far as this node alone can tell.
    fn weigh_here(&mut self, now: Millis, cost: Cost, has_waited: bool) -> Result<(), Hold> {
        let now = self.at(now);
        if let Some(breaker) = &mut self.breaker {
            let tripped = breaker.check(now);
            tripped.map_err(|tripped| Hold::Refused(FlowRefusal::Breaker(tripped)))?;
        }
        let mut delay = Delay::default();
        if let Some((unit, bucket)) = &mut self.rate {
            let cost = cost.of(*unit);
            delay.heed(Limit::Rate, cost, bucket.ready(now, cost))?;
        }
        if let Some((unit, window)) = &mut self.window {
            let cost = cost.of(*unit);
            delay.heed(Limit::Window, cost, window.ready(now, cost))?;
        }
        if let Some((unit, tenant)) = &mut self.shared {
            let cost = cost.of(*unit);
            delay.heed(Limit::Shared, cost, tenant.fits(cost))?;
        }
        if !self.bulkhead.has_room() {
            delay.until(Millis::NEVER, Limit::Bulkhead);
        }
        if !has_waited && self.bulkhead.waiting() > 0 {
            delay.until(self.told.max(now + Millis(1)), Limit::Others);
        }
        delay.end()
    }

    /// Whether the share in the common rate lets it pass. Asked last: what could
    /// not pass anyway is not to be leased for.
    fn weigh_shared(&mut self, now: Millis, cost: Cost) -> Result<(), Hold> {
        let now = self.at(now);
        let mut delay = Delay::default();
        if let Some((unit, tenant)) = &mut self.shared {
            let cost = cost.of(*unit);
            delay.heed(Limit::Shared, cost, tenant.ready(now, cost))?;
        }
        delay.end()
    }

    /// Something passes that [`FlowGate::weigh`] just let.
    fn go(&mut self, cost: Cost) -> Pass {
        let now = self.now;
        if let Some((unit, bucket)) = &mut self.rate {
            bucket.take(now, cost.of(*unit));
        }
        if let Some((unit, window)) = &mut self.window {
            window.take(now, cost.of(*unit));
        }
        if let Some((unit, tenant)) = &mut self.shared {
            tenant.take(now, cost.of(*unit));
        }
        self.bulkhead.go();
        self.counters.admitted += 1;
        Pass {
            permit: self.breaker.as_mut().map(Breaker::begin),
        }
    }

    fn at(&mut self, now: Millis) -> Millis {
        self.now = self.now.max(now);
        self.now
    }
}

/// The longest of several delays.
#[derive(Default)]
struct Delay(Option<(Millis, Limit)>);

impl Delay {
    fn heed(&mut self, limit: Limit, cost: u64, ready: Ready) -> Result<(), Hold> {
        match ready {
            Ready::Now => {}
            Ready::At(until) => self.until(until, limit),
            Ready::TooMuch(most) => {
                let why = FlowRefusal::TooLarge { limit, cost, most };
                return Err(Hold::Refused(why));
            }
        }
        Ok(())
    }

    fn until(&mut self, until: Millis, by: Limit) {
        if self.0.is_none_or(|(other, _)| other < until) {
            self.0 = Some((until, by));
        }
    }

    fn end(self) -> Result<(), Hold> {
        let Self(longest) = self;
        longest.map_or(Ok(()), |(until, by)| Err(Hold::Delayed { until, by }))
    }
}

/// What holds something up that is to pass several gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The first that refuses, else the one that delays longest; counted from 0.
    pub gate: usize,
    /// How.
    pub hold: Hold,
}

/// Lets something pass several gates (its agent's, its kind's, its peer's), all
/// of them or none. What holds it up is counted at one gate. `waits_at` is the
/// gate at which it holds a place, counted from 0, and is the first of those that
/// do: there it need not let others go before it. Its place is given back with
/// [`FlowGate::forgo`].
pub fn admit_all(
    gates: &mut [&mut FlowGate],
    waits_at: Option<usize>,
    now: Millis,
    cost: Cost,
) -> Result<SmallVec<[Pass; 2]>, Held> {
    let held = longest_hold(gates, |at, gate| {
        gate.weigh_here(now, cost, waits_at == Some(at))
    })
    .or_else(|| longest_hold(gates, |_, gate| gate.weigh_shared(now, cost)));
    let Some(held) = held else {
        return Ok(gates.iter_mut().map(|gate| gate.go(cost)).collect());
    };
    if let Some(gate) = gates.get_mut(held.gate) {
        gate.counters.hold(&held.hold);
    }
    Err(held)
}

/// Which of the gates holds something up most, and how.
fn longest_hold(
    gates: &mut [&mut FlowGate],
    mut weigh: impl FnMut(usize, &mut FlowGate) -> Result<(), Hold>,
) -> Option<Held> {
    let mut longest: Option<(Millis, Held)> = None;
    for (at, gate) in gates.iter_mut().enumerate() {
        let Err(hold) = weigh(at, gate) else {
            continue;
        };
        let held = Held { gate: at, hold };
        let Hold::Delayed { until, .. } = hold else {
            return Some(held);
        };
        if longest.is_none_or(|(other, _)| other < until) {
            longest = Some((until, held));
        }
    }
    longest.map(|(_, held)| held)
}
