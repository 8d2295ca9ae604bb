//! Sizes and spans of time as people write them: `64MiB`, `500ms`.

use std::time::Duration;

/// What a size may look like, for messages.
pub const SIZE_FORM: &str = "a number of bytes, such as 65536, 64KiB, 16MiB or 1GiB";

/// What a span of time may look like, for messages.
pub const DURATION_FORM: &str = "a span of time with its unit, such as 500ms, 30s, 5m or 1h";

const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

const SPANS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Bytes. `None` if `text` is none of [`SIZE_FORM`].
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// A span of time in whole milliseconds. A unit is required, so that nobody
/// has to guess it. `None` if `text` is none of [`DURATION_FORM`].
pub fn parse_millis(text: &str) -> Option<u64> {
    if text.trim() == "0" {
        return Some(0);
    }
    parse(text, &SPANS)
}

/// A span of time. `None` if `text` is none of [`DURATION_FORM`].
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse_millis(text).map(Duration::from_millis)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_' && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    whole.checked_add(fraction_of(fraction, *factor)?)
}

/// `0.fraction` times `factor`; `None` unless that is a whole number.
fn fraction_of(fraction: &str, factor: u64) -> Option<u64> {
    if fraction.is_empty() {
        return Some(0);
    }
    if fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let product = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
    product.is_multiple_of(scale).then_some(product / scale)
}

/// A size as a person reads it: exact where it is a whole number of a binary
/// unit, otherwise with one decimal.
pub fn show_size(bytes: u64) -> String {
    let units = [("GiB", 30_u32), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let whole = bytes >> shift;
        if whole == 0 {
            continue;
        }
        if whole << shift == bytes {
            return format!("{whole}{unit}");
        }
        let tenths = ((bytes - (whole << shift)) * 10) >> shift;
        return format!("{whole}.{tenths}{unit}");
    }
    format!("{bytes}B")
}

/// A span as a person reads it, exact: in the largest unit that divides it.
pub fn show_millis(millis: u64) -> String {
    for (unit, factor) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if millis >= factor && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("1_000kB", 1_000_000),
            ("1.5MiB", 1_572_864),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "-1",
            "1.",
            ".5KiB",
            "1TiB",
            "99999999999999999999",
            "1e3",
            "0.3B",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_span_needs_its_unit() {
        for (text, millis) in [
            ("0", 0),
            ("500ms", 500),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_millis(text), Some(millis), "{text}");
        }
        for bad in ["5", "", "s", "1 fortnight", "0.0001s"] {
            assert_eq!(parse_millis(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn spans_read_back_as_shown(millis in 0_u64..=u64::MAX / 2) {
            proptest::prop_assert_eq!(parse_millis(&show_millis(millis)), Some(millis));
        }

        #[test]
        fn no_text_is_too_odd(text in ".{0,40}") {
            let _ = (parse_size(&text), parse_millis(&text));
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size(1_572_864), "1.5MiB");
        assert_eq!(show_size(17), "17B");
    }
}
