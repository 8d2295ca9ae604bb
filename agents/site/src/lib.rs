//! A whole website, as the sample agent `site/main`: what its visitors did
//! together, and whether it heard of each of their requests once and in order.

use std::collections::HashMap;

use phoenix_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use visits::{Deviations, Sequence, Statuses, Visit};

/// The site's state.
#[derive(Default)]
pub struct Site {
    events: u64,
    bytes: u64,
    statuses: Statuses,
    sessions: i64,
    visitors: HashMap<String, Sequence>,
}

/// What the site says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Requests of all visitors.
    pub events: u64,
    /// Visitors heard of.
    pub visitors: u64,
    /// Bytes answered.
    pub bytes: u64,
    /// Requests by status.
    pub statuses: Statuses,
    /// Sessions of all visitors.
    pub sessions: i64,
    /// What did not come as it should from the visitors.
    pub deviations: Deviations,
}

#[agent]
impl Site {
    /// A visitor tells of a request.
    pub fn visit(&mut self, ctx: &mut Context, visit: Visit) {
        match self.visitors.get_mut(ctx.source()) {
            Some(sequence) => sequence.hear(visit.n),
            None => {
                let mut sequence = Sequence::default();
                sequence.hear(visit.n);
                self.visitors.insert(ctx.source().to_owned(), sequence);
            }
        }
        self.events += 1;
        self.bytes = self.bytes.saturating_add(visit.bytes);
        *self.statuses.entry(visit.status).or_default() += 1;
        self.sessions = self.sessions.saturating_add(visit.sessions);
    }

    /// What the visitors did together.
    pub fn report(&self) -> Report {
        let mut deviations = Deviations::default();
        for sequence in self.visitors.values() {
            deviations.add(sequence.deviations());
        }
        Report {
            events: self.events,
            visitors: self.visitors.len() as u64,
            bytes: self.bytes,
            statuses: self.statuses.clone(),
            sessions: self.sessions,
            deviations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_sdk::testing::TestContext;

    fn visit(n: u64, status: u16, bytes: u64, sessions: i64) -> Visit {
        Visit {
            n,
            status,
            bytes,
            sessions,
        }
    }

    #[test]
    fn visitors_are_added_up_and_checked_each_by_itself() {
        let mut test = TestContext::<Site>::new("site/main");
        for (visitor, visit) in [
            ("visitor/a", visit(1, 200, 5, 1)),
            ("visitor/b", visit(1, 200, 7, 1)),
            ("visitor/a", visit(2, 404, 0, 1)),
            ("visitor/a", visit(3, 200, 2, -1)),
            ("visitor/b", visit(3, 304, 0, 0)),
        ] {
            test.set_source(visitor);
            test.send(SiteRequests::visit(visit)).unwrap();
        }
        let report = test.call(SiteRequests::report()).unwrap();
        let expected = Report {
            events: 5,
            visitors: 2,
            bytes: 14,
            statuses: Statuses::from([(200, 3), (304, 1), (404, 1)]),
            sessions: 2,
            deviations: Deviations {
                lost: 1,
                duplicated: 0,
                reordered: 0,
            },
        };
        assert_eq!(report, expected);
    }
}
