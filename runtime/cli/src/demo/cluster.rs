//! What the demo asks of a cluster.
//!
//! The feed, the migrations and the comparison speak to this trait, so that
//! their tests can put a cluster of their own in its place, one that refuses,
//! forgets and repeats as a test needs it. [`Api`](super::api::Api) is the real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

/// An agent's id, `kind/key`.
pub(super) type Id = Arc<str>;

/// The agent that adds everything up.
pub(super) const SITE: &str = "site/main";

/// The agent that hears of errors; it lives only where there were some.
pub(super) const ALERTS: &str = "alerts/main";

/// The topic that the log is published on.
pub(super) const TOPIC: &str = "log.requests";

/// How the ids of the owners of topics begin.
pub(super) const OWNERS: &str = "topic/";

/// One request of a visitor, on its way to the topic of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Which of its feeder's events it is, from 1. It is the message's sequence number
    /// too, so a repeated one is recognised.
    pub(super) place: u64,
    /// `visitor/ADDR`, the agent that is to hear of it.
    pub(super) agent: Id,
    /// Which of this visitor's requests it is, from 1.
    pub(super) n: u64,
    /// How many of them were answered with an error, this one included.
    pub(super) errors: u64,
    /// Seconds since 1970-01-01 UTC.
    pub(super) at: i64,
    /// The status it was answered with.
    pub(super) status: u16,
    /// The bytes it was answered with.
    pub(super) bytes: u64,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The topic took it in.
    Applied,
    /// It was given up; the text says why.
    Dead(String),
    /// It was not taken now; the text says why.
    Refused(String),
    /// Nothing was heard in time. It may yet be applied.
    Unknown,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct RequestError {
    /// Whether the same request may succeed later.
    pub(super) passing: bool,
    /// What happened.
    pub(super) text: String,
}

/// Agents' ids, and what to give as `after` for the next page, if there is one.
pub(super) type Page = (Vec<String>, Option<String>);

/// A cluster with nodes counted from 0.
pub(super) trait Cluster: 'static {
    /// How many nodes there are.
    fn nodes(&self) -> usize;

    /// Publishes `events` of a feeder through `node`. The answer holds a verdict for each,
    /// in order.
    async fn feed(
        &self,
        node: usize,
        feeder: usize,
        events: &[Event],
    ) -> Result<Vec<Verdict>, RequestError>;

    /// Asks `agent` through `node`.
    async fn ask<T: DeserializeOwned>(
        &self,
        node: usize,
        agent: &str,
        question: Question,
    ) -> Result<T, RequestError>;

    /// Moves `agent` to `node`. Answers with the pause, microseconds; `None`
    /// if it lives there already.
    async fn migrate(&self, agent: &str, node: usize) -> Result<Option<u64>, RequestError>;

    /// Puts `agent` to sleep. `false` if it is busy or sleeps already.
    async fn hibernate(&self, agent: &str) -> Result<bool, RequestError>;

    /// A page of all agents' ids, and what to give as `after` for the next one.
    async fn agents(&self, after: Option<&str>) -> Result<Page, RequestError>;

    /// Kills `node` without warning and starts it again. Answers with how long it was
    /// not to be had.
    async fn kill(&self, node: usize) -> Result<Duration, RequestError>;

    /// What `node` has counted since it started, by name.
    async fn counters(&self, node: usize) -> Result<BTreeMap<String, u64>, RequestError>;
}

/// What an agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// `report()`.
    Report,
    /// `alerts(from)`.
    Alerts {
        /// The first one's number.
        from: u64,
    },
}
