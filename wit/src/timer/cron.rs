//! Schedules written as five fields, in UTC.
//!
//! ```text
//!   minute 0-59 │ hour 0-23 │ day of month 1-31 │ month 1-12, jan-dec │ weekday 0-7, sun-sat
//! ```
//!
//! A field is `*`, a number, a range `a-b`, either with a step, `*/n` or `a-b/n`, or
//! several of these with commas between them. As in POSIX's crontab, if both the day of
//! the month and the weekday are restricted, a day that fits either fits. There are the
//! words `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` as well.
//!
//! Written here and not taken from a crate because agents write these: what is searched
//! is bounded, and a day that never comes is refused when it is read. Instants are
//! milliseconds since 1970-01-01 UTC.

use std::fmt;
use std::str::FromStr;

/// Longest schedule, bytes.
pub const MAX_CRON: usize = 256;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// A leap day falls on the same weekday again after 40 years at most: where a century has
/// none in between.
const FARTHEST_DAYS: u64 = 40 * 366 + 31;

/// A schedule: a set of minutes, in UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: Box<str>,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day may fit by its weekday alone.
    either: bool,
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// It is too long.
    #[error("a schedule of {0} bytes: it may have {MAX_CRON}")]
    TooLong(usize),
    /// It has another number of fields.
    #[error(
        "`{0}` is no schedule: write minute, hour, day of month, month and weekday, as in \
         `30 4 * * mon-fri`, or @hourly, @daily, @weekly, @monthly or @yearly"
    )]
    Fields(String),
    /// A field is not one.
    #[error("`{found}` is no {field}: write {accepted}, `*`, a range or a list of them")]
    Field {
        /// Which.
        field: &'static str,
        /// What it is.
        found: String,
        /// What numbers it may have.
        accepted: &'static str,
    },
    /// No day fits.
    #[error("`{0}` never comes: none of its months has such a day")]
    Never(String),
}

struct Field {
    name: &'static str,
    accepted: &'static str,
    least: u64,
    most: u64,
    /// Names of the numbers, from `least` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        accepted: "0 to 59",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        name: "hour",
        accepted: "0 to 23",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        accepted: "1 to 31",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        name: "month",
        accepted: "1 to 12 or jan to dec",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "weekday",
        accepted: "0 to 7 or sun to sat",
        least: 0,
        most: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl Field {
    fn number(&self, text: &str) -> Option<u64> {
        let named = self.names.iter().zip(self.least..);
        let mut named = named.filter(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, number)) = named.next() {
            return Some(number);
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse().ok()).flatten()?;
        (self.least..=self.most).contains(&number).then_some(number)
    }

    /// The numbers of a field, as bits.
    fn bits(&self, text: &str) -> Result<u64, BadCron> {
        let bad = || BadCron::Field {
            field: self.name,
            found: text.to_owned(),
            accepted: self.accepted,
        };
        let mut bits = 0;
        for part in text.split(',') {
            bits |= self.part(part).ok_or_else(bad)?;
        }
        Ok(bits)
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            // A step needs a range to go through.
            None if step.is_some() => return None,
            None => {
                let number = self.number(range)?;
                (number, number)
            }
        };
        let step = match step {
            Some(step) if step.bytes().all(|byte| byte.is_ascii_digit()) => step.parse().ok()?,
            Some(_) => return None,
            None => 1_usize,
        };
        if from > to || step == 0 {
            return None;
        }
        Some(
            (from..=to)
                .step_by(step)
                .fold(0, |bits, number| bits | 1 << number),
        )
    }
}

impl FromStr for Cron {
    type Err = BadCron;
    fn from_str(text: &str) -> Result<Self, BadCron> {
        if text.len() > MAX_CRON {
            return Err(BadCron::TooLong(text.len()));
        }
        let written = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" => "0 0 1 1 *",
            other => other,
        };
        let parts: Vec<&str> = written.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(BadCron::Fields(text.to_owned()));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let (any_day, any_weekday) = (day.starts_with('*'), weekday.starts_with('*'));
        let weekdays = weekdays.bits(weekday)?;
        let cron = Self {
            text: text.trim().into(),
            minutes: minutes.bits(minute)?,
            hours: hours.bits(hour)?,
            days: days.bits(day)?,
            months: months.bits(month)?,
            // Seven is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !any_day && !any_weekday,
        };
        if !cron.comes() {
            return Err(BadCron::Never(text.to_owned()));
        }
        Ok(cron)
    }
}

impl Cron {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether any day fits.
    fn comes(&self) -> bool {
        if self.either {
            return true;
        }
        let longest = |month: u64| days_of_month(4, month);
        (1..=12)
            .filter(|month| self.months & 1 << month != 0)
            .any(|month| (1..=longest(month)).any(|day| self.days & 1 << day != 0))
    }

    /// The first minute of the schedule after `instant`; `None` if none comes before
    /// time ends.
    pub fn after(&self, instant: u64) -> Option<u64> {
        let next = (instant / MINUTE + 1).checked_mul(MINUTE)?;
        let first_day = next / DAY;
        for day in first_day..=first_day.saturating_add(FARTHEST_DAYS) {
            if !self.is_on(day) {
                continue;
            }
            let from = if day == first_day {
                next % DAY / MINUTE
            } else {
                0
            };
            if let Some(minute) = self.minute_from(from) {
                return day.checked_mul(DAY)?.checked_add(minute * MINUTE);
            }
        }
        None
    }

    /// Whether the schedule has minutes on this day, counted from 1970-01-01.
    fn is_on(&self, day: u64) -> bool {
        let (_, month, of_month) = date(day);
        if self.months & 1 << month == 0 {
            return false;
        }
        let by_day = self.days & 1 << of_month != 0;
        // The first was a Thursday.
        let by_weekday = self.weekdays & 1 << ((day + 4) % 7) != 0;
        if self.either {
            by_day || by_weekday
        } else {
            by_day && by_weekday
        }
    }

    /// The first minute of a day that fits, from this one on.
    fn minute_from(&self, from: u64) -> Option<u64> {
        let (hour, minute) = (from / 60, from % 60);
        let rest = |bits: u64, from: u64| {
            let left = bits.checked_shr(u32::try_from(from).ok()?)?;
            (left != 0).then(|| from + u64::from(left.trailing_zeros()))
        };
        if self.hours & 1 << hour != 0
            && let Some(minute) = rest(self.minutes, minute)
        {
            return Some(hour * 60 + minute);
        }
        let hour = rest(self.hours, hour + 1)?;
        Some(hour * 60 + u64::from(self.minutes.trailing_zeros()))
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({})", self.text)
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day counted from 1970-01-01. The arithmetic is Hinnant's,
/// with years that begin in March, so that leap days come last.
fn date(day: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let day = day.saturating_add(719_468);
    let (era, of_era) = (day / ERA, day % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap()
    }

    /// An instant of 2024, by month, day, hour and minute.
    fn at(month: u64, day: u64, hour: u64, minute: u64) -> u64 {
        let before: u64 = (1..month).map(|month| days_of_month(2024, month)).sum();
        let day = 19_723 + before + day - 1;
        day * DAY + hour * 60 * MINUTE + minute * MINUTE
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..200_000 {
            assert_eq!(date(number), (year, month, day), "day {number}");
            day += 1;
            if day > days_of_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn schedules_mean_what_they_say() {
        let new_year = at(1, 1, 0, 0);
        for (text, next) in [
            ("* * * * *", at(1, 1, 0, 1)),
            ("30 4 * * *", at(1, 1, 4, 30)),
            ("*/15 * * * *", at(1, 1, 0, 15)),
            ("5-59/20 3-4 * * *", at(1, 1, 3, 5)),
            ("0 12 * * sun", at(1, 7, 12, 0)),
            ("0 12 * * 7", at(1, 7, 12, 0)),
            ("0 12 * * Mon-Fri", at(1, 1, 12, 0)),
            ("0 0 29 feb *", at(2, 29, 0, 0)),
            ("0 0 13 * fri", at(1, 5, 0, 0)),
            ("0 0 31 4,5 *", at(5, 31, 0, 0)),
            ("@monthly", at(2, 1, 0, 0)),
            ("@weekly", at(1, 7, 0, 0)),
            ("@hourly", at(1, 1, 1, 0)),
        ] {
            assert_eq!(cron(text).after(new_year), Some(next), "{text}");
            assert_eq!(cron(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_rarest_is_found() {
        // Leap days that are Sundays.
        let mut last = 0;
        let mut years = Vec::new();
        while years.last().is_none_or(|year| *year < 2_300) {
            last = cron("0 0 29 2 */7").after(last).unwrap();
            years.push(date(last / DAY).0);
        }
        let gaps = years.iter().zip(years.iter().skip(1)).map(|(a, b)| b - a);
        assert_eq!(gaps.max(), Some(40), "{years:?}");
    }

    #[test]
    fn a_leap_day_is_found_across_a_century_without_one() {
        let after = date_to_days(2096, 3, 1) * DAY;
        let next = cron("0 0 29 2 *").after(after).unwrap();
        assert_eq!(date(next / DAY), (2104, 2, 29));
    }

    fn date_to_days(year: u64, month: u64, day: u64) -> u64 {
        (0..)
            .find(|days| date(*days) == (year, month, day))
            .unwrap()
    }

    #[test]
    fn bad_schedules_are_named() {
        for (text, word) in [
            ("", "is no schedule"),
            ("* * * *", "is no schedule"),
            ("* * * * * *", "is no schedule"),
            ("@never", "is no schedule"),
            ("60 * * * *", "is no minute"),
            ("* 24 * * *", "is no hour"),
            ("* * 0 * *", "is no day of month"),
            ("* * * 13 *", "is no month"),
            ("* * * * 8", "is no weekday"),
            ("5-1 * * * *", "is no minute"),
            ("*/0 * * * *", "is no minute"),
            ("5/10 * * * *", "is no minute"),
            ("1,,2 * * * *", "is no minute"),
            ("+1 * * * *", "is no minute"),
            ("*/+1 * * * *", "is no minute"),
            ("99999999999999999999 * * * *", "is no minute"),
            ("0 0 30 2 *", "never comes"),
            ("0 0 31 2,4,6 *", "never comes"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let long = "*".repeat(MAX_CRON + 1);
        assert_eq!(long.parse::<Cron>(), Err(BadCron::TooLong(MAX_CRON + 1)));
    }

    #[test]
    fn there_is_nothing_after_the_end_of_time() {
        for near in [u64::MAX, u64::MAX - MINUTE, u64::MAX - 40 * 366 * DAY] {
            // It may find one or not; it has to come to an end.
            let _ = cron("0 0 29 2 *").after(near);
        }
        assert_eq!(cron("* * * * *").after(u64::MAX), None);
    }
}
