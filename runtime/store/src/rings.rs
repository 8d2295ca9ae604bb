//! What is kept in memory and pushes out the oldest: log lines and dead letters.

use std::collections::VecDeque;

use phoenix_core::AgentId;
use phoenix_core::control::{DeadLetter, LogLine};

/// Bytes of log kept at most, whatever the number of lines.
const MAX_LOG_BYTES: usize = 16 << 20;
/// Bytes of dead letters kept at most, whatever their number.
const MAX_LETTER_BYTES: usize = 64 << 20;

/// The latest log lines, numbered from 1.
#[derive(Debug)]
pub struct LogRing {
    lines: VecDeque<LogLine>,
    bound: usize,
    bytes: usize,
    next: u64,
}

impl LogRing {
    /// Room for `bound` lines.
    pub fn new(bound: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            bound: bound.max(1),
            bytes: 0,
            next: 1,
        }
    }

    /// Adds a line; its number is given here.
    pub fn push(&mut self, mut line: LogLine) {
        line.number = self.next;
        self.next += 1;
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > self.bound || self.bytes > MAX_LOG_BYTES {
            let Some(gone) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= gone.text.len();
        }
    }

    /// Lines after the one numbered `after`, or the last `limit`; of one agent or of all.
    pub fn read(&self, agent: Option<&AgentId>, after: Option<u64>, limit: usize) -> Vec<LogLine> {
        let wanted = |line: &&LogLine| {
            agent.is_none_or(|agent| line.agent.as_ref() == Some(agent))
                && after.is_none_or(|after| line.number > after)
        };
        if after.is_some() {
            return self.lines.iter().filter(wanted).take(limit).cloned().collect();
        }
        let mut last: Vec<LogLine> = self
            .lines
            .iter()
            .rev()
            .filter(wanted)
            .take(limit)
            .cloned()
            .collect();
        last.reverse();
        last
    }
}

/// The latest dead letters, numbered from 1.
#[derive(Debug)]
pub struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    bound: usize,
    bytes: usize,
    next: u64,
}

impl DeadLetters {
    /// Room for `bound` letters.
    pub fn new(bound: usize) -> Self {
        Self {
            letters: VecDeque::new(),
            bound: bound.max(1),
            bytes: 0,
            next: 1,
        }
    }

    /// Adds a letter; its number is given here.
    pub fn push(&mut self, mut letter: DeadLetter) {
        letter.number = self.next;
        self.next += 1;
        self.bytes += size(&letter);
        self.letters.push_back(letter);
        while self.letters.len() > self.bound || self.bytes > MAX_LETTER_BYTES {
            let Some(gone) = self.letters.pop_front() else {
                break;
            };
            self.bytes -= size(&gone);
        }
    }

    /// How many have been pushed out.
    pub fn lost(&self) -> u64 {
        self.next - 1 - self.letters.len() as u64
    }

    /// The latest `limit`, oldest first.
    pub fn list(&self, limit: usize) -> Vec<DeadLetter> {
        let skip = self.letters.len().saturating_sub(limit);
        self.letters.iter().skip(skip).cloned().collect()
    }
}

fn size(letter: &DeadLetter) -> usize {
    letter.payload.bytes.len() + letter.detail.len() + letter.method.len()
}

#[cfg(test)]
mod tests {
    use phoenix_core::{Level, Millis};

    use super::*;

    fn line(agent: Option<&str>, text: &str) -> LogLine {
        LogLine {
            number: 0,
            at: Millis(1),
            level: Level::Info,
            agent: agent.map(|agent| AgentId::new(agent).unwrap()),
            text: text.into(),
        }
    }

    #[test]
    fn the_oldest_lines_go_first() {
        let mut ring = LogRing::new(3);
        for n in 1..=5 {
            ring.push(line((n % 2 == 0).then_some("a/b"), &n.to_string()));
        }
        let texts = |lines: Vec<LogLine>| -> Vec<String> {
            lines.iter().map(|line| line.text.to_string()).collect()
        };
        assert_eq!(texts(ring.read(None, None, 10)), ["3", "4", "5"]);
        assert_eq!(texts(ring.read(None, None, 1)), ["5"]);
        assert_eq!(texts(ring.read(None, Some(3), 1)), ["4"]);
        let agent = AgentId::new("a/b").unwrap();
        assert_eq!(texts(ring.read(Some(&agent), None, 10)), ["4"]);
    }
}
