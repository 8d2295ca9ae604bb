//! Spilled messages: written, brought back, found again after a start, and sent
//! after agents that went.
//!
//! An area whose agent does not live here is stranded: its node has started since,
//! or the agent went elsewhere. If the agent is this node's it is brought to life,
//! and has the area; if it is another node's, what is in the area goes there.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use phoenix_core::directory::Ownership;
use phoenix_core::{AgentId, DeadReason, Envelope, Lane, Level, Millis, SpawnPolicy, Spill};

use crate::counters::{count, count_by};
use crate::kinds::Known;
use crate::worker::Worker;
use crate::worker::slot::{Awake, Slot};

/// Most that is taken from an area in one go, messages and bytes.
const AT_ONCE: (u64, u64) = (256, 1 << 20);
/// Stranded areas that are looked at in one go.
const LOOK_AT: usize = 1_024;
/// How often they are.
const LOOK_EVERY: Millis = Millis(100);
/// How often, while something is sent after an agent.
const FORWARD_EVERY: Millis = Millis(10);
/// How long after its start a node leaves what an earlier run has left in the areas:
/// senders on other nodes, which keep what has no verdict, send all of it again
/// meanwhile, in order. Whoever does so later is told what is lost.
const RESENT_WITHIN: Millis = Millis(5_000);

/// What a worker keeps of its agents' spilled messages.
pub(crate) struct Spilled {
    areas: Box<dyn Spill>,
    /// Agents that do not live here and have something in their areas.
    stranded: BTreeSet<AgentId>,
    /// The last of them that was looked at.
    looked_at: Option<AgentId>,
    look_again: Millis,
    /// Areas something was sent from at the last look.
    forwarding: usize,
    /// A write has failed, and none succeeded since.
    is_failing: bool,
}

/// What is to be done about a stranded area.
enum Way {
    /// Nothing yet.
    Wait,
    /// To ask where the agent lives.
    Ask,
    /// To send it to where the agent lives.
    Send,
    /// To end it: there will never be such an agent.
    End(DeadReason),
}

impl Spilled {
    pub(crate) fn new(areas: Box<dyn Spill>) -> Self {
        Self {
            stranded: areas.agents().into_iter().collect(),
            ..Self::later(areas)
        }
    }

    /// The same, but what is stranded is left to the node's next start.
    fn later(areas: Box<dyn Spill>) -> Self {
        Self {
            areas,
            stranded: BTreeSet::new(),
            looked_at: None,
            look_again: Millis(0),
            forwarding: 0,
            is_failing: false,
        }
    }

    /// Those of a node that was declared dead: its agents are others' now.
    pub(super) fn fenced(&mut self) -> Self {
        let none = Box::new(phoenix_core::MemorySpill::default());
        Self::later(std::mem::replace(&mut self.areas, none))
    }

    /// When [`Worker::see_to_stranded`] has something to do.
    pub(super) fn deadline(&self) -> Millis {
        if self.stranded.is_empty() {
            Millis::NEVER
        } else {
            self.look_again
        }
    }

    /// Whether something is being sent after agents that went.
    pub(super) fn is_forwarding(&self) -> bool {
        self.forwarding > 0
    }

    pub(super) fn is_stranded(&self, agent: &AgentId) -> bool {
        self.stranded.contains(agent)
    }

    /// Those to look at next.
    fn next_stranded(&mut self) -> Vec<AgentId> {
        let after = match self.looked_at.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let from = (after, Bound::Unbounded);
        let next: Vec<AgentId> = self.stranded.range(from).take(LOOK_AT).cloned().collect();
        self.looked_at = next.last().filter(|_| next.len() == LOOK_AT).cloned();
        next
    }
}

impl Worker {
    /// Brings back what the agent has room for.
    #[cold]
    pub(super) fn refill(&mut self, slot: u32) {
        self.was_costly = true;
        loop {
            let rests = self.spill_rests(slot).is_some();
            let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
                return;
            };
            let Some(refill) = awake.agent.refill(&awake.kind.policy).filter(|_| !rests) else {
                break;
            };
            let id = awake.agent.id().clone();
            let (lane, messages) = (refill.lane, refill.messages);
            let why = match self.spilled.areas.pop(&id, lane, messages, refill.bytes) {
                Ok(messages) if !messages.is_empty() => {
                    for envelope in messages {
                        awake.agent.unspilled(envelope, &mut self.actions);
                    }
                    continue;
                }
                Ok(_) => format!("spilled messages of {id} are gone"),
                Err(error) => error.to_string(),
            };
            let before = awake.agent.counters.spill_lost;
            awake.agent.spill_lost(lane);
            let lost = awake.agent.counters.spill_lost - before;
            count_by(&self.shared.counters.spill_lost, lost);
            let text = format!("{why}: {lost} messages of the lane {lane:?} are lost");
            self.shared.log(Some(&id), Level::Error, &text);
        }
        self.perform(slot);
    }

    /// Until when what an earlier run has left of an agent's is left alone, if so.
    pub(super) fn spill_rests(&self, slot: u32) -> Option<Millis> {
        let until = self.shared.started + RESENT_WITHIN;
        let rests = self.now.millis() < until
            && self.awake(slot)?.agent.has_inherited()
            && !self.shared.directory.is_alone();
        rests.then_some(until)
    }

    /// Writes what the agent spilled.
    pub(super) fn write_spilled(&mut self, slot: u32, envelope: &Arc<Envelope>) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        self.was_costly = true;
        let id = awake.agent.id();
        match self.spilled.areas.push(id, envelope) {
            Ok(()) => {
                count(&self.shared.counters.spilled);
                self.spilled.is_failing = false;
            }
            Err(error) => {
                // A disk that is full fails for each message: it is said once.
                if !std::mem::replace(&mut self.spilled.is_failing, true) {
                    let text = format!("{error}: what has no room is a dead letter until it can");
                    self.shared.log(Some(id), Level::Error, &text);
                }
                count(&self.shared.counters.spill_lost);
                awake.agent.spill_failed(envelope, &mut self.actions);
            }
        }
    }

    /// Ends what an agent that ends has spilled.
    pub(super) fn abandon_spilled(&mut self, slot: u32, reason: &DeadReason) {
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if awake.agent.spilled() == 0 {
            return;
        }
        self.was_costly = true;
        let id = awake.agent.id().clone();
        for lane in Lane::MESSAGES {
            loop {
                match self.spilled.areas.pop(&id, lane, AT_ONCE.0, AT_ONCE.1) {
                    Ok(messages) if messages.is_empty() => break,
                    Ok(messages) => {
                        for envelope in messages {
                            let (agent, actions) = (&mut awake.agent, &mut self.actions);
                            agent.abandon_spilled(&envelope, reason, actions);
                        }
                    }
                    Err(error) => {
                        awake.agent.spill_lost(lane);
                        self.shared.log(Some(&id), Level::Error, &error.to_string());
                        break;
                    }
                }
            }
        }
    }

    /// An agent that begins to live here has the area that is here.
    pub(super) fn inherit(&mut self, awake: &mut Awake) {
        if self.spilled.stranded.is_empty() || !self.spilled.stranded.remove(awake.agent.id()) {
            return;
        }
        let id = awake.agent.id();
        let (backlog, lost) = self.spilled.areas.survey(id);
        for error in lost {
            count(&self.shared.counters.spill_lost);
            let text = format!("{error}: what is behind is lost");
            self.shared.log(Some(id), Level::Error, &text);
        }
        awake.agent.inherit(&backlog);
    }

    /// What an agent that goes has spilled goes after it.
    pub(super) fn strand(&mut self, slot: u32) {
        if let Some(awake) = self.awake(slot)
            && awake.agent.spilled() > 0
        {
            let agent = awake.agent.id().clone();
            self.spilled.stranded.insert(agent);
            self.spilled.look_again = Millis(0);
        }
    }

    /// Sees to areas whose agents do not live here.
    pub(super) fn see_to_stranded(&mut self) {
        let now = self.now.millis();
        if self.spilled.deadline() > now {
            return;
        }
        self.spilled.forwarding = 0;
        for agent in self.spilled.next_stranded() {
            match self.way_of(&agent) {
                Way::Wait => {}
                Way::Ask => self.ask_place(agent),
                Way::Send => {
                    self.spilled.forwarding += 1;
                    for envelope in self.take_stranded(&agent) {
                        count(&self.shared.counters.spill_forwarded);
                        self.deliver_late(envelope);
                    }
                }
                Way::End(reason) => self.end_stranded(&agent, &reason),
            }
        }
        let is_forwarding = self.spilled.is_forwarding();
        let wait = if is_forwarding {
            FORWARD_EVERY
        } else {
            LOOK_EVERY
        };
        self.spilled.look_again = now + wait;
    }

    fn way_of(&self, agent: &AgentId) -> Way {
        match self.routes.node_of(agent) {
            Some(node) if node != self.shared.node && !self.shared.is_over(node) => {
                return match self.shared.is_connected(node) {
                    true => Way::Send,
                    false => Way::Wait,
                };
            }
            _ if self.shared.is_draining() || self.routes.is_placing(agent) => return Way::Wait,
            _ => {}
        }
        match self.shared.kinds.get(agent.kind()) {
            Known::Ready(_) => Way::Ask,
            Known::Unknown if self.is_surely_no_kind(agent.kind()) => {
                Way::End(DeadReason::NoSuchKind)
            }
            Known::Coming | Known::Unknown => Way::Wait,
        }
    }

    /// The directory gave a stranded area's agent to this node: it lives, and has it.
    pub(super) fn settle_stranded(&mut self, agent: &AgentId, ownership: Ownership) {
        let Known::Ready(kind) = self.shared.kinds.get(agent.kind()) else {
            return;
        };
        if kind.policy.spawn == SpawnPolicy::Explicit {
            self.end_stranded(agent, &DeadReason::NoSuchAgent);
        } else if !self.shared.is_draining()
            && !self.movement.machines.is_coming(agent)
            && self.has_journal_for(&kind)
        {
            self.create(
                agent.clone(),
                kind,
                ownership,
                phoenix_core::Payload::default(),
            );
        }
    }

    /// The first messages of a stranded area, the most urgent lane's first. An area
    /// with none left is not stranded.
    fn take_stranded(&mut self, agent: &AgentId) -> Vec<Arc<Envelope>> {
        for lane in Lane::MESSAGES {
            match self.spilled.areas.pop(agent, lane, AT_ONCE.0, AT_ONCE.1) {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => return messages,
                Err(error) => {
                    count(&self.shared.counters.spill_lost);
                    let text = format!("{error}: what was left of the lane is lost");
                    self.shared.log(Some(agent), Level::Error, &text);
                }
            }
        }
        self.spilled.stranded.remove(agent);
        Vec::new()
    }

    fn end_stranded(&mut self, agent: &AgentId, reason: &DeadReason) {
        while self.spilled.is_stranded(agent) {
            for envelope in self.take_stranded(agent) {
                self.bury_message(&envelope, reason);
            }
        }
    }
}
