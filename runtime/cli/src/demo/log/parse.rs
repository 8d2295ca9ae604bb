//! One line of the Combined Log Format:
//!
//! ```text
//! host ident user [time] "request" status bytes "referrer" "user agent"
//! ```
//!
//! Quotes inside a quoted field are written `\"`, as Apache and nginx do.
//! Fields that a site appended to the format are ignored. Quoted fields need
//! not be UTF-8.

use super::{Entry, stamp};

/// Longest visitor, bytes: what fits into an agent's key.
const MAX_VISITOR: usize = 255;

/// Most bytes one answer may claim: what JSON numbers hold exactly.
const MAX_ANSWER: u64 = 1 << 53;

/// Why a line is not in the Combined Log Format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    /// Nothing in it.
    #[error("the line is empty")]
    Empty,
    /// More bytes than a line may have; the rest was not kept.
    #[error("the line is longer than {0} bytes")]
    Long(usize),
    /// The line ends before this field.
    #[error("the line ends before {0}")]
    Missing(&'static str),
    /// It ends after the bytes, where the shorter format ends.
    #[error("referrer and user agent are missing: this is the Common, not the Combined Log Format")]
    Common,
    /// The first field cannot name a visitor.
    #[error("the first field is no address or host name of up to {MAX_VISITOR} bytes")]
    Visitor,
    /// The third field is not followed by a bracket.
    #[error("no time in brackets after the user")]
    NoTime,
    /// What stands in brackets is no time.
    #[error("`{0}` is no time: expected as in 17/May/2015:10:05:03 +0000")]
    Time(String),
    /// A quoted field does not begin or end with a quote.
    #[error("{0} is not in quotes")]
    Unquoted(&'static str),
    /// The status is not three digits.
    #[error("`{0}` is no status: expected three digits")]
    Status(String),
    /// The bytes are neither a number nor `-`.
    #[error("`{0}` is no number of bytes: expected digits or -")]
    Bytes(String),
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Result<Entry, BadLine> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Err(BadLine::Empty);
    }
    let (visitor, rest) = word(line, "the identity")?;
    let visitor = visitor_name(visitor)?;
    let (_identity, rest) = word(rest, "the user")?;
    // A user may hold spaces, so it ends where the bracket begins.
    let (_user, rest) = split_at(rest, b" [").ok_or(BadLine::NoTime)?;
    let (time, rest) = split_at(rest, b"]").ok_or(BadLine::Missing("the end of the time"))?;
    let at = stamp::parse(time).ok_or_else(|| BadLine::Time(shown(time)))?;
    let rest = quoted(space(rest, "the request")?, "the request")?;
    let (status, rest) = word(space(rest, "the status")?, "the bytes")?;
    let status = status_code(status)?;
    let (bytes, rest) = word(rest, "").or_else(|_| {
        // Nothing follows the bytes: say so only if they themselves are right.
        answer_bytes(rest).and(Err(BadLine::Common))
    })?;
    let bytes = answer_bytes(bytes)?;
    let rest = quoted(rest, "the referrer")?;
    quoted(space(rest, "the user agent")?, "the user agent")?;
    Ok(Entry {
        visitor,
        at,
        status,
        bytes,
    })
}

/// The bytes before the next space, and those after it. `next` names what
/// should follow.
fn word<'a>(text: &'a [u8], next: &'static str) -> Result<(&'a [u8], &'a [u8]), BadLine> {
    split_at(text, b" ").ok_or(BadLine::Missing(next))
}

/// The bytes before the first `mark`, and those after it.
fn split_at<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

fn space<'a>(text: &'a [u8], next: &'static str) -> Result<&'a [u8], BadLine> {
    text.strip_prefix(b" ").ok_or(BadLine::Missing(next))
}

/// What follows a quoted field. A quote closes it if a space or the line's end
/// follows; one in the middle of a word, which some programs fail to escape,
/// does not.
fn quoted<'a>(text: &'a [u8], name: &'static str) -> Result<&'a [u8], BadLine> {
    let inside = text.strip_prefix(b"\"").ok_or(if text.is_empty() {
        BadLine::Missing(name)
    } else {
        BadLine::Unquoted(name)
    })?;
    let mut escaped = false;
    for (index, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let rest = inside.get(index + 1..).unwrap_or_default();
                if matches!(rest.first(), None | Some(b' ')) {
                    return Ok(rest);
                }
            }
            _ => {}
        }
    }
    Err(BadLine::Unquoted(name))
}

fn visitor_name(text: &[u8]) -> Result<Box<str>, BadLine> {
    let name = std::str::from_utf8(text).map_err(|_| BadLine::Visitor)?;
    let fits = (1..=MAX_VISITOR).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || c.is_whitespace())
        && name != "-";
    if fits {
        Ok(name.into())
    } else {
        Err(BadLine::Visitor)
    }
}

fn status_code(text: &[u8]) -> Result<u16, BadLine> {
    match text {
        [a, b, c] if text.iter().all(u8::is_ascii_digit) => Ok([a, b, c]
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'))),
        _ => Err(BadLine::Status(shown(text))),
    }
}

fn answer_bytes(text: &[u8]) -> Result<u64, BadLine> {
    if text == b"-" {
        return Ok(0);
    }
    std::str::from_utf8(text)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|bytes| *bytes <= MAX_ANSWER)
        .ok_or_else(|| BadLine::Bytes(shown(text)))
}

/// `text` as it may stand in a message: escaped and at most 40 bytes of it.
fn shown(text: &[u8]) -> String {
    let (head, dots) = match text.get(..40) {
        Some(head) if text.len() > 40 => (head, "…"),
        _ => (text, ""),
    };
    format!("{}{dots}", head.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str = r#"[17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 12 "-" "curl""#;

    fn entry(visitor: &str, status: u16, bytes: u64) -> Entry {
        Entry {
            visitor: visitor.into(),
            at: 1_431_857_103,
            status,
            bytes,
        }
    }

    #[test]
    fn usual_and_odd_lines() {
        for (line, expected) in [
            (format!("83.149.9.216 - - {TAIL}"), entry("83.149.9.216", 200, 12)),
            (format!("2001:db8::7:1 - - {TAIL}"), entry("2001:db8::7:1", 200, 12)),
            (format!("host.example.org ident a user {TAIL}"), entry("host.example.org", 200, 12)),
            (
                r#"::1 - - [17/May/2015:10:05:03 +0000] "-" 408 - "-" "-""#.into(),
                entry("::1", 408, 0),
            ),
            (
                r#"a - - [17/May/2015:10:05:03 +0000] "GET /\"x\" HTTP/1.0" 999 7 "\\" "say \"hi\"""#
                    .into(),
                entry("a", 999, 7),
            ),
            (
                r#"a - - [17/May/2015:10:05:03 +0000] "" 000 0 "" "" "10.0.0.1" 0.003"#.into(),
                entry("a", 0, 0),
            ),
            (
                r#"a - - [17/May/2015:10:05:03 +0000] "GET /?q="x"y HTTP/1.0" 200 1 "-" "b""#.into(),
                entry("a", 200, 1),
            ),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn quoted_fields_need_not_be_text() {
        let mut line = br#"a - - [17/May/2015:10:05:03 +0000] "GET /"#.to_vec();
        line.extend_from_slice(b"\xff\xfe\x00 HTTP/1.0\" 200 1 \"-\" \"\x80\"");
        assert_eq!(parse(&line), Ok(entry("a", 200, 1)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let time = "[17/May/2015:10:05:03 +0000]";
        for (line, expected) in [
            (String::new(), BadLine::Empty),
            ("  \t".into(), BadLine::Empty),
            ("word".into(), BadLine::Missing("the identity")),
            (format!(" - - {TAIL}"), BadLine::Visitor),
            (format!("- - - {TAIL}"), BadLine::Visitor),
            (format!("{} - - {TAIL}", "x".repeat(256)), BadLine::Visitor),
            ("a - -".into(), BadLine::NoTime),
            (
                "a - - [17/May/2015".into(),
                BadLine::Missing("the end of the time"),
            ),
            (
                "a - - [yesterday] \"-\" 200 1 \"-\" \"-\"".into(),
                BadLine::Time("yesterday".into()),
            ),
            (
                format!("a - - {time} GET / 200 1"),
                BadLine::Unquoted("the request"),
            ),
            (
                format!("a - - {time} \"GET / 200 1"),
                BadLine::Unquoted("the request"),
            ),
            (
                format!("a - - {time} \"GET /\" 20 1 \"-\" \"-\""),
                BadLine::Status("20".into()),
            ),
            (
                format!("a - - {time} \"GET /\" 200 x1 \"-\" \"-\""),
                BadLine::Bytes("x1".into()),
            ),
            (
                format!("a - - {time} \"GET /\" 200 +1 \"-\" \"-\""),
                BadLine::Bytes("+1".into()),
            ),
            (
                format!("a - - {time} \"GET /\" 200 99999999999999999999 \"-\" \"-\""),
                BadLine::Bytes("99999999999999999999".into()),
            ),
            (
                format!("a - - {time} \"GET /\" 200"),
                BadLine::Missing("the bytes"),
            ),
            (format!("a - - {time} \"GET /\" 200 1"), BadLine::Common),
            (
                format!("a - - {time} \"GET /\" 200 x"),
                BadLine::Bytes("x".into()),
            ),
            (
                format!("a - - {time} \"GET /\" 200 1 \"-\""),
                BadLine::Missing("the user agent"),
            ),
            (
                format!("a - - {time} \"GET /\" 200 1 \"-\" \"x"),
                BadLine::Unquoted("the user agent"),
            ),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(expected), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_damage_to_a_line_makes_it_panic(at in 0_usize..90, byte in any::<u8>(), cut in 0_usize..90) {
            let mut line = format!("83.149.9.216 - - {TAIL}").into_bytes();
            if let Some(slot) = line.get_mut(at) {
                *slot = byte;
            }
            line.truncate(cut.max(1));
            let _ = parse(&line);
        }
    }
}
