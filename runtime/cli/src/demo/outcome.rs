//! What a demo came to, for people and for programs.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::log::{Counted, Statuses};
use super::verify::Findings;

/// How long agents or nodes stood still, microseconds. Moved agents as their old node
/// saw it: one message's way is left until they run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Pauses {
    /// Half of them at most so long.
    p50: u64,
    /// All but one in a hundred at most so long.
    p99: u64,
    /// The longest.
    max: u64,
}

impl Pauses {
    /// By the nearest rank, so that each is a pause that happened.
    pub(super) fn of(mut pauses: Vec<u64>) -> Self {
        pauses.sort_unstable();
        let rank = |percent: usize| {
            let rank = (pauses.len() * percent).div_ceil(100).max(1);
            pauses.get(rank - 1).copied().unwrap_or(0)
        };
        Self {
            p50: rank(50),
            p99: rank(99),
            max: pauses.last().copied().unwrap_or(0),
        }
    }
}

/// The result of a demo; as JSON, the object that `--json` ends with.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// Events fed.
    pub(super) events: u64,
    /// Agents that lived at the end.
    pub(super) agents: u64,
    /// Visitors in the log.
    pub(super) visitors: u64,
    /// Their sessions.
    pub(super) sessions: u64,
    /// Bytes answered to them.
    pub(super) bytes: u64,
    /// Events by status.
    pub(super) statuses: Statuses,
    /// Bursts of errors.
    pub(super) alerts: u64,
    /// Migrations done.
    pub(super) migrations: u64,
    /// Agents put to sleep, by request or because they were idle.
    pub(super) hibernations: u64,
    /// Agents woken.
    pub(super) wakes: u64,
    /// How long moved agents stood still.
    pub(super) pause_us: Pauses,
    /// Times a node was killed and started again.
    pub(super) kills: u64,
    /// Times an agent was had again from its node's journal.
    pub(super) recoveries: u64,
    /// How long killed nodes were not to be had, microseconds.
    pub(super) down_us: Pauses,
    /// Messages sent and not taken in.
    pub(super) lost: u64,
    /// Messages taken in again.
    pub(super) duplicated: u64,
    /// Messages taken in after later ones.
    pub(super) reordered: u64,
    /// Lines that were not in the format.
    pub(super) malformed_lines: u64,
    /// From the first event to the end of the comparison.
    pub(super) seconds: f64,
    /// Whether every agent's state is as counted.
    pub(super) verified: bool,
    /// What is not as it should be; empty if verified.
    #[serde(skip)]
    pub(super) problems: Vec<String>,
    /// What was not compared, and why.
    #[serde(skip)]
    pub(super) remarks: Vec<String>,
}

impl Outcome {
    /// Puts together what was counted and what was found.
    pub(super) fn new(counted: &Counted, found: Findings) -> Self {
        let total = &counted.total;
        let mut problems = found.shown;
        if found.differences > problems.len() as u64 {
            problems.push(format!(
                "and {} more differences",
                found.differences - problems.len() as u64
            ));
        }
        let deviations = [
            (found.lost, "lost"),
            (found.duplicated, "taken in twice"),
            (found.reordered, "taken in out of order"),
        ];
        for (count, what) in deviations.into_iter().filter(|(count, _)| *count > 0) {
            problems.push(format!("{} messages were {what}", grouped(count)));
        }
        Self {
            events: total.events,
            agents: found.agents,
            visitors: counted.visitors.len() as u64,
            sessions: total.sessions,
            bytes: total.bytes,
            statuses: total.statuses.clone(),
            alerts: found.alerts,
            migrations: 0,
            hibernations: 0,
            wakes: 0,
            pause_us: Pauses::default(),
            kills: 0,
            recoveries: 0,
            down_us: Pauses::default(),
            lost: found.lost,
            duplicated: found.duplicated,
            reordered: found.reordered,
            malformed_lines: counted.malformed,
            seconds: 0.0,
            verified: problems.is_empty(),
            problems,
            remarks: found.remarks,
        }
    }

    /// Adds something that keeps the demo from being a proof.
    pub(super) fn fail(&mut self, problem: String) {
        self.verified = false;
        self.problems.push(problem);
    }

    /// A table and a sentence.
    pub(super) fn human(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        for (name, value) in self.rows() {
            table.add_row([
                Cell::new(name),
                Cell::new(value).set_alignment(CellAlignment::Right),
            ]);
        }
        let mut text = format!("{table}\n");
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        if self.verified {
            let _ = write!(
                text,
                "Verified: each of {} events was counted once by {} agents, which moved {} times \
                 meanwhile{}.",
                grouped(self.events),
                grouped(self.agents),
                grouped(self.migrations),
                match self.kills {
                    0 => String::new(),
                    1 => " and lost a node once".to_owned(),
                    kills => format!(" and lost a node {} times", grouped(kills)),
                }
            );
        } else {
            text.push_str("Not verified:");
            for problem in &self.problems {
                let _ = write!(text, "\n  {problem}");
            }
        }
        text.push('\n');
        text
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| rows.push((name.into(), value));
        row("events", grouped(self.events));
        row("visitors", grouped(self.visitors));
        row("sessions", grouped(self.sessions));
        row("bytes", grouped(self.bytes));
        for (status, events) in &self.statuses {
            row(&format!("status {status:03}"), grouped(*events));
        }
        row("bursts of errors", grouped(self.alerts));
        row("agents", grouped(self.agents));
        row("migrations", grouped(self.migrations));
        row("hibernations", grouped(self.hibernations));
        row("wakes", grouped(self.wakes));
        let pauses = &self.pause_us;
        row("pause, half of them", millis(pauses.p50));
        row("pause, 99 of 100", millis(pauses.p99));
        row("pause, longest", millis(pauses.max));
        if self.kills > 0 {
            row("nodes killed", grouped(self.kills));
            row("agents had again", grouped(self.recoveries));
            row("away, half of them", millis(self.down_us.p50));
            row("away, longest", millis(self.down_us.max));
        }
        row("lost", grouped(self.lost));
        row("duplicated", grouped(self.duplicated));
        row("reordered", grouped(self.reordered));
        row("malformed lines", grouped(self.malformed_lines));
        row("seconds", format!("{:.1}", self.seconds));
        rows
    }
}

/// Microseconds as milliseconds, exactly.
fn millis(micros: u64) -> String {
    format!("{}.{:03} ms", grouped(micros / 1_000), micros % 1_000)
}

/// A number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_pauses_that_happened() {
        assert_eq!(Pauses::of(vec![]), Pauses::default());
        let pauses = Pauses::of((1..=200).rev().collect());
        assert_eq!((pauses.p50, pauses.p99, pauses.max), (100, 198, 200));
        let one = Pauses::of(vec![7]);
        assert_eq!((one.p50, one.p99, one.max), (7, 7, 7));
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_312_869_333, "1,312,869,333"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_was_found_decides() {
        let counted = Counted::default();
        assert!(Outcome::new(&counted, Findings::default()).verified);
        let found = Findings {
            duplicated: 3,
            ..Findings::default()
        };
        let outcome = Outcome::new(&counted, found);
        assert!(!outcome.verified);
        assert!(outcome.human().contains("3 messages were taken in twice"));
        let found = Findings {
            differences: 12,
            shown: vec!["site/main: events is 1 and should be 2".into()],
            ..Findings::default()
        };
        let human = Outcome::new(&counted, found).human();
        assert!(human.contains("and 11 more"), "{human}");
    }

    #[test]
    fn nodes_that_were_killed_are_said_where_there_were_any() {
        let mut outcome = Outcome::new(&Counted::default(), Findings::default());
        assert!(!outcome.human().contains("killed"));
        outcome.kills = 2;
        let human = outcome.human();
        assert!(human.contains("nodes killed"), "{human}");
        assert!(
            human.contains("meanwhile and lost a node 2 times."),
            "{human}"
        );
    }

    #[test]
    fn what_was_not_compared_is_said() {
        let found = Findings {
            remarks: vec!["the bursts are not compared".into()],
            ..Findings::default()
        };
        let outcome = Outcome::new(&Counted::default(), found);
        assert!(outcome.verified);
        let human = outcome.human();
        assert!(
            human.contains("\nthe bursts are not compared\nVerified: "),
            "{human}"
        );
    }

    #[test]
    fn a_person_sees_what_was_counted() {
        let mut counted = Counted::default();
        counted.total.events = 5_000;
        counted.total.bytes = 1_312_869_333;
        counted.total.statuses = Statuses::from([(200, 4_450), (304, 305), (500, 2)]);
        let human = Outcome::new(&counted, Findings::default()).human();
        let words: Vec<&str> = human
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect();
        let words = words.join(" ");
        for said in [
            "events 5,000",
            "bytes 1,312,869,333",
            "status 200 4,450",
            "status 304 305",
            "status 500 2",
        ] {
            assert!(words.contains(said), "{said} in {human}");
        }
    }

    #[test]
    fn the_json_has_the_promised_names() {
        let json = serde_json::to_value(Outcome::new(&Counted::default(), Findings::default()));
        let json = json.unwrap();
        for name in [
            "events",
            "agents",
            "migrations",
            "kills",
            "recoveries",
            "hibernations",
            "wakes",
            "lost",
            "duplicated",
            "reordered",
            "malformed_lines",
            "seconds",
            "verified",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        for name in ["p50", "p99", "max"] {
            assert!(json["pause_us"].get(name).is_some(), "{name}");
            assert!(json["down_us"].get(name).is_some(), "{name}");
        }
    }
}
