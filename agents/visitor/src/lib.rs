//! One visitor of a website, as the sample agent `visitor/ADDR`: what it asked
//! for, in how many sessions, and whether every request was heard of once and
//! in order. It tells `site/main` of each request and `alerts/main` of errors.

mod sessions;

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use visits::{Alerts, Deviations, Event, FIRST_ERROR, Fault, Sequence, Site, Statuses, Visit};

use crate::sessions::Sessions;

/// The agent that adds everything up.
const SITE: &str = "site/main";

/// The agent that hears of errors.
const ALERTS: &str = "alerts/main";

/// A visitor's state.
#[derive(Default)]
pub struct Visitor {
    events: u64,
    bytes: u64,
    statuses: Statuses,
    errors: u64,
    sessions: Sessions,
    sequence: Sequence,
}

/// What a visitor says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Requests heard of; each was told to `site/main`.
    pub events: u64,
    /// Bytes they were answered with.
    pub bytes: u64,
    /// Requests by status.
    pub statuses: Statuses,
    /// Sessions.
    pub sessions: u64,
    /// Events that would have begun one more session than is kept.
    pub untracked: u64,
    /// Errors; each was told to `alerts/main`.
    pub errors: u64,
    /// What did not come as it should from the feed.
    pub deviations: Deviations,
}

#[agent]
impl Visitor {
    /// A request was made.
    pub fn event(&mut self, ctx: &mut Context, event: Event) {
        self.sequence.hear(event.n);
        self.events += 1;
        self.bytes = self.bytes.saturating_add(event.bytes);
        *self.statuses.entry(event.status).or_default() += 1;
        let visit = Visit {
            n: self.events,
            status: event.status,
            bytes: event.bytes,
            sessions: self.sessions.add(event.at),
        };
        ctx.send(SITE, Site::visit(visit));
        if event.status >= FIRST_ERROR {
            self.errors += 1;
            let fault = Fault {
                n: self.errors,
                at: event.at,
                status: event.status,
            };
            ctx.send(ALERTS, Alerts::fault(fault));
        }
    }

    /// What this visitor did.
    pub fn report(&self) -> Report {
        Report {
            events: self.events,
            bytes: self.bytes,
            statuses: self.statuses.clone(),
            sessions: self.sessions.count(),
            untracked: self.sessions.untracked(),
            errors: self.errors,
            deviations: self.sequence.deviations(),
        }
    }
}
