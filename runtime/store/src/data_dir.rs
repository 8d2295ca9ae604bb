//! A node's data directory, and the lock that keeps it one node's.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::files;

/// The lock file's name; it holds the process id of the node that has it.
const LOCK: &str = "lock";

/// How long the lock of a node that was killed is waited for, and how often it is looked
/// at: a child that the node was about to start has it until it runs its own program.
const HANDOVER: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another node uses it.
    #[error(
        "another node, process {holder}, uses the data directory {path}: stop it, or give this \
         one a directory of its own with --data DIR"
    )]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// The process id it wrote down; empty if it wrote none.
        holder: String,
    },
    /// Others can look into it, and it was not made by a node.
    #[error(
        "{path} is open to other users (mode {mode:o}) and holds files that are no node's: \
         choose a directory of its own, or close this one with `chmod 700 {path}`"
    )]
    Open {
        /// Which directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be made, read or locked.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// Which directory.
        path: PathBuf,
        /// The system's word for it.
        source: io::Error,
    },
}

/// A data directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock ends when the file is closed, by whatever end of the process.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, closes it to others, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        files::create_private_dir(path).map_err(failed)?;
        Self::close_to_others(path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        let until = Instant::now() + HANDOVER;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock => {}
                TryLockError::Error(source) => return Err(failed(source)),
            }
            let mut holder = String::new();
            // Whoever holds it may be writing just now: then it goes unnamed.
            let read = lock.rewind();
            let _ = read.and_then(|()| (&lock).take(20).read_to_string(&mut holder));
            let holder = holder.trim().to_owned();
            if !is_dead(&holder) || Instant::now() > until {
                let path = path.to_owned();
                return Err(DataDirError::InUse { path, holder });
            }
            thread::sleep(LOOK_EVERY);
        }
        let named = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        named.map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn close_to_others(path: &Path) -> Result<(), DataDirError> {
        let failed = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let ours = path.join(LOCK).exists();
        let empty = fs::read_dir(path).map_err(failed)?.next().is_none();
        if !ours && !empty {
            return Err(DataDirError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)
    }
}

/// Whether there is no process of this id any more.
fn is_dead(process: &str) -> bool {
    let process = process.parse().ok().and_then(Pid::from_raw);
    process.is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_process_that_is_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let left = File::create(dir.path().join(LOCK)).unwrap();
        left.try_lock().unwrap();
        writeln!(&left, "{}", gone.id()).unwrap();
        let path = dir.path().to_owned();
        let opening = thread::spawn(move || DataDir::open(&path).map(drop));
        drop(left);
        opening.join().unwrap().unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let data = DataDir::open(&path).unwrap();
        assert_eq!(mode(data.path()), 0o700);
    }

    #[test]
    fn a_second_node_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(matches!(&error, DataDirError::InUse { holder, .. } if *holder == pid));
        assert!(error.to_string().contains(&pid), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn an_open_directory_is_closed_only_if_it_is_a_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "an empty one is taken");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "so is a node's");
        let other = dir.path().join("home");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("letter"), "dear").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            DataDir::open(&other),
            Err(DataDirError::Open { .. })
        ));
        assert_eq!(mode(&other), 0o755, "others' are left alone");
    }

    #[test]
    fn a_file_in_its_place_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Io { .. })));
    }
}
