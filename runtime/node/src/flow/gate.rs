//! One gate, and letting something pass several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use phoenix_core::flow::{
    self, Cost, FlowGate, FlowPolicy, FlowRefusal, FlowTarget, GateInfo, Held, Hold, LastFailure,
    LeaseAsk, LeaseGrant, Outcome, Pass, Place, TenantLife, TurnedDown,
};
use phoenix_core::{Envelope, Millis};
use smallvec::SmallVec;

use crate::flow::nodes::UnderWay;

/// What something that passed gates holds of each, in the gates' order.
pub(crate) type Passes = SmallVec<[Pass; 2]>;

/// A gate of this node's.
pub(crate) struct Gate {
    target: FlowTarget,
    policy: Arc<FlowPolicy>,
    part: u16,
    /// Whether somebody holds a place, and wants to hear when others leave.
    is_awaited: AtomicBool,
    state: Mutex<State>,
    /// What passed on its way to a node and has not ended, if this is one's gate.
    pub(super) under_way: Mutex<UnderWay>,
}

struct State {
    gate: FlowGate,
    last: Option<LastFailure>,
}

impl Gate {
    pub(super) fn new(
        target: FlowTarget,
        policy: Arc<FlowPolicy>,
        part: u16,
        life: TenantLife,
        now: Millis,
    ) -> Self {
        let gate = FlowGate::new(&policy, part, life, now);
        Self {
            target,
            policy,
            part,
            is_awaited: AtomicBool::new(false),
            state: Mutex::new(State { gate, last: None }),
            under_way: Mutex::default(),
        }
    }

    /// What it stands before.
    pub(crate) fn target(&self) -> &FlowTarget {
        &self.target
    }

    /// What made it.
    pub(crate) fn policy(&self) -> &Arc<FlowPolicy> {
        &self.policy
    }

    /// What a sender is told of being held up here for good.
    pub(crate) fn turned_down(&self, hold: &Hold, now: Millis) -> TurnedDown {
        TurnedDown::new(&self.target, hold, now)
    }

    /// A place to wait in.
    pub(crate) fn wait(&self, now: Millis, until: Millis) -> Result<Place, FlowRefusal> {
        let mut state = self.state.lock();
        let place = state.gate.wait(now, until)?;
        self.is_awaited.store(true, Ordering::Release);
        Ok(place)
    }

    /// Gives a place back.
    pub(crate) fn forgo(&self, place: Place) {
        self.state.lock().gate.forgo(place);
    }

    /// Whether somebody waits who may pass now that something has changed.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Acquire)
    }

    /// Nobody waits any more.
    pub(crate) fn is_left(&self) {
        let state = self.state.lock();
        let waiting = state.gate.has_waiting();
        self.is_awaited.store(waiting, Ordering::Release);
    }

    /// Takes note of how something that passed has ended.
    pub(crate) fn finished(
        &self,
        pass: Pass,
        outcome: Outcome,
        why: Option<&Arc<str>>,
        now: Millis,
    ) {
        let mut state = self.state.lock();
        state.gate.finished(pass, outcome, now);
        if let Outcome::Failed(code) = outcome {
            state.last = Some(LastFailure {
                at: now,
                code: code.into(),
                text: why.cloned().unwrap_or_else(|| "".into()),
            });
        }
    }

    /// The number that tells it apart from the node's other tenants of its limit.
    pub(super) fn part(&self) -> u16 {
        self.part
    }

    /// What is to be sent to the owner of its shared rate.
    pub(super) fn lease_ask(&self, now: Millis) -> Option<LeaseAsk> {
        self.state.lock().gate.lease_ask(now)
    }

    /// The same, if it is time that makes it.
    pub(super) fn late_lease_ask(&self, now: Millis) -> Option<LeaseAsk> {
        let mut state = self.state.lock();
        match state.gate.lease_wake() <= now {
            true => state.gate.lease_ask(now),
            false => None,
        }
    }

    /// The owner answered.
    pub(super) fn lease_granted(&self, grant: &LeaseGrant, now: Millis) {
        self.state.lock().gate.lease_granted(grant, now);
    }

    /// Everything an operator may want to see.
    pub(super) fn info(&self, now: Millis) -> GateInfo {
        let state = self.state.lock();
        GateInfo::new(state.gate.view(now), state.last.clone())
    }
}

/// What a message counts for.
pub(crate) fn cost(envelope: &Envelope) -> Cost {
    Cost::message(envelope.size() as u64)
}

/// Lets something pass all of `gates` or none. `waits_at` as
/// [`flow::admit_all`] has it. Gates are always given in one order, an agent's
/// before its kind's, so that nobody waits in a circle.
pub(crate) fn admit(
    gates: &[Arc<Gate>],
    waits_at: Option<usize>,
    now: Millis,
    cost: Cost,
) -> Result<Passes, Held> {
    let mut locked: SmallVec<[MutexGuard<'_, State>; 2]> =
        gates.iter().map(|gate| gate.state.lock()).collect();
    let mut open: SmallVec<[&mut FlowGate; 2]> =
        locked.iter_mut().map(|state| &mut state.gate).collect();
    flow::admit_all(&mut open, waits_at, now, cost)
}
