//! What agents that have ended leave to their next lives: the streams they heard from.
//!
//! A message that was applied may be sent once more, if its verdict was lost. The agent
//! may have ended meanwhile, of its own will: a next life that knows nothing of the last
//! would apply it again. So the streams of an ended agent are kept for as long as anybody
//! may speak on them, and the directory keeps the agent with this node for so long. What
//! had its verdict has it again; what is new begins a life that goes on with the streams.
//! A durable agent's log goes on too, and says that it has stopped. Beyond
//! [`stopped_kept`](crate::NodeConfig::stopped_kept) those that would be kept the shortest
//! are let go of early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashMap;
use phoenix_core::agent::Agent;
use phoenix_core::{AgentId, DeadReason, Envelope, Millis};

use crate::worker::Worker;
use crate::worker::durable::Durable;
use crate::worker::slot::Slot;

/// Entries beside those that count which the list of ends may have.
const SLACK: usize = 1_024;

/// What an ended agent has left.
pub(super) struct Legacy {
    /// It has stopped, and holds nothing but its streams.
    pub(super) agent: Agent,
    /// Its log, if it was durable.
    pub(super) durable: Option<Box<Durable>>,
    /// The directory's generation it is owned under.
    generation: u64,
    until: Millis,
}

/// The legacies of a worker's agents.
#[derive(Default)]
pub(crate) struct Legacies {
    of: HashMap<AgentId, Legacy>,
    /// When which of them ends; some of these are taken up already.
    ends: BinaryHeap<Reverse<(Millis, AgentId)>>,
}

impl Legacies {
    pub(super) fn has(&self, agent: &AgentId) -> bool {
        self.of.contains_key(agent)
    }

    pub(super) fn get(&self, agent: &AgentId) -> Option<&Legacy> {
        self.of.get(agent)
    }

    /// For the agent's next life.
    pub(super) fn take(&mut self, agent: &AgentId) -> Option<Legacy> {
        self.of.remove(agent)
    }

    fn keep(&mut self, legacy: Legacy) {
        let id = legacy.agent.id().clone();
        self.ends.push(Reverse((legacy.until, id.clone())));
        self.of.insert(id, legacy);
        // Of those that were taken up there is an entry left each.
        if self.ends.len() > 2 * self.of.len() + SLACK {
            let all = self.of.iter();
            self.ends = all
                .map(|(id, it)| Reverse((it.until, id.clone())))
                .collect();
        }
    }

    /// When the next of them ends.
    fn next_end(&self) -> Millis {
        self.ends.peek().map_or(Millis::NEVER, |next| next.0.0)
    }

    /// The next that has ended, or has to so that there are no more than `most`.
    fn pop(&mut self, now: Millis, most: usize) -> Option<Legacy> {
        loop {
            let Reverse((until, _)) = self.ends.peek()?;
            if *until > now && self.of.len() <= most {
                return None;
            }
            let Reverse((until, id)) = self.ends.pop()?;
            // A later life may have left another.
            if self.of.get(&id).is_some_and(|legacy| legacy.until == until) {
                return self.of.remove(&id);
            }
        }
    }
}

impl Worker {
    /// Ends an agent but for what it has heard, if somebody may still speak to it. Says
    /// whether it has.
    pub(super) fn leave_legacy(&mut self, slot: u32, id: &AgentId) -> bool {
        let now = self.now.millis();
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        let until = awake.agent.heard_until(now);
        if until <= now || self.shared.is_draining() {
            return false;
        }
        // Its last word leaves under its own slot.
        self.perform(slot);
        let Some(Slot::Awake(awake)) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        let kept = Legacy {
            agent: awake.agent.take_stopped(),
            durable: awake.durable.take(),
            generation: awake.generation,
            until,
        };
        self.remove(slot, id);
        self.legacies.keep(kept);
        self.end_legacies();
        true
    }

    /// Gives a message the verdict it had in a life that is over. Says whether it had one.
    pub(super) fn had_its_verdict(&mut self, agent: &AgentId, envelope: &Arc<Envelope>) -> bool {
        let Some(legacy) = self.legacies.of.get_mut(agent) else {
            return false;
        };
        if !legacy.agent.tell_again(envelope, &mut self.actions) {
            return false;
        }
        match legacy.durable.as_ref().map(|durable| durable.log.number()) {
            Some(number) => self.hold(u32::MAX, agent.clone(), number),
            None => self.perform_now(u32::MAX),
        }
        true
    }

    /// When there is something to do here.
    pub(super) fn legacies_deadline(&self) -> Millis {
        self.legacies.next_end()
    }

    /// Lets go of what is over by now.
    pub(super) fn pass_legacies(&mut self) {
        if self.legacies.next_end() <= self.now.millis() {
            self.end_legacies();
        }
    }

    /// Lets go of what nobody can need any more.
    pub(super) fn end_legacies(&mut self) {
        let most = match self.shared.is_draining() {
            true => 0,
            false => self.shared.config.stopped_kept,
        };
        while let Some(legacy) = self.legacies.pop(self.now.millis(), most) {
            let id = legacy.agent.id().clone();
            if let Some(durable) = legacy.durable {
                self.close_log(&id, durable.log, DeadReason::Stopped.code());
            }
            self.forget(id, legacy.generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use phoenix_core::{Incarnation, Payload};

    use super::*;

    fn legacy(key: u64, until: u64) -> Legacy {
        let id = AgentId::new(&format!("a/{key}")).unwrap();
        let incarnation = Incarnation {
            generation: 1,
            boot: 1,
            count: key,
        };
        Legacy {
            agent: Agent::new(id, incarnation, Payload::default()),
            durable: None,
            generation: 1,
            until: Millis(until),
        }
    }

    #[test]
    fn they_end_in_time_and_never_are_too_many() {
        let mut legacies = Legacies::default();
        for key in 0..10 {
            legacies.keep(legacy(key, 100 - key));
        }
        let popped = |legacies: &mut Legacies, now, most| {
            legacies.pop(Millis(now), most).map(|it| it.until.0)
        };
        assert_eq!(legacies.next_end(), Millis(91));
        assert_eq!(popped(&mut legacies, 90, 10), None);
        assert_eq!(popped(&mut legacies, 92, 10), Some(91));
        assert_eq!(popped(&mut legacies, 92, 10), Some(92));
        assert_eq!(popped(&mut legacies, 92, 10), None);
        assert_eq!(popped(&mut legacies, 92, 7), Some(93), "one too many");
        assert_eq!(popped(&mut legacies, 92, 7), None);
        // A later life has left another.
        legacies.take(&AgentId::new("a/5").unwrap()).unwrap();
        legacies.keep(legacy(5, 200));
        for until in [94, 96, 97, 98, 99, 100] {
            assert_eq!(popped(&mut legacies, 150, 10), Some(until));
        }
        assert_eq!(popped(&mut legacies, 150, 10), None);
        assert_eq!(popped(&mut legacies, 200, 10), Some(200));
        // One that stops again and again costs no other its legacy, and no memory.
        legacies.keep(legacy(1, 400));
        for until in 0..10 * SLACK as u64 {
            legacies.keep(legacy(2, 500 + until));
            assert_eq!(popped(&mut legacies, 300, 2), None);
            legacies.take(&AgentId::new("a/2").unwrap()).unwrap();
        }
        assert!(legacies.ends.len() <= SLACK + 4);
        assert_eq!(popped(&mut legacies, 400, 2), Some(400));
    }
}
