//! How often a node has started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// Why the boot counter cannot be raised. The node must not start without.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file cannot be read or written.
    #[error("cannot count this start in {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's word for it.
        source: io::Error,
    },
    /// The file says something else than a number.
    #[error(
        "{path} does not hold a count of starts: restore it from a copy, or write a number \
         greater than every earlier count into it"
    )]
    Content {
        /// Which file.
        path: PathBuf,
    },
}

/// The boot counter: 1 at a node's first start, one more at each later one,
/// and durable before the node does anything else. Every life of a node and
/// every memory it makes is told from earlier ones by it.
#[derive(Debug)]
pub struct BootCounter;

impl BootCounter {
    /// Counts a start of the node with this data directory.
    pub fn next(data_dir: &Path) -> Result<u64, BootError> {
        let path = data_dir.join("boot");
        let before = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(source) => return Err(BootError::Io { path, source }),
        };
        let next = before.and_then(|before: u64| before.checked_add(1));
        let Some(next) = next else {
            return Err(BootError::Content { path });
        };
        match files::replace(&path, format!("{next}\n").as_bytes()) {
            Ok(()) => Ok(next),
            Err(source) => Err(BootError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_counts_one_more() {
        let dir = tempfile::tempdir().unwrap();
        for start in 1..4 {
            assert_eq!(BootCounter::next(dir.path()).unwrap(), start);
        }
    }

    #[test]
    fn a_counter_that_is_no_number_is_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            &b"seven"[..],
            b"",
            b"\xff\xfe",
            b"-1",
            b"18446744073709551615",
        ] {
            fs::write(dir.path().join("boot"), bad).unwrap();
            let error = BootCounter::next(dir.path()).unwrap_err();
            assert!(error.to_string().contains("boot"), "{error}");
            assert_eq!(
                fs::read(dir.path().join("boot")).unwrap(),
                bad,
                "left as it was"
            );
        }
    }
}
