//! Leaving a node that is about to stop: every agent moves to another node, and
//! one that could not is tried with the next. Durable agents wait in the journal for
//! the node's next start, unless the node is not to come back.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use phoenix_core::{AgentId, MigrationId, Millis, NodeId};

use crate::worker::Worker;
use crate::worker::slot::Slot;

/// Agents of one worker that leave at a time.
const AT_A_TIME: usize = 32;
/// How often an agent is tried before it is given up.
const TRIES: u32 = 6;
/// How long an agent rests after its first try; after the second twice as long, and so on.
const REST: Millis = Millis(100);
/// How long a node may take to be ready for an agent before another is tried.
const READY_WITHIN: Millis = Millis(5_000);
/// How long other nodes may be away before nobody counts as left to take agents.
const NOBODY_FOR: Millis = Millis(2_000);
/// Agents left behind that are named.
const NAMED: usize = 10;

/// What became of a node's agents when it drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Agents that are still here, and end with the node.
    pub lost: u64,
    /// The first few of them, each with why it is still here.
    pub named: Vec<(AgentId, String)>,
    /// Whether there was never another node to take them.
    pub alone: bool,
}

impl Drained {
    /// Adds what another worker has to say.
    pub(crate) fn join(&mut self, other: Self) {
        self.lost += other.lost;
        self.named.extend(other.named);
        self.named.truncate(NAMED);
        self.alone &= other.alone;
    }
}

/// Called once, when nothing is left to do.
pub(crate) type DrainDone = Box<dyn FnOnce(Drained) + Send>;

/// A worker's way out.
pub(super) struct Drain {
    until: Millis,
    done: DrainDone,
    /// Agents to be moved now.
    next: Vec<AgentId>,
    /// Agents to be tried again, and when.
    later: BTreeSet<(Millis, AgentId)>,
    failures: HashMap<AgentId, Failure>,
    /// Attempts under way, and when to see whether they come to anything.
    attempts: BTreeSet<(Millis, MigrationId)>,
    /// When there last was a node to move to; never before there was one.
    met: Option<Millis>,
}

/// An agent that did not get away.
#[derive(Default)]
struct Failure {
    /// Nodes it was tried with since all of them had been.
    tried: Vec<NodeId>,
    times: u32,
    reason: String,
    given_up: bool,
}

impl Drain {
    fn due(&mut self, now: Millis) -> Option<AgentId> {
        if self.later.first().is_some_and(|(at, _)| *at <= now) {
            return self.later.pop_first().map(|(_, agent)| agent);
        }
        self.next.pop()
    }

    fn is_given_up(&self, agent: &AgentId) -> bool {
        self.failures.get(agent).is_some_and(|f| f.given_up)
    }

    fn failed(&mut self, now: Millis, agent: &AgentId, to: Option<NodeId>, reason: &str) {
        let failure = self.failures.entry(agent.clone()).or_default();
        failure.times += 1;
        failure.tried.extend(to);
        reason.clone_into(&mut failure.reason);
        failure.given_up = to.is_none() || failure.times >= TRIES;
        if !failure.given_up {
            let rest = Millis(REST.0 * u64::from(failure.times));
            self.later.insert((now + rest, agent.clone()));
        }
    }

    /// The node to try next: the agent's own choice first, then those after it.
    fn choose(&mut self, agent: &AgentId, peers: &[NodeId]) -> Option<NodeId> {
        let first = usize::try_from(agent.placement_hash()).unwrap_or(0) % peers.len().max(1);
        let mut order = peers.iter().cycle().skip(first).take(peers.len());
        let Some(failure) = self.failures.get_mut(agent) else {
            return order.next().copied();
        };
        if peers.iter().all(|peer| failure.tried.contains(peer)) {
            failure.tried.clear();
        }
        order.find(|peer| !failure.tried.contains(peer)).copied()
    }

    /// Whether another node may still take agents.
    fn is_hopeful(&self, now: Millis) -> bool {
        self.met.is_some_and(|met| now < met + NOBODY_FOR)
    }
}

impl Worker {
    /// Moves everything away, or puts it to sleep where nobody is left to take
    /// it, and calls back when nothing is left to do or `until` has come.
    pub(super) fn drain(&mut self, until: Millis, done: DrainDone) {
        self.draining = Some(Drain {
            until,
            done,
            next: self.table.keys().cloned().collect(),
            later: BTreeSet::new(),
            failures: HashMap::new(),
            attempts: BTreeSet::new(),
            met: None,
        });
        self.end_legacies();
        self.drain_away();
        if self.movement.leaving() == 0 {
            let slots: Vec<u32> = self.table.values().copied().collect();
            for slot in slots {
                self.rest(slot);
            }
        }
    }

    /// Moves agents away, a few at a time.
    fn drain_away(&mut self) {
        let now = self.now.millis();
        let peers = self.shared.staying();
        let Some(drain) = self.draining.as_mut() else {
            return;
        };
        if peers.is_empty() {
            return;
        }
        drain.met = Some(now);
        while self.movement.leaving() < AT_A_TIME
            && let Some(agent) = self.draining.as_mut().and_then(|drain| drain.due(now))
        {
            self.send_away(&agent, &peers);
        }
    }

    fn send_away(&mut self, agent: &AgentId, peers: &[NodeId]) {
        let now = self.now.millis();
        let Some(slot) = self.table.get(agent).copied() else {
            if self.routes.is_placing(agent) && self.is_stored(agent) {
                self.drain_later(agent);
            }
            return;
        };
        if self.awake(slot).is_some_and(|awake| awake.moving.is_some()) {
            // An operator moves it: it is looked for once more at the end.
            return;
        }
        if self.shared.config.drain_durable && self.is_stored_slot(slot) {
            self.want(slot);
            self.drain_later(agent);
            return;
        }
        if !self.shared.config.drain_durable && self.outlives_node(slot) {
            if let Some(drain) = self.draining.as_mut() {
                drain.failed(
                    now,
                    agent,
                    None,
                    "it goes on when the node is started again",
                );
            }
            return;
        }
        let settled = self.awake(slot).and_then(|awake| {
            if awake.kind.policy.movable {
                awake
                    .quarantined
                    .as_ref()
                    .map(|why| format!("it is quarantined: {why}"))
            } else {
                Some("its kind is deployed with movable = false".to_owned())
            }
        });
        let Some(drain) = self.draining.as_mut() else {
            return;
        };
        if let Some(why) = settled {
            drain.failed(now, agent, None, &why);
            return;
        }
        let Some(to) = drain.choose(agent, peers) else {
            return;
        };
        match self.begin_move(slot, to) {
            Err(error) => self.drain_failed(agent, to, &error.to_string()),
            Ok(migration) => {
                if let Some(drain) = self.draining.as_mut() {
                    drain.attempts.insert((now + READY_WITHIN, migration));
                }
            }
        }
    }

    /// One that is restored first is looked at again in a while.
    fn drain_later(&mut self, agent: &AgentId) {
        let at = self.now.millis() + REST;
        if let Some(drain) = &mut self.draining {
            drain.later.insert((at, agent.clone()));
        }
    }

    /// Gives up attempts that have come to nothing so far.
    fn hurry_attempts(&mut self) {
        let now = self.now.millis();
        while let Some(drain) = self.draining.as_mut()
            && let Some((at, migration)) = drain.attempts.first().copied()
            && at <= now
        {
            drain.attempts.pop_first();
            if self.hurry(migration)
                && let Some(drain) = self.draining.as_mut()
            {
                drain.attempts.insert((now + READY_WITHIN, migration));
            }
        }
    }

    /// An agent did not get to `to`.
    pub(super) fn drain_failed(&mut self, agent: &AgentId, to: NodeId, reason: &str) {
        let now = self.now.millis();
        if let Some(drain) = &mut self.draining {
            drain.failed(now, agent, Some(to), reason);
        }
    }

    /// Whether sleep is all that draining can give agents: there is no other node.
    /// Otherwise one that is awake is about to leave.
    pub(super) fn drains_to_sleep(&self) -> bool {
        self.draining
            .as_ref()
            .is_some_and(|drain| drain.met.is_none())
    }

    /// When draining wants to be looked at, if nothing happens before.
    pub(super) fn drain_deadline(&self) -> Millis {
        let Some(drain) = &self.draining else {
            return Millis::NEVER;
        };
        let now = self.now.millis();
        if !drain.next.is_empty() && self.movement.leaving() < AT_A_TIME {
            return now + Millis(1);
        }
        let again = drain.later.first().map_or(Millis::NEVER, |(at, _)| *at);
        let hurry = drain.attempts.first().map_or(Millis::NEVER, |(at, _)| *at);
        // Nobody says when other nodes have been away for long enough.
        let nobody = drain
            .met
            .map(|met| met + NOBODY_FOR)
            .filter(|at| *at > now)
            .unwrap_or(Millis::NEVER);
        drain
            .until
            .min(again)
            .min(hurry)
            .min(nobody)
            .max(now + Millis(1))
    }

    /// Goes on with draining, and calls back if it is over.
    pub(super) fn finish_drain(&mut self) {
        if self.draining.is_none() {
            return;
        }
        self.hurry_attempts();
        self.drain_away();
        if self.may_end_drain()
            && let Some(drain) = self.draining.take()
        {
            let drained = self.left_behind(&drain);
            (drain.done)(drained);
        }
    }

    fn may_end_drain(&mut self) -> bool {
        let now = self.now.millis();
        let Some(drain) = self.draining.as_mut() else {
            return false;
        };
        if now >= drain.until {
            return true;
        }
        let is_leaving = self.movement.leaving() > 0
            || self.spilled.is_forwarding()
            || self.durables.is_holding();
        if !self.schedule.is_empty() || is_leaving {
            return false;
        }
        if drain.is_hopeful(now) {
            if drain.next.is_empty() && drain.later.is_empty() {
                // What came, or came back, since the first look.
                drain.next = self
                    .table
                    .keys()
                    .filter(|agent| !drain.is_given_up(agent))
                    .cloned()
                    .collect();
            }
            if !drain.next.is_empty() || !drain.later.is_empty() {
                return false;
            }
        }
        !self.slots.iter().any(
            |(_, slot)| matches!(slot, Slot::Awake(a) if a.running || a.agent.unacknowledged() > 0),
        )
    }

    fn left_behind(&self, drain: &Drain) -> Drained {
        let alone = drain.met.is_none();
        let why = |agent: &AgentId| match drain.failures.get(agent) {
            Some(failure) => failure.reason.clone(),
            None if alone => "there is no other node".to_owned(),
            None => "the time to drain was over".to_owned(),
        };
        let ending = self
            .table
            .iter()
            .filter(|(_, slot)| !self.outlives_node(**slot));
        let named = ending.clone().take(NAMED);
        Drained {
            lost: ending.count() as u64,
            named: named
                .map(|(agent, _)| (agent.clone(), why(agent)))
                .collect(),
            alone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain() -> Drain {
        Drain {
            until: Millis(30_000),
            done: Box::new(|_| {}),
            next: Vec::new(),
            later: BTreeSet::new(),
            failures: HashMap::new(),
            attempts: BTreeSet::new(),
            met: None,
        }
    }

    #[test]
    fn a_failed_agent_is_tried_with_each_other_node_then_with_all_again() {
        let peers = [NodeId(2), NodeId(3), NodeId(4)];
        let agent = AgentId::new("counter/alice").unwrap();
        let mut drain = drain();
        let mut tried = Vec::new();
        let mut now = Millis(0);
        while !drain.is_given_up(&agent) {
            let to = drain.choose(&agent, &peers).unwrap();
            tried.push(to);
            drain.failed(now, &agent, Some(to), "no room");
            assert_eq!(drain.due(now), None, "it rests before it is tried again");
            now = now + Millis(1_000);
            let due = drain.due(now);
            assert_eq!(due.is_some(), !drain.is_given_up(&agent));
        }
        assert_eq!(tried.len(), TRIES as usize);
        for round in tried.chunks(peers.len()) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, peers);
        }
    }

    #[test]
    fn an_agent_that_cannot_move_is_not_tried_again() {
        let agent = AgentId::new("counter/alice").unwrap();
        let mut drain = drain();
        drain.failed(Millis(0), &agent, None, "movable = false");
        assert!(drain.is_given_up(&agent));
        assert_eq!(drain.due(Millis::NEVER), None);
    }

    #[test]
    fn other_nodes_may_be_away_for_a_moment() {
        let mut drain = drain();
        assert!(!drain.is_hopeful(Millis(0)), "there never was one");
        drain.met = Some(Millis(1_000));
        assert!(drain.is_hopeful(Millis(2_999)));
        assert!(!drain.is_hopeful(Millis(3_000)));
    }
}
