//! What of a stream was closed without being applied.
//!
//! ```text
//!   1  2  3  4  5  6  7  8  9
//!   a  a  x  a  a  x  .  x  .      a applied, x closed, . waits
//!      base ┘     └ watermark      after 3, through 5: the word on 4 and 5
//! ```
//!
//! What is closed above the watermark is kept until the watermark comes to it. Beyond
//! that it is kept until the sender's base shows that the sender has heard: a word
//! between nodes may be lost, and whoever asks again must hear the same end again. So
//! a word that messages were applied says from where on, and covers nothing that was
//! closed.

use crate::{DeadReason, SkipReason};

/// Most runs of one stream that are kept. An honest sender keeps each of these messages
/// itself. Past it the ends of the oldest are forgotten: should their sender not have
/// heard them it hears nothing more, and gives the messages up as undetermined.
const MAX_RUNS: usize = 4_096;

/// How a number was closed that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// There is nothing to tell: its sender closed it, or it asked for nothing.
    Quietly,
    /// Its sender is told so. The detail of a dead letter is not kept.
    For(SkipReason),
    /// Nobody knows any more.
    Unknown,
}

/// Numbers of a stream that follow each other and were closed in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skips {
    pub(crate) from: u64,
    pub(crate) through: u64,
    pub(crate) how: Closed,
}

/// Such runs of one stream, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(Vec<Skips>);

impl Closed {
    /// The same without what a person reads.
    pub(crate) fn bare(reason: &SkipReason) -> Self {
        let nothing = || "".into();
        Self::For(match reason {
            SkipReason::Dead(DeadReason::Trapped(_)) => {
                SkipReason::Dead(DeadReason::Trapped(nothing()))
            }
            SkipReason::Dead(DeadReason::InitFailed(_)) => {
                SkipReason::Dead(DeadReason::InitFailed(nothing()))
            }
            SkipReason::Dead(DeadReason::Quarantined(_)) => {
                SkipReason::Dead(DeadReason::Quarantined(nothing()))
            }
            SkipReason::TurnedDown(_) => SkipReason::TurnedDown(nothing()),
            other => other.clone(),
        })
    }
}

impl Runs {
    pub(crate) fn new(runs: Vec<Skips>) -> Self {
        Self(runs)
    }

    pub(crate) fn as_slice(&self) -> &[Skips] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The run a number is in.
    pub(crate) fn find(&self, number: u64) -> Option<&Skips> {
        let place = self.0.partition_point(|it| it.through < number);
        self.0.get(place).filter(|it| it.from <= number)
    }

    /// Adds numbers none of which is in a run yet.
    pub(crate) fn add(&mut self, added: Skips, watermark: u64) {
        let place = self.0.partition_point(|other| other.from < added.from);
        let before = place.checked_sub(1).and_then(|at| self.0.get_mut(at));
        match before {
            Some(before) if before.through + 1 == added.from && before.how == added.how => {
                before.through = added.through;
            }
            _ => self.0.insert(place, added),
        }
        if self.0.len() > MAX_RUNS {
            self.forget_oldest(watermark);
        }
    }

    /// Makes one run of the oldest that are too many, but of none above the watermark.
    #[cold]
    fn forget_oldest(&mut self, watermark: u64) {
        let behind = self.0.partition_point(|it| it.through <= watermark);
        let more = (self.0.len() - MAX_RUNS).min(behind.saturating_sub(1));
        let from = self.0.first().map_or(0, |first| first.from);
        self.0.drain(..more);
        if let Some(first) = self.0.first_mut().filter(|_| more > 0) {
            first.from = from;
            first.how = Closed::Unknown;
        }
    }

    /// Where the watermark comes to, having come to `watermark`.
    pub(crate) fn pass(&mut self, mut watermark: u64) -> u64 {
        let mut at = self.0.partition_point(|it| it.through <= watermark);
        while let Some(run) = self.0.get(at)
            && run.from <= watermark.saturating_add(1)
        {
            watermark = watermark.max(run.through);
            if run.how == Closed::Quietly {
                self.0.remove(at);
            } else {
                at += 1;
            }
        }
        watermark
    }

    /// Up to where everything is taken if it is up to `taken`.
    pub(crate) fn taken(&self, mut taken: u64) -> u64 {
        let from = self.0.partition_point(|it| it.through <= taken);
        for run in self.0.iter().skip(from) {
            if run.from > taken.saturating_add(1) {
                break;
            }
            taken = taken.max(run.through);
        }
        taken
    }

    /// The sender has heard the end of everything below `base`.
    pub(crate) fn heard(&mut self, base: u64, watermark: u64) {
        let heard = |it: &Skips| it.through < base && it.through <= watermark;
        let count = self.0.partition_point(heard);
        self.0.drain(..count);
    }

    /// What was applied around `number`, which is in no run: everything above the first
    /// up to the second.
    pub(crate) fn around(&self, number: u64, watermark: u64) -> (u64, u64) {
        let place = self.0.partition_point(|it| it.through < number);
        let before = place.checked_sub(1).and_then(|at| self.0.get(at));
        let behind = self.0.get(place).map_or(watermark, |it| it.from - 1);
        (before.map_or(0, |it| it.through), behind.min(watermark))
    }

    /// Calls `each` with what was applied, some of it above `since`, up to `watermark`:
    /// everything above the first number up to the second.
    pub(crate) fn applied(&self, since: u64, watermark: u64, mut each: impl FnMut(u64, u64)) {
        let place = self.0.partition_point(|it| it.through <= since);
        let before = place.checked_sub(1).and_then(|at| self.0.get(at));
        let mut after = before.map_or(0, |it| it.through);
        let behind = self.0.iter().skip(place);
        for run in behind.take_while(|it| it.from <= watermark) {
            if run.from - 1 > after.max(since) {
                each(after, run.from - 1);
            }
            after = run.through;
        }
        if watermark > after.max(since) {
            each(after, watermark);
        }
    }
}
