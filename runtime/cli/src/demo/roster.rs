//! The agents that live by now, and which to move or put to sleep next.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};

use super::cluster::Id;
use super::random::Random;

/// Agents remembered as recently fed.
const RECENT: usize = 256;

/// Of how many random agents the one that was fed longest ago is put to sleep.
const CANDIDATES: usize = 8;

/// One migration in so many is of an agent that all visitors write to.
const MAIN_ONE_IN: u64 = 16;

/// Agents that have been fed, and those in movement.
#[derive(Debug)]
pub(super) struct Roster {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    random: Random,
    agents: Vec<Id>,
    mains: Vec<Id>,
    /// When each was last fed, in events fed before.
    fed: HashMap<Id, u64>,
    clock: u64,
    recent: VecDeque<Id>,
    /// Where each was last seen; absent means never.
    homes: HashMap<Id, usize>,
    busy: HashSet<Id>,
}

impl Roster {
    /// An empty one, whose choices come from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inner: RefCell::new(Inner {
                random: Random::new(seed),
                agents: Vec::new(),
                mains: Vec::new(),
                fed: HashMap::new(),
                clock: 0,
                recent: VecDeque::with_capacity(RECENT),
                homes: HashMap::new(),
                busy: HashSet::new(),
            }),
        }
    }

    /// Notes that `agent` lives and has just taken something in.
    pub(super) fn note(&self, agent: &Id) {
        let mut inner = self.inner.borrow_mut();
        inner.clock += 1;
        let clock = inner.clock;
        if inner.fed.insert(agent.clone(), clock).is_none() {
            inner.agents.push(agent.clone());
        }
        if inner.recent.len() == RECENT {
            inner.recent.pop_front();
        }
        inner.recent.push_back(agent.clone());
    }

    /// Notes that `agent`, which visitors write to, lives.
    pub(super) fn note_main(&self, agent: &str) {
        let mut inner = self.inner.borrow_mut();
        if !inner.mains.iter().any(|main| **main == *agent) {
            inner.mains.push(agent.into());
        }
    }

    /// How many agents live.
    pub(super) fn len(&self) -> usize {
        let inner = self.inner.borrow();
        inner.agents.len() + inner.mains.len()
    }

    /// Whether none does.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An agent to move, and to which of `nodes`. Three of four times one that
    /// was fed just now, so that it moves under load. It is not chosen again
    /// until it is [released](Self::release).
    pub(super) fn choose_to_move(&self, nodes: usize) -> Option<(Id, usize)> {
        let inner = &mut *self.inner.borrow_mut();
        let agent = if !inner.mains.is_empty() && inner.random.below(MAIN_ONE_IN) == 0 {
            inner.random.pick(&inner.mains)?
        } else if inner.random.below(4) > 0 {
            let index = inner.random.below(inner.recent.len() as u64);
            inner.recent.get(usize::try_from(index).ok()?)?
        } else {
            inner.random.pick(&inner.agents)?
        };
        let agent = agent.clone();
        let draw = usize::try_from(inner.random.below(1 << 16)).unwrap_or(0);
        let target = match inner.homes.get(&agent) {
            Some(home) => (home + 1 + draw.checked_rem(nodes - 1)?) % nodes,
            None => draw.checked_rem(nodes)?,
        };
        inner.busy.insert(agent.clone()).then_some((agent, target))
    }

    /// An idle agent to put to sleep.
    pub(super) fn choose_to_sleep(&self) -> Option<Id> {
        let inner = &mut *self.inner.borrow_mut();
        let mut oldest: Option<(u64, Id)> = None;
        for _ in 0..CANDIDATES {
            let agent = inner.random.pick(&inner.agents)?;
            let fed = inner.fed.get(agent).copied().unwrap_or(0);
            if !inner.busy.contains(agent) && oldest.as_ref().is_none_or(|(than, _)| fed < *than) {
                oldest = Some((fed, agent.clone()));
            }
        }
        let (_, agent) = oldest?;
        inner.busy.insert(agent.clone());
        Some(agent)
    }

    /// Ends what an agent was chosen for.
    pub(super) fn release(&self, agent: &Id) {
        self.inner.borrow_mut().busy.remove(agent);
    }

    /// Ends a migration. `home` is where the agent lives now, if that is known.
    pub(super) fn settle(&self, agent: &Id, home: Option<usize>) {
        self.release(agent);
        let homes = &mut self.inner.borrow_mut().homes;
        match home {
            Some(home) => homes.insert(agent.clone(), home),
            None => homes.remove(agent),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_moved_to_another_node_and_by_one_at_a_time() {
        let roster = Roster::new(1);
        assert_eq!(roster.choose_to_move(2), None);
        let agent: Id = "visitor/a".into();
        roster.note(&agent);
        roster.note(&agent);
        assert_eq!(roster.len(), 1);
        let (_, target) = roster.choose_to_move(3).unwrap();
        assert!(target < 3);
        assert_eq!(roster.choose_to_move(3), None);
        assert_eq!(roster.choose_to_sleep(), None);
        roster.settle(&agent, Some(target));
        for _ in 0..100 {
            let (_, next) = roster.choose_to_move(3).unwrap();
            assert!(next < 3 && next != target);
            roster.release(&agent);
        }
        assert_eq!(roster.choose_to_move(1), None, "there is nowhere to go");
    }

    #[test]
    fn agents_that_all_write_to_move_too() {
        let roster = Roster::new(3);
        roster.note(&"visitor/a".into());
        roster.note_main("site/main");
        roster.note_main("site/main");
        assert_eq!(roster.len(), 2);
        let mut mains = 0;
        for _ in 0..320 {
            let (agent, to) = roster.choose_to_move(2).unwrap();
            mains += u32::from(&*agent == "site/main");
            roster.settle(&agent, Some(to));
        }
        assert!((5..60).contains(&mains), "{mains}");
    }

    #[test]
    fn the_idlest_sleep() {
        let roster = Roster::new(2);
        let agents: Vec<Id> = (0..4).map(|n| format!("visitor/{n}").into()).collect();
        agents.iter().for_each(|agent| roster.note(agent));
        let mut chosen = Vec::new();
        for _ in 0..50 {
            let agent = roster.choose_to_sleep().unwrap();
            roster.release(&agent);
            chosen.push(agent);
        }
        let first = chosen.iter().filter(|agent| **agent == agents[0]).count();
        assert!(first > 30, "{first} of 50");
    }
}
