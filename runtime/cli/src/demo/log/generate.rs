//! A made-up log that behaves as real ones do, the same for the same seed.
//!
//! Visits begin at random; who visits is drawn so that the k-th most frequent
//! visitor comes about 1/k as often as the first. A visit is a handful of
//! requests, a crawler's a long even run of them. Now and then the site is in
//! trouble for a few minutes and answers with 5xx. Lines are written when a
//! request ends and stamped when it began, so neighbours may be out of order.
//! Only integers are used: every machine makes the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

use super::stamp;
use crate::demo::random::{Random, mix};

/// When the log begins: 2024-03-04 00:00:00 UTC, in milliseconds.
const BEGIN: i64 = 1_709_510_400_000;

/// Visitors to draw from are 2 to this power; about an eighth of them turn up
/// in 50,000 lines.
const VISITORS_LOG2: u32 = 14;

/// Mean time between the beginnings of two visits, milliseconds.
const VISIT_EVERY: u64 = 22_000;

/// One visitor in so many is a crawler.
const CRAWLER_ONE_IN: u64 = 40;

/// The most frequent visitors are none, so that no crawler outweighs the rest.
const FIRST_CRAWLER: u64 = 16;

/// Mean time between two troubles, milliseconds.
const TROUBLE_EVERY: u64 = 4 * 3_600_000;

/// Longest trouble, milliseconds.
const TROUBLE_LONGEST: u64 = 8 * 60_000;

const PAGES: [&str; 16] = [
    "/",
    "/about",
    "/blog/",
    "/blog/wasm-agents",
    "/blog/live-migration?page=2",
    "/feed.xml",
    "/style.css",
    "/app.js",
    "/favicon.ico",
    "/images/logo.png",
    "/images/cover.jpg",
    "/download/phoenix.tar.gz",
    "/search?q=actor+%22model%22",
    "/docs/",
    "/docs/start",
    "/docs/api",
];

const BROWSERS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_3) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.3 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:123.0) Gecko/20100101 Firefox/123.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    r#"curl/8.6.0 \"quoted\""#,
    "-",
];

const CRAWLERS: [&str; 3] = [
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +http://www.example.com/bot.html)",
    "ExampleSpider/1.0 (+https://spider.example.org)",
    "FeedFetcher",
];

const REFERRERS: [&str; 4] = [
    "-",
    "https://www.example.org/",
    "https://search.example.com/?q=phoenix",
    "https://news.example.net/item?id=1",
];

/// The lines of a made-up log, without their ends.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    left: u64,
    visitors: u64,
    next_visit: i64,
    trouble: (i64, i64),
    visits: BinaryHeap<Reverse<Visit>>,
}

/// A visit under way. The heap is ordered by the next request's time, then by
/// visitor, so that equal times do not depend on the heap's inner order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    next: i64,
    visitor: u64,
    left: u64,
    page: u64,
}

impl Generator {
    /// `lines` lines, made from `seed`.
    pub(crate) fn new(seed: u64, lines: u64) -> Self {
        let mut random = Random::new(seed);
        // The seed also says which addresses there are.
        let visitors = random.next();
        Self {
            random,
            left: lines,
            visitors,
            next_visit: BEGIN,
            trouble: (BEGIN, BEGIN),
            visits: BinaryHeap::new(),
        }
    }

    fn begin_visit(&mut self) {
        let at = self.next_visit;
        self.next_visit += self.random.around(VISIT_EVERY);
        let visitor = self.random.skewed(VISITORS_LOG2);
        let left = if is_crawler(visitor) {
            20 + self.random.below(60)
        } else {
            // One to 32 requests, short visits by far the most frequent.
            1 + self.random.skewed(5)
        };
        self.visits.push(Reverse(Visit {
            next: at,
            visitor,
            left,
            page: self.random.next(),
        }));
    }

    fn status(&mut self, at: i64, crawler: bool) -> u16 {
        if at >= self.trouble.1 {
            let from = at + self.random.around(TROUBLE_EVERY);
            let length = 30_000 + self.random.below(TROUBLE_LONGEST);
            self.trouble = (from, from.saturating_add_unsigned(length));
        }
        let draw = self.random.below(1_000);
        if at >= self.trouble.0 && draw < 600 {
            return match draw % 4 {
                0 => 500,
                1 => 502,
                2 => 504,
                _ => 503,
            };
        }
        match draw {
            0..=819 => 200,
            820..=909 => 304,
            910..=939 => 301,
            940..=949 => 206,
            950..=954 => 403,
            955..=957 => 429,
            958 => 500,
            959 => 408,
            _ if crawler || draw < 975 => 404,
            _ => 302,
        }
    }

    fn line(&mut self, visit: &Visit) -> String {
        let crawler = is_crawler(visit.visitor);
        let status = self.status(visit.next, crawler);
        // Up to two seconds pass between a request's beginning and its line.
        let took = i64::try_from(self.random.below(2_000)).unwrap_or(0);
        let at = (visit.next - took).max(BEGIN).div_euclid(1_000);
        let page = pick(&PAGES, visit.page.wrapping_add(visit.left));
        let agent = if crawler {
            pick(&CRAWLERS, visit.visitor)
        } else {
            pick(&BROWSERS, mix(visit.visitor))
        };
        let referrer = pick(&REFERRERS, if crawler { 0 } else { visit.page });
        let mut line = String::with_capacity(256);
        self.address(visit.visitor, &mut line);
        let _ = write!(
            line,
            " - - [{}] \"GET {page} HTTP/1.1\" {status} ",
            stamp::format(at)
        );
        match status {
            304 => line.push('-'),
            200 | 206 => {
                let bytes = 200 + self.random.skewed(18);
                let _ = write!(line, "{bytes}");
            }
            _ => line.push_str("162"),
        }
        let _ = write!(line, " \"{referrer}\" \"{agent}\"");
        line
    }

    /// A visitor's address: one in twelve has IPv6, one in thirty a name.
    fn address(&self, visitor: u64, line: &mut String) {
        let bits = mix(self.visitors ^ visitor);
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        let _ = if g % 12 == 0 {
            write!(line, "2001:db8:{a:x}{b:02x}:{c:x}::{d:x}{e:02x}:{f:x}")
        } else if h % 30 == 0 {
            write!(line, "host-{:x}.example.net", visitor + 1)
        } else {
            write!(line, "{}.{b}.{c}.{d}", 1 + a % 223)
        };
    }
}

impl Iterator for Generator {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        while self
            .visits
            .peek()
            .is_none_or(|Reverse(visit)| visit.next >= self.next_visit)
        {
            self.begin_visit();
        }
        let Reverse(mut visit) = self.visits.pop()?;
        let line = self.line(&visit);
        if visit.left > 1 {
            visit.left -= 1;
            visit.next += if is_crawler(visit.visitor) {
                5_000
            } else {
                self.random.around(12_000)
            };
            self.visits.push(Reverse(visit));
        }
        Some(line)
    }
}

fn is_crawler(visitor: u64) -> bool {
    visitor >= FIRST_CRAWLER && mix(visitor).is_multiple_of(CRAWLER_ONE_IN)
}

fn pick<'a, const N: usize>(from: &[&'a str; N], by: u64) -> &'a str {
    usize::try_from(by % N as u64)
        .ok()
        .and_then(|index| from.get(index))
        .copied()
        .unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::super::{Count, LogReader};
    use super::*;

    fn text(seed: u64, lines: u64) -> String {
        Generator::new(seed, lines).fold(String::new(), |text, line| text + &line + "\n")
    }

    #[test]
    fn the_same_seed_makes_the_same_log() {
        assert_eq!(text(7, 500), text(7, 500));
        assert_ne!(text(7, 500), text(8, 500));
        assert!(
            text(7, 500).starts_with(&text(7, 100)),
            "a shorter log is its beginning"
        );
    }

    #[test]
    fn every_line_is_well_formed_and_the_skew_is_real() {
        for seed in [0, 1, u64::MAX] {
            let counted = Count::all(LogReader::new(text(seed, 50_000).as_bytes())).unwrap();
            assert_eq!(counted.malformed, 0, "{:?}", counted.malformed_lines);
            assert_eq!(counted.total.events, 50_000);
            let visitors = counted.visitors.len();
            assert!((1_000..5_000).contains(&visitors), "{visitors} visitors");
            let mut events: Vec<u64> = counted.visitors.values().map(|v| v.events).collect();
            events.sort_unstable_by(|a, b| b.cmp(a));
            let top: u64 = events.iter().take(visitors / 10).sum();
            assert!(
                top > 25_000,
                "a tenth of the visitors make {top} of 50,000 requests"
            );
            assert!(*events.last().unwrap() <= 2, "and the rarest hardly any");
            let sessions = counted.total.sessions;
            assert!(
                sessions > 3 * visitors as u64 / 2,
                "visitors come back: {sessions} visits"
            );
            assert!(!counted.total.errors.bursts.is_empty(), "there is trouble");
            assert!(counted.visitors.keys().any(|v| v.contains(':')), "IPv6");
            assert!(
                counted.visitors.keys().any(|v| v.contains("example.net")),
                "names"
            );
            let errors: u64 = counted.total.statuses.range(500..).map(|(_, n)| n).sum();
            assert!((200..5_000).contains(&errors), "{errors} server errors");
        }
    }
}
