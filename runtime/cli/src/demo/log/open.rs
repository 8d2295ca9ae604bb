//! Opening an input: what it is by its first bytes, whatever its name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

/// Bytes read from the file at once.
const BUFFER: usize = 64 << 10;

const GZIP: &[u8] = &[0x1f, 0x8b];

/// Formats that are recognised in order to say what to do about them.
const OTHERS: [(&[u8], &str, &str); 4] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -d"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", "xz -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"PK\x03\x04", "zip", "unzip"),
];

/// Why an input cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No such file.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// It is a directory, a pipe or a device.
    #[error("{} is {kind}, not a file", path.display())]
    NotAFile {
        /// The path given.
        path: PathBuf,
        /// What is there.
        kind: &'static str,
    },
    /// Nothing in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Compressed in a way that is not read.
    #[error("{} is compressed with {format}; plain text and gzip are read", path.display())]
    Compressed {
        /// The path given.
        path: PathBuf,
        /// What it looks like.
        format: &'static str,
        /// What undoes it.
        tool: &'static str,
    },
    /// The operating system refuses.
    #[error("cannot read {}", path.display())]
    Io {
        /// The path given.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl OpenError {
    /// What the user can do about it.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Missing(_) => "check the path, or leave --input out: \
                 the demo then makes up a log of its own"
                .into(),
            Self::NotAFile { .. } => "name a regular file: the demo reads it twice, \
                 once for the agents and once for the count they are held against"
                .into(),
            Self::Empty(_) => "give it at least one line of the Combined Log Format".into(),
            Self::Compressed { path, tool, .. } => {
                format!("unpack it first: {tool} {}", path.display())
            }
            Self::Io { .. } => "check that you may read it".into(),
        }
    }
}

/// Opens a log, plain or gzip.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, OpenError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.into()),
        _ => OpenError::Io {
            path: path.into(),
            source,
        },
    };
    // A pipe would block in `open`, so what it is comes first.
    let kind = std::fs::metadata(path).map_err(io)?.file_type();
    if !kind.is_file() {
        let kind = if kind.is_dir() {
            "a directory"
        } else {
            "a pipe or device"
        };
        return Err(OpenError::NotAFile {
            path: path.into(),
            kind,
        });
    }
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::with_capacity(8);
    file.by_ref().take(8).read_to_end(&mut head).map_err(io)?;
    if head.is_empty() {
        return Err(OpenError::Empty(path.into()));
    }
    for (magic, format, tool) in OTHERS {
        if head.starts_with(magic) {
            return Err(OpenError::Compressed {
                path: path.into(),
                format,
                tool,
            });
        }
    }
    let zipped = head.starts_with(GZIP);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(head).chain(file));
    Ok(if zipped {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole)))
    } else {
        Box::new(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn text(bytes: &[u8]) -> io::Result<String> {
        let file = file(bytes);
        let mut text = String::new();
        open(file.path()).unwrap().read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn plain_and_gzip_are_told_apart_by_their_bytes() {
        assert_eq!(text(b"a\nb\n").unwrap(), "a\nb\n");
        assert_eq!(text(b"x").unwrap(), "x");
        assert_eq!(text(&zipped(b"a\nb\n")).unwrap(), "a\nb\n");
        let two = [zipped(b"a\n"), zipped(b"b\n")].concat();
        assert_eq!(
            text(&two).unwrap(),
            "a\nb\n",
            "rotated logs are often joined"
        );
    }

    #[test]
    fn damaged_gzip_is_an_error_of_reading() {
        let mut cut = zipped(&[b'a'; 10_000]);
        cut.truncate(cut.len() - 9);
        text(&cut).unwrap_err();
        text(b"\x1f\x8bnot gzip at all").unwrap_err();
    }

    #[test]
    fn what_cannot_be_read_is_said_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let Err(error) = open(directory.path()) else {
            panic!("a directory")
        };
        assert!(error.to_string().contains("a directory"), "{error}");
        let Err(error) = open(&directory.path().join("none")) else {
            panic!("missing")
        };
        assert!(matches!(error, OpenError::Missing(_)), "{error}");
        let Err(error) = open(file(b"").path()) else {
            panic!("empty")
        };
        assert!(matches!(error, OpenError::Empty(_)), "{error}");
        let Err(error) = open(file(b"\x28\xb5\x2f\xfd....").path()) else {
            panic!("zstd")
        };
        assert!(error.advice().contains("zstd -d"), "{}", error.advice());
    }
}
