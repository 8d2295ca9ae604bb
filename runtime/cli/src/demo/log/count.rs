//! The count the agents are held against.
//!
//! It is made the plainest way there is: all times are kept, sorted at the end,
//! and walked once. The agents see one event at a time, in pieces, on machines
//! that change under them, and must arrive at the same.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, LogReader, Malformed, ReadError, Record};

/// A visit ends where its visitor is silent for longer, seconds.
const SESSION_GAP: i64 = 30 * 60;

/// The first status that counts as an error.
pub(crate) const FIRST_ERROR: u16 = 400;

/// So many errors within [`BURST_SPAN`] are a burst.
const BURST_ERRORS: usize = 5;

/// Longest time in which [`BURST_ERRORS`] errors are a burst, seconds.
const BURST_SPAN: i64 = 60;

/// Malformed lines that are reported by their numbers; the others are only counted.
pub(crate) const MALFORMED_KEPT: usize = 1_000;

/// How often each status was answered.
pub(crate) type Statuses = BTreeMap<u16, u64>;

/// Errors close together: from the first one's time to the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Burst {
    /// The first error's time, seconds since 1970-01-01 UTC.
    pub(crate) from: i64,
    /// The last one's.
    pub(crate) to: i64,
}

/// Errors of one visitor, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    /// How many.
    pub(crate) count: u64,
    /// Where they came close together, in order of time.
    pub(crate) bursts: Vec<Burst>,
    /// Minutes of the clock with [`BURST_ERRORS`] of them or more.
    pub(crate) minutes: u64,
}

/// One visitor, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VisitorCount {
    /// Lines.
    pub(crate) events: u64,
    /// Bytes answered.
    pub(crate) bytes: u64,
    /// Lines by status.
    pub(crate) statuses: Statuses,
    /// Visits.
    pub(crate) sessions: u64,
    /// Answers that were errors.
    pub(crate) errors: Errors,
}

/// A whole log, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// By visitor.
    pub(crate) visitors: BTreeMap<Box<str>, VisitorCount>,
    /// All of them; its bursts are those of all visitors' errors together.
    pub(crate) total: VisitorCount,
    /// Lines that were not in the format.
    pub(crate) malformed: u64,
    /// The first [`MALFORMED_KEPT`] of them.
    pub(crate) malformed_lines: Vec<Malformed>,
}

/// Counts a log.
#[derive(Debug, Default)]
pub(crate) struct Count {
    visitors: HashMap<Box<str>, Tally>,
    malformed: u64,
    malformed_lines: Vec<Malformed>,
}

#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    statuses: Statuses,
    times: Vec<i64>,
    errors: Vec<i64>,
}

impl Count {
    /// Counts all of `reader`.
    pub(crate) fn all<R: std::io::BufRead>(reader: LogReader<R>) -> Result<Counted, ReadError> {
        let mut count = Self::default();
        for record in reader {
            match record? {
                Record::Entry(entry) => count.entry(&entry),
                Record::Malformed(line) => count.malformed(line),
            }
        }
        Ok(count.finish())
    }

    /// Counts a line.
    pub(crate) fn entry(&mut self, entry: &Entry) {
        if !self.visitors.contains_key(&entry.visitor) {
            self.visitors
                .insert(entry.visitor.clone(), Tally::default());
        }
        let Some(tally) = self.visitors.get_mut(&entry.visitor) else {
            return;
        };
        tally.bytes = tally.bytes.saturating_add(entry.bytes);
        *tally.statuses.entry(entry.status).or_default() += 1;
        tally.times.push(entry.at);
        if entry.status >= FIRST_ERROR {
            tally.errors.push(entry.at);
        }
    }

    fn malformed(&mut self, line: Malformed) {
        self.malformed += 1;
        if self.malformed_lines.len() < MALFORMED_KEPT {
            self.malformed_lines.push(line);
        }
    }

    /// The count.
    pub(crate) fn finish(self) -> Counted {
        let mut total = VisitorCount::default();
        let mut all_errors = Vec::new();
        let mut visitors = BTreeMap::new();
        for (visitor, tally) in self.visitors {
            all_errors.extend_from_slice(&tally.errors);
            let count = VisitorCount {
                events: tally.times.len() as u64,
                bytes: tally.bytes,
                sessions: sessions(tally.times),
                errors: errors(tally.errors),
                statuses: tally.statuses,
            };
            total.events += count.events;
            total.bytes = total.bytes.saturating_add(count.bytes);
            total.sessions += count.sessions;
            for (status, events) in &count.statuses {
                *total.statuses.entry(*status).or_default() += events;
            }
            visitors.insert(visitor, count);
        }
        total.errors = errors(all_errors);
        Counted {
            visitors,
            total,
            malformed: self.malformed,
            malformed_lines: self.malformed_lines,
        }
    }
}

/// Visits in a visitor's times: one, and one more after each longer silence.
fn sessions(mut times: Vec<i64>) -> u64 {
    times.sort_unstable();
    let silences = times
        .windows(2)
        .filter(|pair| matches!(pair, [earlier, later] if later - earlier > SESSION_GAP))
        .count();
    (silences + usize::from(!times.is_empty())) as u64
}

/// Every stretch of errors whose [`BURST_ERRORS`] neighbours lie within
/// [`BURST_SPAN`], joined where two stretches share a time.
fn errors(mut times: Vec<i64>) -> Errors {
    times.sort_unstable();
    let mut bursts: Vec<Burst> = Vec::new();
    for window in times.windows(BURST_ERRORS) {
        let (Some(&from), Some(&to)) = (window.first(), window.last()) else {
            continue;
        };
        if to - from > BURST_SPAN {
            continue;
        }
        match bursts.last_mut() {
            Some(last) if from <= last.to => last.to = to,
            _ => bursts.push(Burst { from, to }),
        }
    }
    let minutes = times.chunk_by(|one, other| one / 60 == other / 60);
    let busy = minutes.filter(|minute| minute.len() >= BURST_ERRORS && minute.first() >= Some(&0));
    Errors {
        count: times.len() as u64,
        minutes: busy.count() as u64,
        bursts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::log::open;
    use std::io::Write;
    use std::path::Path;

    fn line(visitor: &str, minute: u32, second: u32, status: u16, bytes: u64) -> String {
        format!(
            "{visitor} - - [17/May/2015:{:02}:{:02}:{second:02} +0000] \"GET / HTTP/1.1\" {status} {bytes} \"-\" \"-\"\n",
            10 + minute / 60,
            minute % 60
        )
    }

    fn count(text: &str) -> Counted {
        Count::all(LogReader::new(text.as_bytes())).unwrap()
    }

    #[test]
    fn sessions_end_after_half_an_hour_of_silence() {
        let text = [
            line("a", 0, 0, 200, 1),
            line("a", 30, 0, 200, 1),
            line("a", 60, 1, 200, 1),
            line("b", 90, 0, 200, 1),
            // Written late, and joins what came before to what came after.
            line("b", 30, 0, 200, 1),
            line("b", 60, 0, 200, 1),
        ]
        .concat();
        let counted = count(&text);
        assert_eq!(counted.visitors["a"].sessions, 2);
        assert_eq!(counted.visitors["b"].sessions, 1);
        assert_eq!(counted.total.sessions, 3);
        assert_eq!(counted.total.events, 6);
    }

    #[test]
    fn bursts_are_five_errors_within_a_minute() {
        let four: String = (0..4).map(|i| line("a", 0, i * 20, 404, 0)).collect();
        assert!(count(&four).visitors["a"].errors.bursts.is_empty());
        let fifth = four.clone() + &line("b", 1, 0, 500, 0);
        let counted = count(&fifth);
        assert!(counted.visitors["a"].errors.bursts.is_empty());
        assert_eq!(counted.total.errors.count, 5);
        let from = 1_431_856_800;
        assert_eq!(
            counted.total.errors.bursts,
            [Burst {
                from,
                to: from + 60
            }]
        );
        assert_eq!(
            counted.total.errors.minutes, 0,
            "the fifth is in the next one"
        );
        let in_one: String = (0..5).map(|i| line("a", 0, i * 14, 404, 0)).collect();
        assert_eq!(count(&in_one).total.errors.minutes, 1);
        let sixth = fifth + &line("a", 1, 20, 404, 0);
        assert_eq!(
            count(&sixth).total.errors.bursts,
            [Burst {
                from,
                to: from + 80
            }],
            "a burst goes on while five neighbours are close"
        );
    }

    #[test]
    fn malformed_lines_are_counted_and_the_first_are_kept() {
        let text = line("a", 0, 0, 200, 7) + &"nonsense\n".repeat(1_234);
        let counted = count(&text);
        assert_eq!(counted.malformed, 1_234);
        assert_eq!(counted.malformed_lines.len(), MALFORMED_KEPT);
        assert_eq!(counted.malformed_lines[0].line, 2);
        assert_eq!(counted.malformed_lines.last().unwrap().line, 1_001);
        assert_eq!(counted.total.bytes, 7);
    }

    /// The real log is not part of the repository: it lies beside it, or where
    /// `PHOENIX_TEST_LOG` says.
    #[test]
    fn a_real_log() {
        let beside =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/access-1.log.gz");
        let path = std::env::var_os("PHOENIX_TEST_LOG").map_or(beside, Into::into);
        if !path.is_file() {
            // Past the harness, which keeps what tests that pass have printed.
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "SKIPPED a_real_log: there is no {}", path.display());
            return;
        }
        let counted = Count::all(LogReader::new(open(&path).unwrap())).unwrap();
        let total = &counted.total;
        assert_eq!(total.events, 5_000);
        assert_eq!(counted.malformed, 0);
        assert_eq!(counted.visitors.len(), 965);
        assert_eq!(total.bytes, 1_312_869_333);
        let statuses = [
            (200, 4_450),
            (206, 21),
            (301, 113),
            (304, 305),
            (403, 1),
            (404, 108),
            (500, 2),
        ];
        assert_eq!(total.statuses, Statuses::from(statuses));
    }
}
