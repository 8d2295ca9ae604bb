//! Publishes a log on its topic, each event exactly once.
//!
//! ```text
//! lines ─ reader ─┬─ feeder 0 ─┐ batches, to one node after the other
//!   (a thread)    ├─ feeder 1 ─┤
//!                 └─ …        ─┘
//! ```
//!
//! A visitor belongs to one feeder, which has one batch under way, so a
//! visitor's events stay in order. What is refused, or not heard of, is sent
//! again under its own number, before anything newer: the topic's owner takes a
//! number of a feeder once, however often it comes. From there on the events are
//! the cluster's: visitors and `alerts/main` hear of them by subscriptions.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io::BufRead;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{ALERTS, Cluster, Event, Id, SITE, Verdict};
use super::log::{Entry, FIRST_ERROR, LogReader, ReadError, Record};
use super::pace::Pace;
use super::random::mix;
use super::roster::Roster;

/// Feeders, each with one batch under way.
pub(super) const FEEDERS: usize = 4;

/// Most events in a batch.
const BATCH: usize = 64;

/// Events read ahead for a feeder.
const READ_AHEAD: usize = 4_096;

/// Waits after a batch of which nothing was taken: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// How long a feeder goes on without a single event being taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a feed ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The log cannot be read any further.
    #[error("the log could be counted but not fed")]
    Read(#[from] ReadError),
    /// A node says that the feed itself is wrong.
    #[error("node {node} does not take the events: {text}")]
    Request {
        /// Which, from 0.
        node: usize,
        /// What it says.
        text: String,
    },
    /// Nothing is taken any more.
    #[error(
        "no event has been taken for {} seconds; the last answer was: {last}",
        PATIENCE.as_secs()
    )]
    Stalled {
        /// What was last heard.
        last: String,
    },
    /// A feeder or the reader came to an unexpected end.
    #[error("a part of the feed has stopped: {0}")]
    Stopped(String),
}

/// What feeding took.
#[derive(Debug, Default)]
pub(super) struct Effort {
    /// Events sent again.
    pub(super) resent: Cell<u64>,
    /// Events given up by the cluster.
    pub(super) dead: Cell<u64>,
    /// Why the first of them was.
    pub(super) first_dead: RefCell<Option<String>>,
}

/// What feeders share.
pub(super) struct Feed<C> {
    /// Whom to feed.
    pub(super) cluster: Rc<C>,
    /// When to wait.
    pub(super) pace: Rc<Pace>,
    /// Whom to tell who lives.
    pub(super) roster: Rc<Roster>,
    /// What it took.
    pub(super) effort: Rc<Effort>,
}

impl<C> Clone for Feed<C> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            pace: self.pace.clone(),
            roster: self.roster.clone(),
            effort: self.effort.clone(),
        }
    }
}

impl<C: Cluster> Feed<C> {
    /// Feeds all of `lines`. Runs on a local task set.
    pub(super) async fn run(
        self,
        lines: LogReader<Box<dyn BufRead + Send>>,
    ) -> Result<(), FeedError> {
        let mut feeders = JoinSet::new();
        let mut inputs = Vec::with_capacity(FEEDERS);
        for index in 0..FEEDERS {
            let (input, events) = mpsc::channel(READ_AHEAD);
            inputs.push(input);
            feeders.spawn_local(self.clone().feeder(index, events));
        }
        let reader = tokio::task::spawn_blocking(move || read(lines, &inputs));
        // The first feeder that fails ends the others, and the reader with them.
        while let Some(ended) = feeders.join_next().await {
            ended.map_err(|error| FeedError::Stopped(error.to_string()))??;
        }
        reader
            .await
            .map_err(|error| FeedError::Stopped(error.to_string()))??;
        Ok(())
    }

    async fn feeder(
        self,
        index: usize,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<(), FeedError> {
        let mut next = VecDeque::with_capacity(BATCH);
        let mut batch: Vec<Event> = Vec::with_capacity(BATCH);
        let (mut node, mut backoff) = (index, BACKOFF.0);
        let mut place = 0;
        let mut progress = Instant::now();
        loop {
            if batch.is_empty() && next.is_empty() {
                match events.recv().await {
                    Some(event) => next.push_back(event),
                    None => return Ok(()),
                }
                progress = Instant::now();
            }
            while next.len() < BATCH
                && let Ok(event) = events.try_recv()
            {
                next.push_back(event);
            }
            for event in next.iter_mut().filter(|event| event.place == 0) {
                place += 1;
                event.place = place;
            }
            self.top_up(&mut batch, &mut next).await;
            node = (node + 1) % self.cluster.nodes();
            let sent = batch.len();
            let last = self.send(node, index, &mut batch).await?;
            if batch.len() < sent {
                (backoff, progress) = (BACKOFF.0, Instant::now());
            } else if progress.elapsed() > PATIENCE {
                return Err(FeedError::Stalled { last });
            } else {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }

    /// Moves events from `next` to `batch`, as many as fit and the pace allows;
    /// waits for the pace if there is nothing else to send.
    async fn top_up(&self, batch: &mut Vec<Event>, next: &mut VecDeque<Event>) {
        let wanted = next.len().min(BATCH - batch.len()) as u64;
        let take = || Some(self.pace.take(wanted)).filter(|taken| *taken > 0);
        let taken = if batch.is_empty() {
            self.pace.until(take).await
        } else {
            take().unwrap_or(0)
        };
        batch.extend(next.drain(..usize::try_from(taken).unwrap_or(0)));
    }

    /// Sends `batch` and leaves in it what must be sent again, in order. Answers with
    /// the last reason for that.
    async fn send(
        &self,
        node: usize,
        feeder: usize,
        batch: &mut Vec<Event>,
    ) -> Result<String, FeedError> {
        let verdicts = match self.cluster.feed(node, feeder, batch).await {
            Ok(verdicts) if verdicts.len() == batch.len() => verdicts,
            Ok(verdicts) => {
                let (got, sent) = (verdicts.len(), batch.len());
                let text = format!("it answered {got} verdicts to {sent} events");
                return Err(FeedError::Request { node, text });
            }
            // Nobody knows how far it came: all of it goes again.
            Err(error) if error.passing => {
                self.count_resent(batch.len());
                return Ok(error.text);
            }
            Err(error) => {
                return Err(FeedError::Request {
                    node,
                    text: error.text,
                });
            }
        };
        let mut last = String::new();
        let mut ended = 0;
        let mut verdicts = verdicts.into_iter();
        batch.retain(|event| match verdicts.next() {
            Some(Verdict::Applied) => {
                self.roster.note(&event.agent);
                self.roster.note_main(SITE);
                if event.status >= FIRST_ERROR {
                    self.roster.note_main(ALERTS);
                }
                ended += 1;
                false
            }
            Some(Verdict::Dead(reason)) => {
                self.effort.dead.set(self.effort.dead.get() + 1);
                self.effort.first_dead.borrow_mut().get_or_insert_with(|| {
                    format!("event {} of {}: {reason}", event.n, event.agent)
                });
                ended += 1;
                false
            }
            Some(Verdict::Refused(reason)) => {
                last = reason;
                true
            }
            Some(Verdict::Unknown) | None => {
                last = "nothing was heard in time".into();
                true
            }
        });
        self.count_resent(batch.len());
        self.pace.apply(ended);
        Ok(last)
    }

    fn count_resent(&self, events: usize) {
        self.effort
            .resent
            .set(self.effort.resent.get() + events as u64);
    }
}

/// Reads the log, numbers each visitor's events and hands them to the feeders.
/// Ends when the log does, or the feeders.
fn read(
    lines: LogReader<Box<dyn BufRead + Send>>,
    feeders: &[mpsc::Sender<Event>],
) -> Result<(), ReadError> {
    let mut visitors: HashMap<Box<str>, Visitor> = HashMap::new();
    for record in lines {
        let Record::Entry(entry) = record? else {
            continue;
        };
        let feeder = feeder_of(&entry.visitor, feeders.len());
        let event = number(&mut visitors, entry);
        let Some(feeder) = feeders.get(feeder) else {
            continue;
        };
        if feeder.blocking_send(event).is_err() {
            break;
        }
    }
    Ok(())
}

/// A visitor, and how many of its events there were.
struct Visitor {
    agent: Id,
    events: u64,
    errors: u64,
}

fn number(visitors: &mut HashMap<Box<str>, Visitor>, entry: Entry) -> Event {
    let visitor = visitors.entry(entry.visitor);
    let visitor = visitor.or_insert_with_key(|visitor| Visitor {
        agent: format!("visitor/{visitor}").into(),
        events: 0,
        errors: 0,
    });
    visitor.events += 1;
    visitor.errors += u64::from(entry.status >= FIRST_ERROR);
    Event {
        // Its feeder says.
        place: 0,
        agent: visitor.agent.clone(),
        n: visitor.events,
        errors: visitor.errors,
        at: entry.at,
        status: entry.status,
        bytes: entry.bytes,
    }
}

fn feeder_of(visitor: &str, feeders: usize) -> usize {
    let hash = visitor
        .bytes()
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    usize::try_from(hash % feeders.max(1) as u64).unwrap_or(0)
}
