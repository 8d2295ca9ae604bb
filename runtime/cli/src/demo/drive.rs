//! The demo itself: feed and move at once, then compare.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::time::Instant;

use super::cluster::{Cluster, RequestError};
use super::feed::{Effort, Feed, FeedError};
use super::killing::{Killed, Killing};
use super::log::Counted;
use super::movement::{Moved, Movement};
use super::outcome::{Outcome, Pauses, grouped};
use super::pace::Pace;
use super::progress::Progress;
use super::random::Random;
use super::roster::Roster;
use super::source::{Source, SourceError};
use super::verify::verify;

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    /// The log cannot be read again.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The log could not be fed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A node that was killed did not come back.
    #[error("a node that was killed is not there again")]
    Kill(#[from] RequestError),
}

/// What to drive a cluster with.
pub(super) struct Plan {
    /// The log.
    pub(super) source: Source,
    /// Its count.
    pub(super) counted: Rc<Counted>,
    /// How many migrations to do.
    pub(super) migrations: u64,
    /// How many times to kill a node.
    pub(super) kills: u64,
    /// What the choice of agents to move, and of nodes to kill, comes from.
    pub(super) seed: u64,
}

/// Feeds a log to `cluster` while its agents move and sleep, and compares what
/// they say at the end with the count. Runs on a local task set.
pub(super) async fn drive<C: Cluster>(
    cluster: Rc<C>,
    plan: Plan,
    progress: &Progress,
) -> Result<Outcome, DriveError> {
    let counted = plan.counted;
    let events = counted.total.events;
    let pace = Rc::new(Pace::new(events, plan.migrations, plan.kills));
    let roster = Rc::new(Roster::new(plan.seed));
    let effort = Rc::new(Effort::default());
    let moved = Rc::new(Moved::default());
    let killed = Rc::new(Killed::default());
    let begun = Instant::now();
    let feed = Feed {
        cluster: cluster.clone(),
        pace: pace.clone(),
        roster: roster.clone(),
        effort: effort.clone(),
    };
    let movement = Movement {
        cluster: cluster.clone(),
        pace: pace.clone(),
        roster: roster.clone(),
        moved: moved.clone(),
    };
    let killing = Killing {
        cluster: cluster.clone(),
        pace: pace.clone(),
        random: Random::new(plan.seed),
        killed: killed.clone(),
    };
    let lines = plan.source.lines()?;
    let work = async {
        let feeding = async { feed.run(lines).await.map_err(DriveError::Feed) };
        let moving = async {
            movement.run().await;
            Ok(())
        };
        let killing = async { killing.run().await.map_err(DriveError::Kill) };
        tokio::try_join!(feeding, moving, killing)
    };
    tokio::select! {
        ended = work => { ended?; }
        () = progress.watch(events, &pace, &roster, &moved) => {}
    }
    progress.say("comparing every agent with the count");
    let found = verify(&cluster, &counted).await;
    let mut outcome = Outcome::new(&counted, found);
    outcome.seconds = begun.elapsed().as_secs_f64();
    settle_accounts(&mut outcome, &pace, plan.migrations, &effort, &moved);
    let down = killed.down.take();
    outcome.kills = down.len() as u64;
    outcome.down_us = Pauses::of(down);
    add_counters(&mut outcome, &killed.counted.take());
    count_lives(&mut outcome, cluster.as_ref()).await;
    Ok(outcome)
}

fn settle_accounts(outcome: &mut Outcome, pace: &Pace, goal: u64, effort: &Effort, moved: &Moved) {
    let pauses = moved.pauses.take();
    outcome.migrations = pauses.len() as u64;
    outcome.pause_us = Pauses::of(pauses);
    if !pace.goal_reached() {
        let why = moved.last_failure.take().unwrap_or_else(|| "none".into());
        outcome.fail(format!(
            "only {} of {} migrations could be done; the last failure was: {why}",
            grouped(pace.moved()),
            grouped(goal)
        ));
    }
    if let Some(first) = effort.first_dead.take() {
        outcome.fail(format!(
            "the cluster gave up {} events; the first is {first}",
            grouped(effort.dead.get())
        ));
    }
}

/// Adds what the nodes count themselves.
async fn count_lives<C: Cluster>(outcome: &mut Outcome, cluster: &C) {
    for node in 0..cluster.nodes() {
        match cluster.counters(node).await {
            Ok(counters) => add_counters(outcome, &counters),
            Err(error) => {
                let number = node + 1;
                outcome.fail(format!("node {number} does not tell its counters: {error}"));
            }
        }
    }
}

fn add_counters(outcome: &mut Outcome, counters: &BTreeMap<String, u64>) {
    let counter = |name| counters.get(name).copied().unwrap_or(0);
    outcome.hibernations += counter("hibernations");
    outcome.wakes += counter("wakes");
    outcome.recoveries += counter("restored");
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Breach, FakeCluster, Harm, Way};
    use super::*;
    use tokio::task::LocalSet;

    /// The clock stands still while the reader waits for a feeder, so a log
    /// must fit into what is read ahead.
    async fn outcome(lines: u64, trouble: u64, breach: Breach) -> Result<Outcome, DriveError> {
        let source = Source::Generated { seed: 12, lines };
        let counted = Rc::new(source.count().unwrap());
        let plan = Plan {
            source,
            counted,
            migrations: 300,
            kills: 3,
            seed: 5,
        };
        let cluster = Rc::new(FakeCluster::new(3, trouble, breach));
        LocalSet::new()
            .run_until(drive(cluster, plan, &Progress::hidden()))
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_counted_once_whatever_trouble_is_allowed() {
        for trouble in [0, 50, 4] {
            let outcome = outcome(6_000, trouble, Breach::None).await.unwrap();
            assert!(outcome.verified, "{:?}", outcome.problems);
            assert_eq!((outcome.events, outcome.migrations), (6_000, 300));
            // Two nodes at the end, and three that were killed.
            assert_eq!((outcome.kills, outcome.recoveries), (3, 25));
            assert_eq!(
                (outcome.lost, outcome.duplicated, outcome.reordered),
                (0, 0, 0)
            );
            assert_eq!(outcome.agents, outcome.visitors + 2);
            assert!(outcome.hibernations > 100 && outcome.wakes == 35);
            assert!(outcome.alerts > 3, "several pages of alerts");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_log_has_all_its_migrations_too() {
        let outcome = outcome(1, 0, Breach::None).await.unwrap();
        assert!(outcome.verified, "{:?}", outcome.problems);
        assert_eq!((outcome.events, outcome.migrations), (1, 300));
    }

    #[tokio::test(start_paused = true)]
    async fn every_harm_on_every_way_is_found_out_as_what_it_is() {
        for way in [Way::Feed, Way::Site, Way::Alerts] {
            for (harm, counts) in [
                (Harm::Loses, (1, 0, 0)),
                (Harm::Doubles, (0, 1, 0)),
                (Harm::Reorders, (0, 0, 1)),
            ] {
                let outcome = outcome(6_000, 50, Breach::Harms(way, harm)).await.unwrap();
                let found = (outcome.lost, outcome.duplicated, outcome.reordered);
                assert_eq!(found, counts, "{way:?} {harm:?}: {:?}", outcome.problems);
                assert!(!outcome.verified, "{way:?} {harm:?}");
                let first = &outcome.problems[0];
                let whose = match (way, harm) {
                    // Counts come out right: only the numbers tell.
                    (_, Harm::Reorders) => "1 messages were taken in out of order",
                    (Way::Feed, _) => "visitor/",
                    (Way::Site, _) => "site/main: events",
                    (Way::Alerts, _) => "alerts/main: errors",
                };
                assert!(first.starts_with(whose), "{way:?} {harm:?}: {first}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_given_up_is_found_out() {
        let outcome = outcome(3_000, 50, Breach::GivesUp).await.unwrap();
        assert!(!outcome.verified);
        assert_eq!(outcome.lost, 1);
        let problems = outcome.problems.join("\n");
        assert!(
            problems.contains("gave up 1 events") && problems.contains("expired"),
            "{problems}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_migrations_the_events_are_fed_and_the_proof_fails() {
        let outcome = outcome(1_000, 0, Breach::Stays).await.unwrap();
        assert!(!outcome.verified);
        assert_eq!((outcome.migrations, outcome.lost), (0, 0));
        assert!(
            outcome.problems[0].contains("only 0 of 300"),
            "{:?}",
            outcome.problems
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_takes_nothing_is_given_up() {
        let error = outcome(1_000, 0, Breach::Refuses).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("60 seconds") && text.contains("the mailbox is full"),
            "{text}"
        );
    }
}
