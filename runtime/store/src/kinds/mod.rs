//! Deployed kinds and their components, on disk.
//!
//! ```text
//!   components/DIGEST.wasm   a component as it was deployed
//!   kinds/NAME.kind          which one a kind is, and its policy
//! ```
//!
//! A component is durable before a kind names it. Components that no kind names
//! any more stay until they are collected: agents that began with one keep it.

mod format;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use phoenix_core::control::KindInfo;
use phoenix_core::{Digest, KindName};

use crate::files;

/// Largest component that is read back, 1 GiB.
const MAX_COMPONENT: u64 = 1 << 30;
/// Largest kind file that is read back, 16 MiB.
const MAX_KIND: u64 = 16 << 20;

/// Why a kind cannot be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// A file cannot be read or written. What was there before is there still.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word for it.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path} is damaged: {what}. Delete it and deploy the kind again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The component is not the one its kind names; nothing was kept.
    #[error("the component of {kind} has the digest {found}, and the kind names {named}")]
    WrongComponent {
        /// Of which kind.
        kind: KindName,
        /// What it is.
        found: Digest,
        /// What the kind says.
        named: Digest,
    },
}

/// The kinds and components below a data directory.
#[derive(Debug)]
pub struct KindStore {
    kinds: PathBuf,
    components: PathBuf,
}

impl KindStore {
    /// Opens the store, or begins it. Files that a crash left half-written are deleted.
    pub fn open(data_dir: &Path) -> Result<Self, KindError> {
        let store = Self {
            kinds: data_dir.join("kinds"),
            components: data_dir.join("components"),
        };
        for directory in [&store.kinds, &store.components] {
            files::create_private_dir(directory).map_err(failed("make", directory))?;
            for path in paths(directory)? {
                if path.extension().is_some_and(|e| e == "unfinished") {
                    files::remove(&path).map_err(failed("delete", &path))?;
                }
            }
        }
        Ok(store)
    }

    /// Keeps a kind and its component, durably, in place of an earlier kind of that name.
    pub fn save(&self, kind: &KindInfo, component: &[u8]) -> Result<(), KindError> {
        let found = Digest::of(component);
        if found != kind.component {
            return Err(KindError::WrongComponent {
                kind: kind.kind.clone(),
                found,
                named: kind.component,
            });
        }
        let path = self.component_path(&kind.component);
        // One that is damaged is written anew.
        if self.component(&kind.component).is_err() {
            files::replace(&path, component).map_err(failed("write", &path))?;
        }
        let path = self.kind_path(&kind.kind);
        files::replace(&path, &format::encode(kind)).map_err(failed("write", &path))
    }

    /// All kinds, by name. One that is damaged is an error, not an absence.
    pub fn list(&self) -> Result<Vec<KindInfo>, KindError> {
        let mut kinds = Vec::new();
        for path in paths(&self.kinds)? {
            if path.extension().is_none_or(|e| e != "kind") {
                continue;
            }
            let bytes = read(&path, MAX_KIND)?;
            let damaged = |what: String| KindError::Damaged {
                path: path.clone(),
                what,
            };
            let kind = format::decode(&bytes).map_err(damaged)?;
            if self.kind_path(&kind.kind) != path {
                return Err(damaged(format!("it holds the kind {}", kind.kind)));
            }
            kinds.push(kind);
        }
        kinds.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(kinds)
    }

    /// A component as it was deployed; its digest is checked.
    pub fn component(&self, digest: &Digest) -> Result<Vec<u8>, KindError> {
        let path = self.component_path(digest);
        let bytes = read(&path, MAX_COMPONENT)?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(KindError::Damaged {
            path,
            what: format!("its digest is {found}"),
        })
    }

    /// Forgets a kind; whether there was one. Its component stays.
    pub fn remove(&self, kind: &KindName) -> Result<bool, KindError> {
        let path = self.kind_path(kind);
        let there = path.exists();
        files::remove(&path).map_err(failed("delete", &path))?;
        Ok(there)
    }

    /// Deletes the components that no kind names and `in_use` does not say are
    /// needed; how many.
    pub fn collect(&self, in_use: impl Fn(&Digest) -> bool) -> Result<usize, KindError> {
        let named: Vec<Digest> = self.list()?.iter().map(|kind| kind.component).collect();
        let mut deleted = 0;
        for path in paths(&self.components)? {
            let digest = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<Digest>().ok());
            let Some(digest) = digest else {
                continue;
            };
            if !named.contains(&digest) && !in_use(&digest) {
                files::remove(&path).map_err(failed("delete", &path))?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    fn kind_path(&self, kind: &KindName) -> PathBuf {
        // A kind's name is made of characters that mean nothing in a path.
        self.kinds.join(format!("{}.kind", kind.as_str()))
    }

    fn component_path(&self, digest: &Digest) -> PathBuf {
        self.components.join(format!("{digest}.wasm"))
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KindError + 'a {
    move |source| KindError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn paths(directory: &Path) -> Result<Vec<PathBuf>, KindError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    };
    list().map_err(failed("list", directory))
}

fn read(path: &Path, bound: u64) -> Result<Vec<u8>, KindError> {
    let length = fs::metadata(path).map_err(failed("read", path))?.len();
    if length > bound {
        return Err(KindError::Damaged {
            path: path.to_owned(),
            what: format!("it has {length} bytes, and {bound} are the most"),
        });
    }
    fs::read(path).map_err(failed("read", path))
}
