//! The last log lines of a node and its agents.

use std::collections::VecDeque;

use phoenix_core::AgentId;
use phoenix_core::control::LogLine;

/// Bytes kept in all, 32 MiB.
const MAX_BYTES: usize = 32 << 20;

/// The last log lines; older ones make room for newer ones, and are counted.
#[derive(Debug)]
pub struct LogRing {
    lines: VecDeque<LogLine>,
    max_lines: usize,
    max_bytes: usize,
    bytes: usize,
    numbered: u64,
    pushed_out: u64,
}

impl LogRing {
    /// Keeps at most so many lines, and 32 MiB.
    pub fn new(max_lines: usize) -> Self {
        Self::with_bounds(max_lines, MAX_BYTES)
    }

    /// Keeps at most so many lines and bytes.
    pub fn with_bounds(max_lines: usize, max_bytes: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            max_lines,
            max_bytes,
            bytes: 0,
            numbered: 0,
            pushed_out: 0,
        }
    }

    /// Takes a line in and gives it its number, from 1.
    pub fn push(&mut self, mut line: LogLine) -> u64 {
        self.numbered += 1;
        line.number = self.numbered;
        self.bytes += size(&line);
        self.lines.push_back(line);
        while self.lines.len() > self.max_lines || self.bytes > self.max_bytes {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= size(&oldest);
            self.pushed_out += 1;
        }
        self.numbered
    }

    /// At most `limit` lines, oldest first, of one agent or of all: the first
    /// ones after number `after`, or the last ones there are.
    pub fn read(&self, agent: Option<&AgentId>, after: Option<u64>, limit: usize) -> Vec<LogLine> {
        let wanted = |line: &&LogLine| agent.is_none() || line.agent.as_ref() == agent;
        match after {
            Some(after) => {
                let start = self.lines.partition_point(|line| line.number <= after);
                let later = self.lines.range(start..);
                later.filter(wanted).take(limit).cloned().collect()
            }
            None => {
                let newest = self.lines.iter().rev();
                let mut last: Vec<LogLine> = newest.filter(wanted).take(limit).cloned().collect();
                last.reverse();
                last
            }
        }
    }

    /// Lines kept.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lines that had to make room so far.
    pub fn pushed_out(&self) -> u64 {
        self.pushed_out
    }
}

/// Bytes a line counts for.
fn size(line: &LogLine) -> usize {
    /// What it costs beside its text.
    const OVERHEAD: usize = 80;
    OVERHEAD + line.text.len()
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

    fn numbers(lines: &[LogLine]) -> Vec<u64> {
        lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn lines_are_followed_by_number() {
        let mut ring = LogRing::new(4);
        for i in 0..6 {
            let agent = if i % 2 == 0 { Some("counter/a") } else { None };
            ring.push(line(agent, "hello"));
        }
        let agent = AgentId::new("counter/a").unwrap();
        assert_eq!(numbers(&ring.read(None, Some(0), 100)), [3, 4, 5, 6]);
        assert_eq!(numbers(&ring.read(None, Some(4), 1)), [5]);
        assert_eq!(numbers(&ring.read(None, None, 2)), [5, 6], "the last ones");
        assert_eq!(numbers(&ring.read(Some(&agent), Some(0), 100)), [3, 5]);
        assert_eq!(numbers(&ring.read(None, Some(6), 100)), [0_u64; 0]);
        assert_eq!(ring.pushed_out(), 2);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut ring = LogRing::with_bounds(1_000, 500);
        for _ in 0..10 {
            ring.push(line(None, &"x".repeat(100)));
        }
        assert_eq!(ring.len(), 2);
    }
}
