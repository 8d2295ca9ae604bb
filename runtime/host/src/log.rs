//! What a guest prints, as lines of its agent's log.

use phoenix_core::Level;

/// A line an agent wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLine {
    /// How serious it is: stdout is `Info`, stderr is `Warn`.
    pub level: Level,
    /// The line, control characters escaped, without its end.
    pub text: String,
}

/// Where a guest prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// What a line costs of the bound besides its bytes, so that a million empty
/// lines are bounded too.
const LINE_COST: u64 = 16;

/// Collects what is printed during one batch, within a bound in bytes.
///
/// A line still open at the batch's end is ended there: it must not wait in the
/// host for an agent that may wake elsewhere.
#[derive(Debug, Default)]
pub(crate) struct GuestLog {
    left: u64,
    lines: Vec<GuestLine>,
    cut: u64,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl GuestLog {
    /// Begins a batch that may print `bytes`.
    #[inline]
    pub(crate) fn begin(&mut self, bytes: u64) {
        self.left = bytes;
        self.cut = 0;
    }

    /// Forgets what was printed.
    pub(crate) fn discard(&mut self) {
        self.lines.clear();
        self.out.clear();
        self.err.clear();
        self.cut = 0;
    }

    /// Takes what a guest printed.
    pub(crate) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        if self.left < LINE_COST {
            self.cut += bytes.len() as u64;
            return;
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, tail) = rest.split_at(at);
            self.keep(stream, line);
            self.end_line(stream);
            rest = tail.get(1..).unwrap_or_default();
        }
        self.keep(stream, rest);
    }

    /// Adds a whole line.
    pub(crate) fn line(&mut self, level: Level, text: &str) {
        let len = text.len() as u64;
        let room = self.left.saturating_sub(LINE_COST).min(len);
        if self.left < LINE_COST {
            self.cut += len.max(1);
            return;
        }
        let end = text.floor_char_boundary(usize::try_from(room).unwrap_or(usize::MAX));
        let kept = text.get(..end).unwrap_or_default();
        self.left -= LINE_COST + kept.len() as u64;
        self.cut += len - kept.len() as u64;
        self.lines.push(GuestLine {
            level,
            text: escape(kept),
        });
    }

    /// Ends the batch: its lines, and how many bytes were cut.
    #[inline]
    pub(crate) fn finish(&mut self) -> (Vec<GuestLine>, u64) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.buffer(stream).is_empty() {
                self.end_line(stream);
            }
        }
        (
            std::mem::take(&mut self.lines),
            std::mem::take(&mut self.cut),
        )
    }

    fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let left = self.left;
        let buffer = self.buffer(stream);
        let room = usize::try_from(left.saturating_sub(buffer.len() as u64)).unwrap_or(usize::MAX);
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        buffer.extend_from_slice(kept);
        self.cut += (bytes.len() - kept.len()) as u64;
    }

    fn end_line(&mut self, stream: Stream) {
        let bytes = std::mem::take(self.buffer(stream));
        let level = match stream {
            Stream::Out => Level::Info,
            Stream::Err => Level::Warn,
        };
        let text = String::from_utf8_lossy(&bytes);
        self.line(level, text.strip_suffix('\r').unwrap_or(&text));
        // Give the room back for the next line.
        let mut bytes = bytes;
        bytes.clear();
        *self.buffer(stream) = bytes;
    }
}

/// `text` with control characters, and those that nobody sees or that turn the
/// direction of text around, made visible, so that no terminal obeys them and no
/// line looks like another. Whatever guests say goes through here into logs.
pub fn escape(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
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

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bytes: u64) -> GuestLog {
        let mut log = GuestLog::default();
        log.begin(bytes);
        log
    }

    fn texts(log: &mut GuestLog) -> (Vec<String>, u64) {
        let (lines, cut) = log.finish();
        (lines.into_iter().map(|line| line.text).collect(), cut)
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut log = log(1_000);
        log.print(Stream::Out, b"one\ntw");
        log.print(Stream::Err, b"oh");
        log.print(Stream::Out, b"o\r\n");
        assert_eq!(
            texts(&mut log),
            (vec!["one".into(), "two".into(), "oh".into()], 0)
        );
    }

    #[test]
    fn terminal_escapes_are_made_visible() {
        let mut log = log(1_000);
        log.print(Stream::Out, "\x1b[2Jred\u{202e}\n".as_bytes());
        assert_eq!(texts(&mut log).0, ["\\u{1b}[2Jred\\u{202e}"]);
    }

    #[test]
    fn what_nobody_sees_is_made_visible_and_the_rest_is_left() {
        assert_eq!(escape("\tgrüße, 你好 🙂"), "\tgrüße, 你好 🙂");
        let hidden = "a\nb\u{9b}c\u{200b}d\u{202e}e\u{2066}f\u{feff}g\u{e0041}h\u{2028}";
        let seen = "a\\nb\\u{9b}c\\u{200b}d\\u{202e}e\\u{2066}f\\u{feff}g\\u{e0041}h\\u{2028}";
        assert_eq!(escape(hidden), seen);
    }

    #[test]
    fn what_is_past_the_bound_is_counted() {
        let mut log = log(100);
        log.print(Stream::Out, &[b'a'; 1_000]);
        let (lines, cut) = texts(&mut log);
        let kept: usize = lines.iter().map(String::len).sum();
        assert_eq!(kept as u64 + cut, 1_000);
        assert!(kept <= 100);
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let mut log = log(160);
        log.print(Stream::Out, &[b'\n'; 1_000]);
        let (lines, cut) = texts(&mut log);
        assert_eq!((lines.len(), cut), (10, 990));
    }
}
