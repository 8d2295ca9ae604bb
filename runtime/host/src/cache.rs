//! Compiled components on disk.
//!
//! Loading compiled code runs it, so what is loaded must be what this node
//! wrote: the directory is readable by its owner alone, and each file carries a
//! MAC under a key that never leaves the node. The MAC covers the key of the
//! cache entry too, so that files cannot be exchanged for one another.
//!
//! A file is read whole and checked in memory, never mapped: whatever happens to
//! it afterwards, running agents do not see it. What does not check out is
//! compiled anew and replaced.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use phoenix_core::Digest;
use wasmtime::Engine;

use crate::error::HostStartError;

/// The file with the node's key.
const KEY_FILE: &str = "key";

/// First bytes of an entry: what it is, and the version of this layout.
const MAGIC: &[u8; 8] = b"phxcode1";

/// Bytes of the MAC.
const MAC: usize = 32;

/// A directory of compiled components.
pub(crate) struct Cache {
    directory: PathBuf,
    key: [u8; 32],
    /// What of the engine decides whether code fits it.
    engine: Digest,
}

impl Cache {
    /// Opens the directory, made if it is not there, and the node's key in it.
    pub(crate) fn open(directory: &Path, engine: &Engine) -> Result<Self, HostStartError> {
        let failed = |path: &Path, reason: String| HostStartError::Cache {
            path: path.to_owned(),
            reason,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
            .map_err(|error| failed(directory, error.to_string()))?;
        let path = directory.join(KEY_FILE);
        let key = key(&path).map_err(|error| failed(&path, error.to_string()))?;
        let mut hasher = EngineHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            directory: directory.to_owned(),
            key,
            engine: Digest(*hasher.0.finalize().as_bytes()),
        })
    }

    /// The name of the entry for an instrumented component.
    pub(crate) fn entry(&self, instrumented: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("phoenix 2025 compiled component");
        hasher.update(&instrumented.0);
        hasher.update(&self.engine.0);
        Digest(*hasher.finalize().as_bytes())
    }

    /// The code of an entry, if it is there and this node wrote it.
    pub(crate) fn load(&self, entry: &Digest) -> Option<Vec<u8>> {
        let path = self.path(entry);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled component cannot be read, it is compiled anew");
                return None;
            }
        }
        let Some(code) = self.checked(entry, &bytes) else {
            tracing::warn!(path = %path.display(), "a compiled component is not as this node wrote it, it is compiled anew");
            return None;
        };
        let skipped = bytes.len() - code;
        bytes.drain(..skipped);
        Some(bytes)
    }

    /// How many bytes at the end of `bytes` are the code, if the MAC is right.
    fn checked(&self, entry: &Digest, bytes: &[u8]) -> Option<usize> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (mac, code) = rest.split_first_chunk::<MAC>()?;
        // blake3 compares hashes in constant time.
        let right = magic == MAGIC && self.mac(entry, code) == blake3::Hash::from_bytes(*mac);
        right.then_some(code.len())
    }

    /// Writes an entry: to a temporary file, synced, then renamed over what was there.
    pub(crate) fn store(&self, entry: &Digest, code: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .directory
            .join(format!("{entry}.{}.{count}.tmp", std::process::id()));
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(self.mac(entry, code).as_bytes())?;
            file.write_all(code)?;
            file.sync_all()
        });
        let result = written
            .and_then(|()| fs::rename(&temporary, self.path(entry)))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if result.is_err() {
            // What is left over is in nobody's way; the next start may try again.
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn mac(&self, entry: &Digest, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&entry.0);
        hasher.update(code);
        hasher.finalize()
    }

    fn path(&self, entry: &Digest) -> PathBuf {
        self.directory.join(format!("{entry}.code"))
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Reads the key, or makes one. A key others can read, or of the wrong length,
/// is replaced: entries under it are then compiled anew.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    if let Ok(mut file) = File::open(path) {
        let private = file.metadata()?.permissions().mode() & 0o077 == 0;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if let (true, Ok(key)) = (private, <[u8; 32]>::try_from(bytes.as_slice())) {
            return Ok(key);
        }
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = create(&temporary).and_then(|mut file| {
        file.write_all(&key)?;
        file.sync_all()
    });
    let result = written.and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // What is left over would be in the way of the next attempt.
        let _ = fs::remove_file(&temporary);
    }
    result.map(|()| key)
}

/// Feeds what wasmtime hashes to BLAKE3: a 64-bit hash would be too short for a name.
struct EngineHasher(blake3::Hasher);

impl Hasher for EngineHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        hash.as_bytes()
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}
