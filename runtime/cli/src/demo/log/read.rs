//! A log, line by line: bounded, and never stopped by a bad line.

use std::io::{self, BufRead, ErrorKind};

use super::Entry;
use super::parse::{BadLine, parse};

/// Longest line, bytes. What is longer is malformed and its rest is skipped.
pub(crate) const MAX_LINE: usize = 64 << 10;

/// Most lines of one input: a log, not a decompression bomb.
const MAX_LINES: u64 = 20_000_000;

/// A line that is not in the Combined Log Format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) reason: BadLine,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// As it should be.
    Entry(Entry),
    /// Not so.
    Malformed(Malformed),
}

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The compressed data is damaged or cut off.
    #[error("the gzip data is damaged or cut off after line {line}")]
    Damaged {
        /// The last whole line.
        line: u64,
        /// What the decoder says.
        source: io::Error,
    },
    /// The file cannot be read any further.
    #[error("reading failed after line {line}")]
    Io {
        /// The last whole line.
        line: u64,
        /// What the operating system says.
        source: io::Error,
    },
    /// More lines than fit.
    #[error("more than {MAX_LINES} lines: split the log")]
    TooLong,
}

/// Reads records from a log, in order.
pub(crate) struct LogReader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> LogReader<R> {
    /// Reads from `input`.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            line: 0,
            buffer: Vec::new(),
            ended: false,
        }
    }

    /// The next line into the buffer: `None` at the end, `Some(false)` if it was too long.
    fn next_line(&mut self) -> Result<Option<bool>, io::Error> {
        self.buffer.clear();
        let (mut any, mut fits) = (false, true);
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                return Ok(any.then_some(fits));
            }
            any = true;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            let part = bytes.get(..end.unwrap_or(taken)).unwrap_or_default();
            fits &= self.buffer.len() + part.len() <= MAX_LINE;
            if fits {
                self.buffer.extend_from_slice(part);
            }
            self.input.consume(taken);
            if end.is_some() {
                return Ok(Some(fits));
            }
        }
    }

    fn record(&self, fits: bool) -> Record {
        let parsed = if fits {
            let mut text = self.buffer.as_slice();
            if self.line == 1 {
                text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
            }
            parse(text.strip_suffix(b"\r").unwrap_or(text))
        } else {
            Err(BadLine::Long(MAX_LINE))
        };
        match parsed {
            Ok(entry) => Record::Entry(entry),
            Err(reason) => Record::Malformed(Malformed {
                line: self.line,
                reason,
            }),
        }
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.line;
        let read = match self.next_line() {
            Ok(Some(_)) if line == MAX_LINES => Err(ReadError::TooLong),
            Ok(read) => Ok(read),
            Err(source) => Err(match source.kind() {
                ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                    ReadError::Damaged { line, source }
                }
                _ => ReadError::Io { line, source },
            }),
        };
        match read {
            Ok(Some(fits)) => {
                self.line += 1;
                Some(Ok(self.record(fits)))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    const LINE: &str = r#"a - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 12 "-" "curl""#;

    fn kinds(text: &[u8], buffer: usize) -> Vec<Result<u64, u64>> {
        LogReader::new(BufReader::with_capacity(buffer, text))
            .map(|record| match record.unwrap() {
                Record::Entry(entry) => Ok(entry.bytes),
                Record::Malformed(bad) => Err(bad.line),
            })
            .collect()
    }

    #[test]
    fn bad_lines_are_numbered_and_skipped() {
        let text = format!("\u{feff}{LINE}\nnonsense\n\n{LINE}\r\n{LINE}");
        for buffer in [1, 7, 1 << 16] {
            assert_eq!(
                kinds(text.as_bytes(), buffer),
                [Ok(12), Err(2), Err(3), Ok(12), Ok(12)]
            );
        }
    }

    #[test]
    fn a_long_line_is_malformed_and_not_kept() {
        let long = format!("{LINE}{}", "x".repeat(MAX_LINE));
        let text = format!("{LINE}\n{long}\n{LINE}\n{long}");
        let mut reader = LogReader::new(BufReader::with_capacity(1 << 10, text.as_bytes()));
        let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert!(matches!(
            &records[1],
            Record::Malformed(Malformed {
                line: 2,
                reason: BadLine::Long(MAX_LINE)
            })
        ));
        assert!(matches!(&records[2], Record::Entry(_)));
        assert_eq!(records.len(), 4);
        assert!(reader.buffer.capacity() <= 2 * MAX_LINE);
    }

    #[test]
    fn a_longest_line_fits() {
        let longest = format!("{LINE} {}", "x".repeat(MAX_LINE - LINE.len() - 1));
        assert_eq!(kinds(longest.as_bytes(), 1 << 10), [Ok(12)]);
    }

    #[test]
    fn reading_stops_at_damage_and_says_where() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::InvalidData.into())
            }
        }
        let text = format!("{LINE}\n{LINE}\n");
        let mut reader = LogReader::new(BufReader::new(text.as_bytes().chain(Broken)));
        assert!(matches!(reader.next(), Some(Ok(Record::Entry(_)))));
        assert!(matches!(reader.next(), Some(Ok(Record::Entry(_)))));
        assert!(matches!(
            reader.next(),
            Some(Err(ReadError::Damaged { line: 2, .. }))
        ));
        assert!(reader.next().is_none());
    }
}
