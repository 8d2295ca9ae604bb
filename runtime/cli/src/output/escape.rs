//! Text that came from elsewhere, made harmless for a terminal.
//!
//! Control characters drive a terminal; characters that change the direction of
//! writing, or take no room, make text look like other text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line: harmful characters, line ends included, become escapes.
pub fn escape(text: &str) -> Cow<'_, str> {
    replace(text, is_harmful, escape_into)
}

/// `text` with its line ends kept and everything else harmful escaped.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| c != '\n' && is_harmful(c), escape_into)
}

/// Bytes that may be text: what is text as [`escape_lines`] has it, other bytes
/// as `\xNN`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escape_lines(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A JSON text with harmful characters written as `\u` escapes. JSON allows
/// them within strings only, so this changes no value; line ends and tabs
/// between tokens stay.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    replace(
        text,
        |c| !matches!(c, '\n' | '\t') && is_harmful(c),
        |c, out| {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width, directional marks, line and paragraph ends, embeddings.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags.
            | '\u{e0000}'..='\u{e007f}')
}

fn escape_into(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

fn replace(
    text: &str,
    harmful: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            write(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminals_are_not_driven() {
        assert_eq!(
            escape("a\u{1b}[2Jb\n\u{9b}31m"),
            "a\\u{1b}[2Jb\\n\\u{9b}31m"
        );
        assert_eq!(escape("ab\u{202e}cd"), "ab\\u{202e}cd");
        assert_eq!(escape("häß 日本 👩"), "häß 日本 👩");
        assert_eq!(escape_lines("a\nb\rc"), "a\nb\\rc");
        // Alone, 0x9b begins a command too, in terminals that take 8-bit ones.
        assert_eq!(
            escape_bytes(b"ok\x1b]0;title\x07\n\x9b2J\xff"),
            "ok\\u{1b}]0;title\\u{7}\n\\x9b2J\\xff"
        );
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_value(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escape_json(&json);
            prop_assert!(!escaped.contains(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }

        #[test]
        fn nothing_harmful_is_left(text: String, bytes: Vec<u8>) {
            prop_assert!(!escape(&text).contains(is_harmful));
            prop_assert!(!escape_bytes(&bytes).contains(|c| c != '\n' && is_harmful(c)));
        }
    }
}
