//! Moves agents to and fro and puts idle ones to sleep, while they are fed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{Cluster, Id};
use super::pace::Pace;
use super::roster::Roster;

/// Migrations under way at once.
const AT_ONCE: usize = 4;

/// Wait after a migration that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// How long an agent that is asked to sleep may take to come to rest before it is left
/// as it is.
const REST_PATIENCE: Duration = Duration::from_secs(2);

/// How long no migration may succeed before the feed goes on without them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// How long each moved agent stood still, microseconds.
    pub(super) pauses: RefCell<Vec<u64>>,
    /// Agents put to sleep on request.
    pub(super) put_to_sleep: Cell<u64>,
    /// Migrations that failed and were tried again with another agent.
    pub(super) failed: Cell<u64>,
    /// Why the last of them did.
    pub(super) last_failure: RefCell<Option<String>>,
}

/// Moves agents until the pace's goal is reached.
pub(super) struct Movement<C> {
    /// Where they move.
    pub(super) cluster: Rc<C>,
    /// How fast.
    pub(super) pace: Rc<Pace>,
    /// Which of them.
    pub(super) roster: Rc<Roster>,
    /// What came of it.
    pub(super) moved: Rc<Moved>,
}

impl<C> Clone for Movement<C> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            pace: self.pace.clone(),
            roster: self.roster.clone(),
            moved: self.moved.clone(),
        }
    }
}

impl<C: Cluster> Movement<C> {
    /// Goes on until the goal is reached, or cannot be. Runs on a local task set.
    pub(super) async fn run(self) {
        let failing_since = Rc::new(Cell::new(None));
        let mut movers = JoinSet::new();
        for _ in 0..AT_ONCE {
            movers.spawn_local(self.clone().mover(failing_since.clone()));
        }
        while movers.join_next().await.is_some() {}
    }

    async fn mover(self, failing_since: Rc<Cell<Option<Instant>>>) {
        while let Some((agent, to)) = self.pace.until(|| self.next()).await {
            let answer = self.cluster.migrate(&agent, to).await;
            self.roster.settle(&agent, answer.is_ok().then_some(to));
            self.pace.end_migration(matches!(answer, Ok(Some(_))));
            match answer {
                Ok(Some(pause)) => {
                    failing_since.set(None);
                    self.moved.pauses.borrow_mut().push(pause);
                    self.put_one_to_sleep().await;
                }
                Ok(None) => {}
                Err(error) => {
                    self.moved.failed.set(self.moved.failed.get() + 1);
                    *self.moved.last_failure.borrow_mut() = Some(error.text);
                    let since = failing_since.get().unwrap_or_else(Instant::now);
                    failing_since.set(Some(since));
                    if since.elapsed() > PATIENCE {
                        self.pace.release();
                        return;
                    }
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// What to move next; the inner `None` is the end, the outer one says to wait.
    fn next(&self) -> Option<Option<(Id, usize)>> {
        let nothing_lives = self.pace.all_applied() && self.roster.is_empty();
        if self.pace.goal_reached() || nothing_lives {
            return Some(None);
        }
        let (agent, to) = self.roster.choose_to_move(self.cluster.nodes())?;
        if self.pace.begin_migration() {
            return Some(Some((agent, to)));
        }
        self.roster.release(&agent);
        None
    }

    /// Each migration is followed by one request to sleep. An agent that is
    /// busy, or asleep, is left as it is.
    async fn put_one_to_sleep(&self) {
        let Some(agent) = self.roster.choose_to_sleep() else {
            return;
        };
        let asleep = tokio::time::timeout(REST_PATIENCE, self.cluster.hibernate(&agent)).await;
        self.roster.release(&agent);
        if matches!(asleep, Ok(Ok(true))) {
            self.moved
                .put_to_sleep
                .set(self.moved.put_to_sleep.get() + 1);
        }
    }
}
