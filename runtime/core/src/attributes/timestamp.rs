//! An instant as CloudEvents and RFC 3339 have it.

use std::fmt;

use crate::Millis;

/// An instant between the years 1 and 9999, to the nanosecond, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01.
    seconds: i64,
    /// And so many nanoseconds, below 1,000,000,000.
    nanos: u32,
}

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
const DAY: i64 = 86_400;

impl Timestamp {
    /// So many seconds and nanoseconds after 1970-01-01, if that is within range.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        ((FIRST..=LAST).contains(&seconds) && nanos < 1_000_000_000)
            .then_some(Self { seconds, nanos })
    }

    /// The same instant, if it is before the year 10000.
    pub fn from_millis(millis: Millis) -> Option<Self> {
        let seconds = i64::try_from(millis.0 / 1_000).ok()?;
        let nanos = u32::try_from(millis.0 % 1_000).ok()? * 1_000_000;
        Self::new(seconds, nanos)
    }

    /// The same instant, rounded down, if it is not before 1970.
    pub fn millis(self) -> Option<Millis> {
        let seconds = u64::try_from(self.seconds).ok()?;
        Some(Millis(seconds * 1_000 + u64::from(self.nanos / 1_000_000)))
    }

    /// Seconds since 1970-01-01, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds since that second.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// Reads RFC 3339, as in `2018-04-05T17:31:00Z` or `2018-04-05T19:31:00.5+02:00`.
    /// What is below a nanosecond is cut off; a leap second is the second after it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.as_bytes();
        let year = digits(&mut rest, 4)?;
        sign(&mut rest, b"-")?;
        let month = digits(&mut rest, 2)?;
        sign(&mut rest, b"-")?;
        let day = digits(&mut rest, 2)?;
        sign(&mut rest, b"Tt ")?;
        let (hour, minute) = clock(&mut rest)?;
        sign(&mut rest, b":")?;
        let second = digits(&mut rest, 2)?;
        let nanos = fraction(&mut rest)?;
        let offset = offset(&mut rest)?;
        let valid = (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && second <= 60
            && rest.is_empty();
        let of_day = hour * 3_600 + minute * 60 + second;
        valid.then_some(())?;
        Self::new(
            days_from_civil(year, month, day) * DAY + of_day - offset,
            nanos,
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(DAY));
        let of_day = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match self.nanos {
            0 => {}
            n if n % 1_000_000 == 0 => write!(f, ".{:03}", n / 1_000_000)?,
            n if n % 1_000 == 0 => write!(f, ".{:06}", n / 1_000)?,
            n => write!(f, ".{n:09}")?,
        }
        f.write_str("Z")
    }
}

/// So many decimal digits.
fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, after) = rest.split_at_checked(count)?;
    *rest = after;
    digits.iter().try_fold(0, |value: i64, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + i64::from(digit - b'0'))
    })
}

/// One of these.
fn sign(rest: &mut &[u8], of: &[u8]) -> Option<u8> {
    let (found, after) = rest.split_first()?;
    *rest = after;
    of.contains(found).then_some(*found)
}

fn clock(rest: &mut &[u8]) -> Option<(i64, i64)> {
    let hour = digits(rest, 2)?;
    sign(rest, b":")?;
    let minute = digits(rest, 2)?;
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// Nanoseconds behind a point, if there is one.
fn fraction(rest: &mut &[u8]) -> Option<u32> {
    let Some(after) = rest.strip_prefix(b".") else {
        return Some(0);
    };
    let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (found, after) = after.split_at_checked(count)?;
    *rest = after;
    let mut nanos = 0;
    for at in 0..9 {
        let digit = found.get(at).map_or(0, |digit| digit - b'0');
        nanos = nanos * 10 + u32::from(digit);
    }
    (count > 0).then_some(nanos)
}

/// Seconds east of UTC.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let direction = match sign(rest, b"Zz+-")? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let (hour, minute) = clock(rest)?;
    Some(direction * (hour * 3_600 + minute * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of so many days since 1970-01-01, from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants() {
        for (text, seconds, nanos, canonical) in [
            ("1970-01-01T00:00:00Z", 0, 0, "1970-01-01T00:00:00Z"),
            (
                "2018-04-05T17:31:00Z",
                1_522_949_460,
                0,
                "2018-04-05T17:31:00Z",
            ),
            (
                "2018-04-05t19:31:00.25+02:00",
                1_522_949_460,
                250_000_000,
                "2018-04-05T17:31:00.250Z",
            ),
            (
                "2000-02-29T23:59:60-00:01",
                951_868_860,
                0,
                "2000-03-01T00:01:00Z",
            ),
            (
                "1969-12-31T23:59:59.0000000019Z",
                -1,
                1,
                "1969-12-31T23:59:59.000000001Z",
            ),
            ("0001-01-01T00:00:00Z", FIRST, 0, "0001-01-01T00:00:00Z"),
            (
                "9999-12-31T23:59:59.999999Z",
                LAST,
                999_999_000,
                "9999-12-31T23:59:59.999999Z",
            ),
        ] {
            let read = Timestamp::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((read.seconds(), read.nanos()), (seconds, nanos), "{text}");
            assert_eq!(read.to_string(), canonical);
        }
    }

    #[test]
    fn what_is_none() {
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-4-05T17:31:00Z",
            "2018-13-05T17:31:00Z",
            "2018-02-29T17:31:00Z",
            "1900-02-29T17:31:00Z",
            "2018-04-00T17:31:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T17:60:00Z",
            "2018-04-05T17:31:61Z",
            "2018-04-05T17:31:00Z ",
            "2018-04-05T17:31:00+2:00",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "+018-04-05T17:31:00Z",
            "２018-04-05T17:31:00Z",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(seconds in FIRST..=LAST, nanos in 0..1_000_000_000_u32, coarse in 0..4_usize) {
            let unit = [1, 1_000, 1_000_000, 1_000_000_000][coarse];
            let instant = Timestamp::new(seconds, nanos / unit * unit).unwrap();
            prop_assert_eq!(Timestamp::parse(&instant.to_string()), Some(instant));
        }

        #[test]
        fn millis_and_back(millis in 0..=253_402_300_799_999_u64) {
            let instant = Timestamp::from_millis(Millis(millis)).unwrap();
            prop_assert_eq!(instant.millis(), Some(Millis(millis)));
        }

        #[test]
        fn any_text_does_no_harm(text: String) {
            let _ = Timestamp::parse(&text);
        }
    }

    #[test]
    fn every_day_of_a_cycle_has_its_date() {
        // The dates of 400 years follow on one another as a calendar's do.
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
            day += 1;
            if day > days_in(year, month) {
                day = 1;
                month += 1;
            }
            if month > 12 {
                month = 1;
                year += 1;
            }
        }
    }
}
