//! When timers come due, and which of the due times that passed fire.
//!
//! A timer is known by its number and comes due at times its [`Schedule`] says. A
//! **firing** is named by both, number and due time. What is kept of a timer is its
//! [`Timing`] and the first due time that is not over: the rest follows, so that a node
//! and a test without one agree about every due time. Instants and spans are
//! milliseconds, instants since 1970-01-01 UTC.

mod cron;

pub use cron::{BadCron, Cron, MAX_CRON};

/// When a timer comes due, as an agent says it: counted from the turn that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule<'a> {
    /// Once, after so long.
    Once {
        /// Milliseconds until it fires.
        delay_ms: u64,
    },
    /// After so long, and again and again.
    Every {
        /// Milliseconds until it fires first.
        delay_ms: u64,
        /// Milliseconds from one due time to the next; zero is taken for one.
        period_ms: u64,
    },
    /// At the minutes of a schedule that [`Cron`] can read, in UTC.
    Cron(&'a str),
}

/// What becomes of due times that passed while the agent could not be called: its node
/// was down, it moved, or the turn before took too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The first of them fires, for all of them.
    #[default]
    Once,
    /// Each of them fires, in order.
    All,
    /// Those that are later than this do not fire.
    Skip {
        /// How late one may be and fire all the same, milliseconds.
        late_ms: u64,
    },
}

/// When a timer that is set comes due again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Never.
    Never,
    /// So many milliseconds after each due time; not zero.
    Every(u64),
    /// At the minutes of a schedule.
    Cron(Box<Cron>),
}

/// How a timer that is set goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// When it comes due again.
    pub repeat: Repeat,
    /// What becomes of due times that passed.
    pub catch_up: CatchUp,
}

impl Timing {
    /// That of a timer which is set at `now`, and when it comes due first: never if that
    /// is behind the end of time.
    pub fn begin(
        schedule: &Schedule<'_>,
        catch_up: CatchUp,
        now: u64,
    ) -> Result<(Self, Option<u64>), BadCron> {
        let (repeat, due) = match *schedule {
            Schedule::Once { delay_ms } => (Repeat::Never, now.checked_add(delay_ms)),
            Schedule::Every {
                delay_ms,
                period_ms,
            } => (Repeat::Every(period_ms.max(1)), now.checked_add(delay_ms)),
            Schedule::Cron(text) => {
                let cron: Cron = text.parse()?;
                let due = cron.after(now);
                (Repeat::Cron(Box::new(cron)), due)
            }
        };
        Ok((Self { repeat, catch_up }, due))
    }

    /// Whether the due time `due` may fire at `now`, which is no earlier. If not, it is
    /// [missed](Self::after_missing).
    pub fn fires(&self, due: u64, now: u64) -> bool {
        match self.catch_up {
            CatchUp::Once | CatchUp::All => true,
            CatchUp::Skip { late_ms } => now.saturating_sub(due) <= late_ms,
        }
    }

    /// The due time after `due`, which fired at `now`.
    pub fn after_firing(&self, due: u64, now: u64) -> Option<u64> {
        match self.catch_up {
            CatchUp::Once => self.after(due, now.max(due)),
            CatchUp::All | CatchUp::Skip { .. } => self.after(due, due),
        }
    }

    /// The due time after `due`, which is not to fire any more at `now`: the first that
    /// still may, past or not.
    pub fn after_missing(&self, due: u64, now: u64) -> Option<u64> {
        let late = match self.catch_up {
            CatchUp::Once | CatchUp::All => 0,
            CatchUp::Skip { late_ms } => late_ms,
        };
        let too_late = now.saturating_sub(late).saturating_sub(1);
        self.after(due, too_late.max(due))
    }

    /// The first due time after `instant`, which is `due` or later.
    fn after(&self, due: u64, instant: u64) -> Option<u64> {
        match &self.repeat {
            Repeat::Never => None,
            Repeat::Every(period) => {
                let period = (*period).max(1);
                let passed = instant.saturating_sub(due) / period;
                due.checked_add(period.checked_mul(passed.checked_add(1)?)?)
            }
            Repeat::Cron(cron) => cron.after(instant),
        }
    }
}
