//! When timers come due.

use std::fmt;
use std::time::Duration;

use phoenix_wit::CatchUp;
use phoenix_wit::timer::Cron;

use crate::failure::{AgentError, Failure};

pub use phoenix_wit::timer::BadCron;

/// When a timer comes due, and what becomes of due times that passed while the agent
/// could not be called: its node was down, it moved, or a turn took long.
///
/// | | due times that passed |
/// |---|---|
/// | as it is made | the first of them fires, for all of them |
/// | [`catch_up_all`](Self::catch_up_all) | each of them fires, in order |
/// | [`skip_late`](Self::skip_late) | those that are later than that do not fire |
///
/// Spans are taken in whole milliseconds, rounded up. Each due time fires once at most,
/// and never early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    catch_up: CatchUp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Once { delay_ms: u64 },
    Every { delay_ms: u64, period_ms: u64 },
    Cron(Cron),
}

impl Schedule {
    /// Once, after `delay`.
    pub fn once(delay: Duration) -> Self {
        let delay_ms = millis(delay);
        Self::new(When::Once { delay_ms })
    }

    /// Again and again, each time `period` after the last, 1 ms at least; first after
    /// one period.
    pub fn every(period: Duration) -> Self {
        let period_ms = millis(period).max(1);
        Self::new(When::Every {
            delay_ms: period_ms,
            period_ms,
        })
    }

    /// At the minutes of a cron schedule, in UTC: minute (0-59), hour (0-23), day of month
    /// (1-31), month (1-12 or jan-dec) and weekday (0-7 or sun-sat), each `*`, a number, a
    /// range `a-b`, a step `*/n` or `a-b/n`, or a list of these; or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly`, `@yearly`. If both days are restricted, a day that fits
    /// either fits, as in POSIX's crontab.
    ///
    /// # Errors
    /// [`BadCron`] names the field that is wrong and what it may be; a schedule that no
    /// day ever fits, or of more than 256 bytes, is one as well. In a handler that
    /// returns a [`Failure`], `?` makes it one with the code `bad-cron`.
    ///
    /// ```
    /// use phoenix_sdk::Schedule;
    ///
    /// assert!(Schedule::cron("30 4 * * mon-fri").is_ok());
    /// let error = Schedule::cron("30 24 * * *").unwrap_err();
    /// assert!(error.to_string().starts_with("`24` is no hour"));
    /// ```
    pub fn cron(schedule: &str) -> Result<Self, BadCron> {
        Ok(Self::new(When::Cron(schedule.parse()?)))
    }

    fn new(when: When) -> Self {
        Self {
            when,
            catch_up: CatchUp::Once,
        }
    }

    /// Of one that comes due again and again: first after `delay`, instead of a period.
    /// Of one that comes due once: after `delay`. A cron schedule stays as it is.
    #[must_use]
    pub fn first_after(mut self, delay: Duration) -> Self {
        match &mut self.when {
            When::Once { delay_ms } | When::Every { delay_ms, .. } => *delay_ms = millis(delay),
            When::Cron(_) => {}
        }
        self
    }

    /// Each of the due times that passed fires, in order.
    #[must_use]
    pub fn catch_up_all(mut self) -> Self {
        self.catch_up = CatchUp::All;
        self
    }

    /// Due times that are more than `late` over do not fire. A node that is busy may
    /// well be some hundred milliseconds late.
    #[must_use]
    pub fn skip_late(mut self, late: Duration) -> Self {
        self.catch_up = CatchUp::Skip {
            late_ms: millis(late),
        };
        self
    }

    pub(crate) fn as_wit(&self) -> phoenix_wit::Schedule<'_> {
        match &self.when {
            When::Once { delay_ms } => phoenix_wit::Schedule::Once {
                delay_ms: *delay_ms,
            },
            When::Every {
                delay_ms,
                period_ms,
            } => phoenix_wit::Schedule::Every {
                delay_ms: *delay_ms,
                period_ms: *period_ms,
            },
            When::Cron(cron) => phoenix_wit::Schedule::Cron(cron.as_str()),
        }
    }

    pub(crate) fn catch_up(&self) -> CatchUp {
        self.catch_up
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn of(
        schedule: &phoenix_wit::Schedule<'_>,
        catch_up: CatchUp,
    ) -> Result<Self, BadCron> {
        let when = match *schedule {
            phoenix_wit::Schedule::Once { delay_ms } => When::Once { delay_ms },
            phoenix_wit::Schedule::Every {
                delay_ms,
                period_ms,
            } => When::Every {
                delay_ms,
                period_ms,
            },
            phoenix_wit::Schedule::Cron(text) => When::Cron(text.parse()?),
        };
        Ok(Self { when, catch_up })
    }
}

/// As people write it: `once after 20 ms`, `every 1000 ms`, `cron 30 4 * * *`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Once { delay_ms } => write!(f, "once after {delay_ms} ms"),
            When::Every { period_ms, .. } => write!(f, "every {period_ms} ms"),
            When::Cron(cron) => write!(f, "cron {cron}"),
        }
    }
}

/// With the code `bad-cron`.
impl From<BadCron> for Failure {
    fn from(error: BadCron) -> Self {
        Self::new("bad-cron", error.to_string())
    }
}

impl AgentError for BadCron {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

/// Whole milliseconds, rounded up: a timer never fires early.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
