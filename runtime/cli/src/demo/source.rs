//! Where a demo's lines come from: a file, or a seed.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use super::log::{Count, Counted, Generator, LogReader, OpenError, ReadError, open};

/// A log that can be read from its beginning as often as needed.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A file, plain or gzip.
    File(PathBuf),
    /// A made-up log.
    Generated {
        /// What it is made from.
        seed: u64,
        /// How long it is.
        lines: u64,
    },
}

/// Why a source gives no log.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read to its end.
    #[error("{} cannot be used", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: ReadError,
    },
}

impl Source {
    /// The lines, from the first one.
    pub(super) fn lines(&self) -> Result<LogReader<Box<dyn BufRead + Send>>, SourceError> {
        let input: Box<dyn BufRead + Send> = match self {
            Self::File(path) => open(path)?,
            Self::Generated { seed, lines } => Box::new(BufReader::new(Text {
                lines: Generator::new(*seed, *lines),
                rest: Vec::new(),
                read: 0,
            })),
        };
        Ok(LogReader::new(input))
    }

    /// Counts the lines.
    pub(super) fn count(&self) -> Result<Counted, SourceError> {
        Count::all(self.lines()?).map_err(|source| SourceError::Read {
            path: match self {
                Self::File(path) => path.clone(),
                Self::Generated { .. } => PathBuf::new(),
            },
            source,
        })
    }
}

/// A generator's lines as a file's bytes, so that both take the same way.
struct Text {
    lines: Generator,
    rest: Vec<u8>,
    read: usize,
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.rest.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            let Some(line) = self.lines.next() else {
                return Ok(0);
            };
            self.rest = line.into_bytes();
            self.rest.push(b'\n');
            self.read = 0;
            rest = &self.rest;
        }
        let length = rest.read(buffer)?;
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_source_reads_the_same_again() {
        let source = Source::Generated {
            seed: 5,
            lines: 1_000,
        };
        let counted = source.count().unwrap();
        assert_eq!(counted.total.events, 1_000);
        assert_eq!(counted.malformed, 0);
        assert_eq!(source.count().unwrap(), counted);
    }
}
