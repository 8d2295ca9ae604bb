//! Messages that ended without being applied, as many as are kept.

use std::collections::VecDeque;

use phoenix_core::control::DeadLetter;

/// Bytes kept in all, 64 MiB.
const MAX_BYTES: usize = 64 << 20;

/// What had to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushedOut {
    /// Letters.
    pub letters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The last dead letters of a node; older ones make room for newer ones, and are counted.
#[derive(Debug)]
pub struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    max_letters: usize,
    max_bytes: usize,
    bytes: usize,
    numbered: u64,
    pushed_out: PushedOut,
}

impl DeadLetters {
    /// Keeps at most so many, and 64 MiB.
    pub fn new(max_letters: usize) -> Self {
        Self::with_bounds(max_letters, MAX_BYTES)
    }

    /// Keeps at most so many letters and bytes.
    pub fn with_bounds(max_letters: usize, max_bytes: usize) -> Self {
        Self {
            letters: VecDeque::new(),
            max_letters,
            max_bytes,
            bytes: 0,
            numbered: 0,
            pushed_out: PushedOut::default(),
        }
    }

    /// Takes a letter in and gives it its number, from 1. One that is larger
    /// than all room is counted and not kept.
    pub fn push(&mut self, mut letter: DeadLetter) -> u64 {
        self.numbered += 1;
        letter.number = self.numbered;
        self.bytes += size(&letter);
        self.letters.push_back(letter);
        while self.letters.len() > self.max_letters || self.bytes > self.max_bytes {
            let Some(oldest) = self.letters.pop_front() else {
                break;
            };
            let bytes = size(&oldest);
            self.bytes -= bytes;
            self.pushed_out.letters += 1;
            self.pushed_out.bytes += bytes as u64;
        }
        self.numbered
    }

    /// At most `limit` letters, oldest first.
    pub fn list(&self, limit: usize) -> Vec<DeadLetter> {
        self.letters.iter().take(limit).cloned().collect()
    }

    /// Letters kept.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What had to make room so far.
    pub fn pushed_out(&self) -> PushedOut {
        self.pushed_out
    }
}

/// Bytes a letter counts for.
fn size(letter: &DeadLetter) -> usize {
    /// What it costs beside its texts and payload.
    const OVERHEAD: usize = 160;
    OVERHEAD
        + letter.from.len()
        + letter.method.len()
        + letter.payload.bytes.len()
        + letter.reason.len()
        + letter.detail.len()
}

#[cfg(test)]
mod tests {
    use phoenix_core::{AgentId, Millis, NodeId, Payload};

    use super::*;

    fn letter(bytes: usize) -> DeadLetter {
        DeadLetter {
            node: NodeId(1),
            number: 0,
            at: Millis(1),
            from: "client/a".into(),
            to: AgentId::new("counter/a").unwrap(),
            method: "add".into(),
            payload: Payload {
                bytes: vec![0; bytes].into(),
                ..Payload::default()
            },
            reason: "trapped".into(),
            detail: "".into(),
            attempts: 3,
        }
    }

    fn numbers(letters: &DeadLetters) -> Vec<u64> {
        letters.list(100).iter().map(|l| l.number).collect()
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut letters = DeadLetters::new(3);
        for _ in 0..5 {
            letters.push(letter(10));
        }
        assert_eq!(numbers(&letters), [3, 4, 5]);
        assert_eq!(letters.pushed_out().letters, 2);
        assert_eq!(letters.list(1).len(), 1);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut letters = DeadLetters::with_bounds(100, 1_000);
        letters.push(letter(300));
        letters.push(letter(300));
        assert_eq!(numbers(&letters), [1, 2]);
        letters.push(letter(600));
        assert_eq!(numbers(&letters), [3]);
        letters.push(letter(5_000));
        assert!(letters.is_empty(), "one that never fits is not kept");
        assert_eq!((letters.bytes(), letters.pushed_out().letters), (0, 4));
        assert_eq!(letters.push(letter(1)), 5, "numbers go on");
    }
}
