//! Which of a journal's files to empty next, and how fast.
//!
//! A journal is a row of files of which only the last is written to. Files go in the
//! order in which they came: the first one is dropped as soon as nothing in it is
//! needed. If too much of the whole is not, what is needed of the first is written
//! anew at the end, at a bounded rate. When at most a share `u` of the files is
//! needed, each byte freed costs at most `u / (1 - u)` bytes written; Rosenblum and
//! Ousterhout work that out for log-structured file systems (1992).

use crate::flow::{Rate, Ready, TokenBucket};
use crate::{BadPolicy, Millis};

/// How a journal is cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaning {
    /// Bytes written anew a second, 64 KiB to 10 GiB; 16 MiB by default.
    pub bytes_per_second: u64,
    /// How much of all files may be unneeded before the first is written anew,
    /// percent, 10 to 90; 50 by default.
    pub waste_percent: u32,
    /// Bytes of files below which nothing is written anew; 256 MiB by default.
    pub spared_bytes: u64,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self {
            bytes_per_second: 16 << 20,
            waste_percent: 50,
            spared_bytes: 256 << 20,
        }
    }
}

impl Cleaning {
    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), BadPolicy> {
        let rate = self.bytes_per_second;
        BadPolicy::check(&[
            ("clean-bytes-per-second", rate, 64 << 10, 10 << 30),
            ("clean-waste-percent", self.waste_percent.into(), 10, 90),
        ])
    }
}

/// What a journal's files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of them that are needed.
    pub live: u64,
    /// Files, the one that is written to included.
    pub files: u32,
    /// Agents of which something in the first file is needed.
    pub pinning: u64,
    /// There is no room: everything that can be freed is wanted.
    pub is_full: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, before something changes.
    Rest,
    /// Drop the first file: nothing in it is needed.
    Drop,
    /// Write anew what is needed of the first file, so many bytes of it now.
    Move(u64),
    /// The same, not before then.
    Wait(Millis),
}

/// Decides what to do, and keeps to the rate.
#[derive(Clone, Debug)]
pub struct Cleaner {
    cleaning: Cleaning,
    budget: TokenBucket,
    /// Bytes that were written beyond what was allowed: an agent's log goes whole.
    debt: u64,
}

/// How much is written anew at once, at most: what others wait behind.
pub const STEP: u64 = 256 << 10;

impl Cleaner {
    /// One that may write a step at once.
    pub fn new(cleaning: Cleaning, now: Millis) -> Self {
        let rate = Rate::per_second(cleaning.bytes_per_second);
        Self {
            cleaning,
            budget: TokenBucket::new(rate, STEP, now),
            debt: 0,
        }
    }

    /// What to do next.
    pub fn next(&mut self, holdings: &Holdings, now: Millis) -> Next {
        if holdings.files < 2 {
            return Next::Rest;
        }
        if holdings.pinning == 0 {
            return Next::Drop;
        }
        if !holdings.is_full && !self.is_wasteful(holdings) {
            return Next::Rest;
        }
        self.pay(now);
        if self.debt > 0 {
            return match self.budget.ready(now, self.debt.min(STEP)) {
                Ready::At(at) => Next::Wait(at),
                Ready::Now | Ready::TooMuch(_) => Next::Wait(now + Millis(1)),
            };
        }
        match self.budget.ready(now, STEP) {
            Ready::Now => Next::Move(STEP),
            Ready::At(at) => Next::Wait(at),
            // The bucket holds a step.
            Ready::TooMuch(_) => Next::Rest,
        }
    }

    /// So many bytes were written anew.
    pub fn moved(&mut self, bytes: u64, now: Millis) {
        self.debt += bytes;
        self.pay(now);
    }

    fn pay(&mut self, now: Millis) {
        while self.debt > 0 {
            let part = self.debt.min(STEP);
            if !self.budget.take(now, part) {
                return;
            }
            self.debt -= part;
        }
    }

    fn is_wasteful(&self, holdings: &Holdings) -> bool {
        let waste = holdings.bytes.saturating_sub(holdings.live);
        holdings.bytes > self.cleaning.spared_bytes
            && u128::from(waste) * 100
                > u128::from(holdings.bytes) * u128::from(self.cleaning.waste_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn holdings(bytes: u64, live: u64) -> Holdings {
        Holdings {
            bytes,
            live,
            files: 4,
            pinning: 3,
            is_full: false,
        }
    }

    #[test]
    fn a_file_nobody_needs_goes_at_once_and_the_last_never() {
        let mut cleaner = Cleaner::new(Cleaning::default(), Millis(0));
        let free = Holdings {
            pinning: 0,
            ..holdings(MIB, 0)
        };
        assert_eq!(cleaner.next(&free, Millis(0)), Next::Drop);
        let last = Holdings { files: 1, ..free };
        assert_eq!(cleaner.next(&last, Millis(0)), Next::Rest);
    }

    #[test]
    fn files_are_written_anew_when_enough_of_them_is_waste_or_there_is_no_room() {
        let mut cleaner = Cleaner::new(Cleaning::default(), Millis(0));
        for (bytes, live, next) in [
            (1_000 * MIB, 501 * MIB, Next::Rest),
            (1_000 * MIB, 499 * MIB, Next::Move(STEP)),
            (256 * MIB, 0, Next::Rest),
        ] {
            let held = holdings(bytes, live);
            assert_eq!(cleaner.next(&held, Millis(0)), next, "{held:?}");
        }
        let full = Holdings {
            is_full: true,
            ..holdings(MIB, MIB)
        };
        assert_eq!(cleaner.next(&full, Millis(0)), Next::Move(STEP));
    }

    #[test]
    fn no_more_is_written_than_the_budget_allows() {
        let cleaning = Cleaning {
            bytes_per_second: MIB,
            ..Cleaning::default()
        };
        for step in [1_000, STEP, 3 * STEP + 7] {
            let mut cleaner = Cleaner::new(cleaning, Millis(0));
            let held = holdings(1_000 * MIB, 0);
            let (mut now, mut written) = (Millis(0), 0);
            while now < Millis(10_000) {
                match cleaner.next(&held, now) {
                    Next::Move(_) => {
                        written += step;
                        cleaner.moved(step, now);
                    }
                    Next::Wait(at) => {
                        assert!(at > now, "it gets on");
                        now = at;
                    }
                    other => panic!("{other:?}"),
                }
                let most = STEP + step + MIB * (now.0 + 1) / 1_000;
                assert!(written <= most, "{written} of {most} at {now}");
            }
            assert!(written > 9 * MIB, "{step}: {written} is what was allowed");
        }
    }
}
