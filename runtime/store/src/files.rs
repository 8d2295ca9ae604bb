//! Writing whole files so that a crash leaves the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Ends the names of files that are being written.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Makes a directory that only its owner can enter, and those above it, durably.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let new: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The directory itself may be there since a run that ended before this.
    for dir in std::iter::once(path).chain(new) {
        match sync_parent(dir) {
            // One may be entered and not read, and then its names cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Puts `bytes` at `path`, whole and durable, in place of what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| io::Error::other("the path names no file"))?;
    let unfinished = path.with_file_name(format!("{name}{UNFINISHED}"));
    let written = write_synced(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // What is left of it is in the way of nothing but space.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_parent(path)
}

/// Deletes the file at `path`, durably. That there is none is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let is_here = parent.as_os_str().is_empty();
    let parent = if is_here { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}
