//! The files a journal is made of, behind a trait small enough to fail on purpose.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A directory of files of fixed length.
pub trait Volume: Send + Sync + 'static {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new file of `length` zero bytes, with room for all of them, in place of
    /// what there was. If there is no room it leaves nothing behind.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn VolumeFile>>;

    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>>;

    /// Gives a file another name, in place of what had it. Durable after [`Volume::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file. Whoever has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: creations, renames, removals.
    fn sync(&self) -> io::Result<()>;
}

/// A file of fixed length.
pub trait VolumeFile: Send + Sync {
    /// Its bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads at `offset`, as much as comes at once; nothing at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes at `offset`, as much as goes at once.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Puts zeros in the place of all from `offset` on, durably.
    fn clear_from(&self, offset: u64) -> io::Result<()>;

    /// Makes what was written durable. After a failure nothing is known of it.
    fn sync(&self) -> io::Result<()>;
}

/// Reads all of `buffer`.
pub(super) fn read_exact(file: &dyn VolumeFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + done as u64, rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &dyn VolumeFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(offset + done as u64, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The whole of a file.
pub(super) fn read_all(file: &dyn VolumeFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    read_exact(file, 0, &mut bytes)?;
    Ok(bytes)
}

/// Whether a disk said that it is full.
pub(super) fn no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct RealVolume {
    directory: PathBuf,
}

impl RealVolume {
    /// The directory at `path`, made if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        crate::files::create_private_dir(path)?;
        Ok(Self {
            directory: path.to_owned(),
        })
    }
}

impl Volume for RealVolume {
    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = allocate(&file, length) {
            // It has no name anybody looks for.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// Zeros with room on the disk, so that writing to them finds it.
fn allocate(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < length {
                let part = zeros
                    .len()
                    .min(usize::try_from(length - at).unwrap_or(usize::MAX));
                file.write_all_at(zeros.get(..part).unwrap_or_default(), at)?;
                at += part as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl VolumeFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        let length = self.metadata()?.len();
        self.set_len(offset)?;
        allocate(self, length)?;
        self.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
