//! Files that only this user may read, and that are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}", path = path.display())]
pub struct FileError {
    /// What was tried.
    pub what: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Makes `directory` if it is not there, and private in any case.
pub(super) fn private_directory(directory: &Path) -> Result<(), FileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        builder
            .mode(0o700)
            .create(directory)
            .map_err(failed("cannot make the directory", directory))?;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory, private)
            .map_err(failed("cannot make private the directory", directory))
    }
    #[cfg(not(unix))]
    builder
        .create(directory)
        .map_err(failed("cannot make the directory", directory))
}

/// Puts `content` into `directory/name`, synced: after a crash either the old
/// or the new content is there.
pub(super) fn write_private(directory: &Path, name: &str, content: &[u8]) -> Result<(), FileError> {
    let path = directory.join(name);
    let temporary = directory.join(format!("{name}.new"));
    // A file left by a crash may have other permissions than the ones it gets below.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed("cannot replace", &temporary)(error));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("cannot write", &path))
}

/// Most bytes a file of an identity may have.
const MAX_FILE: u64 = 8 << 20;

/// Reads `directory/name`; `None` if it is not there.
pub(super) fn read(directory: &Path, name: &str) -> Result<Option<String>, FileError> {
    let path = directory.join(name);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot read", &path)(error)),
    };
    if size > MAX_FILE {
        let error = io::Error::other("the file is too large to be what it should be");
        return Err(failed("cannot read", &path)(error));
    }
    fs::read_to_string(&path)
        .map(Some)
        .map_err(failed("cannot read", &path))
}
