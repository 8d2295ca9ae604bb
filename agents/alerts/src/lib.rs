//! Errors that come in bursts, as the sample agent `alerts/main`: five of one
//! visitor, or of all together, within a minute. It hears of them by a subscription of its
//! kind to the topic of the log, whose filter lets errors through alone, and counts each
//! minute of them in a window.

mod bursts;

use std::collections::BTreeMap;

use phoenix_sdk::prelude::*;
use phoenix_sdk::window::{Closed, Count, Windows};
use serde::{Deserialize, Serialize};
use visits::{Deviations, Event, Sequence};

use crate::bursts::{ERRORS, Watch};

/// Most errors whose times are kept, fewer in tests. Later ones are only counted,
/// and the report says how many.
const MAX_ERRORS: usize = if cfg!(test) { 8_000 } else { 500_000 };

/// Most alerts in one answer.
const PAGE: usize = 1_000;

/// The state of the watch.
pub struct Alerts {
    site: Watch,
    /// Errors by the minute. Events come in the order in which they are fed, not in that
    /// of their times: windows close when the report is made, on a copy.
    minutes: Windows<Count>,
    visitors: BTreeMap<String, Visitor>,
    untracked: u64,
}

#[derive(Default)]
struct Visitor {
    watch: Watch,
    sequence: Sequence,
}

/// A burst of errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Whose: a visitor's id, or none if it takes all visitors together.
    pub visitor: Option<String>,
    /// The first error's time, seconds since 1970-01-01 UTC.
    pub from: i64,
    /// The last one's.
    pub to: i64,
}

/// What the watch says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Errors heard of.
    pub errors: u64,
    /// Visitors they came from.
    pub visitors: u64,
    /// Bursts among them.
    pub alerts: u64,
    /// Minutes of the clock with so many errors that they would be a burst.
    pub minutes: u64,
    /// Errors that were only counted, because too many are kept.
    pub untracked: u64,
    /// What did not come as it should from the visitors.
    pub deviations: Deviations,
}

#[agent]
impl Alerts {
    #[init]
    fn new() -> Result<Self, Failure> {
        let minutes = Windows::tumbling(Duration::from_secs(60))?;
        Ok(Self {
            site: Watch::default(),
            minutes: minutes.by_clock().max_open(MAX_ERRORS as u64),
            visitors: BTreeMap::new(),
            untracked: 0,
        })
    }

    /// A request was answered with an error.
    pub fn fault(&mut self, ctx: &mut Context, event: Event) {
        let source = format!("visitor/{}", event.visitor);
        let visitor = self.visitors.entry(source.clone()).or_default();
        visitor.sequence.hear(event.errors);
        if self.site.errors() >= MAX_ERRORS {
            self.untracked += 1;
            return;
        }
        if let Ok(seconds) = u64::try_from(event.at) {
            let time = Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000));
            // None closes by an event's time.
            let _ = self.minutes.add(time, &());
        }
        if let Some(burst) = visitor.watch.add(event.at) {
            let line = format!("{ERRORS} errors of {source} within {} s", burst.seconds());
            ctx.warn(line);
        }
        if let Some(burst) = self.site.add(event.at) {
            ctx.warn(format_args!(
                "{ERRORS} errors of all visitors within {} s",
                burst.seconds()
            ));
        }
    }

    /// What was heard so far.
    pub fn report(&self) -> Report {
        let mut deviations = Deviations::default();
        let mut alerts = self.site.bursts().count() as u64;
        for visitor in self.visitors.values() {
            deviations.add(visitor.sequence.deviations());
            alerts += visitor.watch.bursts().count() as u64;
        }
        let minutes = self
            .minutes
            .clone()
            .advance(Timestamp::from_nanos(u64::MAX));
        let busy = |minute: &&Closed<Count>| minute.value.get() >= ERRORS as u64;
        Report {
            minutes: minutes.iter().filter(busy).count() as u64,
            errors: self.site.errors() as u64 + self.untracked,
            visitors: self.visitors.len() as u64,
            alerts,
            untracked: self.untracked,
            deviations,
        }
    }

    /// The bursts, those of the site first, then by visitor: at most a
    /// thousand, from the one with number `from`, counted from 0.
    pub fn alerts(&self, from: u64) -> Vec<Alert> {
        let site = self.site.bursts().map(|burst| (None, burst));
        let visitors = self
            .visitors
            .iter()
            .flat_map(|(id, visitor)| visitor.watch.bursts().map(move |burst| (Some(id), burst)));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let page = site.chain(visitors).skip(from).take(PAGE);
        page.map(|(visitor, burst)| Alert {
            visitor: visitor.cloned(),
            from: burst.from,
            to: burst.to,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phoenix_sdk::testing::TestContext;

    fn hear(test: &mut TestContext<Alerts>, visitor: &str, n: u64, at: i64) {
        let event = Event {
            visitor: visitor["visitor/".len()..].to_owned(),
            n: 2 * n,
            errors: n,
            at,
            status: 503,
            bytes: 0,
        };
        test.send(AlertsRequests::fault(event)).unwrap();
    }

    fn alert(visitor: Option<&str>, from: i64, to: i64) -> Alert {
        Alert {
            visitor: visitor.map(Into::into),
            from,
            to,
        }
    }

    #[test]
    fn bursts_of_one_visitor_and_of_all_are_told_apart() {
        let mut test = TestContext::<Alerts>::new("alerts/main");
        for n in 1..=4 {
            hear(&mut test, "visitor/a", n, 100);
        }
        assert!(test.take_logs().is_empty());
        hear(&mut test, "visitor/b", 1, 130);
        let logs = test.take_logs();
        assert_eq!(logs.len(), 1, "five of all together");
        assert!(
            logs[0]
                .text
                .contains("5 errors of all visitors within 30 s")
        );
        hear(&mut test, "visitor/a", 5, 160);
        let logs = test.take_logs();
        assert_eq!(
            logs.len(),
            1,
            "five of one visitor; the site's burst goes on"
        );
        assert!(
            logs[0].text.contains("of visitor/a within 60 s"),
            "{logs:?}"
        );

        let report = test.call(AlertsRequests::report()).unwrap();
        let expected = Report {
            errors: 6,
            visitors: 2,
            alerts: 2,
            // From 100 s to 119 s; the two others are in the next minutes.
            minutes: 0,
            untracked: 0,
            deviations: Deviations::default(),
        };
        assert_eq!(report, expected);
        let alerts = test.call(AlertsRequests::alerts(0)).unwrap();
        let expected = [alert(None, 100, 160), alert(Some("visitor/a"), 100, 160)];
        assert_eq!(alerts, expected);
        assert_eq!(test.call(AlertsRequests::alerts(1)).unwrap(), expected[1..]);
        assert!(test.call(AlertsRequests::alerts(2)).unwrap().is_empty());
    }

    #[test]
    fn errors_that_are_not_kept_are_counted_and_checked() {
        let mut test = TestContext::<Alerts>::new("alerts/main");
        for n in 1..=MAX_ERRORS as u64 {
            // Far enough apart to be no burst.
            hear(&mut test, "visitor/a", n, i64::try_from(n).unwrap() * 100);
        }
        test.take_logs();
        // A burst, one of them twice and one not at all.
        for n in [1, 2, 3, 3, 4, 5, 7] {
            hear(&mut test, "visitor/b", n, 50);
        }
        assert!(test.take_logs().is_empty());
        let report = test.call(AlertsRequests::report()).unwrap();
        let expected = Report {
            errors: MAX_ERRORS as u64 + 7,
            visitors: 2,
            alerts: 0,
            minutes: 0,
            untracked: 7,
            deviations: Deviations {
                lost: 1,
                duplicated: 1,
                reordered: 0,
            },
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn alerts_come_in_pages() {
        let mut test = TestContext::<Alerts>::new("alerts/main");
        let mut n = 0;
        for burst in 0..1_200 {
            for _ in 0..ERRORS {
                n += 1;
                hear(&mut test, "visitor/a", n, burst * 1_000);
            }
        }
        let first = test.call(AlertsRequests::alerts(0)).unwrap();
        assert_eq!(first.len(), PAGE);
        let rest = test.call(AlertsRequests::alerts(2_000)).unwrap();
        assert_eq!(
            rest.len(),
            400,
            "1,200 of the site and 1,200 of the visitor"
        );
        assert_eq!(rest[399], alert(Some("visitor/a"), 1_199_000, 1_199_000));
    }
}
