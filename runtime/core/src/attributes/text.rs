//! The grammars attributes are written in, and percent-encoding.

use std::borrow::Cow;

/// Longest attribute name, bytes. CloudEvents recommends at most 20.
pub const MAX_NAME: usize = 64;

/// Whether `name` may name an attribute: `a-z 0-9` only. `data` is the payload's.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name != "data"
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether `text` is a String of CloudEvents: no control characters. Unicode's
/// noncharacters pass, because an agent's key may hold them.
pub(super) fn is_string(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The same, and not empty.
pub(super) fn is_text(text: &str) -> bool {
    !text.is_empty() && is_string(text)
}

/// Whether `text` is a URI-reference of RFC 3986, section 4.1, and not empty.
pub(super) fn is_uri_reference(text: &str) -> bool {
    if text.is_empty() || !has_uri_characters(text) {
        return false;
    }
    // A colon before the first slash ends a scheme, or nothing that is one.
    let head = text.split(['/', '?', '#']).next().unwrap_or_default();
    match head.split_once(':') {
        Some((scheme, _)) => is_scheme(scheme),
        None => true,
    }
}

/// Whether `text` is a URI of RFC 3986, section 3: one with a scheme.
pub(super) fn is_uri(text: &str) -> bool {
    is_uri_reference(text)
        && text
            .split_once(':')
            .is_some_and(|(scheme, _)| is_scheme(scheme))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn has_uri_characters(text: &str) -> bool {
    let mut fragments = 0;
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => match after {
                [a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                    rest = after;
                }
                _ => return false,
            },
            b'#' => fragments += 1,
            b'-' | b'.' | b'_' | b'~' => {}
            b':' | b'/' | b'?' | b'[' | b']' | b'@' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            _ => return false,
        }
    }
    fragments <= 1
}

/// Whether `text` is a media type: `type/subtype`, and parameters of printable ASCII.
pub(super) fn is_media_type(text: &str) -> bool {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let Some((kind, subtype)) = essence.trim_end().split_once('/') else {
        return false;
    };
    is_token(kind)
        && is_token(subtype)
        && parameters
            .bytes()
            .all(|b| b == b' ' || b.is_ascii_graphic())
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#' | b'$' | b'&' | b'^' | b'_' | b'.' | b'+' | b'-'
                )
        })
}

/// `text` with every byte percent-encoded that `keep` refuses; `%` always is.
pub(super) fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(|c| c != '%' && keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut buffer = [0; 4];
    for c in text.chars() {
        if c != '%' && keep(c) {
            escaped.push(c);
        } else {
            for byte in c.encode_utf8(&mut buffer).bytes() {
                escaped.push('%');
                escaped.push(hex(byte >> 4));
                escaped.push(hex(byte & 0xf));
            }
        }
    }
    Cow::Owned(escaped)
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).map_or('0', |c| c.to_ascii_uppercase())
}

/// Takes percent-encoding off, once. `None` if a `%` is not followed by two
/// hexadecimal digits or the bytes are not UTF-8.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%' {
            let [high, low, after @ ..] = after else {
                return None;
            };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let value = digit(high)? * 16 + digit(low)?;
            bytes.push(u8::try_from(value).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "traceparent", "a1", &"x".repeat(MAX_NAME)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "data",
            "Id",
            "data_base64",
            "a-b",
            "é",
            &"x".repeat(MAX_NAME + 1),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn uris() {
        for good in [
            "https://github.com/cloudevents",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "/cloudevents/spec/pull/123",
            "1-555-123-4567",
            "http://[::1]:80/a?b#c",
            "a/b:c",
            "%41",
            "#a",
        ] {
            assert!(is_uri_reference(good), "{good}");
        }
        for bad in [
            "", "a b", "é", "%4", "%zz", "a#b#c", "1a:b", ":a", "a\nb", "\"", "<a>",
        ] {
            assert!(!is_uri_reference(bad), "{bad}");
        }
        assert!(is_uri("http://a"));
        assert!(!is_uri("/a"));
        assert!(!is_uri("a/b:c"));
    }

    #[test]
    fn media_types() {
        for good in [
            "application/json",
            "text/plain; charset=utf-8",
            "a/b+c;x=\"y z\"",
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in ["", "json", "a/", "/a", "a b/c", "a/b;\n", "a/b c", "a/é"] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn escapes_come_off_again() {
        let keep = |c: char| c.is_ascii_graphic() && c != '"';
        for text in ["", "plain", "50%", "é \"x\"\n", "\u{1F600}"] {
            let escaped = escape(text, keep);
            assert!(escaped.chars().all(|c| c.is_ascii_graphic() && c != '"'));
            assert_eq!(unescape(&escaped).as_deref(), Some(text));
        }
        assert_eq!(
            escape("Euro \u{20AC} \u{1F600}", keep),
            "Euro%20%E2%82%AC%20%F0%9F%98%80",
            "as the HTTP binding has it"
        );
        for bad in ["%", "%4", "%zz", "%C0%A0", "%é"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
