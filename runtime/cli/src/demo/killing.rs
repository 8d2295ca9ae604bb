//! Kills nodes and starts them again, while they are fed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::cluster::{Cluster, RequestError};
use super::pace::Pace;
use super::random::Random;

/// How late in its share of the events a kill may come, permille: some are left to be
/// fed while the node is away.
const LATEST: u64 = 900;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Killed {
    /// How long each killed node was not to be had, microseconds.
    pub(super) down: RefCell<Vec<u64>>,
    /// What the killed nodes had counted, by name, just before.
    pub(super) counted: RefCell<BTreeMap<String, u64>>,
    /// How often one of them would not say.
    pub(super) untold: Cell<u64>,
}

/// Kills nodes until the pace's number is reached.
pub(super) struct Killing<C> {
    /// Whose.
    pub(super) cluster: Rc<C>,
    /// How fast.
    pub(super) pace: Rc<Pace>,
    /// When, and which.
    pub(super) random: Random,
    /// What came of it.
    pub(super) killed: Rc<Killed>,
}

impl<C: Cluster> Killing<C> {
    /// Goes on until all kills are done, and the nodes are there again.
    pub(super) async fn run(mut self) -> Result<(), RequestError> {
        while !self.pace.all_killed() {
            let permille = self.random.below(LATEST);
            let pace = &self.pace;
            pace.until(|| pace.begin_kill(permille).then_some(())).await;
            let node = self.random.below(self.cluster.nodes() as u64);
            let node = usize::try_from(node).unwrap_or(0);
            self.note(node).await;
            let down = self.cluster.kill(node).await?;
            let micros = u64::try_from(down.as_micros()).unwrap_or(u64::MAX);
            self.killed.down.borrow_mut().push(micros);
        }
        Ok(())
    }

    /// Asks a node for what it will not be able to say any more.
    async fn note(&self, node: usize) {
        let Ok(counters) = self.cluster.counters(node).await else {
            self.killed.untold.set(self.killed.untold.get() + 1);
            return;
        };
        let mut counted = self.killed.counted.borrow_mut();
        for (name, value) in counters {
            *counted.entry(name).or_default() += value;
        }
    }
}
