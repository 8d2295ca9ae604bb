//! One visitor of a website, as the sample agent `visitor/ADDR`: what it asked
//! for, in how many sessions, and whether every request was heard of once and
//! in order. It lives by a subscription of its kind to the topic of the log, and tells
//! `site/main` of each request.

mod sessions;

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use visits::{Deviations, Event, FIRST_ERROR, Sequence, Site, Statuses, Visit};

use crate::sessions::Sessions;

/// The agent that adds everything up.
const SITE: &str = "site/main";

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
    /// Errors.
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

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_sdk::testing::TestContext;

    fn event(n: u64, at: i64, status: u16, bytes: u64) -> Event {
        Event {
            visitor: "2001:db8::1".to_owned(),
            n,
            errors: 0,
            at,
            status,
            bytes,
        }
    }

    fn told_site(n: u64, status: u16, bytes: u64, sessions: i64) -> Visit {
        Visit {
            n,
            status,
            bytes,
            sessions,
        }
    }

    #[test]
    fn each_request_is_kept_and_told() {
        let mut test = TestContext::<Visitor>::new("visitor/2001:db8::1");
        for event in [
            event(1, 10_000, 200, 5),
            event(2, 20_000, 200, 7),
            event(3, 20_060, 404, 0),
            // Late, and between the two sessions so near to both that it joins them.
            event(4, 11_800, 500, 1),
        ] {
            test.send(VisitorRequests::event(event)).unwrap();
        }
        let sent = test.take_sent();
        let site = [
            told_site(1, 200, 5, 1),
            told_site(2, 200, 7, 1),
            told_site(3, 404, 0, 0),
            told_site(4, 500, 1, 0),
        ];
        assert!(sent.iter().all(|sent| sent.to == SITE), "{sent:?}");
        let told: Vec<Visit> = sent.iter().map(|sent| sent.arguments()).collect();
        assert_eq!(told, site);
        let report = test.call(VisitorRequests::report()).unwrap();
        let expected = Report {
            events: 4,
            bytes: 13,
            statuses: Statuses::from([(200, 2), (404, 1), (500, 1)]),
            sessions: 2,
            untracked: 0,
            errors: 2,
            deviations: Deviations::default(),
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn what_does_not_come_once_and_in_order_is_counted() {
        let mut test = TestContext::<Visitor>::new("visitor/192.0.2.1");
        for n in [1, 2, 2, 5, 4] {
            test.send(VisitorRequests::event(event(n, 0, 200, 0)))
                .unwrap();
        }
        let report = test.call(VisitorRequests::report()).unwrap();
        let deviations = Deviations {
            lost: 1,
            duplicated: 1,
            reordered: 1,
        };
        assert_eq!((report.events, report.deviations), (5, deviations));
    }

    #[test]
    fn a_report_is_readable_json() {
        let mut test = TestContext::<Visitor>::new("visitor/192.0.2.1");
        let event = r#"{"visitor": "192.0.2.1", "n": 1, "errors": 0, "at": 1431857103,
                        "status": 200, "bytes": 203023}"#;
        test.call_json("event", event).unwrap();
        let report = test.call_json("report", "").unwrap();
        assert!(
            report.contains(r#""statuses":{"200":1}"#) && report.contains(r#""bytes":203023"#),
            "{report}"
        );
    }
}
