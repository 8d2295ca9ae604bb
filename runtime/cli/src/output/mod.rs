//! Answers: tables for people, JSON for programs, both safe to look at.

pub mod escape;
mod table;

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;

pub(crate) use table::Table;

/// Standard output, where a reader that goes away early is no failure.
pub(crate) struct Output {
    stdout: BufWriter<io::Stdout>,
    terminal: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            stdout: BufWriter::new(io::stdout()),
            terminal: io::stdout().is_terminal(),
        }
    }

    /// A line of text, which may come from anywhere.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.stdout, "{}", escape::escape(text))?)
    }

    /// Bytes that may come from anywhere: as they are for a file or a pipe,
    /// escaped for a terminal.
    pub(crate) fn foreign_bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.bytes(&fit(bytes, self.terminal))
    }

    /// Bytes of this program's own, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// A value as one line of JSON.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value)
            .map_err(|error| CliError::failed(format!("cannot write the answer: {error}")))?;
        self.json_text(&text)
    }

    /// A text that is JSON already.
    pub(crate) fn json_text(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.stdout, "{}", escape::escape_json(text))?)
    }

    /// A table, or `empty` if there is nothing in it.
    pub(crate) fn table(&mut self, table: &Table, empty: &str) -> Result<(), CliError> {
        let text = if table.is_empty() {
            empty.to_owned()
        } else {
            table.render()
        };
        Ok(writeln!(self.stdout, "{text}")?)
    }

    /// Hands everything on. Nothing is certain to be written before.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.stdout.flush()?)
    }
}

/// Foreign bytes as whatever takes them should have them.
fn fit(bytes: &[u8], terminal: bool) -> Cow<'_, [u8]> {
    if terminal {
        Cow::Owned((escape::escape_bytes(bytes) + "\n").into_bytes())
    } else {
        Cow::Borrowed(bytes)
    }
}

/// A remark beside the answer, on standard error.
pub(crate) fn remark(text: &str) {
    // Nobody misses a remark that cannot be made.
    let _ = writeln!(io::stderr().lock(), "{}", escape::escape_lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_escaped_for_a_terminal_and_nobody_else() {
        let bytes = b"\x1b]0;title\x07\xff";
        assert_eq!(*fit(bytes, true), *b"\\u{1b}]0;title\\u{7}\\xff\n");
        assert_eq!(*fit(bytes, false), *bytes);
    }
}
