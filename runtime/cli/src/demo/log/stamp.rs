//! The time of a log line, as `17/May/2015:10:05:03 +0000`.

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Seconds since 1970-01-01 UTC of a log's time, or `None` if it is no time.
///
/// Accepted are days that exist in the years 1970 to 9999, a leap second, and
/// zones up to a day from UTC.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (day, rest) = split(text, b'/')?;
    let (month, rest) = split(rest, b'/')?;
    let (year, rest) = split(rest, b':')?;
    let (hour, rest) = split(rest, b':')?;
    let (minute, rest) = split(rest, b':')?;
    let (second, zone) = split(rest, b' ')?;

    let year = number(year, 4, 1970, 9999)?;
    let month = 1 + i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let day = number(day, 2, 1, days_in_month(year, month))?;
    let hour = number(hour, 2, 0, 23)?;
    let minute = number(minute, 2, 0, 59)?;
    let second = number(second, 2, 0, 60)?;

    let local = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(local - zone_offset(zone)?)
}

/// Writes `at` as a log does, in UTC.
pub(super) fn format(at: i64) -> String {
    let (days, seconds) = (at.div_euclid(86_400), at.rem_euclid(86_400));
    let (year, month, day) = date_of(days);
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index))
        .and_then(|name| std::str::from_utf8(name).ok())
        .unwrap_or("Jan");
    format!(
        "{day:02}/{month}/{year:04}:{:02}:{:02}:{:02} +0000",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    let (head, tail) = text.split_at_checked(index)?;
    Some((head, tail.get(1..)?))
}

fn number(text: &[u8], digits: usize, low: i64, high: i64) -> Option<i64> {
    if text.len() != digits || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    (low..=high).contains(&value).then_some(value)
}

fn zone_offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = zone.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = number(digits.get(..2)?, 2, 0, 23)?;
    let minutes = number(digits.get(2..)?, 2, 0, 59)?;
    Some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by Howard Hinnant's `days_from_civil`: years begin in
/// March there, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_since_1970`]: year, month, day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (text, at) in [
            ("01/Jan/1970:00:00:00 +0000", 0),
            ("17/May/2015:10:05:03 +0000", 1_431_857_103),
            ("17/May/2015:12:05:03 +0200", 1_431_857_103),
            ("17/May/2015:04:35:03 -0530", 1_431_857_103),
            ("29/Feb/2000:23:59:59 +0000", 951_868_799),
            ("31/Dec/2016:23:59:60 +0000", 1_483_228_800),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(at), "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in [
            "30/Feb/2015:00:00:00 +0000",
            "29/Feb/1900:00:00:00 +0000",
            "31/Apr/2015:00:00:00 +0000",
            "00/May/2015:00:00:00 +0000",
            "17/may/2015:00:00:00 +0000",
            "17/May/2015:24:00:00 +0000",
            "17/May/2015:10:60:00 +0000",
            "17/May/2015:10:00:61 +0000",
            "17/May/2015:10:05:03",
            "17/May/2015:10:05:03 0000",
            "17/May/2015:10:05:03 +00",
            "17/May/2015:10:05:03 +00000",
            "1/May/2015:10:05:03 +0000",
            "17/May/+015:10:05:03 +0000",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(at in 0_i64..253_402_300_800) {
            prop_assert_eq!(parse(format(at).as_bytes()), Some(at));
        }

        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text);
        }
    }
}
