//! When what failed is tried again: the one place for schedules.

use std::fmt;
use std::str::FromStr;

use crate::{BadPolicy, Millis};

/// How waits grow from one try to the next.
///
/// People write it as `fixed:1s`, `linear:100ms+50ms..2s` (the first wait, the step
/// and the longest) or `exponential:5ms..2s` (the first wait and the longest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Always the same.
    Fixed {
        /// The wait.
        wait: Millis,
    },
    /// Longer by the same span each time.
    Linear {
        /// The wait after the first try.
        first: Millis,
        /// By how much each wait is longer than the one before.
        step: Millis,
        /// The longest wait.
        most: Millis,
    },
    /// Twice as long each time.
    Exponential {
        /// The wait after the first try.
        first: Millis,
        /// The longest wait.
        most: Millis,
    },
}

impl Schedule {
    /// The wait after so many tries, the first of which is 1; none before it.
    pub fn wait(self, tries: u32) -> Millis {
        let Some(more) = tries.checked_sub(1) else {
            return Millis(0);
        };
        match self {
            Self::Fixed { wait } => wait,
            Self::Linear { first, step, most } => {
                (first + Millis(step.0.saturating_mul(more.into()))).min(most)
            }
            Self::Exponential { first, most } => {
                Millis(first.0.saturating_mul(2_u64.saturating_pow(more))).min(most)
            }
        }
    }
}

/// A text that is no schedule. It says what is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a schedule is {}", Self::FORM)]
pub struct BadSchedule;

impl BadSchedule {
    /// What may be written.
    pub const FORM: &str = "fixed:WAIT, linear:FIRST+STEP..MOST or exponential:FIRST..MOST, \
        as in exponential:5ms..2s";
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { wait } => write!(f, "fixed:{}ms", wait.0),
            Self::Linear { first, step, most } => {
                write!(f, "linear:{}ms+{}ms..{}ms", first.0, step.0, most.0)
            }
            Self::Exponential { first, most } => {
                write!(f, "exponential:{}ms..{}ms", first.0, most.0)
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;
    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let (name, waits) = text.split_once(':').ok_or(BadSchedule)?;
        if name == "fixed" {
            let wait = span(waits)?;
            return Ok(Self::Fixed { wait });
        }
        let (first, most) = waits.split_once("..").ok_or(BadSchedule)?;
        let most = span(most)?;
        match (name, first.split_once('+')) {
            ("linear", Some((first, step))) => Ok(Self::Linear {
                first: span(first)?,
                step: span(step)?,
                most,
            }),
            ("exponential", None) => Ok(Self::Exponential {
                first: span(first)?,
                most,
            }),
            _ => Err(BadSchedule),
        }
    }
}

/// A whole number of milliseconds, seconds, minutes or hours.
fn span(text: &str) -> Result<Millis, BadSchedule> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(BadSchedule),
    };
    let number: u64 = number.parse().map_err(|_| BadSchedule)?;
    number.checked_mul(each).map(Millis).ok_or(BadSchedule)
}

/// How one send is retried.
///
/// A policy is checked once, by [`RetryPolicy::validate`], where it comes in;
/// nothing here overflows or panics on one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How the waits grow.
    pub schedule: Schedule,
    /// How much of a wait chance may take off, percent: those who failed together
    /// do not come back together.
    pub jitter: u32,
    /// Tries in all, the first included; `u32::MAX` leaves it to `give_up_after`.
    pub attempts: u32,
    /// How long after the first try no other begins.
    pub give_up_after: Millis,
}

/// Longest span a policy may name: a day.
const LONGEST: u64 = 86_400_000;

impl RetryPolicy {
    /// What agents' messages are retried by where nothing else is said.
    pub const DEFAULT: Self = Self {
        schedule: Schedule::Exponential {
            first: Millis(5),
            most: Millis(2_000),
        },
        jitter: 50,
        attempts: u32::MAX,
        give_up_after: Millis(60_000),
    };

    /// Checks every field.
    pub fn validate(&self) -> Result<(), BadPolicy> {
        match self.schedule {
            Schedule::Fixed { wait } => {
                BadPolicy::check(&[("retry.wait", wait.0, 1, LONGEST)])?;
            }
            Schedule::Linear { first, step, most } => BadPolicy::check(&[
                ("retry.first", first.0, 1, LONGEST),
                ("retry.step", step.0, 1, LONGEST),
                ("retry.most", most.0, first.0, LONGEST),
            ])?,
            Schedule::Exponential { first, most } => BadPolicy::check(&[
                ("retry.first", first.0, 1, LONGEST),
                ("retry.most", most.0, first.0, LONGEST),
            ])?,
        }
        BadPolicy::check(&[
            ("retry.jitter", self.jitter.into(), 0, 100),
            ("retry.attempts", self.attempts.into(), 1, u32::MAX.into()),
            ("retry.give-up-after", self.give_up_after.0, 1, LONGEST),
        ])
    }

    /// When a message first sent at `sent` is given up.
    pub fn give_up(&self, sent: Millis) -> Millis {
        sent + self.give_up_after
    }

    /// The wait after so many tries, the first of which is 1. `bits` is chance:
    /// 0 takes nothing off. It is zero only where the schedule's is.
    pub fn wait(&self, tries: u32, bits: u64) -> Millis {
        let whole = self.schedule.wait(tries);
        let part = u128::from(whole.0) * u128::from(self.jitter.min(100)) / 100;
        let off = (part * u128::from(bits)) >> 64;
        whole - Millis(u64::try_from(off).unwrap_or(u64::MAX))
    }

    /// When the try after so many, the last of which failed at `now`, begins;
    /// `None` if there is none. `give_up` is the instant from [`RetryPolicy::give_up`].
    pub fn next(&self, tries: u32, now: Millis, give_up: Millis, bits: u64) -> Option<Millis> {
        if tries >= self.attempts {
            return None;
        }
        let at = now + self.wait(tries, bits);
        (at < give_up).then_some(at)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_each_schedule() {
        let of = |schedule: Schedule, tries: [u32; 6]| tries.map(|tries| schedule.wait(tries).0);
        let fixed = Schedule::Fixed { wait: Millis(7) };
        assert_eq!(of(fixed, [0, 1, 2, 3, 99, u32::MAX]), [0, 7, 7, 7, 7, 7]);
        let linear = Schedule::Linear {
            first: Millis(10),
            step: Millis(5),
            most: Millis(100),
        };
        assert_eq!(
            of(linear, [0, 1, 2, 3, 19, u32::MAX]),
            [0, 10, 15, 20, 100, 100]
        );
        assert_eq!(
            of(RetryPolicy::DEFAULT.schedule, [1, 2, 3, 9, 10, u32::MAX]),
            [5, 10, 20, 1_280, 2_000, 2_000]
        );
    }

    #[test]
    fn a_schedule_reads_back_as_it_is_written() {
        let of = |text: &str| text.parse::<Schedule>();
        let (first, step, most) = (Millis(10), Millis(2_000), Millis(60_000));
        for (text, schedule) in [
            ("fixed:10ms", Schedule::Fixed { wait: first }),
            ("linear:10ms+2s..1m", Schedule::Linear { first, step, most }),
            (
                "exponential:10ms..1m",
                Schedule::Exponential { first, most },
            ),
        ] {
            assert_eq!(of(text), Ok(schedule));
            assert_eq!(of(&schedule.to_string()), Ok(schedule));
        }
        for bad in [
            "",
            "fixed",
            "fixed:",
            "fixed:10",
            "fixed:1.5s",
            "fixed:-1s",
            "fixed:1d",
            "linear:1s..2s",
            "exponential:1s+1s..2s",
            "exponential:1s",
            "never:1s..2s",
            "fixed:18446744073709551615s",
        ] {
            assert_eq!(of(bad), Err(BadSchedule), "{bad}");
        }
    }

    #[test]
    fn chance_takes_off_no_more_than_the_jitter() {
        let policy = RetryPolicy {
            schedule: Schedule::Fixed {
                wait: Millis(1_000),
            },
            jitter: 20,
            ..RetryPolicy::DEFAULT
        };
        assert_eq!(policy.wait(1, 0), Millis(1_000));
        assert_eq!(policy.wait(1, u64::MAX / 2), Millis(901));
        assert_eq!(policy.wait(1, u64::MAX), Millis(801));
        let all = RetryPolicy {
            schedule: Schedule::Fixed { wait: Millis(1) },
            jitter: 100,
            ..policy
        };
        assert_eq!(all.wait(1, u64::MAX), Millis(1), "never at once");
    }

    #[test]
    fn there_is_an_end() {
        let policy = RetryPolicy {
            schedule: Schedule::Fixed { wait: Millis(10) },
            jitter: 0,
            attempts: 3,
            give_up_after: Millis(100),
        };
        let give_up = policy.give_up(Millis(1_000));
        assert_eq!(give_up, Millis(1_100));
        let next = |tries, now| policy.next(tries, Millis(now), give_up, 0);
        assert_eq!(next(1, 1_000), Some(Millis(1_010)));
        assert_eq!(next(2, 1_089), Some(Millis(1_099)));
        assert_eq!(next(2, 1_090), None, "the time is over");
        assert_eq!(next(3, 1_000), None, "the attempts are over");
        assert_eq!(next(0, 1_000), Some(Millis(1_000)), "nothing was tried");
    }

    #[test]
    fn a_bad_field_is_named() {
        RetryPolicy::DEFAULT.validate().unwrap();
        let bad = [
            (
                RetryPolicy {
                    jitter: 101,
                    ..RetryPolicy::DEFAULT
                },
                "retry.jitter is 101: it must be 0 to 100",
            ),
            (
                RetryPolicy {
                    attempts: 0,
                    ..RetryPolicy::DEFAULT
                },
                "retry.attempts is 0: it must be 1 to 4294967295",
            ),
            (
                RetryPolicy {
                    schedule: Schedule::Exponential {
                        first: Millis(50),
                        most: Millis(20),
                    },
                    ..RetryPolicy::DEFAULT
                },
                "retry.most is 20: it must be 50 to 86400000",
            ),
            (
                RetryPolicy {
                    schedule: Schedule::Fixed { wait: Millis(0) },
                    ..RetryPolicy::DEFAULT
                },
                "retry.wait is 0: it must be 1 to 86400000",
            ),
        ];
        for (policy, text) in bad {
            assert_eq!(policy.validate().unwrap_err().to_string(), text);
        }
    }
}
