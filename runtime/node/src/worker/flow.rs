//! Gates before this worker's agents.
//!
//! ```text
//!   offer ──▶ next of its stream? ──▶ admit ──▶ mailbox ──▶ … ──▶ ended ──▶ finished
//!                                      │ not now        the gate hears how
//!                                      ├─▶ held here, in order, if it may wait
//!                                      └─▶ turned down: to its sender, in the gate's words
//! ```
//!
//! What waits at a gate waits here, before the mailbox: it is not taken yet. What
//! its sender sends again meanwhile is the same message, and is let go.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::agent::{Ended, Outlook, is_counted, turn_away};
use phoenix_core::flow::{FlowRefusal, Held, Hold, Limit, NoPlace, Outcome, Place};
use phoenix_core::{AgentId, Envelope, Millis, NodeId};
use slab::Slab;

use crate::clock;
use crate::counters::count;
use crate::flow::{Gate, Passes, admit, cost};
use crate::kinds::Kind;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::slot::{Awake, Slot};

/// Messages held at one gate by one worker, whatever the gate's policy allows.
const MAX_HELD: usize = 10_000;
/// How long what waits is not looked at, if nobody says that something has changed.
const LOOK_AGAIN: Millis = Millis(1_000);

/// The gates before an agent, and what has passed them and has not ended. When it
/// goes, so does all that is under way: nobody hears of its end any more.
pub(crate) struct Gated {
    /// The agent's own, then its kind's; at least one.
    gates: Vec<Arc<Gate>>,
    passes: Slab<Passes>,
}

impl Gated {
    fn new(gates: Vec<Arc<Gate>>) -> Option<Box<Self>> {
        let passes = Slab::new();
        (!gates.is_empty()).then(|| Box::new(Self { gates, passes }))
    }

    fn is_same(&self, gates: &[Arc<Gate>]) -> bool {
        let pairs = self.gates.iter().zip(gates);
        self.gates.len() == gates.len() && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn end(&mut self, ended: &Ended, now: Millis) {
        if let Some(passes) = self.passes.try_remove(ended.ticket) {
            finish(&self.gates, passes, ended.outcome, ended.why.as_ref(), now);
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        for passes in self.passes.drain() {
            finish(&self.gates, passes, Outcome::Ignored, None, clock::now_ms());
        }
    }
}

fn finish(
    gates: &[Arc<Gate>],
    passes: Passes,
    outcome: Outcome,
    why: Option<&Arc<str>>,
    now: Millis,
) {
    for (gate, pass) in gates.iter().zip(passes) {
        gate.finished(pass, outcome, why, now);
    }
}

/// What waits at gates, and when to try again.
#[derive(Default)]
pub(super) struct Waiting {
    /// By the gate they wait at; never empty ones.
    queues: HashMap<usize, Queue>,
    /// Something has changed that may let one pass.
    is_ready: bool,
}

impl Waiting {
    /// Lets a message wait at a gate that holds it up, or gives it back with why it
    /// may not.
    fn hold(
        &mut self,
        gate: &Arc<Gate>,
        envelope: Arc<Envelope>,
        hold: Hold,
        now: Millis,
    ) -> Result<(), (Arc<Envelope>, Hold)> {
        let Hold::Delayed { until, by } = hold else {
            return Err((envelope, hold));
        };
        let Some(longest) = may_wait(gate, by) else {
            return Err((envelope, hold));
        };
        let asked_until = envelope
            .body
            .ask()
            .map_or(Millis::NEVER, |ask| ask.deadline);
        let latest = (now + longest).min(asked_until);
        let queue = self.queues.entry(key(gate)).or_insert_with(|| Queue {
            gate: gate.clone(),
            messages: VecDeque::new(),
            again: Millis::NEVER,
        });
        let is_soon = until == Millis::NEVER || until < latest;
        let place = match is_soon && queue.messages.len() < MAX_HELD {
            true => gate.wait(now, until).map_err(Hold::Refused),
            false => Err(hold),
        };
        match place {
            Ok(place) => {
                queue.messages.push_back(Kept {
                    envelope,
                    place,
                    since: now,
                    until: latest,
                });
                let again = until.min(latest).min(now + LOOK_AGAIN);
                queue.again = queue.again.min(again.max(now + Millis(1)));
                Ok(())
            }
            Err(why) => {
                if queue.messages.is_empty() {
                    self.queues.remove(&key(gate));
                }
                // Where none may wait at all, what holds it up says more.
                let is_closed = gate.policy().bulkhead.is_some_and(|it| it.waiting == 0);
                Err((envelope, if is_closed { hold } else { why }))
            }
        }
    }
}

struct Queue {
    gate: Arc<Gate>,
    messages: VecDeque<Kept>,
    again: Millis,
}

struct Kept {
    envelope: Arc<Envelope>,
    place: Place,
    since: Millis,
    until: Millis,
}

fn key(gate: &Arc<Gate>) -> usize {
    Arc::as_ptr(gate).addr()
}

/// How long what a gate holds up by `by` may wait there, if it may.
fn may_wait(gate: &Gate, by: Limit) -> Option<Millis> {
    let policy = gate.policy();
    if let Some(bulkhead) = &policy.bulkhead {
        return Some(bulkhead.longest_wait);
    }
    // Its node's share comes when the owner has answered.
    let lease = policy.shared.as_ref()?.lease;
    matches!(by, Limit::Shared | Limit::Others).then_some(lease + lease)
}

/// Where a message stands to those of its stream that wait.
enum Beside {
    /// None of them does.
    Nothing,
    /// It comes right after them.
    Behind,
    /// It is one of them, come again.
    Repeated,
    /// There is a gap between them and it.
    Early,
}

impl Queue {
    fn beside(&self, envelope: &Envelope) -> Beside {
        let Some(sequence) = envelope.sequence else {
            return Beside::Nothing;
        };
        let same = |kept: &&Kept| kept.envelope.stream == envelope.stream;
        let of_stream = self.messages.iter().rev().find(same);
        let Some(last) = of_stream.and_then(|kept| kept.envelope.sequence) else {
            return Beside::Nothing;
        };
        match sequence.number {
            number if number <= last.number => Beside::Repeated,
            number if number == last.number.saturating_add(1) => Beside::Behind,
            _ => Beside::Early,
        }
    }
}

impl Shared {
    /// Lets something pass gates, asking for what they lack of shared rates.
    fn admit(
        &self,
        gates: &[Arc<Gate>],
        waits_at: Option<usize>,
        now: Millis,
        envelope: &Envelope,
    ) -> Result<Passes, Held> {
        let passed = admit(gates, waits_at, now, cost(envelope));
        let has_more = self.lease(gates, now);
        match passed {
            // The owner is here, and has answered.
            Err(_) if has_more => admit(gates, waits_at, now, cost(envelope)),
            passed => passed,
        }
    }
}

impl Worker {
    /// The gates before an agent of this kind, if there are any.
    pub(super) fn gated(&self, agent: &AgentId, kind: &Kind) -> Option<Box<Gated>> {
        Gated::new(self.shared.flows.gates_of(agent, kind))
    }

    /// Policies have changed: agents get the gates that are theirs now, and what
    /// waits comes to those.
    pub(super) fn regate(&mut self) {
        for (_, slot) in &mut self.slots {
            let Slot::Awake(awake) = slot else { continue };
            let id = awake.agent.id();
            let kind = match self.shared.kinds.get(id.kind()) {
                crate::kinds::Known::Ready(kind) => kind,
                _ => awake.kind.clone(),
            };
            let gates = self.shared.flows.gates_of(id, &kind);
            let is_same = match &awake.gated {
                Some(gated) => gated.is_same(&gates),
                None => gates.is_empty(),
            };
            if !is_same {
                awake.agent.unwatch();
                awake.gated = Gated::new(gates);
            }
        }
        for (_, queue) in std::mem::take(&mut self.waiting.queues) {
            for Kept {
                envelope, place, ..
            } in queue.messages
            {
                queue.gate.forgo(place);
                self.deliver_late(envelope);
            }
            queue.gate.is_left();
        }
    }

    /// Gives an agent that gates stand before the messages of `run`.
    pub(super) fn offer_gated(&mut self, slot: u32, run: impl Iterator<Item = Arc<Envelope>>) {
        for envelope in run {
            if is_counted(&envelope) {
                self.come_to_gates(slot, envelope);
            } else {
                self.offer_freely(slot, envelope);
            }
        }
        self.settle_gates(slot);
        self.perform(slot);
        self.queue(slot);
    }

    fn offer_freely(&mut self, slot: u32, envelope: Arc<Envelope>) {
        if let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) {
            let policy = &awake.kind.policy;
            awake.agent.offer(envelope, policy, &mut self.actions);
        }
    }

    fn come_to_gates(&mut self, slot: u32, envelope: Arc<Envelope>) {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let awake = &mut **awake;
        let Some(gated) = &awake.gated else {
            return self.offer_freely(slot, envelope);
        };
        for (gate, at) in gated.gates.iter().zip(0..) {
            let queue = self.waiting.queues.get(&key(gate));
            match queue.map_or(Beside::Nothing, |queue| queue.beside(&envelope)) {
                Beside::Nothing => {}
                Beside::Repeated => {
                    awake.agent.counters.duplicates += 1;
                    return;
                }
                Beside::Early => return self.offer_freely(slot, envelope),
                Beside::Behind => {
                    let (until, by) = (Millis::NEVER, Limit::Others);
                    let hold = Hold::Delayed { until, by };
                    return self.hold_up(slot, envelope, Held { gate: at, hold });
                }
            }
        }
        match awake.agent.outlook(&envelope, &awake.kind.policy) {
            Outlook::Not => self.offer_freely(slot, envelope),
            Outlook::Next { room } => match self.shared.admit(&gated.gates, None, now, &envelope) {
                Ok(passes) => self.let_pass(slot, envelope, passes, room),
                Err(held) => self.hold_up(slot, envelope, held),
            },
        }
    }

    /// Takes a message in that has passed.
    fn let_pass(&mut self, slot: u32, envelope: Arc<Envelope>, passes: Passes, room: bool) {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Awake {
            agent, gated, kind, ..
        } = &mut **awake;
        let Some(gated) = gated else { return };
        if room {
            agent.watch(&envelope, gated.passes.insert(passes));
        } else {
            // What becomes of it is the overflow policy's to say.
            finish(&gated.gates, passes, Outcome::Ignored, None, now);
        }
        agent.offer(envelope, &kind.policy, &mut self.actions);
    }

    /// Lets a message wait at the gate that holds it up, if it may, or turns it down.
    fn hold_up(&mut self, slot: u32, envelope: Arc<Envelope>, held: Held) {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let gated = awake.gated.as_ref();
        let Some(gate) = gated.and_then(|gated| gated.gates.get(held.gate)) else {
            return;
        };
        let why = match self.waiting.hold(gate, envelope, held.hold, now) {
            Ok(()) => return,
            Err((envelope, why)) => (envelope, gate.turned_down(&why, now)),
        };
        count(&self.shared.counters.turned_down);
        let (envelope, why) = why;
        let policy = &awake.kind.policy;
        awake
            .agent
            .turn_down(&envelope, &why, policy, &mut self.actions);
    }

    /// Tells gates what has become of what had passed them.
    pub(super) fn settle_gates(&mut self, slot: u32) {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(gated) = &mut awake.gated else {
            return;
        };
        let ended = awake.agent.ended();
        if ended.is_empty() {
            return;
        }
        for ended in &ended {
            gated.end(ended, now);
        }
        for gate in gated.gates.iter().filter(|gate| gate.is_awaited()) {
            self.waiting.is_ready = true;
            if self.shared.seats.len() > 1 {
                self.shared.flow_ready(gate);
            }
        }
    }

    /// Something may have changed that lets one pass that waits.
    pub(super) fn flow_ready(&mut self) {
        self.waiting.is_ready = true;
    }

    /// When [`Worker::tick_waiting`] has something to do.
    pub(super) fn waiting_deadline(&self) -> Millis {
        let queues = self.waiting.queues.values();
        match queues.map(|queue| queue.again).min() {
            None => Millis::NEVER,
            Some(_) if self.waiting.is_ready => Millis(0),
            Some(again) => again,
        }
    }

    /// Lets those that wait try again, those that came first, first.
    pub(super) fn tick_waiting(&mut self, now: Millis) {
        if self.waiting.queues.is_empty() {
            self.waiting.is_ready = false;
            return;
        }
        let is_ready = std::mem::take(&mut self.waiting.is_ready);
        let due: Vec<usize> = self
            .waiting
            .queues
            .iter()
            .filter(|(_, queue)| is_ready || queue.again <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            while self.try_first(key, now) {}
            if let Some(queue) = self.waiting.queues.get(&key)
                && queue.messages.is_empty()
            {
                queue.gate.is_left();
                self.waiting.queues.remove(&key);
            }
        }
    }

    /// Lets the first that waits at a gate try again. Says whether it waits no more.
    fn try_first(&mut self, of: usize, now: Millis) -> bool {
        let Some(queue) = self.waiting.queues.get_mut(&of) else {
            return false;
        };
        let Some(first) = queue.messages.front() else {
            return false;
        };
        let envelope = first.envelope.clone();
        let slot = self.table.get(envelope.receiver()).copied();
        if let Some(slot) = slot
            && matches!(self.slots.get(slot as usize), Some(Slot::Asleep(_)))
        {
            self.wake(slot);
        }
        let awake = slot.and_then(|slot| match self.slots.get_mut(slot as usize) {
            Some(Slot::Awake(awake)) => Some((slot, awake)),
            _ => None,
        });
        let found = awake.and_then(|(slot, awake)| {
            let is_well = awake.quarantined.is_none() && !awake.is_in_doubt(now);
            let gates = awake.gated.iter().flat_map(|gated| &gated.gates);
            let at = gates.into_iter().position(|gate| key(gate) == of);
            Some((slot, awake, at.filter(|_| is_well)?))
        });
        let Some((slot, awake, at)) = found else {
            // It lives elsewhere now, or is not to be asked for.
            self.leave(of);
            self.deliver_late(envelope);
            return true;
        };
        let Some(queue) = self.waiting.queues.get_mut(&of) else {
            return false;
        };
        let Some(first) = queue.messages.front() else {
            return false;
        };
        if first.until <= now {
            let longest = first.since.until(now);
            let hold = Hold::Refused(FlowRefusal::NoPlace(NoPlace::TooLong { longest }));
            self.leave(of);
            self.hold_up(slot, envelope, Held { gate: at, hold });
            self.perform(slot);
            return true;
        }
        let Awake {
            agent, gated, kind, ..
        } = &mut **awake;
        let Some(gated) = gated else { return false };
        let Outlook::Next { room } = agent.outlook(&envelope, &kind.policy) else {
            self.leave(of);
            self.offer_freely(slot, envelope);
            self.perform(slot);
            return true;
        };
        match self.shared.admit(&gated.gates, Some(at), now, &envelope) {
            Ok(passes) => {
                self.leave(of);
                self.let_pass(slot, envelope, passes, room);
                self.settle_gates(slot);
                self.perform(slot);
                self.queue(slot);
                true
            }
            Err(Held {
                hold: Hold::Delayed { until, .. },
                ..
            }) => {
                let again = until.min(first.until).min(now + LOOK_AGAIN);
                queue.again = again.max(now + Millis(1));
                false
            }
            Err(held) => {
                self.leave(of);
                self.hold_up(slot, envelope, held);
                self.perform(slot);
                true
            }
        }
    }

    /// The first that waits at a gate waits no more.
    fn leave(&mut self, of: usize) {
        if let Some(queue) = self.waiting.queues.get_mut(&of)
            && let Some(Kept { place, .. }) = queue.messages.pop_front()
        {
            queue.gate.forgo(place);
        }
    }

    /// Lets a message leave for a node if that one's gate does. One that may not is
    /// its sender's again.
    pub(super) fn leaves_for(
        &mut self,
        node: NodeId,
        envelope: &Arc<Envelope>,
        from: Option<NodeId>,
    ) -> bool {
        let Some(gate) = self.shared.flows.node_gate(node) else {
            return true;
        };
        if !is_counted(envelope) {
            return true;
        }
        let now = self.now.millis();
        let gates = std::slice::from_ref(&gate);
        match self.shared.admit(gates, None, now, envelope) {
            Ok(passes) => {
                for pass in passes {
                    // What is passed on is heard of where it came from.
                    match from {
                        None => gate.left(envelope, pass, now),
                        Some(_) => gate.finished(pass, Outcome::Ignored, None, now),
                    }
                }
                true
            }
            Err(held) => {
                count(&self.shared.counters.turned_down);
                let why = gate.turned_down(&held.hold, now);
                turn_away(envelope, &why, &mut self.actions);
                self.perform(u32::MAX);
                false
            }
        }
    }
}
