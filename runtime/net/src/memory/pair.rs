//! What stands between two nodes.

use std::time::Duration;

use super::Faults;
use super::random::Random;

/// The shortest and the longest wait before a broken pair connects again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(5));

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) connected: bool,
    pub(super) partitioned: bool,
    /// When it may connect again, on the network's clock.
    pub(super) not_before: Duration,
    pub(super) faults: Faults,
    random: Random,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives at this time at the earliest.
    Arrives(Duration),
    /// It is lost.
    Lost,
    /// It breaks the connection.
    Breaks,
}

/// How a message goes beside the order, by how much later each copy of it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strays {
    /// It is overtaken by what is sent behind it.
    pub(super) late: Option<Duration>,
    /// It arrives once more.
    pub(super) again: Option<Duration>,
}

impl Pair {
    pub(super) fn new(random: Random) -> Self {
        Self {
            connected: false,
            partitioned: false,
            not_before: Duration::ZERO,
            faults: Faults::default(),
            random,
        }
    }

    pub(super) fn fate(&mut self, now: Duration) -> Fate {
        if self.random.one_in(self.faults.break_one_in) {
            return Fate::Breaks;
        }
        if self.random.one_in(self.faults.drop_one_in) {
            return Fate::Lost;
        }
        let delay = self.between(self.faults.delay_least, self.faults.delay_most);
        Fate::Arrives(now + delay)
    }

    /// Whether a message that arrives does so late, or twice.
    pub(super) fn strays(&mut self) -> Strays {
        let (late, again) = (self.faults.late_one_in, self.faults.repeat_one_in);
        let by = |pair: &mut Self| pair.between(Duration::ZERO, pair.faults.late_by);
        Strays {
            late: self.random.one_in(late).then(|| by(self)),
            again: self.random.one_in(again).then(|| by(self)),
        }
    }

    pub(super) fn broke(&mut self, now: Duration) {
        self.connected = false;
        self.not_before = now + self.between(RECONNECT.0, RECONNECT.1);
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = most.saturating_sub(least).as_micros();
        let spread = u64::try_from(spread).unwrap_or(u64::MAX - 1);
        least + Duration::from_micros(self.random.below(spread.saturating_add(1)))
    }
}
